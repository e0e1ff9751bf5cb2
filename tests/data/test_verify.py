"""Images that do not decode, ids that repeat, groups that are torn apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.data.record import Record
from skinflow_plugins.data.verify import at_most, check_groups, verify_images
from skinflow_plugins.errors import Problem


def picture(file: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    return file


def record(file: Path, id: str = "a", split: str = "train", group: str | None = None) -> Record:
    return Record(id=id, image=str(file), split=split, group=group)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp"])
def test_a_truncated_image_is_found(tmp_path: Path, ending: str) -> None:
    whole, cut = picture(tmp_path / f"whole.{ending}"), tmp_path / f"cut.{ending}"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    problems = verify_images([record(whole), record(cut, "b")])
    assert [p.where for p in problems] == [str(cut)]
    assert "does not decode" in problems[0].message
    assert "'b'" in problems[0].message


def test_missing_empty_and_foreign_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    files = [tmp_path / name for name in ("gone.png", "empty.png", "text.png")]
    text = [str(p) for p in verify_images(record(f, f.stem) for f in files)]
    assert "no such image file" in text[0]
    assert "is empty" in text[1]
    assert "does not decode" in text[2]


def test_a_shared_image_is_named_once(tmp_path: Path) -> None:
    problems = verify_images([record(tmp_path / "gone.png", str(i)) for i in range(3)])
    assert len(problems) == 1
    assert "(record '0' and 2 more records)" in problems[0].message


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    problems = verify_images([record(tmp_path / f"{i}.png", str(i)) for i in range(50)])
    assert len(problems) == 21
    assert problems[-1].message == "and 30 more problems like these"
    assert at_most([Problem("x")] * 20) == [Problem("x")] * 20


def test_groups_images_and_ids() -> None:
    a, b = Path("a.png"), Path("b.png")
    good = [record(a, "1", "train", "p"), record(b, "2", "train", "p"), record(Path("c.png"), "3", "test")]
    assert check_groups(good) == []
    bad = [record(a, "1", "train", "p"), record(b, "1", "test", "p"), record(a, "4", "validation", "q")]
    text = "\n".join(str(p) for p in check_groups(bad))
    assert "the id '1' occurs 2 times" in text
    assert "the group 'p' is in 2 splits: train (record '1'), test (record '1')" in text
    assert "the image 'a.png' is in 2 splits: train (record '1'), validation (record '4')" in text
