import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.rewards.decay import credit_by_rank


def test_the_three_decays_and_the_table() -> None:
    assert credit_by_rank(4) == (1, 1 / 2, 1 / 3, 1 / 4)
    assert credit_by_rank(4, "linear") == (1, 3 / 4, 2 / 4, 1 / 4)
    assert credit_by_rank(4, "exponential") == (1, 0.5, 0.25, 0.125)
    assert credit_by_rank(3, "exponential", 0.1) == pytest.approx((1, 0.1, 0.01))
    assert credit_by_rank(3, by_rank=[0.9, 0.9]) == (0.9, 0.9, 0)
    assert credit_by_rank(1, by_rank=[1, 0.5]) == (1,)


@given(
    st.integers(1, 20),
    st.one_of(
        st.just({}),
        st.just({"decay": "linear"}),
        st.floats(0.01, 0.99).map(lambda rate: {"decay": "exponential", "rate": rate}),
        st.lists(st.floats(0, 1), min_size=1, max_size=8).map(lambda v: {"by_rank": sorted(v)[::-1]}),
    ),
)
def test_credit_never_rises_and_stays_in_range(length: int, options: dict[str, Any]) -> None:
    credit = credit_by_rank(length, **options)
    assert len(credit) == length
    assert all(0 <= b <= a <= 1 for a, b in itertools.pairwise(credit))
    if "by_rank" not in options:
        assert credit[0] == 1
        assert credit[-1] > 0
        assert len(set(credit)) == length  # an earlier rank is always worth more


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"list_length": 0}, "list_length must be at least 1"),
        ({"decay": "recipocal"}, "did you mean 'reciprocal'"),
        ({"decay": "exponential", "rate": 1.0}, "above 0 and below 1"),
        ({"decay": "exponential", "rate": math.nan}, "above 0 and below 1"),
        ({"decay": "exponential", "rate": 0}, "above 0 and below 1"),
        ({"rate": 0.5}, "belongs to decay: exponential"),
        ({"by_rank": [1.0], "rate": 0.5}, "belongs to decay: exponential"),
        ({"by_rank": [1.0], "decay": "linear"}, "contradict each other"),
        ({"by_rank": [0.5, 0.6]}, "never rise"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        credit_by_rank(**{"list_length": 3, **options})
