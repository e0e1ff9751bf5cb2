"""`skinflow validate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_right_recipe_is_one_line(skinflow: Callable[..., Any]) -> None:
    done = skinflow("validate", "quickstart")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "ok: quickstart: stages warmup (sft), caption (grpo), diagnosis (grpo); "
        "base tiny:qwen2_5_vl (qwen2_5_vl); rewards caption_fields, format, ranked_diagnosis, "
        "hierarchy_credit, safety; "
        "rows of synthetic: 3000 train, 300 validation, 400 test\n"
    )


def test_changes_count_wherever_they_stand(skinflow: Callable[..., Any]) -> None:
    done = skinflow("validate", "quickstart", "data.train=40", "data.test=20")
    assert "40 train, 300 validation, 20 test" in done.out


def test_all_mistakes_come_at_once(skinflow: Callable[..., Any]) -> None:
    typed = ["data.trian=40", "stages.0.swift.lerning_rate=1", "taxonomy=dmo", "seed"]
    done = skinflow("validate", "quickstart", *typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("skinflow: 4 problems\n\n  1. ")
    for text in (
        "'seed' is not of the form key=value",
        "data.trian: unknown option 'trian'; did you mean 'train'?",
        "stages[0].swift.lerning_rate: swift has no argument 'lerning_rate'; did you mean",
        "taxonomy: unknown taxonomy 'dmo'; did you mean 'demo'?",
    ):
        assert text in done.err
    assert "Traceback" not in done.err


def test_a_mistake_in_a_file_is_named_with_its_line(skinflow: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: quickstart\n\nmodel:\n  base: tiny:qwen2_5_vll\n")
    done = skinflow("validate", str(path))
    assert done.code == 2
    assert done.err.startswith(f"skinflow: {path}:5: model.base: unknown base model 'qwen2_5_vll'")


def test_an_unknown_recipe(skinflow: Callable[..., Any]) -> None:
    done = skinflow("validate", "quikstart")
    assert done.code == 2
    assert done.err == "skinflow: there is no recipe 'quikstart'\n    did you mean 'quickstart'?\n"


@pytest.mark.parametrize("verb", ["run", "plan", "data check"])
def test_every_verb_on_recipes_checks_first(verb: str, skinflow: Callable[..., Any]) -> None:
    done = skinflow(*verb.split(), "quickstart", "taxonomy=dmo")
    assert done.code == 2
    assert "unknown taxonomy 'dmo'" in done.err
    assert list(Path.cwd().iterdir()) == []
