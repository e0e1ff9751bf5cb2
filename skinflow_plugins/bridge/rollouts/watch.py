"""What our callback does in a stage that samples with vLLM: a check at its start, an eye on every step."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.utils import get_logger

from skinflow_plugins.bridge.rollouts import parity
from skinflow_plugins.bridge.rollouts.head import leave_out_placeholders
from skinflow_plugins.bridge.rollouts.server import guard
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.schema import Rollouts

REPORT_VARIABLE = "SKINFLOW_PARITY"
"""Names the file for the report of `skinflow doctor --parity`, which wants no training."""
FILE = "parity.json"
KL = "rollout_correction/kl"


def begin(trainer: Any, rollouts: Rollouts) -> None:
    """Make trainer and engine agree on what may be sampled, and raise `WorkFailed` unless they do."""
    leave_out_placeholders(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class)
    if getattr(trainer, "ref_model", None) is not None:
        leave_out_placeholders(trainer.accelerator.unwrap_model(trainer.ref_model), trainer.processing_class)
    if getattr(trainer, "vllm_client", None) is not None:
        guard(trainer.vllm_client, rollouts.timeout)
    if trainer.args.async_generate:
        get_logger().warning("skinflow: async_generate samples from older weights; they are not compared")
        return
    found = parity.compare(trainer, rollouts.tolerance)
    get_logger().info(f"skinflow: {found.summary()}")
    wanted = os.environ.get(REPORT_VARIABLE)
    if trainer.accelerator.is_main_process:
        path = Path(wanted) if wanted else Path(trainer.args.output_dir) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    if wanted:
        sys.exit(0)
    parity.require(found)


def step(trainer: Any, logs: Mapping[str, Any], tolerance: float | None) -> None:
    """Raise `WorkFailed` when a step's samples are not from the model that trains.

    Wider than the check at the start, because dropout is on, and a policy may move within a batch.
    """
    if KL not in logs or trainer.args.async_generate:
        return
    limit = max(parity.ALIKE_IN_16_BITS, tolerance or 0.0)
    value = abs(float(logs[KL]))
    if not value <= limit or math.isnan(value):
        raise WorkFailed(
            f"the rollout engine has left the model that trains: {KL} is {logs[KL]}, and {limit:g} is much "
            "already. The weights may not reach it any more; `skinflow run` goes on from the last checkpoint"
        )
