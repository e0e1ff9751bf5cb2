"""What has to be in place in a swift process before it meets vLLM."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from skinflow_plugins.bridge import settings
from skinflow_plugins.bridge.rollouts import sync
from skinflow_plugins.recipe.schema import Rollouts


def wanted() -> Rollouts | None:
    """The rollouts of the stage that this process runs; those of swift's own arguments without a recipe.

    None when the stage samples with transformers, in other programs of swift, or without vLLM.
    """
    if importlib.util.find_spec("vllm") is None:
        return None
    stage = settings.current()
    if stage is None:
        served = "swift.pipelines.infer.rollout" in sys.modules
        return Rollouts(engine="vllm") if served or Path(sys.argv[0]).stem == "rlhf" else None
    return stage.rollouts if stage.rollouts.engine == "vllm" else None


def install() -> None:
    """Make swift's rollouts work on this machine; call it any number of times."""
    if wanted() is None:
        return
    import torch

    if "swift.pipelines.infer.rollout" not in sys.modules:
        sync.send_active_copies()
    if not torch.accelerator.is_available():
        from skinflow_plugins.bridge.rollouts import cpu

        cpu.install()
