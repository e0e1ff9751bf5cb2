"""Settings of the alarms as a recipe gives them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.monitoring import KINDS, AlarmSettings
from skinflow_plugins.monitoring.monitor import LOOKS


def test_an_empty_mapping_gives_the_defaults() -> None:
    assert AlarmSettings.from_mapping({}) == AlarmSettings()


def test_every_kind_has_its_function_and_its_words() -> None:
    assert set(KINDS) == set(LOOKS)


def test_values_are_taken_over() -> None:
    given = {"window": 5, "sigmas": 3, "off": ["length"], "stop_on": ["held_out"], "list_asked": 6}
    found = AlarmSettings.from_mapping(given)
    assert (found.window, found.sigmas, found.list_asked) == (5, 3, 6)
    assert not found.wants("length")
    assert found.wants("held_out")
    assert found.stop_on == ("held_out",)


def test_all_mistakes_are_told_at_once_with_the_nearest_names() -> None:
    with pytest.raises(InputError) as caught:
        AlarmSettings.from_mapping(
            {"windw": 5, "patience": 2.5, "off": "length", "sigmas": "4", "list_asked": 1.5}
        )
    problems = caught.value.problems
    assert [problem.path for problem in problems] == ["windw", "patience", "off", "sigmas", "list_asked"]
    assert "'window'" in problems[0].hint
    assert "found 2.5; expected a whole number" in problems[1].message
    assert "expected a list of names" in problems[2].message
    assert "expected a number" in problems[3].message
    assert "expected a whole number or null" in problems[4].message


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"window": 0}, "window", "expected 1 or more"),
        ({"generic_share": 1.5}, "generic_share", "at most 1"),
        ({"held_out_fall": 0}, "held_out_fall", "more than 0"),
        ({"sigmas": float("inf")}, "sigmas", "above 0"),
        ({"list_asked": 0}, "list_asked", "1 or more"),
        ({"off": ["lenght"]}, "off", "no kind of alarm 'lenght'"),
        ({"stop_on": ["held-out"]}, "stop_on", "no kind of alarm"),
        ({"off": ["length"], "stop_on": ["length"]}, "stop_on", "is off"),
    ],
)
def test_values_out_of_range(given: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        AlarmSettings.from_mapping(given)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message


def test_a_misspelt_kind_is_helped() -> None:
    with pytest.raises(InputError, match="did you mean 'template'"):
        AlarmSettings(off=("tempalte",))


def test_what_is_no_mapping_is_said() -> None:
    with pytest.raises(InputError, match="expected names with values"):
        AlarmSettings.from_mapping(["length"])  # type: ignore[arg-type]


def test_reading_settings_loads_no_numpy() -> None:
    code = (
        "import sys; from skinflow_plugins.monitoring import AlarmSettings, Alarm, KINDS\n"
        "AlarmSettings.from_mapping({'window': 5})\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
