"""The Triton kernels of the descriptor. Sums are in float32, and each always in the same order.

Axis letters: T tokens packed over images, S images, N features, M tiles of tokens, each of one image, A
features of the router's hidden layer. The last axis of every matrix is contiguous; `..._row` are distances
between rows, and ALIGN, a power of two, divides them and the number of features.
"""

from __future__ import annotations

import triton
import triton.language as tl

from skinflow_kernels.triton_tiles import sum_of_tiles


@triton.jit
def _tile(
    tile_image, tile_row, segments, keep, features, tile,
    KEEP: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """Of one tile: its image, first token, which tokens and features there are, and which tokens count."""
    features = features // ALIGN * ALIGN
    image = tl.load(tile_image + tile)
    row = tl.load(tile_row + tile)
    real = tl.arange(0, BLOCK_T) < (tl.load(segments + image + 1) - row).to(tl.int32)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if KEEP:
        counted = tl.load(keep + row + tl.arange(0, BLOCK_T), mask=real, other=0) != 0
    else:
        counted = real
    return image, row, n, real[:, None] & (n < features)[None, :], counted


@triton.jit
def _leave_sums(
    values, counted, partial, kept, tile, n, features, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """The sum of a tile's counted tokens to partial (M, N), their number to kept (M,)."""
    # What is not counted may be anything, infinities included.
    total = tl.sum(tl.where(counted[:, None], values, 0.0), axis=0)
    tl.store(partial + tile.to(tl.int64) * features + n, total, mask=n < features)
    if tl.program_id(1) == 0:
        tl.store(kept + tile, tl.sum(counted.to(tl.float32), axis=0))


@triton.jit
def pool(
    x, keep, partial, kept, tile_image, tile_row, segments, features, x_row,
    KEEP: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The sums of the tokens of every tile: x (T, N) to partial (M, N) and kept (M,)."""
    tile = tl.program_id(0)
    if tl.load(tile_image + tile) < 0:
        return
    _, row, n, inside, counted = _tile(
        tile_image, tile_row, segments, keep, features, tile, KEEP, BLOCK_T, BLOCK_N, ALIGN
    )
    x_row = x_row // ALIGN * ALIGN
    place = x + row * x_row + tl.arange(0, BLOCK_T)[:, None] * x_row + n[None, :]
    values = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    _leave_sums(values, counted, partial, kept, tile, n, features, BLOCK_T)


@triton.jit
def average(
    partial, kept, first, means, counts, features, TILES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The mean over the tiles of every image: partial (M, N), kept (M,) to means (S, N), counts (S,) >= 1."""
    image = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = sum_of_tiles(partial, first, image, n, features, TILES, BLOCK)
    one = tl.arange(0, 1)
    count = tl.maximum(tl.sum(sum_of_tiles(kept, first, image, one, 1, TILES, 1), axis=0), 1.0)
    tl.store(means + image * features + n, total / count, mask=n < features)
    if tl.program_id(1) == 0:
        tl.store(counts + image, count)


@triton.jit
def spread_means(
    d_means, counts, keep, d_x, tile_image, tile_row, segments, features,
    KEEP: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The gradient of the tokens from that of their means: d_means (S, N) to d_x (T, N), contiguous."""
    tile = tl.program_id(0)
    if tl.load(tile_image + tile) < 0:
        return
    image, row, n, inside, counted = _tile(
        tile_image, tile_row, segments, keep, features, tile, KEEP, BLOCK_T, BLOCK_N, ALIGN
    )
    features = features // ALIGN * ALIGN
    share = tl.load(d_means + image * features + n, mask=n < features, other=0.0) / tl.load(counts + image)
    values = tl.where(counted[:, None], share[None, :], 0.0)
    place = d_x + row * features + tl.arange(0, BLOCK_T)[:, None] * features + n[None, :]
    tl.store(place, values.to(d_x.dtype.element_ty), mask=inside)


@triton.jit
def _tanh(x):
    # Without an exponential that overflows; near zero, where 1 - exp has no digits left, by its series.
    small = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - small) / (1.0 + small)
    y = x * x
    series = x * (1.0 + y * (-1.0 / 3.0 + y * (2.0 / 15.0 + y * (-17.0 / 315.0 + y * (62.0 / 2835.0)))))
    return tl.where(tl.abs(x) < 0.25, series, tl.where(x < 0, -size, size))


@triton.jit
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1.0) / (1.0 + small)


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    """An activation and its derivative at x; the names are those of `activation.ACTIVATIONS`."""
    if ACTIVATION == "silu":
        s = _sigmoid(x)
        value, slope = x * s, s * (1.0 + x * (1.0 - s))
    elif ACTIVATION == "quick_gelu":
        s = _sigmoid(1.702 * x)
        value, slope = x * s, s * (1.0 + 1.702 * x * (1.0 - s))
    elif ACTIVATION == "gelu":
        below = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        value, slope = x * below, below + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    else:  # gelu_tanh
        t = _tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
        inner = 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * x * x)
        value, slope = 0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
    return value, slope


@triton.jit
def activate(
    up, gate, hidden, keep, partial, kept, tile_image, tile_row, segments, features, up_row, gate_row,
    ACTIVATION: tl.constexpr, GATED: tl.constexpr, KEEP: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """act(up), or act(gate) up, to hidden (T, N), contiguous; and its sums, while it is in registers."""
    tile = tl.program_id(0)
    if tl.load(tile_image + tile) < 0:
        return
    _, row, n, inside, counted = _tile(
        tile_image, tile_row, segments, keep, features, tile, KEEP, BLOCK_T, BLOCK_N, ALIGN
    )
    features, up_row = features // ALIGN * ALIGN, up_row // ALIGN * ALIGN
    t = tl.arange(0, BLOCK_T)[:, None]
    values = tl.load(up + row * up_row + t * up_row + n[None, :], mask=inside, other=0.0).to(tl.float32)
    if GATED:
        gate_row = gate_row // ALIGN * ALIGN
        gates = tl.load(gate + row * gate_row + t * gate_row + n[None, :], mask=inside, other=0.0)
        values *= _activated(gates.to(tl.float32), ACTIVATION)[0]
    else:
        values = _activated(values, ACTIVATION)[0]
    rounded = values.to(hidden.dtype.element_ty)
    tl.store(hidden + row * features + t * features + n[None, :], rounded, mask=inside)
    _leave_sums(rounded.to(tl.float32), counted, partial, kept, tile, n, features, BLOCK_T)


@triton.jit
def activate_backward(
    up, gate, d_hidden, d_means, counts, keep, d_up, d_gate, tile_image, tile_row, segments, features,
    up_row, gate_row, d_hidden_row,
    ACTIVATION: tl.constexpr, GATED: tl.constexpr, KEEP: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The gradients of up and gate, (T, N), contiguous, from those of hidden (T, N) and its means (S, N)."""
    tile = tl.program_id(0)
    if tl.load(tile_image + tile) < 0:
        return
    image, row, n, inside, counted = _tile(
        tile_image, tile_row, segments, keep, features, tile, KEEP, BLOCK_T, BLOCK_N, ALIGN
    )
    features, up_row = features // ALIGN * ALIGN, up_row // ALIGN * ALIGN
    d_hidden_row = d_hidden_row // ALIGN * ALIGN
    t = tl.arange(0, BLOCK_T)[:, None]
    place = d_hidden + row * d_hidden_row + t * d_hidden_row + n[None, :]
    d = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    share = tl.load(d_means + image * features + n, mask=n < features, other=0.0) / tl.load(counts + image)
    d += tl.where(counted[:, None], share[None, :], 0.0)
    ups = tl.load(up + row * up_row + t * up_row + n[None, :], mask=inside, other=0.0).to(tl.float32)
    out = row * features + t * features + n[None, :]
    if GATED:
        gate_row = gate_row // ALIGN * ALIGN
        gates = tl.load(gate + row * gate_row + t * gate_row + n[None, :], mask=inside, other=0.0)
        value, slope = _activated(gates.to(tl.float32), ACTIVATION)
        tl.store(d_up + out, (d * value).to(d_up.dtype.element_ty), mask=inside)
        tl.store(d_gate + out, (d * ups * slope).to(d_gate.dtype.element_ty), mask=inside)
    else:
        slope = _activated(ups, ACTIVATION)[1]
        tl.store(d_up + out, (d * slope).to(d_up.dtype.element_ty), mask=inside)


@triton.jit
def reduce(means, weight, z, features, width, BLOCK_A: tl.constexpr, BLOCK: tl.constexpr):
    """The router's first layer: means (S, N) times weight (A, N) to z (S, A)."""
    image = tl.program_id(0).to(tl.int64)
    a = tl.program_id(1) * BLOCK_A + tl.arange(0, BLOCK_A)
    total = tl.zeros((BLOCK_A,), tl.float32)
    for start in range(0, features, BLOCK):
        n = start + tl.arange(0, BLOCK)
        mean = tl.load(means + image * features + n, mask=n < features, other=0.0)
        known = (a < width)[:, None] & (n < features)[None, :]
        part = tl.load(weight + a[:, None] * features + n[None, :], mask=known, other=0.0).to(tl.float32)
        total += tl.sum(part * mean[None, :], axis=1)
    tl.store(z + image * width + a, total, mask=a < width)


@triton.jit
def head(
    z, norm, weight, bias, gains, size, width, epsilon, around,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A head of the router: gains (S, size) = around + tanh((weight relu(rms_norm(z)) + bias) / 2)."""
    image = tl.program_id(0).to(tl.int64)
    a = tl.arange(0, WIDTH)
    own = tl.load(z + image * width + a, mask=a < width, other=0.0)
    scale = 1.0 / tl.sqrt(tl.sum(own * own, axis=0) / width + epsilon)
    hidden = tl.maximum(own * scale * tl.load(norm + a, mask=a < width, other=0.0).to(tl.float32), 0.0)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    known = (n < size)[:, None] & (a < width)[None, :]
    part = tl.load(weight + n[:, None] * width + a[None, :], mask=known, other=0.0).to(tl.float32)
    logit = tl.sum(part * hidden[None, :], axis=1)
    logit += tl.load(bias + n, mask=n < size, other=0.0).to(tl.float32)
    tl.store(gains + image * size + n, around + _tanh(0.5 * logit), mask=n < size)
