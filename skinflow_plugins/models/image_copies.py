"""Which images of a batch are copies of one another, bit for bit; one of each taken out, and its output put
back for every copy.

Axes: S images, R rows of a tensor's axis 0. The images stand one after another on that axis, each with rows
of its own: the patches of an image, or one row when a row is an image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SAMPLED = 64
"""How many numbers of an image are looked at to find what may be its copies."""

Pair = tuple[int, int]
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Copies:
    """`first` are the numbers of the distinct images, in their order; `which[i]` is the place in `first` of
    the one that image i is a copy of.
    """

    first: tuple[int, ...]
    which: tuple[int, ...]


@dataclass(frozen=True)
class Images:
    """A tensor (R, ...) of images, and how many rows each of them has."""

    tensor: Tensor
    lengths: tuple[int, ...]

    def samples(self) -> list[tuple[int, ...]]:
        """The bits of `SAMPLED` numbers spread over each image, for all images in one copy to the host."""
        width = self.tensor.shape[1:].numel()
        lengths = torch.tensor(self.lengths)
        sizes, starts = lengths * width, (lengths.cumsum(0) - lengths) * width
        middles = 2 * torch.arange(SAMPLED) + 1
        places = starts[:, None] + sizes[:, None] * middles // (2 * SAMPLED)
        found: list[list[int]] = _bits(self.tensor).reshape(-1)[places.to(self.tensor.device)].tolist()
        return [tuple(each) for each in found]

    def equal(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether the two images of each pair, of equal lengths, have the same bits; one copy to the host."""
        parts = _bits(self.tensor).split(self.lengths)
        found: list[bool] = torch.stack([(parts[a] == parts[b]).all() for a, b in pairs]).tolist()
        return found

    def take(self, numbers: Sequence[int]) -> Tensor:
        """The rows of some of the images, one after another."""
        parts = self.tensor.split(self.lengths)
        return torch.cat([parts[number] for number in numbers])


def copies_among(inputs: Sequence[Images]) -> Copies:
    """The copies among S images; copies have equal bits in every one of `inputs`, which tell of the same S.

    Waits for the device twice for each of `inputs`: for samples, which part most images, and for the proof
    that those with equal samples are equal; once more where they are not.
    """
    marks = [sequence for each in inputs for sequence in (each.lengths, each.samples())]

    def equal(pairs: Sequence[Pair]) -> list[bool]:
        return [all(found) for found in zip(*(each.equal(pairs) for each in inputs), strict=True)]

    return find_copies(list(zip(*marks, strict=True)), equal)


def find_copies(marks: Sequence[Hashable], equal: Callable[[Sequence[Pair]], list[bool]]) -> Copies:
    """The copies among images that have these marks; images with different marks are not compared.

    `equal` tells for each pair of numbers whether the two are copies; it is asked about many at once.
    """
    stands_for = list(range(len(marks)))
    alike: dict[Hashable, list[int]] = {}
    for number, mark in enumerate(marks):
        alike.setdefault(mark, []).append(number)
    waiting = list(alike.values())
    while waiting := [numbers for numbers in waiting if len(numbers) > 1]:
        pairs = [(numbers[0], other) for numbers in waiting for other in numbers[1:]]
        others = {other for (_, other), same in zip(pairs, equal(pairs), strict=True) if not same}
        for first, other in pairs:
            if other not in others:
                stands_for[other] = first
        waiting = [[number for number in numbers if number in others] for numbers in waiting]
    firsts = tuple(number for number, other in enumerate(stands_for) if number == other)
    places = {number: place for place, number in enumerate(firsts)}
    return Copies(firsts, tuple(places[number] for number in stands_for))


def repeat(tensor: Tensor, lengths: Sequence[int], which: Sequence[int]) -> Tensor:
    """The rows of a tensor of distinct images, of which number `which[i]` gives those of image i.

    The gradients of an image's copies are added up in fp32 and rounded once, in the same order each time;
    indexing would add them up in any order on a GPU.
    """
    apply: Any = _Repeat.apply
    result: Tensor = apply(tensor, tuple(lengths), tuple(which))
    return result


class _Repeat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, lengths: tuple[int, ...], which: tuple[int, ...]) -> Tensor:
        ctx.lengths, ctx.which = lengths, which
        parts = tensor.split(lengths)
        return torch.cat([parts[place] for place in which])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        copies: list[list[Tensor]] = [[] for _ in ctx.lengths]
        parts = gradient.split([ctx.lengths[place] for place in ctx.which])
        for place, part in zip(ctx.which, parts, strict=True):
            copies[place].append(part)
        # `sum` adds bf16 and fp16 up in fp32
        sums = [part[0] if len(part) == 1 else torch.stack(part).sum(0) for part in copies]
        return torch.cat(sums), None, None


def _bits(tensor: Tensor) -> Tensor:
    """The same numbers as integers: equal only when every bit is, and a NaN equals itself."""
    return tensor.view(_INTEGERS[tensor.element_size()])
