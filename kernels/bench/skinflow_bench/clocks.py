"""How long something takes, on a CPU or a GPU: all rows of a case in turn, again and again.

Every round runs the rows one after another, every other round backwards, so that a change of clocks or of
other work on the machine meets all of them; a ratio is the median over rounds of the ratios within a round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

QUANTILES = (0.2, 0.5, 0.8)


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Timed:
    """What is timed: `run`, given what `before` has made, which is not timed."""

    run: Callable[[Any], object]
    before: Callable[[], Any] = _nothing


@dataclass
class Samples:
    """Milliseconds by round; those until a call came back; the most bytes beyond those held before."""

    milliseconds: dict[int, float] = field(default_factory=dict)
    host: float = 0.0
    peak: int | None = None

    def quantiles(self) -> list[float]:
        """Milliseconds at 20, 50 and 80 %."""
        values = sorted(self.milliseconds.values())
        return [_quantile(values, share) for share in QUANTILES]

    def ratio(self, base: Samples) -> float:
        """The median over rounds of its time to that of another row in the same round."""
        both = self.milliseconds.keys() & base.milliseconds.keys()
        return statistics.median(self.milliseconds[r] / base.milliseconds[r] for r in both)


def _quantile(values: list[float], share: float) -> float:
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


class Clock(Protocol):
    """One way to measure time. `least` and `most` bound the rounds of a row, `budget` the milliseconds spent
    on it.

    `estimates` are the runs before them that say how long it takes.
    """

    least: int
    most: int
    budget: float
    estimates: int

    def start(self, timed: Timed) -> Callable[[], tuple[float, float]]:
        """Run it once; the function given back waits and says how many milliseconds it and the host took."""

    def peak(self, timed: Timed) -> int | None:
        """The most bytes that a run holds beyond those held before it, where that can be known."""

    def recover(self) -> None:
        """After an error: raises it again when nothing can be measured any more."""


class CPUClock:
    """CPU time of the process with one thread, where other work disturbs it less; else time on the wall."""

    def __init__(self, *, repeats: int, budget: float = 60_000.0) -> None:
        self.least, self.most, self.budget, self.estimates = min(3, repeats), repeats, budget, 1

    def start(self, timed: Timed) -> Callable[[], tuple[float, float]]:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        made = timed.before()
        begun = clock()
        timed.run(made)
        took = (clock() - begun) * 1e3
        return lambda: (took, took)

    def peak(self, timed: Timed) -> int | None:
        return None

    def recover(self) -> None:
        pass


class CUDAClock:
    """Events on the GPU around each run, the L2 cache emptied before it, as triton.testing.do_bench does.

    Nothing waits for the GPU within a round, so that the host is ahead; where it is not, because a row waits
    or launches many small kernels, its time holds the gaps, as it would in training.
    """

    def __init__(self, device: torch.device, *, repeats: int, budget: float = 20.0) -> None:
        self.device = device
        self.least, self.most, self.budget, self.estimates = min(5, repeats), repeats, budget, 3
        self._flush = torch.empty(64 * 2**20, dtype=torch.int32, device=device)  # 256 MB

    def start(self, timed: Timed) -> Callable[[], tuple[float, float]]:
        made = timed.before()
        self._flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        begun = time.perf_counter()
        timed.run(made)
        host = (time.perf_counter() - begun) * 1e3
        end.record()

        def took() -> tuple[float, float]:
            end.synchronize()
            return begin.elapsed_time(end), host

        return took

    def peak(self, timed: Timed) -> int | None:
        torch.cuda.synchronize(self.device)
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        timed.run(timed.before())
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before

    def recover(self) -> None:
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()


def measure(
    clock: Clock, timed: Mapping[str, Timed], bases: Collection[str] = ()
) -> tuple[dict[str, Samples], dict[str, str]]:
    """Samples of every row, and why there are none of the others.

    Fast rows have more rounds than slow ones, within the clock's bounds; `bases`, which others are compared
    with, take part in every round.
    """
    samples: dict[str, Samples] = {}
    why: dict[str, str] = {}
    rounds: dict[str, int] = {}
    for name, row in timed.items():
        try:
            clock.start(row)()  # compiles and warms up
            peak = clock.peak(row)
            runs = [clock.start(row)() for _ in range(clock.estimates)]
        except Exception as error:
            why[name] = reason(error)
            clock.recover()
            continue
        estimate, host = (statistics.median(each) for each in zip(*runs, strict=True))
        samples[name] = Samples(host=host, peak=peak)
        rounds[name] = int(min(max(clock.budget / max(estimate, 1e-3), clock.least), clock.most))
    most = max(rounds.values(), default=0)
    for name in rounds.keys() & set(bases):
        rounds[name] = most
    for turn in range(most):
        running = []
        for name in list(samples)[:: -1 if turn % 2 else 1]:
            # spread evenly over all rounds
            if (turn + 1) * rounds[name] // most > turn * rounds[name] // most:
                running.append((name, clock.start(timed[name])))
        for name, took in running:
            samples[name].milliseconds[turn], _ = took()
    return samples, why


def reason(error: BaseException) -> str:
    """An error in one short line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:200]
