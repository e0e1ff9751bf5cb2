"""An image processor that keeps what it computed.

Its class is exchanged for a subclass of the same name, on the instance alone: what is saved, and what is read
off its class, stays as it was, and copies of it, in this process or another, are of its own class again.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch
from PIL import Image

from skinflow_plugins.bridge.reuse.contents import NoContent, content, picture
from skinflow_plugins.bridge.reuse.pixel_cache import PixelCache


def keep_outputs(processor: Any, cache: PixelCache) -> str:
    """Make an image processor ask the cache first; gives "" when it does, or else why it does not."""
    own = type(processor)
    if hasattr(own, "skinflow_own"):
        release(processor)
        own = type(processor)
    try:
        content(vars(processor))
    except NoContent as error:
        return f"{own.__name__} has a setting of a kind that cannot be compared: {error}"
    if why := _differs(processor):
        return f"{own.__name__} {why}"
    processor.__class__ = _asking(own, cache)
    return ""


def release(processor: Any) -> None:
    """Make it compute everything again; the cache is forgotten with its class."""
    if (own := getattr(type(processor), "skinflow_own", None)) is not None:
        processor.__class__ = own


def _asking(own: Any, cache: PixelCache) -> type:
    @functools.wraps(own.__call__)
    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        named = {f"argument {place}": each for place, each in enumerate(arguments)} | keywords
        images = named.pop("images" if "images" in keywords else "argument 0", None)
        try:
            key = own, picture(images), content(named), content(vars(self))
        except NoContent:
            return own.__call__(self, *arguments, **keywords)
        return cache.get(key, lambda: own.__call__(self, *arguments, **keywords))

    def reduce(self: Any, protocol: Any) -> Any:
        return _own_again, (own, dict(vars(self)))

    body = {"__call__": call, "__reduce_ex__": reduce, "skinflow_own": own}
    kept = {name: getattr(own, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(own.__name__, (own,), body | kept)


def _own_again(own: Any, settings: dict[str, Any]) -> Any:
    twin = own.__new__(own)
    vars(twin).update(settings)
    return twin


def _differs(processor: Any) -> str:
    """Why the output for one image need not be the output for it the next time; "" when it is.

    It is asked twice, and must draw no random number; the generators of the process are put back.
    """
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    before = _generators()
    try:
        first, second = (processor(images=[image], return_tensors="pt") for _ in range(2))
        if content(_generators()) != content(before):
            return "draws random numbers"
        return "" if content(first) == content(second) else "gives something else each time"
    except Exception as error:  # whatever a stranger's processor raises
        return f"could not be tried: {type(error).__name__}: {error}"
    finally:
        torch.set_rng_state(before["torch"])
        np.random.set_state(before["numpy"])
        random.setstate(before["python"])
        if before["cuda"]:
            torch.cuda.set_rng_state_all(before["cuda"])


def _generators() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }
