"""Images that are read, decoded and resized once: swift does it again for every completion and encoding.

swift and qwen-vl-utils do this in functions, which are wrapped once for the whole process. They do as ever
while no trainer's cache is at work.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import ImageFile

from skinflow_plugins.bridge.reuse.contents import MARK, NoContent, content, digest, picture
from skinflow_plugins.bridge.reuse.pixel_cache import PixelCache

_at_work: weakref.ref[PixelCache] | None = None
"""The cache of the trainer of this process; it is gone with the trainer."""


def use(cache: PixelCache | None) -> None:
    """Let loaded images be kept in a cache from now on, or in none."""
    global _at_work
    _at_work = None if cache is None else weakref.ref(cache)
    if cache is not None:
        _wrap()


def _cache() -> PixelCache | None:
    return _at_work() if _at_work is not None else None


def _wrap() -> None:
    from swift.template import base

    _replace(base, "load_image", _marking)
    _replace(base, "rescale_image", _rescaling)
    if (utils := sys.modules.get("qwen_vl_utils")) is not None:  # imported with every Qwen-VL model
        _replace(utils, "fetch_image", functools.partial(_fetching, utils.vision_process))


def _replace(module: Any, name: str, wrapped: Callable[[Any], Any]) -> None:
    original = getattr(module, name)
    if not hasattr(original, "skinflow"):
        function: Any = functools.wraps(original)(wrapped(original))
        function.skinflow = True
        setattr(module, name, function)


def _marking(original: Any) -> Any:
    """Opening a file: the image is told which bytes it will be decoded from."""
    from swift.template.vision_utils import load_file

    def load_image(image: Any) -> Any:
        if _cache() is None:
            return original(image)
        file = load_file(image)
        opened = original(file)
        if isinstance(file, BytesIO) and isinstance(opened, ImageFile.ImageFile):
            setattr(opened, MARK, digest(file.getbuffer()))
        return opened

    return load_image


def _rescaling(original: Any) -> Any:
    """swift's `max_pixels`, which most images are below."""

    def rescale_image(img: Any, max_pixels: Any) -> Any:
        cache = _cache()
        if cache is None or not max_pixels or img.width * img.height <= max_pixels:
            return original(img, max_pixels)
        return cache.get(("rescale", picture(img), max_pixels), lambda: original(img, max_pixels))

    return rescale_image


def _fetching(constants: Any, original: Any) -> Any:
    """Qwen's resizing to whole patches, which goes by constants of its module too."""

    def fetch_image(ele: Any, *arguments: Any, **keywords: Any) -> Any:
        if (cache := _cache()) is None:
            return original(ele, *arguments, **keywords)
        numbers = {n: v for n, v in vars(constants).items() if n.isupper() and isinstance(v, (int, float))}
        others = {name: value for name, value in ele.items() if name != "image"}
        try:
            key = "fetch", picture(ele.get("image")), content([others, arguments, keywords, numbers])
        except NoContent:
            return original(ele, *arguments, **keywords)
        return cache.get(key, lambda: original(ele, *arguments, **keywords))

    return fetch_image
