"""A row recorded as a CUDA graph: its time on the GPU without what the host takes to launch it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from skinflow_bench.clocks import Timed


def as_graph(timed: Timed, device: torch.device) -> Timed:
    """What replays the work of `timed`, which must not wait for the GPU: RuntimeError where it does."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(2):  # kernels are compiled and memory is taken before anything is recorded
            timed.run(timed.before())
    torch.cuda.current_stream(device).wait_stream(stream)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = timed.run(timed.before())
    replay: Callable[[], None] = graph.replay

    def run(
        _: object, kept: object = kept
    ) -> None:  # the outputs' memory belongs to the graph while they live
        replay()

    return Timed(run)
