"""An image as a part of a message: its pixels as a data URL, without what the camera wrote beside them."""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem

_SENT = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""What servers take; other formats are sent as PNG."""
_QUALITY = 95


def image_part(path: Path | str) -> dict[str, Any]:
    """The part of a message that shows the image of a file.

    Positions and names that a camera or a hospital wrote into the file (EXIF, XMP, comments) do not leave
    this machine: a file with such is written anew in memory, turned as it is shown, and all others are sent
    byte for byte. Raises `InputError` for a file that is missing or no image.
    """
    path = Path(path)
    try:
        state = path.stat()
        url = _data_url(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    return {"type": "image_url", "image_url": {"url": url}}


@functools.lru_cache(maxsize=64)
def _data_url(path: Path, modified: int, size: int) -> str:
    from PIL import Image, ImageOps, UnidentifiedImageError

    raw = path.read_bytes()
    try:
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            kind = image.format or ""
            told = {
                key
                for key in image.info
                if key in ("exif", "xmp", "comment", "photoshop", "XML:com.adobe.xmp")
            }
            told |= set(getattr(image, "text", {}))
            if kind not in _SENT or told or image.getexif() or getattr(image, "n_frames", 1) > 1:
                raw, kind = _anew(ImageOps.exif_transpose(image), kind)
    except UnidentifiedImageError as error:
        raise InputError(Problem("is no image that can be read", str(path))) from error
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputError(Problem(f"is a damaged image: {error}", str(path))) from error
    return f"data:{_SENT[kind]};base64,{base64.b64encode(raw).decode('ascii')}"


def _anew(image: Any, kind: str) -> tuple[bytes, str]:
    kind = "JPEG" if kind in ("JPEG", "MPO") else "PNG"
    profile = image.info.get("icc_profile")
    plain = (
        image
        if image.mode in ("RGB", "L", "RGBA")
        else image.convert("RGBA" if "transparency" in image.info else "RGB")
    )
    if kind == "JPEG" and plain.mode == "RGBA":
        plain = plain.convert("RGB")
    plain.info = {}
    out = io.BytesIO()
    options = {"quality": _QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    plain.save(out, kind, icc_profile=profile if plain.mode == image.mode else None, exif=b"", **options)
    return out.getvalue(), kind
