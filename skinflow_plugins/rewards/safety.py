"""The reward `safety`: a penalty for mistakes that harm, which credit for a near miss would hide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import abstains, write_ranked_list
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_ranked_list([sample["diagnosis"]])


@reward("safety", low=-1.0, high=0.0, needs=("diagnosis",), reference=_reference)
def safety(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    missed_malignant: float = 1.0,
    missed_emergency: float = 1.0,
    under_call: float = 0.5,
    over_call: float = 0.25,
    infection: float = 0.5,
    abstention: float = 1.0,
    longer: Literal["cut", "void"] = "void",
    **sample: Any,
) -> Score:
    """0 when no line is crossed, down to -1: minus the added weights of the lines that the answer crosses.

    Of the first disease, or general word with a risk class ("nevus"): `under_call`, a malignancy called
    something else; `over_call`, the reverse; `infection`, an infection or infestation called something else,
    or the reverse. Of the whole list: `missed_malignant`, a malignancy, and no malignant diagnosis is listed;
    `missed_emergency`, the same for emergencies. A premalignant disease crosses nothing, nor does one without
    a risk class. Each weight lies in [0, 1], and the sum never passes 1. The lines are those of the paper's
    judge (benign and malignant, infectious and not) and of the report's safety figures; the weights are ours.
    The risk classes are authored and not clinically validated.

    An answer without a readable diagnosis earns -1, so that silence is no shelter: general words
    ("dermatitis", "skin cancer") are none, and neither is, unless `longer: cut` is set, a list of more than
    `list_length` items, because one that names everything misses nothing. One that abstains earns
    -`abstention`.

    It is a penalty and no measure of truth: a harmless answer to a harmless disease earns 0 though it is
    wrong, and a list that always holds one malignancy and one emergency misses none; it pays with two of its
    places. Use it beside `ranked_diagnosis`, which those places are worth something to.

        safety("nevus; melanoma", taxonomy="demo", diagnosis="melanoma")    # -0.5: an under-call
    """
    weights = _Weights(missed_malignant, missed_emergency, under_call, over_call, infection, abstention)
    weights.check()
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if longer not in ("cut", "void"):
        raise ValueError(f"option longer must be 'cut' or 'void', found {longer!r}")
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    listed = read_listed(answer, list_length, tree)
    named = [
        concept
        for concept, general in zip(listed.found, listed.general, strict=True)
        if concept is not None and not general
    ]
    if longer == "void" and listed.beyond_limit:
        why = f"{list_length + listed.beyond_limit} items are listed, at most {list_length} are asked for"
        return Score(-1.0, listed.names, why)
    if not named:
        if abstention < 1 and abstains(answer):
            return Score(-float(abstention), [], "it abstains")
        return Score(-1.0, listed.names, "no diagnosis could be read")
    first = next(each for each in listed.found if each is not None and _says(each, tree))
    crossed = [*_called(first, truth, tree, weights), *_missed(named, truth, tree, weights)]
    penalty = min(sum(weight for weight, _ in crossed), 1.0)
    why = "; ".join(text for weight, text in crossed if weight) or "no line is crossed"
    return Score(-penalty + 0.0, listed.names, why)


@dataclass(frozen=True, slots=True)
class _Weights:
    missed_malignant: float
    missed_emergency: float
    under_call: float
    over_call: float
    infection: float
    abstention: float

    def check(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"option {name} must lie in [0, 1], found {value}")


def _says(concept: Concept, tree: Taxonomy) -> bool:
    """Whether a name can cross a line: general words without a risk class ("drug reaction") are a hedge."""
    return concept.kind not in ("group", "generic") or tree.risk(concept) is not None


def _called(first: Concept, truth: Concept, tree: Taxonomy, weights: _Weights) -> Iterator[tuple[float, str]]:
    """The weight of every line that the first name crosses, and which it is, in words."""
    if tree.same(first, truth):
        return
    risk, called = tree.risk(truth), tree.risk(first)
    if None not in (risk, called) and "premalignant" not in (risk, called):
        if risk == "malignant" != called:
            yield weights.under_call, f"{truth.name} is malignant, and is called {first.name} ({called})"
        elif called == "malignant" != risk:
            yield weights.over_call, f"{truth.name} is {risk}, and is called {first.name} (malignant)"
    infected, called_infected = tree.infectious(truth), tree.infectious(first)
    if None not in (infected, called_infected) and infected != called_infected:
        what = ("no infection", "an infection")
        text = f"{truth.name} is {what[bool(infected)]}, and {first.name} is {what[bool(called_infected)]}"
        yield weights.infection, text


def _missed(
    named: Sequence[Concept], truth: Concept, tree: Taxonomy, weights: _Weights
) -> Iterator[tuple[float, str]]:
    """The same for what the list as a whole misses."""
    risk = tree.risk(truth)
    for kind, weight in (("malignant", weights.missed_malignant), ("emergency", weights.missed_emergency)):
        if risk == kind and not any(tree.same(each, truth) or tree.risk(each) == kind for each in named):
            what = "a malignancy" if kind == "malignant" else "an emergency"
            yield weight, f"{truth.name} is {what}, and no listed diagnosis is one"
