"""The catalogue: frozen, complete, and never stopped by a stranger's mistake."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins import hookimpl, hookspecs, reward
from skinflow_plugins.catalogue import KINDS, build, catalogue
from skinflow_plugins.errors import InputError


@reward("polite")
def polite(answer: str, **sample: Any) -> float:
    """1 when the answer says please."""
    return float("please" in answer)


def plugin(name: str, **hooks: Any) -> EntryPoint:
    """An entry point to a module made here."""
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    sys.modules[name] = module
    return EntryPoint(name, name, hookspecs.GROUP)


def test_every_hook_has_a_kind_and_a_docstring() -> None:
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("skinflow_")}
    assert set(hooks) == set(KINDS.values())
    assert all(hook.__doc__ for hook in hooks.values())


def test_a_plugin_brings_what_it_names_and_its_owner_is_kept() -> None:
    found = build([(plugin("good", skinflow_rewards=lambda: [polite]), "skinflow-good")])
    assert found.get("rewards", "polite") is polite
    assert found.table("rewards")["polite"].owner == "skinflow-good"


def test_a_broken_plugin_is_listed_with_its_reason_and_stops_nothing() -> None:
    def broken() -> list[Any]:
        raise RuntimeError("no licence file")

    points = [
        (plugin("bad", skinflow_rewards=broken), "skinflow-bad"),
        (EntryPoint("gone", "skinflow_not_installed_at_all", hookspecs.GROUP), "skinflow-gone"),
        (plugin("good", skinflow_rewards=lambda: [polite]), "skinflow-good"),
    ]
    found = build(points)
    reasons = {status.name: status.reason for status in found.plugins}
    assert "RuntimeError: no licence file" in reasons["bad"]
    assert "test_catalogue.py" in reasons["bad"]
    assert "ModuleNotFoundError" in reasons["gone"]
    assert reasons["good"] == ""
    assert found.names("rewards") == ["polite"]
    with pytest.raises(InputError, match=r"did you mean 'polite'.*did not load: bad, gone"):
        found.get("rewards", "polit")


def test_a_misspelt_hook_is_an_error_of_that_plugin() -> None:
    found = build([(plugin("typo", skinflow_reward=lambda: [polite]), "skinflow-typo")])
    assert "skinflow_reward" in found.plugins[0].reason


def test_a_name_claimed_twice_names_both_owners() -> None:
    points = [
        (plugin("one", skinflow_rewards=lambda: [polite]), "skinflow-one"),
        (plugin("two", skinflow_rewards=lambda: [polite]), "skinflow-two"),
    ]
    with pytest.raises(InputError, match=r"'polite' is claimed twice.*skinflow-one.*skinflow-two"):
        build(points)


def test_two_packages_may_each_have_a_folder_called_recipes(tmp_path: Path) -> None:
    points = []
    for name in ("one", "two"):
        folder = tmp_path / name / "recipes"
        folder.mkdir(parents=True)
        points.append((plugin(name, skinflow_recipe_dirs=lambda folder=folder: [folder]), name))
    assert len(build(points).names("recipe_dirs")) == 2


def test_the_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        catalogue().table("rewards")["mine"] = None  # type: ignore[index]


def test_the_builtins_come_through_the_same_door() -> None:
    assert {"format", "caption_fields", "ranked_diagnosis"} <= set(catalogue().names("rewards"))
    assert {entry.owner for entry in catalogue().table("datasets").values()} == {"skinflow-plugins"}


def test_what_is_no_reward_is_refused_and_an_exit_stops_nothing() -> None:
    def leave() -> list[Any]:
        raise SystemExit("bye")

    points = [
        (plugin("wrong", skinflow_rewards=lambda: [Path("polite")]), "skinflow-wrong"),
        (plugin("leaver", skinflow_rewards=leave), "skinflow-leaver"),
    ]
    reasons = {status.name: status.reason for status in build(points).plugins}
    assert "skinflow_rewards returned a PosixPath, expected a Reward" in reasons["wrong"]
    assert "SystemExit: bye" in reasons["leaver"]
