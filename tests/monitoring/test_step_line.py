"""The line of reward_steps.jsonl: means over what was judged, shares over everything."""

from __future__ import annotations

import json
import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.monitoring import step_report


def line(group: int, total: float, /, **more: Any) -> dict[str, Any]:
    return {"step": 4, "id": f"r{group}", "group": group, "completion": "x", "total": total, **more}


def test_figures_of_a_step() -> None:
    lines = [
        line(0, 1.0, rewards={"s.a": 1.0, "s.b": 0.5}, marks={"s.a": {"listed": 4.0}}),
        line(0, 0.2, rewards={"s.a": 0.2, "s.b": 0.5}, missing={"s.b": "none"}, failed=["s.b"]),
        line(1, 0.4, rewards={"s.a": 0.4, "s.b": 0.0}, gated={"s.b": 0.9}, marks={"s.a": {"listed": 1.0}}),
        line(1, 0.0, rewards={"s.a": 0.0}, missing={"s.b": "none"}),
    ]
    found = step_report(lines, {"s.a": 1.0})
    assert (found["step"], found["completions"], found["groups"], found["silent_groups"]) == (4, 4, 2, 0)
    assert found["zero_gradient"] is None
    first, second = found["components"]["s.a"], found["components"]["s.b"]
    assert first["mean"] == pytest.approx(0.4)
    assert first["std"] == pytest.approx(statistics.stdev([1.0, 0.2, 0.4, 0.0]), abs=1e-6)
    assert (first["min"], first["max"], first["weight"], first["missing"]) == (0.0, 1.0, 1.0, 0.0)
    assert first["marks"] == {"listed": 2.5}
    # A missing row's value is its group's mean, and no figure of the reward's own.
    assert (second["mean"], second["missing"], second["failed"], second["gated"]) == (0.25, 0.5, 0.25, 0.25)
    assert "weight" not in second
    assert found["total"]["max"] == 1.0


def test_a_weight_from_a_tensor_has_no_digits_of_32_bits() -> None:
    found = step_report([line(0, 0.0, rewards={"s.a": 1.0})], {"s.a": 0.20000000298023224})
    assert found["components"]["s.a"]["weight"] == 0.2


def test_a_reward_that_judged_nothing_has_no_figures() -> None:
    found = step_report([line(0, 0.0, missing={"s.a": "down"}, failed=["s.a"])], {"s.a": 1.0})
    assert found["components"]["s.a"] == {
        "mean": None, "std": None, "min": None, "max": None,
        "weight": 1.0, "missing": 1.0, "failed": 1.0, "gated": 0.0,
    }  # fmt: skip


def test_lengths_are_tokens_where_all_are_known() -> None:
    tokens = [line(0, 0.0, tokens=3), line(0, 1.0, tokens=5)]
    assert step_report(tokens)["length"]["unit"] == "tokens"
    assert step_report(tokens)["length"]["mean"] == 4
    mixed = step_report([*tokens, line(0, 1.0)])
    assert (mixed["length"]["unit"], mixed["length"]["mean"]) == ("letters", 1)


@pytest.mark.parametrize("lines", [[], [line(0, 1.0), {**line(0, 1.0), "step": 5}]])
def test_lines_of_one_step_are_needed(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="expected the lines of one step"):
        step_report(lines)


def test_lines_of_an_older_version_have_no_group() -> None:
    lines = [{"step": 1, "id": i, "task": "d", "completion": "x", "rewards": {"a": v}, "total": v}
             for i, v in (("p", 0.0), ("p", 1.0), ("q", 1.0), ("q", 1.0))]  # fmt: skip
    found = step_report(lines)
    assert (found["groups"], found["silent_groups"]) == (2, 1)


values = st.floats(-2, 2).map(lambda value: round(value, 4))
completions = st.lists(
    st.tuples(st.integers(0, 4), values, values, st.booleans(), st.sampled_from("abc")),
    min_size=1,
    max_size=40,
)


@given(completions, st.randoms(use_true_random=False))
def test_laws(rows: list[tuple[int, float, float, bool, str]], shuffler: random.Random) -> None:
    """Whatever the step: the order of its lines does not count, ends hold the mean, and JSON can hold it."""
    lines = [
        line(
            group,
            round(a + b, 6),
            completion=text,
            rewards={"s.a": a, "s.b": b},
            **({"missing": {"s.b": "none"}} if gone else {}),
        )
        for group, a, b, gone, text in rows
        if text
    ]
    found = step_report(lines, {"s.a": 1.0, "s.b": 1.0})
    json.dumps(found, allow_nan=False)
    shuffled = list(lines)
    shuffler.shuffle(shuffled)
    again = step_report(shuffled, {"s.a": 1.0, "s.b": 1.0})
    assert _rounded(again) == _rounded(found)
    for part in (*found["components"].values(), found["total"]):
        if part["mean"] is not None:
            assert part["min"] - 1e-5 <= part["mean"] <= part["max"] + 1e-5
    totals: dict[int, set[float]] = {}
    for each in lines:
        totals.setdefault(each["group"], set()).add(each["total"])
    silent = sum(max(each) - min(each) <= 2e-6 for each in totals.values())
    assert found["silent_groups"] == silent
    assert (found["zero_gradient"] is not None) == (silent >= 0.8 * len(totals))


def _rounded(value: Any) -> Any:
    """Sums in another order may differ in the last digit."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 4) + 0.0 if isinstance(value, float) and math.isfinite(value) else value
