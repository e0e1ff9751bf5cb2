"""What a plug-in declares: rewards, metrics, data sources and vision encoders as plain functions.

A decorator turns a function into a small frozen record that the catalogue lists and the recipe checks. The
function stays callable under its own name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skinflow_plugins.options import Option, options_of

if TYPE_CHECKING:
    from skinflow_plugins.data.record import Head


@dataclass(frozen=True, slots=True)
class Score:
    """A value that explains itself: what was read out of the answer, and why it scored so.

    `marks` are further figures about the answer, by name; the logs show their mean at every step. They may
    not be called like a figure that every reward has there: mean, std, min, max, weight, missing, failed,
    gated.
    """

    value: float
    read: Any = None
    why: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)


class NoVerdict(Exception):
    """Raised by a reward that could not judge an answer, through no fault of that answer; the text says why.

    Such a row counts as failed, never as zero: it gets the mean of its group, and too many of them stop a
    run.
    """


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring: it is what listings show."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


@dataclass(frozen=True)
class Declared:
    """What all declarations share: a name, the function, its options and its listing line."""

    name: str
    function: Callable[..., Any]
    options: tuple[Option, ...] = field(init=False)
    summary: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise TypeError(f"{self.name!r} is not a name: use letters, digits and underscores")
        object.__setattr__(self, "options", options_of(self.function))
        object.__setattr__(self, "summary", first_line(self.function))
        if not self.summary:
            raise TypeError(f"{self.name}: the docstring's first line is the listing; write one")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.function(*arguments, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        # The decorator replaces the function under its own name, so a copy is found by import, not rebuilt.
        return _import_again, (self.function.__module__, self.function.__qualname__)


def _import_again(module: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Reward(Declared):
    """A reward: `function(answer, *, options, **sample) -> float | Score | None`, within [low, high].

    `answer` is one completion and `sample` its data columns. A batched reward gets the list of answers, and
    every column as a list. An async reward is awaited. `None` means that the reward has no judgement on this
    sample, by its own choice; `NoVerdict` that it could not have one. A plain reward may return an awaitable
    instead of a value; those of a batch are awaited together.

    `needs` names the columns that must exist; `reference(sample, options)`, when given, makes the best
    answer, so that the contract test can demand the best score for it. `content` is False for a reward of
    form alone, which a fluent wrong answer may earn in full. A batch may take `deadline` seconds.
    """

    low: float = 0.0
    high: float = 1.0
    needs: tuple[str, ...] = ()
    batched: bool = False
    reference: Callable[[Mapping[str, Any], Mapping[str, Any]], str] | None = None
    content: bool = True
    deadline: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.deadline) and self.deadline > 0):
            raise TypeError(f"{self.name}: deadline must be seconds, more than 0; found {self.deadline}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise TypeError(f"{self.name}: low < high must be finite, found {self.low} and {self.high}")

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True)
class Metric(Declared):
    """A metric: `function(predictions, *, options) -> float`; higher is better, its text gives the range.

    `predictions` is a sequence of `skinflow_plugins.data.Prediction`; `task` says which stage task's answers
    it reads.
    """

    task: str = "diagnosis"


@dataclass(frozen=True)
class Dataset(Declared):
    """A data source: `function(work, *, options) -> Iterator[Record]`.

    `work` is a folder that the source may write images to; a source that reads the user's own images leaves
    it alone. `head` takes the options and looks at the beginning of the data without writing anything: which
    columns there are, and what is wrong.
    """

    head: Callable[[Mapping[str, Any]], Head] | None = None


@dataclass(frozen=True)
class VisionEncoder(Declared):
    """A vision encoder for `model.vision`: `function(base, out, family, *, options)` writes a checkpoint.

    `base` is a folder or a hub id, of the `BaseFamily` `family`; `out` is a folder that does not exist yet.
    What it returns is printed when it has a `summary()`. The encoder called `base` stands for the model as it
    is, and is never called.
    """


def reward(
    name: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    needs: Sequence[str] = (),
    batched: bool = False,
    reference: Callable[[Mapping[str, Any], Mapping[str, Any]], str] | None = None,
    content: bool = True,
    deadline: float = 600.0,
) -> Callable[[Callable[..., Any]], Reward]:
    """Declare a reward; its values lie in [low, high]. See `Reward` for the function's contract."""

    def declare(function: Callable[..., Any]) -> Reward:
        return Reward(
            name,
            function,
            low=low,
            high=high,
            needs=tuple(needs),
            batched=batched,
            reference=reference,
            content=content,
            deadline=deadline,
        )

    return declare


def metric(name: str, *, task: str = "diagnosis") -> Callable[[Callable[..., float]], Metric]:
    """Declare a metric over predictions of one task."""
    return lambda function: Metric(name, function, task=task)


def dataset(
    name: str, *, head: Callable[[Mapping[str, Any]], Head]
) -> Callable[[Callable[..., Iterator[Any]]], Dataset]:
    """Declare a data source."""
    return lambda function: Dataset(name, function, head=head)


def vision_encoder(name: str) -> Callable[[Callable[..., Any]], VisionEncoder]:
    """Declare a vision encoder."""
    return lambda function: VisionEncoder(name, function)
