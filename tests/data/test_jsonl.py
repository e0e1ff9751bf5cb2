"""The user's own JSON Lines files: what is read, how it is split, and what a mistake is told."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.data.jsonl import jsonl
from skinflow_plugins.data.record import Record
from skinflow_plugins.data.verify import check_groups
from skinflow_plugins.errors import InputError


def write(file: Path, *rows: Any) -> Path:
    """The rows in a file, and an empty file for every image they name."""
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("image"), str) and "missing" not in row["image"]:
            (file.parent / row["image"]).touch()
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


def read(train: Path, **options: Any) -> list[Record]:
    return list(jsonl(train.parent / "work", train=train, **options))


def mistakes(train: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(train, **options)
    return str(caught.value)


def test_a_full_row_and_a_bare_one(tmp_path: Path) -> None:
    full = {
        "id": "A",
        "image": "a.png",
        "diagnosis": "melanoma",
        "caption": {"colour": ["black", "blue"], "border": "irregular"},
        "group": 7,
        "skin_tone": "III-IV",
        "age": 61,
    }
    train = write(tmp_path / "my.jsonl", full, "", {"image": "b.png"})
    first, second = read(train, validation=None, test=write(tmp_path / "t.jsonl", {"image": "c.png"}))[:2]
    assert first.image == str(tmp_path / "a.png")
    assert first.caption == {"colour": ("black", "blue"), "border": ("irregular",)}
    assert (first.id, first.group, first.skin_tone, first.columns) == ("A", "7", "III-IV", {"age": 61})
    assert first.sample()["age"] == 61
    assert second.id == "my:3"
    assert second.diagnosis is None


def test_files_decide_the_split(tmp_path: Path) -> None:
    files = {
        name: write(tmp_path / f"{name}.jsonl", {"image": f"{name}.png"})
        for name in ("train", "validation", "test")
    }
    assert [r.split for r in jsonl(tmp_path, **files)] == ["train", "validation", "test"]


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    (tmp_path / "a.jsonl").write_text('{"image": "a.png"}\n')
    assert read(tmp_path / "a.jsonl", images=tmp_path / "pictures")[0].image == str(
        tmp_path / "pictures" / "a.png"
    )


def test_the_hash_splits_whole_groups_whatever_the_order(tmp_path: Path) -> None:
    rows = [{"id": f"{i}", "image": f"{i}.png", "group": f"patient {i // 3}"} for i in range(300)]
    records = read(write(tmp_path / "a.jsonl", *rows))
    counts = Counter(r.split for r in records)
    assert counts["validation"] == counts["test"] == 30
    assert check_groups(records) == []
    random.Random(0).shuffle(rows)
    again = read(write(tmp_path / "a.jsonl", *rows))
    assert {r.id: r.split for r in again} == {r.id: r.split for r in records}


def test_only_the_split_without_a_file_is_taken_from_train(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", *({"image": f"{i}.png"} for i in range(20)))
    test = write(tmp_path / "t.jsonl", *({"image": f"t{i}.png"} for i in range(5)))
    assert Counter(r.split for r in read(train, test=test)) == {"train": 18, "validation": 2, "test": 5}


def test_the_key_split_decides(tmp_path: Path) -> None:
    rows = [{"image": f"{s}.png", "split": s} for s in ("test", "train", "validation")]
    assert [r.split for r in read(write(tmp_path / "a.jsonl", *rows))] == ["test", "train", "validation"]


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    train = write(
        tmp_path / "bad.jsonl",
        {"image": "a.png", "diagnosys": "melanoma"},
        '{"image": "a.png"',
        [1],
        {"imgae": "a.png"},
        {"diagnosis": "melanoma"},
        {"image": "missing.png"},
        {"image": 3, "diagnosis": ["melanoma"], "caption": "black", "group": 1.5},
        {"image": "a.png", "caption": {"colour": []}, "split": "val"},
        {"image": "a.png", "split": "tests"},
    )
    text = mistakes(train)
    for line, part in [
        (1, "diagnosys: unknown key 'diagnosys'\n    did you mean 'diagnosis'?"),
        (2, "not JSON: Expecting ',' delimiter at column "),
        (3, "found [1]; expected a JSON object"),
        (4, "imgae: unknown key 'imgae'\n    did you mean 'image'?"),
        (5, "no key 'image'; every row needs one"),
        (6, f"image: there is no file 'missing.png' in {tmp_path}\n    `images` names another folder"),
        (7, "image: found 3; expected a file name"),
        (7, 'diagnosis: found ["melanoma"]; expected text'),
        (7, 'caption: found "black"; expected an object of field: value or values'),
        (7, "group: found 1.5; expected text or a whole number"),
        (8, "caption.colour: found []; expected text or a list of texts"),
        (8, 'split: found "val"; expected one of train, validation, test'),
        (9, "did you mean 'test'?"),
    ]:
        assert part in text
        assert f"bad.jsonl:{line}: " in text
    assert text.count("bad.jsonl:4") == 1


def test_empty_missing_and_binary_files(tmp_path: Path) -> None:
    binary = tmp_path / "b.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    text = mistakes(write(tmp_path / "a.jsonl"), validation=tmp_path / "no.jsonl", test=binary)
    assert "a.jsonl: the file has no rows" in text
    assert "no.jsonl: cannot be read: No such file" in text
    assert "b.jsonl: not UTF-8" in text


def test_an_array_is_explained(tmp_path: Path) -> None:
    text = mistakes(write(tmp_path / "a.jsonl", "[", '{"image": "a.png"}', "]"))
    assert "a JSON array is not JSON Lines" in text


def test_torn_groups_and_repeated_ids(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", *({"image": f"{i}.png", "group": "p", "id": "x"} for i in range(2)))
    test = write(tmp_path / "t.jsonl", {"image": "t.png", "group": "p"})
    text = mistakes(train, test=test)
    assert "the group 'p' is in 2 splits" in text
    assert "the id 'x' occurs 2 times" in text


def test_contradicting_splits(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", {"image": "1.png", "split": "test"}, {"image": "2.png"})
    test = write(tmp_path / "t.jsonl", {"image": "t.png", "split": "train"})
    text = mistakes(train, test=test)
    assert (
        "a.jsonl:1: split: found 'test' in the file of the train records; expected train or validation"
        in text
    )
    assert "a.jsonl:2: no key 'split', though other rows have one" in text
    assert "t.jsonl:1: split: found 'train' in the file of the test records; expected test" in text


def test_long_lists_of_mistakes_are_cut(tmp_path: Path) -> None:
    text = mistakes(write(tmp_path / "a.jsonl", *({"image": f"missing{i}.png"} for i in range(100))))
    assert text.endswith("and 80 more problems like these")


def test_the_head_looks_at_fifty_rows(tmp_path: Path) -> None:
    rows = [{"image": f"{i}.png", "diagnosis": "a", "age": 3} for i in range(50)]
    train = write(tmp_path / "a.jsonl", *rows, {"wrong": 1})
    head = jsonl.head({"train": str(train)})
    assert head.problems == ()
    assert head.columns == {"id", "diagnosis", "age"}
    rows[3].pop("age")
    rows[4]["image"] = "missing.png"
    head = jsonl.head({"train": write(tmp_path / "a.jsonl", *rows)})
    assert "age" not in head.columns
    assert "a.jsonl:5: image: there is no file 'missing.png'" in head.problems[0]
    assert "cannot be read" in jsonl.head({"train": tmp_path / "no.jsonl"}).problems[0]
