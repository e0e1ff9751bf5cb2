import subprocess
import sys
from typing import Any, Literal

import pytest

from skinflow_plugins.recipe import swift_arguments
from skinflow_plugins.recipe.swift_arguments import OWNED, arguments, describe, mistake

# The shared part of both sides is compared as text; enumerations of transformers are Literals on our side.
ASK_SWIFT = """
import dataclasses, json, re, torch
if torch.version.cuda is None:  # torchvision's CUDA build cannot load its library on a CPU
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        try:
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:
            pass  # our own cure was there first
from swift.arguments import RLHFArguments, SftArguments
shown = lambda kind: kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
found = {kind: [(f.name, shown(f.type)) for f in dataclasses.fields(cls)]
         for kind, cls in (("sft", SftArguments), ("grpo", RLHFArguments))}
print("ANSWER" + json.dumps(found))
"""


def _as_text(annotation: Any) -> str:
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__name__ if plain else str(annotation)


def _normal(text: str) -> str:
    return text.replace("typing.", "").replace("List[", "list[").replace("Dict[", "dict[")


@pytest.mark.slow
def test_the_sources_say_the_same_as_the_imported_classes():
    import json

    run = subprocess.run([sys.executable, "-c", ASK_SWIFT], capture_output=True, text=True, check=False)
    answer = next((line for line in run.stdout.splitlines() if line.startswith("ANSWER")), None)
    assert answer, run.stderr[-2000:]
    real = json.loads(answer.removeprefix("ANSWER"))
    for kind in ("sft", "grpo"):
        ours = arguments(kind)
        assert list(ours) == [name for name, _ in real[kind]]
        differing = {name for name, text in real[kind] if _normal(text) != _normal(_as_text(ours[name]))}
        # transformers' enumerations and configuration classes, which we read as choices or leave open
        assert differing == {
            "debug",
            "generation_config",
            "hub_strategy",
            "logging_strategy",
            "optim",
            "parallelism_config",
            "save_strategy",
        }


def test_what_the_plan_owns_are_arguments_of_swift():
    assert set(OWNED) <= set(arguments("grpo"))


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("learning_rate", float | None),
        ("max_steps", int),
        ("use_vllm", bool),
        ("num_generations", int),  # swift's own, over a base class of trl's kind
        ("loss_type", list[str] | None),  # RLHFArguments overrides the text of SftArguments
        ("deepspeed", dict | str | None),
        ("torch_dtype", Literal["bfloat16", "float16", "float32", None]),
        ("save_strategy", Literal["no", "steps", "epoch", "best"]),
    ],
)
def test_annotations(name: str, annotation: Any):
    assert arguments("grpo")[name] == annotation


def test_a_stage_kind_knows_only_its_own():
    assert "num_generations" not in arguments("sft")
    assert arguments("sft")["loss_type"] == (str | None)


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("lerning_rate", 1e-6, "no argument 'lerning_rate'; did you mean 'learning_rate'", ""),
        (
            "num_gen",
            4,
            "did you mean 'num_generations' or 'num_generations_eval'?",
            "guess at an abbreviation",
        ),
        (
            "learning_rate",
            "1e-6",
            "found '1e-6', but swift's 'learning_rate' is a number",
            "write 1e-6 without",
        ),
        ("max_steps", 1.5, "is a whole number", ""),
        ("max_steps", True, "found True", ""),
        ("gradient_checkpointing", "yes", "is true or false", "without quotes"),
        ("torch_dtype", "bf16", "one of 'bfloat16', 'float16', 'float32'", ""),
        ("save_strategy", "stepz", "one of 'no', 'steps', 'epoch', 'best'", ""),
        ("vllm_server_port", ["a"], "a list (a whole number each)", ""),
        ("loss_weights", {"a": 1.0}, "a list (a number each)", ""),
        ("system", None, "the text 'None'", "leave the key out"),
        ("target_modules", [], "an empty list", "leave the key out"),
        ("model", "x", "set by skinflow itself", "use model.base instead"),
        ("reward_funcs", ["format"], "set by skinflow itself", "use stages[].rewards instead"),
    ],
)
def test_mistakes(name: str, value: Any, message: str, hint: str):
    found = mistake(name, value, "grpo")
    assert found is not None
    assert message in found[0]
    assert hint in found[1]


def test_an_argument_of_the_other_kind():
    assert mistake("beta", 0.1, "sft") == (
        "'beta' is an argument of grpo stages, not of sft stages",
        "move it to `swift:` of the grpo stages",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1),
        ("max_steps", 10),
        ("report_to", "none"),  # one value of a list
        ("report_to", ["tensorboard", "wandb"]),
        ("deepspeed", "zero2"),
        ("deepspeed", {"zero_optimization": {"stage": 2}}),
        ("lr_scheduler_kwargs", {"min_lr": 1e-7}),
        ("save_strategy", "no"),
        ("run_name", 12),
        ("quant_bits", 4),
        ("fp16", False),
    ],
)
def test_right_values(name: str, value: Any):
    assert mistake(name, value, "grpo") is None


def test_absent_swift_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(swift_arguments, "_CLASSES", {"sft": ("no_such_swift.arguments", "SftArguments")})
    arguments.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match="no_such_swift is not installed"):
            arguments("sft")
    finally:
        arguments.cache_clear()


def test_descriptions():
    assert describe(float | None) == "a number"
    assert describe(dict | str | None) == "a mapping or text"
