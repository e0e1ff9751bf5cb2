"""Keys that are equal only where everything that they stand for is, byte by byte; and copies of values.

A key is never made of a path or of an object's identity: a file may change, and so may an object.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature

MARK = "skinflow_file"
"""What an image that was opened and not decoded yet carries: the digest of its file."""


class NoContent(Exception):
    """There is no telling what a value holds, or how to copy it."""


def content(value: Any) -> Hashable:
    """A key for settings and arguments; `NoContent` for what is no plain value, mapping, list or array."""
    kind = type(value).__name__
    if isinstance(value, enum.Enum):
        return kind, value.name
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return kind, value  # the kind, because 1 == 1.0 == True
    if isinstance(value, Mapping):
        return kind, tuple((content(name), content(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(content, value))
    if isinstance(value, (torch.dtype, torch.device)):
        return kind, str(value)
    if isinstance(value, (np.ndarray, Tensor)):
        return picture(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
        return kind, tuple((name, content(item)) for name, item in named)
    raise NoContent(kind)


def picture(value: Any) -> Hashable:
    """A key for an image, or for images in lists; `NoContent` for a path, which says nothing of the file."""
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(picture, value))
    if isinstance(value, Image.Image):
        return _image(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return kind, value.dtype.str, value.shape, digest(np.ascontiguousarray(value))
    if isinstance(value, Tensor) and value.device.type == "cpu" and value.layout == torch.strided:
        data = value.detach().contiguous().view(torch.uint8) if value.ndim else value.detach()[None]
        return kind, str(value.dtype), tuple(value.shape), digest(data.numpy())
    raise NoContent(kind)


def _image(image: Image.Image) -> Hashable:
    if (tiles := getattr(image, "tile", None)) and hasattr(image, MARK):
        # Not decoded yet, so that nobody can have changed its pixels; `draft` would change size and tiles.
        return "file", getattr(image, MARK), image.mode, image.size, repr(tiles), image.tell()
    pixels = digest(image.tobytes())  # decodes
    palette = image.palette.tobytes() if image.palette is not None else b""
    transparent = repr(image.info.get("transparency"))
    return "pixels", image.mode, image.size, pixels, palette, transparent


def digest(data: Any) -> bytes:
    """The SHA-256 of bytes."""
    return hashlib.sha256(data).digest()


def copied(value: Any) -> Any:
    """A copy that shares nothing with the value which could be changed."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (np.ndarray, Image.Image)):
        return value.copy()
    if isinstance(value, BatchFeature):
        twin = BatchFeature.__new__(type(value))
        vars(twin).update({name: copied(item) for name, item in vars(value).items()})
        return twin
    if type(value) is dict:
        return {name: copied(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    raise NoContent(type(value).__name__)


def bytes_of(value: Any) -> int:
    """The memory that a copy takes, without the few bytes around it."""
    if isinstance(value, (Tensor, np.ndarray)):
        return int(value.nbytes)
    if isinstance(value, Image.Image):
        return value.width * value.height * (1 if len(value.getbands()) == 1 else 4)
    if isinstance(value, Mapping):
        return sum(map(bytes_of, value.values()))
    return sum(map(bytes_of, value)) if isinstance(value, (list, tuple)) else 0
