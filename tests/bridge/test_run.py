"""A recipe of three stages through the real swift, inside this process."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge import register
from skinflow_plugins.bridge.run import run
from skinflow_plugins.errors import WorkFailed

pytestmark = pytest.mark.slow

SLUGS = ("1-warmup", "2-caption", "3-diagnosis")
CAPTION = {"caption.caption_fields", "caption.format"}
DIAGNOSIS = {"diagnosis.ranked_diagnosis", "diagnosis.format"}
WEIGHTS = {"caption_fields": 1.0, "format": 0.2, "ranked_diagnosis": 1.0}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def times(root: Path) -> dict[str, int]:
    """When each file was last written; the lock is opened by every call."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def test_the_table_has_every_stage_the_constant_and_the_control(finished: Any) -> None:
    names = [row.name for row in finished.rows]
    assert names == [
        "after warmup",
        "after caption",
        "after diagnosis",
        "best constant answer",
        "after diagnosis, permuted images",
    ]
    metrics = {"diagnosis_top1", "diagnosis_top_k", "caption_field_f1", "distinct_first_answers"}
    for row in finished.rows:
        assert row.records == 12
        assert metrics <= set(row.metrics)
    document = json.loads((finished.root / "results.json").read_text())
    assert [row["name"] for row in document["rows"]] == names
    assert [gate["stage"] for gate in document["gates"]] == ["caption", "diagnosis"]
    assert set(document["seconds"]) == set(SLUGS)
    table = (finished.root / "results.md").read_text()
    assert all(f"| {name} |" in table for name in names)


def test_the_warm_start_taught_the_form(finished: Any) -> None:
    """Else everything that the tests say about rewards would be about zeros."""
    assert finished.rows[0].metrics["unparsed_share"] < 0.5
    totals = {row["total"] for row in lines(finished.root / "stages" / "2-caption" / "rewards.jsonl")}
    assert len(totals) > 2


@pytest.mark.parametrize(("slug", "task"), [("2-caption", "caption"), ("3-diagnosis", "diagnosis")])
def test_every_completion_is_logged_with_every_component(finished: Any, slug: str, task: str) -> None:
    rows = lines(finished.root / "stages" / slug / "rewards.jsonl")
    assert len(rows) == 8 * 8  # steps, completions per step
    by_step = Counter(row["step"] for row in rows)
    assert by_step == dict.fromkeys(range(1, 9), 8)
    groups = defaultdict(list)
    for row in rows:
        groups[row["step"], row["id"], row["task"]].append(row["generation"])
        assert set(row["rewards"]) == (CAPTION if row["task"] == "caption" else DIAGNOSIS)
        total = sum(WEIGHTS[key.partition(".")[2]] * value for key, value in row["rewards"].items())
        assert row["total"] == pytest.approx(total, abs=1e-5)
        assert row["completion"]
    assert all(sorted(generations) == [0, 1, 2, 3] for generations in groups.values())
    asked = [(row["id"], row["task"]) for row in lines(finished.root / "data" / f"{slug}.jsonl")]
    assert sorted({(id, task) for _, id, task in groups}) == sorted(set(asked))
    assert Counter(task for _, _, task in groups)[task] >= 12


def test_replay_asks_the_earlier_task_in_the_right_share(finished: Any) -> None:
    rows = lines(finished.root / "stages" / "3-diagnosis" / "rewards.jsonl")
    assert Counter(row["task"] for row in rows) == {"diagnosis": 48, "caption": 16}
    file = lines(finished.root / "data" / "3-diagnosis.jsonl")
    assert Counter(row["stage"] for row in file) == {"diagnosis": 12, "caption": 4}
    # swift's own log has one column per reward, each over its own rows only
    logged = [
        row for row in lines(finished.root / "stages" / "3-diagnosis" / "logging.jsonl") if "reward" in row
    ]
    assert {f"rewards/{key}/mean" for key in CAPTION | DIAGNOSIS} <= set(logged[-1])


def test_training_sees_the_rows_in_file_order(finished: Any) -> None:
    """Two prompts a step, as planned: with swift's shuffling on, the first steps would ask others."""
    for slug in SLUGS[1:]:
        asked = [(row["id"], row["task"]) for row in lines(finished.root / "data" / f"{slug}.jsonl")]
        seen: dict[int, set[tuple[str, str]]] = defaultdict(set)
        for row in lines(finished.root / "stages" / slug / "rewards.jsonl"):
            seen[row["step"]].add((row["id"], row["task"]))
        assert seen == {step: set(asked[2 * step - 2 : 2 * step]) for step in range(1, 9)}


