"""The gradients of a virtual-width linear layer, slab by slab; the formulas stand in `torch_path`.

Axis letters: T tokens packed over images, S images, I input features, O output features, K bands, R output
rows of a slab.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinflow_kernels.segments import equal_runs
from skinflow_kernels.slabs import Slabs


def input_gradient(dy: Tensor, slabs: Slabs, output_gain: Tensor | None, lengths: list[int]) -> Tensor:
    """The gradient of the gated input, from that of the output (T, O): (T, I), in the wide dtype."""
    features = slabs.weight.shape[1]
    dz = dy.new_empty((len(dy), features), dtype=slabs.wide)
    scratch = slabs.scratch(slabs.wide)
    room = dy.new_empty(len(dy) * slabs.rows) if output_gain is not None else dy
    for rows in slabs:
        mixed = slabs.mixed(scratch, rows).to(dy.dtype)
        for images, tokens, length in equal_runs(lengths):
            part = dy[tokens].view(-1, length, dy.shape[1])[..., rows]
            if output_gain is not None:
                part = torch.mul(
                    part, output_gain[images, None, rows], out=room[: part.numel()].view(part.shape)
                )
            target = dz[tokens].view(-1, length, features)
            if dz.dtype == dy.dtype:
                torch.baddbmm(target, part, mixed[images], beta=int(rows.start > 0), out=target)
            elif rows.start == 0:
                target.copy_(torch.bmm(part, mixed[images]))
            else:  # slabs are added up in the wide dtype: their number must not cost precision
                target.add_(torch.bmm(part, mixed[images]))
    return dz


def weight_gradients(
    dy: Tensor,
    z: Tensor,
    slabs: Slabs,
    output_gain: Tensor | None,
    lengths: list[int],
    wants: tuple[bool, bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of weight, bases, delta and output gain, each if wanted, from dy (T, O) and z (T, I).

    z is the gated input. All four need of the tokens only G_s = sum_t dy_t z_t^T (S, R, I), a slab at a time.
    """
    wants_weight, wants_bases, wants_delta, wants_out = wants
    if not any(wants):
        return None, None, None, None
    weight, bases, delta, wide = slabs.weight, slabs.bases, slabs.delta, slabs.wide
    d_weight = weight.new_empty(weight.shape) if wants_weight else None
    d_bases = bases.new_empty(bases.shape) if wants_bases else None
    d_delta = delta.new_zeros(delta.shape) if wants_delta else None
    d_out = output_gain.new_empty(output_gain.shape) if output_gain is not None and wants_out else None
    scratch = slabs.scratch(z.dtype)
    for rows in slabs:
        outer = slabs.view(scratch, rows)
        for images, tokens, length in equal_runs(lengths):
            part = dy[tokens].view(-1, length, dy.shape[1])[..., rows]
            torch.bmm(part.mT, z[tokens].view(-1, length, z.shape[1]), out=outer[images])
        outer = outer.to(wide)
        gain = None if output_gain is None else output_gain[:, rows].to(wide)
        if d_delta is not None or d_out is not None:
            # Row by row: the output gain weighs rows, and its own gradient is a sum within each.
            columns = outer.permute(1, 2, 0)  # (R, I, S)
            on_bases = torch.bmm(bases[:, rows].transpose(0, 1).to(wide), columns)  # (R, K, S)
            if d_out is not None:
                on_weight = torch.bmm(weight[rows, None].to(wide), columns)[:, 0]  # (R, S)
                d_out[:, rows] = (on_weight + (on_bases * delta.T).sum(1)).T
            if d_delta is not None:
                d_delta += (on_bases if gain is None else on_bases * gain.T[:, None]).sum(0).T
        if gain is not None and (wants_weight or wants_bases):
            outer.mul_(gain[..., None])
        if d_weight is not None:
            _into(d_weight[rows], torch.sum, outer, 0)
        if d_bases is not None:
            _into(d_bases[:, rows].flatten(1), torch.mm, delta.T, outer.flatten(1))
    return d_weight, d_bases, d_delta, d_out


def _into(target: Tensor, operation: Callable[..., Tensor], first: Tensor, second: Tensor | int) -> None:
    """The operation's result written straight into the target, or rounded into it if dtypes differ."""
    if target.dtype == first.dtype:
        operation(first, second, out=target)
    else:
        target.copy_(operation(first, second))
