"""The guide for rewards in CONTRIBUTING.md is run as it stands."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from skinflow_plugins.declare import Reward
from skinflow_plugins.testing import check_reward

GUIDE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
SAMPLES = [{"id": "1", "diagnosis": "psoriasis"}, {"id": "2", "diagnosis": "melanoma"}]
ANSWERS = ["Please see a doctor about this psoriasis.", "Go away.", "melanoma"]
FORMS = ["asks_for_biopsy", "shorter_half", "looked_up", "courteous"]


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The blocks of code of the guide as a module that can be imported, as pickling wants it."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    folder = tmp_path_factory.mktemp("guide")
    (folder / "guide_of_rewards.py").write_text("\n".join(blocks), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("guide_of_rewards")
        sys.modules.pop("guide_of_rewards")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, chat_server: Callable[..., str]) -> dict[str, Any]:
    """A judge who goes by the word `please` within the text that it is shown."""

    def say(request: dict[str, Any]) -> str:
        shown = request["messages"][0]["content"].partition("instruction.")[2]
        return json.dumps({"courteous": "please" in shown.lower()})

    cache = tmp_path_factory.mktemp("cache") / "judge.sqlite3"
    return {"endpoint": chat_server(say), "model": "m", "runs": 2, "cache": str(cache)}


def test_it_shows_every_form(guide: ModuleType) -> None:
    assert [name for name, value in vars(guide).items() if isinstance(value, Reward)] == FORMS
    forms = {(getattr(guide, name).batched, getattr(guide, name).is_async) for name in FORMS}
    assert forms == {(False, False), (True, False), (False, True)}


@pytest.mark.parametrize("name", FORMS)
def test_each_keeps_the_contract(guide: ModuleType, judge: dict[str, Any], name: str) -> None:
    declared: Reward = getattr(guide, name)
    options = {"judge": judge} if name == "courteous" else {}
    check_reward(declared, SAMPLES, options=options, answers=ANSWERS)


def test_the_judges_word_is_the_score(guide: ModuleType, judge: dict[str, Any]) -> None:
    from skinflow_plugins.rewards import call_reward

    found = call_reward(guide.courteous, ANSWERS, {}, {"judge": judge})
    assert [score and (score.value, score.why) for score in found] == [
        (1.0, "2 of 2 votes call it courteous"),
        (0.0, "0 of 2 votes call it courteous"),
        (0.0, "0 of 2 votes call it courteous"),
    ]
