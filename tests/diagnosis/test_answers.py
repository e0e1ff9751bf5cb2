import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import (
    abstains,
    load_taxonomy,
    parse_answer,
    parse_caption,
    read_answer,
    read_caption,
    write_caption,
    write_ranked_list,
)
from skinflow_plugins.diagnosis.answers import abstains_beside

FIELDS = {
    "colour": ["red", "blue", "dark brown"],
    "border": ["sharp", "ill-defined"],
    "Surface_scale": ["yes"],
}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("melanoma", ["melanoma"]),
        ("melanoma; nevus ;psoriasis.", ["melanoma", "nevus", "psoriasis"]),
        ("melanoma, nevus, psoriasis", ["melanoma", "nevus", "psoriasis"]),
        ("melanoma\nnevus\n\npsoriasis", ["melanoma", "nevus", "psoriasis"]),
        ("melanoma;\nnevus;\npsoriasis;", ["melanoma", "nevus", "psoriasis"]),
        ("1. melanoma\n2. nevus", ["melanoma", "nevus"]),
        ("1) melanoma\n2) nevus", ["melanoma", "nevus"]),
        ("(1) melanoma\n(2) nevus", ["melanoma", "nevus"]),
        ("1. melanoma 2. nevus 3. psoriasis", ["melanoma", "nevus", "psoriasis"]),
        ("1. melanoma; 2. nevus", ["melanoma", "nevus"]),
        ("- melanoma\n- nevus", ["melanoma", "nevus"]),
        ("* **Melanoma**\n* nevus", ["Melanoma", "nevus"]),
        ("\u2022 melanoma\n\u2022 nevus", ["melanoma", "nevus"]),
        ("The list is:\n1. melanoma\n2. nevus\nThank you", ["melanoma", "nevus"]),
        ('["melanoma", "nevus"]', ["melanoma", "nevus"]),
        ('```json\n["melanoma", "nevus"]\n```', ["melanoma", "nevus"]),
        ('{"diagnoses": ["melanoma", "nevus"]}', ["melanoma", "nevus"]),
        ('["melanoma", 3, "nevus"]', ["melanoma", "", "nevus"]),
        ("<answer>melanoma; nevus</answer>", ["melanoma", "nevus"]),
        ("<think>psoriasis; not</think>\n<answer>melanoma; nevus</answer> bye", ["melanoma", "nevus"]),
        ("<think>psoriasis</think> melanoma", ["melanoma"]),
        ("<answer>psoriasis</answer><answer>melanoma</answer>", ["melanoma"]),
        ("<answer>melanoma", ["melanoma"]),
        ("<think>melanoma", []),
        ("1. Nevus, Halo", ["Nevus, Halo"]),
        ("Nevus, Halo; melanoma", ["Nevus, Halo", "melanoma"]),
        ("1. melanoma, nevus\n2. psoriasis", ["melanoma, nevus", "psoriasis"]),
        ("", []),
        (" \n ", []),
        (";;;", []),
        ("I am sure that this must be a melanoma of the skin", []),
        ("not melanoma", []),
    ],
)
def test_ranked_lists(text: str, items: list[str]) -> None:
    assert parse_answer(text, 6) == items


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("1. Psoriasis - silvery scale\n2. Eczema \u2013 itch", ["Psoriasis", "Eczema"]),
        ("1. **Psoriasis:** scale\n2. **Eczema**: itch", ["Psoriasis", "Eczema"]),
        ("1. Melanoma: unlikely\n2. Nevus - ruled out\n3. Eczema: most likely", ["", "", "Eczema"]),
        ("1. Psoriasis\n   - melanoma\n   - scale\n2. Eczema", ["Psoriasis", "Eczema"]),
        ("1. Psoriasis\nSilvery scale.\n2. Eczema\nItch.", ["Psoriasis", "Eczema"]),
        ("- Psoriasis\n  - scale\n- Eczema", ["Psoriasis", "Eczema"]),
        ("### 1. Psoriasis\nscale\n### 2. Eczema", ["Psoriasis", "Eczema"]),
        ("Rank 1: psoriasis\nRank 2: eczema", ["psoriasis", "eczema"]),
        ("First: psoriasis\nSecond - eczema", ["psoriasis", "eczema"]),
        ("I. psoriasis\nII. eczema", ["psoriasis", "eczema"]),
        ("a) psoriasis\nb) eczema", ["psoriasis", "eczema"]),
        ("Most likely diagnosis: psoriasis", ["psoriasis"]),
        ("Diagnoses:\npsoriasis\neczema", ["psoriasis", "eczema"]),
        ("Lesion: psoriasis", ["Lesion"]),
        ("- [ ] melanoma\n- [x] psoriasis", ["", "psoriasis"]),
        ("~~melanoma~~; psoriasis", ["", "psoriasis"]),
        ("psoriasis, eczema, and scabies", ["psoriasis", "eczema", "scabies"]),
        ("melanoma, unlikely", []),
        ("melanoma, or nevus, psoriasis", ["", "", "psoriasis"]),
        ("psoriasis\uff1beczema", ["psoriasis", "eczema"]),
        ("psor\u200biasis<|im_end|>", ["psoriasis"]),
        ("1\ufe0f\u20e3 psoriasis\n2\ufe0f\u20e3 eczema", ["psoriasis", "eczema"]),
        ("| # | Diagnosis | Reason |\n|---|---|---|\n| 1 | Psoriasis | not eczema |", ["Psoriasis"]),
        ("| Finding | Reason |\n|---|---|\n| Psoriasis | red |", []),
        ('{"2": "eczema", "1": "psoriasis"}', ["psoriasis", "eczema"]),
        ('{"diagnosis": "psoriasis", "reason": "not eczema"}', ["psoriasis"]),
        ('{"differential": ["eczema"], "diagnosis": "psoriasis"}', ["psoriasis", "eczema"]),
        ('[{"rank": 2, "name": "eczema"}, {"rank": 1, "name": "psoriasis"}]', ["psoriasis", "eczema"]),
        ('[{"text": "x"}, {"name": "eczema"}]', ["", "eczema"]),
        ('{"excluded": ["melanoma"]}', []),
        ('{"melanoma": false, "psoriasis": true}', ["", "psoriasis"]),
        ("['psoriasis', 'eczema']", ["psoriasis", "eczema"]),
        ('My answer:\n```json\n["psoriasis"]\n```\nThanks.', ["psoriasis"]),
        ("<think>x</think><think>psoriasis", []),
        ("psoriasis</answer> eczema", ["psoriasis"]),
        ("<answer>psoriasis</ans", ["psoriasis"]),
    ],
)
def test_written_around_the_names(text: str, items: list[str]) -> None:
    assert parse_answer(text, 6) == items


