"""Which tokens no answer may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from skinflow_plugins.models import FAMILIES, family_named
from skinflow_plugins.models.placeholders import NO_LOGIT, generation_config_of, never_sampled


class Tokenizer:
    """As much of one as is looked at; ids that no family has anywhere."""

    def __init__(self, *tokens: str) -> None:
        self.vocabulary = {token: 1000 + 7 * place for place, token in enumerate(tokens)}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary


@pytest.mark.parametrize("prefix", ["", "skinflow_"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_ids_come_from_the_tokenizer(family: Any, prefix: str) -> None:
    """Of a base family and of its dynamic one alike, and ascending."""
    tokenizer = Tokenizer("the", *reversed(family.image_placeholders), "end")
    expected = [1007 + 7 * place for place in range(len(family.image_placeholders))]
    assert never_sampled(tokenizer, prefix + family.hf_model_type) == tuple(expected)


@pytest.mark.parametrize("model_type", ["bert", "", "qwen2_5_vl_text", "skinflow_bert", "skinflow_"])
def test_an_unknown_type_has_none(model_type: str) -> None:
    tokenizer = Tokenizer(*(token for family in FAMILIES for token in family.image_placeholders))
    assert never_sampled(tokenizer, model_type) == ()
    assert never_sampled(tokenizer, model_type, SimpleNamespace(suppress_tokens=[5, 3])) == (3, 5)


def test_a_token_that_the_tokenizer_lacks_is_left_out() -> None:
    assert never_sampled(Tokenizer("<|image_pad|>"), "qwen2_5_vl") == (1000,)
    assert never_sampled(Tokenizer("the"), "qwen2_5_vl") == ()


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (None, []),
        (SimpleNamespace(), []),
        (SimpleNamespace(suppress_tokens=None), []),
        (SimpleNamespace(suppress_tokens=[]), []),
        (SimpleNamespace(suppress_tokens=[1000, 2, 2000]), [2, 2000]),
    ],
)
def test_what_is_suppressed_already(config: Any, more: list[int]) -> None:
    found = never_sampled(Tokenizer("<image>"), "llava", config)
    assert found == tuple(sorted([1000, *more]))


def test_families_of_others() -> None:
    theirs = SimpleNamespace(hf_model_type="other", image_placeholders=("<pic>",))
    tokenizer = Tokenizer("<image>", "<pic>")
    assert never_sampled(tokenizer, "other") == ()
    assert never_sampled(tokenizer, "skinflow_other", None, [theirs, family_named("llava")]) == (1007,)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_of_a_whole_checkpoint(
    family: Any, bases: Mapping[str, Path], grafts: Mapping[str, Path], tmp_path: Path
) -> None:
    """Tiny models suppress all special tokens that end nothing; a graft says the same as its base."""
    for folder, model_type in (
        (bases[family.name], family.hf_model_type),
        (grafts[family.name], f"skinflow_{family.hf_model_type}"),
    ):
        tokenizer, config = AutoTokenizer.from_pretrained(folder), generation_config_of(folder)
        found = never_sampled(tokenizer, model_type, config)
        names = tokenizer.convert_ids_to_tokens(list(found))
        assert set(family.image_placeholders) <= set(names)
        assert set(found) >= set(config.suppress_tokens)
        assert not {tokenizer.eos_token_id} & set(found)


def test_a_folder_without_a_generation_config(tmp_path: Path) -> None:
    assert generation_config_of(tmp_path) is None
    assert generation_config_of(str(tmp_path / "missing")) is None


def test_the_logit_in_their_place() -> None:
    """Its exp is nothing, and its product with it too, where minus infinity gives NaN."""
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = torch.tensor([0.0, NO_LOGIT], dtype=dtype)
        log_probabilities = logits.log_softmax(-1)
        assert log_probabilities.exp().tolist() == [1.0, 0.0]
        assert torch.isfinite(log_probabilities.exp() * log_probabilities).all()
