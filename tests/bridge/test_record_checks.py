"""Labels, caption values and columns are looked at before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from skinflow_plugins.bridge.prepare import write_rows
from skinflow_plugins.bridge.record_checks import check_records
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.data.record import Record
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.load import load

GOOD = Record(
    "good",
    "/images/good.png",
    "train",
    "psoriasis",
    {"colour": ("red",), "border": ("sharp",), "surface": ("scaly",)},
)


def problems(*records: Record) -> list[str]:
    return [str(problem) for problem in check_records(load("quickstart").recipe, catalogue(), records)]


def test_good_records_pass() -> None:
    assert problems(GOOD) == []


def test_a_diagnosis_that_the_taxonomy_lacks_is_named_once_with_the_nearest() -> None:
    wrong = [dataclasses.replace(GOOD, id=f"r{n}", diagnosis="psoriassis") for n in range(3)]
    [found] = problems(GOOD, *wrong)
    assert found.startswith(
        "r0: data: the diagnosis 'psoriassis' is not in the taxonomy 'demo'; did you mean"
    )
    assert "'psoriasis'" in found


def test_a_general_word_is_no_diagnosis() -> None:
    [found] = problems(GOOD, dataclasses.replace(GOOD, id="r", diagnosis="malignant"))
    assert "'malignant' is a general word of the taxonomy 'demo'" in found


def test_a_value_outside_the_schema_is_named_with_the_nearest() -> None:
    [found] = problems(
        GOOD, dataclasses.replace(GOOD, id="r", caption={**GOOD.caption, "colour": ("mauve",)})
    )
    assert found.startswith("r: captions.colour: colour: 'mauve' is not a value of this field; known: black")


def test_a_column_that_a_reward_needs_is_missed_in_any_record() -> None:
    found = problems(GOOD, dataclasses.replace(GOOD, id="r", diagnosis=None))
    assert any("r: data: the record has no 'diagnosis', which" in text for text in found)


def test_rows_of_a_begun_run_are_not_replaced_by_others(tmp_path: Path) -> None:
    file = tmp_path / "1-warmup.jsonl"
    write_rows(file, [{"id": 1}])
    write_rows(file, [{"id": 1}])
    with pytest.raises(InputError, match="the data has changed since this run began"):
        write_rows(file, [{"id": 2}])
    assert file.read_text() == '{"id": 1}\n'
