"""Rewards as swift meets them: the guard, rows of other stages, class names, and registration."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins import reward
from skinflow_plugins.bridge import settings
from skinflow_plugins.bridge.adapters import reward_class
from skinflow_plugins.bridge.register import OPTIONS_VARIABLE, register
from skinflow_plugins.bridge.rewarding import scorer
from skinflow_plugins.bridge.rewarding.columns import unpack
from skinflow_plugins.bridge.settings import StageSettings, settings_of
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.plan import STAGE_VARIABLE
from skinflow_plugins.rewards.calling import RewardError
from skinflow_plugins.rewards.composition import Component

pytestmark = pytest.mark.usefixtures("swift")


def make(function: Callable[..., Any], stage: StageSettings | None = None, **options: Any) -> Any:
    """An instance as swift makes it, of a reward that is this function."""
    declared = reward("mine", batched=True)(function)
    return reward_class(Component("second.mine", declared, options, stage="second"), stage)(args=None)


def lengths(answers: list[str], **sample: Any) -> list[float]:
    """One for an answer."""
    return [min(1.0, len(answer)) for answer in answers]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "reward 'mine' returned 1 values for 2 answers"),
        ([1.0, 1.0, 1.0], "reward 'mine' returned 3 values for 2 answers"),
        ([0.0, float("inf")], "reward 'mine' on sample b returned inf"),
        ([float("nan"), 0.0], "reward 'mine' on sample a returned nan"),
        ([0.0, 1.5], r"reward 'mine' on sample b returned 1.5; expected a finite number in \[0, 1\]"),
        (1.0, "reward 'mine' is batched and must return a list"),
    ],
)
def test_the_guard_names_reward_and_sample(returned: Any, message: str) -> None:
    def nonsense(answers: list[str], **sample: Any) -> Any:
        """Nonsense."""
        return returned

    with pytest.raises(RewardError, match=message):
        make(nonsense)(["x", "y"], id=["a", "b"])


def test_an_exception_names_the_reward_and_keeps_its_cause() -> None:
    def fail(answers: list[str], **sample: Any) -> Any:
        """Fails."""
        raise ZeroDivisionError("oh")

    with pytest.raises(RewardError, match="reward 'mine' raised ZeroDivisionError: oh") as info:
        make(fail)(["x", "y"], id=["a", "b"])
    assert isinstance(info.value.__cause__, ZeroDivisionError)


def test_rows_of_other_stages_give_none() -> None:
    asked: list[list[str]] = []

    def note(answers: list[str], **sample: Any) -> list[float]:
        """One."""
        asked.append(answers)
        assert sample["id"] == ["a", "c"]
        return [1.0] * len(answers)

    one = make(note)
    assert one(list("xyz"), id=list("abc"), stage=["second", "first", "second"]) == [1.0, None, 1.0]
    assert asked == [["x", "z"]]
    assert one(["x"], id=["a"], stage=["first"]) == [None]  # and the function is not called for nothing
    assert len(asked) == 1


def test_a_sample_is_unpacked_and_swifts_own_columns_are_no_columns() -> None:
    sample = json.dumps({"id": "a", "diagnosis": "acne", "extra": [1, 2]})
    kwargs = {
        "stage": ["second", "second"],
        "sample": [sample, json.dumps({"id": "b"})],
        "messages": [[], []],
        "trainer_state": SimpleNamespace(global_step=1),
        "images": [[], []],
        "short": ["only one"],
    }
    columns, stages = unpack(["x", "y"], kwargs)
    assert stages == ["second", "second"]
    assert columns == {
        "stage": ["second", "second"],
        "id": ["a", "b"],
        "diagnosis": ["acne", None],
        "extra": [[1, 2], None],
    }


def test_without_a_recipe_every_row_is_judged_by_plain_columns() -> None:
    def note(answers: list[str], **sample: Any) -> list[float]:
        """One."""
        assert sample == {"diagnosis": ["acne", "lupus"], "stage": ["I", "II"]}
        return [1.0, 1.0]

    one = reward_class(Component("mine", reward("mine", batched=True)(note)), None)(args=None)
    assert one(["x", "y"], diagnosis=["acne", "lupus"], stage=["I", "II"]) == [1.0, 1.0]


def test_an_async_reward_is_awaited() -> None:
    from swift.rewards import AsyncORM

    async def slow(answer: str, **sample: Any) -> float:
        """One."""
        await asyncio.sleep(0)
        return 1.0 if answer else 0.0

    one = reward_class(Component("s.slow", reward("slow")(slow), stage="s"), None)(args=None)
    assert isinstance(one, AsyncORM)
    assert asyncio.run(one(["x", ""], id=["a", "b"], stage=["s", "s"])) == [1.0, 0.0]


def test_an_interruption_ends_what_is_asked() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def endless(answer: str, **sample: Any) -> float:
        """Waits."""
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0.0

    def plain(answer: str, **sample: Any) -> Any:
        """Waits too."""
        return endless(answer)

    def interrupt() -> None:
        started.wait(30)
        time.sleep(0.3)  # until the main thread waits for the scores
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    one = reward_class(Component("plain", reward("plain")(plain)), None)(args=None)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        one(["x"], id=["a"])
    assert cancelled.wait(10)


def test_each_key_is_a_class_of_its_own() -> None:
    """swift names its log columns by class."""
    declared = reward("mine", batched=True)(lengths)
    components = [Component(f"{stage}.mine", declared, stage=stage) for stage in ("first", "second")]
    classes = [reward_class(component, None) for component in components]
    assert [found.__name__ for found in classes] == ["first.mine", "second.mine"]


def test_wrong_options_are_found_when_swift_makes_the_reward() -> None:
    with pytest.raises(InputError, match=r"reward second\.mine: .*nonsense"):
        make(lengths, nonsense=1)


# --- registration --------------------------------------------------------------------------------------


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """swift's rewards, put back afterwards; no recipe and no options in the environment."""
    from swift.rewards import orms

    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    monkeypatch.delenv(OPTIONS_VARIABLE, raising=False)
    before = dict(orms)
    for name in [name for name, value in orms.items() if hasattr(value, "skinflow_component")]:
        del orms[name]
    yield orms
    orms.clear()
    orms.update(before)
    scorer.forget()


