"""The model card against its golden text, and that it makes nothing up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from skinflow_plugins.report.model_card import model_card
from skinflow_plugins.report.run_story import RunStory, read_run

GOLDEN = Path(__file__).parent / "golden" / "model_card.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, write_run: Callable[..., Path]) -> RunStory:
    return read_run(write_run(tmp_path_factory.mktemp("card") / "run"))


def front_matter(card: str) -> dict[str, Any]:
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_golden_card(example: dict[str, Any], run: RunStory, pytestconfig: pytest.Config) -> None:
    card = model_card(example, run)
    if pytestconfig.getoption("--regenerate-golden"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(card, encoding="utf-8")
    assert card == GOLDEN.read_text(encoding="utf-8")


def test_front_matter(example: dict[str, Any], run: RunStory) -> None:
    matter = front_matter(model_card(example, run))
    assert matter["license"] == "other"
    assert matter["base_model"] == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert "not-for-clinical-use" in matter["tags"]
    (result,) = matter["model-index"][0]["results"]
    assert set(result) == {"task", "dataset", "metrics"}
    assert {metric["type"] for metric in result["metrics"]} >= {"top_k.strict@1", "safety.malignant_miss@6"}
    assert all(isinstance(metric["value"], float) for metric in result["metrics"])


def test_nothing_is_made_up(run: RunStory) -> None:
    bare = model_card(None)
    matter = front_matter(bare)
    assert "base_model" not in matter
    assert "model-index" not in matter
    for words in ("It was not evaluated", "There are no figures", "No figures by skin tone", "Not known"):
        assert words in bare
    tiny = RunStory("folder", {"name": "quickstart", "model": {"base": "tiny:qwen2_5_vl"}}, ())
    assert "base_model" not in front_matter(model_card(None, tiny))
    assert "Not clinically validated" in bare


def test_every_figure_is_listed_once(example: dict[str, Any]) -> None:
    rows = [line for line in model_card(example).splitlines() if line.startswith("| ")]
    for figure in example["figures"].values():
        title = figure["title"] + (" (lower is better)" if figure["better"] == "lower" else "")
        assert sum(row.startswith(f"| {title} |") for row in rows) >= 1, title


def test_hostile_words_stay_words(hostile: tuple[str, ...], example: dict[str, Any]) -> None:
    for text in (*hostile, "a | b\n\n# heading `code` [link](x) *b*", "---\nlicense: mit"):
        given = {**example, "name": text, "taxonomy": {**example["taxonomy"], "note": text}}
        card = model_card(given)
        card.encode("utf-8")
        assert front_matter(card)["license"] == "other"
        body = card.split("\n---\n", 1)[1]
        assert "<" not in body
        assert [line for line in body.splitlines() if line.startswith("# ")] == [body.strip().splitlines()[0]]
        for line in body.splitlines():
            if line.startswith("|"):
                assert re.fullmatch(r"\|([^|\\]|\\.)*(\|([^|\\]|\\.)*)+\|", line), line


def test_left_out_rows_are_listed(example: dict[str, Any]) -> None:
    card = model_card(example)
    assert "16,301 of 16,577 records were scored, 276 left out." in card
    assert "- 188: label not in the taxonomy" in card
    wrong = {**example, "input": {**example["input"], "rows": 3}}
    assert "These counts do not add up" in model_card(wrong)
