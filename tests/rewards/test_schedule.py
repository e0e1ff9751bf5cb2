import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.rewards.schedule import Schedule, weight_at

SHAPES = st.sampled_from(["linear", "cosine", "jump"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ("jump", [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
        ("cosine", [1.0, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0]),
    ],
)
def test_two_steps_pass_and_four_change_it(shape, expected) -> None:  # type: ignore[no-untyped-def]
    schedule = Schedule(to=0.0, steps=4, after=2, shape=shape)
    assert [weight_at(1.0, schedule, step) for step in range(1, 9)] == pytest.approx(expected, abs=1e-6)


def test_without_a_schedule_nothing_changes() -> None:
    assert weight_at(0.7, None, 1000) == 0.7


@given(
    st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 50), st.integers(0, 50), SHAPES, st.integers(1, 200)
)
def test_the_weight_stays_between_both_ends(weight, to, steps, after, shape, step) -> None:  # type: ignore[no-untyped-def]
    schedule = Schedule(to, steps, after, shape)
    low, high = sorted((weight, to))
    assert low - 1e-9 <= weight_at(weight, schedule, step) <= high + 1e-9
    assert weight_at(weight, schedule, 1) == weight
    assert weight_at(weight, schedule, after + steps + 1) == pytest.approx(to)
