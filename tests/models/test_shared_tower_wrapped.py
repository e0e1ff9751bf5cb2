"""What is done with a model that shares images: generation, copies, pickles, several processes, swift."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skinflow_plugins.models.distinct_images import unshare_images

ALIKE = [[3]] * 4


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "gemma3", "idefics3"])
def test_generation_gives_the_same_tokens(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model, batch = opened(name, "dynamic"), asked(name, [[0], [0], [1]])
    options = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_logits": True}

    def answers(**how: Any) -> Any:
        torch.manual_seed(0)
        with torch.inference_mode():
            return model.generate(**batch, **options, **how)

    hows = [{"do_sample": False}, {"do_sample": True, "num_return_sequences": 2}]
    expected = [answers(**how) for how in hows]
    helpers.share(model, name)
    for how, theirs in zip(hows, expected, strict=True):
        ours = answers(**how)
        assert torch.equal(ours.sequences, theirs.sequences)
        helpers.assert_close(ours.logits, theirs.logits)
    # transformers repeats sequences after the tower
    assert helpers.tower(model, name).skinflow_images == (6, 4)
    model(**batch).logits.square().mean().backward()  # training goes on after inference mode


@pytest.mark.parametrize(("name", "kind"), [("qwen3_vl", "dynamic"), ("llava", "plain")])
def test_a_copy_stands_alone(
    name: str, kind: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """As a reference model is made: it shares too, with weights of its own, and does not touch the first."""
    model, batch = opened(name, kind), asked(name, ALIKE)
    helpers.share(model, name)
    visual = helpers.tower(model, name)
    with torch.no_grad():
        expected = model(**batch).logits
        reference = copy.deepcopy(model)
        other = helpers.tower(reference, name)
        for each in other.parameters():
            each.mul_(1.1)
        assert torch.equal(model(**batch).logits, expected)
        changed = reference(**batch).logits
        assert (changed - expected).abs().max() > 1e-3
        assert visual.skinflow_images == (8, 2)
        assert other.skinflow_images == (8, 2)  # counted on from the one that was copied
        assert type(other) is type(visual)
        unshare_images(model)
        assert torch.equal(reference(**batch).logits, changed)
        assert other.skinflow_images == (12, 3)


def test_a_pickle_shares_too(
    opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model, batch = opened("llava", "dynamic"), asked("llava", ALIKE)
    helpers.share(model, "llava")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert type(again.model.vision_tower) is type(model.model.vision_tower)
    helpers.assert_close(again(**batch).logits, model(**batch).logits)
    assert again.model.vision_tower.skinflow_images == (4, 1)


# ------------------------------------------------------------------------------------------------------------
# Several processes, and swift

PROGRAM = """
import copy, os, sys
from contextlib import nullcontext
from datetime import timedelta
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel
from skinflow_plugins.models import family_named, load
from skinflow_plugins.models.distinct_images import share_images, unshare_images

folder, meeting, batches = sys.argv[1:]
family = family_named("qwen2_5_vl")
model = load(folder).train()
batches = torch.load(batches, weights_only=False)
other = os.fork()  # so that two processes import all this once
rank = 0 if other else 1
batch = batches[rank]
dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60))

def share(model):
    assert share_images(model, family) == ""

def gradients(wrapped):
    wrapped.zero_grad()
    wrapped(**batch).logits.square().mean().backward()
    full = lambda each: each.full_tensor() if hasattr(each, "full_tensor") else each.clone()
    flat = isinstance(wrapped, FullyShardedDataParallel)
    with FullyShardedDataParallel.summon_full_params(wrapped, with_grads=True) if flat else nullcontext():
        return [full(each.grad) for each in wrapped.parameters() if each.grad is not None]

def check(what, wrapped, visual):
    found = gradients(wrapped)
    scale = max(each.norm() for each in expected)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert (ours - theirs).norm() <= 1e-4 * (theirs.norm() + scale / 10)
    assert visual.skinflow_images == [(4, 2), (4, 4)][rank], visual.skinflow_images
    print(f"{what} is the same", flush=True)

expected = gradients(DistributedDataParallel(copy.deepcopy(model)))
shared = copy.deepcopy(model)
share(shared)
wrapped = DistributedDataParallel(shared)
share(wrapped)
check("DDP", wrapped, shared.model.visual)

for before in (True, False):
    sharded = copy.deepcopy(model)
    visual = sharded.model.visual
    if before:
        share(sharded)
    policy = ModuleWrapPolicy({type(visual), type(visual.blocks[0])})
    wrapped = FullyShardedDataParallel(
        sharded, auto_wrap_policy=policy, use_orig_params=True, device_id="cpu"
    )
    share(wrapped)
    check("FSDP1 " + ("after" if before else "before"), wrapped, visual)

mesh = init_device_mesh("cpu", (2,))
for before in (True, False):
    sharded = copy.deepcopy(model)
    if before:
        share(sharded)
    for block in sharded.model.visual.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(sharded.model.visual, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    share(sharded)
    check("FSDP2 " + ("after" if before else "before"), sharded, sharded.model.visual)
    try:
        unshare_images(sharded)
    except TypeError as error:
        assert before and "was made from a tower that shares images" in str(error)
    else:
        assert not before
dist.destroy_process_group()
if not other:
    os._exit(0)
assert os.waitpid(other, 0)[1] == 0

from swift.model.patcher import patch_frozen_module

batch = batches[0]
for first in ("share", "swift"):
    again = copy.deepcopy(model)
    visual = again.model.visual.requires_grad_(False)
    plain = again(**batch).logits
    if first == "share":
        share(again)
    patch_frozen_module(visual)
    assert "forward" in vars(visual)
    share(again)
    torch.testing.assert_close(again(**batch).logits, plain, rtol=1e-5, atol=1e-5)
    assert visual.skinflow_images == (4, 2), visual.skinflow_images
    print(f"{first} first is the same", flush=True)
"""


@pytest.fixture(scope="module")
def said(
    stirred: Callable[..., Path], asked: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """What `PROGRAM` prints. It runs by itself because swift changes transformers as it is imported."""
    folder = tmp_path_factory.mktemp("processes")
    rows = ([[0], [0], [1], [0]], [[2], [3], [4], [5]])
    torch.save([dict(asked("qwen2_5_vl", each)) for each in rows], folder / "batches")
    given = [stirred("qwen2_5_vl"), folder / "meeting", folder / "batches"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=180,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("what", ["DDP", "FSDP1 after", "FSDP1 before", "FSDP2 after", "FSDP2 before"])
def test_gradients_of_two_processes(what: str, said: str) -> None:
    """Two of four images are copies in one process and none in the other; both sum up as ever."""
    assert said.count(f"{what} is the same") == 2, said[-3000:]


@pytest.mark.parametrize("first", ["share", "swift"])
def test_with_what_swift_makes_of_a_frozen_tower(first: str, said: str) -> None:
    assert f"{first} first is the same" in said, said[-3000:]
