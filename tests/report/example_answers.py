"""Answers for the gallery with images, and strings that must do no harm on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

HOSTILE = (
    "<script>alert('x')</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(2)>',
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnisrever\u202c and \x00\x1b[31mcontrol\x07",
    "lone \ud800 surrogate",
    "$\\frac{1}{2}$ & &lt;b&gt; ]]> -->",
)


def examples(folder: Path) -> list[dict[str, Any]]:
    cases = [
        (
            "correct",
            "psoriasis",
            ["psoriasis", "pityriasis rubra pilaris", "", "eczema"],
            "the first diagnosis is the label",
        ),
        ("correct", "vitiligo", ["vitiligo", "tuberous sclerosis"], "the first diagnosis is the label"),
        (
            "subtype",
            "melanoma",
            ["superficial spreading melanoma ssm", "nevocytic nevus"],
            "a valid subtype of melanoma",
        ),
        (
            "critical",
            "melanoma",
            ["seborrheic keratosis", "nevocytic nevus", "dermatofibroma"],
            "a malignant lesion was called benign",
        ),
        (
            "critical",
            "stevens johnson syndrome",
            ["drug eruption", "urticaria", ""],
            "an emergency was not recognised",
        ),
        (
            "wrong",
            "sarcoidosis",
            ["granuloma annulare", "lupus erythematosus", ""],
            "another disease of the same group",
        ),
        ("not read", "scabies", [], "no diagnosis was read in the answer"),
        (
            "wrong",
            "acquired autoimmune bullous diseaseherpes gestationis",
            ["", "urticaria"],
            "no reading matched",
        ),
    ]
    found = []
    for number, (verdict, truth, read, why) in enumerate(cases):
        image = None if number == 5 else str(folder / f"lesion-{number}.jpg")
        if image and number != 6:
            _draw(Path(image), number)
        names = [
            f"{rank}. {name or HOSTILE[number % len(HOSTILE)]}" for rank, name in enumerate(read, start=1)
        ]
        thinking = "<think>The plaque is well demarcated with silvery scale on the elbow. " * (
            4 if number % 2 else 1
        )
        answer = (
            f"{thinking}</think>\n<answer>\n"
            + "\n".join(names)
            + f"\n</answer> {HOSTILE[number % len(HOSTILE)]}"
        )
        if number == 7:
            answer += " word" * 40_000
        found.append(
            {
                "id": f"f17k-{3 * number:05d}",
                "image": image,
                "answer": answer,
                "truth": truth,
                "read": read,
                "how": [
                    ("exact", "alias", "unknown", "folded")[rank % 4] if name else "unknown"
                    for rank, name in enumerate(read)
                ],
                "verdict": verdict,
                "why": why,
                "rewards": {}
                if number == 1
                else {"ranked_diagnosis": 1.0 if verdict == "correct" else 0.12, "format": 1.0},
                "skin_tone": None if number == 2 else str(1 + number % 6),
            }
        )
    return found


def _draw(path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    skin = tuple(int(c) for c in np.array([236, 200, 178]) - 20 * (number % 5))
    image = Image.new("RGB", (640, 420 if number % 2 else 640), skin)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, r = rng.integers(190, 400), rng.integers(120, 300), rng.integers(20, 70)
        tone = tuple(
            int(c)
            for c in np.clip(np.array([150, 60 + 10 * (number % 4), 60]) + rng.integers(-20, 20, 3), 0, 255)
        )
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tone)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)
