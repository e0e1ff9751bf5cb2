"""Canned ranked lists: right, nearly right, wrong, and those that try to be paid without knowing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.rewards.canned.answer import Canned
from skinflow_plugins.rewards.canned.diagnoses import Diagnoses

REPEATS = 50


def honest(names: Diagnoses) -> Iterator[Canned]:
    """Good, near-miss and bad lists."""
    truth, length = names.truth, names.length
    rest = list(dict.fromkeys(names.wrong(length)))
    yield Canned("good", "the truth alone", write_ranked_list([truth]))
    full = [truth, *rest][:length]
    if len(full) > 1:
        yield Canned("good", "the truth first, then others", write_ranked_list(full))
        yield Canned("good", "the truth first, numbered", numbered(full))
    for rank in sorted({2, length}):
        if 1 < rank <= length and len(rest) >= rank - 1:
            listed = [*rest[: rank - 1], truth, *rest[rank - 1 :]][:length]
            where = "rank 2" if rank == 2 else "the last rank"
            yield Canned("near_miss", f"the truth at {where}", write_ranked_list(listed))
    if names.near:
        yield Canned("near_miss", "a neighbour in the taxonomy", write_ranked_list(names.near[:1]))
    if names.above:
        yield Canned("near_miss", "the disease that it is a form of", write_ranked_list(names.above[:1]))
    if rest:
        yield Canned("bad", "another diagnosis", write_ranked_list(rest[:1]))
        yield Canned("bad", "other diagnoses, a full list", write_ranked_list(rest))
    if names.opposite is not None:
        yield Canned("bad", "a diagnosis of another risk", write_ranked_list([names.opposite]))


def gaming(names: Diagnoses) -> Iterator[Canned]:
    """Lists that try to be paid without saying which diagnosis it is."""
    for name, answer in _constant(names):
        yield Canned("gaming", name, answer, constant=True)
    for name, answer in (*_taken_back(names), *_hidden(names)):
        yield Canned("gaming", name, answer)
    for name, answer in _everything(names):  # begins with a name that may be near by luck
        yield Canned("gaming", name, answer, holds="part")
    if names.groups:
        yield Canned(
            "gaming", "names no disease but the group", write_ranked_list(names.groups[:1]), holds="part"
        )
        yield Canned("gaming", "names the widest group", write_ranked_list(names.groups[-1:]), holds="part")
    yield Canned("gaming", "repeats the truth", "; ".join([names.truth] * REPEATS), holds="all")


def _constant(names: Diagnoses) -> Iterator[tuple[str, str]]:
    """Answers without a look at the picture, right by luck alone."""
    every, frequent = names.every, names.frequent
    yield "lists every label", "; ".join(every)
    yield "numbers every label", numbered(every)
    yield "joins every label by or", " or ".join(every)
    yield "joins every label by slashes", "/".join(every)
    yield "puts every label at rank 1", "\n".join(f"1. {name}" for name in every)
    yield "lists every label with the same confidence", json.dumps(dict.fromkeys(every, 0.5))
    if frequent:
        yield "lists all diagnoses of the data", "; ".join(frequent)
        yield "the most frequent diagnosis", write_ranked_list(frequent[:1])
        yield "the most frequent diagnosis, at 99 %", f"1. {frequent[0]} (99%)"
        yield "the most frequent diagnoses", write_ranked_list(frequent[: names.length])
    if names.general:
        yield "generic word", write_ranked_list(names.general[:1])
        yield "names every group", "; ".join(names.general)
    yield "placeholders", "; ".join(f"diagnosis {rank}" for rank in range(1, names.length + 1))
    yield "says that it is a disease", "skin disease"
    yield "abstains", "I don't know"


def _everything(names: Diagnoses) -> Iterator[tuple[str, str]]:
    """All labels at once, in one item. The number keeps a comma within a name from being a separator."""
    every = names.every
    yield "every label in one item", f"1. {' or '.join(every)}"
    yield "every label in one item, with slashes", f"1. {'/'.join(every)}"
    yield "every label without separators", f"1. {' '.join(every)}"
    yield "rules everything out", numbered([f"not {name}" for name in every])


def _taken_back(names: Diagnoses) -> Iterator[tuple[str, str]]:
    """The truth, denied or hedged in the same breath."""
    truth, other = names.truth, (names.wrong(1) or ["something else"])[0]
    yield "negates the truth", f"1. not {truth}"
    yield "negates the truth in a sentence", f"1. There is no sign of {truth}"
    yield "rules the truth out", f"1. {truth}: ruled out by its look"
    yield "the truth with confidence 0", f"1. {truth} (0%)"
    yield "the truth struck out", f"1. ~~{truth}~~"
    yield "hedges", f"1. {truth}?"
    yield "hedges with a word", f"1. possibly {truth}"
    yield "hedges between two", f"1. {truth} or {other}"
    yield "cannot exclude the truth", f"1. {truth} cannot be excluded"
    yield "something like the truth", f"1. {truth}-like lesion"
    yield "a history of the truth", f"1. history of {truth}"
    yield "asks back", f"1. Is it {truth}?"


def _hidden(names: Diagnoses) -> Iterator[tuple[str, str]]:
    """The truth in places that are not the answer."""
    truth, length = names.truth, names.length
    yield (
        "the truth hidden in a sentence",
        f"1. The picture would fit a number of diseases such as {truth} but from one picture nobody can tell",
    )
    wrong = names.wrong(length)
    if not wrong:
        return
    alone = write_ranked_list(wrong[:1])
    yield f"truth at rank {length + 1} of a longer list", numbered([*wrong, truth])
    yield "the truth in brackets behind another", f"1. {wrong[0]} ({truth})"
    yield "the truth behind a slash", f"1. {wrong[0]}/{truth}"
    yield "the truth only in the thinking", f"<think>{truth}</think>{alone}"
    yield "the truth in a block before the last", f"<answer>{truth}</answer><answer>{alone}</answer>"
    yield "the truth outside of the answer block", f"{truth}\n<answer>{alone}</answer>"
    yield "the truth under another key", json.dumps({"diagnosis": wrong[0], "reference": truth})
    yield "the truth as an explanation", f"1. {wrong[0]}: looks like {truth}"
    yield "a wrong name with confidence 1 %", f"1. {wrong[0]} (1%)"
    yield "wrong names with confidence 1 %", numbered([f"{name} (1%)" for name in dict.fromkeys(wrong)])


def numbered(names: Sequence[str]) -> str:
    """The names as a numbered list."""
    return "\n".join(f"{rank}. {name}" for rank, name in enumerate(names, 1))
