"""`skinflow show dve CHECKPOINT [IMAGES]`: pictures of what a dynamic vision encoder does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.errors import InputError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from skinflow_plugins.bridge.checkpoint_source import Source
    from skinflow_plugins.models.looking import Question
    from skinflow_plugins.report.story import Subject, Told

PROMPT = "What is the diagnosis?"
DRAWN, DRAWN_SEED, DRAWN_SIZE = 4, 2601, 448
MASK_NAMES = ("{stem}_mask.png", "{stem}_segmentation.png")
MOST_PIXELS = 1_003_520
"""1,280 tokens of Qwen2.5-VL: attention is computed in full here, so a photograph is made smaller first."""
OUTPUT = Path("dve")
FLAGS = ("before", "masks", "prompt", "answer", "output")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The arguments behind `skinflow show dve`."""
    group = parser.add_argument_group("pictures: `skinflow show dve CHECKPOINT [IMAGE ...]`")
    group.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        help="a checkpoint's folder, an adapter's, or a run's (then its last finished stage)",
    )
    group.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help=f"pictures to look at; by default {DRAWN} drawn lesions, whose masks are known. The mask of "
        "x.jpg is x_mask.png or x_segmentation.png beside it",
    )
    group.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder for the files (default: dve)")
    group.add_argument(
        "--before",
        metavar="CHECKPOINT",
        help="the model to compare with (default: the base of the graft or of the run)",
    )
    group.add_argument("--masks", metavar="MASK", nargs="+", help="one mask for each image, in their order")
    group.add_argument("--prompt", metavar="TEXT", help=f"the question (default: the run's, else {PROMPT!r})")
    group.add_argument(
        "--answer", metavar="TEXT", help="look from the end of this answer instead of the end of the question"
    )


def given(arguments: argparse.Namespace) -> list[str]:
    """Which of these arguments a command line has, as the user wrote them."""
    flags = [f"--{name}" for name in FLAGS if getattr(arguments, name) is not None]
    return [*_positional(arguments), *flags]


def do(arguments: argparse.Namespace) -> int:
    """Look at the images with one model or two; write pictures and numbers, print the shares of attention."""
    from skinflow_plugins.bridge import checkpoint_source
    from skinflow_plugins.cli import table
    from skinflow_plugins.cli.quiet import hush
    from skinflow_plugins.models.looking import Question
    from skinflow_plugins.report.dve_pictures import write_pictures
    from skinflow_plugins.report.story import Story, share_table

    paths = _positional(arguments)
    if not paths:
        needs = ", ".join(given(arguments))
        raise InputError(
            Problem(f"{needs}: there is no checkpoint", hint="`skinflow show dve CHECKPOINT ...`")
        )
    output: Path = arguments.output or OUTPUT
    if output.exists() and not output.is_dir():
        raise InputError(Problem("is a file, not a folder", where=str(output), hint="choose another with -o"))
    hush(output)
    after = checkpoint_source.find_dynamic(paths[0])
    before, note = checkpoint_source.before(after)
    if arguments.before is not None:
        before, note = checkpoint_source.find(arguments.before), ""
    images, masks = paths[1:], arguments.masks
    subjects = read_subjects(images, masks) if images else drawn(masks, drawn_size(after))
    question = Question(
        arguments.prompt or after.prompt() or PROMPT,
        answer=arguments.answer or "",
        system=str(after.arguments.get("system") or ""),
    )
    if note:
        print(f"note: only the model itself is shown: {note}")
    earlier = told(before, subjects, question) if before else None
    story = Story(subjects, question, told(after, subjects, question), earlier, note)
    files = write_pictures(story, output)
    heads, rows = share_table(story)
    print(f"attention of the last token, mean over heads and layers; question: {question.prompt}")
    for when, model in story.models().items():
        print(f"{when}: {model.label}")
    print()
    print(table.columns([heads, *rows]))
    print("\n" + "\n".join(map(str, files)))
    return 0


def _positional(arguments: argparse.Namespace) -> list[str]:
    # Behind an option argparse leaves positional arguments over: `show dve -o DIR CHECKPOINT`.
    first = [arguments.checkpoint] if arguments.checkpoint is not None else []
    return [*first, *arguments.images, *arguments.rest]


