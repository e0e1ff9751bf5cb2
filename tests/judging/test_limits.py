from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.judging.limits import Bucket, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fullest(starts: list[tuple[float, float]]) -> float:
    """The most that starts within any half-open minute."""
    return max(sum(cost for at, cost in starts if begin <= at < begin + 60 - 1e-6) for begin, _ in starts)


@given(st.integers(1, 300), st.lists(st.floats(0, 40), min_size=1, max_size=120))
def test_no_minute_has_more_requests_than_allowed(allowed: int, gaps: list[float]) -> None:
    clock = Clock()
    bucket = Bucket(allowed, clock)
    starts = []
    for gap in gaps:
        clock.now += gap if gap < 30 else 0.0  # a third come together
        starts.append((clock.now + bucket.reserve(1), 1.0))
    assert fullest(starts) <= allowed
    assert starts == sorted(starts)  # first come, first served


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_busy_judge_gets_nearly_all_that_is_allowed(allowed: int, count: int) -> None:
    clock = Clock()
    bucket = Bucket(allowed, clock)
    last = max(bucket.reserve(1) for _ in range(count))
    assert last <= 60 * count / (0.95 * allowed) + 1e-6


def test_a_burst_goes_out_at_once() -> None:
    bucket = Bucket(600, Clock())
    waits = [bucket.reserve(1) for _ in range(31)]
    assert waits[:30] == [0.0] * 30
    assert waits[30] > 0


def test_a_single_cost_above_the_burst_passes_and_is_paid_off() -> None:
    clock = Clock()
    bucket = Bucket(6000, clock)  # a burst of 300, then about 95 a second
    assert bucket.reserve(3000) == 0.0
    wait = bucket.reserve(1)
    assert 25 < wait < 32
    clock.now += wait
    assert bucket.reserve(1) < 0.02


def test_what_is_given_back_can_be_taken_again() -> None:
    bucket = Bucket(60, Clock())
    first = [bucket.reserve(1) for _ in range(5)]
    bucket.settle(-2)
    assert bucket.reserve(1) == first[3]
    bucket.settle(-1000)
    assert [bucket.reserve(1) for _ in range(4)][:3] == [0.0] * 3  # never more than the burst


def test_estimates_are_corrected_by_what_the_server_counts() -> None:
    clock = Clock()
    limits = Limits(None, 6000, clock)
    messages = [
        {"role": "system", "content": "x" * 400},
        {"role": "user", "content": [{"type": "text", "text": "x" * 40}, {"type": "image_url"}]},
    ]
    assert limits.estimate(messages, 2048) == 100 + 10 + 1000 + 256
    assert limits.estimate(messages, 16) == 100 + 10 + 1000 + 16
    assert limits.reserve(300) == 0.0
    limits.spent(300, 2000, 800)  # it was 2800
    later = limits.reserve(1)
    assert 24 < later < 30
    assert limits.estimate(messages, 2048) > 100 + 10 + 1000 + 256  # replies are longer than was thought
    limits.spent(1, 0, 0)  # a server that counts nothing
    assert limits.reserve(1) - later < 0.02


def test_retries_count_and_calls_that_were_not_made_do_not() -> None:
    clock = Clock()
    limits = Limits(60, None, clock)  # 3 at once, then nearly one a second
    assert [limits.reserve(0) for _ in range(3)] == [0.0] * 3
    limits.retried()
    limits.retried()
    after = limits.reserve(0)
    assert 3.0 < after < 3.2
    limits.cancel(0)
    assert limits.reserve(0) == after


def test_no_limits_no_waiting() -> None:
    limits = Limits(None, None)
    assert not limits.any
    assert [limits.reserve(1e9) for _ in range(3)] == [0.0] * 3
