"""What is timed: the layer by its backends, and what it is compared with.

A row is prepared for a case: a function that computes the output, and the tensors whose gradients are asked
for. What is done with it (forward, backward, both) is the same for all rows. To measure something else, add a
Row to `rows`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from skinflow_bench.cases import QWEN2_5, Case, Setting
from skinflow_bench.clocks import Timed
from skinflow_bench.floors import BACKWARD, BOTH, FORWARD
from skinflow_kernels import follow_weight, virtual_width_linear, virtual_width_linear_reference

MODES = (FORWARD, BACKWARD, BOTH)
TRAININGS = ("frozen", "fixed bases", "trained")
"""The weight is frozen and routers learn; it is trained, its bases stay; it is trained, its bases follow."""

LINEAR = "nn.Linear"


@dataclass(frozen=True)
class Prepared:
    """The output of a case, and by name the tensors that it has gradients to."""

    forward: Callable[[], Tensor]
    trained: dict[str, Tensor]

    def gradients(self, y: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
        """The gradients of `trained`, in that order."""
        return torch.autograd.grad(y, list(self.trained.values()), dy)

    def timed(self, mode: str, dy: Tensor) -> Timed:
        """What is timed of it in a mode."""
        if mode == FORWARD:
            return Timed(lambda _: torch.no_grad()(self.forward)())
        if mode == BACKWARD:
            return Timed(lambda y: self.gradients(y, dy), before=self.forward)
        return Timed(lambda _: self.gradients(self.forward(), dy))


def _nothing(setting: Setting) -> str:
    return ""


def _once(case: Case) -> float:
    return 1.0


def image_by_image(case: Case) -> float:
    """For rows whose gradient of the weight is added up image by image, rounded to its dtype each time.

    In float32 that of an amplitude is one sum of millions of products: as many roundings, in no good order.
    """
    return 8.0 if case.dtype == torch.float32 else float(max(1.0, case.images**0.5))


@dataclass(frozen=True)
class Row:
    """A way to compute the layer. `expected` is the same by the definition, in float64, for the check.

    `operation` is its name in the table of tolerances, and `checked_in` another dtype than the case's where
    that table has no value for that one; `times` is by how much its error may exceed the table's on a case.
    `cannot` gives the reason why it cannot compute a setting, "" where it can. `graph` rows are replayed as a
    CUDA graph.
    """

    name: str
    training: str
    prepare: Callable[[Case], Prepared]
    expected: Callable[[Case], Prepared]
    operation: str = "layer"
    checked_in: str = ""
    times: Callable[[Case], float] = _once
    cannot: Callable[[Setting], str] = _nothing
    modes: tuple[str, ...] = MODES
    graph: bool = False

    @property
    def label(self) -> str:
        """Name and training, as printed."""
        return f"{self.name}, {self.training}"

    def label_of(self, mode: str) -> str:
        """Name, training and mode; forward is the same whatever is trained."""
        return f"{self.name}, {mode}" if mode == FORWARD else f"{self.name}, {self.training}, {mode}"

    def setting_for_check(self, setting: Setting) -> Setting:
        """The setting, in a dtype that the table of tolerances has for this row."""
        return replace(setting, dtype=self.checked_in or setting.dtype)


def _chosen(case: Case, training: str, *, gains: bool) -> dict[str, Tensor]:
    found = {"x": case.x}
    if training != "frozen":
        found |= {"weight": case.weight, "bias": case.bias}
    return found | (case.gains if gains else {})


def linear(training: str) -> Callable[[Case], Prepared]:
    """nn.Linear with the weight of the layer."""

    def prepare(case: Case) -> Prepared:
        trained = _chosen(case, training, gains=False)
        weight, bias = (t if training != "frozen" else t.detach() for t in (case.weight, case.bias))
        return Prepared(lambda: functional.linear(case.x, weight, bias), trained)

    return prepare


def layer(compute: Callable[..., Tensor], training: str) -> Callable[[Case], Prepared]:
    """The layer by `compute`, with given amplitudes and gains."""

    def prepare(case: Case) -> Prepared:
        frozen = training == "frozen"
        weight, bias = (t.detach() if frozen else t for t in (case.weight, case.bias))

        def forward() -> Tensor:
            bases = case.bases.detach()
            if training == "trained":
                bases = follow_weight(weight, bases, case.thresholds)
            return compute(case.x, case.segments, weight, bases, case.band_delta, bias, **_of_channels(case))

        return Prepared(forward, _chosen(case, training, gains=True))

    return prepare


def _of_channels(case: Case) -> dict[str, Tensor]:
    return {"input_gain": case.input_gain, "output_gain": case.output_gain}


def wide(case: Case) -> Case:
    """The same numbers in float64."""
    found = copy.copy(case)
    for name, value in vars(case).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            setattr(found, name, value.detach().double().requires_grad_(value.requires_grad))
    return found


@cache
def by_definition(training: str) -> Callable[[Case], Prepared]:
    """The layer by its definition, in float64; the same function each time, so that it is computed once."""
    return lambda case: layer(virtual_width_linear_reference, training)(wide(case))


def backend(name: str) -> Callable[..., Tensor]:
    """Our op with one backend; the revisions before there were several take no name of one."""
    if name == "auto" and "backend" not in inspect.signature(virtual_width_linear).parameters:
        return virtual_width_linear
    return lambda *arguments, **keywords: virtual_width_linear(*arguments, **keywords, backend=name)


def _graphed(setting: Setting) -> str:
    """Recording takes time too: the other cases go without."""
    targeted = setting.bands == 4 and setting.shape in QWEN2_5
    return "" if targeted else "recorded only for K=4 and the shapes of Qwen2.5-VL"


def op_rows(names: list[str], *, graphs: bool = False) -> Iterator[Row]:
    """Our op by each of these backends; with `graphs`, Triton's also as a CUDA graph."""
    for name in names:
        for training in TRAININGS:
            expected = by_definition(training)
            yield Row(name, training, layer(backend(name), training), expected)
            if graphs and name == "triton":
                prepare = layer(backend(name), training)
                yield Row(
                    f"{name}, CUDA graph",
                    training,
                    prepare,
                    expected,
                    cannot=_graphed,
                    modes=(FORWARD, BOTH),
                    graph=True,
                )


def linear_rows(*, graphs: bool = False) -> Iterator[Row]:
    """nn.Linear with all of its gradients, which ratios are to; and frozen, with that of x alone."""
    for training in ("trained", "frozen"):
        yield Row(LINEAR, training, linear(training), _wide_linear(training))
    if graphs:
        name, modes = f"{LINEAR}, CUDA graph", (FORWARD, BOTH)
        expected = _wide_linear("trained")
        yield Row(name, "trained", linear("trained"), expected, cannot=_graphed, modes=modes, graph=True)


@cache
def _wide_linear(training: str) -> Callable[[Case], Prepared]:
    return lambda case: linear(training)(wide(case))
