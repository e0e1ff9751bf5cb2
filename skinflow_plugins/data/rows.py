"""Rows in ms-swift's dataset form, in exactly the order that training will see them.

swift's own shuffling is switched off for stages with a known number of steps, so that class balance, replay
shares and resumption are properties of a file that anyone can read. Everything here is pure.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from skinflow_plugins.data.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: the record it is about, the task that asks, and the stage whose rewards judge it."""

    record: Record
    task: str
    stage: str


def shuffled_forever(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    """The items again and again, each pass in a new random order."""
    while True:
        yield from rng.sample(items, len(items))


def balanced_forever(items: Sequence[T], key: Callable[[T], Hashable], rng: random.Random) -> Iterator[T]:
    """One item of every value of `key` in turn, so that each run of as many rows holds each value once.

    Within a value the items are shuffled pass by pass; rare values therefore come round more often.
    """
    pools: dict[Hashable, list[T]] = {}
    for item in items:
        pools.setdefault(key(item), []).append(item)
    streams = [shuffled_forever(pool, rng) for _, pool in sorted(pools.items(), key=lambda p: str(p[0]))]
    while True:
        for stream in rng.sample(streams, len(streams)):
            yield next(stream)


def interleave(main: Iterator[Prompt], replay: Iterator[Prompt], share: float) -> Iterator[Prompt]:
    """`replay` prompts spread evenly among `main` ones so that their share of any long run is `share`."""
    for position in itertools.count():
        earlier = int((position + 1) * share) > int(position * share)
        yield next(replay if earlier else main)


def prompt_row(prompt: Prompt, question: str) -> dict[str, Any]:
    """A GRPO or inference row: the question with its image, and the sample as one JSON column.

    The sample travels as text, because Arrow would give every row the union of all keys.
    """
    return {
        "messages": [{"role": "user", "content": f"<image>{question}"}],
        "images": [prompt.record.image],
        "id": prompt.record.id,
        "task": prompt.task,
        "stage": prompt.stage,
        "sample": json.dumps(prompt.record.sample(), sort_keys=True),
    }


def taught_row(prompt: Prompt, question: str, answer: str) -> dict[str, Any]:
    """An SFT row: the question and the answer to learn."""
    row = prompt_row(prompt, question)
    row["messages"].append({"role": "assistant", "content": answer})
    return row


def with_random_caption(
    record: Record, donors: Sequence[Record], fields: Iterable[str], share: float, rng: random.Random
) -> Record:
    """The record with caption values that, each with the chance `share`, are another record's.

    Drawn from `donors` and not from the schema, the values keep their frequencies: what can be learnt is the
    form and the most frequent value, and of the truth only what is left below a share of 1.
    """
    caption = dict(record.caption)
    for name in fields:
        if rng.random() < share:
            caption[name] = rng.choice(donors).caption.get(name, ())
    return dataclasses.replace(record, caption=caption)


def ranked_names(
    record: Record, names: Sequence[str], length: int, rng: random.Random, *, truth: bool = True
) -> list[str]:
    """`length` distinct names: the right one first if `truth`, the others drawn at random."""
    first = [record.diagnosis] if truth and record.diagnosis else []
    others = [name for name in names if name not in first]
    return first + rng.sample(others, min(length - len(first), len(others)))


def permute_images(records: Sequence[Record], seed: int) -> list[Record]:
    """The same records, each with another record's image: the control that shows whether images are used.

    Raises `ValueError` for fewer than two records: there is nothing to exchange.
    """
    if len(records) < 2:
        raise ValueError("the permuted-image control needs at least two records")
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    # A cycle through all records in random order moves every image, unlike a plain shuffle.
    images = {order[i]: records[order[(i + 1) % len(order)]].image for i in range(len(order))}
    return [dataclasses.replace(record, image=images[i]) for i, record in enumerate(records)]
