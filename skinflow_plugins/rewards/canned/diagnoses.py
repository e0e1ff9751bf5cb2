"""The names that canned ranked lists are made of: the truth, its neighbours, and what is far from it."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.diagnosis.answers import parse_answer
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy

_SIGNS = re.compile(r"[][{}<>:|/(),]")


@dataclass(frozen=True, slots=True)
class Diagnoses:
    """Names around one sample's diagnosis, out of the user's own taxonomy and data.

    `every` are all diseases, in the taxonomy's order; `near` those that share a group with the truth, the
    nearest first; `far` those that share none, in random order. Neither has the truth, its other names, its
    forms or what it is a form of. `above` are diseases that the truth is a form of, `groups` the general
    words above it, nearest first, `general` all general words, `frequent` the diagnoses of the data by
    frequency, and `opposite` a far one of another risk class.
    """

    truth: str
    length: int
    every: tuple[str, ...]
    near: tuple[str, ...]
    far: tuple[str, ...]
    above: tuple[str, ...]
    groups: tuple[str, ...]
    general: tuple[str, ...]
    frequent: tuple[str, ...]
    opposite: str | None

    def wrong(self, count: int) -> list[str]:
        """`count` wrong names, the far ones first; repeated where there are not as many."""
        names = dict.fromkeys([*self.far, *self.near])
        return list(itertools.islice(itertools.cycle(names), count)) if names else []


def diagnoses(
    sample: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    taxonomy: Taxonomy | None,
    length: int,
    rng: random.Random,
) -> Diagnoses:
    """The names for canned answers to `sample`; without a taxonomy they come from the data alone.

    Raises `ValueError` naming the sample when it has no diagnosis, or one that the taxonomy does not know.
    """
    frequent = _frequent([sample, *others])
    if taxonomy is None:
        truth = sample.get("diagnosis")
        if not isinstance(truth, str):
            raise ValueError(f"sample {sample.get('id', '?')}: it has no diagnosis")
        rest = [name for name in frequent if fold(name) != fold(truth)]
        rng.shuffle(rest)
        return Diagnoses(truth, length, tuple(sorted(frequent)), (), tuple(rest), (), (), (), frequent, None)
    truth_of = true_concept(sample, taxonomy)
    diseases, general = _names(taxonomy)
    apart = [each for each in diseases if _apart(taxonomy, each, truth_of)]
    rng.shuffle(apart)
    apart = [each for each in apart if _plain(each.name)] or apart
    near = [each for each in apart if taxonomy.similarity(each, truth_of) > 0]
    near.sort(key=lambda each: -taxonomy.similarity(each, truth_of))
    far = [each for each in apart if taxonomy.similarity(each, truth_of) == 0]
    up = taxonomy.ancestors(truth_of)
    above = [each for each in diseases if each in up and not taxonomy.same(each, truth_of)]
    risk = taxonomy.risk(truth_of)
    opposite = [each for each in reversed(far) if risk and taxonomy.risk(each) not in (None, risk)]
    return Diagnoses(
        str(sample["diagnosis"]),
        length,
        _named(diseases),
        _named(near),
        _named(far),
        _named(above),
        _named([each for each in up if each in general]),
        _named(general),
        frequent,
        opposite[0].name if opposite else None,
    )


@functools.lru_cache(maxsize=16)
def _names(taxonomy: Taxonomy) -> tuple[tuple[Concept, ...], tuple[Concept, ...]]:
    """(every disease once, every general word): those that their own name means."""
    diseases, general, seen = [], [], set()
    for concept in taxonomy.concepts.values():
        if taxonomy.resolve(concept.name) is not concept:
            continue
        if concept.kind in ("group", "generic"):
            general.append(concept)
        elif (one := taxonomy.representative(concept).id) not in seen:
            seen.add(one)
            diseases.append(concept)
    return tuple(diseases), tuple(general)


@functools.lru_cache(maxsize=4096)
def _plain(name: str) -> bool:
    """Whether a name reads back as itself wherever it is listed, without a taxonomy to explain it."""
    return parse_answer(f"x; {name}", 2) == ["x", name] and not _SIGNS.search(name)


def _apart(taxonomy: Taxonomy, one: Concept, other: Concept) -> bool:
    """Whether neither is the other, nor a form of it."""
    related = taxonomy.same(one, other) or taxonomy.is_a(one, other) or taxonomy.is_a(other, one)
    return not (related or taxonomy.subtype(one, other) or taxonomy.subtype(other, one))


def _named(concepts: Sequence[Concept]) -> tuple[str, ...]:
    return tuple(each.name for each in concepts)


def _frequent(samples: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    counts = Counter(str(each["diagnosis"]) for each in samples if each.get("diagnosis"))
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))
