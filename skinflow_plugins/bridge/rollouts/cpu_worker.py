"""What vLLM's worker does with the weights of a trainer, on a CPU: collect them all, then reload."""

from __future__ import annotations

from typing import Any

import torch
from swift.pipelines.infer import rollout

from skinflow_plugins.bridge.rollouts.cpu import TcpCommunicator

rollout.PyNcclCommunicator = TcpCommunicator
rollout.synchronize = lambda *_: None


class CpuWorkerExtension(rollout.WeightSyncWorkerExtension):
    """swift's own extension, for a worker whose linear weights are packed and cannot be written in place."""

    def update_flattened_params(self, metadatas: list[dict[str, Any]]) -> None:
        """Receive one bucket of weights."""
        buckets = [rollout.FlattenedTensorMetadata(**metadata) for metadata in metadatas]
        if self.communicator is None:
            raise RuntimeError("Communicator not initialized. Call `init_communicator` first.")
        flat = torch.empty(buckets[-1].end_idx, dtype=torch.uint8)
        self.communicator.broadcast(flat, src=self.client_rank)
        self.communicator.group.barrier()
        bucket = rollout.FlattenedTensorBucket(metadata=buckets, flattened_tensor=flat)
        self._collect(bucket.reconstruct_tensors())

    def update_named_param(self, name: str, dtype: str, shape: Any) -> None:
        """Receive one weight."""
        if self.communicator is None:
            raise RuntimeError("Communicator not initialized. Call `init_communicator` first.")
        weight = torch.empty(tuple(shape), dtype=getattr(torch, dtype.split(".")[-1]))
        self.communicator.broadcast(weight, src=self.client_rank)
        self.communicator.group.barrier()
        self._collect({name: weight})

    def process_weights_after_loading(self) -> None:
        """Reload with everything that was received since the last time."""
        weights = self.__dict__.pop("_received", {})
        if not weights:
            raise RuntimeError("no weights were received since the last reload")
        for name, value in self.model_runner.model.named_buffers():
            if name.endswith(".base_weight"):  # never sent, and a reload leaves it as it comes from memory
                weights[name] = value.clone()
        self.model_runner.reload_weights(weights_iterator=iter(weights.items()))

    def _collect(self, weights: dict[str, torch.Tensor]) -> None:
        self.__dict__.setdefault("_received", {}).update(
            {name: weight.clone() for name, weight in weights.items()}
        )
