"""A checkpoint with a dynamic vision encoder out of a base checkpoint, without copying its weights.

The new folder holds links to the base's shards, the router tensors, an index over both, and copies of the
small files. Only headers of the base are read, so a base of any size takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from transformers import AutoConfig

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.base_folder import base_folder
from skinflow_plugins.models.base_weights import BaseWeights, Linear
from skinflow_plugins.models.dynamic.checkpoint import check
from skinflow_plugins.models.dynamic.family import dynamic_family, is_dynamic
from skinflow_plugins.models.dynamic.settings import DynamicSettings
from skinflow_plugins.models.families import FAMILIES, BaseFamily, family_of
from skinflow_plugins.models.graft_files import Link, check_output, write_folder
from skinflow_plugins.models.graft_report import GraftReport, ReplacedProjection
from skinflow_plugins.models.json_files import read_object
from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.vision import GATES, Router

T = TypeVar("T")
Place = tuple[int, str]
"""A layer and the name of a projection in it."""


def graft(
    base: str | Path,
    out: str | Path,
    *,
    layers: str | Sequence[int] = "full_attention",
    projections: str | Sequence[str] = "all",
    bands: int = 4,
    gates: Sequence[str] = GATES,
    router: Literal["projection", "block"] = "projection",
    reduction: int = 16,
    frozen_bases: bool = False,
    link: Link = "symlink",
    seed: int = 0,
    family: BaseFamily | None = None,
) -> GraftReport:
    """Write into `out`, a new folder, the model of `base` with dynamic projections, and say what was changed.

    `base` is a folder or a hub id, of this `family` (None: the built-in one that its config names). `layers`
    and `projections` are those of `VisionSeam`; `bands`, `gates`, `router`, `reduction` and `frozen_bases`
    those of `DynamicSettings`. `seed` is for the routers' first layers; their heads are zero, so the model
    computes what the base does. Links are relative symbolic ones, hard ones, or copies, with which the folder
    stands alone.

    Raises `InputError`, with every problem found, before anything is written: a base that is no whole
    checkpoint of a family with a seam, an output folder that exists, unknown layers or projections, more
    bands than the weights have radii, hard links across file systems.
    """
    started = time.monotonic()
    folder, out = base_folder(base), Path(out).expanduser().absolute()
    family = _family(folder, family)
    check_output(folder, out, link)
    check(folder)
    weights = BaseWeights.read(folder)
    settings, linears = _choose(
        family,
        AutoConfig.from_pretrained(folder),
        weights,
        layers=layers,
        projections=projections,
        bands=bands,
        gates=tuple(gates),
        router=router,
        reduction=reduction,
        frozen_bases=frozen_bases,
    )
    routers = _router_tensors(linears, settings, seed)
    tensors = {key: tensor for part in routers.values() for key, tensor in part.items()}
    if frozen_bases:
        tensors |= {
            f"{each.key}.base_weight": weights.tensor(f"{each.key}.weight") for each in linears.values()
        }

    made = dynamic_family(family)
    config = read_object(folder / "config.json") | {
        "model_type": made.hf_model_type,
        "architectures": [made.model_class.__name__],
        "dve": settings.to_dict(),
    }
    written = write_folder(folder, out, link, weights, tensors, config)
    replaced = tuple(
        ReplacedProjection(
            layer,
            name,
            each.key,
            each.in_features,
            each.out_features,
            each.parameters,
            _count(routers.get((layer, name), {})),
        )
        for (layer, name), each in linears.items()
    )
    return GraftReport(
        base=str(folder),
        out=str(out),
        family=family.name,
        link=link,
        bands=bands,
        projections=replaced,
        shared_parameters=sum(_count(part) for place, part in routers.items() if place not in linears),
        tower_parameters=sum(info.parameters for info in weights.tower(family).values()),
        model_parameters=sum(info.parameters for info in weights.tensors.values()),
        new_bytes=written.new_bytes,
        linked_bytes=written.linked_bytes,
        seconds=time.monotonic() - started,
    )


def _family(folder: Path, given: BaseFamily | None) -> BaseFamily:
    config = read_object(folder / "config.json")
    model_type = config.get("model_type")
    if is_dynamic(model_type):
        raise InputError(
            Problem("has a dynamic vision encoder already", where=str(folder), hint="graft its base instead")
        )
    family = given or family_of(config)
    if family is None or family.seam is None or family.hf_model_type != model_type:
        what = "is of no known family"
        if family is not None:
            what = (
                f"is not of the family {family.name}"
                if family.seam
                else f"is a {family.name}, which has no seam"
            )
        possible = ", ".join(each.name for each in FAMILIES if each.seam is not None)
        message = f"{what}: its model_type is {model_type!r}"
        raise InputError(
            Problem(message, where=str(folder), hint=f"built-in families with a seam: {possible}")
        )
    return family


def _choose(
    family: BaseFamily,
    config: Any,
    weights: BaseWeights,
    *,
    layers: str | Sequence[int],
    projections: str | Sequence[str],
    gates: tuple[str, ...],
    **options: Any,
) -> tuple[DynamicSettings, dict[Place, Linear]]:
    """The settings, and the base's linears that they are about, by place."""
    # torch-free checks of a recipe cannot see the base; so everything that was chosen is held to it here.
    seam = family.seam
    assert seam is not None
    problems: list[Problem] = []

    def attempt(path: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except ValueError as error:
            problems.append(Problem(str(error), path=path))
            return None

    numbers = attempt("layers", lambda: seam.layers(config, layers))
    names = attempt("projections", lambda: seam.chosen(projections))
    if numbers == ():
        problems.append(Problem(f"{layers!r} names no layer of this vision tower", path="layers"))
    if "band" not in gates or not set(gates) <= set(GATES):
        message = f"found {list(gates)}; expected 'band' and any of 'input' and 'output'"
        problems.append(Problem(message, path="gates"))
    if options["router"] not in ("projection", "block"):
        problems.append(Problem(f"found {options['router']!r}, expected projection or block", path="router"))
    if options["reduction"] < 1:
        problems.append(Problem(f"found {options['reduction']}, expected 1 or more", path="reduction"))
    linears = {
        (number, name): weights.linear(family, f"{seam.blocks}.{number}.{seam.mlp}.{seam.projections[name]}")
        for number in numbers or ()
        for name in names or ()
    }
    thresholds: dict[str, tuple[int, ...]] = {}
    for (_, name), linear in linears.items():
        found = attempt("bands", lambda: _thresholds(linear, options["bands"]))  # noqa: B023 - called at once
        if found is not None and thresholds.setdefault(name, found) != found:
            problems.append(Problem(f"the {name} projections differ in size between layers", path="layers"))
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    settings = DynamicSettings(
        layers=numbers or (), projections=names or (), thresholds=thresholds, gates=gates, **options
    )
    return settings, linears


def _thresholds(linear: Linear, bands: int) -> tuple[int, ...]:
    from skinflow_kernels import band_thresholds

    return band_thresholds(linear.out_features, linear.in_features, bands)


def _router_tensors(
    linears: Mapping[Place, Linear], settings: DynamicSettings, seed: int
) -> dict[Place, dict[str, Tensor]]:
    """Fresh router tensors under the base's own kind of names, by place; a block's under its layer and "".

    A loader that renames the base's keys renames these with them.
    """
    found: dict[Place, dict[str, Tensor]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.router == "projection":
            for place, linear in linears.items():
                size = (linear.in_features, linear.out_features)
                found[place] = _tensors(linear.key, Router(size[0], {"": size}, **_options(settings)))
            return found
        for layer in settings.layers:
            block = {name: each for (number, name), each in linears.items() if number == layer}
            sizes = {name: (each.in_features, each.out_features) for name, each in block.items()}
            mlp = next(iter(block.values())).key.rpartition(".")[0]
            found[layer, ""] = _tensors(mlp, Router(_width(block), sizes, **_options(settings)))
    return found


def _options(settings: DynamicSettings) -> dict[str, Any]:
    return {"bands": settings.bands, "gates": settings.gates, "reduction": settings.reduction}


def _width(block: Mapping[str, Linear]) -> int:
    """Channels of the MLP's input: what goes into gate and up, and comes out of down."""
    return block["down"].out_features if "down" in block else next(iter(block.values())).in_features


def _tensors(key: str, router: Router) -> dict[str, Tensor]:
    # Zeros, ones and random numbers: half the file in bfloat16, and loaded into float32 as all routers are.
    return {f"{key}.{ROUTER}.{name}": value.detach().bfloat16() for name, value in router.named_parameters()}


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())
