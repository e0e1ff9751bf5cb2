"""What each stage trains, and which part of it gets a gradient, as swift itself finds out in one step.

Nothing about freezing is computed here: `swift sft`'s own pipeline builds the model with the stage's planned
arguments, the Trainer makes one step over a handful of the stage's rows, and we look at the parameters where
its optimizer is about to step. It never does, so no optimizer state is needed, and nothing is saved.

A grpo stage is looked at by the same pipeline, and not by `swift rlhf`: the rewards of a model that has
learnt nothing may all be equal, and then no parameter has a gradient, whatever trains. Its gradients are
those of the supervised loss on the reference answers to its own questions. What is trained comes from
arguments that both programs read by the same code (`TunerMixin.prepare_model`); a test compares the two.

Every stage starts from the base model, because the checkpoint of the stage before does not exist yet. It has
the same parameters; only routers and adapters are fresh. There is one process and no DeepSpeed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.bridge.entry_path import plugin_path
from skinflow_plugins.bridge.launch import variables
from skinflow_plugins.bridge.model_parts import Part, homes_of, parts_of
from skinflow_plugins.bridge.prepare import write_base, write_rows, write_text
from skinflow_plugins.bridge.settings import settings_of
from skinflow_plugins.bridge.stage_rows import stage_rows
from skinflow_plugins.bridge.swift_yaml import arguments_of
from skinflow_plugins.errors import SkinflowError, WorkFailed
from skinflow_plugins.recipe import swift_arguments
from skinflow_plugins.recipe.plan import Plan, StagePlan, plan
from skinflow_plugins.recipe.schema import Launch, Recipe, Stage, Teach

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.data.record import Record

HANDFUL = 4
"""Rows of the step."""

_NOT_NOW = re.compile(
    r"deepspeed.*|zero_hpz_.*|fsdp.*|ddp_.*|sequence_parallel_size|use_ray|use_flash_ckpt|torch_compile.*"
    r"|push_to_hub|hub_.*|eval_.*|load_best_model_at_end|metric_for_best_model|num_train_epochs"
)
"""swift arguments for many processes, checkpoints and long runs; none of them chooses what trains."""

_OF_REWARDS = ("loss_type", "loss_scale")
"""swift arguments that an sft stage has too, but understands otherwise."""

_ONE_STEP: Mapping[str, Any] = {
    "max_steps": 1,
    "max_grad_norm": 1.0e30,  # clipping would change the norms; 0 would leave those of float16 scaled
    "save_strategy": "no",
    "report_to": ["none"],
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
    "load_from_cache_file": False,
}


@dataclass(frozen=True)
class Probe:
    """What one stage trains, by part; parts that the model does not have are left out."""

    stage: Stage
    parts: tuple[Part, ...]

    @property
    def trained(self) -> int:
        """Parameters that train, of all parts together."""
        return sum(part.trained for part in self.parts)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(part.parameters for part in self.parts)

    def part(self, name: str) -> Part:
        """The part of this name; an empty one when the model does not have it."""
        empty = Part(name, 0, 0, None, 0, ())
        return next((part for part in self.parts if part.name == name), empty)


def probe(recipe: Recipe, catalogue: Catalogue, stage: Stage, records: Sequence[Record], root: Path) -> Probe:
    """What `stage` trains, after one step below `root`, a temporary folder that all stages of a recipe share.

    `records` are all that the data source gives. Raises `InputError` where the run would, and `WorkFailed`
    when swift fails or no record has a reference answer.
    """
    alone = supervised(recipe, stage)
    planned = plan(alone, catalogue, root=root, plugin=plugin_path())
    (twin,) = planned.stages
    write_base(planned, catalogue, records, lambda _: None)
    write_rows(root / "data" / f"{twin.slug}.jsonl", _rows(recipe, stage, planned, twin, records))
    write_text(Path(twin.environment["SKINFLOW_STAGE"]), settings_of(planned, twin).to_json())
    # swift keeps a copy of every data file that it reads in the modelscope cache, for ever.
    environment = {**twin.environment, "MODELSCOPE_CACHE": str(root / "cache"), "HF_HUB_OFFLINE": "1"}
    try:
        with variables(environment):
            parts = _measured(arguments_of(twin), planned.family.vision_tower)
    except SkinflowError:
        raise
    except (Exception, SystemExit) as error:  # argparse exits
        raise WorkFailed(f"stage {stage.name}: swift failed: {type(error).__name__}: {error}") from error
    finally:
        _free()
    return Probe(stage, parts)


def import_swift() -> None:
    """Nothing; swift is imported, and its log writes to the standard error of this moment."""
    import swift.pipelines  # noqa: F401


def supervised(recipe: Recipe, stage: Stage) -> Recipe:
    """The recipe with this one stage, as an sft stage of one step from the base that trains the same."""
    given = {
        name: value
        for name, value in swift_arguments.given(recipe, stage).items()
        if name in swift_arguments.arguments("sft")
        and not _NOT_NOW.fullmatch(name)
        and not (stage.kind == "grpo" and name in _OF_REWARDS)
    }
    batch = min(int(given.get("per_device_train_batch_size", 1)), HANDFUL)
    size = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": max(1, HANDFUL // batch)}
    twin = dataclasses.replace(
        stage,
        kind="sft",
        task=None,
        teach={stage.task: Teach()} if stage.task is not None else stage.teach,
        rewards=(),
        swift={**given, **size, **_ONE_STEP},
        gate=None,
        replay=None,
        balance=None,
        init="base",
    )
    vision = recipe.model.vision
    if "link" in vision.options:  # never copy gigabytes for one step
        vision = dataclasses.replace(vision, options={**vision.options, "link": "symlink"})
    model = dataclasses.replace(recipe.model, vision=vision)
    return dataclasses.replace(recipe, model=model, stages=(twin,), swift={}, launch=Launch("inline", 1))


def _rows(
    recipe: Recipe, stage: Stage, planned: Plan, twin: StagePlan, records: Sequence[Record]
) -> list[dict[str, Any]]:
    if stage.task is not None:
        caption = recipe.tasks[stage.task].target == "caption"
        records = [
            each
            for each in records
            if (any(each.caption.get(name) for name in recipe.captions) if caption else each.diagnosis)
        ]
    rows = stage_rows(planned.recipe, twin, records) if any(each.split == "train" for each in records) else []
    answered = [row for row in rows if row["messages"][-1]["content"]]
    if not answered:
        raise WorkFailed(
            f"stage {stage.name}: no training record has a reference answer, so there is no loss whose "
            "gradient could be looked at"
        )
    return answered


# --- in swift's process ------------------------------------------------------------------------------------


class _Enough(Exception):
    """The step has been seen; what would follow is the optimizer's."""


def _measured(argv: Sequence[str], tower: str) -> tuple[Part, ...]:
    from swift.pipelines import SwiftSft
    from transformers import TrainerCallback

    from skinflow_plugins.bridge.register import register

    found: list[Part] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            found[:] = parts_of(kwargs["model"], homes, step=True)
            raise _Enough

    class OneStep(SwiftSft):
        def train(self, trainer: Any) -> None:
            found[:] = parts_of(trainer.model, homes, step=False)
            if any(part.trained for part in found):  # the Trainer would say "list index out of range"
                trainer.add_callback(Look())
                with contextlib.suppress(_Enough):
                    trainer.train()

    register()
    pipeline = OneStep(list(argv))
    homes = homes_of(pipeline.args.model_meta.model_arch, tower)
    pipeline.main()
    return tuple(found)


def _free() -> None:
    """Give the memory of a model back before the next one is built."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
