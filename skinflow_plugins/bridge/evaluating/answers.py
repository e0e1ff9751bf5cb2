"""Greedy answers of the model in training, by whatever generates in its trainer.

Every process takes a share. All make equally many calls with equally many rows, because sharded weights are
gathered, and a rollout server is asked, by all of them together.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object
from swift.infer_engine import InferRequest, RequestConfig, TransformersEngine
from swift.utils import unwrap_model_for_generation

from skinflow_plugins.bridge.evaluating.undisturbed import undisturbed
from skinflow_plugins.engine.plugin import bases
from skinflow_plugins.models.placeholders import never_sampled

Row = Mapping[str, Any]


def greedy_answers(trainer: Any, rows: Sequence[Row], *, batch_size: int, max_new_tokens: int) -> list[str]:
    """The answer to each row, in every process; the training goes on as if nobody had asked.

    `batch_size` rows are asked at once in each process, with the settings of `swift infer` after the stage.
    """
    process, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    share = math.ceil(len(rows) / processes)
    # The last row stands in where a share would be smaller; its answers are left out below.
    mine = [rows[min(place, len(rows) - 1)] for place in range(process * share, (process + 1) * share)]
    batches = [mine[start : start + batch_size] for start in range(0, share, batch_size)]
    ask = _by_vllm if getattr(trainer.args, "use_vllm", False) else _by_transformers
    with undisturbed(trainer):
        answers = ask(trainer, batches, RequestConfig(max_tokens=max_new_tokens, temperature=0))
    gathered: list[str] = gather_object(answers)
    return gathered[: len(rows)]


def _by_transformers(trainer: Any, batches: Sequence[Sequence[Row]], request: RequestConfig) -> list[str]:
    template = copy.copy(trainer.template)
    template.packing = template.padding_free = False
    template.sequence_parallel_size = 1
    template.remove_unused_columns = True
    model = trainer.accelerator.unwrap_model(trainer.model)
    engine = TransformersEngine(model, template=template, max_batch_size=0)
    # An SFT trainer's own generation config stays as its checkpoints will have it.
    config = copy.deepcopy(engine.generation_config)
    tokenizer, model_type = trainer.processing_class, model.config.model_type
    config.suppress_tokens = list(never_sampled(tokenizer, model_type, config, bases())) or None
    engine.generation_config = config
    answers: list[str] = []
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
        ),
        trainer.template.generate_context(),
    ):
        for batch in batches:
            asked = [
                InferRequest(messages=copy.deepcopy(row["messages"]), images=row["images"]) for row in batch
            ]
            found = engine.infer(asked, request, use_tqdm=False)
            answers += [each.choices[0].message.content for each in found]
    return answers


def _by_vllm(trainer: Any, batches: Sequence[Sequence[Row]], request: RequestConfig) -> list[str]:
    """Through swift's own rollout: it sends the weights, wakes and sleeps the engine, or asks the server."""
    metrics, config = trainer._metrics, trainer.request_config
    trainer._metrics = {mode: type(values)(list) for mode, values in metrics.items()}
    trainer.request_config = copy.copy(request)
    trainer.request_config.return_details = True
    trainer._last_loaded_step = -1
    answers: list[str] = []
    try:
        for batch in batches:
            asked = [
                {
                    "messages": row["messages"],
                    "images": [{"bytes": None, "path": path} for path in row["images"]],
                }
                for row in batch
            ]
            found = trainer._generate_completions(trainer.to_samples(asked))
            answers += [each.messages[-1]["content"] for each in found]
    finally:
        trainer._metrics, trainer.request_config = metrics, config
        # The next round of samples gets the weights, and empty caches, as it would have without us.
        trainer._last_loaded_step = -1
    return answers
