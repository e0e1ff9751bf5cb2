import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import (
    load_taxonomy,
    parse_answer,
    parse_caption,
    read_caption,
    write_caption,
    write_ranked_list,
)

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
    items = parse_answer(text, limit)
    assert len(items) <= limit
    assert all(len(item.split()) <= 8 for item in items)
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
    ],
    ids=lambda text: text[:8].strip() or "blank",
)
def test_long_answers_are_read_quickly(text: str) -> None:
    start = time.perf_counter()
    parse_answer(text, 6)
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
