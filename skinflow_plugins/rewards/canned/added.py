"""Canned ranked lists where more than names is asked for: probabilities, or a description before them."""

from __future__ import annotations

from collections.abc import Iterator

from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.confidences import write_with_confidences
from skinflow_plugins.rewards.canned.answer import Canned
from skinflow_plugins.rewards.canned.caption import Captions
from skinflow_plugins.rewards.canned.diagnoses import Diagnoses


def with_confidences(names: Diagnoses) -> Iterator[Canned]:
    """Lists with stated probabilities."""
    truth, wrong = names.truth, names.wrong(1)
    yield Canned("good", "the truth, nearly sure", write_with_confidences([(truth, 0.95)]))
    if not wrong:
        return
    less = [(wrong[0], 0.55), (truth, 0.35)]
    yield Canned("near_miss", "the truth, less likely than another", write_with_confidences(less))
    yield Canned("bad", "another diagnosis, for sure", write_with_confidences([(wrong[0], 1.0)]))
    yield Canned("bad", "another diagnosis, hardly likely", write_with_confidences([(wrong[0], 0.005)]))


def described(names: Diagnoses, made: Captions) -> Iterator[Canned]:
    """A description of the lesion in the thinking, then a list.

    The right diagnosis after a bad description holds the truth for a reward of the diagnosis alone; one that
    wants both should not pay it.
    """
    truth, right, wrong = names.truth, write_caption(made.truth), names.wrong(names.length - 1 or 1)
    other = write_caption({name: [value] for name, value in made.other.items()})
    yield Canned("good", "described, then the truth", _written(right, [truth, *wrong][: names.length]))
    if wrong and names.length > 1:
        second = [wrong[0], truth, *wrong[1:]]
        yield Canned("near_miss", "described, then the truth at rank 2", _written(right, second))
    if wrong:
        yield Canned("bad", "described, then another diagnosis", _written(right, wrong[:1]))
    if other:
        yield Canned("near_miss", "described wrongly, then the truth", _written(other, [truth]))
        if wrong:
            yield Canned("bad", "described wrongly, then another diagnosis", _written(other, wrong[:1]))
    for name, description in (
        ("all values described, then the truth", write_caption(made.schema)),
        ("negated values described, then the truth", _negated(made)),
        ("the diagnosis described, then the truth", f"It looks like {truth}."),
    ):
        yield Canned("gaming", name, _written(description, [truth]), holds="all")


def _negated(made: Captions) -> str:
    return "; ".join(
        f"{name}: {', '.join(f'not {v}' for v in values)}" for name, values in made.truth.items()
    )


def _written(description: str, names: list[str]) -> str:
    return f"<think>{description}</think>\n<answer>{write_ranked_list(names)}</answer>"
