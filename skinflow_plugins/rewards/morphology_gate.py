"""The reward `morphology_gate`: a diagnosis and its morphology, each counted only with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.caption_claims import read_claims
from skinflow_plugins.diagnosis.caption_lexicon import lexicon
from skinflow_plugins.diagnosis.caption_scoring import compare
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.described import read_described
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import reference_caption, true_concept
from skinflow_plugins.rewards.acceptance import first_accepted
from skinflow_plugins.rewards.decay import Decay, credit_by_rank


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    right = {name: [v] if isinstance(v, str) else list(v) for name, v in sample["caption"].items()}
    return (
        f"<think>{write_caption(right)}</think>\n<answer>{write_ranked_list([sample['diagnosis']])}</answer>"
    )


@reward("morphology_gate", needs=("diagnosis", "caption"), reference=_reference)
def morphology_gate(
    answer: str,
    *,
    taxonomy: str,
    fields: Mapping[str, Sequence[str]],
    vocabulary: str = "dermatology",
    list_length: int = 6,
    decay: Decay = "reciprocal",
    rate: float | None = None,
    by_rank: Sequence[float] | None = None,
    subtypes: bool = False,
    agreement: float = 0.5,
    within: int = 1,
    share: float = 0.5,
    **sample: Any,
) -> Score:
    """Credit for a diagnosis whose described morphology is right, and for a description whose diagnosis is.

    The answer describes first and diagnoses then:

        <think>colour: red; border: sharp</think><answer>psoriasis; eczema</answer>

    or the description stands before `<answer>` without tags, or both are fields of one JSON object (see
    `read_described`). The description is read as `caption_fields` reads a caption, in fields or in sentences,
    by the schema `fields` and the `vocabulary`; its agreement is the mean over the fields of the sample's
    `caption`, so naming every value does not agree, and a negated value is not claimed.

    The value is (1 - share) x diagnosis + share x morphology. The diagnosis is the credit of the first
    accepted rank (`decay`, `rate`, `by_rank` and `subtypes` as in `ranked_diagnosis`), and counts only when
    the agreement is at least `agreement`. The morphology is the agreement, and counts only when the right
    diagnosis stands within the first `within` ranks. So a right guess without looking earns nothing, and so
    does a description of what every lesion has. After DermoGPT (arXiv 2601.01868), which gates one way.
    """
    credit = credit_by_rank(list_length, decay, rate, by_rank)
    if not 1 <= within <= list_length:
        raise ValueError(f"option within must lie between 1 and list_length ({list_length}), found {within}")
    for name, value in (("agreement", agreement), ("share", share)):
        if not 0 <= value <= 1:
            raise ValueError(f"option {name} must lie in [0, 1], found {value}")
    if agreement == 0:
        raise ValueError("option agreement is 0, which closes no gate; give a number above 0")
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    right = reference_caption(sample, fields)
    described = read_described(answer)
    listed = read_listed(described.answer, list_length, tree)
    words = lexicon(fields, vocabulary)
    claims = read_claims(described.description, words)
    scores = compare(claims, right, words)
    agreed = min(sum(score.value for score in scores.values()) / len(scores), 1.0)
    rank = first_accepted(listed, truth, tree, subtypes=subtypes)
    diagnosis = credit[rank - 1] if rank and agreed >= agreement else 0.0
    morphology = agreed if rank and rank <= within else 0.0
    value = (1 - share) * diagnosis + share * morphology
    read = {"caption": claims.named, "diagnoses": listed.names}
    marks = {"agreement": agreed, "described": float(bool(described.description))}
    return Score(
        value, read, _why(truth.name, rank, within, agreed, agreement, bool(described.description)), marks
    )


def _why(truth: str, rank: int | None, within: int, agreed: float, needed: float, told: bool) -> str:
    """Which of the two gates are open, in words."""
    found = f"{truth} at rank {rank}" if rank else f"{truth} is not listed"
    if not told:
        return f"{found}; nothing is described, so no diagnosis counts"
    seen = f"the morphology agrees by {agreed:.2f}"
    if agreed < needed:
        seen += f", below {needed:g}, so no diagnosis counts"
    if rank is None or rank > within:
        seen += f"; it does not count without the right diagnosis within rank {within}"
    return f"{found}; {seen}"
