"""rewards.jsonl: joined components, any order of speakers, any number of processes, any interruption."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.bridge.reward_log import (
    ALARMS,
    PART,
    STEPS,
    USAGE,
    append,
    batches,
    drop_after,
    join,
    part,
    read,
)


def line(step: int, id: str, completion: str, group: int, task: str = "t") -> dict[str, Any]:
    """A line as the trainer writes it; `group` counts within the step, in the order of the batch."""
    return {
        "step": step,
        "id": id,
        "task": task,
        "group": group,
        "completion": completion,
        "rewards": {"s.a": float(len(completion))},
        "total": float(len(completion)),
    }


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def test_one_record_under_two_tasks_is_two_groups(tmp_path: Path) -> None:
    tasks = ["t", "u", "t", "u"]
    lines = [line(1, "1", text, int(task == "t"), task) for text, task in zip("wxyz", tasks, strict=True)]
    append(part(tmp_path), lines)
    joined = [
        (row["task"], row["completion"], row["generation"], row["group"]) for row in rows(join(tmp_path))
    ]
    assert joined == [("t", "w", 0, 0), ("t", "y", 1, 0), ("u", "x", 0, 1), ("u", "z", 1, 1)]


@given(st.permutations(range(8)), st.permutations(range(4)))
def test_the_order_of_a_batch_cannot_be_seen(order: list[int], groups: list[int]) -> None:
    """Whichever process a group went to: the lines are sorted, and groups are numbered by their place."""
    lines = [line(9 + n // 4, str(n // 2), str(n), groups[n // 2]) for n in range(8)]  # 9 comes before 10
    with tempfile.TemporaryDirectory() as name:
        append(part(Path(name)), [lines[n] for n in order])
        found = rows(join(Path(name)))
    assert [row["completion"] for row in found] == list("01234567")
    assert [row["group"] for row in found] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [row["generation"] for row in found] == [0, 1] * 4


def test_joining_again_changes_nothing(tmp_path: Path) -> None:
    append(part(tmp_path), [line(1, "a", "x", 0), line(1, "a", "\u2028", 0)])
    first = join(tmp_path).read_bytes()
    assert join(tmp_path).read_bytes() == first
    assert len(read(tmp_path / "rewards.jsonl")) == 2


def test_steps_that_run_again_are_dropped(tmp_path: Path) -> None:
    append(part(tmp_path), [line(step, "a", "x", 0) for step in (1, 2, 3)])
    for name in (STEPS, ALARMS, USAGE):
        append(tmp_path / name, [{"step": step} for step in (1, 2, 3)])
    drop_after(tmp_path, 2)
    for name in (PART.format(rank=0), STEPS, ALARMS, USAGE):
        assert [row["step"] for row in rows(tmp_path / name)] == [1, 2]
    drop_after(tmp_path, 0)
    assert rows(part(tmp_path)) == rows(tmp_path / ALARMS) == []


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    append(part(tmp_path), [line(1, "a", "x", 0), line(2, "b", "x", 0)])
    whole = part(tmp_path).read_text()
    part(tmp_path).write_text(whole + whole.splitlines()[1][:20])
    assert len(rows(join(tmp_path))) == len(read(part(tmp_path))) == 2
    drop_after(tmp_path, 5)
    assert part(tmp_path).read_text() == whole


def test_nothing_to_add_makes_no_file(tmp_path: Path) -> None:
    append(tmp_path / ALARMS, [])
    assert list(tmp_path.iterdir()) == []
    assert read(tmp_path / ALARMS) == []


def test_swifts_own_log_keeps_step_too(tmp_path: Path) -> None:
    path = tmp_path / "logging.jsonl"
    steps = [{"loss": 1.0, "global_step/max_steps": f"{step}/10"} for step in (1, 9, 10)]
    end = [{"train_runtime": 3.0, "global_step/max_steps": "10/10"}, {"global_step": 10, "log_history": []}]
    path.write_text("".join(json.dumps(row) + "\n" for row in steps + end) + '{"loss": 1')
    drop_after(tmp_path, 9)
    assert rows(path) == steps[:2]


def test_half_a_surrogate_pair_is_kept(tmp_path: Path) -> None:
    """A judge may answer with one, as JSON can spell it; UTF-8 cannot."""
    half = json.loads(r'"\ud83d"')
    append(part(tmp_path), [line(1, "a", half, 0)])
    drop_after(tmp_path, 1)
    assert [row["completion"] for row in read(join(tmp_path))] == [half]


def test_batches_come_as_they_were_added(tmp_path: Path) -> None:
    first, second, third = (
        [line(1, "a", "x", 0), line(1, "b", "x", 1)],
        [{**line(1, "c", "x", 2), "batch": 1}],
        [line(2, "a", "x", 0)],
    )
    for lines in (first, second, third):
        append(part(tmp_path), lines)
    assert list(batches(part(tmp_path))) == [first, second, third]
    assert list(batches(tmp_path / "gone")) == []
