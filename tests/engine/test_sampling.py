"""From one checkpoint, transformers and vLLM sample from the same distribution under the same request.

Both sides are asked with swift's own settings. What once made their rewards differ has a test of its own:
without our cures, transformers leaves out all but fifty tokens, and vLLM lets suppressed ones in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_plugins.models import load

pytestmark = pytest.mark.vllm

REQUEST: dict[str, Any] = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0}
"""What swift's GRPO trainer asks for by default."""
CLOSE = 1e-4
FAR = 1e-2


@pytest.fixture
def by_transformers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """`by_transformers(engine, request, cured)`: the chance of every token, as swift would sample it."""
    from swift.infer_engine import RequestConfig, transformers_engine, utils

    from skinflow_plugins.bridge.rollouts.sampling import sample_as_asked

    def chances(engine: Any, request: Sequence[int], *, cured: bool = True) -> Tensor:
        monkeypatch.setattr(transformers_engine, "prepare_generation_config", utils.prepare_generation_config)
        if cured:
            sample_as_asked()
        model = load(engine.folder)
        swifts = object.__new__(transformers_engine.TransformersEngine)
        swifts.generation_config, swifts.processor = model.generation_config, engine.processor.tokenizer
        config = swifts._prepare_generation_config(RequestConfig(**REQUEST, repetition_penalty=1.0))
        config.output_scores = True
        with torch.no_grad():
            found = model.generate(**engine.inputs(request), generation_config=config)
        return found.scores[0][0].float().softmax(-1)

    return chances


@pytest.fixture
def by_vllm() -> Callable[..., Tensor]:
    """`by_vllm(engine, request)`: the same by vLLM, with swift's own sampling parameters."""
    from swift.infer_engine import RequestConfig
    from swift.infer_engine.vllm_engine import VllmEngine
    from transformers import GenerationConfig

    def chances(engine: Any, request: Sequence[int]) -> Tensor:
        swifts = object.__new__(VllmEngine)
        swifts.generation_config, swifts.version = GenerationConfig(), None
        asked = swifts._prepare_generation_config(RequestConfig(**REQUEST, repetition_penalty=1.0))
        sampling = {
            name: getattr(asked, name)
            for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
        }
        (answer,) = engine.generate([request], **sampling, logprobs=-1)
        (row,) = answer.outputs[0].logprobs
        found = torch.full((len(row),), torch.nan)
        for token, each in row.items():
            found[token] = each.logprob
        return found.exp()

    return chances


@pytest.fixture
def engine(engines: Callable[..., Any]) -> Any:
    """One that is told what a recipe tells its engine."""
    return engines("qwen2_5_vl", masked=True)


@pytest.mark.parametrize("request_", [[0], [1, 2]], ids=["one image", "two"])
def test_one_distribution(
    request_: list[int], engine: Any, by_transformers: Callable[..., Tensor], by_vllm: Callable[..., Tensor]
) -> None:
    ours, theirs = by_transformers(engine, request_), by_vllm(engine, request_)
    assert ours.shape == theirs.shape
    assert not theirs[engine.suppressed].any()
    assert torch.equal(ours > 0, theirs > 0)
    possible = ours > 0
    assert int(possible.sum()) > 60  # else fifty would be all
    assert float((ours[possible].log() - theirs[possible].log()).abs().max()) < CLOSE
    assert float((ours - theirs).abs().max()) < CLOSE


def test_without_the_cure_of_transformers_fifty_tokens_are_left(
    engine: Any, by_transformers: Callable[..., Tensor], by_vllm: Callable[..., Tensor]
) -> None:
    ours, theirs = by_transformers(engine, [0], cured=False), by_vllm(engine, [0])
    assert int((ours > 0).sum()) == 50
    assert int((theirs > 0).sum()) > 60
    assert float((ours - theirs).abs().sum()) > FAR


def test_without_the_logits_processor_of_vllm_others_come_in(
    engines: Callable[..., Any], by_transformers: Callable[..., Tensor], by_vllm: Callable[..., Tensor]
) -> None:
    """vLLM heeds no `suppress_tokens`."""
    without = engines("qwen2_5_vl", saved=True, router="block", frozen_bases=True)
    ours, theirs = by_transformers(without, [0]), by_vllm(without, [0])
    assert not ours[without.suppressed].any()
    assert float(theirs[without.suppressed].sum()) > FAR
    assert float((ours - theirs).abs().sum()) > FAR
    # And that is the whole difference.
    theirs[without.suppressed] = 0
    torch.testing.assert_close(theirs / theirs.sum(), ours, rtol=CLOSE, atol=CLOSE)
