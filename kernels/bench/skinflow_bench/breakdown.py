"""Where the time of a row goes, kernel by kernel (on a CPU, operator by operator), by torch's profiler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from skinflow_bench.clocks import Timed

SHOWN = 8


def costs(timed: Timed, device: torch.device) -> dict[str, float]:
    """Microseconds of one run by kernel, largest first; an error where the profiler may not look."""
    on_gpu = device.type == "cuda"
    runs = 10 if on_gpu else 2
    timed.run(timed.before())
    made = [timed.before() for _ in range(runs)]
    if on_gpu:
        torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        for each in made:
            timed.run(each)
        if on_gpu:
            torch.cuda.synchronize(device)
    found: Counter[str] = Counter()
    for event in profiler.events() or ():
        if not on_gpu:
            found[event.name] += event.self_cpu_time_total / runs
        elif event.device_type == DeviceType.CUDA:
            found[event.name] += event.self_device_time_total / runs
    return dict(found.most_common())


def report(title: str, timed: Timed, device: torch.device) -> Iterator[str]:
    """The largest costs as lines to print."""
    try:
        found = costs(timed, device)
    except Exception as error:  # profilers are forbidden on some machines
        yield f"{title}: no breakdown: {type(error).__name__}: {error}"
        return
    total = sum(found.values())
    yield f"{title}: {total:.0f} us in kernels" if total else f"{title}: the profiler saw no kernel"
    for name, cost in list(found.items())[:SHOWN]:
        yield f"  {cost:9.0f} us {cost / total:6.1%}  {name[:90]}"
