"""The class of a vision tower that computes each distinct image of a call once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.image_copies import Copies, Images, copies_among, repeat

GRID = "grid_thw"
"""The argument of a packed tower that holds the patches of each image: frames, rows and columns."""

MASKS = ("patch_attention_mask", "bool_masked_pos")
"""Arguments of the other towers that hold one row for each image."""

OF_THE_TEXT = {"text_position_ids"}
"""What swift's templates hand to the model, and some models hand on to a tower that does not read it."""


class SharedImages:
    """Mixed into a tower's class; `skinflow_images` are the images of all calls: those seen, those computed.

    It stands in `__call__`, because swift and accelerate replace `forward` on the instance, before or after
    this; so hooks on the tower see distinct images only.
    """

    config: Any
    skinflow_kind: ClassVar[str]
    skinflow_images: tuple[int, int]

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """The tower's output for these arguments."""
        call: Any = super().__call__  # type: ignore[misc]
        tracing: Any = torch.jit  # its functions are exported by no name that a type checker knows
        if torch.compiler.is_compiling() or tracing.is_tracing():  # there, which are equal is not known
            return call(*arguments, **keywords)
        names = argument_names(self)
        given = dict(zip(names, arguments, strict=False))
        values = {**given, **keywords}
        inputs = self._inputs(values, names[0]) if len(arguments) <= len(names) else {}
        copies = self._copies(values, inputs) if inputs else None
        if copies is None:
            return call(*arguments, **keywords)
        taken = {name: images.take(copies.first) for name, images in inputs.items()}
        output = call(
            *(taken.get(name, value) for name, value in given.items()),
            **{name: taken.get(name, value) for name, value in keywords.items()},
        )
        lengths = inputs[names[0]].lengths
        return self._repeated(output, [lengths[number] for number in copies.first], copies)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A pickle or a copy names the tower's own class, as ours is made anew in each process."""
        made: Any = super().__reduce_ex__(protocol)
        return (_empty, (own_class(type(self)), self.skinflow_kind), *made[2:])

    def _inputs(self, values: Mapping[str, Any], pixels: str) -> dict[str, Images]:
        """The arguments with rows for each image, `pixels` first; empty when they are not as expected."""
        patches = values.get(pixels)
        # a tensor of another class, such as a fake one, or on "meta" holds no numbers to compare
        if type(patches) is not Tensor or patches.is_meta or not patches.ndim or not patches.numel():
            return {}
        if self.skinflow_kind == "packed":
            grid = values.get(GRID)
            if not isinstance(grid, Tensor) or grid.ndim != 2:
                return {}
            lengths = tuple(grid.prod(-1).tolist())
            if sum(lengths) != len(patches) or not all(lengths):
                return {}
            return {pixels: Images(patches, lengths), GRID: Images(grid, (1,) * len(grid))}
        rows = {pixels: patches, **{name: values[name] for name in MASKS if values.get(name) is not None}}
        if any(not isinstance(each, Tensor) or each.shape[:1] != patches.shape[:1] for each in rows.values()):
            return {}
        return {name: Images(each, (1,) * len(each)) for name, each in rows.items()}

    def _copies(self, values: Mapping[str, Any], inputs: Mapping[str, Images]) -> Copies | None:
        """The copies among a call's images, which are counted; None when none are, or none may be shared."""
        count = computed = len(next(iter(inputs.values())).lengths)
        copies = None
        if count > 1 and not (
            any(_may_hold_rows(values[name]) for name in values.keys() - inputs.keys() - OF_THE_TEXT)
            or any(each.tensor.requires_grad for each in inputs.values())
            or values.get("output_attentions", getattr(self.config, "output_attentions", False))
            or differing_part(self, training=True)
        ):
            copies = copies_among(list(inputs.values()))
            computed = len(copies.first)
        seen = self.skinflow_images
        self.skinflow_images = (seen[0] + count, seen[1] + computed)
        return copies if computed < count else None

    def _repeated(self, output: Any, lengths: Sequence[int], copies: Copies) -> Any:
        """The output as if every image had been computed; `lengths` are of those that were."""
        # A packed tower has rows for patches, and for tokens that are made of merge x merge patches each.
        merge = getattr(self, "spatial_merge_size", 1) if self.skinflow_kind == "packed" else 1
        done: dict[int, Tensor] = {}  # the last of `hidden_states` may be `last_hidden_state`

        def shares(rows: int) -> list[int] | None:
            for patches in (1, merge**2):
                if rows * patches == sum(lengths) and not any(length % patches for length in lengths):
                    return [length // patches for length in lengths]
            return None

        def of(value: Any) -> Any:
            if isinstance(value, Tensor) and value.ndim and (found := shares(len(value))):
                if id(value) not in done:
                    done[id(value)] = repeat(value, found, copies.which)
                return done[id(value)]
            if isinstance(value, dict):  # a ModelOutput is one
                for name, part in list(value.items()):
                    value[name] = of(part)
                return value
            if isinstance(value, (tuple, list)):
                parts = map(of, value)
                return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
            if value is None or isinstance(value, (bool, int, float, str)):
                return value
            what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            message = (
                f"{type(self).__name__} gave {what}, and which image each part of it belongs to is unknown "
                f"(distinct images: {len(lengths)}, rows: {sum(lengths)})"
            )
            hint = "set it to false for this model"
            raise InputError(Problem(message, path="speed.distinct_images", hint=hint))

        return of(output)


def argument_names(tower: Any) -> tuple[str, ...]:
    """The names of the arguments that a module's class takes by place, without self."""
    return _names(type(tower).forward)


@cache
def _names(forward: Any) -> tuple[str, ...]:
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(forward).parameters.values()
    return tuple(each.name for each in found if each.kind in by_place)[1:]


def differing_part(tower: Any, *, training: bool = False) -> str:
    """What gives two copies of an image different outputs, in words; "" when nothing does.

    With `training`, only parts in training mode count.
    """
    modules: list[tuple[str, nn.Module]] = list(tower.named_modules())
    for name, module in modules:
        if training and not module.training:
            continue
        if isinstance(module, _BatchNorm):
            return f"{name} in the vision tower normalises over the images of a batch"
        dropout = "drop" in type(module).__name__.lower()
        for key, value in vars(module).items():
            if ("drop" in key or (dropout and key in ("p", "prob"))) and _is_chance(value):
                hint = "; with lora_dropout 0 they are the same" if "lora_dropout" in name else ""
                where = f"{name} in the vision tower" if name else "the vision tower"
                return (
                    f"{where} drops at random ({key} {value:g}), differently for each copy of an image{hint}"
                )
    return ""


def _is_chance(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _may_hold_rows(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(map(_may_hold_rows, value))
    return isinstance(value, Tensor) and value.ndim > 0


@cache
def shared_class(base: Any, kind: str) -> Any:
    """The class of a shared tower made from its own class, for a seam's `images`; made once."""
    # transformers finds what it records of a tower by its class's module and name, and FSDP its blocks.
    names = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(base.__name__, (SharedImages, base), {**names, "skinflow_kind": kind})


def own_class(kind: type) -> Any:
    """The class that a shared tower had."""
    line = kind.__mro__
    return line[line.index(SharedImages) + 1]


def _empty(base: Any, kind: str) -> Any:
    made = shared_class(base, kind)
    return made.__new__(made)
