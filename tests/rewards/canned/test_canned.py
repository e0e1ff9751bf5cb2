"""Canned answers: what they are made of, how many there are, and that they are the same every time."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy, parse_answer, parse_caption
from skinflow_plugins.diagnosis.metrics import caption_scores, listed_concepts
from skinflow_plugins.rewards.canned import KINDS, Canned, canned_answers

FIELDS = {
    "colour": ["red", "blue", "brown"],
    "border": ["sharp", "blurred"],
    "surface": ["smooth", "scaly", "crusted"],
}
NAILS = """\
name: nails
version: "1"
concepts:
  - name: fungal
    risk: infectious
    children: [onychomycosis, paronychia]
  - name: tumour
    risk: benign
    children: [onychomatricoma, glomus tumour]
"""


def samples(taxonomy: str | Path, count: int = 12) -> list[dict[str, Any]]:
    tree = load_taxonomy(taxonomy)
    labels = [each.name for each in tree.labels() if tree.label(each.name) is each]
    rng = random.Random(7)
    chosen = rng.sample(labels, min(count, len(labels)))
    return [
        {
            "id": str(number),
            "diagnosis": name,
            "caption": {field: [rng.choice(values)] for field, values in FIELDS.items()},
        }
        for number, name in enumerate(chosen)
    ]


def made(target: Any, pool: list[dict[str, Any]], number: int = 0, **more: Any) -> list[Canned]:
    return canned_answers(target, pool[number], others=pool, prompt="what is it", huge=False, **more)


def named(some: list[Canned], name: str) -> str:
    return next(each.answer for each in some if each.name == name)


@pytest.mark.parametrize("name", ["demo", "fitzpatrick17k", "isic"])
def test_every_sample_has_all_kinds_and_enough_attacks(name: str) -> None:
    pool, tree = samples(name), load_taxonomy(name)
    for number in range(len(pool)):
        for target, more in (("ranked_list", {"taxonomy": tree}), ("caption", {"fields": FIELDS})):
            some = made(target, pool, number, **more)
            counts = Counter(each.kind for each in some)
            assert list(counts) == list(KINDS)
            assert counts["gaming"] >= 25
            assert len({each.name for each in some}) == len(some)


def test_the_same_arguments_give_the_same_answers_and_a_seed_gives_others() -> None:
    pool, tree = samples("isic"), load_taxonomy("isic")
    first = made("ranked_list", pool, taxonomy=tree)
    assert made("ranked_list", pool, taxonomy=tree) == first
    assert made("ranked_list", pool, taxonomy=tree, seed=1) != first
    captions = made("caption", pool, fields=FIELDS)
    assert made("caption", pool, fields=FIELDS) == captions


@pytest.mark.parametrize("name", ["demo", "fitzpatrick17k", "isic"])
@pytest.mark.parametrize("length", [1, 2, 6])
def test_ranked_lists_are_what_their_kind_says(name: str, length: int) -> None:
    pool, tree = samples(name), load_taxonomy(name)
    for number, sample in enumerate(pool):
        truth = tree.label(sample["diagnosis"])
        assert truth is not None
        ranks = {}
        for each in made("ranked_list", pool, number, taxonomy=tree, list_length=length):
            found = listed_concepts(each.answer, length, tree)
            hits = [rank for rank, one in enumerate(found, 1) if one is not None and tree.same(one, truth)]
            ranks[each.name] = hits[0] if hits else None
            if each.kind == "good" or (each.holds == "all" and each.kind == "gaming"):
                assert hits == [1], (each, found)
            elif each.kind in ("bad", "empty") or (each.kind == "gaming" and not each.constant):
                assert not hits, (each, found)
            if each.kind == "bad":
                assert len(parse_answer(each.answer, length)) <= length
        assert ranks.get("the truth at rank 2", 2) == 2
        assert ranks.get("the truth at the last rank", length) == length


def test_the_truth_below_the_end_stands_one_rank_too_low() -> None:
    pool, tree = samples("demo"), load_taxonomy("demo")
    answer = named(
        made("ranked_list", pool, taxonomy=tree, list_length=6), "truth at rank 7 of a longer list"
    )
    assert parse_answer(answer, 7)[6] == pool[0]["diagnosis"]


def test_captions_are_what_their_kind_says() -> None:
    pool = samples("demo")
    for number, sample in enumerate(pool):
        for each in made("caption", pool, number, fields=FIELDS):
            right = caption_scores(each.answer, sample, FIELDS)
            if each.kind == "good":
                assert set(right.values()) == {1.0}, each
            elif each.kind == "near_miss":
                assert sum(value < 1 for value in right.values()) == 1, each
            elif each.name == "every field wrong":
                assert set(right.values()) == {0.0}
                assert set(parse_caption(each.answer, FIELDS)) == set(FIELDS)


def test_constant_answers_are_the_same_for_every_sample() -> None:
    pool, tree = samples("fitzpatrick17k"), load_taxonomy("fitzpatrick17k")
    for target, more in (("ranked_list", {"taxonomy": tree}), ("caption", {"fields": FIELDS})):
        answers: dict[str, set[str]] = {}
        for number in range(len(pool)):
            constant = [each for each in made(target, pool, number, **more) if each.constant]
            assert "abstains" in [each.name for each in constant]
            for each in constant:
                answers.setdefault(each.name, set()).add(each.answer)
        assert {len(texts) for texts in answers.values()} == {1}


def test_names_come_from_the_taxonomy_of_a_third_party(tmp_path: Path) -> None:
    file = tmp_path / "nails.yaml"
    file.write_text(NAILS)
    pool, tree = samples(file), load_taxonomy(file)
    for number, sample in enumerate(pool):
        some = made("ranked_list", pool, number, taxonomy=tree, list_length=3)
        every = named(some, "lists every label").split("; ")
        assert every == ["onychomycosis", "paronychia", "onychomatricoma", "glomus tumour"]
        group = named(some, "names no disease but the group")
        assert group == ("fungal" if sample["diagnosis"] in every[:2] else "tumour")
        neighbour = named(some, "a neighbour in the taxonomy")
        assert {neighbour, sample["diagnosis"]} in (set(every[:2]), set(every[2:]))
        other = named(some, "a diagnosis of another risk")
        assert (other in every[:2]) != (sample["diagnosis"] in every[:2])


def test_without_a_taxonomy_the_data_gives_the_names() -> None:
    pool = samples("demo", 4)
    some = made("ranked_list", pool, list_length=3)
    assert set(named(some, "lists every label").split("; ")) == {each["diagnosis"] for each in pool}
    assert "names no disease but the group" not in [each.name for each in some]


def test_probabilities_and_descriptions_on_demand() -> None:
    pool, tree = samples("demo"), load_taxonomy("demo")
    plain = {each.name for each in made("ranked_list", pool, taxonomy=tree)}
    more = made("ranked_list", pool, taxonomy=tree, fields=FIELDS, confidences=True, descriptions=True)
    added = [each for each in more if each.name not in plain]
    assert {"the truth, nearly sure", "described, then the truth"} <= {each.name for each in added}
    assert Counter(each.kind for each in added) == {"good": 2, "near_miss": 3, "bad": 4, "gaming": 3}


def test_huge_answers_on_demand() -> None:
    pool, tree = samples("demo"), load_taxonomy("demo")
    lengths = {
        huge: max(
            len(each.answer)
            for each in canned_answers("ranked_list", pool[0], others=pool, taxonomy=tree, huge=huge)
        )
        for huge in (True, False)
    }
    assert lengths[True] >= 500_000 > 50_000 > lengths[False]


@pytest.mark.parametrize(
    ("target", "sample", "more", "part"),
    [
        ("ranked_list", {"id": "x"}, {"taxonomy": load_taxonomy("demo")}, "sample x"),
        ("ranked_list", {"id": "x"}, {}, "sample x: it has no diagnosis"),
        ("ranked_list", {"id": "x", "diagnosis": "benign"}, {"taxonomy": load_taxonomy("demo")}, "general"),
        ("ranked_list", {"id": "x", "diagnosis": "nevus"}, {"list_length": 0}, "list_length"),
        ("caption", {"id": "x", "caption": {"colour": ["green"]}}, {"fields": FIELDS}, "green"),
        ("caption", {"id": "x"}, {"fields": FIELDS}, "sample x"),
        ("caption", {"id": "x", "caption": {"colour": ["red"]}}, {}, "fields"),
    ],
)
def test_what_cannot_be_made_is_said(target: Any, sample: Any, more: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        canned_answers(target, sample, **more)


VALUES = st.lists(
    st.sampled_from(["red", "blue", "dark brown", "skin-coloured", "x", "no"]), min_size=1, unique=True
)
SCHEMAS = st.dictionaries(st.sampled_from(["colour", "border", "lesion_type", "size"]), VALUES, min_size=1)


@settings(max_examples=60, deadline=None)
@given(SCHEMAS, st.data())
def test_any_schema_gives_captions(schema: dict[str, list[str]], data: Any) -> None:
    caption = {name: [data.draw(st.sampled_from(values))] for name, values in schema.items()}
    some = canned_answers("caption", {"id": "s", "caption": caption}, fields=schema, huge=False)
    kinds = {each.kind for each in some}
    assert {"good", "empty", "gaming", "malformed"} <= kinds
    if any(len(values) > 1 for values in schema.values()):
        assert {"near_miss", "bad"} <= kinds
