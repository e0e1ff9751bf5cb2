"""The reward `caption_fields`: how well the values that an answer claims agree with the right ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.caption_claims import read_claims
from skinflow_plugins.diagnosis.caption_lexicon import lexicon
from skinflow_plugins.diagnosis.caption_scoring import FieldScore, compare
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.metrics import reference_caption
from skinflow_plugins.errors import nearest


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_caption(
        {name: [v] if isinstance(v, str) else list(v) for name, v in sample["caption"].items()}
    )


@reward("caption_fields", needs=("caption",), reference=_reference)
def caption_fields(
    answer: str,
    *,
    fields: Mapping[str, Sequence[str]],
    weights: Mapping[str, float] | None = None,
    vocabulary: str = "dermatology",
    measure: Literal["f1", "jaccard"] = "f1",
    **sample: Any,
) -> Score:
    """Mean over the reference's fields of the F1 between the values claimed and the right values; 0 to 1.

    `fields` is the caption schema: only its values count. `vocabulary`, a built-in name or the path of a YAML
    file (see `load_vocabulary`), has other words for them, their opposites, and narrower words. `weights` are
    the weights of the fields in the mean (1 where not given).

    With `measure: jaccard` each field counts by the Jaccard index F1 / (2 - F1). Whoever does not know which
    of n values is right then earns 1/n in the mean, however many are named; by F1 naming all but one earns
    2 (n - 1) / n^2, more than one honest guess. The metric `caption_field_f1` goes by F1 in any case.

    Read are `field: value, value; field: value`, one field a line, JSON, and sentences, in which words of
    the vocabulary count and nothing else. Every claim counts: n values with one right give 2/(n+1), and all
    values of a field give 0. A value outside the schema behind a field's name is a wrong one; so is a right
    value that is negated ("no scale"), listed twice, or contradicted (red and not red, sharp and blurred).
    A negated wrong value is no claim. Fields that the reference lacks do not count. No caption at all, and 0,
    is an answer of more than 10,000 characters or with null bytes or image tokens (see `caption_text`).

        caption_fields("colour: red", fields={"colour": ["red", "blue"]}, caption={"colour": ["red"]})  # 1.0
        caption_fields("An erythematous plaque.", fields={"colour": ["red", "blue"]},
                       caption={"colour": ["red"]})  # 1.0

    After Stage I of SkinFlow (arXiv 2601.09136), whose own scorer is not published.
    """
    words = lexicon(fields, vocabulary)
    right = reference_caption(sample, fields)
    claims = read_claims(answer, words)
    scores = compare(claims, right, words)
    weight = _weights(scores, fields, weights)
    if measure not in ("f1", "jaccard"):
        raise ValueError(f"option measure must be 'f1' or 'jaccard', found {measure!r}")
    values = {name: _measured(score.value, measure) for name, score in scores.items()}
    value = sum(weight[name] * value for name, value in values.items()) / sum(weight.values())
    marks = {
        "claimed": sum(map(len, claims.named.values())) / len(words.fields),
        "contradicted": float(any(score.contradicted for score in scores.values())),
    }
    return Score(min(value, 1.0), claims.named, claims.why_none or _why(scores, values, weight), marks)


def _measured(f1: float, measure: str) -> float:
    return f1 / (2 - f1) if measure == "jaccard" else f1


def _why(scores: Mapping[str, FieldScore], values: Mapping[str, float], weight: Mapping[str, float]) -> str:
    parts = []
    for name, score in scores.items():
        heavy = "" if weight[name] == 1 else f" (weight {weight[name]:g})"
        parts.append(f"{name} {values[name]:.2f}{heavy}: {score.words()}")
    return "; ".join(parts)


def _weights(
    scored: Mapping[str, Any], fields: Mapping[str, Sequence[str]], weights: Mapping[str, float] | None
) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(scored, 1.0)
    for name, weight in weights.items():
        if name not in fields:
            raise ValueError(f"option weights has the unknown field {name!r}; {nearest(name, fields)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"option weights: {name!r} must be finite and not negative, found {weight}")
    found = {name: float(weights.get(name, 1.0)) for name in scored}
    if not sum(found.values()) > 0:
        raise ValueError("option weights: every field of this reference has weight 0")
    return found
