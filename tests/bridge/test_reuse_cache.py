"""The pixel cache: keys of content, values that are nobody's to change, its limit, and its processors."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from skinflow_plugins.bridge.reuse import contents, loading
from skinflow_plugins.bridge.reuse.contents import NoContent, content, picture
from skinflow_plugins.bridge.reuse.pixel_cache import PixelCache
from skinflow_plugins.bridge.reuse.processors import keep_outputs, release
from skinflow_plugins.models.families import FAMILIES
from skinflow_plugins.models.tiny import build_tiny

MIB = 2**20
NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(NOISE)


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A fresh image processor of a tiny model of a family."""
    from transformers import AutoProcessor

    root = tmp_path_factory.mktemp("processors")

    def load(family: str) -> Any:
        if not (root / family).is_dir():
            build_tiny(family, root / family, vocabulary=["lesion"], width=32, depth=2)
        return AutoProcessor.from_pretrained(root / family).image_processor

    return load


# --- the cache --------------------------------------------------------------------------------------------


def test_a_value_is_computed_once_and_copied() -> None:
    cache = PixelCache(MIB)
    first = cache.get("key", lambda: torch.ones(3))
    first.zero_()  # the first one who asked owns it too
    second = cache.get("key", lambda: pytest.fail("computed again"))
    assert second.tolist() == [1, 1, 1]
    second.zero_()
    assert cache.get("key", lambda: pytest.fail("computed again")).tolist() == [1, 1, 1]
    assert (cache.hits, cache.misses, cache.bytes) == (2, 1, 12)


def test_the_limit_is_bytes_and_the_oldest_use_goes_first() -> None:
    cache = PixelCache(8 * 30)
    for key in "abc":
        cache.get(key, lambda: torch.zeros(10, dtype=torch.float64))
    cache.get("a", lambda: pytest.fail("a was dropped"))
    cache.get("d", lambda: torch.zeros(10, dtype=torch.float64))
    assert cache.bytes == 8 * 30
    cache.get("a", lambda: pytest.fail("a was used after b"))
    cache.get("b", lambda: torch.zeros(10, dtype=torch.float64))
    assert cache.misses == 5
    cache.get("large", lambda: torch.zeros(31, dtype=torch.float64))
    assert cache.bytes == 8 * 30  # not kept, and nothing dropped for it
    cache.clear()
    assert cache.bytes == 0


def test_an_error_is_not_kept() -> None:
    cache = PixelCache(MIB)
    with pytest.raises(OSError, match="truncated"):
        cache.get("key", lambda: (_ for _ in ()).throw(OSError("truncated")))
    assert cache.get("key", lambda: 7) == 7


def test_threads_that_want_the_same_wait_for_one() -> None:
    cache, started, go = PixelCache(MIB), threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        started.set()
        assert go.wait(10)
        return torch.ones(1)

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("k", make))) for _ in range(4)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert cache.get("other", lambda: 1) == 1  # nobody else waits
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    assert len(made) == 1
    assert len({each.data_ptr() for each in found}) == 4


def test_when_the_first_thread_fails_the_next_one_tries() -> None:
    cache, started, go = PixelCache(MIB), threading.Event(), threading.Event()

    def fail() -> Any:
        started.set()
        assert go.wait(10)
        raise OSError("gone")

    def first() -> None:
        with pytest.raises(OSError, match="gone"):
            cache.get("k", fail)

    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(10)
    threading.Timer(0.05, go.set).start()
    assert cache.get("k", lambda: 3) == 3
    thread.join(10)
    assert cache.misses == 2


# --- keys and copies --------------------------------------------------------------------------------------


def test_keys_tell_apart_what_python_holds_equal() -> None:
    assert len({content(value) for value in (1, 1.0, True, "1", [1], (1,), {"a": 1}, None)}) == 8
    assert content({"size": [1, 2]}) == content({"size": [1, 2]})
    assert content(Image.Resampling.BICUBIC) != content(Image.Resampling.NEAREST)
    assert content(Image.Resampling.BICUBIC) != content(int(Image.Resampling.BICUBIC))
    for value in (object(), len, {1}):
        with pytest.raises(NoContent):
            content(value)


