import asyncio
import itertools
import math
import threading
import time

import numpy as np
import pytest

from skinflow_plugins import Score, reward
from skinflow_plugins.rewards import RewardError, acall_reward, call_reward


@reward("returns", low=-1.0, needs=("value",))
def returns(answer: str, *, add: float = 0.0, **sample):  # type: ignore[no-untyped-def]
    """Gives back the column `value`, or raises it."""
    value = sample["value"]
    if isinstance(value, Exception):
        raise value
    return value + add if add else value


@reward("returns_batch", low=-1.0, needs=("value",), batched=True)
def returns_batch(answers, *, length: int | None = None, **columns):  # type: ignore[no-untyped-def]
    """Gives back the column `value` for the batch."""
    return columns["value"][:length]


@reward("returns_later", low=-1.0, needs=("value",))
async def returns_later(answer: str, **sample):  # type: ignore[no-untyped-def]
    """Gives back the column `value` after a while, or raises it."""
    await asyncio.sleep(0.01)
    if isinstance(sample["value"], Exception):
        raise sample["value"]
    return sample["value"]


@reward("returns_batch_later", low=-1.0, needs=("value",), batched=True)
async def returns_batch_later(answers, **columns):  # type: ignore[no-untyped-def]
    """Gives back the column `value` for the batch after a while."""
    await asyncio.sleep(0)
    return np.array(columns["value"], dtype=object)


ALL = [returns, returns_batch, returns_later, returns_batch_later]


def call(declared, values, options=None, **columns):  # type: ignore[no-untyped-def]
    ids = [f"s{i}" for i in range(len(values))]
    answers = ["the answer " * 30] * len(values)
    return call_reward(declared, answers, {"id": ids, "value": values, **columns}, options or {})


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: declared.name)
def test_values_become_scores(declared) -> None:  # type: ignore[no-untyped-def]
    given = [0.5, 1, True, np.float32(0.25), np.bool_(False), np.int64(1), Score(0.5, "r", "w"), 1 + 5e-7]
    scores = call(declared, given)
    assert [score.value for score in scores[:6]] == [0.5, 1.0, 1.0, 0.25, 0.0, 1.0]
    assert all(type(score.value) is float for score in scores)
    assert scores[6] == Score(0.5, "r", "w")
    assert call(declared, [Score(np.float64(0.5), "r")]) == [Score(0.5, "r")]


@pytest.mark.parametrize("declared", [returns_batch, returns_batch_later])
def test_no_judgement_in_a_batch(declared) -> None:  # type: ignore[no-untyped-def]
    columns = {"value": [1, 1], "id": [1, 2]}
    assert call_reward(declared, ["a", "b"], columns, {}) == [Score(1.0), Score(1.0)]


@reward("silent")
def silent(answer: str, **sample) -> None:  # type: ignore[no-untyped-def]
    """Has no judgement."""


def test_no_judgement() -> None:
    assert call_reward(silent, ["a", "b"], {}, {}) == [None, None]


BAD = [
    "1",
    math.nan,
    math.inf,
    -math.inf,
    1.1,
    -1.1,
    [0.5],
    (),
    {},
    object(),
    1j,
    np.array([1.0]),
    Score("1"),
]


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: declared.name)
@pytest.mark.parametrize("value", BAD, ids=repr)
def test_anything_else_is_refused(declared, value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewardError) as caught:
        call(declared, [0.5, value])
    text = str(caught.value)
    for part in (repr(declared.name), "sample s1", "expected a finite number in [-1, 1]", "characters)"):
        assert part in text
    assert len(text) < 400


@pytest.mark.parametrize("declared", [returns, returns_later])
def test_an_exception_names_the_sample(declared) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewardError, match=r"reward 'returns\w*' on sample s2 raised KeyError: 'k'") as caught:
        call(declared, [1, 0, KeyError("k"), KeyError("l")])
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.exit_code == 1


def test_an_exception_in_a_batch_names_the_batch() -> None:
    with pytest.raises(
        RewardError, match=r"(?s)'returns_batch' raised TypeError.* batch of 4: s0, s1, s2, \.\.\."
    ):
        call(returns_batch, [1, 1, 1, 1], {"length": "x"})


@pytest.mark.parametrize("length", [1, 0])
def test_a_short_list_is_refused(length: int) -> None:
    with pytest.raises(RewardError, match=f"'returns_batch' returned {length} values for 3 answers"):
        call(returns_batch, [1, 1, 1], {"length": length})


@reward("one_number", batched=True)
def one_number(answers, **columns):  # type: ignore[no-untyped-def]
    """Forgets that it is batched."""
    return 1.0


def test_a_batched_reward_must_return_a_list() -> None:
    with pytest.raises(
        RewardError, match="'one_number' is batched and must return a list of 2 values, found float"
    ):
        call_reward(one_number, ["a", "b"], {}, {})


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: declared.name)
def test_columns_must_be_there(declared) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewardError, match="needs the column 'value', which is missing"):
        call_reward(declared, ["a"], {"id": [1], "values": [1]}, {})
    with pytest.raises(RewardError, match="needs the column 'value', which sample s1 does not have"):
        call(declared, [1, None])
    with pytest.raises(RewardError, match="column 'more' has 1 values for 2 answers"):
        call(declared, [1, 1], more=[1])


def test_an_option_wins_over_a_column_of_its_name() -> None:
    columns = {"add": [5.0], "answer": ["x"], "answers": ["y"]}
    assert call(returns, [0.25], **columns) == [Score(0.25)]
    assert call(returns, [0.25], {"add": 0.5}, **columns) == [Score(0.75)]


def test_async_calls_run_together() -> None:
    start = time.perf_counter()
    assert len(call(returns_later, [1.0] * 200)) == 200
    assert time.perf_counter() - start < 1.5  # 0.01 s each; one after the other would take 2 s


def test_async_inside_and_beside_a_loop() -> None:
    async def inside() -> object:
        return await acall_reward(returns_later, ["a"], {"value": [1]}, {})

    assert asyncio.run(inside()) == [Score(1.0)]
    assert asyncio.run(acall_reward(returns, ["a"], {"value": [1]}, {})) == [Score(1.0)]
    loop = asyncio.new_event_loop()
    try:
        assert call_reward(returns_later, ["a"], {"value": [1]}, {}, loop=loop) == [Score(1.0)]
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        assert call_reward(returns_later, ["a"], {"value": [1]}, {}, loop=loop) == [Score(1.0)]
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
    finally:
        loop.close()


def test_the_guard_costs_microseconds() -> None:
    @reward("constant")
    def constant(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
        """One half."""
        return 0.5

    n = 2000
    columns = {"id": list(range(n)), "a": ["x"] * n, "b": ["y"] * n}

    def seconds() -> float:
        start = time.perf_counter()
        call_reward(constant, ["answer"] * n, columns, {"unknown_to_it": 1})
        return time.perf_counter() - start

    best = min(seconds() for _ in itertools.repeat(None, 5))
    assert best / n < 50e-6  # 2 to 7 microseconds when the machine is idle
