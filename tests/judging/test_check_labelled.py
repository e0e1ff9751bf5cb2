"""Labelled sets: the built-in one against our taxonomy, and every mistake of a file of one's own."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from skinflow_plugins.diagnosis import Taxonomy, load_taxonomy
from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.check import matcher_verdicts
from skinflow_plugins.judging.labelled_set import INJECTION, LabelledSet, builtin_sets, load_labelled
from skinflow_plugins.judging.verdicts import VERDICTS

KINDS = {
    "correct": {"exact", "synonym", "abbreviation", "spelling", "other-language"},
    "subtype": {"subtype"},
    "critical": {"malignant-benign", "infectious-noninfectious", "name-alike"},
    "wrong": {
        *("broader", "sibling", "look-alike", "name-alike", "negated", "hedge", "several-diseases"),
        *("reference", "nonsense", "injection"),
    },
}


@pytest.fixture(scope="module")
def built_in() -> LabelledSet:
    return load_labelled()


@pytest.fixture(scope="module")
def clinical() -> Taxonomy:
    return load_taxonomy("fitzpatrick17k")


def test_the_built_in_set_is_large_and_says_what_it_is(built_in: LabelledSet) -> None:
    assert len(built_in.pairs) >= 240
    assert built_in.version
    assert "Not clinically validated" in built_in.note
    assert built_in.sha256 == hashlib.sha256(builtin_sets()["ranked"].read_bytes()).hexdigest()
    verdicts = Counter(pair.verdict for pair in built_in.pairs)
    assert min(verdicts[verdict] for verdict in VERDICTS) >= 50
    kinds = Counter(pair.kind for pair in built_in.pairs)
    assert set(kinds) == set().union(*KINDS.values())
    assert kinds[INJECTION] >= 30
    assert min(kinds.values()) >= 8


def test_kind_and_verdict_of_each_pair_fit(built_in: LabelledSet) -> None:
    assert [pair for pair in built_in.pairs if pair.kind not in KINDS[pair.verdict]] == []


def test_every_reference_is_a_diagnosis_of_the_taxonomy(built_in: LabelledSet, clinical: Taxonomy) -> None:
    assert {pair.truth for pair in built_in.pairs if clinical.label(pair.truth) is None} == set()


def test_where_the_taxonomy_knows_an_item_it_agrees(built_in: LabelledSet, clinical: Taxonomy) -> None:
    """A set and a table that were checked against each other: a change of either must be thought through."""
    codes = matcher_verdicts(built_in, clinical).tolist()
    differ = [
        (pair.truth, pair.item, pair.verdict, VERDICTS[code])
        for pair, code in zip(built_in.pairs, codes, strict=True)
        if VERDICTS[code] != pair.verdict and clinical.match(pair.item).concept is not None
    ]
    assert differ == []


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"truth": " melanoma ", "item": "nevus\u2028", "verdict": "critical"},
        {"truth": "melanoma", "item": "MM", "verdict": "correct", "kind": "ours"},
    ]
    # A line separator within a text, a byte order mark and empty lines do no harm.
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\ufeff" + "\r\n\r\n".join(lines) + "\n", encoding="utf-8")
    found = load_labelled(file)
    assert (found.name, found.version, found.note) == ("mine", "", "")
    shown = [(p.truth, p.item, p.verdict, p.kind, p.line) for p in found.pairs]
    assert shown == [
        ("melanoma", "nevus\u2028", "critical", "all", 1),
        ("melanoma", "MM", "correct", "ours", 3),
    ]
    assert found.kinds() == ["all", "ours"]


def test_all_mistakes_come_at_once_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(
        "\n".join(
            [
                '{"labelled": "mine", "versoin": "1", "note": 3}',
                '{"truth": "melanoma", "item": "nevus", "verdict": "critical"}',
                '{"truth": "melanoma", "item": "nevus", "verdict": "wrong"}',
                '{"truth": "melanoma", "itme": "nevus", "verdict": "critcal"}',
                '{"truth": "", "item": 3, "verdict": 1, "kind": ""}',
                '["melanoma", "nevus", "critical"]',
                '{"truth": ',
            ]
        )
    )
    with pytest.raises(InputError) as caught:
        load_labelled(file)
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        *((1, ""), (1, "note"), (3, ""), (4, ""), (4, "item"), (4, "verdict")),
        *((5, "truth"), (5, "item"), (5, "kind"), (5, "verdict"), (6, ""), (7, "")),
    ]
    text = str(caught.value)
    for words in (
        f"{file}:1: unknown key 'versoin' in the head; did you mean 'version'?",
        f"{file}:3: the pair 'melanoma', 'nevus' stands in line 2 already",
        f"{file}:4: unknown key 'itme'; did you mean 'item'?",
        "found 'critcal'; did you mean 'critical'?",
        f"{file}:5: verdict: found 1; one of correct, subtype, critical, wrong",
        f"{file}:6: found a JSON list; expected an object",
        f"{file}:7: is no JSON",
    ):
        assert words in text


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown labelled set 'rankd'; did you mean 'ranked'"):
        load_labelled("rankd")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_labelled(tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"labelled": "x", "version": "1"}\n')
    with pytest.raises(InputError, match="holds no pair"):
        load_labelled(empty)
    empty.write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="is no text in UTF-8"):
        load_labelled(empty)
