"""The reward `caption_fields`: how well the values that an answer names agree with the right ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.captions import read_caption, write_caption
from skinflow_plugins.diagnosis.metrics import compare_caption, reference_caption
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
    **sample: Any,
) -> Score:
    """Mean over the reference's fields of the F1 between the values named and the right values.

    `fields` is the caption schema and `weights` the weight of each field in the mean (1 where not given).
    Naming every value of a field does not pay: n values with one right give 2/(n+1). A value outside the
    schema counts as a wrong one; fields that the reference lacks do not count.

        caption_fields("colour: red", fields={"colour": ["red", "blue"]}, caption={"colour": ["red"]})  # 1.0
    """
    caption = read_caption(answer, fields)
    scores = compare_caption(caption, reference_caption(sample, fields))
    weight = _weights(scores, fields, weights)
    value = sum(weight[name] * score for name, score in scores.items()) / sum(weight.values())
    why = "; ".join(
        f"{name} {score:.2f}" + ("" if weight[name] == 1 else f" (weight {weight[name]:g})")
        for name, score in scores.items()
    )
    return Score(min(value, 1.0), caption.named, why)


def _weights(
    scored: Mapping[str, float], fields: Mapping[str, Sequence[str]], weights: Mapping[str, float] | None
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
