"""The reward `abstain`: a set value for being right, for saying "I do not know", and for being wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import abstains, abstains_beside, write_ranked_list
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.rewards.acceptance import first_accepted


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_ranked_list([sample["diagnosis"]])


@reward("abstain", low=-1.0, needs=("diagnosis",), reference=_reference)
def abstain(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    within: int = 1,
    right: float = 1.0,
    abstaining: float = -0.5,
    wrong: float = -1.0,
    subtypes: bool = False,
    **sample: Any,
) -> Score:
    """`right`, `abstaining` or `wrong`: three set values in [-1, 1], in falling order.

    Right is an answer with the right disease (with `subtypes` also a form of it that is no label) among its
    first `within` items. Answering pays for a model that is right with a probability above (abstaining -
    wrong) / (right - wrong): one quarter with the values set here, which are ours, because the paper reaches
    a Top-1 of 29 %. At `abstaining: 0` it is one half.

    To abstain is to say so and nothing else. An answer that abstains and also lists a diagnosis, "unknown;
    melanoma", wants both values and gets `wrong`, whether or not the diagnosis is right. What cannot be read
    is no abstention, and wrong. The mark `coverage` is 0 for an abstention, else 1: its mean in the logs is
    the share answered.
    """
    _check(list_length, within, right, abstaining, wrong)
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    listed = read_listed(answer, list_length, tree)
    known = any(listed.found)
    if not known and abstains(answer):
        return Score(float(abstaining), [], "it abstains", {"coverage": 0.0})
    covered = {"coverage": 1.0}
    suspect = listed.void or listed.beyond_limit or not all(listed.found)
    if known and suspect and abstains_beside(answer, known=tree.knows):
        return Score(float(wrong), listed.names, "it abstains and lists a diagnosis as well", covered)
    rank = first_accepted(listed, truth, tree, subtypes=subtypes)
    if rank is not None and rank <= within:
        return Score(float(right), listed.names, f"{truth.name} at rank {rank}", covered)
    if not known:
        return Score(
            float(wrong), listed.names, "no diagnosis could be read, and it does not abstain", covered
        )
    place = f"stands at rank {rank}, below {within}" if rank else "is not listed"
    return Score(float(wrong), listed.names, f"{truth.name} {place}", covered)


def _check(list_length: int, within: int, right: float, abstaining: float, wrong: float) -> None:
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if not 1 <= within <= list_length:
        raise ValueError(f"option within must lie between 1 and list_length ({list_length}), found {within}")
    for name, value in (("right", right), ("abstaining", abstaining), ("wrong", wrong)):
        if not (math.isfinite(value) and -1 <= value <= 1):
            raise ValueError(f"option {name} must lie in [-1, 1], found {value}")
    if not right > abstaining > wrong:
        raise ValueError(
            f"options must fall: right > abstaining > wrong, found {right:g}, {abstaining:g} and {wrong:g}; "
            "otherwise a model does best never to answer, or never to abstain"
        )
