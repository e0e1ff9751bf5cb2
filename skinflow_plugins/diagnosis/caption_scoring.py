"""The claims of a caption against the right values, field by field, with the reason in words."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from skinflow_plugins.diagnosis.caption_claims import Claims
from skinflow_plugins.diagnosis.caption_lexicon import OUTSIDE, Lexicon

MOST_SHOWN = 4  # values of one kind in the words of a reason
LONGEST_SHOWN = 30  # characters of a value


@dataclass(frozen=True, slots=True)
class FieldScore:
    """How one field was described: `value` in [0, 1], and each value under what became of it.

    `wrong` were claimed and are not right, `contradicted` were claimed and taken back or excluded by another
    claim, `denied` are right and were negated. `again` counts values that were listed once more, and
    `everything` says that all values of the field were claimed.
    """

    value: float
    right: Collection[str]
    missed: Collection[str]
    wrong: Collection[str]
    contradicted: Collection[str]
    denied: Collection[str]
    again: int = 0
    everything: bool = False

    def words(self) -> str:
        """What was right, missed, wrong and contradicted."""
        if self.everything:
            return "all its values are named, which says nothing"
        parts = [
            _said(values, what)
            for values, what in (
                (self.right, "right"),
                (self.wrong, "wrong"),
                (self.contradicted, "contradicted"),
                (self.denied, "wrongly denied"),
                (self.missed, "missed"),
            )
            if values
        ]
        if self.again:
            parts.append(f"{self.again} listed again")
        return ", ".join(parts)


def compare(claims: Claims, right: Mapping[str, AbstractSet[str]], words: Lexicon) -> dict[str, FieldScore]:
    """For each field of the reference the F1 between the values claimed and the right ones, and why.

    A claim counts as wrong when it is not right, is no value of the field, is listed once more, or is
    contradicted: denied as well, or excluded by another claim, unless both are right. A negated value counts
    as a wrong claim where it is right, and as none where it is not. Whoever claims all of several values says
    nothing and gets 0, unless all are right.
    """
    return {name: _field(name, claims, values, right, words) for name, values in right.items()}


def _field(
    name: str,
    claims: Claims,
    values: AbstractSet[str],
    right: Mapping[str, AbstractSet[str]],
    words: Lexicon,
) -> FieldScore:
    named: Sequence[str] = claims.named.get(name, ())
    denied: Sequence[str] = claims.denied.get(name, ())
    unknown: Sequence[str] = claims.unknown.get(name, ())
    again = claims.again.get(name, 0)
    good: list[str] = []
    wrong: list[str] = []
    contradicted: list[str] = []
    for value in named:
        if value in denied or _excluded(name, value, claims, right, words):
            contradicted.append(value)
        else:
            (good if value in values else wrong).append(value)
    taken = [value for value in denied if value in values and value not in named]
    wrong.extend(unknown)
    if claims.beside:
        wrong.extend(_against(name, values, claims, words))
    missed: Collection[str] = values - {*named, *denied}
    if len(missed) > 1:
        missed = [value for value in words.exact[name].values() if value in missed]
    everything = 1 < words.sizes[name] == len(named) > len(values)
    count = len(good) + len(wrong) + len(contradicted) + len(taken) + again
    score = 0.0 if everything else 2 * len(good) / (count + len(values))
    return FieldScore(score, good, missed, wrong, contradicted, taken, again, everything)


def _excluded(
    name: str, value: str, claims: Claims, right: Mapping[str, AbstractSet[str]], words: Lexicon
) -> bool:
    """Whether another claim is the opposite of this one, and they are not both right."""
    for field, other in words.opposed.get((name, value), ()):
        if field == OUTSIDE:
            if (field, other) in claims.beside:
                return True
        elif other in claims.named.get(field, ()) and not (
            value in right.get(name, ()) and other in right.get(field, ())
        ):
            return True
    return False


def _against(name: str, values: AbstractSet[str], claims: Claims, words: Lexicon) -> list[str]:
    """Claims outside of the schema that exclude a right value which was not claimed."""
    named = claims.named.get(name, ())
    opposite = {id for value in values if value not in named for id in words.opposed.get((name, value), ())}
    return sorted(value.partition("/")[2] for field, value in claims.beside & opposite if field == OUTSIDE)


def _said(values: Collection[str], what: str) -> str:
    first = itertools.islice(values, MOST_SHOWN)
    shown = [v if len(v) <= LONGEST_SHOWN else v[: LONGEST_SHOWN - 3] + "..." for v in first]
    if len(values) > MOST_SHOWN:
        shown.append(f"{len(values) - MOST_SHOWN} more")
    joined = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{joined} {'is' if len(values) == 1 else 'are'} {what}"
