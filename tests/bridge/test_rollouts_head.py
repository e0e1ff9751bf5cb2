"""The trainer gives image placeholders no probability, and everything else what it had."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoTokenizer

from skinflow_plugins.bridge.rollouts.head import leave_out_placeholders
from skinflow_plugins.models import build_tiny, graft, load
from skinflow_plugins.models.placeholders import generation_config_of, never_sampled

PLACEHOLDERS = {"qwen2_5_vl": ("<|image_pad|>", "<|video_pad|>"), "llava": ("<image>",)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Any, Any]]:
    """`models(family, dynamic=False)`: a model and its tokenizer; the model is anybody's to change.

    Its generation config suppresses nothing yet, as that of a real base.
    """
    root = tmp_path_factory.mktemp("head")
    made: dict[tuple[str, bool], tuple[Any, Any]] = {}

    def get(name: str, dynamic: bool = False) -> tuple[Any, Any]:
        if (name, dynamic) not in made:
            folder = root / name
            if not folder.exists():
                build_tiny(name, folder, vocabulary=["What is shown?"], width=64, depth=2)
            if dynamic:
                graft(folder, root / f"{name}-graft")
                folder = root / f"{name}-graft"
            model = load(folder)
            model.generation_config.suppress_tokens = None
            made[name, dynamic] = model, AutoTokenizer.from_pretrained(folder)
        model, tokenizer = made[name, dynamic]
        return copy.deepcopy(model), tokenizer

    return get


CASES = [("qwen2_5_vl", False), ("qwen2_5_vl", True), ("llava", True)]
both = pytest.mark.parametrize(("family", "dynamic"), CASES)


def prompt(tokenizer: Any) -> Tensor:
    return tokenizer("What is shown?", return_tensors="pt").input_ids


def with_lora(model: Any) -> Any:
    """As swift does it; the adapters do something."""
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    return get_peft_model(model, config).eval()


def plain(model: Any) -> Any:
    return model


wrapped = pytest.mark.parametrize("wrap", [plain, with_lora], ids=["full", "lora"])


@both
@wrapped
def test_no_probability(
    family: str, dynamic: bool, wrap: Callable[[Any], Any], models: Callable[..., tuple[Any, Any]]
) -> None:
    model, tokenizer = models(family, dynamic)
    model = wrap(model)
    with torch.no_grad():
        before = model(input_ids=prompt(tokenizer)).logits
    ids = leave_out_placeholders(model, tokenizer)
    assert ids == tuple(sorted(tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS[family]))))
    with torch.no_grad():
        after = model(input_ids=prompt(tokenizer)).logits
    found = after.log_softmax(-1)
    assert found[..., ids].exp().sum() == 0
    assert torch.isfinite(found).all()
    entropy = -(found.exp() * found).sum(-1)
    assert torch.isfinite(entropy).all()
    # Among themselves the others stay as likely as they were.
    others = [token for token in range(before.shape[-1]) if token not in ids]
    assert torch.equal(after[..., others], before[..., others])
    torch.testing.assert_close(found[..., others], before[..., others].log_softmax(-1))
    assert torch.isclose(found[..., others].exp().sum(-1), torch.ones(())).all()


@both
def test_no_gradient_flows_to_them(
    family: str, dynamic: bool, models: Callable[..., tuple[Any, Any]]
) -> None:
    """And to everything else as much as from a softmax that never had them."""

    def gradients(hooked: bool) -> dict[str, Tensor]:
        model, tokenizer = models(family, dynamic)
        ids = prompt(tokenizer)
        never = never_sampled(tokenizer, model.config.model_type)
        if hooked:
            leave_out_placeholders(model, tokenizer)
        logits = model(input_ids=ids).logits
        if not hooked:
            mask = torch.zeros(logits.shape[-1]).index_fill_(0, torch.tensor(never), -torch.inf)
            logits = logits + mask
        found = logits.log_softmax(-1)
        loss = -found[:, :-1].gather(-1, ids[:, 1:, None]).mean()
        loss.backward()
        head = model.get_output_embeddings().weight
        assert hooked is False or not head.grad[list(never)].any()
        return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

    ours, expected = gradients(True), gradients(False)
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-7)


@both
@wrapped
def test_generate_suppresses_them(
    family: str, dynamic: bool, wrap: Callable[[Any], Any], models: Callable[..., tuple[Any, Any]]
) -> None:
    """Even where they are by far the most likely, and what was suppressed already with them."""
    model, tokenizer = models(family, dynamic)
    ids = list(never_sampled(tokenizer, model.config.model_type))
    head = torch.nn.Linear(
        model.get_output_embeddings().in_features, model.get_output_embeddings().out_features
    )
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.zero_()
        head.bias[ids] = 20
    model.set_output_embeddings(head)
    model = wrap(model)
    asked = {"input_ids": prompt(tokenizer), "max_new_tokens": 8, "do_sample": True, "min_new_tokens": 8}
    asked |= {"num_return_sequences": 4, "pad_token_id": tokenizer.pad_token_id}

    def answers() -> set[int]:
        torch.manual_seed(0)
        with torch.no_grad():
            return set(model.generate(**asked)[:, asked["input_ids"].shape[1] :].flatten().tolist())

    assert answers() <= set(ids)
    model.generation_config.suppress_tokens = [1]
    found = leave_out_placeholders(model, tokenizer)
    assert found == tuple(sorted({1, *ids}))
    assert model.generation_config.suppress_tokens == list(found)
    assert answers().isdisjoint(found)
    # By the hook and by `suppress_tokens`: whoever replaces the head keeps the second.
    head._forward_hooks.clear()
    assert answers().isdisjoint(found)


def test_any_number_of_times(models: Callable[..., tuple[Any, Any]]) -> None:
    model, tokenizer = models("qwen2_5_vl")
    first = leave_out_placeholders(model, tokenizer)
    hooks = dict(model.get_output_embeddings()._forward_hooks)
    assert len(hooks) == 1
    assert leave_out_placeholders(model, tokenizer) == first
    assert leave_out_placeholders(with_lora(model), tokenizer) == first
    assert dict(model.get_output_embeddings()._forward_hooks) == hooks
    assert model.generation_config.suppress_tokens == list(first)


def test_a_checkpoint_says_it_too(models: Callable[..., tuple[Any, Any]], tmp_path: Any) -> None:
    """vLLM's logits processor, and the next stage, read it there."""
    model, tokenizer = models("qwen2_5_vl")
    found = leave_out_placeholders(model, tokenizer)
    model.save_pretrained(tmp_path)
    assert generation_config_of(tmp_path).suppress_tokens == list(found)


def test_a_model_that_knows_no_images(models: Callable[..., tuple[Any, Any]]) -> None:
    """Nothing is hooked, and an empty list, which transformers' `generate` cannot take, is not written."""
    model, tokenizer = models("qwen2_5_vl")
    model.config.model_type = "other"
    assert leave_out_placeholders(model, tokenizer) == ()
    assert model.generation_config.suppress_tokens is None
    assert not model.get_output_embeddings()._forward_hooks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_16_bits(dtype: torch.dtype, models: Callable[..., tuple[Any, Any]]) -> None:
    model, tokenizer = models("qwen2_5_vl", True)
    model = model.to(dtype)
    ids = leave_out_placeholders(model, tokenizer)
    with torch.no_grad():
        found = model(input_ids=prompt(tokenizer)).logits.log_softmax(-1)
    assert found[..., ids].exp().sum() == 0
    assert torch.isfinite(found).all()
