import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging import image_part


def sent(path: Path) -> tuple[str, bytes]:
    part = image_part(path)
    assert part["type"] == "image_url"
    head, _, data = part["image_url"]["url"].partition(";base64,")
    return head, base64.b64decode(data)


def opened(raw: bytes) -> Any:
    return Image.open(io.BytesIO(raw))


@pytest.mark.parametrize(("suffix", "kind"), [("png", "png"), ("jpg", "jpeg"), ("webp", "webp")])
def test_a_plain_image_is_sent_byte_for_byte(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 6), (200, 30, 40)).save(path)
    assert sent(path) == (f"data:image/{kind}", path.read_bytes())


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "gif"])
def test_other_formats_are_sent_as_png(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 6), (200, 30, 40)).save(path)
    head, raw = sent(path)
    assert head == "data:image/png"
    assert opened(raw).convert("RGB").getpixel((3, 3)) == (200, 30, 40)


def test_what_a_camera_wrote_stays_here_and_the_image_is_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x010E] = "Mrs Somebody, born 1950"
    exif[0x0112] = 6  # to be turned to the right
    image.save(path, exif=exif, quality=95)
    assert b"Somebody" in path.read_bytes()
    head, raw = sent(path)
    assert head == "data:image/jpeg"
    assert b"Somebody" not in raw
    assert b"Exif" not in raw
    shown = opened(raw)
    assert shown.size == (20, 40)
    assert max(shown.getpixel((10, 5))) < 30
    assert min(shown.getpixel((10, 35))) > 225


def test_texts_within_a_png_stay_here(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "Mrs Somebody")
    Image.new("RGBA", (8, 6), (1, 2, 3, 128)).save(path, pnginfo=notes)
    assert b"Somebody" in path.read_bytes()
    _, raw = sent(path)
    assert b"Somebody" not in raw
    assert opened(raw).getpixel((1, 1)) == (1, 2, 3, 128)


def test_an_image_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(path)
    first = image_part(path)
    assert image_part(str(path)) == first
    Image.new("RGB", (9, 6), "red").save(path)
    assert image_part(path) != first


@pytest.mark.parametrize("what", ["missing", "text", "cut", "folder"])
def test_no_image(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.png"
    if what == "text":
        path.write_text("no image")
    elif what == "folder":
        path.mkdir()
    elif what == "cut":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError) as caught:
        image_part(path)
    assert str(path) in str(caught.value)
