"""Gates, schedules, deadlines, the judge and the alarms of a recipe, and what the plan makes of them."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

import pytest

from skinflow_plugins.bridge.settings import from_json, settings_of
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe import checked, load
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.rewards.composition import RewardGate
from skinflow_plugins.rewards.schedule import Schedule

REWARD = "stages.diagnosis.rewards.ranked_diagnosis"
# The shipped recipe may gate and schedule rewards itself; here it starts from none.
PLAIN = (f"{REWARD}.gate=null", f"{REWARD}.schedule=null")


def planned(*overrides: str) -> Plan:
    recipe = checked(load("quickstart", [*PLAIN, *overrides]), catalogue())
    return plan(recipe, catalogue(), root=PurePath("/RUN"), plugin="plugin.py")


def problems(*overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        planned(*overrides)
    return [str(each) for each in caught.value.problems]


def test_gate_schedule_and_deadline_reach_the_stage() -> None:
    found = planned(
        f"{REWARD}.gate={{reward: format, at_least: 1}}",
        f"{REWARD}.schedule={{to: 0.5, steps: 100, after: 10, shape: cosine}}",
        f"{REWARD}.deadline=30",
    )
    stage = found.stages[2]
    reward = next(each for each in stage.rewards if each.reward == "ranked_diagnosis")
    assert reward.gate == RewardGate("diagnosis.format", 1)
    assert reward.schedule == Schedule(0.5, 100, 10, "cosine")
    assert reward.deadline == 30
    component = reward.component(catalogue())
    assert component.gate == reward.gate
    assert component.weight_at(1000) == 0.5
    assert "schedule" in stage.arguments["reward_weights"].why
    settings = settings_of(found, stage)
    assert from_json(settings.to_json()) == settings


def test_without_them_the_settings_say_nothing_of_them() -> None:
    found = planned()
    text = settings_of(found, found.stages[2]).to_json()
    assert not {"gate", "schedule", "deadline"} & set(json.loads(text)["rewards"][0])
    assert "alarms" not in json.loads(text)


def test_a_replayed_reward_has_the_weight_of_the_end_of_its_stage() -> None:
    found = planned("stages.caption.rewards.caption_fields.schedule={to: 0.25, steps: 5}")
    own = next(each for each in found.stages[1].rewards if each.reward == "caption_fields")
    replayed = next(each for each in found.stages[2].rewards if each.key == "caption.caption_fields")
    assert own.weight == 1.0
    assert own.schedule == Schedule(0.25, 5)
    assert (replayed.weight, replayed.schedule) == (0.25, None)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [f"{REWARD}.gate={{reward: fromat, at_least: 1}}"],
            "'fromat' is no reward of this stage; did you mean 'format'?",
        ),
        ([f"{REWARD}.gate={{reward: ranked_diagnosis, at_least: 1}}"], "a reward cannot be its own gate"),
        (
            [f"{REWARD}.gate={{reward: format, at_least: 2}}"],
            "found 2, expected more than 0 and at most 1, the range of 'format'",
        ),
        ([f"{REWARD}.gate={{reward: format, at_least: 0}}"], "found 0, expected more than 0"),
        (
            [
                f"{REWARD}.gate={{reward: format, at_least: 1}}",
                "stages.diagnosis.rewards.format.gate={reward: ranked_diagnosis, at_least: 1}",
            ],
            "gates lead in a circle: ",
        ),
        ([f"{REWARD}.gate={{reward: format}}"], "is missing; expected a number"),
        ([f"{REWARD}.gate={{rewrad: format, at_least: 1}}"], "did you mean 'reward'?"),
        ([f"{REWARD}.schedule={{to: 1, steps: 0}}"], "found 0, expected 1 or more"),
        ([f"{REWARD}.schedule={{to: .nan, steps: 3}}"], "found nan, expected a finite number"),
        ([f"{REWARD}.schedule={{to: 1, steps: 3, after: -1}}"], "found -1, expected 0 or more"),
        ([f"{REWARD}.schedule={{to: 1, steps: 3, shape: linaer}}"], "did you mean 'linear'?"),
        ([f"{REWARD}.deadline=0"], "found 0, expected seconds, more than 0"),
        ([f"{REWARD}.deadlin=5"], "unknown option 'deadlin'; did you mean 'deadline'?"),
        ([f"{REWARD}.accept=judge"], "accept: judge needs a judge"),
        (["stages.diagnosis.rewards.safety.infection=7"], "safety.infection: "),
        ([f"{REWARD}.by_rank=null", f"{REWARD}.decay=linear", f"{REWARD}.rate=0.5"], "rate"),
        (["stages.caption.rewards.caption_fields.vocabulary=nope"], "nope"),
        (["judge={endpiont: x}"], "unknown setting 'endpiont'; did you mean 'endpoint'?"),
        (["judge={endpoint: nowhere, model: m}"], "judge"),
        (["judge={endpoint: 'http://127.0.0.1:1/v1', model: m, runs: 0}"], "judge.runs: found 0"),
        (["vocabulary=dermatolgy"], "did you mean 'dermatology'?"),
        (["alarms={lenght_correlation: 0.5}"], "alarms"),
    ],
)
def test_each_mistake_is_named(overrides: list[str], expected: str) -> None:
    found = problems(*overrides)
    assert any(expected in problem for problem in found), found


def test_the_key_of_a_judge_need_not_be_set_where_a_recipe_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    planned("judge={endpoint: 'https://example.org/v1', model: m, key_variable: SOME_KEY}")


def test_one_vocabulary_for_all_that_read_captions(tmp_path: Path) -> None:
    own = tmp_path / "words.yaml"
    own.write_text('version: "1"\nfields: {colour: {values: {red: [crimson]}}}\n', encoding="utf-8")
    stage = planned(f"vocabulary={own}").stages[1]
    assert stage.rewards[0].options["vocabulary"] == str(own)
    assert "vocabulary" not in planned().stages[1].rewards[0].options
    own.write_text("fields: {colour: {valeus: {}}}\n", encoding="utf-8")
    assert any(str(own) in problem and "valeus" in problem for problem in problems(f"vocabulary={own}"))


def test_a_judge_based_reward_without_a_judge_says_what_to_write() -> None:
    reward = "stages.caption.rewards=[caption_recovers_diagnosis]"
    (found,) = problems(reward, "stages.diagnosis.replay=null", "stages.caption.gate=null")
    assert "option 'judge' is required" in found
    assert "give the recipe a `judge:` for all" in found
    judge = "judge={endpoint: 'http://127.0.0.1:1/v1', model: m}"
    stage = planned(reward, judge, "stages.diagnosis.replay=null", "stages.caption.gate=null").stages[1]
    assert stage.rewards[0].options["judge"] == {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}
