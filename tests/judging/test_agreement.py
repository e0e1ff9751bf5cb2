import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import cohen_kappa_score

from skinflow_plugins.judging import agreement, cohen_kappa, compare
from skinflow_plugins.judging.agreement import agreement_codes, fleiss_kappa

C, S, X, W = "correct", "subtype", "critical", "wrong"
CODES = st.integers(0, 3)


def test_fleiss_by_hand() -> None:
    # Three runs over four items. Pairs that agree: 3/3, 1/3, 3/3, 0/3; mean 7/12.
    # Votes of 12: C 6, W 4, S 1, X 1, so by chance (36 + 16 + 1 + 1) / 144 = 3/8.
    runs = [[C, C, W, C], [C, W, W, S], [C, C, W, X]]
    found = agreement(runs)
    assert found.items == 4
    assert found.unanimous == 0.5
    assert found.kappa == pytest.approx((7 / 12 - 3 / 8) / (1 - 3 / 8), abs=1e-12)


def test_fleiss_of_the_example_that_is_known_from_text_books() -> None:
    # 10 subjects, 14 raters, 5 categories; kappa .210.
    votes = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    assert fleiss_kappa(np.array(votes)) == pytest.approx(0.20993, abs=5e-6)


def test_items_that_fewer_than_two_runs_judged_are_left_out() -> None:
    whole = agreement([[C, W, C], [C, W, W], [C, X, W]])
    with_lost = agreement([[C, W, C, None, C], [C, W, W, None, None], [C, X, W, None, None]])
    assert with_lost == whole
    assert agreement([[C, W], [C, None]]).items == 1


def test_two_raters_of_three_count_as_two() -> None:
    found = agreement([[C, W], [C, W], [None, W]])
    assert (found.items, found.unanimous, found.kappa) == (2, 1.0, 1.0)


@pytest.mark.parametrize(
    ("runs", "items", "unanimous", "why"),
    [
        ([[C, W]], 0, None, "one run alone has nothing to agree with"),
        ([], 0, None, "one run alone has nothing to agree with"),
        ([[C, None], [None, W]], 0, None, "no item was judged by two runs"),
        ([[], []], 0, None, "no item was judged by two runs"),
        ([[C, C], [C, C]], 2, 1.0, "every verdict is the same, so that chance alone agrees too"),
    ],
)
def test_what_is_not_defined_says_why(runs: list, items: int, unanimous: float | None, why: str) -> None:
    found = agreement(runs)
    assert (found.items, found.unanimous, found.kappa, found.why) == (items, unanimous, None, why)


@given(arrays.arrays(np.int8, st.tuples(st.integers(2, 5), st.integers(1, 30)), elements=CODES))
def test_kappa_is_bounded_and_one_exactly_when_all_agree(runs: np.ndarray) -> None:
    found = agreement_codes(runs)
    assert found.unanimous is not None
    if found.kappa is None:
        assert found.unanimous == 1.0
    else:
        assert -1.0 - 1e-12 <= found.kappa <= 1.0 + 1e-12
        assert (abs(found.kappa - 1.0) < 1e-12) == (found.unanimous == 1.0)
    assert agreement_codes(runs[::-1]) == found


@given(arrays.arrays(np.int8, st.tuples(st.just(2), st.integers(1, 60)), elements=CODES))
def test_cohen_equals_scikit_learn(pair: np.ndarray) -> None:
    ours = cohen_kappa(*pair)
    if ours is None:
        assert len(np.unique(pair)) == 1  # scikit-learn gives NaN or 1 here, by its version
    else:
        assert ours == pytest.approx(cohen_kappa_score(*pair, labels=[0, 1, 2, 3]), abs=1e-12)


def test_a_comparison_counts_what_one_alone_judged() -> None:
    found = compare(np.array([[0, 3, -1], [2, -1, 0]]), np.array([[0, 2, -1], [-1, 3, 0]]))
    assert (found.items, found.left_out) == (3, 2)
    assert found.same == pytest.approx(2 / 3)
    assert found.table == ((2, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    assert found.as_dict()["verdicts"] == ["correct", "subtype", "critical", "wrong"]


def test_a_comparison_of_nothing_says_so() -> None:
    found = compare(np.array([-1]), np.array([0]))
    assert (found.items, found.same, found.kappa, found.left_out) == (0, None, None, 1)
    assert found.why == "no item was judged by both"
    with pytest.raises(ValueError, match="expected the same items"):
        compare(np.zeros(2, int), np.zeros(3, int))
