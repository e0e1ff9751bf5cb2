import re

import pytest

from skinflow_plugins import Score, reward
from skinflow_plugins.testing import check_reward

SAMPLES = [{"id": "a", "truth": "yes"}, {"id": "b", "truth": "no"}]
STATE = {"calls": 0}


def _truth(sample, options):  # type: ignore[no-untyped-def]
    return sample["truth"]


@reward("good", needs=("truth",), reference=_truth)
def good(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """1 for the truth."""
    return float(answer == sample["truth"])


@reward("good_batch", needs=("truth",), reference=_truth, batched=True)
def good_batch(answers, *, scale: float = 1.0, **columns):  # type: ignore[no-untyped-def]
    """Scale for the truth."""
    return [scale * (a == t) for a, t in zip(answers, columns["truth"], strict=True)]


@reward("good_async", needs=("truth",), reference=_truth)
async def good_async(answer: str, **sample):  # type: ignore[no-untyped-def]
    """1 for the truth, later."""
    return Score(float(answer == sample["truth"]))


@reward("hedging", low=-1.0, high=0.0, needs=())
def hedging(answer: str, *, most: int = 3, **sample) -> float:  # type: ignore[no-untyped-def]
    """-1 when the answer names more than `most` diagnoses."""
    return -1.0 if answer.count(";") >= most else 0.0


@reward("too_high", needs=("truth",))
def too_high(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """Grows with the answer."""
    return float(len(answer))


@reward("moody")
def moody(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """Changes with every call."""
    STATE["calls"] += 1
    return STATE["calls"] % 7 / 7


@reward("relative", batched=True)
def relative(answers, **columns):  # type: ignore[no-untyped-def]
    """Scores by the longest answer of the batch."""
    longest = max(map(len, answers), default=0) or 1
    return [len(answer) / longest for answer in answers]


@reward("narrow", needs=("truth",))
def narrow(answer: str, truth: str) -> float:
    """Takes no further columns."""
    return float(answer == truth)


@reward("secretive")
def secretive(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """Reads a column that it does not declare."""
    return float(answer == sample["truth"])


@reward("backwards", needs=("truth",), reference=_truth)
def backwards(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """0 for the truth."""
    return float(answer != sample["truth"])


@reward("constant", needs=("truth",), reference=_truth)
def constant(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """1 for all."""
    return 1.0


@reward("greedy", needs=("tags",))
def greedy(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """Writes into its sample."""
    sample["tags"].append(1)
    return 0.0


@reward("fragile")
def fragile(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
    """Needs a first word."""
    return float(len(answer.split()[0]) > 3)


@pytest.mark.parametrize(
    "declared", [good, good_batch, good_async, hedging], ids=lambda declared: declared.name
)
def test_good_rewards_pass(declared) -> None:  # type: ignore[no-untyped-def]
    check_reward(declared, SAMPLES, answers=["maybe"])


@pytest.mark.parametrize(
    ("declared", "law"),
    [
        (too_high, "every answer gets a finite value in range"),
        (moody, "the same values on a second run"),
        (relative, "a batch scores like its single answers"),
        (narrow, "every answer gets a finite value"),
        (secretive, "it works with nothing but the columns that it `needs`"),
        (backwards, "no answer beats the reference answer"),
        (constant, "some answer earns less than the reference answer"),
        (
            fragile,
            "every answer gets a finite value in range: reward 'fragile' on sample a raised IndexError",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_broken_laws_are_named(declared, law: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError, match=re.escape(f"reward {declared.name!r}: {law}")):
        check_reward(declared, SAMPLES, answers=["maybe"])


def test_extra_columns_must_be_tolerated() -> None:
    bare = [{"truth": "yes"}]
    with pytest.raises(AssertionError, match="reward 'narrow': extra columns"):
        check_reward(narrow, bare)


def test_the_sample_must_stay() -> None:
    with pytest.raises(AssertionError, match="reward 'greedy': a reward leaves the sample as it is"):
        check_reward(greedy, [{"truth": "yes", "tags": []}])


def test_options_are_checked() -> None:
    check_reward(good_batch, SAMPLES, options={"scale": 0.5})
    with pytest.raises(
        AssertionError, match=r"reward 'good_batch': options must fit its signature: .*'scale'"
    ):
        check_reward(good_batch, SAMPLES, options={"scales": 1.0})


def test_a_reward_inside_a_function_cannot_be_pickled() -> None:
    @reward("local")
    def local(answer: str, **sample) -> float:  # type: ignore[no-untyped-def]
        """Cannot be found again."""
        return 0.0

    with pytest.raises(AssertionError, match="reward 'local': it survives pickling"):
        check_reward(local, SAMPLES)
