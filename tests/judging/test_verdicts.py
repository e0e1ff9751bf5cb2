import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.judging import NOTHING, VERDICTS, majority
from skinflow_plugins.judging.verdicts import decoded, encoded, majority_codes

C, S, X, W = VERDICTS
BETTER_FIRST = (C, S, W, X)
VERDICT = st.sampled_from([*VERDICTS, None])


@st.composite
def several_runs(draw: st.DrawFn) -> list[list[str | None]]:
    items = draw(st.integers(0, 6))
    return draw(
        st.lists(st.lists(VERDICT, min_size=items, max_size=items), min_size=1, max_size=5),
    )


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        ([C], C),
        ([C, C, W], C),
        ([C, W, W], W),
        ([C, S, S], S),
        ([C, S, W], W),
        ([C, S, X], X),
        ([C, W], W),
        ([C, S], S),
        ([W, X], X),
        ([C, None, None], C),
        ([C, W, None], W),
        ([None, None], None),
    ],
)
def test_the_majority_wins_and_among_equals_the_worse(votes: list, verdict: str | None) -> None:
    found = majority([[vote] for vote in votes])
    assert found.verdicts == (verdict,)
    assert found.failures == votes.count(None)


@given(several_runs())
def test_the_majority_is_a_most_frequent_verdict_and_never_the_better_of_equals(runs: list) -> None:
    found = majority(runs)
    for item, verdict in enumerate(found.verdicts):
        votes = [run[item] for run in runs if run[item] is not None]
        assert (verdict is None) == (not votes)
        if verdict is not None:
            most = max(votes.count(each) for each in VERDICTS)
            equals = [each for each in BETTER_FIRST if votes.count(each) == most]
            assert verdict == equals[-1]
    assert found.failures == sum(vote is None for run in runs for vote in run)


@given(several_runs(), st.randoms(use_true_random=False))
def test_the_order_of_the_runs_does_not_matter(runs: list, random) -> None:
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert majority(shuffled) == majority(runs)


@given(several_runs())
def test_a_run_that_failed_throughout_changes_no_verdict(runs: list) -> None:
    assert majority([*runs, [None] * len(runs[0])]).verdicts == majority(runs).verdicts


@given(several_runs())
def test_codes_and_words_say_the_same(runs: list) -> None:
    codes = encoded(runs)
    assert [list(decoded(row)) for row in codes] == runs
    assert decoded(majority_codes(codes)) == majority(runs).verdicts


def test_no_run_judges_nothing() -> None:
    assert majority([]).verdicts == ()
    assert majority_codes(np.full((2, 3, 4), NOTHING, np.int8)).tolist() == [[NOTHING] * 4] * 3


def test_runs_over_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"runs of \[1, 2\] items"):
        majority([[C], [C, W]])
