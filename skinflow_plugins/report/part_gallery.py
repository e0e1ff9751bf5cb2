"""Successes and failures one can look at: image, answer, what was read, and how it was judged."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Example, Gallery, Heading, Says, Section
from skinflow_plugins.report.part_answers import HOWS

TITLE = "Gallery"
SIDE = 256
MOST_BYTES = 4_000_000
"""Of all images together, as they stand in the page."""
SHORT, LONG = 220, 4_000
MOST_PIXELS = 100_000_000
_GROUPS = (
    ("Successes", ("correct", "subtype")),
    ("Safety-critical mistakes", ("critical",)),
    ("Other failures", ()),
)
_KINDS = {"correct": "correct", "subtype": "subtype", "critical": "critical"}
_WORDS = {"critical": "safety-critical", "subtype": "valid subtype"}


def gallery(document: Mapping[str, Any], folder: Path) -> Section:
    """The examples of the report; relative image paths are looked up in `folder`."""
    found = document.get("examples") or []
    if not found:
        return Section("gallery", TITLE, "", [Says("The report holds no examples.", "why")])
    pictures = _Pictures(folder)
    blocks: list[Block] = []
    rest = list(found)
    for title, verdicts in _GROUPS:
        part = [each for each in rest if not verdicts or each.get("verdict") in verdicts]
        rest = [each for each in rest if each not in part]
        if part:
            blocks.append(Heading(title))
            blocks.append(Gallery([_example(each, pictures) for each in part]))
    if pictures.left_out:
        text = f"{pictures.left_out} images were left out to keep the page below its size limit."
        blocks.append(Says(text, "why"))
    lead = "Chosen to show each kind, so their shares here say nothing of how frequent they are."
    return Section("gallery", TITLE, lead, blocks)


def _example(given: Mapping[str, Any], pictures: _Pictures) -> Example:
    answer = str(given.get("answer") or "")
    verdict = str(given.get("verdict") or "not judged")
    hows = [str(how) for how in given.get("how") or []]
    read = []
    items = [str(item or "") for item in given.get("items") or []]
    for rank, name in enumerate(given.get("read") or []):
        how = hows[rank] if rank < len(hows) else ""
        item = wording.shortened(items[rank], 60) if rank < len(items) else ""
        said = f"“{item}”, {HOWS.get(how, how)}" if item and item != name else HOWS.get(how, how)
        read.append((wording.shortened(str(name or "")), said))
    picture, placeholder = pictures.of(given.get("image"))
    rewards = given.get("rewards") or {}
    short = _short(answer)
    whole = wording.visible(answer[:LONG])
    return Example(
        wording.shortened(str(given.get("id", "?")), 60),
        picture,
        placeholder,
        str(given.get("truth") or "not known"),
        _WORDS.get(verdict, verdict),
        _KINDS.get(verdict, "wrong"),
        str(given.get("why") or ""),
        read,
        short or "(an empty answer)",
        whole if whole != short else "",
        max(0, len(answer) - LONG),
        [(str(name), wording.plain(value)) for name, value in rewards.items()],
        str(given.get("skin_tone") or ""),
    )


def _short(answer: str) -> str:
    """The beginning of an answer in one line, without the thinking before it."""
    thought = answer.rfind("</think>") + len("</think>")
    if thought < len("</think>"):
        return wording.shortened(answer, SHORT)
    rest = wording.shortened(answer[thought:].lstrip(), SHORT)
    return f"… {rest}" if rest else wording.shortened(answer, SHORT)


class _Pictures:
    """Small copies of images as data URIs, until they are too many bytes together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bytes, self.left_out = folder, 0, 0

    def of(self, image: object) -> tuple[str, str]:
        """The data URI of an image, or an empty one and why there is none."""
        if not image:
            return "", "no image given"
        path = self.folder / str(image)
        try:
            if not path.is_file():
                return "", "image not found"
            made = _jpeg(path)
        except (OSError, SyntaxError, ValueError):
            return "", "image cannot be read"
        if self.bytes + len(made) > MOST_BYTES:
            self.left_out += 1
            return "", "image left out: the page is large enough"
        self.bytes += len(made)
        return made, ""


def _jpeg(path: Path) -> str:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError("too many pixels")
        opened.draft("RGB", (2 * SIDE, 2 * SIDE))
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
