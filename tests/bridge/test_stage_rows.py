"""The rows of a planned stage: how many, in which order, about what, judged by whom."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

from skinflow_plugins.bridge.stage_rows import evaluation_rows, stage_rows, vocabulary
from skinflow_plugins.data.record import Record
from skinflow_plugins.recipe.plan import plan
from skinflow_plugins.recipe.schema import Recipe

Read = Callable[..., Any]
NAMES = ("acne", "eczema", "psoriasis", "melanoma")


def records() -> list[Record]:
    """Twenty for training, with one rare diagnosis and as many reds as blues, and two for the test."""
    made = []
    for number in range(22):
        name = "melanoma" if number == 7 else NAMES[number % 3]
        caption = {
            "colour": (("red", "blue")[number % 2],),
            "border": (("sharp", "blurred")[number // 2 % 2],),
        }
        split = "train" if number < 20 else "test"
        made.append(Record(f"r{number}", f"/images/{number}.png", split, name, caption))
    return made


def rows_of(read: Read, stage: str, *overrides: str) -> tuple[Recipe, list[dict[str, Any]]]:
    loaded, known = read(*overrides)
    planned = plan(loaded.recipe, known, root=PurePosixPath("/RUN"), plugin="plugin.py")
    chosen = next(found for found in planned.stages if found.stage.name == stage)
    return loaded.recipe, stage_rows(loaded.recipe, chosen, records())


def answer(row: Mapping[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


def truth(row: Mapping[str, Any]) -> str:
    caption = json.loads(row["sample"])["caption"]
    return f"colour: {caption['colour'][0]}; border: {caption['border'][0]}"


def test_only_training_records_are_trained_on(read: Read) -> None:
    for stage in ("warmup", "caption", "diagnosis"):
        _, rows = rows_of(read, stage)
        assert {row["id"] for row in rows} <= {f"r{number}" for number in range(20)}


def test_a_counted_stage_has_exactly_the_rows_of_its_steps(read: Read) -> None:
    assert len(rows_of(read, "warmup")[1]) == 64 * 16
    assert len(rows_of(read, "caption")[1]) == 8 * 2
    more = ("stages.caption.swift.gradient_accumulation_steps=4", "stages.caption.swift.num_iterations=2")
    assert len(rows_of(read, "caption", *more)[1]) == 8 * 2 * 4 // 2


def test_a_stage_counted_by_epochs_has_each_record_once(read: Read) -> None:
    epochs = ("stages.caption.swift.max_steps=null", "stages.caption.swift.num_train_epochs=2")
    _, rows = rows_of(read, "caption", *epochs)
    assert sorted(row["id"] for row in rows) == sorted(f"r{number}" for number in range(20))


def test_a_warm_start_teaches_each_task_up_to_its_limit(read: Read) -> None:
    recipe, rows = rows_of(
        read, "warmup", "stages.warmup.teach.caption.limit=10", "stages.warmup.teach.diagnosis.limit=5"
    )
    asked = {task: {row["id"] for row in rows if row["task"] == task} for task in ("caption", "diagnosis")}
    assert {task: len(ids) for task, ids in asked.items()} == {"caption": 10, "diagnosis": 5}
    assert {row["messages"][0]["content"] for row in rows} == {
        f"<image>{task.prompt}" for task in recipe.tasks.values()
    }


def test_random_answers_do_not_tell_the_truth(read: Read) -> None:
    """The warm start must not teach what the rewards are to teach."""
    _, rows = rows_of(read, "warmup")
    lists = [answer(row).split("; ") for row in rows if row["task"] == "diagnosis"]
    assert all(len(set(names)) == 3 and set(names) <= set(NAMES) for names in lists)
    truths = [json.loads(row["sample"])["diagnosis"] for row in rows if row["task"] == "diagnosis"]
    right = sum(names[0] == truth for names, truth in zip(lists, truths, strict=True))
    assert 0.15 < right / len(lists) < 0.35  # one in four
    told = [(answer(row), truth(row)) for row in rows if row["task"] == "caption"]
    assert 0.15 < sum(said == true for said, true in told) / len(told) < 0.35  # two fields of two values each


def test_true_answers_do(read: Read) -> None:
    _, rows = rows_of(
        read,
        "warmup",
        "stages.warmup.teach.caption.random=false",
        "stages.warmup.teach.diagnosis.random=false",
    )
    for row in rows:
        if row["task"] == "caption":
            assert answer(row) == truth(row)
        else:
            assert answer(row).split("; ")[0] == json.loads(row["sample"])["diagnosis"]


def test_a_balanced_stage_asks_about_each_diagnosis_as_often(read: Read) -> None:
    _, rows = rows_of(read, "diagnosis", "stages.diagnosis.replay=null")
    names = [json.loads(row["sample"])["diagnosis"] for row in rows]
    assert len(names) == 16
    for start in range(0, 16, 4):
        assert sorted(names[start : start + 4]) == sorted(NAMES)
    _, rows = rows_of(read, "diagnosis", "stages.diagnosis.replay=null", "stages.diagnosis.balance=null")
    assert Counter(json.loads(row["sample"])["diagnosis"] for row in rows)["melanoma"] <= 1


def test_replay_rows_ask_the_earlier_task_for_the_earlier_stage(read: Read) -> None:
    _, rows = rows_of(read, "diagnosis")
    assert Counter((row["task"], row["stage"]) for row in rows) == {
        ("diagnosis", "diagnosis"): 12,
        ("caption", "caption"): 4,
    }
    for start in range(0, 16, 4):  # a quarter of every four
        assert sum(row["stage"] == "caption" for row in rows[start : start + 4]) == 1
    own = [json.loads(row["sample"])["diagnosis"] for row in rows if row["stage"] == "diagnosis"]
    assert Counter(own) == dict.fromkeys(NAMES, 3)  # replay does not disturb the balance


def test_replay_by_epochs_keeps_its_share_and_the_whole_data(read: Read) -> None:
    epochs = ("stages.diagnosis.swift.max_steps=null", "stages.diagnosis.swift.num_train_epochs=1")
    _, rows = rows_of(read, "diagnosis", "stages.diagnosis.balance=null", *epochs)
    own = [row["id"] for row in rows if row["stage"] == "diagnosis"]
    assert set(own) == {f"r{number}" for number in range(20)}
    assert len(own) <= 21  # shares and whole records seldom meet exactly
    assert len(rows) - len(own) == pytest.approx(len(rows) / 4, abs=1)


def test_rows_depend_on_seed_and_stage_only(read: Read) -> None:
    first = rows_of(read, "caption")[1]
    assert rows_of(read, "caption")[1] == first
    assert rows_of(read, "caption", "seed=1")[1] != first
    assert [row["id"] for row in rows_of(read, "diagnosis", "stages.diagnosis.replay=null")[1]] != [
        row["id"] for row in first
    ]


def test_evaluation_asks_about_every_record_once_in_order(read: Read) -> None:
    loaded, _ = read()
    rows = evaluation_rows(loaded.recipe, "caption", records())
    assert [row["id"] for row in rows] == [record.id for record in records()]
    assert {row["stage"] for row in rows} == {"evaluation"}
    assert all(len(row["messages"]) == 1 for row in rows)


def test_the_vocabulary_knows_every_word_of_questions_and_answers(read: Read) -> None:
    loaded, _ = read()
    words = vocabulary(loaded.recipe, records())
    assert words == sorted(set(words))
    assert {"describe", "name", "colour", "haloed", "acne", "psoriasis"} <= set(words)
