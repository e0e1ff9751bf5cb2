"""What is found in the scores of canned answers, on rewards that are made for it."""

from __future__ import annotations

import pytest

from skinflow_plugins.rewards.canned import BETTER, KINDS, Canned, Scored, above_half, gains, violations


def scored(kind: str, value: float, *, sample: str = "a", name: str = "", **more: object) -> Scored:
    return Scored(sample, Canned(kind, name or kind, "text", **more), value)  # type: ignore[arg-type]


def fair(sample: str = "a") -> list[Scored]:
    values = {"good": 1.0, "near_miss": 0.5, "bad": 0.1, "empty": 0.0, "gaming": 0.05, "malformed": 0.0}
    return [scored(kind, value, sample=sample) for kind, value in values.items()]


def test_a_fair_reward_has_no_violation() -> None:
    assert violations(fair()) == []
    assert [gain.share for gain in gains(fair(), 0.0)] == [pytest.approx(0.05)]
    assert above_half(gains(fair(), 0.0)) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "good"])
def test_an_answer_that_beats_a_better_kind_is_found(kind: str) -> None:
    for better in BETTER[kind]:  # type: ignore[index]
        best = next(each for each in fair() if each.canned.kind == better)
        extra = scored(kind, best.value + 0.01, name="extra")
        found = [each for each in violations([*fair(), extra]) if each.kind == better]
        assert [(each.worst, each.best, each.samples) for each in found] == [(extra, best, 1)]
        equal = scored(kind, best.value, name="extra")
        assert not [each for each in violations([*fair(), equal]) if each.kind == better]


def test_only_the_best_of_a_better_kind_must_not_be_beaten() -> None:
    assert violations([*fair(), scored("good", 0.2, name="short")]) == []


def test_the_worst_sample_is_shown_and_all_are_counted() -> None:
    some = [*fair("a"), *fair("b"), *fair("c")]
    some += [scored("gaming", value, sample=s, name="x") for s, value in (("a", 0.2), ("b", 0.3), ("c", 0))]
    (found,) = violations(some)
    assert (found.samples, found.worst.sample, found.kind) == (2, "b", "bad")


def test_a_constant_answer_is_judged_by_its_mean() -> None:
    some = [*fair("a"), *fair("b"), *fair("c")]
    lucky = [
        scored("gaming", value, sample=sample, name="lucky", constant=True)
        for sample, value in (("a", 1.0), ("b", 0.2), ("c", 0.0))
    ]
    assert violations([*some, *lucky]) == []
    gain = gains([*some, *lucky], 0.0)[0]
    assert (gain.worst.canned.name, gain.share) == ("lucky", pytest.approx(0.4))
    assert above_half([gain]) == []
    always = [scored("gaming", 1.1, sample=s, name="always", constant=True) for s in "abc"]
    assert [(each.worst.canned.name, each.mean) for each in violations([*some, *always])] == [
        ("always", pytest.approx(1.1))
    ]
    assert [each.worst.canned.name for each in above_half(gains([*some, *always], 0.0))] == ["always"]


def test_an_answer_that_holds_the_truth_may_be_paid_like_a_good_one() -> None:
    right = scored("gaming", 1.0, name="repeats", holds="all")
    assert violations([*fair(), right]) == []
    assert "repeats" not in [gain.worst.canned.name for gain in gains([*fair(), right], 0.0)]
    assert violations([*fair(), scored("gaming", 1.01, name="repeats", holds="all")])


def test_a_part_of_the_truth_may_beat_a_wrong_answer_and_no_near_miss() -> None:
    assert violations([*fair(), scored("gaming", 0.4, name="group", holds="part")]) == []
    (found,) = violations([*fair(), scored("gaming", 0.6, name="group", holds="part")])
    assert found.kind == "near_miss"
    assert above_half(gains([*fair(), scored("gaming", 0.6, name="group", holds="part")], 0.0))


def test_shares_count_from_the_lowest_value() -> None:
    some = [scored("good", 1.0), scored("gaming", 0.0, name="x")]
    assert gains(some, -1.0)[0].share == 0.5
    assert above_half(gains(some, -1.0))
    assert not above_half(gains(some, -0.9))
    assert gains([scored("good", 0.0), scored("gaming", 0.0)], 0.0) == []
