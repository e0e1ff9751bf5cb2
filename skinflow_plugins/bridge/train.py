"""Run one planned stage to its end: afresh, or from the last whole checkpoint that an interruption left."""

from __future__ import annotations

import json
import time
from pathlib import Path

from skinflow_plugins.bridge import checkpoints
from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.bridge.launch import launch, stage_argv
from skinflow_plugins.bridge.prepare import Say
from skinflow_plugins.bridge.rollouts.reach import reach
from skinflow_plugins.bridge.workspace import Workspace
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.plan import Plan, StagePlan


def train(plan: Plan, stage: StagePlan, workspace: Workspace, say: Say) -> None:
    """Train `stage` unless it is finished; afterwards its folder holds `final`, perhaps `best`, and a marker.

    The marker is written last, so a stage either is finished or will be gone on with.
    """
    if workspace.done(stage.slug):
        say(f"stage {stage.slug} is finished already")
        return
    folder = Path(plan.folder(stage))
    for path in checkpoints.remove_broken(folder):
        say(f"removed {path.name}, which was being written when the last run stopped")
    last = checkpoints.whole(folder)[-1:]
    resume: list[str] = []
    if last:
        say(f"stage {stage.slug} goes on from {last[0].name}")
        resume = ["--resume_from_checkpoint", str(last[0])]
    started = time.monotonic()
    if last and checkpoints.is_last(last[0]):
        # Resumed with rows to spare, the trainer would take one more step before it sees that it is done.
        checkpoints.close(folder, checkpoints.step_of(last[0]))
    else:
        how, more, environment = reach(plan.recipe, stage, say)
        argv = [*stage_argv(plan, stage, how), *more, *resume]
        launch(how, stage.command, argv, {**stage.environment, **environment}, what=f"stage {stage.slug}")
    if (report := folder / "parity.json").is_file():
        say(f"vLLM and trainer: {json.loads(report.read_text(encoding='utf-8'))['summary']}")
    _say_best(stage, folder, say)
    seconds = round(time.monotonic() - started, 1)
    workspace.finish(stage.slug, {"seconds": seconds, "resumed": bool(last), "hands_over": stage.handed_over})


def _say_best(stage: StagePlan, folder: Path, say: Say) -> None:
    """Which checkpoint was the best; `WorkFailed` when one was to be handed over and there is none."""
    wanted = stage.evaluation.best if stage.evaluation else None
    if wanted is None:
        return
    found = checkpoints.best(folder)
    if found is not None:
        say(
            f"best checkpoint of stage {stage.slug}: step {found['step']}, {wanted} "
            f"{found['figures'][wanted]:.3f} on {found['records']} validation records"
        )
    elif stage.handed_over == checkpoints.BEST:
        raise WorkFailed(
            f"stage {stage.slug} was to hand over its best checkpoint by {wanted}, and none has that figure; "
            f"see {folder / record.LOG}"
        )
