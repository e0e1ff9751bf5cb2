"""Pictures and numbers of looks that no model had to make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.models.image_grid import ImageGrid
from skinflow_plugins.models.looking import Attention, Look, ProjectionGains, Question
from skinflow_plugins.report.dve_pictures import write_pictures
from skinflow_plugins.report.sheet import DPI, printable, wrapped
from skinflow_plugins.report.story import Story, Subject, Told, numbers, share_table

GRID = ImageGrid(4, 4)


def made(
    seed: int, *, bands: int = 4, layers: int = 2, grid: ImageGrid = GRID, channels: bool = True
) -> Look:
    chance = np.random.default_rng(seed)
    maps = grid.arrange(chance.uniform(size=(2, grid.tokens)) / (2 * grid.tokens))

    def gains(width: int) -> np.ndarray:
        return 1 + chance.uniform(-0.1, 0.1, (grid.tiles, width))

    found = tuple(
        ProjectionGains(layer, name, gains(bands), *([gains(8), gains(6)] if channels else [None, None]))
        for layer in range(layers)
        for name in ("gate", "up", "down")
    )
    return Look(Attention(maps, grid), found, answer="melanoma; $10 nevus\n皮")


def subject(number: int, *, mask: bool = True, size: tuple[int, int] = (60, 40)) -> Subject:
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    lesion = np.zeros((size[1], size[0]), dtype=bool)
    lesion[: size[1] // 2, : size[0] // 2] = True
    return Subject(f"lesion {number}.png", Image.fromarray(pixels), lesion if mask else None)


def story(count: int, *, before: bool = True, mask: bool = True, answer: str = "", bands: int = 4) -> Story:
    after = Told("after, step 8", [made(number, bands=bands) for number in range(count)])
    earlier = Told("base", [made(number + 50, bands=bands) for number in range(count)]) if before else None
    subjects = [subject(number, mask=mask) for number in range(count)]
    return Story(
        subjects, Question("name it", answer=answer), after, earlier, "" if before else "it is not there"
    )


@pytest.mark.parametrize(("count", "bands"), [(1, 4), (4, 16), (12, 4)])
def test_every_file_is_there_and_of_a_sensible_size(count: int, bands: int, tmp_path: Path) -> None:
    files = write_pictures(story(count, bands=bands), tmp_path / "new" / "folder")
    assert [file.name for file in files] == [
        "gains.png",
        "attention.png",
        "attention_last_layer.png",
        "dve.json",
    ]
    for file in files[:-1]:
        with Image.open(file) as image:
            image.load()
            assert image.format == "PNG"
            width, height = image.size
        assert 5 * DPI < width < 17 * DPI
        assert 2 * DPI < height < 25 * DPI
    with Image.open(files[0]) as image:
        assert len(image.convert("RGB").resize((400, 400)).getcolors(400 * 400)) > 50


def test_the_numbers_are_those_of_the_looks(tmp_path: Path) -> None:
    told = story(2)
    write_pictures(told, tmp_path)
    found = json.loads((tmp_path / "dve.json").read_text(encoding="utf-8"))
    assert found == numbers(told)
    assert found["models"] == {"before": "base", "after": "after, step 8"}
    assert (found["prompt"], found["last_token_of"]) == ("name it", "prompt")
    assert [each["image"] for each in found["images"]] == ["lesion 0.png", "lesion 1.png"]
    first, look, mask = found["images"][0], told.after.looks[0], told.subjects[0].mask
    assert mask is not None
    assert first["pixels"] == [60, 40]
    assert first["lesion_area"] == pytest.approx(0.25)
    assert first["after"]["grid"] == [4, 4]
    assert first["after"]["attention_on_lesion"] == pytest.approx(
        look.attention.maps[:, :2, :2].sum() / look.attention.maps.sum()
    )
    assert len(first["after"]["attention_on_lesion_by_layer"]) == 2
    gains = first["after"]["gains"]["1.down"]
    np.testing.assert_allclose(gains["band"], look.gains[-1].band)
    np.testing.assert_allclose(gains["input"]["spread"], look.gains[-1].input.std(axis=1))
    shares = [each["before"]["attention_on_lesion"] for each in found["images"]]
    assert found["mean"]["before"] == pytest.approx(np.mean(shares))


def test_without_before_and_masks(tmp_path: Path) -> None:
    told = story(2, before=False, mask=False, answer="a nevus")
    assert len(write_pictures(told, tmp_path)) == 4
    found = numbers(told)
    assert (found["mean"], found["note"], found["last_token_of"]) == ({}, "it is not there", "answer")
    assert "before" not in found["images"][0]
    assert found["images"][0]["lesion_area"] is None
    heads, rows = share_table(told)
    assert heads == ["image", "on the image, after"]
    assert [row[0] for row in rows] == ["lesion 0.png", "lesion 1.png"]


def test_the_table_has_a_mean_of_the_known_ones() -> None:
    told = story(3)
    told.subjects[1] = subject(1, mask=False)  # type: ignore[index]
    heads, rows = share_table(told)
    assert heads[3:] == ["lesion area", "on the lesion, before", "on the lesion, after"]
    assert rows[1][3:] == ["–", "–", "–"]
    assert rows[-1][:4] == ["mean", "", "", "25.0 %"]


def test_gates_that_are_not_there_are_not_drawn(tmp_path: Path) -> None:
    looks = [made(0, channels=False)]
    told = Story([subject(0)], Question("q"), Told("bands only", looks))
    assert len(write_pictures(told, tmp_path)) == 4
    assert numbers(told)["images"][0]["after"]["gains"]["0.up"]["input"] is None


def test_tiles_have_panels_of_their_own(tmp_path: Path) -> None:
    cut = Story([subject(0)], Question("q"), Told("tiles", [made(0, grid=ImageGrid(2, 2, 1, 2))]))
    write_pictures(cut, tmp_path / "cut")
    whole = Story([subject(0)], Question("q"), Told("tiles", [made(0)]))
    write_pictures(whole, tmp_path / "whole")
    sizes = [Image.open(tmp_path / name / "gains.png").size[0] for name in ("cut", "whole")]
    assert sizes[0] > 1.3 * sizes[1]


def test_a_plain_model_has_no_picture_of_gains(tmp_path: Path) -> None:
    look = made(0)
    plain = Story([subject(0)], Question("q"), Told("plain", [Look(look.attention)]))
    assert next(file.name for file in write_pictures(plain, tmp_path)) == "attention.png"


def test_text_is_made_fit_to_print() -> None:
    assert printable("a\tb\x00\n\ufffdc") == "a b c"
    assert wrapped("word " * 100, 2.0, most=2)[-1].endswith("…")
    assert len(wrapped("word " * 100, 2.0, most=2)) == 2