@pytest.mark.parametrize(
    ("text", "confidences"),
    [
        ("1. Psoriasis (90%)\n2. Eczema (5 %)", [0.9, 0.05]),
        ("1. Psoriasis: 90%\n2. Eczema - 5% - itch", [0.9, 0.05]),
        ("1. Psoriasis 90%\n2. Eczema", [0.9, None]),
        ("psoriasis (confidence: 0.9); eczema (0.05); scabies (2)", [0.9, 0.05, None]),
        ("1. Psoriasis (90%) - scale\n2. Eczema (about 5% likely): itch", [0.9, 0.05]),
        ("psoriasis (900%)", [None]),
        ("psoriasis (0%); eczema (100%)", [None, 1.0]),
        (
            '[{"diagnosis": "psoriasis", "confidence": 0.9}, {"name": "eczema", "probability": "5%"}]',
            [0.9, 0.05],
        ),
        ('{"diagnosis": "psoriasis", "confidence": 90}', [0.9]),
        ('{"psoriasis": 0.9, "eczema": 0.05}', [0.9, 0.05]),
        ('[{"diagnosis": "psoriasis", "confidence": NaN}]', [None]),
        ('[{"diagnosis": "psoriasis", "confidence": -1}]', [None]),
        ("| Diagnosis | Confidence |\n|---|---|\n| Psoriasis | 90% |\n| Eczema | |", [0.9, None]),
    ],
)
def test_confidences(text: str, confidences: list[float | None]) -> None:
    read = read_answer(text, 6)
    assert read.confidences == pytest.approx(confidences)
    assert len(read.items) == len(confidences)


@pytest.mark.parametrize(
    ("text", "beyond", "void"),
    [
        ("a; b; c", 1, 0),
        ("a; b; ;; c;", 1, 0),
        ("not a; b", 0, 1),
        ("a; not b", 0, 1),
        ("; a", 0, 0),
        ("1. a\n2. b\n3. c\n4. d", 2, 0),
        ('["a", "b", "c"]', 1, 0),
        ("", 0, 0),
    ],
)
def test_what_is_left_out_is_counted(text: str, beyond: int, void: int) -> None:
    read = read_answer(text, 2)
    assert (read.beyond_limit, read.void) == (beyond, void)


@pytest.mark.parametrize(
    "text",
    [
        "unknown",
        "I don\u2019t know.",
        "**Cannot determine**",
        "I'm sorry, but I cannot determine the diagnosis from this image.",
        "<think>hm</think><answer>not sure</answer>",
        "1. Unknown",
        '{"diagnosis": "unknown"}',
        "Diagnosis: unknown",
        "I'm sorry, but I can't provide a medical diagnosis. Please consult a dermatologist.",
        "N/A",
    ],
)
def test_abstaining(text: str) -> None:
    assert abstains(text)


@pytest.mark.parametrize(
    "text", ["", "psoriasis", "unknown; psoriasis", "not sure it is psoriasis", "not melanoma", "no melanoma"]
)
def test_not_abstaining(text: str) -> None:
    assert not abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "melanoma; unknown",
        "unknown; melanoma",
        "1. melanoma\n2. I don't know",
        "melanoma, not sure",
        '["melanoma", "cannot determine"]',
        "<think>x</think><answer>melanoma; a; b; c; d; e; f; Diagnosis: unknown</answer>",
    ],
)
def test_abstaining_beside_a_diagnosis(text: str) -> None:
    assert abstains_beside(text)
    assert not abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "melanoma; nevus",
        "not melanoma; nevus",
        "<think>unknown</think>melanoma",
        "melanoma: unclear border",
    ],
)
def test_not_abstaining_beside_a_diagnosis(text: str) -> None:
    assert not abstains_beside(text)


