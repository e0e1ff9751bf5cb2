"""The reward `caption_recovers_diagnosis`: whether a judge can name the diagnosis from the caption alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.caption_leak import leak_in
from skinflow_plugins.diagnosis.caption_text import caption_text
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.judging.asking import ask
from skinflow_plugins.judging.recovering import recover_question
from skinflow_plugins.rewards.acceptance import accepts
from skinflow_plugins.rewards.decay import Decay, credit_by_rank


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    given = sample["caption"]
    if isinstance(given, str):
        return given
    return write_caption({name: [v] if isinstance(v, str) else list(v) for name, v in given.items()})


@reward("caption_recovers_diagnosis", needs=("diagnosis",), reference=_reference)
async def caption_recovers_diagnosis(
    answer: str,
    *,
    taxonomy: str,
    judge: Mapping[str, Any],
    list_length: int = 3,
    decay: Decay = "reciprocal",
    rate: float | None = None,
    by_rank: Sequence[float] | None = None,
    subtypes: bool = False,
    fields: Mapping[str, Sequence[str]] | None = None,
    vocabulary: str = "dermatology",
    prompt: str = "recover",
    **sample: Any,
) -> Score:
    """Credit by the rank at which a judge, shown the caption and no image, names the diagnosis; 0 to 1.

    The judge names up to `list_length` diagnoses by the prompt file `prompt`; they are matched by the
    taxonomy, and with `subtypes` a form of the disease that is no label counts as well. The credit of a rank
    is that of `ranked_diagnosis` (`decay`, `rate`, `by_rank`); the value is its mean over the judge's
    readable runs. `NoVerdict` when there is none: the row has then failed, and is not 0.

    A caption that names a diagnosis, a general word such as "dermatitis" included, leaks: it earns 0 and is
    not shown to the judge (see `leak_in`). Words of morphology, those of the `vocabulary` and the values of
    the caption schema `fields`, are no leak. What is no caption (see `caption_text`) earns 0 unasked, too.

    After the data gate of SkinFlow (arXiv 2601.09136): a caption is good when the diagnosis can be recovered
    from it alone. As a reward it is ours.
    """
    credit = credit_by_rank(list_length, decay, rate, by_rank)
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    text, why_none = caption_text(answer)
    if why_none:
        return Score(0.0, None, why_none, {"leaks": 0.0})
    leak = leak_in(text, tree, fields=fields, vocabulary=vocabulary)
    if leak is not None:
        why = f"the caption names a diagnosis and does not describe it: {leak.written[:40]!r}"
        return Score(0.0, None, why, {"leaks": 1.0})
    runs = await ask(judge, recover_question(text, list_length, prompt))
    ranks = [_rank(named, truth, tree, subtypes) for named in runs]
    value = sum(credit[rank - 1] if rank else 0.0 for rank in ranks) / len(ranks)
    return Score(value, runs, _why(runs, ranks, truth.name), {"leaks": 0.0})


def _rank(named: Sequence[str], truth: Concept, tree: Taxonomy, subtypes: bool) -> int | None:
    """The rank, from 1, of the first accepted name."""
    for rank, name in enumerate(named, 1):
        concept = tree.resolve(name)
        if concept is not None and accepts(concept, truth, tree, subtypes=subtypes):
            return rank
    return None


def _why(runs: Sequence[Sequence[str]], ranks: Sequence[int | None], truth: str) -> str:
    found = [f"{truth} at rank {rank}" if rank else f"not {truth}" for rank in ranks]
    said = " / ".join(", ".join(named) or "no diagnosis" for named in runs)
    return f"from the caption alone the judge named {'; '.join(found)} ({said[:120]})"
