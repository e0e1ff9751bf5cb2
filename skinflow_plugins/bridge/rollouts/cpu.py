"""swift's rollouts by vLLM on a machine without an accelerator. Nothing here runs where there is one.

vLLM packs linear weights for its CPU kernels, so that a weight cannot be written in its place any more; NCCL
knows no CPU; and swift counts devices that are not there. What replaces them is vLLM's own reload of weights,
and vLLM's own process group over TCP.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

from swift.utils import get_logger

from skinflow_plugins.errors import InputError, Problem

EXTENSION = "skinflow_plugins.bridge.rollouts.cpu_worker.CpuWorkerExtension"
KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"


def install() -> None:
    """Exchange what cannot work on a CPU, in swift only; call it any number of times. Says so in the log."""
    if os.environ.get(KV_CACHE) is None:
        os.environ[KV_CACHE] = "1"  # GiB; vLLM would take 4, whatever the machine has
    server = sys.modules.get("swift.pipelines.infer.rollout")
    if server is not None:
        _install_server(server)
    else:
        _install_trainer()


def _say(what: str) -> None:
    get_logger().warning(f"skinflow: no accelerator on this machine; {what}")


# --- the trainer ------------------------------------------------------------------------------------------


def _install_trainer() -> None:
    from swift.rlhf_trainers import rollout_mixin, vllm_client

    mixin: Any = rollout_mixin.RolloutTrainerMixin
    original = mixin._load_state_dict_to_vllm
    if hasattr(original, "skinflow"):
        return
    _say("vLLM gets weights by its own reload, and from a server's trainer over TCP in the place of NCCL")

    def load(self: Any, state_dict: dict[str, Any]) -> None:
        if self.vllm_mode == "server":
            original(self, state_dict)
            return
        if len(self.parameter_groups) > 1:
            hint = "leave move_model_batches out"
            raise InputError(Problem("on a CPU all weights are sent to vLLM at once", hint=hint))
        weights = {**state_dict, **_fixed(self.accelerator.unwrap_model(self.model))}
        self.engine.inner_model_executor.collective_rpc(
            "reload_weights", kwargs={"weights_iterator": iter(weights.items())}
        )
        self.engine.engine.reset_mm_cache()

    load.skinflow = True  # type: ignore[attr-defined]
    mixin._load_state_dict_to_vllm = load
    vllm_client.PyNcclCommunicator = TcpCommunicator
    vllm_client._broadcast_tensors_for_vllm_weight_sync = _broadcast


def _fixed(model: Any) -> dict[str, Any]:
    """Tensors that are no parameters, and that a reload would leave as they come from memory."""
    return {
        name.removeprefix("base_model.model."): value  # PEFT's wrapper
        for name, value in model.named_buffers()
        if name.endswith(".base_weight")
    }


def _broadcast(communicator: TcpCommunicator, tensors: Iterable[Any]) -> None:
    for tensor in tensors:
        communicator.broadcast(tensor, src=communicator.rank)


class TcpCommunicator:
    """vLLM's process group over TCP, with the part of PyNcclCommunicator's interface that swift uses."""

    def __init__(self, group: Any, device: Any = None, **_: Any) -> None:
        import torch

        self.group, self.rank, self.device = group, group.rank, torch.device("cpu")
        self.available, self.disabled = True, False

    def broadcast(self, tensor: Any, src: int, stream: Any = None) -> None:
        """Fill `tensor` (any shape) with that of rank `src`, in place."""
        sent = self.group.broadcast_obj(tensor.detach().clone() if self.rank == src else None, src)
        if self.rank != src:
            tensor.copy_(sent)


# --- the server -------------------------------------------------------------------------------------------


def _install_server(rollout: Any) -> None:
    original = rollout.GRPOVllmEngine
    if hasattr(original, "skinflow"):
        return
    _say("the server counts the CPU as a device, and reloads weights the way vLLM does on a CPU")
    arguments: Any = importlib.import_module("swift.arguments").RolloutArguments
    arguments._check_device_count = lambda self: None

    def engine(**keywords: Any) -> Any:
        keywords["engine_kwargs"] = {**keywords.get("engine_kwargs", {}), "worker_extension_cls": EXTENSION}
        return original(**keywords)

    engine.skinflow = True  # type: ignore[attr-defined]
    rollout.GRPOVllmEngine = engine