def test_a_known_name_is_no_abstention() -> None:
    assert abstains_beside("melanoma; Indeterminate")
    assert not abstains_beside("melanoma; Indeterminate", known=lambda name: name == "Indeterminate")


def test_void_items_keep_their_rank() -> None:
    assert parse_answer("not melanoma; ; nevus; maybe BCC; psoriasis", 6) == [
        "",
        "",
        "nevus",
        "",
        "psoriasis",
    ]
    assert parse_answer("a;b;;d", 3) == ["a", "b"]
    assert parse_answer("a\nb\nc", 2) == ["a", "b"]
    assert parse_answer("a", 0) == []


def test_a_known_name_is_neither_void_nor_split() -> None:
    tree = load_taxonomy("isic")
    for concept in tree.concepts.values():
        assert parse_answer(concept.name, 6, known=tree.knows) == [concept.name]
        assert parse_answer(f"x; {concept.name}", 6, known=tree.knows) == ["x", concept.name]


@given(
    st.lists(st.text("abc ,(-", min_size=1, max_size=8).map(str.strip).filter(bool), min_size=2, max_size=6)
)
def test_a_written_list_reads_back(names: list[str]) -> None:
    read = parse_answer(write_ranked_list(names), 6)
    assert len(read) <= len(names)
    plain = [name for name in names if name.isalpha()]
    assert [item for item in read if item.isalpha() and item in plain] or not plain


@given(st.text(), st.integers(1, 8))
def test_any_text_is_read(text: str, limit: int) -> None:
    read = read_answer(text, limit)
    assert parse_answer(text, limit) == read.items
    assert len(read.items) == len(read.confidences) <= limit
    assert all(len(item.split()) <= 8 for item in read.items)
    assert all(each is None or 0 < each <= 1 for each in read.confidences)
    abstains(text)
    parse_caption(text, FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "a;" * 50_000,
        "[" * 100_000,
        "<answer>" * 12_000,
        "</think><answer>" * 6_000,
        "a:b;" * 25_000,
        "1. " * 30_000,
        "\n" * 100_000,
        "(" * 100_000,
        "word " * 20_000,
        " " * 100_000 + "x",
        "1." + " " * 100_000 + "x",
        "</" * 50_000,
        "<answer" + " " * 100_000,
        "```" * 33_000,
        "|a|\n|-|\n" * 12_000,
        "1. x" + " - a" * 25_000,
        "a: " * 33_000,
        "1\u3001" * 50_000,
        "p" + "\u0301\u0316" * 50_000,
        "\ud800" * 100_000,
    ],
    ids=lambda text: ascii(text[:8]).strip("'").strip() or "blank",
)
def test_long_answers_are_read_quickly(text: str) -> None:
    start = time.perf_counter()
    parse_answer(text, 6)
    abstains(text)
    abstains_beside(text)
    read_caption(text, FIELDS)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour: red; border: sharp", {"colour": ["red"], "border": ["sharp"]}),
        ("Colour: RED, blue\nBorder : Sharp.", {"colour": ["red", "blue"], "border": ["sharp"]}),
        ('{"colour": "red", "border": ["sharp"]}', {"colour": ["red"], "border": ["sharp"]}),
        ("- **Colour**: red\n- border: ill-defined", {"colour": ["red"], "border": ["ill-defined"]}),
        ("surface scale: yes", {"Surface_scale": ["yes"]}),
        ("<answer>colour: dark  brown</answer>", {"colour": ["dark brown"]}),
        ("colour: red; colour: blue", {"colour": ["red", "blue"]}),
        ("colour: sharp", {"colour": []}),
        ("colour red", {}),
        ("shape: round", {}),
        ("", {}),
    ],
)
def test_captions(text: str, named: dict[str, list[str]]) -> None:
    assert parse_caption(text, FIELDS) == named


def test_what_is_not_of_the_schema_is_apart() -> None:
    caption = read_caption("colour: red, pink, red; shape: round; hello; colour: blue", FIELDS)
    assert caption.named == {"colour": ["red", "blue"]}
    assert caption.unknown_values == {"colour": ["pink"]}
    assert caption.unknown_fields == ("shape",)
    assert caption.stray == ("hello",)
    assert caption.repeated == ("colour",)
    assert caption.doubled == ("red",)


def test_a_value_with_a_comma_is_read_whole() -> None:
    assert parse_caption("x: a, b", {"x": ["a, b", "c"]}) == {"x": ["a, b"]}


@given(
    st.fixed_dictionaries(
        {f: st.lists(st.sampled_from(v), min_size=1, unique=True) for f, v in FIELDS.items()}
    )
)
def test_a_written_caption_reads_back(values: dict[str, list[str]]) -> None:
    assert parse_caption(write_caption(values), FIELDS) == values
