"""Checkpoints of a stage: which are whole, which is the last, and how its weights are named inside."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.evaluating import record

FINAL, BEST = "final", "best"


def whole(folder: Path) -> list[Path]:
    """The complete checkpoints below `folder`, by step. The trainer writes trainer_state.json last."""
    return sorted(filter(_has_state, folder.glob("checkpoint-*")), key=step_of)


def _has_state(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):  # missing, or cut off in the middle
        return False


def broken(folder: Path) -> list[Path]:
    """Checkpoints that were being written when the process died."""
    return sorted(set(folder.glob("checkpoint-*")) - set(whole(folder)))


def remove_broken(folder: Path) -> list[Path]:
    """Remove what was half written, and say what it was; nothing can be read from such a folder."""
    removed = broken(folder)
    for path in removed:
        shutil.rmtree(path)
    return removed


def step_of(path: Path) -> int:
    """The step after which a checkpoint was taken."""
    return int(path.name.rpartition("-")[2])


def is_last(checkpoint: Path) -> bool:
    """Whether the stage had no step left to do after this checkpoint."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["global_step"]) >= int(state["max_steps"]) > 0


def close(folder: Path, step: int) -> None:
    """End a stage whose last checkpoint is that of `step`: rewards.jsonl out of its parts, and the links."""
    if any(folder.glob(reward_log.PART.format(rank="*"))):
        reward_log.join(folder)
    link_best(folder)
    link_final(folder, step)


def link_final(folder: Path, step: int) -> Path:
    """Point `folder/final` at the checkpoint of the last step; the next stage's plan names this link.

    Raises `FileNotFoundError` when the last step was not saved.
    """
    checkpoint = folder / f"checkpoint-{step}"
    if not checkpoint.is_dir():
        raise FileNotFoundError(f"{checkpoint}: the last step was not saved; is save_strategy 'no'?")
    return _link(folder / FINAL, checkpoint)


def best(folder: Path) -> dict[str, Any] | None:
    """The evaluation of the best checkpoint; None when none is wanted, or none was saved yet."""
    chosen = [row for row in record.read(folder) if row.get("best")]
    there = (row for row in reversed(chosen) if _has_state(folder / f"checkpoint-{row['step']}"))
    return next(there, None)


def link_best(folder: Path) -> Path | None:
    """Point `folder/best` at the best checkpoint; no link, and None, where there is none."""
    link, found = folder / BEST, best(folder)
    if found is None:
        link.unlink(missing_ok=True)
        return None
    return _link(link, folder / f"checkpoint-{found['step']}")


def _link(link: Path, checkpoint: Path) -> Path:
    """A relative link, in one step and whatever stood there."""
    partial = link.with_name(f"{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(checkpoint.name)
    partial.replace(link)
    return link


def keep_module_names() -> None:
    """Let transformers save weights under the names that its modules have; call it any number of times.

    transformers 5 renames on load (`visual.*` to `model.visual.*`) and back on save, but the Trainer's resume
    loads the file's raw names with strict=False: a resumed Qwen2.5-VL run would silently start from its base
    weights. Both kinds of names load with from_pretrained and in vLLM.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.save_pretrained
    if hasattr(original, "skinflow"):
        return

    @functools.wraps(original)
    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("save_original_format", False)
        return original(self, *args, **kwargs)

    save_pretrained.skinflow = True  # type: ignore[attr-defined]
    PreTrainedModel.save_pretrained = save_pretrained
