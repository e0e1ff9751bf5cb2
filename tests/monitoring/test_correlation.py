"""Rank correlation within groups: equal to scipy's in each group, and blind to what differs between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from skinflow_plugins.monitoring.correlation import Pooled, pooled_within

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40)


@given(rows)
def test_it_is_the_weighted_mean_of_the_groups_correlations(given_rows: list[tuple[int, int, int]]) -> None:
    group, one, other = (np.array(each) for each in zip(*given_rows, strict=True))
    found = pooled_within(group, 4, one.astype(float), other.astype(float))
    weighted, weight = 0.0, 0
    for number in range(4):
        mine = group == number
        if len(set(one[mine])) > 1 and len(set(other[mine])) > 1:
            weighted += (mine.sum() - 1) * spearmanr(one[mine], other[mine]).statistic
            weight += mine.sum() - 1
    assert found.weight == weight
    assert found.weighted == pytest.approx(weighted)
    assert -1 <= found.value <= 1


def test_difficulty_is_no_correlation() -> None:
    """Hard prompts get long answers and low rewards; within a prompt the two are independent."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(400), 8)
    hard = random.normal(size=400)[group]
    length, reward = hard + random.normal(size=3200), -hard + random.normal(size=3200)
    assert spearmanr(length, reward).statistic < -0.4
    found = pooled_within(group, 400, length, reward)
    assert abs(found.value) < 0.06
    assert abs(found.errors) < 3.5


def test_chance_has_the_standard_error_that_is_claimed() -> None:
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(20), 4)
    errors = [pooled_within(group, 20, *random.normal(size=(2, 80))).errors for _ in range(2000)]
    assert np.std(errors) == pytest.approx(1, abs=0.06)


def test_rows_without_a_figure_do_not_count() -> None:
    group = np.array([0, 0, 0, 1, 1])
    one = np.array([1.0, 2.0, math.nan, 5.0, 5.0])
    found = pooled_within(group, 2, one, np.array([1.0, 2.0, -9.0, 1.0, 2.0]))
    assert found == Pooled(1.0, 1.0, 1)
    assert pooled_within(group, 2, one * math.nan, one) == Pooled()
    assert Pooled().value == Pooled().errors == 0
