"""What our callback does in a stage that samples with vLLM: a check at its start, an eye on every step."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from swift.utils import get_logger
from torch import nn

from skinflow_plugins.bridge.rollouts import parity
from skinflow_plugins.bridge.rollouts.head import leave_out_placeholders
from skinflow_plugins.bridge.rollouts.server import guard
from skinflow_plugins.bridge.settings import REPORT_VARIABLE
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.schema import Rollouts

FILE = "parity.json"
KL = "rollout_correction/kl"


def begin(trainer: Any, rollouts: Rollouts) -> None:
    """Make trainer and engine agree on what may be sampled, and raise `WorkFailed` unless they do."""
    unwrap = trainer.accelerator.unwrap_model
    leave_out_placeholders(unwrap(trainer.model), trainer.processing_class)
    if getattr(trainer, "ref_model", None) is not None:
        leave_out_placeholders(unwrap(trainer.ref_model), trainer.processing_class)
    if getattr(trainer, "vllm_client", None) is not None:
        guard(trainer.vllm_client, rollouts.timeout)
    if trainer.args.async_generate:
        raise WorkFailed(
            "async_generate samples from weights of earlier steps, so nothing can be compared; leave it out"
        )
    found = parity.compare(trainer, rollouts.tolerance)
    get_logger().info(f"skinflow: {found.summary()}")
    if why := found.inconclusive():
        get_logger().warning(f"skinflow: {why}, so that stale weights would not be seen at the start")
    wanted = os.environ.get(REPORT_VARIABLE)
    problems = list(dict.fromkeys(gather_object(found.problems())))  # every process has an engine of its own
    if trainer.accelerator.is_main_process:
        path = Path(wanted) if wanted else Path(trainer.args.output_dir) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**found.as_json(), "problems": problems}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")
    if wanted:
        sys.exit(0)
    parity.require(problems)


def step(trainer: Any, logs: Mapping[str, Any], tolerance: float | None) -> None:
    """Raise `WorkFailed` when a step's samples are not from the model that trains, or nobody can tell.

    As strict as the check at the start, except where a dropout makes the trainer's log-probabilities noisy.
    """
    if "loss" not in logs:  # an evaluation, or the summary at the end
        return
    if KL not in logs:
        raise WorkFailed(
            f"swift did not log {KL}, so nobody can tell whether the samples are from this model"
        )
    limit = parity.tolerance_of(trainer, tolerance)
    if any(isinstance(each, nn.Dropout) and each.p > 0 for each in trainer.model.modules()):
        limit = max(limit, parity.ALIKE_IN_16_BITS)
    if not abs(float(logs[KL])) <= limit:
        raise WorkFailed(
            f"the rollout engine has left the model that trains: {KL} is {logs[KL]}, and {limit:g} is the "
            "limit. The weights may not reach it any more; `skinflow run` goes on from the last checkpoint"
        )
