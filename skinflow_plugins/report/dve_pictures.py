"""All pictures and numbers of a story about a dynamic vision encoder, as files in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.report.story import numbers

if TYPE_CHECKING:
    from skinflow_plugins.report.story import Story

GAINS, ATTENTION, LAST_LAYER, NUMBERS = "gains.png", "attention.png", "attention_last_layer.png", "dve.json"


def write_pictures(story: Story, folder: Path) -> list[Path]:
    """The files written into `folder`, which is made: gains, attention (mean and last layer), numbers."""
    from skinflow_plugins.report.attention_picture import draw_attention
    from skinflow_plugins.report.gain_picture import draw_gains

    folder.mkdir(parents=True, exist_ok=True)
    files = [draw_gains(story, folder / GAINS)] if story.after.looks[0].gains else []
    files.append(draw_attention(story, folder / ATTENTION))
    files.append(draw_attention(story, folder / LAST_LAYER, layer=-1))
    text = json.dumps(numbers(story), indent=1, ensure_ascii=False) + "\n"
    (folder / NUMBERS).write_text(text, encoding="utf-8")
    return [*files, folder / NUMBERS]
