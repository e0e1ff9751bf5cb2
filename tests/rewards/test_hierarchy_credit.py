import functools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import builtin_taxonomies, load_taxonomy, write_ranked_list
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.rewards import hierarchy_credit
from skinflow_plugins.rewards.hierarchy_credit import credit_table
from skinflow_plugins.testing import check_reward

TAXONOMIES = ["demo", "fitzpatrick17k", "isic"]


def credit(answer: str, truth: str, taxonomy: str = "fitzpatrick17k", **options: Any) -> float:
    return float(hierarchy_credit(answer, taxonomy=taxonomy, diagnosis=truth, id="s", **options).value)


def answers_of(taxonomy: str) -> list[Concept]:
    """Every concept that can be named: the name alone means it."""
    tree = load_taxonomy(taxonomy)
    return [concept for concept in tree.concepts.values() if tree.resolve(concept.name) == concept]


@functools.cache
def values(taxonomy: str) -> np.ndarray:
    """(answers, labels): the reward of every nameable concept on every label, by calling it."""
    tree = load_taxonomy(taxonomy)
    named = [write_ranked_list([concept.name]) for concept in answers_of(taxonomy)]
    labels = [label for label in tree.labels() if tree.label(label.name) == label]
    return np.array([[credit(answer, truth.name, taxonomy) for truth in labels] for answer in named])


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_contract(taxonomy: str) -> None:
    labels = [label.name for label in load_taxonomy(taxonomy).labels()][:3]
    samples = [{"id": name, "diagnosis": name} for name in labels]
    check_reward(hierarchy_credit, samples, options={"taxonomy": taxonomy}, answers=["psoriasis", "nevus"])


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_no_constant_answer_pays(taxonomy: str) -> None:
    means = values(taxonomy).mean(axis=1)
    assert means.max() <= 1e-9
    if taxonomy != "isic":  # there some labels share a name with a group, and are not among the answers
        assert means.max() >= -1e-9  # and the best of them earns nothing, not less: chance is not overrated


@pytest.mark.parametrize("taxonomy", sorted(builtin_taxonomies()))
@pytest.mark.parametrize("cap", [0.5, 0.99])
def test_the_best_constant_answer_is_a_diagnosis(taxonomy: str, cap: float) -> None:
    """A heading is near to all that lies under it; were it an answer, chance would be overrated."""
    tree = load_taxonomy(taxonomy)
    table = credit_table(tree, cap, None)
    assert tree.concepts[table.best].kind in ("label", "answer")
    for id, concept in tree.concepts.items():
        if concept.kind in ("group", "generic"):
            assert not table.nearness[table.number[id]].any()


def test_always_psoriasis_does_not_pay() -> None:
    labels = load_taxonomy("fitzpatrick17k").labels()
    assert sum(credit("psoriasis", label.name) for label in labels) / len(labels) < 0
    assert credit("psoriasis", "psoriasis") == 1
    assert 0 < credit("psoriasis", "pustular psoriasis") < 0.6


@pytest.mark.parametrize("taxonomy", sorted(builtin_taxonomies()))
@pytest.mark.parametrize("skew", [1, 40, 2000])
def test_no_constant_answer_pays_for_any_counts(taxonomy: str, skew: int) -> None:
    tree = load_taxonomy(taxonomy)
    counts = {label.name: 1.0 for label in tree.labels() if tree.label(label.name) == label}
    most = next(iter(counts))
    counts[most] = float(skew)
    table = credit_table(tree, 0.5, tuple(counts.items()))
    weight = np.zeros(len(table.number))
    for name, count in counts.items():
        weight[table.number[tree.label(name).id]] += count  # type: ignore[union-attr]
    value = np.vectorize(table.corrected)(table.nearness)
    means = value @ (weight / weight.sum())
    assert means.max() == pytest.approx(0, abs=1e-9)
    assert value.min() >= -1 - 1e-9
    assert value.max() <= 1 + 1e-9
    if skew == 2000:
        assert tree.same(tree.concepts[table.best], tree.label(most))  # type: ignore[arg-type]


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_the_right_answer_is_the_best_for_every_label(taxonomy: str) -> None:
    tree = load_taxonomy(taxonomy)
    table = values(taxonomy)
    labels = [label for label in tree.labels() if tree.label(label.name) == label]
    for row, concept in enumerate(answers_of(taxonomy)):
        for column, truth in enumerate(labels):
            if tree.same(concept, truth):
                assert table[row, column] == table[:, column].max() > 0
            else:
                assert table[row, column] < table[:, column].max()


PAIRS = st.sampled_from(
    [c.name for c in answers_of("fitzpatrick17k") if c.kind in ("label", "answer") and "," not in c.name]
)


@given(PAIRS, PAIRS)
def test_it_is_symmetric(one: str, other: str) -> None:
    assert credit(one, other) == pytest.approx(credit(other, one))


@pytest.mark.parametrize("taxonomy", TAXONOMIES)
def test_of_equally_rare_answers_the_nearer_earns_no_less(taxonomy: str) -> None:
    """Along the tree: the deeper the lowest common ancestor lies on the truth's own line, the better."""
    tree = load_taxonomy(taxonomy)
    diseases = Counter(tree.representative(c).id for c in tree.labels())
    alone = [
        c
        for c in tree.labels()
        if not tree.children(c) and diseases[tree.representative(c).id] == 1 and tree.label(c.name) == c
    ]
    for truth in alone[::5]:
        ranked = sorted((c for c in alone if c != truth), key=lambda c: tree.shared(c, truth))
        found = [credit(write_ranked_list([c.name]), truth.name, taxonomy) for c in ranked]
        assert found == sorted(found)


def test_a_general_word_is_no_near_miss() -> None:
    nothing = credit("", "melanoma")
    assert nothing < 0
    for answer in ("skin cancer", "skin cancer; melanoma", "zzz", "not melanoma; melanoma", "melanoma?"):
        assert credit(answer, "melanoma") == nothing
    assert credit("melanoma; psoriasis", "melanoma") == 1


def test_why_says_what_was_shared() -> None:
    score = hierarchy_credit("psoriasis", taxonomy="fitzpatrick17k", diagnosis="pustular psoriasis")
    assert score.why.startswith("psoriasis shares 0.")
    assert "a constant answer has 0." in score.why
    general = hierarchy_credit("skin cancer", taxonomy="fitzpatrick17k", diagnosis="melanoma")
    assert general.why.startswith("skin cancer is a general word")


def test_cap_zero_is_plain_accuracy_beyond_chance() -> None:
    assert credit("pustular psoriasis", "psoriasis", cap=0.0) == credit("melanoma", "psoriasis", cap=0.0) < 0
    assert credit("psoriasis", "psoriasis", cap=0.0) == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"cap": 1.0}, "cap must be at least 0 and below 1"),
        ({"cap": math.nan}, "cap"),
        ({"list_length": 0}, "list_length"),
        ({"counts": {"psoriassis": 3}}, "did you mean 'psoriasis'"),
        ({"counts": {"psoriasis": -1}}, "not negative"),
        ({"counts": {"psoriasis": 0}}, "no samples"),
        ({"counts": {}}, "no samples"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        credit("x", "psoriasis", **options)
