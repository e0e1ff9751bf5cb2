"""Figures as they are read out of a report, and as they are written."""

from __future__ import annotations

import pytest

from skinflow_plugins.report import wording
from skinflow_plugins.report.figures import Figure, by_rank, families, read_figures, without_rank


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Top-1, the same disease", "Top-k, the same disease"),
        ("Malignancies missed in the first 6", "Malignancies missed"),
        ("Safety-critical wrong, first 6 answers", "Safety-critical wrong"),
        ("Correct, first answer", "Correct"),
        ("Hierarchical distance@5 (clinical tree)", "Hierarchical distance (clinical tree)"),
        ("Balanced accuracy, top 1", "Balanced accuracy"),
        ("Called malignant and is not", "Called malignant and is not"),
    ],
)
def test_a_title_without_its_rank(title: str, expected: str) -> None:
    assert without_rank(title) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "constant", "random", "better", "expected"),
    [
        (0.4, 0.35, 0.45, 0.1, None, "higher", "better"),
        (0.4, 0.35, 0.45, 0.4, None, "higher", "alike"),
        (0.4, 0.35, 0.45, 0.6, None, "higher", "worse"),
        (0.4, 0.35, 0.45, 0.6, None, "lower", "better"),
        (0.4, 0.35, 0.45, 0.1, None, "lower", "worse"),
        (0.4, 0.35, 0.45, 0.0, 0.9, "lower", "better"),
        (0.4, 0.35, 0.45, 0.0, None, "lower", "unknown"),
        (0.4, 0.35, 0.45, 1.0, 0.8, "higher", "worse"),
        (0.4, None, None, 0.1, None, "higher", "unknown"),
        (None, None, None, 0.1, None, "higher", "unknown"),
    ],
)
def test_a_figure_against_its_reference(
    value: float | None,
    low: float | None,
    high: float | None,
    constant: float,
    random: float | None,
    better: str,
    expected: str,
) -> None:
    figure = Figure("k", "t", value, low, high, 10, constant, random=random, better=better)
    assert figure.against == expected


def test_what_is_no_number_is_none() -> None:
    found = read_figures(
        {"figures": {"a": {"value": float("nan"), "n": "many", "constant_answer": ["x", "y"]}}}
    )
    assert (found["a"].value, found["a"].n, found["a"].title) == (None, None, "a")
    assert found["a"].constant_answer == "x; y"
    assert read_figures({"figures": None}) == {}


def test_ranks_are_in_their_order_and_no_figure_is_lost() -> None:
    figures = read_figures({"figures": {f"a@{k}": {} for k in (10, 2, 1)} | {"b": {}}})
    assert list(by_rank(figures, "a")) == [1, 2, 10]
    found = families({"families": [{"title": "A", "figures": ["a@1", "absent"]}]}, figures)
    assert [(family.title, len(family.figures)) for family in found] == [("A", 1), ("Other figures", 3)]


def test_numbers_as_words() -> None:
    assert [wording.value(each) for each in (0.3916, -0.0001, 1, None, "x")] == [
        "39.2%",
        "0.0%",
        "100.0%",
        "–",
        "–",
    ]
    assert (wording.value(2.314, "edges"), wording.value(0.4, "score")) == ("2.31", "0.400")
    assert wording.interval(0.351, 0.377) == "35.1 to 37.7%"
    assert wording.interval(None, 0.3) == ""
    assert (wording.difference(-0.01), wording.difference(0.0123, "score")) == ("-1.0 points", "+0.012")
    assert [wording.plain(each) for each in (0, 0.00001, 0.01234, 1.5, 1234.5)] == [
        *("0", "1.00e-05", "0.01234", "1.500", "1,234")
    ]
    assert [wording.duration(each) for each in (3.2, 61, 7322, None)] == [
        "3 s",
        "1 min 1 s",
        "2 h 2 min",
        "–",
    ]
    assert wording.and_so(["a", "b", "c"]) == "a, b and c"
    assert wording.shortened("a\n b\t" + "c" * 300, 20) == "a b " + "c" * 15 + "…"
