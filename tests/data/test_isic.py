"""ISIC UDA-1 from a folder: a small made-up one, and the real one where it is at hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.data.isic import isic_uda1
from skinflow_plugins.data.verify import check_groups, verify_images
from skinflow_plugins.errors import InputError

VARIABLE = "SKINFLOW_ISIC_ROOT"


def blobs(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC)


def fake(root: Path, nevi: int = 24, melanomas: int = 12) -> Path:
    """A folder shaped like UDA-1; picture 3 is a copy of 1, turned, and 5 of 2, compressed more."""
    (root / "448px").mkdir(parents=True)
    lines = ["isic_id,benign_malignant,diagnosis,age_approx,sex"]
    for number in range(nevi + melanomas):
        name = "melanoma" if number >= nevi else "nevus"
        lines.append(f"ISIC_{number:07d},x,{name},{'' if number == 2 else 40},female")
        picture = blobs({3: 1, 5: 2}.get(number, number))
        if number == 3:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        picture.save(root / "448px" / f"ISIC_{number:07d}.jpg", quality=50 if number == 5 else 95)
    (root / "metadata.csv").write_text("\n".join([*lines, "ISIC_9999999,benign,,,"]) + "\n")
    return root


def test_records_of_a_small_folder(tmp_path: Path) -> None:
    root, work = fake(tmp_path / "isic"), tmp_path / "work"
    records = list(isic_uda1(work, root=root))
    assert [r.id for r in records] == [f"ISIC_{n:07d}" for n in range(36)]
    assert Counter(r.diagnosis for r in records) == {"Nevus": 24, "Melanoma, NOS": 12}
    assert all(Image.open(r.image).size == (56, 56) for r in records)
    assert records[0].columns == {"age_approx": 40, "sex": "female"}
    assert records[2].columns == {"sex": "female"}
    assert verify_images(records) == check_groups(records) == []
    shares = Counter((r.diagnosis, r.split) for r in records)
    assert 6 <= shares["Nevus", "test"] <= 7
    assert shares["Melanoma, NOS", "test"] == 3
    assert shares["Melanoma, NOS", "validation"] == 2


def test_copies_of_one_picture_are_one_group(tmp_path: Path) -> None:
    records = list(isic_uda1(tmp_path / "work", root=fake(tmp_path / "isic"), seed=4))
    groups = {r.id[-2:]: r.group for r in records}
    assert groups["03"] == groups["01"]
    assert groups["05"] == groups["02"]
    assert len(set(groups.values())) == 34


def test_same_split_and_same_files_again(tmp_path: Path) -> None:
    root, work = fake(tmp_path / "isic"), tmp_path / "work"
    first = list(isic_uda1(work, root=root))
    times = [Path(r.image).stat().st_mtime_ns for r in first]
    assert list(isic_uda1(work, root=root)) == first
    assert [Path(r.image).stat().st_mtime_ns for r in first] == times
    assert [r.split for r in isic_uda1(work, root=root, seed=1)] != [r.split for r in first]


def test_without_a_size_nothing_is_written(tmp_path: Path) -> None:
    root, work = fake(tmp_path / "isic"), tmp_path / "work"
    records = list(isic_uda1(work, root=root, size=None))
    assert records[0].image == str(root / "448px" / "ISIC_0000000.jpg")
    assert not work.exists()


def test_an_absent_root_tells_how_to_get_the_images(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        isic_uda1(tmp_path, root=tmp_path / "none", size=2)
    text = str(caught.value)
    assert "there is no metadata.csv in" in text
    assert "ISIC_0000000 to ISIC_0000555" in text
    assert "CC0" in text
    assert "size: 2 pixels" in text
    assert len(isic_uda1.head({"root": str(tmp_path / "none")}).problems) == 1


def test_missing_images_are_listed_at_once(tmp_path: Path) -> None:
    root = fake(tmp_path / "isic")
    for number in range(7, 14):
        (root / "448px" / f"ISIC_{number:07d}.jpg").unlink()
    with pytest.raises(InputError, match=r"missing images: ISIC_0000007\.jpg, .* and 2 more"):
        isic_uda1(tmp_path, root=root)
    assert "and 2 more" in isic_uda1.head({"root": root}).problems[0]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    file = fake(tmp_path / "isic") / "448px" / "ISIC_0000004.jpg"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(InputError, match=r"ISIC_0000004.jpg: the image does not decode"):
        list(isic_uda1(tmp_path, root=tmp_path / "isic"))


def test_mistakes_in_the_table(tmp_path: Path) -> None:
    table = fake(tmp_path / "isic") / "metadata.csv"
    rows = table.read_text()
    table.write_text(rows.replace("isic_id", "isic-id").replace("diagnosis", "diagnose"))
    text = "\n".join(isic_uda1.head({"root": tmp_path / "isic"}).problems)
    assert "no column 'isic_id'\n    did you mean 'isic-id'?" in text
    assert "no column 'diagnosis'\n    did you mean 'diagnose'?" in text
    table.write_text(rows.replace("ISIC_0000000,x,nevus", "ISIC_0000001,x,naevus"))
    with pytest.raises(InputError) as caught:
        isic_uda1(tmp_path, root=tmp_path / "isic")
    assert "metadata.csv:2: diagnosis 'naevus'; expected nevus or melanoma\n    did you mean 'nevus'?" in str(
        caught.value
    )


def test_head_of_a_good_folder(tmp_path: Path) -> None:
    head = isic_uda1.head({"root": fake(tmp_path / "isic")})
    assert head.problems == ()
    assert head.columns == {"id", "diagnosis", "group", "sex"}


@pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"set {VARIABLE} to a folder with metadata.csv and 448px/*.jpg"
)
def test_the_real_pictures(tmp_path: Path) -> None:
    root = Path(os.environ[VARIABLE])
    head = isic_uda1.head({"root": root})
    assert head.problems == ()
    records = list(isic_uda1(tmp_path, root=root))
    assert Counter(r.diagnosis for r in records) == {"Nevus": 396, "Melanoma, NOS": 158}
    assert Counter(r.split for r in records) == {"train": 332, "validation": 83, "test": 139}
    shares = Counter((r.split, r.diagnosis) for r in records)
    for split, count in Counter(r.split for r in records).items():
        assert shares[split, "Melanoma, NOS"] / count == pytest.approx(158 / 554, abs=0.02)
    # No two pictures of UDA-1 are copies of each other, and one lesion was photographed twice
    assert len({r.group for r in records}) == 553
    by_id = {r.id: r for r in records}
    assert by_id["ISIC_0000450"].group == by_id["ISIC_0000519"].group
    assert verify_images(records) == check_groups(records) == []
    assert all(head.columns <= set(r.sample()) for r in records)
