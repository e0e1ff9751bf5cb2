"""What a model with a dynamic vision encoder does beyond its base: build, load strictly, save cleanly."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.dynamic import checkpoint
from skinflow_plugins.models.dynamic.blocks import block_class
from skinflow_plugins.models.dynamic.mlp import DynamicMLP
from skinflow_plugins.models.dynamic.settings import DynamicSettings
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.vision import FDProjection, Router

BASE_WEIGHT = ".base_weight"


class DynamicModel:
    """Mixed into a base family's top-level class; `config.dve` says which projections are dynamic."""

    skinflow_base: ClassVar[BaseFamily]
    # Gains near 1 have no digits left in bfloat16.
    _keep_in_fp32_modules_strict: ClassVar[Any] = {ROUTER}

    def __init__(self, config: Any, *arguments: Any, **keywords: Any) -> None:
        settings = DynamicSettings.read(config)
        super().__init__(config, *arguments, **keywords)  # type: ignore[call-arg]
        model: Any = self
        make_dynamic(model, self.skinflow_base, settings)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *arguments: Any,
        output_loading_info: bool = False,
        **keywords: Any,
    ) -> Any:
        """The model of a checkpoint, as in transformers; but incomplete or ambiguous weights are an error.

        Raises `InputError` when the folder holds two sets of weights, when a grafted folder was moved away
        from its base, and when a tensor of a dynamic projection is missing or has no place in the model:
        transformers would warn and go on, with whatever the memory held or without the tensor.
        """
        source = pretrained_model_name_or_path
        if source is not None and Path(source).is_dir():
            checkpoint.check(Path(source, keywords.get("subfolder") or ""))
        loading: Any = super().from_pretrained  # type: ignore[misc]
        model, info = loading(source, *arguments, output_loading_info=True, **keywords)
        wanted = {f"{name}.{key}" for name, module in dynamic_modules(model) for key in module.state_dict()}
        missing = sorted(wanted & set(info["missing_keys"]))
        ours = (f".{ROUTER}.", BASE_WEIGHT)
        homeless = sorted(key for key in info["unexpected_keys"] if any(part in key for part in ours))
        hint = "another program cut or renamed it; take the original, or graft its base anew"
        problems = [
            Problem(f"the checkpoint {verb} dynamic projections: {_some(keys)}", str(source), hint=hint)
            for verb, keys in (
                (f"lacks {len(missing)} tensors of its", missing),
                (f"holds {len(homeless)} tensors without a place among its", homeless),
            )
            if keys
        ]
        if problems:
            raise InputError(problems)
        return (model, info) if output_loading_info else model

    def save_pretrained(
        self, save_directory: Any, *arguments: Any, save_original_format: bool = False, **keywords: Any
    ) -> None:
        """Write the checkpoint under the names of the modules, and take links of an older graft away.

        transformers would write the base family's old names, which its Trainer cannot resume from.
        """
        folder = Path(save_directory)
        before = checkpoint.stale_weights(folder)
        saving: Any = super().save_pretrained  # type: ignore[misc]
        saving(save_directory, *arguments, save_original_format=save_original_format, **keywords)
        if arguments[0] if arguments else keywords.get("is_main_process", True):
            checkpoint.remove_stale(folder, before)


def make_dynamic(model: nn.Module, family: BaseFamily, settings: DynamicSettings) -> None:
    """Replace, in place, the MLPs of the chosen blocks of a plain model's vision tower.

    Raises `InputError` when the model lacks what the family's seam names.
    """
    seam = family.seam
    if seam is None:
        raise InputError(f"the family {family.name} has no seam for a dynamic vision encoder")
    tower = attribute(model, family.vision_tower, family)
    blocks = attribute(tower, seam.blocks, family)
    for number in settings.layers:
        if number >= len(blocks):
            raise InputError(
                f"there is no layer {number} in {family.vision_tower}.{seam.blocks}; it has {len(blocks)}"
            )
        block = blocks[number]
        mlp = attribute(block, seam.mlp, family)
        for name in (*seam.projections.values(), seam.activation):
            attribute(mlp, name, family)
        setattr(block, seam.mlp, DynamicMLP(mlp, seam, settings))
        kind: Any = type(block)
        block.__class__ = block_class(seam.images, kind)


def attribute(module: Any, path: str, family: BaseFamily) -> Any:
    """What stands at a dotted path below a module; `InputError` names the family whose seam is wrong."""
    try:
        return operator.attrgetter(path)(module)
    except AttributeError as error:
        there = ", ".join(name for name, _ in module.named_children())
        message = f"the seam of family {family.name} expects {path!r} in a {type(module).__name__}: {error}"
        raise InputError(Problem(message, hint=f"its parts are: {there}")) from error


def dynamic_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every dynamic projection and every router of a block, by name."""
    for name, module in model.named_modules():
        above = model.get_submodule(name.rpartition(".")[0])
        of_block = isinstance(module, Router) and not isinstance(above, FDProjection)
        if of_block or isinstance(module, FDProjection):
            yield name, module


def _some(keys: Sequence[str]) -> str:
    rest = len(keys) - 4
    return ", ".join(keys[:4]) + (f" and {rest} more" if rest > 0 else "")
