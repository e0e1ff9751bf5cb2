"""Synthetic lesions: the same bytes from the same seed, and records that keep their promises."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.data.record import SPLITS, Record
from skinflow_plugins.data.synthetic import (
    CAPTION_FIELDS,
    DIAGNOSES,
    SKIN_TONES,
    bayes_top1,
    lesions,
    posterior,
    synthetic,
)
from skinflow_plugins.data.verify import check_groups, verify_images
from skinflow_plugins.errors import InputError

SMALL = {"train": 60, "validation": 20, "test": 31}


def content(records: Sequence[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(Path(record.image).read_bytes() + Path(record.columns["mask"]).read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return list(synthetic(tmp_path_factory.mktemp("lesions"), **SMALL))


def test_same_seed_same_bytes(tmp_path: Path, records: list[Record]) -> None:
    again = list(synthetic(tmp_path, **SMALL))
    assert [r.id for r in again] == [r.id for r in records]
    assert [r.caption for r in again] == [r.caption for r in records]
    assert content(again) == content(records)
    assert content(list(synthetic(tmp_path / "other", **SMALL, seed=1))) != content(records)


def test_more_lesions_leave_the_first_ones_as_they_are(tmp_path: Path, records: list[Record]) -> None:
    fewer = list(synthetic(tmp_path, train=10, validation=5, test=3))
    by_id = {record.id: record for record in records}
    assert content(fewer) == content([by_id[record.id] for record in fewer])


def test_right_files_are_kept_and_wrong_ones_drawn_again(tmp_path: Path) -> None:
    options = {"train": 8, "validation": 2, "test": 2}
    first = list(synthetic(tmp_path, **options))
    before, times = content(first), {r.image: Path(r.image).stat().st_mtime_ns for r in first}
    Path(first[0].image).write_bytes(b"broken")
    Path(first[1].columns["mask"]).unlink()
    second = list(synthetic(tmp_path, **options))
    assert second == first
    assert content(second) == before
    kept = [r for r in second if Path(r.image).stat().st_mtime_ns == times[r.image]]
    assert kept == second[2:]
    # Other options, other pictures under the same names; half a manifest counts as none
    assert content(list(synthetic(tmp_path, **options, seed=3))) != before
    (tmp_path / "drawn.json").write_text('{"options":')
    assert content(list(synthetic(tmp_path, **options))) == before
    assert not list(tmp_path.rglob(".*"))


def test_stopping_early_keeps_what_was_drawn(tmp_path: Path) -> None:
    drawing = synthetic(tmp_path, **SMALL)
    next(drawing), next(drawing)
    drawing.close()
    assert len(json.loads((tmp_path / "drawn.json").read_text())["drawn"]) == 2


def test_equal_shares_in_every_split(records: list[Record]) -> None:
    for split, count in SMALL.items():
        shares = Counter(r.diagnosis for r in records if r.split == split)
        assert sum(shares.values()) == count
        assert set(shares) == set(DIAGNOSES)
        assert max(shares.values()) - min(shares.values()) <= 1


def test_patients_stay_in_one_split_and_have_one_skin(records: list[Record]) -> None:
    assert check_groups(records) == []
    patients = Counter(r.group for r in records)
    assert set(patients.values()) == {1, 2, 3}
    assert len({(r.group, r.skin_tone) for r in records}) == len(patients)
    assert {r.skin_tone for r in records} == set(SKIN_TONES)


def test_captions_stay_in_the_schema(records: list[Record]) -> None:
    for record in records:
        assert list(record.caption) == list(CAPTION_FIELDS)
        for name, values in record.caption.items():
            assert len(values) == 1
            assert values[0] in CAPTION_FIELDS[name]


def test_box_is_the_extent_of_the_mask(records: list[Record]) -> None:
    for record in records:
        mask = np.asarray(Image.open(record.columns["mask"]), dtype=bool)
        x0, y0, x1, y1 = record.columns["box"]
        inside = mask[y0:y1, x0:x1]
        assert inside.sum() == mask.sum() > 0
        edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        assert all(edge.any() for edge in edges)


def test_images_decode_and_samples_are_json(records: list[Record]) -> None:
    assert verify_images(records) == []
    head = synthetic.head({**SMALL})
    for record in records:
        assert head.columns <= set(record.sample())
        json.dumps(record.sample())
    assert head.counts == SMALL
    assert head.problems == ()


@pytest.mark.parametrize("ambiguity", [0.0, 0.05, 0.3])
def test_ambiguity_is_the_share_that_looks_like_another(ambiguity: float) -> None:
    drawn = list(lesions("train", 6000, 0, ambiguity))
    share = sum(lesion.looks_like != lesion.diagnosis for lesion in drawn) / len(drawn)
    assert share == pytest.approx(ambiguity, abs=4 * (ambiguity * (1 - ambiguity) / 6000) ** 0.5)
    assert {lesion.looks_like for lesion in drawn} == set(DIAGNOSES)


def test_no_more_than_the_bayes_limit_can_be_read_from_the_captions() -> None:
    drawn = list(lesions("test", 6000, 0, 0.05))
    guesses = [max((p := posterior(lesion.values)), key=p.__getitem__) for lesion in drawn]
    right = sum(guess == lesion.diagnosis for guess, lesion in zip(guesses, drawn, strict=True))
    assert right / 6000 == pytest.approx(bayes_top1(0.05), abs=0.013)  # four standard errors


def test_no_split_repeats_another() -> None:
    looks = [[tuple(x.values.values()) for x in lesions(split, 50, 0, 0.05)] for split in SPLITS]
    assert looks[0] != looks[1] != looks[2]


def test_impossible_options_are_all_named_at_once(tmp_path: Path) -> None:
    wrong = {"train": -1, "validation": 0, "test": 0, "size": 8, "seed": -2, "ambiguity": 1.0}
    with pytest.raises(InputError) as caught:
        synthetic(tmp_path, **wrong)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for part in ("train: -1 lesions", "size: 8 pixels", "ambiguity: 1.0", "seed: -2"):
        assert part in text
    assert synthetic.head(wrong).problems == tuple(p.message for p in caught.value.problems)
    assert "nothing to draw" in synthetic.head({"train": 0, "validation": 0, "test": 0}).problems[0]
    assert not list(tmp_path.iterdir())
