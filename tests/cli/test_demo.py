"""`skinflow demo`, with the training replaced; `make demo` is the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.results import Row
from skinflow_plugins.errors import WorkFailed


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Path]]:
    """The (seed, folder) of every run; each reaches a top-1 of half its seed."""
    done: list[tuple[int, Path]] = []

    def run(loaded: Any, known: Any, root: Path, say: Callable[[str], None]) -> list[Row]:
        seed = loaded.recipe.seed
        done.append((seed, root))
        if seed == 7:
            raise WorkFailed("gate of stage caption missed")
        return [
            Row("after diagnosis", 400, {"diagnosis_top1": seed / 2, "distinct_first_answers": 5.0 + seed}),
            Row("best constant answer", 400, {"diagnosis_top1": 0.2}),
        ]

    monkeypatch.setattr("skinflow_plugins.bridge.run.run", run)
    return done


def test_one_seed(skinflow: Callable[..., Any], runs: list[tuple[int, Path]]) -> None:
    done = skinflow("demo")
    assert (done.code, done.err) == (0, "")
    assert runs == [(0, Path("runs/quickstart"))]
    assert "1. warmup (swift sft, 400 steps): learn from examples: caption, diagnosis" in done.out
    assert "goes on only if diagnosis_top1 reaches" in done.out
    assert "| after diagnosis | 400 | 0.000 |" in done.out
    assert done.out.count("runs/quickstart/") == 3
    assert "skinflow run recipes/isic_uda1.yaml data.root=" in done.out


def test_several_seeds(skinflow: Callable[..., Any], runs: list[tuple[int, Path]]) -> None:
    done = skinflow("demo", "--seeds", "0,1,2")
    assert done.code == 0
    names = ["quickstart", "quickstart-seed1", "quickstart-seed2"]
    assert runs == [(seed, Path("runs") / name) for seed, name in enumerate(names)]
    row = "| after diagnosis | 400 | 0.500 (0.000, 0.500, 1.000) | 6.0 (5, 6, 7) |"
    assert row in done.out
    joined = Path("runs/quickstart-seeds.md").read_text()
    assert joined.startswith("quickstart, test split, greedy decoding: mean (seeds 0, 1, 2)\n\n| |")
    assert row in joined
    assert "| best constant answer | 400 | 0.200 (0.200, 0.200, 0.200) | – |" in joined


def test_a_failed_seed_does_not_stop_the_others(
    skinflow: Callable[..., Any], runs: list[tuple[int, Path]]
) -> None:
    done = skinflow("demo", "--seeds", "7,1", "-o", "here")
    assert done.code == 1
    assert [seed for seed, _ in runs] == [7, 1]
    assert "mean (seeds 1)" in Path("here-seeds.md").read_text()
    assert done.err == "skinflow: seed 7: gate of stage caption missed\n"


@pytest.mark.parametrize("seeds", ["one", "0,0", "-1", ""])
def test_wrong_seeds(seeds: str, skinflow: Callable[..., Any]) -> None:
    done = skinflow("demo", f"--seeds={seeds}")
    assert done.code == 2
    assert f"found {seeds!r}, expected different whole numbers such as 0,1,2" in done.err
