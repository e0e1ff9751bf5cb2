import threading

from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.judging import Judge, Usage
from skinflow_plugins.judging.client import Answer
from skinflow_plugins.judging.usage import Account

counts = st.integers(0, 1000)
usages = st.builds(
    Usage, counts, counts, counts, counts, counts, st.integers(0, 100).map(float),
    st.dictionaries(st.sampled_from(["transport", "timeout", "open"]), st.integers(1, 50)),
)  # fmt: skip


@given(usages, usages)
def test_a_difference_is_what_was_added(one: Usage, two: Usage) -> None:
    assert (one + two) - one == two
    assert one - one == Usage()


def test_tokens_cost_what_a_million_costs() -> None:
    judge = Judge("http://127.0.0.1/v1", "m", prompt_price=0.5, completion_price=2.0, currency="EUR")
    account = Account(judge)
    for _ in range(1000):
        account.called()
        account.spent(Answer("", None, 700, 90, 1))
    account.hit()
    account.failed("timeout")
    used = account.usage()
    assert used.as_dict() == {
        "calls": 1000,
        "hits": 1,
        "retries": 1000,
        "prompt_tokens": 700_000,
        "completion_tokens": 90_000,
        "cost": 0.53,
        "failures": {"timeout": 1},
    }
    assert used.failed == 1
    assert judge.priced
    assert Account(Judge("http://127.0.0.1/v1", "m")).usage().cost == 0.0


def test_counting_from_several_threads_loses_nothing() -> None:
    account = Account(Judge("http://127.0.0.1/v1", "m"))

    def count() -> None:
        for _ in range(5000):
            account.called()
            account.failed("open")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (account.usage().calls, account.usage().failures) == (20_000, {"open": 20_000})
