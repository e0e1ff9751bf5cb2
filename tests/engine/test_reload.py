"""New weights reach the engine, and what is derived from them follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinflow_plugins.models import load
from skinflow_plugins.testing import perturb_routers
from skinflow_plugins.vision import FDProjection, Router

pytestmark = pytest.mark.vllm

CLOSE, FAR = 1e-4, 1e-2


@pytest.fixture
def restore() -> Iterator[Callable[[Any], Any]]:
    """`restore(engine)` gives it back its own weights in the end: other tests share it."""
    used: list[Any] = []
    yield used.append
    for engine in used:
        engine.reload(load(engine.folder).state_dict())


@pytest.fixture
def engine(engine: Any, restore: Callable[[Any], None]) -> Any:
    restore(engine)
    return engine


@pytest.fixture
def frozen(frozen: Any, restore: Callable[[Any], None]) -> Any:
    restore(frozen)
    return frozen


@pytest.fixture
def qwen(engines: Callable[..., Any], restore: Callable[[Any], None]) -> Any:
    found = engines("qwen2_5_vl", masked=True)
    restore(found)
    return found


def projections(model: nn.Module) -> dict[str, FDProjection]:
    return {name: module for name, module in model.named_modules() if isinstance(module, FDProjection)}


def change_projections(model: nn.Module, seed: int) -> None:
    """Other weights for every dynamic projection, and other bases where those are frozen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in projections(model).values():
            for value in (module.weight, module.bias, module.base_weight):
                if value is not None:
                    value.add_(0.2 * torch.randn(value.shape, generator=generator))


def change_everything(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))


# ------------------------------------------------------------------------------------------------------------
# vLLM's own reload


def test_changed_routers(engine: Any) -> None:
    model = load(engine.folder)
    perturb_routers(model, seed=7)
    assert engine.difference(model, engine.first_answers) > FAR
    engine.reload(model.state_dict())
    assert engine.difference(model) < CLOSE


def test_changed_projections(engine: Any) -> None:
    """Twice, because vLLM keeps the memory of the first load and writes into it each time."""
    model, answers = load(engine.folder), engine.first_answers
    places = [module.bases().data_ptr() for module in projections(engine.model).values()]
    for seed in (1, 2):
        change_projections(model, seed)
        assert engine.difference(model, answers) > FAR
        engine.reload(model.state_dict())
        answers = engine.answers()
        assert engine.difference(model, answers) < CLOSE
    # CUDA graphs know them by their address.
    assert [module.bases().data_ptr() for module in projections(engine.model).values()] == places


def test_everything_changed(qwen: Any) -> None:
    """Also what vLLM has merged and packed, in the blocks beside the dynamic one among others."""
    model = load(qwen.folder)
    change_everything(model, seed=3)
    assert qwen.difference(model, qwen.first_answers) > FAR
    qwen.reload(model.state_dict())
    assert qwen.difference(model) < CLOSE


def test_frozen_bases_under_vllms_own_names(frozen: Any) -> None:
    """A trainer that sends parameters only: the bases come from the engine itself, as the bridge does it."""
    model = load(frozen.folder)
    with torch.no_grad():
        for module in projections(model).values():
            module.weight.mul_(1.5)
    kept = {key: value.clone() for key, value in frozen.model.named_buffers() if key.endswith(".base_weight")}
    assert len(kept) == len(projections(model))
    frozen.reload(dict(model.named_parameters()) | kept)
    assert frozen.difference(model) < CLOSE


def test_reload_from_a_folder(qwen: Any, folders: Callable[..., Any]) -> None:
    """The other kind of names than the engine was started with."""
    for options in ({"saved": True}, {}):
        path = str(folders("qwen2_5_vl", **options))
        qwen.llm.collective_rpc("reload_weights", kwargs={"weights_path": path})
        qwen.reset()
        assert qwen.difference() < CLOSE


# ------------------------------------------------------------------------------------------------------------
# In place, as on a GPU; vLLM packs its linears for a CPU, so only what is ours is sent


def ours(model: nn.Module) -> dict[str, Tensor]:
    """Dynamic projections, routers and norms, under the names of the trainer's model."""
    mine = [key for key, module in model.named_modules() if isinstance(module, (FDProjection, Router))]
    return {
        key: value
        for key, value in model.state_dict().items()
        if key.rpartition(".")[0] in mine or "norm" in key.rpartition(".")[0].rpartition(".")[-1]
    }


