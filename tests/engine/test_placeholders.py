"""An engine never answers with an image token, and says so in its log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from skinflow_plugins.models import load

pytestmark = pytest.mark.vllm


def sampled(engine: Any) -> set[int]:
    """Ids among 1,536 tokens, at the highest temperature that vLLM takes."""
    answers = engine.generate([[0], [1]], temperature=2.0, n=8, max_tokens=96, ignore_eos=True)
    return {token for answer in answers for output in answer.outputs for token in output.token_ids}


def test_no_placeholder_is_sampled(engines: Callable[..., Any]) -> None:
    with_it = engines("qwen2_5_vl", masked=True)
    without = engines("qwen2_5_vl", saved=True, router="block", frozen_bases=True)
    vocabulary = with_it.processor.tokenizer.get_vocab()
    placeholders = {vocabulary["<|image_pad|>"], vocabulary["<|video_pad|>"]}
    never = set(with_it.suppressed)
    assert placeholders <= never
    assert never.isdisjoint(sampled(with_it))
    assert placeholders & sampled(without)


def test_log_probabilities_are_those_of_the_rest(engines: Callable[..., Any]) -> None:
    """Their sum is one without the suppressed tokens, token for token as the trainer masks its own logits."""
    engine = engines("qwen2_5_vl", masked=True)
    model, never = load(engine.folder), engine.suppressed
    answers = engine.first_answers
    assert engine.difference(model, answers) < 1e-4
    for answer in answers:
        for row in answer.outputs[0].logprobs:
            assert all(row[token].logprob == -torch.inf for token in never)
            rest = torch.tensor([each.logprob for token, each in row.items() if token not in never])
            assert abs(float(rest.logsumexp(0))) < 1e-5


def test_ids_are_those_of_the_checkpoint(engines: Callable[..., Any]) -> None:
    from skinflow_plugins.engine.placeholders import NoPlaceholders

    engine = engines("qwen2_5_vl", masked=True)
    made = NoPlaceholders(engine.llm.llm_engine.vllm_config, torch.device("cpu"), False)
    assert made.ids.tolist() == sorted(engine.suppressed)
    assert not made.is_argmax_invariant()
    logits = torch.zeros(3, len(engine.processor.tokenizer))
    assert made.apply(logits) is logits
    assert (logits == -torch.inf).sum(-1).tolist() == [len(engine.suppressed)] * 3
    assert torch.isinf(logits[:, engine.suppressed]).all()


@pytest.mark.parametrize("greedy", [True, False])
def test_greedy_and_sampled(greedy: bool, engines: Callable[..., Any]) -> None:
    """The most likely token of an untrained model may be one of them."""
    engine = engines("qwen2_5_vl", masked=True)
    head = load(engine.folder)
    never = engine.suppressed
    with torch.no_grad():  # make them by far the most likely
        head.lm_head.weight[never] *= 30
    engine.reload(head.state_dict())
    answers = engine.generate(temperature=0.0 if greedy else 1.0, max_tokens=16, ignore_eos=True)
    engine.reload(load(engine.folder).state_dict())
    assert set(never).isdisjoint(token for each in answers for token in each.outputs[0].token_ids)
