from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging import Judge, judge_from

LOCAL = "http://127.0.0.1:8000/v1"


def test_a_judge_in_training_does_not_keep_a_step_waiting() -> None:
    judge = judge_from({"endpoint": LOCAL, "model": "m"})
    assert (judge.runs, judge.timeout, judge.deadline, judge.concurrency) == (1, 20.0, 60.0, 64)
    assert judge_from({"endpoint": LOCAL, "model": "m", "runs": 3, "deadline": 5}).deadline == 5


def test_a_judge_is_given_back_as_it_is() -> None:
    judge = Judge(LOCAL, "m")
    assert judge_from(judge) is judge


def test_equal_mappings_are_one_judge() -> None:
    first = judge_from({"endpoint": LOCAL, "model": "m", "cache": "a.sqlite3"})
    assert judge_from({"cache": "a.sqlite3", "model": "m", "endpoint": LOCAL}) == first
    assert hash(judge_from({"cache": "b.sqlite3", "model": "m", "endpoint": LOCAL})) != hash(first)


@pytest.mark.parametrize("off", [False, "off"])
def test_the_word_off_is_false_in_yaml(off: Any) -> None:
    assert judge_from({"endpoint": LOCAL, "model": "m", "cache": off}).cache == "off"


def test_all_mistakes_at_once_with_the_nearest_names() -> None:
    wrong = {
        "endpont": LOCAL,
        "model": 3,
        "runs": "many",
        "timeout": -1,
        "cache": True,
        "requests_per_minute": 0,
        "prompt_price": float("inf"),
        "currency": "a lot",
    }
    with pytest.raises(InputError) as caught:
        judge_from(wrong)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert found == {
        "endpont": "unknown setting 'endpont'; did you mean 'endpoint'?",
        "model": "found 3; expected a text",
        "runs": "found 'many'; expected a whole number",
        "cache": "found True; expected a text or nothing",
        "endpoint": "'endpoint' is required",
        "timeout": "found -1; expected seconds, more than 0",
        "requests_per_minute": "found 0; expected a whole number, 1 or more, or nothing",
        "prompt_price": "found inf; expected a price per million tokens, 0 or more",
        "currency": "found 'a lot'; expected a code of three letters or a sign, such as USD",
    }


@pytest.mark.parametrize("given", [None, "http://a/v1", ["endpoint"]])
def test_settings_that_are_no_mapping(given: Any) -> None:
    with pytest.raises(InputError, match="expected the settings of a judge"):
        judge_from(given)


def test_a_key_that_only_the_other_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"endpoint": LOCAL, "model": "m", "key_variable": "ELSEWHERE"}
    monkeypatch.delenv("ELSEWHERE", raising=False)
    assert judge_from(settings, check_key=False).key() is None
    with pytest.raises(InputError, match="not set or empty"):
        judge_from(settings)
    monkeypatch.setenv("ELSEWHERE", "sk-there")
    assert judge_from(settings).key() == "sk-there"


@pytest.mark.parametrize("given", ["sk-very-secret", ["sk-very-secret"]])
def test_a_key_in_the_place_of_its_variable_is_not_shown(given: Any) -> None:
    for check in (True, False):
        with pytest.raises(InputError) as caught:
            judge_from({"endpoint": LOCAL, "model": "m", "key_variable": given}, check_key=check)
        assert "very-secret" not in str(caught.value)


def test_a_setting_called_key_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        judge_from({"endpoint": LOCAL, "model": "m", "key": "sk-very-secret"})
    assert "as key_variable" in str(caught.value)
    assert "very-secret" not in str(caught.value)


def test_paths_and_values_that_are_no_json() -> None:
    assert judge_from({"endpoint": LOCAL, "model": "m", "prompt": str(Path("a.yaml"))}).prompt == "a.yaml"
    with pytest.raises(InputError, match="model"):
        judge_from({"endpoint": LOCAL, "model": object()})
