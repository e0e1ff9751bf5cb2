"""rewards.jsonl: joined components, any order of speakers, any number of processes, any interruption."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.reward_log import PART, NoLog, RewardLog, drop_after, join, open_log
from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.recipe.plan import RewardPlan

A = RewardPlan("s.a", "a", "s", 1.0, {})
B = RewardPlan("s.b", "b", "s", 0.5, {})


def columns(step: int, ids: list[str], tasks: list[str] | None = None) -> dict[str, Any]:
    """What swift hands over at a step counted from 1; its own counter is one behind."""
    return {
        "trainer_state": SimpleNamespace(global_step=step - 1),
        "id": ids,
        "task": tasks or ["t"] * len(ids),
    }


def log(folder: Path) -> RewardLog:
    return RewardLog(folder, ["s.a", "s.b"], {"s.a": 1.0, "s.b": 0.5})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("order", [(A, B), (B, A)], ids=["in order", "the last first"])
def test_components_are_joined_whoever_speaks_first(
    tmp_path: Path, order: tuple[RewardPlan, RewardPlan]
) -> None:
    values: dict[str, list[float | None]] = {"s.a": [1.0, 0.0, None], "s.b": [0.5, None, None]}
    one = log(tmp_path)
    for index, plan in enumerate(order):
        assert one.path.exists() is False
        one.add(plan, values[plan.key], ["x", "y", "ü"], columns(3, ["1", "1", "2"]))
        assert one.path.exists() is (index == 1)
    common = {"step": 3, "task": "t"}
    assert rows(one.path) == [
        {
            **common,
            "id": "1",
            "completion": "x",
            "rewards": {"s.a": 1, "s.b": 0.5},
            "total": 1.25,
        },
        {**common, "id": "1", "completion": "y", "rewards": {"s.a": 0}, "total": 0},
        {**common, "id": "2", "completion": "ü", "rewards": {}, "total": 0},
    ]
    assert list(rows(one.path)[0]["rewards"]) == ["s.a", "s.b"]


def test_one_record_under_two_tasks_is_two_groups(tmp_path: Path) -> None:
    one = RewardLog(tmp_path, ["s.a"], {"s.a": 1.0})
    one.add(A, [1.0] * 4, list("wxyz"), columns(1, ["1"] * 4, ["t", "u", "t", "u"]))
    joined = [(row["task"], row["completion"], row["generation"]) for row in rows(join(tmp_path))]
    assert joined == [("t", "w", 0), ("t", "y", 1), ("u", "x", 0), ("u", "z", 1)]


def test_a_group_may_be_spread_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write(tmp_path / "one", 0, [(1, ["a", "b", "c", "a"])], monkeypatch)
    write(tmp_path / "two", 0, [(1, ["a", "c"])], monkeypatch)
    write(tmp_path / "two", 1, [(1, ["a", "b"])], monkeypatch)
    assert join(tmp_path / "one").read_text() == join(tmp_path / "two").read_text()


def write(folder: Path, rank: int, batches: list[tuple[int, list[str]]], monkeypatch: Any) -> None:
    monkeypatch.setenv("RANK", str(rank))
    one = log(folder)
    for step, ids in batches:
        for plan in (A, B):
            values: list[float | None] = [float(len(i)) for i in ids]
            one.add(plan, values, [f"{i}!" for i in ids], columns(step, ids))


def test_two_processes_give_the_same_file_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, 0, [(1, ["a", "a", "bb", "bb"]), (2, ["c", "c", "b", "b"])], monkeypatch)
    write(two, 1, [(1, ["a", "a"]), (2, ["b", "b"])], monkeypatch)
    write(two, 0, [(1, ["bb", "bb"]), (2, ["c", "c"])], monkeypatch)
    assert join(one).read_bytes() == join(two).read_bytes()
    assert len(rows(one / "rewards.jsonl")) == 8
    assert join(one).read_bytes() == join(two).read_bytes()  # joining again changes nothing


@given(st.permutations(range(6)))
def test_the_order_of_the_parts_cannot_be_seen(order: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [
            json.dumps({"step": n // 2 + 9, "id": str(n % 2), "task": "t", "completion": "", "generation": 0})
            + "\n"
            for n in range(6)
        ]
        for rank in (0, 1):
            (folder / PART.format(rank=rank)).write_text("".join(lines[n] for n in order if n % 2 == rank))
        assert join(folder).read_text() == "".join(lines)  # steps are numbers: 9 comes before 10


def test_steps_that_run_again_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0, [(1, ["a"]), (2, ["b"]), (3, ["c"])], monkeypatch)
    write(tmp_path, 1, [(1, ["d"]), (2, ["e"])], monkeypatch)
    drop_after(tmp_path, 2)
    assert [row["step"] for row in rows(tmp_path / "rewards.rank0.jsonl")] == [1, 2]
    assert [row["step"] for row in rows(tmp_path / "rewards.rank1.jsonl")] == [1, 2]
    drop_after(tmp_path, 0)
    assert rows(tmp_path / "rewards.rank0.jsonl") == []


def test_a_torn_last_line_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0, [(1, ["a"]), (2, ["b"])], monkeypatch)
    part = tmp_path / "rewards.rank0.jsonl"
    whole = part.read_text()
    part.write_text(whole + whole.splitlines()[1][:20])
    assert len(rows(join(tmp_path))) == 2
    drop_after(tmp_path, 5)
    assert part.read_text() == whole


def test_swifts_own_log_keeps_step_too(tmp_path: Path) -> None:
    path = tmp_path / "logging.jsonl"
    steps = [{"loss": 1.0, "global_step/max_steps": f"{step}/10"} for step in (1, 9, 10)]
    end = [{"train_runtime": 3.0, "global_step/max_steps": "10/10"}, {"global_step": 10, "log_history": []}]
    path.write_text("".join(json.dumps(row) + "\n" for row in steps + end) + '{"loss": 1')
    drop_after(tmp_path, 9)
    assert rows(path) == steps[:2]


def test_all_rewards_of_a_stage_share_one_log(tmp_path: Path) -> None:
    stage = StageSettings("s", str(tmp_path), (A, B))
    reward_log.forget()
    first = open_log(stage, str(tmp_path))
    assert open_log(stage, str(tmp_path)) is first
    reward_log.forget()
    assert open_log(stage, str(tmp_path)) is not first
    reward_log.forget()


def test_without_a_recipe_nothing_is_written(tmp_path: Path) -> None:
    quiet = open_log(None, str(tmp_path))
    assert isinstance(quiet, NoLog)
    quiet.add(A, [1.0], ["x"], {})
    assert list(tmp_path.iterdir()) == []
