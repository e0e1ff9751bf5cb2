"""vLLM's model of a dynamic family: its class of the base family, with the chosen MLPs exchanged."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from vllm.model_executor.models.utils import WeightsMapper
from vllm.platforms import current_platform

from skinflow_plugins.engine.mlp import EngineMLP, EngineProjection, Images, plain_linears
from skinflow_plugins.engine.seams import EngineSeam
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.dynamic.settings import DynamicSettings
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.seam import VisionSeam

RENAMED = "fd_{}"
"""vLLM merges linears by parts of their names; a dynamic one must not look like a part."""


class EngineModel:
    """Mixed into vLLM's class of a base family; `config.dve` says which projections are dynamic."""

    skinflow_base: ClassVar[BaseFamily]
    skinflow_engine: ClassVar[EngineSeam]

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        settings = DynamicSettings.read(vllm_config.model_config.hf_config)
        refuse(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        make_dynamic(
            self, self.skinflow_base, self.skinflow_engine, settings, vllm_config.model_config.hf_config
        )

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The names that were loaded; the bases of every projection among them are rebuilt."""
        if renamed := self.skinflow_engine.renamed:
            weights = ((re.sub(*renamed, name), weight) for name, weight in weights)
        loaded: set[str] = super().load_weights(weights)  # type: ignore[misc]
        model: Any = self
        for name, module in model.named_modules():
            if isinstance(module, EngineProjection) and {f"{name}.weight", f"{name}.base_weight"} & loaded:
                module.rebuild()
        return loaded


def refuse(vllm_config: Any) -> None:
    """Raise `InputError` for everything in a configuration of vLLM that would compute another function."""
    wrong = []
    parallel, compilation = vllm_config.parallel_config, vllm_config.compilation_config
    if parallel.tensor_parallel_size > 1:
        hint = "set vllm_tensor_parallel_size to 1, and use data parallel servers for more GPUs"
        wrong.append((f"tensor_parallel_size is {parallel.tensor_parallel_size}; expected 1", hint))
    if parallel.pipeline_parallel_size > 1:
        wrong.append(
            (f"pipeline_parallel_size is {parallel.pipeline_parallel_size}; expected 1", "leave it out")
        )
    if compilation.cudagraph_mm_encoder:
        wrong.append(("cudagraph_mm_encoder is on: graphs know no images", "leave it off"))
    if compilation.compile_mm_encoder:
        wrong.append(("compile_mm_encoder is on, which was never tried with it", "leave it off"))
    if vllm_config.lora_config is not None:
        hint = "drop vllm_enable_lora: the rollouts then get merged weights, with the routers"
        wrong.append(("LoRA in vLLM leaves the routers out", hint))
    if vllm_config.quant_config is not None:
        hint = "serve the checkpoint in bfloat16"
        wrong.append(("a quantised model has other weights than those the bands were made for", hint))
    if vllm_config.model_config.is_mm_prefix_lm and current_platform.is_cpu():
        message = (
            "vLLM on a CPU lets the tokens of an image see only those before them; this family's see all"
        )
        wrong.append((message, "use a GPU, or transformers"))
    if wrong:
        where = "vLLM, with the dynamic vision encoder"
        raise InputError([Problem(message, where=where, hint=hint) for message, hint in wrong])


def make_dynamic(
    model: Any, family: BaseFamily, engine: EngineSeam, settings: DynamicSettings, config: Any
) -> None:
    """Exchange, in place, the MLPs of the chosen blocks of vLLM's model.

    Raises `InputError` when the model lacks what the seam names: another version of vLLM.
    """
    ours = family.seam
    assert ours is not None
    merged = {name for name, place in engine.linears.items() if not isinstance(place, str)}
    seam = dataclasses.replace(
        ours,
        projections={
            name: RENAMED.format(word) if name in merged else word for name, word in ours.projections.items()
        },
    )
    images = Images()
    try:
        tower = operator.attrgetter(engine.tower)(model)
        blocks = operator.attrgetter(engine.blocks)(tower)
        for number in settings.layers:
            plain = _Plain(getattr(blocks[number], engine.mlp), engine, seam, config.vision_config)
            mlp = EngineMLP(plain, seam, settings)
            mlp.attend(images, packed=engine.images == "packed")
            setattr(blocks[number], engine.mlp, mlp)
    except (AttributeError, IndexError) as error:
        message = f"vLLM's {type(model).__bases__[-1].__name__} is not built as the seam expects: {error}"
        hint = (
            "this release was made for vLLM 0.32; install that, or sample with rollouts.engine=transformers"
        )
        raise InputError(Problem(message, hint=hint)) from error
    _tell(tower, blocks, engine, images)
    if merged:
        _keep_apart(tower, engine, ours, settings)


class _Plain(nn.Module):
    """An MLP of plain linears under the seam's names, in the place of vLLM's merged and parallel ones."""

    def __init__(self, theirs: nn.Module, engine: EngineSeam, seam: VisionSeam, vision_config: Any) -> None:
        super().__init__()
        for name, linear in plain_linears(theirs, engine.linears).items():
            self.add_module(seam.projections[name], linear)
        setattr(self, seam.activation, ACT2FN[vision_config.hidden_act])


def _tell(tower: nn.Module, blocks: nn.ModuleList, engine: EngineSeam, images: Images) -> None:
    """Make the tower's forward say which tokens belong to which image."""
    if engine.images == "packed":

        def before(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            grid = keywords.get("grid_thw", inputs[1] if len(inputs) > 1 else None)
            images.segments = None if grid is None else segments_of(grid, module.device)

    else:

        def before(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            mask = keywords.get("attention_mask", inputs[1] if len(inputs) > 1 else None)
            images.keep = None if mask is None else mask[:, 0, 0, :] == 0

    def after(*_: Any) -> None:
        images.segments = images.keep = None

    # vLLM runs under inference mode and never computes a block again, so an argument that travels beside the
    # call is safe here; the trainer's blocks hand it on.
    if engine.images == "masked_rows":
        # vLLM leaves padding in otherwise; transformers does not.
        setattr(tower, "apply_encoder_attention_mask", True)  # noqa: B010 (a Module's attributes are typed)
        for block in blocks:
            block.register_forward_pre_hook(before, with_kwargs=True)
            block.register_forward_hook(after, always_call=True)
    elif engine.images == "packed":
        tower.register_forward_pre_hook(before, with_kwargs=True)
        tower.register_forward_hook(after, always_call=True)


def segments_of(grid_thw: Any, device: torch.device) -> Tensor:
    """Cumulative token counts (S+1,) of all frames, as the trainer counts them."""
    grid = torch.as_tensor(grid_thw, dtype=torch.int64)
    lengths = torch.repeat_interleave(grid[:, 1] * grid[:, 2], grid[:, 0])
    return nn.functional.pad(lengths.cumsum(0), (1, 0)).to(device=device, dtype=torch.int32)


def _keep_apart(tower: Any, engine: EngineSeam, seam: VisionSeam, settings: DynamicSettings) -> None:
    """Load gate and up of dynamic blocks each by itself; those of all other blocks stay merged."""
    words = [
        re.escape(seam.projections[name]) for name, at in engine.linears.items() if not isinstance(at, str)
    ]
    numbers = "|".join(map(str, settings.layers))
    path = re.escape(f"{engine.blocks}.")
    pattern = re.compile(rf"(^|\.)({path}(?:{numbers})\.{re.escape(engine.mlp)}\.)({'|'.join(words)})\.")
    apart = WeightsMapper(orig_to_new_regex={pattern: rf"\1\2{RENAMED.format('')}\3."})
    tower.hf_to_vllm_mapper = apart | type(tower).hf_to_vllm_mapper