def test_an_images_key_is_its_pixels(image: Image.Image) -> None:
    changed = image.copy()
    changed.putpixel((95, 63), (1, 2, 3))
    array = np.asarray(image)
    keys = [
        *(picture(each) for each in (image, changed, image.convert("L"), image.resize((64, 96)))),
        *(picture(each) for each in ([image], [[image]], [image, image], array)),
        *(picture(each) for each in (torch.tensor(array), torch.tensor(array).float())),
    ]
    assert len(set(keys)) == len(keys)
    assert picture(image.copy()) == picture(image)
    palette = image.quantize(4)
    other = palette.copy()
    other.putpalette([255 - value for value in palette.getpalette() or []])
    assert palette.tobytes() == other.tobytes()
    assert picture(palette) != picture(other)


@pytest.mark.parametrize("value", ["lesion.jpg", None, ["lesion.jpg"], 3])
def test_a_path_is_no_content(value: Any) -> None:
    with pytest.raises(NoContent):
        picture(value)


# --- image processors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_a_processor_gives_what_it_gave(processor: Any, image: Image.Image, family: str) -> None:
    plain, kept, cache = processor(family), processor(family), PixelCache(MIB)
    assert keep_outputs(kept, cache) == ""
    other = image.copy()
    other.putpixel((40, 30), (1, 2, 3))
    for shown, keywords in ((image, {}), (image, {"do_normalize": False}), (other, {})):
        wanted = content(plain(images=[shown], return_tensors="pt", **keywords))
        for _ in range(2):
            found = kept(images=[shown], return_tensors="pt", **keywords)
            assert content(found) == wanted
            found["pixel_values"].zero_()  # nobody's but ours
            found.pop("pixel_values")
    assert (cache.hits, cache.misses) == (3, 3)
    assert content(kept([image], return_tensors="pt")) == content(plain([image], return_tensors="pt"))
    kept.image_mean = [0.1, 0.2, 0.3]  # settings count as they are now
    plain.image_mean = [0.1, 0.2, 0.3]
    assert content(kept([image], return_tensors="pt")) == content(plain([image], return_tensors="pt"))


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_a_processor_is_saved_and_copied_as_it_is(processor: Any, tmp_path: Path, family: str) -> None:
    plain, kept = processor(family), processor(family)
    own = type(kept)
    assert keep_outputs(kept, PixelCache(MIB)) == ""
    assert type(kept) is not own
    plain.save_pretrained(tmp_path / "plain")
    kept.save_pretrained(tmp_path / "kept")
    files = {path.name: path.read_text() for path in (tmp_path / "plain").iterdir()}
    assert files
    assert files == {path.name: path.read_text() for path in (tmp_path / "kept").iterdir()}
    for twin in (copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert type(twin) is own
        assert twin.to_dict() == plain.to_dict()
    assert keep_outputs(kept, PixelCache(MIB)) == ""  # again, with another cache
    release(kept)
    assert type(kept) is own
    release(kept)


def test_a_processor_that_draws_is_refused(processor: Any, image: Image.Image) -> None:
    class Draws(type(processor("llava"))):  # type: ignore[misc]
        def __call__(self, images: Any, **keywords: Any) -> Any:
            random.random()
            return super().__call__(images, **keywords)

    class Counts(type(processor("llava"))):  # type: ignore[misc]
        calls = 0

        def __call__(self, images: Any, **keywords: Any) -> Any:
            Counts.calls += 1
            found = super().__call__(images, **keywords)
            found["pixel_values"] += Counts.calls
            return found

    class Breaks(type(processor("llava"))):  # type: ignore[misc]
        def __call__(self, images: Any, **keywords: Any) -> Any:
            raise RuntimeError("needs a text")

    reasons = {Draws: "draws random numbers", Counts: "gives something else", Breaks: "needs a text"}
    state = random.getstate()
    for kind, reason in reasons.items():
        made = kind()
        assert reason in keep_outputs(made, PixelCache(MIB))
        assert type(made) is kind
    assert random.getstate() == state
    strange = processor("llava")
    strange.helper = object()
    assert "cannot be compared" in keep_outputs(strange, PixelCache(MIB))


# --- loading ----------------------------------------------------------------------------------------------


@pytest.fixture
def cache(swift: None) -> Iterator[PixelCache]:
    import qwen_vl_utils  # noqa: F401  a Qwen model brings it

    made = PixelCache(64 * MIB)
    loading.use(made)
    yield made
    loading.use(None)


def jpeg(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)
    return path


def encoded(path: Path, **keywords: Any) -> tuple[bytes, tuple[int, int]]:
    """What swift's template for Qwen makes of a file."""
    import qwen_vl_utils
    from swift.template import base

    image = base.rescale_image(base.load_image(str(path)), keywords.pop("max_pixels", None))
    found = qwen_vl_utils.fetch_image({"image": image, **keywords})
    return found.tobytes(), found.size


def test_a_file_is_decoded_once(cache: PixelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import JpegImagePlugin

    path = jpeg(tmp_path / "a.jpg", 1)
    decoded: list[int] = []
    load = JpegImagePlugin.JpegImageFile.load

    def counted(self: Any) -> Any:
        decoded.append(1)
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", counted)
    loading.use(None)
    wanted = encoded(path)
    decoded.clear()
    loading.use(cache)
    assert encoded(path) == wanted
    first = len(decoded)
    assert first > 0
    assert encoded(path) == encoded(path) == wanted
    assert len(decoded) == first
    assert (cache.hits, cache.misses) == (2, 1)


def test_a_changed_file_gives_new_pixels(cache: PixelCache, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", 1)
    before = encoded(path)
    jpeg(path, 2)
    after = encoded(path)
    assert after != before
    loading.use(None)
    assert encoded(path) == after


def test_what_was_asked_counts(cache: PixelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_vl_utils import vision_process

    path = jpeg(tmp_path / "a.jpg", 1)
    ways: list[dict[str, Any]] = [{}, {"max_pixels": 6000}, {"resized_height": 56, "resized_width": 84}]
    found = [encoded(path, **each) for each in ways]
    assert len(set(found)) == 3
    monkeypatch.setattr(vision_process, "IMAGE_MAX_TOKEN_NUM", 12)
    assert encoded(path) not in found
    monkeypatch.undo()
    loading.use(None)
    assert [encoded(path, **each) for each in ways] == found


def test_only_an_image_that_nobody_decoded_goes_by_its_file(cache: PixelCache, tmp_path: Path) -> None:
    from swift.template import base

    path = jpeg(tmp_path / "a.jpg", 1)
    opened = base.load_image(str(path))
    assert picture(opened)[0] == "file"  # type: ignore[index]
    drafted = base.load_image(str(path))
    drafted.draft("RGB", (80, 60))
    assert picture(drafted) != picture(opened)
    changed = base.load_image(str(path))
    changed.putpixel((0, 0), (1, 2, 3))
    assert picture(changed)[0] == "pixels"  # type: ignore[index]
    png = tmp_path / "a.png"
    Image.fromarray(NOISE).convert("RGBA").save(png)
    assert picture(base.load_image(str(png)))[0] == "pixels"  # type: ignore[index]  # swift made it RGB
    assert not hasattr(Image.open(path), contents.MARK)


def test_a_broken_file_is_as_ever(cache: PixelCache, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", 1)
    path.write_bytes(path.read_bytes()[:500])
    for _ in range(2):
        with pytest.raises(OSError, match="Truncated"):
            encoded(path)
    (tmp_path / "b.jpg").write_text("no image")
    with pytest.raises(UnidentifiedImageError):
        encoded(tmp_path / "b.jpg")
    with pytest.raises(FileNotFoundError):
        encoded(tmp_path / "c.jpg")
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "JPEG")
    from swift.template import base

    assert picture(base.load_image(buffer.getvalue())) == picture(base.load_image(buffer.getvalue()))


def test_without_a_trainer_nothing_is_kept(cache: PixelCache, tmp_path: Path) -> None:
    from swift.template import base

    gone = PixelCache(MIB)
    loading.use(gone)
    path = jpeg(tmp_path / "a.jpg", 1)
    encoded(path)
    assert gone.misses == 1
    del gone
    assert not hasattr(base.load_image(str(path)), contents.MARK)
    assert json.dumps(encoded(path)[1]) == json.dumps(encoded(path)[1])
