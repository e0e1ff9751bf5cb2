"""Greedy answers of a checkpoint to a file of questions, through `swift infer`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.launch import launch
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.plan import Plan, StagePlan

SAME_AS_IN_TRAINING = (
    *("model_type", "template", "system", "use_chat_template", "max_length", "max_pixels", "use_hf"),
    *("torch_dtype", "attn_impl", "device_map", "model_revision", "rope_scaling", "enable_thinking"),
)
"""What the model sees depends on these; an answer is only worth scoring if they are those of training."""


def predict(plan: Plan, stage: StagePlan | None, questions: Path, out: Path) -> list[Prediction]:
    """The answers of the model after `stage` (None: of the base) to `questions`, kept in `out`.

    An `out` that is already whole is read, not made again: `swift infer` only ever appends, so it writes to
    a partial file first. Raises `WorkFailed` when an answer is missing.
    """
    rows = _json_lines(questions)
    if not out.is_file():
        partial = out.with_name(out.name + ".partial.jsonl")
        partial.unlink(missing_ok=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        what = f"answers to {questions.name} after {stage.slug if stage else 'no stage'}"
        launch(plan.recipe.launch, "infer", infer_arguments(plan, stage, questions, partial), {}, what=what)
        partial.replace(out)
    answers = _json_lines(out)
    # swift drops our own columns on the way; the images say which question an answer belongs to.
    if [_image(answer) for answer in answers] != [_image(row) for row in rows]:
        raise WorkFailed(f"{out} does not answer {questions} one by one; remove it and run again")
    return [
        Prediction(row["id"], row["task"], answer["response"], json.loads(row["sample"]))
        for row, answer in zip(rows, answers, strict=True)
    ]


def _json_lines(path: Path) -> list[dict[str, Any]]:
    # Not splitlines(): U+2028 and others that it splits at may stand unescaped in a JSON string.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _image(row: Mapping[str, Any]) -> str:
    image = row["images"][0]
    return str(image["path"] if isinstance(image, dict) else image)


def infer_arguments(plan: Plan, stage: StagePlan | None, questions: Path, out: Path) -> list[str]:
    """`swift infer` arguments for greedy decoding of `questions` into `out`."""
    recipe = plan.recipe
    argv = [
        *_weights(plan, stage),
        *("--external_plugins", plan.plugin, "--load_args", "false"),
        *("--val_dataset", str(questions), "--dataset_num_proc", "1", "--val_dataset_shuffle", "false"),
        *("--result_path", str(out), "--infer_backend", "transformers", "--stream", "false"),
        *("--max_batch_size", str(recipe.eval.batch_size), "--temperature", "0"),
        *("--max_new_tokens", str(recipe.eval.max_new_tokens), "--write_batch_size", "1000000"),
    ]
    last = stage or plan.stages[0]
    for name in SAME_AS_IN_TRAINING:
        if name in last.arguments:
            value = last.arguments[name].value
            argv += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return argv


def _weights(plan: Plan, stage: StagePlan | None) -> Sequence[str]:
    if stage is None:
        return ["--model", plan.base]
    left = str(plan.folder(stage) / stage.handed_over)
    if stage.arguments["tuner_type"].value == "lora":
        return ["--model", str(stage.arguments["model"].value), "--adapters", left]
    return ["--model", left]