def test_registering_again_changes_nothing(registries: dict[str, Any]) -> None:
    from swift.callbacks import callbacks_map

    register()
    first = {name: (value.__name__, value.__doc__) for name, value in registries.items()}
    register()
    assert {name: (value.__name__, value.__doc__) for name, value in registries.items()} == first
    assert {"ranked_diagnosis", "caption_fields"} <= set(first)
    assert callbacks_map["skinflow"].__name__ == "SkinflowCallback"


def test_swifts_own_rewards_keep_their_names_and_meaning(registries: dict[str, Any]) -> None:
    before = dict(registries)
    assert "format" in before
    register()
    register()
    assert all(registries[name] is value for name, value in before.items())
    ours = registries["skinflow_format"]
    assert ours.__name__ == "skinflow_format"
    assert ours.skinflow_component.reward.name == "format"


def test_options_without_a_recipe(registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        OPTIONS_VARIABLE, json.dumps({"ranked_diagnosis": {"list_length": 2, "taxonomy": "demo"}})
    )
    register()
    one = registries["ranked_diagnosis"](args=None)
    known = ["psoriasis", "eczema", "melanoma"]
    values = one(["; ".join(known), "; ".join(reversed(known))], diagnosis=["psoriasis", "psoriasis"])
    assert values[0] == 1.0
    assert values[1] < 1 / 3  # the third name does not count where two do


def test_one_judge_for_all_rewards_without_a_recipe(
    registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    with pytest.raises(InputError, match="option 'judge' is required"):
        registries["caption_recovers_diagnosis"](args=None)
    judge = {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}
    monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps({"judge": judge}))
    register()
    for name in ("caption_recovers_diagnosis", "ranked_diagnosis"):
        assert registries[name].skinflow_component.options["judge"] == judge
        registries[name](args=None)
    assert "judge" not in registries["safety"].skinflow_component.options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "SKINFLOW_OPTIONS is not JSON"),
        ("[1]", "SKINFLOW_OPTIONS must map rewards to options"),
        (
            '{"ranked_diagnoses": {}}',
            r"SKINFLOW_OPTIONS: unknown reward 'ranked_diagnoses'; did you mean 'ranked_",
        ),
    ],
)
def test_wrong_options_without_a_recipe(
    registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, text)
    with pytest.raises(InputError, match=message):
        register()


def test_a_misspelt_option_without_a_recipe(
    registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps({"ranked_diagnosis": {"list_lenth": 2}}))
    register()
    with pytest.raises(InputError, match="did you mean 'list_length'"):
        registries["ranked_diagnosis"](args=None)


def stage_file(folder: Path, read: Callable[..., Any]) -> Path:
    from skinflow_plugins.recipe.plan import plan

    loaded, known = read()
    planned = plan(loaded.recipe, known, root=folder, plugin="plugin.py")
    path = folder / "2-caption.skinflow.json"
    path.write_text(settings_of(planned, planned.stages[1]).to_json())
    assert settings.from_json(path.read_text()) == settings_of(planned, planned.stages[1])
    return path


def test_under_a_recipe_the_rewards_are_the_stages(
    registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any], tmp_path: Path
) -> None:
    monkeypatch.setenv(STAGE_VARIABLE, str(stage_file(tmp_path, read)))
    register()
    assert {"caption.caption_fields", "caption.format"} <= set(registries)
    assert "ranked_diagnosis" not in registries
    args = SimpleNamespace(output_dir=str(tmp_path / "stages" / "2-caption"))
    one, other = (registries[key](args=args) for key in ("caption.caption_fields", "caption.format"))
    assert one.scorer is other.scorer


def test_settings_of_another_run_are_refused(
    registries: dict[str, Any], monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any], tmp_path: Path
) -> None:
    monkeypatch.setenv(STAGE_VARIABLE, str(stage_file(tmp_path, read)))
    register()
    with pytest.raises(InputError, match="SKINFLOW_STAGE names another run's file; unset it"):
        registries["caption.format"](args=SimpleNamespace(output_dir=str(tmp_path / "elsewhere")))


def test_a_settings_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(STAGE_VARIABLE, str(tmp_path / "gone.json"))
    with pytest.raises(InputError, match="there is no such file; write it with `skinflow plan"):
        register()
