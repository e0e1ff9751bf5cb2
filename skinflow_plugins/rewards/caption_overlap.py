"""The reward `caption_overlap`: how far a caption agrees with the reference in wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.caption_marking import (
    Reference,
    marked,
    reference_of_fields,
    reference_of_text,
    without_names,
)
from skinflow_plugins.diagnosis.caption_text import caption_text
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.overlap import bleu, has_words, rouge_l
from skinflow_plugins.errors import nearest

MEASURES = {"rouge_l": ("ROUGE-L", rouge_l), "bleu": ("BLEU", bleu)}


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    given = sample[options.get("column", "caption")]
    if isinstance(given, str):
        return given
    return write_caption({str(name): _listed(values) for name, values in given.items()})


@reward("caption_overlap", needs=("caption",), reference=_reference)
def caption_overlap(
    answer: str,
    *,
    measure: Literal["rouge_l", "bleu"] = "rouge_l",
    column: str = "caption",
    **sample: Any,
) -> Score:
    """ROUGE-L F1 or BLEU between the caption and a reference text; 0 to 1.

    The reference is the sample's `column`: a text, or a caption of fields, which is compared without the
    names of its fields, so that those copied from a prompt earn nothing. The same holds for a text of the
    form `field: value; field: value`. `measure` is `rouge_l`, equal to `rouge_score`'s rougeL, or `bleu`,
    equal to sacrebleu's sentence_bleu / 100; see `overlap`. Raises `ValueError` naming the sample whose
    reference is missing or has no words.

    Both compare wording alone, so a word that the caption negates and the reference says, or the other way
    round, counts as another word (see `caption_marking`), and so does a value in the wrong field; whatever
    has none of these is compared to the letter. Said twice still earns 2/3: give this a small weight, or
    gate it by `caption_fields`. 0 for what is no caption at all (see `caption_text`).

        caption_overlap("a red plaque", caption="a red, scaly plaque")  # 6/7
    """
    if measure not in MEASURES:
        raise ValueError(f"option measure is {measure!r}; {nearest(str(measure), MEASURES)}")
    reference = _reference_of(sample, column)
    title, overlap = MEASURES[measure]
    if not (has_words if measure == "rouge_l" else str.strip)(reference.text):
        seen = "a letter from a to z or a digit" if measure == "rouge_l" else "a word"
        who = f"sample {sample.get('id', '?')}"
        raise ValueError(f"{who}: expected {seen} in {column!r}, found {sample[column]!r}")
    text, why_none = caption_text(answer)
    if why_none:
        return Score(0.0, None, why_none)
    said = without_names(marked(text, reference), reference.names)
    value = overlap(said, reference.text)
    without = " without the names of its fields" if reference.names else ""
    return Score(value, said, f"{title} {value:.2f} with the reference{without}: {_short(reference.text)}")


def _reference_of(sample: Mapping[str, Any], column: str) -> Reference:
    given = sample.get(column)
    if isinstance(given, Mapping) and given:
        return reference_of_fields({str(name): _listed(values) for name, values in given.items()})
    if isinstance(given, str) and given.strip():
        return reference_of_text(given)
    who = f"sample {sample.get('id', '?')}"
    if given is None:
        texts = [name for name, value in sample.items() if isinstance(value, (str, Mapping))]
        raise ValueError(f"{who} has no column {column!r} to compare with; {nearest(column, texts)}")
    raise ValueError(f"{who}: expected a text or a caption of fields in {column!r}, found {given!r}")


def _listed(values: str | Sequence[str] | None) -> list[str]:
    return [values] if isinstance(values, str) else list(values or ())


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
