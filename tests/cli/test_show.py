"""`skinflow show`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli.known import names
from skinflow_plugins.cli.listing import NAMED


@pytest.mark.parametrize("kind", NAMED)
def test_everything_can_be_shown(kind: str, skinflow: Callable[..., Any]) -> None:
    for name in names(catalogue(), kind):
        done = skinflow("show", name)
        assert done.code == 0, done.err
        assert f" {name}, from skinflow-plugins\n" in done.out


def test_a_reward(skinflow: Callable[..., Any]) -> None:
    done = skinflow("show", "ranked_diagnosis")
    assert done.out.startswith("reward ranked_diagnosis, from skinflow-plugins\n\nCredit by the rank")
    for text in ("range: 0 to 1", "needs the columns: diagnosis", "options:\n", "  list_length: int = "):
        assert text in done.out


def test_required_options_are_marked(skinflow: Callable[..., Any]) -> None:
    done = skinflow("show", "format")
    assert "  form: Literal['caption', 'ranked_list', 'described']  (required)\n" in done.out


def test_a_taxonomy_is_shown_as_its_tree(skinflow: Callable[..., Any]) -> None:
    done = skinflow("show", "demo")
    assert "Not clinically validated" in done.out
    assert "\n  benign\n    melanocytic proliferation\n      common nevus (also " in done.out
    assert "more; see the file" in skinflow("show", "isic").out


def test_a_recipe_is_shown_as_its_file(skinflow: Callable[..., Any]) -> None:
    done = skinflow("show", "quickstart")
    assert "quickstart.yaml\n\n# A small vision-language model" in done.out


def test_every_kind_with_the_name_is_shown(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # `isic` is a taxonomy; let a recipe have the same name
    path = catalogue().get("taxonomies", "isic")
    monkeypatch.setattr(sys.modules["skinflow_plugins.recipe.load"], "names", lambda _: {"isic": path})
    done = skinflow("show", "isic")
    assert done.out.startswith("taxonomy isic, from skinflow-plugins\n")
    assert "\n\nrecipe isic, from skinflow-plugins\n" in done.out


def test_an_unknown_name_gets_the_nearest_of_all_kinds(skinflow: Callable[..., Any]) -> None:
    done = skinflow("show", "fitzpatrik17k")
    assert done.code == 2
    assert done.err == "skinflow: nothing is called 'fitzpatrik17k'; did you mean 'fitzpatrick17k'?\n"
