"""What is compared between trainer and rollout engine, what is said of it, and weights changed for it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from skinflow_plugins.bridge.rollouts import parity
from skinflow_plugins.bridge.rollouts.parity import Difference, Parity, require
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.models import build_tiny, graft, load
from skinflow_plugins.vision import FDProjection

SMALL = Difference(2e-6, 1e-6)
LARGE = Difference(0.5, 0.25)
NAN = Difference(math.nan, math.nan)


def found(**more: Any) -> Parity:
    """A comparison that shows nothing wrong, but for what is given."""
    plain = {"rows": 4, "tokens": 60, "token_ids": "", "images": "4 images", "tolerance": 1e-4}
    return Parity(**{**plain, "before": SMALL, "after": SMALL, "moved": LARGE, **more})


# --- what is said ---------------------------------------------------------------------------------------


def test_equal() -> None:
    equal = found()
    assert equal.problems() == []
    require(equal.problems())
    assert equal.summary() == (
        "4 rows, 60 sampled tokens; token ids equal; 4 images; log-probabilities of trainer and engine "
        "differ by at most 2.0e-06 (mean 1.0e-06) before an update, by 2.0e-06 (mean 1.0e-06) after one that "
        "moved them by 5.0e-01 (mean 2.5e-01)"
    )


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            {"token_ids": "row 1, token 2: 3 in the trainer, 4 in the engine"},
            "prompts differ: row 1, token 2",
        ),
        (
            {"before": LARGE},
            "by 5.0e-01 (mean 2.5e-01) before any update, more than 0.0001 on average",
        ),
        ({"before": NAN}, "differ by nan (mean nan) before any update"),
        (
            {"after": LARGE},
            "differ by 5.0e-01 (mean 2.5e-01) after an update that moved them by 5.0e-01 (mean 2.5e-01): the "
            "engine did not get the weights",
        ),
        ({"after": NAN}, "differ by nan (mean nan) after an update"),
        # What is wrong before is wrong after: one sentence is enough.
        ({"before": LARGE, "after": LARGE}, "before any update"),
        ({"before": LARGE, "after": None, "moved": None}, "before any update"),
    ],
)
def test_one_thing_wrong(more: Mapping[str, Any], problem: str) -> None:
    wrong = found(**more)
    (text,) = wrong.problems()
    assert problem in text
    with pytest.raises(WorkFailed, match="does not sample from the model that trains") as info:
        require(wrong.problems())
    assert text in str(info.value)


def test_two_things_wrong() -> None:
    wrong = found(token_ids="row 0 has 3 tokens in the trainer and 4 in the engine", before=LARGE)
    assert len(wrong.problems()) == 2
    with pytest.raises(WorkFailed) as info:
        require(wrong.problems())
    assert all(text in str(info.value) for text in wrong.problems())
    assert "token ids differ;" in wrong.summary()


def test_the_mean_counts() -> None:
    """One token among thousands may be far off: the softmax of a rare one is."""
    assert found(before=Difference(1e-2, 9e-5)).problems() == []
    assert found(before=Difference(1e-2, 1e-4)).problems() == []  # no more than the tolerance
    assert len(found(before=Difference(1.1e-4, 1.1e-4)).problems()) == 1


def test_a_change_that_shows_nothing() -> None:
    text = "cannot tell new weights from old"
    assert text in found(moved=Difference(1.0, 3.9e-4)).summary()
    assert text not in found(moved=Difference(1.0, 4.1e-4)).summary()


def test_sharded() -> None:
    sharded = found(after=None, moved=None)
    assert sharded.problems() == []
    assert sharded.summary().endswith(
        "; the weights (sharded, or none that train) were not changed for a second look"
    )


def test_as_a_file() -> None:
    from skinflow_plugins.bridge.rollouts.look import _read

    for each in (found(), found(after=None, moved=None), found(before=LARGE, token_ids="row 0")):
        written = json.loads(json.dumps(each.as_json()))
        assert written["problems"] == each.problems()
        assert _read(written) == each


# --- what is compared -----------------------------------------------------------------------------------


def test_the_first_difference() -> None:
    difference = parity._first_difference
    assert difference([[1, 2], [3]], [[1, 2], (3,)]) == ""
    assert (
        difference([[1, 2], [3, 4], [9]], [[1, 2], [3, 5], [8]])
        == "row 1, token 1: 4 in the trainer, 5 in the engine"
    )
    longer = "row 0 has 2 tokens in the trainer and 3 in the engine"
    assert difference([[1, 2]], [[1, 2, 3]]) == longer


def test_prompts_without_padding_and_completions() -> None:
    """swift pads a batch at either side; the mask of completions has a width of its own."""
    ids = torch.tensor([[0, 0, 5, 6, 7, 8], [1, 2, 3, 4, 9, 0]])
    real = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    completions = torch.tensor([[1, 1, 0], [1, 0, 0]])
    batch = {
        "model_inputs": {"input_ids": ids, "attention_mask": real},
        "grpo_batch": SimpleNamespace(completion_mask=completions),
    }
    assert list(parity._prompts(batch)) == [[5, 6], [1, 2, 3, 4]]
    batch["grpo_batch"].completion_mask = torch.tensor([[0, 0], [0, 0]])
    assert list(parity._prompts(batch)) == [[5, 6, 7, 8], [1, 2, 3, 4, 9]]


def test_prompts_in_one_row_cannot_be_told_apart() -> None:
    batch = {
        "model_inputs": {"input_ids": torch.tensor([[1, 2, 3, 4]])},
        "grpo_batch": SimpleNamespace(completion_mask=torch.ones(2, 1)),
    }
    assert list(parity._prompts(batch)) == []


def test_the_difference_is_over_completions_alone() -> None:
    one = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    other = one + torch.tensor([[0.5, -0.1, 99.0], [0.0, 99.0, 99.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    wide = (torch.zeros(1, 5), torch.full((1, 5), 0.2), torch.ones(1, 5, dtype=torch.long))
    difference = parity._difference([(one, other, mask), wide])
    assert difference.largest == pytest.approx(0.5)
    assert difference.mean == pytest.approx((0.5 + 0.1 + 0.0 + 5 * 0.2) / 8)
    worse = parity._difference([(one, torch.full_like(one, torch.nan), mask), wide])
    assert math.isnan(worse.largest)
    assert math.isnan(worse.mean)


def test_differences_in_16_bits_are_told_in_32() -> None:
    half = torch.tensor([[-1.0]], dtype=torch.bfloat16)
    assert parity._difference([(half, torch.tensor([[-1.001]]), torch.ones(1, 1))]).mean == pytest.approx(
        1e-3, rel=1e-3
    )


def test_a_handful_of_rows() -> None:
    assert parity._handful(iter(range(100))) == [0, 1, 2, 3]
    assert parity._handful([1, 2]) == [1, 2]


def test_images_are_told_by_grid_and_placeholders() -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"<|image_pad|>": 7, "<|video_pad|>": 8, "the": 1})
    model = SimpleNamespace(
        config=SimpleNamespace(
            model_type="skinflow_qwen2_5_vl", vision_config=SimpleNamespace(spatial_merge_size=2)
        )
    )
    trainer = SimpleNamespace(
        model=model,
        processing_class=tokenizer,
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
    )
    grids = [torch.tensor([[1, 8, 8], [1, 4, 6]]), torch.tensor([[1, 8, 8]])]
    batches = [{"model_inputs": {"image_grid_thw": grid}} for grid in grids]
    prompts = [[1, 7, 7, 1], [7, 1], [7]]
    text = "3 images of 1x4x6, 1x8x8 patches with 4 placeholders"
    wrong = "the engine has 4 placeholders for images that need 38"  # (64 + 24 + 64) / 2^2
    assert parity._images(trainer, batches, prompts, True) == (text, wrong)
    assert parity._images(trainer, batches, prompts, False) == (text, "")
    assert parity._images(trainer, batches, [[7] * 30, [7] * 8], True)[1] == ""
    assert parity._images(trainer, [{"model_inputs": {}}], prompts, True) == (
        "images with 4 placeholders",
        "",
    )


# --- other weights for a while ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A dynamic model as a graft is: routers that change nothing yet. Anew for every test."""
    root = tmp_path_factory.mktemp("parity")
    build_tiny("qwen2_5_vl", root / "base", vocabulary=["What is shown?"], width=64, depth=2)
    made: dict[bool, Any] = {}

    def get(*, frozen_bases: bool = False) -> Any:
        if frozen_bases not in made:
            out = root / f"graft-{frozen_bases}"
            graft(root / "base", out, frozen_bases=frozen_bases)
            made[frozen_bases] = load(out).train()
        return copy.deepcopy(made[frozen_bases])

    return get


