"""Wrong data is told in full before anything is trained, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.bridge.prepare import read_records, write_text
from skinflow_plugins.bridge.run import prepare_run, run
from skinflow_plugins.data.record import Record
from skinflow_plugins.errors import InputError

Read = Callable[..., Any]


class Source:
    """A catalogue in which every data source gives these records."""

    def __init__(self, known: Any, records: list[Record]) -> None:
        self.known, self.records = known, records

    def get(self, kind: str, name: str) -> Any:
        return self if kind == "datasets" else self.known.get(kind, name)

    options = ()

    def __call__(self, work: Path, **options: Any) -> list[Record]:
        return self.records

    def __getattr__(self, name: str) -> Any:
        return getattr(self.known, name)


def good(
    folder: Path, count: int = 6, splits: tuple[str, ...] = ("train", "validation", "test")
) -> list[Record]:
    noise = np.random.default_rng(0)
    made = []
    for number in range(count):
        file = folder / f"{number}.png"
        Image.fromarray(noise.integers(0, 255, (56, 56, 3), dtype=np.uint8)).save(file)
        caption = {"colour": ("red",), "border": ("sharp",), "more": ("than asked",)}
        made.append(Record(f"r{number}", str(file), splits[number % len(splits)], "psoriasis", caption))
    return made


def problems(read: Read, root: Path, records: list[Record], *overrides: str) -> list[str]:
    """What a run says about these records; it must leave nothing behind."""
    loaded, known = read(*overrides)
    with pytest.raises(InputError) as info:
        run(loaded, Source(known, records), root, lambda _: None)  # type: ignore[arg-type]
    assert info.value.exit_code == 2
    assert not root.exists()
    return [str(problem) for problem in info.value.problems]


def test_good_records_are_read_with_the_schemas_fields(read: Read, tmp_path: Path) -> None:
    loaded, known = read()
    found = read_records(loaded.recipe, Source(known, good(tmp_path)), tmp_path)  # type: ignore[arg-type]
    assert [record.id for record in found] == [f"r{number}" for number in range(6)]
    assert {tuple(record.caption) for record in found} == {("colour", "border")}


def test_a_missing_and_a_truncated_image_are_both_named(read: Read, tmp_path: Path) -> None:
    records = good(tmp_path)
    gone, cut = Path(records[1].image), Path(records[3].image)
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:2000])
    told = problems(read, tmp_path / "run", records)
    assert len(told) == 2
    assert told[0].startswith(f"{gone}: there is no such image file (record 'r1')")
    assert told[1].startswith(f"{cut}: the image does not decode")


def test_empty_data(read: Read, tmp_path: Path) -> None:
    assert problems(read, tmp_path / "run", []) == [
        "data: the source synthetic gave no training records",
        "eval.split: the source synthetic gave no records of the test split",
        "data: a gate needs validation records, and there are none",
    ]


def test_a_gate_without_validation_records(read: Read, tmp_path: Path) -> None:
    records = good(tmp_path, splits=("train", "test"))
    told = problems(read, tmp_path / "run", records)
    assert told == ["data: a gate needs validation records, and there are none"]
    loaded, known = read("stages.caption.gate=null", "stages.diagnosis.gate=null")
    read_records(loaded.recipe, Source(known, records), tmp_path)  # type: ignore[arg-type]


def test_a_misspelt_caption_field(read: Read, tmp_path: Path) -> None:
    told = problems(read, tmp_path / "run", good(tmp_path), "captions.color=[red, brown]")
    assert told == ["captions.color: no record has the caption field 'color'; did you mean 'colour'?"]


def test_all_problems_at_once(read: Read, tmp_path: Path) -> None:
    records = good(tmp_path, splits=("train", "test"))
    Path(records[0].image).unlink()
    records[1] = Record(records[0].id, records[1].image, "test", "psoriasis", records[1].caption)
    told = "\n".join(problems(read, tmp_path / "run", records, "captions.color=[red, brown]"))
    for part in ("no such image file", "the id 'r0' occurs 2 times", "caption field 'color'", "a gate needs"):
        assert part in told


def test_a_folder_that_was_there_keeps_what_it_had(read: Read, tmp_path: Path) -> None:
    """The same command with mended data, and another recipe's folder, are both left as they were."""
    root = tmp_path / "run"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    loaded, known = read()
    with pytest.raises(InputError, match="holds no run of ours"):
        run(loaded, Source(known, []), root, lambda _: None)  # type: ignore[arg-type]
    assert [path.name for path in root.iterdir()] == ["mine.txt"]


def test_preparing_twice_writes_nothing_again(read: Read, tmp_path: Path) -> None:
    loaded, known = read()
    catalogue = Source(known, good(tmp_path))
    root = tmp_path / "run"
    _, questions = prepare_run(loaded, catalogue, root)  # type: ignore[arg-type]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert set(questions) == {
        (task, split) for task in ("caption", "diagnosis") for split in ("test", "validation", "permuted")
    }
    assert {path.name for path in root.glob("*.yaml")} == {
        "1-warmup.yaml",
        "2-caption.yaml",
        "3-diagnosis.yaml",
    }
    prepare_run(loaded, catalogue, root)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


def test_the_control_asks_the_same_questions_about_other_images(read: Read, tmp_path: Path) -> None:
    loaded, known = read()
    _, questions = prepare_run(loaded, Source(known, good(tmp_path)), tmp_path / "run")  # type: ignore[arg-type]
    plain, permuted = (
        [json.loads(line) for line in questions["caption", split].read_text().splitlines()]
        for split in ("test", "permuted")
    )
    assert [row["sample"] for row in plain] == [row["sample"] for row in permuted]
    assert all(a["images"] != b["images"] for a, b in zip(plain, permuted, strict=True))


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "one")

    def fail(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "two")
    assert path.read_text() == "one"