@pytest.mark.parametrize("engine", ["qwen2_5_vl", "qwen2_5_vl saved", "llava saved"], indirect=True)
def test_in_place(engine: Any) -> None:
    model = load(engine.folder)
    places = [module.bases().data_ptr() for module in projections(engine.model).values()]
    perturb_routers(model, seed=5)
    change_projections(model, seed=5)
    sent = ours(model)
    with torch.no_grad():
        for key in set(sent) - {key for key in sent if "dve_router" in key}:
            if "norm" in key:
                sent[key].mul_(1.01)
    assert engine.difference(model, engine.first_answers) > FAR
    loaded = engine.model.load_weights(iter(sent.items()))
    engine.reset()
    assert engine.difference(model) < CLOSE
    assert {f"{each}.weight" for each in projections(engine.model)} <= loaded
    assert [module.bases().data_ptr() for module in projections(engine.model).values()] == places


def test_in_place_routers_alone(qwen: Any) -> None:
    """A trainer of routers sends these; no weight is decomposed for them."""
    model = load(qwen.folder)
    perturb_routers(model, seed=8)
    routers = {key: value for key, value in model.state_dict().items() if "dve_router" in key}
    qwen.model.load_weights(iter(routers.items()))
    qwen.reset()
    assert qwen.difference(model, qwen.first_answers) > FAR
    assert qwen.difference(model) < CLOSE


# ------------------------------------------------------------------------------------------------------------
# The projection by itself


@pytest.fixture
def projection() -> Any:
    from skinflow_plugins.engine.mlp import EngineProjection

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EngineProjection.from_linear(nn.Linear(24, 32))


def expected_bases(projection: Any) -> Tensor:
    """As the trainer's projection has them."""
    linear = nn.Linear(projection.in_features, projection.out_features)
    source = projection.weight if projection.base_weight is None else projection.base_weight
    with torch.no_grad():
        linear.weight.copy_(source)
    return FDProjection.from_linear(linear, projection.bands, thresholds=projection.thresholds).bases()


def test_bases_are_rebuilt_in_place(projection: Any) -> None:
    place = projection.bases().data_ptr()
    assert torch.equal(projection.bases(), expected_bases(projection))
    with torch.inference_mode():  # vLLM loads there
        projection.weight.data.mul_(3)
        projection.rebuild()
    assert projection.bases().data_ptr() == place
    assert torch.equal(projection.bases(), expected_bases(projection))
    assert not projection.bases().is_inference()


def test_bases_are_not_rebuilt_in_between(projection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by autograd's version of the weight, nor by an optimizer elsewhere in the process."""
    before = projection.bases().clone()
    with torch.no_grad():
        projection.weight.add_(1)
    assert torch.equal(projection.bases(), before)


def test_a_meta_weight_is_left_alone(projection: Any) -> None:
    """What vLLM puts in the weight's place during a reload."""
    before = projection.bases()
    weight = projection.weight
    projection.weight = nn.Parameter(weight.to("meta"), requires_grad=False)
    projection.rebuild()
    assert projection.bases() is before
    projection.weight = weight


def test_vllms_hook_rebuilds(projection: Any) -> None:
    from skinflow_plugins.engine.mlp import Rebuild

    projection.bases()
    with torch.no_grad():
        projection.weight.mul_(2)
    hook = Rebuild()
    hook.create_weights(projection)
    hook.process_weights_after_loading(projection)
    assert torch.equal(projection.bases(), expected_bases(projection))
    tokens = torch.randn(2, 5, 24)
    assert torch.equal(hook.apply(projection, tokens), projection(tokens))


def test_frozen_bases_follow_base_weight() -> None:
    from skinflow_plugins.engine.mlp import EngineProjection

    projection = EngineProjection.from_linear(nn.Linear(24, 32), frozen_bases=True)
    before = projection.bases().clone()
    with torch.no_grad():
        projection.weight.mul_(2)
        projection.rebuild()
        assert torch.equal(projection.bases(), before)
        projection.base_weight.mul_(2)
        projection.rebuild()
    assert torch.equal(projection.bases(), expected_bases(projection))
    assert not torch.equal(projection.bases(), before)


def test_bases_move_with_the_module(projection: Any) -> None:
    projection.bases()
    projection.to(torch.float64)
    assert projection.bases().dtype == torch.float64
