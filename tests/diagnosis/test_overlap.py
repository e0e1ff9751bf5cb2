import random

import pytest
import sacrebleu
from hypothesis import example, given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from skinflow_plugins.diagnosis.overlap import bleu, bleu_tokens, has_words, rouge_l

ROUGE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
BLEU = sacrebleu.metrics.bleu.BLEU(effective_order=True)

ANY = st.text(max_size=80)
SIGNS = st.text(alphabet="ab 1.,-&;<>\n{|}~'\"(é\u2028\u0085İß%$", max_size=60)
WORDS = st.lists(
    st.sampled_from(
        ["red", "scaly", "plaque", "well-defined", "2.5", "1,000", "on", "the", "Elbow", ",", "."]
    ),
    max_size=30,
).map(" ".join)
TEXTS = ANY | SIGNS | WORDS


def theirs_rouge(answer: str, reference: str) -> float:
    return ROUGE.score(reference, answer)["rougeL"].fmeasure


def theirs_bleu(answer: str, reference: str) -> float:
    return sacrebleu.sentence_bleu(answer, [reference]).score / 100


@given(TEXTS, TEXTS)
@example("", "")
@example("a", "a")
@example("&quot;a&amp;b&lt;", "<skipped>a-\nb")
def test_rouge_l_and_bleu_are_those_of_the_packages(answer: str, reference: str) -> None:
    assert rouge_l(answer, reference) == pytest.approx(theirs_rouge(answer, reference), abs=1e-9)
    assert bleu(answer, reference) == pytest.approx(theirs_bleu(answer, reference), abs=1e-9)


@given(TEXTS)
def test_a_text_agrees_with_itself(text: str) -> None:
    assert rouge_l(text, text) == (1 if has_words(text) else 0)
    assert bleu(text, text) == pytest.approx(1 if bleu_tokens(text) else 0)


@given(TEXTS)
def test_tokens_are_those_of_13a(text: str) -> None:
    assert bleu_tokens(text) == BLEU.tokenizer(text.rstrip()).split()


@given(TEXTS, TEXTS)
def test_both_lie_between_0_and_1_and_rouge_is_symmetric(a: str, b: str) -> None:
    assert 0 <= bleu(a, b) <= 1
    assert 0 <= rouge_l(a, b) <= 1
    assert rouge_l(a, b) == pytest.approx(rouge_l(b, a))


def test_captions_of_120_words() -> None:
    rng = random.Random(0)
    words = [f"word{i}" for i in range(150)]
    for _ in range(50):
        a, b = (" ".join(rng.choices(words, k=120)) for _ in range(2))
        assert abs(rouge_l(a, b) - theirs_rouge(a, b)) < 1e-9
        assert abs(bleu(a, b) - theirs_bleu(a, b)) < 1e-9


def test_many_different_words() -> None:
    text = " ".join(f"w{i}" for i in range(70_000))  # past the plane of two-byte characters
    assert rouge_l(text, text) == 1
