"""transformers samples from everything that swift asks for, through swift's own generation config.

tests/engine/test_sampling.py compares the outcome with vLLM's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from skinflow_plugins.bridge.rollouts.sampling import sample_as_asked
from skinflow_plugins.models import build_tiny, load

SAMPLED = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
"""What swift's GRPO trainer asks for by default."""


@pytest.fixture
def prepare(swift: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`prepare(model's config, cured, **request)`: the generation config of swift's transformers engine."""
    from swift.infer_engine import RequestConfig, transformers_engine, utils

    class Tokenizer:
        eos_token_id, pad_token_id = 2, 0

    def get(config: Any, cured: bool, **request: Any) -> Any:
        monkeypatch.setattr(transformers_engine, "prepare_generation_config", utils.prepare_generation_config)
        if cured:
            sample_as_asked()
        engine = object.__new__(transformers_engine.TransformersEngine)
        engine.generation_config, engine.processor = config, Tokenizer()
        return engine._prepare_generation_config(RequestConfig(**{**SAMPLED, **request}))

    return get


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A tiny model with far more than fifty tokens, and a prompt."""
    folder = tmp_path_factory.mktemp("sampling") / "base"
    words = [f"word{number}" for number in range(150)]
    build_tiny("qwen2_5_vl", folder, vocabulary=words, width=64, depth=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return load(folder), tokenizer("word1 word2", return_tensors="pt").input_ids


def chances(model: tuple[Any, Any], config: Any) -> Any:
    """Of every token, to be the next one that `generate` samples."""
    network, prompt = model
    with torch.no_grad():
        found = network.generate(
            prompt, generation_config=config, output_scores=True, return_dict_in_generate=True
        )
    return found.scores[0][0].float().softmax(-1)


def test_without_the_cure_fifty_tokens_have_a_chance(
    model: tuple[Any, Any], prepare: Callable[..., Any]
) -> None:
    """If this fails, transformers no longer reads None as 50, and the cure can go."""
    config = prepare(model[0].generation_config, cured=False)
    assert config.do_sample is True
    assert config.top_k is None
    assert int((chances(model, config) > 0).sum()) == 50


def test_with_it_every_token_has_its_own(model: tuple[Any, Any], prepare: Callable[..., Any]) -> None:
    network, prompt = model
    suppressed = network.generation_config.suppress_tokens
    found = chances(model, prepare(network.generation_config, cured=True))
    assert int((found > 0).sum()) == len(found) - len(suppressed)
    with torch.no_grad():
        logits = network(input_ids=prompt).logits[0, -1]
    logits[suppressed] = -torch.inf
    torch.testing.assert_close(found, logits.softmax(-1))


def test_any_number_of_times(prepare: Callable[..., Any]) -> None:
    from swift.infer_engine import transformers_engine as engine

    prepare(GenerationConfig(), cured=True)
    first = engine.prepare_generation_config
    sample_as_asked()
    assert engine.prepare_generation_config is first
    assert first.__wrapped__ is not first
    assert not hasattr(first.__wrapped__, "skinflow")


@pytest.mark.parametrize("request_", [{"temperature": 0.0}, {"temperature": 0}], ids=str)
def test_greedy_is_untouched(request_: dict[str, Any], prepare: Callable[..., Any]) -> None:
    found = [prepare(GenerationConfig(), cured, **request_).to_dict() for cured in (False, True)]
    assert found[0] == found[1]
    assert found[0]["do_sample"] is False


@pytest.mark.parametrize("top_k", [1, 50, 10_000])
def test_an_explicit_number_is_kept(top_k: int, model: tuple[Any, Any], prepare: Callable[..., Any]) -> None:
    config = prepare(model[0].generation_config, cured=True, top_k=top_k)
    assert config.top_k == top_k
    everything = int((chances(model, prepare(model[0].generation_config, cured=True)) > 0).sum())
    assert int((chances(model, config) > 0).sum()) == min(top_k, everything)


@pytest.mark.parametrize("off", [-1, 0, None])
def test_every_way_to_say_no(off: int | None, prepare: Callable[..., Any]) -> None:
    config = prepare(GenerationConfig(), cured=True, top_k=off)
    assert config.top_k == 0
    assert config.do_sample is True
    rest = prepare(GenerationConfig(), cured=False, top_k=off).to_dict()
    assert {**config.to_dict(), "top_k": None} == rest


def test_a_checkpoint_of_its_own_mind_is_heeded_where_nothing_is_asked(prepare: Callable[..., Any]) -> None:
    """`swift infer` without options samples as the model's makers meant it."""
    assert prepare(GenerationConfig(top_k=20), cured=True, top_k=None).top_k == 20


def test_a_checkpoint_of_its_own_mind_does_not_win(prepare: Callable[..., Any]) -> None:
    """Qwen3-VL comes with top_k 20; vLLM, asked for -1, samples from all."""
    assert prepare(GenerationConfig(top_k=20), cured=True, top_k=-1).top_k == 0


def test_without_a_config_there_is_nothing_to_do(prepare: Callable[..., Any]) -> None:
    """A model without `generate`, such as a reward model."""
    from swift.infer_engine import RequestConfig, transformers_engine

    prepare(GenerationConfig(), cured=True)
    assert transformers_engine.prepare_generation_config(None, RequestConfig(), None) is None


def test_it_is_part_of_the_registration(prepare: Callable[..., Any]) -> None:
    from swift.infer_engine import transformers_engine as engine

    from skinflow_plugins.bridge.register import register

    prepare(GenerationConfig(), cured=False)
    assert not hasattr(engine.prepare_generation_config, "skinflow")
    register()
    assert hasattr(engine.prepare_generation_config, "skinflow")
