"""Every canned answer to one sample."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.rewards.canned import added, caption, common, ranked
from skinflow_plugins.rewards.canned.answer import KINDS, Canned
from skinflow_plugins.rewards.canned.diagnoses import diagnoses

Target = Literal["caption", "ranked_list"]


def canned_answers(
    target: Target,
    sample: Mapping[str, Any],
    *,
    others: Sequence[Mapping[str, Any]] = (),
    taxonomy: Taxonomy | None = None,
    fields: Mapping[str, Sequence[str]] | None = None,
    list_length: int = 6,
    prompt: str = "",
    seed: int = 0,
    huge: bool = True,
    confidences: bool = False,
    descriptions: bool = False,
) -> list[Canned]:
    """Good, near-miss, bad, empty, gaming and malformed answers to one sample, in this order, names unique.

    `others` are further samples of the same data; frequencies and other samples' captions come from them.
    A caption needs `fields`, the caption schema; a ranked list has at most `list_length` items. `huge` adds
    the answers of 100,000 tokens, `confidences` lists with probabilities, and `descriptions`, for which
    `fields` and a caption are needed, lists after a description.

    The same arguments give the same answers. Raises `ValueError` naming a sample without the diagnosis or the
    caption that its answers are made from.
    """
    rng = random.Random(f"{seed}/{target}/{sample.get('id')}")
    apart = [each for each in others if each.get("id") != sample.get("id") or "id" not in sample]
    if target == "caption":
        if not fields:
            raise ValueError("canned captions need `fields`, the caption schema")
        made = caption.captions(sample, apart, fields, rng)
        found = [*caption.honest(made, rng), *caption.gaming(made)]
        right = write_caption(made.truth)
        part = next(iter(made.truth.values()))[0]
    else:
        if list_length < 1:
            raise ValueError(f"list_length must be at least 1, found {list_length}")
        names = diagnoses(sample, apart, taxonomy, list_length, rng)
        found = [*ranked.honest(names), *ranked.gaming(names)]
        if confidences:
            found += added.with_confidences(names)
        if descriptions:
            found += added.described(names, caption.captions(sample, apart, fields or {}, rng))
        right = part = names.truth
    found += [
        *common.empty(),
        *common.for_judges(prompt),
        *common.malformed(right, part, huge=huge),
    ]
    once: dict[tuple[str, str], Canned] = {}
    for each in found:
        # A schema of one value makes several of them the same; a constant answer stays, for its mean.
        once.setdefault((each.answer, each.name if each.constant else ""), each)
    return sorted(once.values(), key=lambda each: KINDS.index(each.kind))