def state(model: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def differing(model: nn.Module, before: Mapping[str, Any]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_everything_changes_and_comes_back_bit_for_bit(dynamic: Callable[..., Any]) -> None:
    model = dynamic()
    before = state(model)
    with parity._changed(model) as changed:
        assert changed is True
        assert differing(model, before) == {name for name, _ in model.named_parameters()}
        assert all(torch.isfinite(value).all() for value in model.parameters())
        inside = state(model)
    assert differing(model, before) == set()
    # Another process, and another time, draws the same.
    with parity._changed(dynamic()) as changed:
        assert changed
    with parity._changed(model):
        assert differing(model, inside) == set()


def test_it_comes_back_after_an_error(dynamic: Callable[..., Any]) -> None:
    model = dynamic()
    before = state(model)
    with pytest.raises(KeyError), parity._changed(model):
        raise KeyError
    assert differing(model, before) == set()


def test_only_what_trains_changes(dynamic: Callable[..., Any]) -> None:
    """With LoRA: what is merged into the weights that are sent, and the routers."""
    model = dynamic().requires_grad_(False)
    trained = [name for name, _ in model.named_parameters() if "dve_router" in name or "lm_head" in name]
    for name in trained:
        model.get_parameter(name).requires_grad_(True)
    before = state(model)
    with parity._changed(model):
        assert differing(model, before) == set(trained)


def test_a_router_that_does_nothing_is_moved_so_far_that_it_does(dynamic: Callable[..., Any]) -> None:
    """The heads of a graft are zero; a change in proportion to them would be none."""
    model = dynamic()
    heads = {n: p for n, p in model.named_parameters() if "dve_router" in n and not p.any()}
    assert heads
    others = {
        name: value.detach().clone()
        for name, value in model.named_parameters()
        if "dve_router" not in name and value.any()
    }
    with parity._changed(model):
        for name, value in heads.items():
            assert 0.1 < float(value.detach().std()) < 1.0, name
        for name, value in others.items():
            moved = model.get_parameter(name).detach() - value
            assert 0.02 < float(moved.norm() / value.norm()) < 0.4, name


def test_nothing_more_than_a_limit_and_routers_first(
    dynamic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dynamic()
    routers = {name: value.numel() for name, value in model.named_parameters() if "dve_router" in name}
    total = sum(value.numel() for value in model.parameters())
    for limit in (sum(routers.values()), sum(routers.values()) + 5000, total // 2, total):
        monkeypatch.setattr(parity, "_CHANGED", limit)
        chosen = dict(parity._chosen(model))
        assert set(routers) <= set(chosen)
        assert sum(value.numel() for value in chosen.values()) <= limit
    assert len(chosen) == len(list(model.parameters()))
    monkeypatch.setattr(parity, "_CHANGED", sum(routers.values()))
    assert set(dict(parity._chosen(model))) == set(routers)


@pytest.mark.parametrize("attribute", ["full_tensor", "ds_id"])
def test_sharded_weights_are_left_alone(attribute: str) -> None:
    """As FSDP and DeepSpeed mark them."""
    model = nn.Linear(4, 4)
    setattr(model.bias, attribute, 1)
    before = state(model)
    with parity._changed(model) as changed:
        assert changed is False
        assert differing(model, before) == set()
    model.bias.requires_grad_(False)  # frozen ones are not looked at
    with parity._changed(model) as changed:
        assert changed is True


def test_16_bits_come_back_too() -> None:
    model = nn.Linear(8, 8).to(torch.bfloat16)
    before = state(model)
    with parity._changed(model):
        assert differing(model, before) == {"weight", "bias"}
    assert differing(model, before) == set()


@pytest.mark.parametrize("frozen", [False, True])
def test_bases_follow(frozen: bool, dynamic: Callable[..., Any]) -> None:
    model = dynamic(frozen_bases=frozen)
    projections = [each for each in model.modules() if isinstance(each, FDProjection)]
    assert projections
    before = [each.bases().clone() for each in projections]
    with parity._changed(model):
        for each, bases in zip(projections, before, strict=True):
            assert torch.equal(each.bases(), bases) is frozen
            if not frozen:
                torch.testing.assert_close(each.bases().sum(0), each.weight.detach())
    for each, bases in zip(projections, before, strict=True):
        assert torch.equal(each.bases(), bases)


def test_gradients_are_neither_needed_nor_left(dynamic: Callable[..., Any]) -> None:
    model = dynamic()
    with parity._changed(model):
        pass
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
