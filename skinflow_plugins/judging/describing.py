"""The question what an image shows, put to a vision-language model in the words of a caption schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.judging.describe_reply import describe_schema, read_described
from skinflow_plugins.judging.prompt import DESCRIBE, Prompt, load_prompt, walled
from skinflow_plugins.judging.question import Question

Described = dict[str, list[str]]


def describe_question(
    image: Path,
    fields: Mapping[str, Sequence[str]],
    prompt: Prompt | str | Path = "describe",
    *,
    diagnosis: str | None = None,
    insufficient: Sequence[Mapping[str, Sequence[str]]] = (),
) -> Question[Described]:
    """Asks for the values of the schema that the image shows; each reply is read as values by field.

    `fields` is the caption schema. `diagnosis`, where it is known, tells the model what to look for; values
    that name it are taken out of the schema that is offered (see `offered`), so that no reply can name it.
    `insufficient` are earlier captions of this image from which the diagnosis was not recovered: they ask for
    another one, and make the question a new one, which a cache of answers has not seen. `prompt` has the
    places {{fields}} and {{data}}. Raises `InputError` when the image cannot be read, when nothing of the
    schema is left, and for the prompt's mistakes.
    """
    from skinflow_plugins.judging.images import image_part

    if not isinstance(prompt, Prompt):
        prompt = load_prompt(prompt, DESCRIBE)
    schema = offered(fields, diagnosis)
    if not schema:
        message = "the caption schema has no field with values that do not name the diagnosis"
        raise InputError(Problem(message, hint="give it a field such as colour: [red, brown]"))
    earlier = [{field: list(values) for field, values in caption.items()} for caption in insufficient]
    data = walled({"diagnosis": diagnosis, "insufficient": earlier})
    system, user = prompt.filled({"fields": walled(schema), "data": data})
    user["content"] = [{"type": "text", "text": user["content"]}, image_part(image)]
    return Question(
        [system, user], describe_schema(schema), "described", partial(read_described, fields=schema)
    )


def offered(fields: Mapping[str, Sequence[str]], diagnosis: str | None) -> dict[str, list[str]]:
    """The schema without the values that name the diagnosis, and without fields that then have none.

    A value names it when the words of the diagnosis, folded as the matcher folds them, stand in it in a row.
    """
    words = fold(diagnosis or "").split()
    kept = {
        field: [v for v in dict.fromkeys(values) if not _within(words, fold(v).split())]
        for field, values in fields.items()
    }
    return {field: values for field, values in kept.items() if values}


def _within(words: Sequence[str], text: Sequence[str]) -> bool:
    n = len(words)
    return bool(n) and any(list(text[at : at + n]) == list(words) for at in range(len(text) - n + 1))
