"""Agreement of completions over a moving window: kept up step by step, equal to counting anew."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.monitoring.agreement import AgreementWindow, digest, parts_of
from skinflow_plugins.monitoring.step import read_step

rows = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["p", "q", "r"])), min_size=1, max_size=12)


def lines(step: int, given_rows: list[tuple[int, str]]) -> list[dict[str, Any]]:
    return [
        {"step": step, "id": f"r{group}", "group": group, "completion": text, "total": 0.0}
        for group, text in given_rows
    ]


@given(st.lists(rows, min_size=1, max_size=6))
def test_a_window_counts_what_its_steps_hold(steps: list[list[tuple[int, str]]]) -> None:
    window = AgreementWindow(2)
    for number, found in enumerate(steps, start=1):
        window.add(read_step(lines(number, found)))
    held = [
        (group, (number, group), text)
        for number, found in list(enumerate(steps, start=1))[-2:]
        for group, text in found
    ]
    across = [a[2] == b[2] for a, b in combinations(held, 2) if a[0] != b[0]]
    within = [a[2] == b[2] for a, b in combinations(held, 2) if a[1] == b[1]]
    now = dict(window.now())
    if not across or not within:
        assert now == {}
        return
    answer = now["answer"]
    assert answer.completions == len(held)
    assert answer.prompts == len({row[0] for row in held})
    assert answer.distinct == len({row[2] for row in held})
    assert answer.across == pytest.approx(sum(across) / len(across))
    assert answer.within == pytest.approx(sum(within) / len(within))
    times = {text: sum(row[2] == text for row in held) for text in "pqr"}
    digested, most = window.most_frequent("answer")
    assert most == max(times.values())
    assert digested in {digest(parts_of(text)["answer"]) for text, n in times.items() if n == most}


def test_kappa_is_one_when_the_prompt_says_all_and_zero_when_it_says_nothing() -> None:
    for texts, kappa in ((["p", "p", "q", "q"], 1.0), (["p", "p", "p", "p"], 0.0)):
        window = AgreementWindow(5)
        window.add(read_step(lines(1, list(zip([0, 0, 1, 1], texts, strict=True)))))
        assert dict(window.now())["answer"].kappa == kappa


def test_kappa_is_what_goes_beyond_chance() -> None:
    window = AgreementWindow(5)
    texts = ["p", "p", "p", "q", "p", "p"]
    window.add(read_step(lines(1, list(zip([0, 0, 1, 1, 2, 2], texts, strict=True)))))
    answer = dict(window.now())["answer"]
    assert (answer.across, answer.within) == (pytest.approx(8 / 12), pytest.approx(2 / 3))
    assert answer.kappa == pytest.approx(0)
    window.add(read_step(lines(2, [(0, "p"), (0, "p"), (3, "p"), (3, "p")])))
    answer = dict(window.now())["answer"]
    assert answer.kappa == pytest.approx((answer.within - answer.across) / (1 - answer.across))
    assert answer.kappa != pytest.approx(answer.within - answer.across)


def test_numbers_case_and_space_do_not_distinguish() -> None:
    one = parts_of("A lesion of 3.5 mm,  12 times")["answer"]
    assert one == parts_of("a Lesion of 7 mm, 2 times")["answer"]
    assert one != parts_of("a lesion of 7 cm, 2 times")["answer"]


def test_reasoning_is_compared_without_the_words_of_the_answer() -> None:
    reasoning = "The picture is in all respects the typical one of {0}, as one would say."
    text = f"<think>{reasoning}</think><answer>{{0}}</answer>"
    one, other = (parts_of(text.format(name)) for name in ("tinea corporis", "acne"))
    assert one["reasoning"] == other["reasoning"] != ""
    assert one["answer"] == "tinea corporis"
    assert parts_of("<think></think>acne")["reasoning"] == ""
    assert parts_of("acne")["reasoning"] == ""


def test_a_very_long_or_strange_completion_is_compared_by_its_beginning() -> None:
    assert len(parts_of("a " * 100_000)["answer"]) <= 2_000
    assert digest("lone \ud800 surrogate\x00") != digest("lone")