def test_final_is_the_last_checkpoint_and_the_next_stage_starts_from_it(finished: Any) -> None:
    for slug, step in zip(SLUGS, (64, 8, 8), strict=True):
        final = finished.root / "stages" / slug / "final"
        assert final.is_symlink()
        assert final.resolve().name == f"checkpoint-{step}"
        assert (final / "model.safetensors").is_file()
    args = json.loads((finished.root / "stages" / "2-caption" / "args.json").read_text())
    assert args["model"] == str(finished.root / "stages" / "1-warmup" / "final")


def test_every_stage_trains_tower_and_language_model(finished: Any) -> None:
    from safetensors.torch import load_file

    stages = [load_file(finished.root / "stages" / slug / "final" / "model.safetensors") for slug in SLUGS]
    for before, after in itertools.pairwise(stages):
        assert before.keys() == after.keys()
        moved = {name for name, value in after.items() if not value.equal(before[name])}
        assert any("visual" in name for name in moved)
        assert any("language_model" in name for name in moved)


def test_a_second_call_repeats_nothing(finished: Any, read: Callable[..., Any]) -> None:
    before, said = times(finished.root), []
    rows = run(*read(), finished.root, said.append)
    assert rows == finished.rows
    assert times(finished.root) == before
    assert sum("is finished already" in line for line in said) == 3


def test_a_stage_that_died_before_its_marker_goes_on_from_its_end(
    finished: Any, read: Callable[..., Any]
) -> None:
    """Killed after the last checkpoint and before done.json: nothing is trained again."""
    folder = finished.root / "stages" / "3-diagnosis"
    kept = {name: (folder / name).read_bytes() for name in ("rewards.jsonl", "done.json")}
    weights = (folder / "final" / "model.safetensors").read_bytes()
    (folder / "done.json").unlink()
    (folder / "final").unlink()
    (folder / "rewards.jsonl").unlink()
    said: list[str] = []
    try:
        assert run(*read(), finished.root, said.append) == finished.rows
        assert "stage 3-diagnosis goes on from checkpoint-8" in said
        assert (folder / "rewards.jsonl").read_bytes() == kept["rewards.jsonl"]
        assert (folder / "final" / "model.safetensors").read_bytes() == weights
        assert (folder / "done.json").is_file()
    finally:
        (folder / "done.json").write_bytes(kept["done.json"])


def test_a_missed_gate_stops_the_run_and_says_by_how_much(
    finished: Any, read: Callable[..., Any], tmp_path: Path
) -> None:
    said: list[str] = []
    loaded, known = read(
        "stages.warmup.swift.max_steps=2",
        "stages.warmup.swift.save_steps=2",
        "stages.caption.swift.max_steps=2",
        "stages.caption.gate.at_least=0.9",
    )
    with pytest.raises(WorkFailed, match=r"caption_field_f1 is 0\.\d{3} .* 0\.\d{3} below the 0\.9") as info:
        run(loaded, known, tmp_path / "run", said.append)
    assert info.value.exit_code == 1
    value = float(str(info.value).partition("caption_field_f1 is ")[2][:5])
    assert f"{0.9 - value:.3f} below" in str(info.value)
    assert "stage 3" not in "".join(said)
    assert not (tmp_path / "run" / "stages" / "3-diagnosis").exists()
    document = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["name"] for row in document["rows"]] == [
        "after warmup",
        "after caption",
        "best constant answer",
    ]
    assert document["gates"][0]["at_least"] == 0.9
    # The same call says the same at once
    with pytest.raises(WorkFailed, match="gate of stage caption missed"):
        run(loaded, known, tmp_path / "run", said.append)
    assert sum("is finished already" in line for line in said) == 2


def test_a_reward_that_fails_stops_the_run_and_names_the_sample(
    read: Callable[..., Any], tmp_path: Path, swift: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, known = read("stages.warmup.swift.max_steps=2", "stages.caption.swift.max_steps=2")
    original = register.catalogue()

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def get(self, kind: str, name: str) -> Any:
            reward = original.get(kind, name)
            if name != "format":
                return reward

            @functools.wraps(reward.function)  # with the options that the recipe gives
            def infinite(answer: str, **sample: Any) -> float:
                return float("inf")

            return dataclasses.replace(reward, function=infinite)

    monkeypatch.setattr(register, "catalogue", Broken)
    with pytest.raises(WorkFailed, match=r"reward 'format' on sample train-\d+ returned inf"):
        run(loaded, known, tmp_path / "run", lambda _: None)
