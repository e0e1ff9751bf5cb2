"""Which rows are captioned, which are left out and why, and what is a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.captioning.rows import read_rows
from skinflow_plugins.data.jsonl import jsonl
from skinflow_plugins.diagnosis import Taxonomy
from skinflow_plugins.errors import InputError

Write = Callable[..., Path]
GOOD: dict[str, Any] = {"image": "a.png", "diagnosis": "melanoma"}


def mistakes(file: Path, taxonomy: Taxonomy, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_rows(file, taxonomy, **options)
    return str(caught.value)


def test_rows_are_kept_as_they_are_written(write: Write, taxonomy: Taxonomy) -> None:
    file = write({**GOOD, "id": 7, "group": "p", "age": 61}, "", {"image": "b.png", "diagnosis": "psoriasis"})
    read = read_rows(file, taxonomy)
    assert [(row.line, row.id, row.diagnosis) for row in read.rows] == [
        (1, "7", "melanoma"),
        (3, "rows:3", "psoriasis"),
    ]
    assert read.rows[0].columns == {**GOOD, "id": 7, "group": "p", "age": 61}
    assert Path(read.rows[0].image) == (file.parent / "a.png").resolve()
    assert read.left_out == ()


def test_every_row_has_the_split_that_the_source_gives_it(lesions: Path, taxonomy: Taxonomy) -> None:
    read = read_rows(lesions, taxonomy)
    expected = {record.id: record.split for record in jsonl(lesions.parent, train=lesions)}
    assert {row.id: row.split for row in read.rows} == expected
    assert set(expected.values()) == {"train", "validation", "test"}


def test_rows_that_are_left_out_do_not_move_the_splits(
    lesions: Path, taxonomy: Taxonomy, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in lesions.read_text().splitlines()]
    for row in rows:
        row["image"] = str(lesions.parent / row["image"])
    for row in rows[::3]:
        del row["diagnosis"]
    file = tmp_path / "fewer.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_rows(file, taxonomy)
    assert len(read.left_out) == 8
    expected = {record.id: record.split for record in jsonl(tmp_path, train=file)}
    assert all(row.split == expected[row.id] for row in read.rows)


def test_files_of_held_out_records_leave_all_rows_to_train(
    lesions: Path, taxonomy: Taxonomy, write: Write
) -> None:
    held_out = {"validation": write({**GOOD, "id": "v"})}
    splits = {row.split for row in read_rows(lesions, taxonomy, held_out=held_out).rows}
    assert splits == {"train", "test"}


def test_rows_without_image_or_diagnosis_are_left_out(write: Write, taxonomy: Taxonomy) -> None:
    read = read_rows(
        write(GOOD, {"diagnosis": "melanoma"}, {"image": None, "diagnosis": "melanoma"}, {"image": "b.png"}),
        taxonomy,
    )
    assert [(each.line, each.reason) for each in read.left_out] == [
        (2, "no image"),
        (3, "no image"),
        (4, "no diagnosis"),
    ]
    assert len(read) == 4


def test_all_mistakes_at_once(write: Write, taxonomy: Taxonomy) -> None:
    file = write(
        "{half",
        {"imagee": "a.png", "diagnosis": "melanoma"},
        {"image": "c.png", "diagnosis": "melanoma"},
        ["a list"],
        {**GOOD, "split": "trian"},
    )
    text = mistakes(file, taxonomy)
    assert "rows.jsonl:1: not JSON" in text
    assert "rows.jsonl:2: imagee: unknown key 'imagee'\n    did you mean 'image'?" in text
    assert "rows.jsonl:3: image: there is no file 'c.png'" in text
    assert 'rows.jsonl:4: found ["a list"]; expected a JSON object' in text
    assert 'rows.jsonl:5: split: found "trian"' in text


def test_a_label_outside_of_the_taxonomy_and_a_damaged_image(write: Write, taxonomy: Taxonomy) -> None:
    file = write(
        GOOD, {"image": "b.png", "diagnosis": "melanom"}, {"image": "b.png", "diagnosis": "psoriasis"}
    )
    data = (file.parent / "b.png").read_bytes()
    (file.parent / "b.png").write_bytes(data[:40])
    text = mistakes(file, taxonomy)
    assert "rows.jsonl:2: image: the image does not decode" in text
    assert (
        "rows.jsonl:2: diagnosis: 'melanom' is no diagnosis of the taxonomy demo\n    did you mean 'melanoma'"
        in text
    )
    assert "rows.jsonl:3: image: the image does not decode" in text
    read = read_rows(file, taxonomy, skip_bad_rows=True)
    assert [row.line for row in read.rows] == [1]
    assert [each.reason for each in read.left_out] == ["an image that does not decode"] * 2


def test_a_general_word_is_no_label(write: Write, taxonomy: Taxonomy) -> None:
    group = next(concept for concept in taxonomy.concepts.values() if concept.kind == "group")
    assert "is no diagnosis of the taxonomy" in mistakes(write({**GOOD, "diagnosis": group.name}), taxonomy)


def test_doubled_ids_are_mistakes_in_any_case(write: Write, taxonomy: Taxonomy) -> None:
    file = write({**GOOD, "id": "x"}, {**GOOD, "id": "y"}, {**GOOD, "id": "x"}, "nonsense")
    text = mistakes(file, taxonomy, skip_bad_rows=True)
    assert text.startswith(f"{file}:3: id: the id 'x' stands in line 1 already")
    # A row without an id has that of its line.
    assert "the id 'rows:1' stands in line 1" in mistakes(write(GOOD, {**GOOD, "id": "rows:1"}), taxonomy)


def test_doubled_ids_hide_no_other_mistake(write: Write, taxonomy: Taxonomy) -> None:
    file = write({**GOOD, "id": "x"}, {**GOOD, "id": "x"}, {**GOOD, "diagnosis": "unicorn pox"})
    text = mistakes(file, taxonomy)
    assert f"{file}:2: id: the id 'x' stands in line 1 already" in text
    assert "'unicorn pox' is no diagnosis" in text
    assert "unicorn" not in mistakes(file, taxonomy, skip_bad_rows=True)


def test_a_group_in_two_splits(write: Write, taxonomy: Taxonomy) -> None:
    file = write(
        {**GOOD, "group": "p", "split": "train"}, {**GOOD, "image": "b.png", "group": "p", "split": "test"}
    )
    assert "the group 'p' is in 2 splits" in mistakes(file, taxonomy, skip_bad_rows=True)


def test_messages_of_the_source_name_the_users_file_and_line(write: Write, taxonomy: Taxonomy) -> None:
    file = write("nonsense", {**GOOD, "split": "train"}, {"image": "b.png", "diagnosis": "psoriasis"})
    text = mistakes(file, taxonomy, skip_bad_rows=True)
    assert text == f"{file}:3: no key 'split', though other rows have one"


def test_captions_are_not_replaced_in_silence(write: Write, taxonomy: Taxonomy) -> None:
    file = write({**GOOD, "caption": {"colour": "black"}}, {**GOOD, "caption_source": "expert"})
    text = mistakes(file, taxonomy)
    assert f"{file}:1: caption: the row has 'caption' already\n    --replace" in text
    assert f"{file}:2: caption_source: the row has 'caption_source' already" in text
    assert len(read_rows(file, taxonomy, replace=True).rows) == 2
    assert len(read_rows(write(GOOD, {**GOOD, "caption": {}}), taxonomy).rows) == 2


def test_nothing_to_caption(write: Write, taxonomy: Taxonomy, tmp_path: Path) -> None:
    assert "nothing can be captioned" in mistakes(write({"image": "a.png"}), taxonomy)
    assert "the file has no rows" in mistakes(write(), taxonomy)
    assert "cannot be read: No such file" in mistakes(tmp_path / "none.jsonl", taxonomy)
    (tmp_path / "latin.jsonl").write_bytes(b'{"image": "\xff"}\n')
    assert "not UTF-8" in mistakes(tmp_path / "latin.jsonl", taxonomy)
