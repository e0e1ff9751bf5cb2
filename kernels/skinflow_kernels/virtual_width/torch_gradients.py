"""The gradients of a virtual-width linear layer, slab by slab; the formulas stand in `op`.

Axis letters: T tokens packed over images, S images, I input features, O output features, K bands, R output
rows of a slab.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skinflow_kernels.segments import equal_runs
from skinflow_kernels.virtual_width.slabs import Slabs


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
    # What an outer product counts in the gradient of each basis, and in that of the weight: (S, up to K + 1).
    shares = torch.cat(
        [delta[:, : len(bases) * wants_bases], delta.new_ones((len(delta), int(wants_weight)))], 1
    )
    d_parts = weight.new_empty((shares.shape[1], *weight.shape))
    d_delta = delta.new_zeros(delta.shape) if wants_delta else None
    d_out = output_gain.new_empty(output_gain.shape) if output_gain is not None and wants_out else None
    scratch = slabs.scratch(z.dtype)
    for rows in slabs:
        outer = slabs.view(scratch, rows)
        for images, tokens, length in equal_runs(lengths):
            part = dy[tokens].view(-1, length, dy.shape[1])[..., rows]
            torch.bmm(part.mT, z[tokens].view(-1, length, z.shape[1]), out=outer[images])
        # From here on row by row: the output gain weighs rows, and its own gradient is a sum within each.
        by_row = outer.to(wide).transpose(0, 1)  # (R, S, I)
        gain = None if output_gain is None else output_gain[:, rows].to(wide).T[:, None]  # (R, 1, S)
        if d_delta is not None or d_out is not None:
            on_bases = torch.bmm(bases[:, rows].transpose(0, 1).to(wide), by_row.mT)  # (R, K, S)
            if d_out is not None:
                on_weight = torch.bmm(weight[rows, None].to(wide), by_row.mT)  # (R, 1, S)
                d_out[:, rows] = (on_weight[:, 0] + (on_bases * delta.T).sum(1)).T
            if d_delta is not None:
                d_delta += (on_bases if gain is None else on_bases * gain).sum(0).T
        if wants_weight or wants_bases:
            share = shares.T.expand(len(by_row), -1, -1) if gain is None else shares.T * gain  # (R, P, S)
            target = d_parts[:, rows].transpose(0, 1)
            if target.dtype == wide:
                torch.bmm(share, by_row, out=target)
            else:
                target.copy_(torch.bmm(share, by_row))
    # A copy, because a gradient that is kept would keep the memory of all parts with it.
    d_weight = d_parts[-1].clone() if wants_weight else None
    d_bases = d_parts[: len(bases)] if wants_bases else None
    return d_weight, d_bases, d_delta, d_out