def told(source: Source, subjects: Sequence[Subject], question: Question) -> Told:
    """What the model of a checkpoint does with the images; the model is gone from memory afterwards."""
    import torch
    from transformers.utils import logging

    from skinflow_plugins.bridge.checkpoint_source import open_source
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.models.looking import ATTENTION, look
    from skinflow_plugins.report.story import Told

    logging.disable_progress_bar()
    model, processor = open_source(source, catalogue(), attn_implementation=ATTENTION, dtype="auto")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    return Told(source.label(), [look(model, processor, subject.image, question) for subject in subjects])


def drawn_size(source: Source) -> int:
    """The side of the drawings in pixels: that of a run on drawings, because its model knows no other."""
    data = source.recipe.get("data", {})
    trained = data.get("size", 56) if data.get("source") == "synthetic" else DRAWN_SIZE
    return int(trained)


def drawn(masks: Sequence[str] | None, size: int) -> list[Subject]:
    """A few synthetic lesions with their masks, always the same; `InputError` when masks were given."""
    import numpy as np
    from PIL import Image

    from skinflow_plugins.data.lesion_drawing import draw_lesion
    from skinflow_plugins.data.synthetic import lesions
    from skinflow_plugins.report.story import Subject

    if masks:
        hint = "drawn lesions have masks of their own; name the images"
        raise InputError(Problem(f"--masks names {len(masks)} masks for 0 images", hint=hint))
    found = []
    for lesion in lesions("test", DRAWN, DRAWN_SEED, 0.0):
        patient, picture = (np.random.default_rng([DRAWN_SEED, kind, lesion.number]) for kind in (0, 1))
        pixels, mask = draw_lesion(lesion.values, lesion.skin_tone, size, patient, picture)
        found.append(Subject(f"drawn {lesion.number + 1}: {lesion.diagnosis}", Image.fromarray(pixels), mask))
    return found


def read_subjects(images: Sequence[str], masks: Sequence[str] | None) -> list[Subject]:
    """The images with the masks that are named, or stand beside them; `InputError` with all that is wrong."""
    from skinflow_plugins.report.story import Subject

    if masks and len(masks) != len(images):
        message = f"--masks names {len(masks)} masks for {len(images)} images"
        raise InputError(Problem(message, hint="give one for each image, in their order"))
    found: list[Subject] = []
    problems: list[Problem] = []
    for position, name in enumerate(images):
        path = Path(name)
        try:
            image = _opened(path).convert("RGB")
            beside = Path(masks[position]) if masks else _beside(path)
            mask = _mask(beside, image.size) if beside else None
        except InputError as error:
            problems += error.problems
            continue
        # The mask keeps its size: shares are of areas, whatever the pixels.
        found.append(Subject(path.name, *_smaller(image, mask)))
    if problems:
        raise InputError(problems)
    return found


def _opened(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path)
        image.load()
    except UnidentifiedImageError as error:
        raise InputError(Problem("is no picture that Pillow can read", where=str(path))) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(Problem(f"cannot be read as a picture: {what}", where=str(path))) from error
    return image


def _beside(image: Path) -> Path | None:
    names = (image.with_name(name.format(stem=image.stem)) for name in MASK_NAMES)
    return next((path for path in names if path.is_file()), None)


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whatever is brighter than half of the brightest, so that 0 and 1 will do as well as 0 and 255."""
    import numpy as np

    image = _opened(path)
    if image.size != size:
        found, expected = (f"{width} x {height}" for width, height in (image.size, size))
        message = f"the mask is {found} pixels and its image {expected}"
        raise InputError(Problem(message, where=str(path), hint="give a mask of the image's own size"))
    plain = image if image.mode in ("1", "I", "I;16", "F") else image.convert("L")
    values = np.asarray(plain, dtype=np.float64)
    return np.asarray(values > values.max() / 2)


def _smaller(image: Image, mask: NDArray[np.bool_] | None) -> tuple[Image, NDArray[np.bool_] | None]:
    import numpy as np
    from PIL import Image as images

    width, height = image.size
    if width * height <= MOST_PIXELS:
        return image, mask
    scale = (MOST_PIXELS / (width * height)) ** 0.5
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if mask is not None:
        mask = np.asarray(images.fromarray(mask).resize(size, images.Resampling.NEAREST))
    return image.resize(size, images.Resampling.LANCZOS), mask
