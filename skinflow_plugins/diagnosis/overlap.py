"""How far two texts agree in wording: ROUGE-L and BLEU, equal to the packages that define them, and fast.

ROUGE-L is the F1 of the package `rouge_score` 0.1.2 (`rougeL`, no stemmer; Lin, Text Summarization Branches
Out, 2004). BLEU is `sentence_bleu` of `sacrebleu` 2 with its defaults (13a tokens, up to 4-grams, exponential
smoothing, effective order; Papineni et al., ACL 2002), divided by 100. Both lie in [0, 1], and neither
understands anything.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

ORDERS = 4  # the longest n-gram of BLEU
REMEMBERED = 8192  # references

_WORD = re.compile(r"[a-z0-9]+")
_OTHER = "\0"  # in the place of a word that the reference does not have


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a reference, one character each, so that a common subsequence is one of texts."""

    letters: Mapping[str, str]
    text: str


@functools.lru_cache(maxsize=REMEMBERED)
def _words(reference: str) -> _Words:
    found = _WORD.findall(reference.lower())
    letters = _letters(found)
    return _Words(letters, "".join(map(letters.__getitem__, found)))


def _letters(words: Sequence[str]) -> dict[str, str]:
    """One character for each different word: from U+0001 on, without the surrogates."""
    return {word: chr(i if i < 0xD800 else i + 0x800) for i, word in enumerate(dict.fromkeys(words), start=1)}


def rouge_l(answer: str, reference: str) -> float:
    """The F1 of ROUGE-L: the longest common subsequence of words, over the lengths of both texts.

    A word is a run of a to z and digits after lower-casing; a text without one scores 0.
    """
    known = _words(reference)
    said = _WORD.findall(answer.lower())
    if not said or not known.text:
        return 0.0
    letters = known.letters
    common = LCSseq.similarity("".join([letters.get(word, _OTHER) for word in said]), known.text)
    precision, recall = common / len(said), common / len(known.text)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def has_words(text: str) -> bool:
    """Whether ROUGE-L sees anything in the text."""
    return _WORD.search(text.lower()) is not None


_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
# `[{-~[-` -&(-+:-@/]` of mteval: every one of these stands alone.
_SIGNS = {ord(sign): f" {sign} " for sign in '{|}~[\\]^_` !"#$%&()*+:;<=>?@/'}
_STOP_BEHIND = re.compile(r"([^0-9])([\.,])")
_STOP_BEFORE = re.compile(r"([\.,])([^0-9])")
_DASH = re.compile(r"([0-9])(-)")


def bleu_tokens(text: str) -> list[str]:
    """The tokens of sacrebleu's `13a`, which is that of mteval-v13a: case is kept, most signs stand alone."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        for entity, sign in _ENTITIES:
            text = text.replace(entity, sign)
    text = f" {text} ".translate(_SIGNS)
    if "." in text or "," in text:
        text = _STOP_BEFORE.sub(r" \1 \2", _STOP_BEHIND.sub(r"\1 \2 ", text))
    return (_DASH.sub(r"\1 \2 ", text) if "-" in text else text).split()


@dataclass(frozen=True, slots=True)
class _Grams:
    """The tokens of a reference as one character each, how often each n-gram stands there, and its length."""

    letters: Mapping[str, str]
    counts: Sequence[Mapping[str, int]]
    length: int


@functools.lru_cache(maxsize=REMEMBERED)
def _grams(reference: str) -> _Grams:
    tokens = bleu_tokens(reference)
    letters = _letters(tokens)
    text = "".join(map(letters.__getitem__, tokens))
    return _Grams(letters, [Counter(_of_order(text, n)) for n in range(1, ORDERS + 1)], len(tokens))


def _of_order(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def bleu(answer: str, reference: str) -> float:
    """BLEU of one sentence against one reference, in [0, 1]."""
    known = _grams(reference)
    tokens = bleu_tokens(answer)
    text = "".join([known.letters.get(token, _OTHER) for token in tokens])
    right, total = [0] * ORDERS, [max(len(tokens) - n, 0) for n in range(ORDERS)]
    for n, counts in enumerate(known.counts):
        found = Counter([gram for gram in _of_order(text, n + 1) if gram in counts])
        if not found:
            break  # no longer one can match
        right[n] = sum([min(count, counts[gram]) for gram, count in found.items()])
    if not right[0]:
        return 0.0
    logs, smoothing = 0.0, 1.0
    orders = [n for n in range(ORDERS) if total[n]]
    for n in orders:
        if right[n]:
            logs += math.log(right[n] / total[n])
        else:
            smoothing *= 2
            logs -= math.log(smoothing * total[n])
    short = math.exp(1 - known.length / len(tokens)) if len(tokens) < known.length else 1.0
    return min(short * math.exp(logs / len(orders)), 1.0)
