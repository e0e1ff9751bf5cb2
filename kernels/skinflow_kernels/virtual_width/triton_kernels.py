"""The Triton kernels of the virtual-width linear layer; `triton_path` says in which order they run.

All of them add up in float32, and each sum always in the same order. The last axis of every matrix is
contiguous; the distance between rows is an argument (`..._row`), and so is that between matrices (`basis`).
Whatever grows with tokens, images or bands moves a 64-bit pointer; offsets within a tile have 32 bits, for
their registers. Axis letters: T tokens packed over images, S images, O output features (rows of the weight),
I input features (its columns), K bands, M tiles of tokens, each of one image.

ALIGN, a power of two, divides every size and every distance. Triton finds that out by itself for 16; 3420 is
a multiple of 4, and without a word about it no load of such a matrix would be vectorised, or copied ahead.
Numbers that change from batch to batch are not specialised: nothing is compiled anew for another batch.
WIDEN is for Triton's interpreter, which multiplies the bit patterns of bfloat16 as if they were integers:
there every operand is made float32 first.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _multiple(number, ALIGN: tl.constexpr):
    return number // ALIGN * ALIGN


@triton.jit(do_not_specialize=["images"], do_not_specialize_on_alignment=["delta"])
def mix(
    weight, bases, delta, mixed, images, bands, rows, columns, weight_row, basis, basis_row,
    IMAGES: tl.constexpr, BLOCK: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """A part of the weight (rows, columns) mixed for every image: (S, rows, columns), contiguous.

    W_s = W + sum_k delta_sk B_k, rounded once. A program reads a piece of the weight and of all its bases
    once, for IMAGES images. The weight is added to, never multiplied: without amplitudes it comes out bit for
    bit.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    image = tl.program_id(2) * IMAGES + tl.arange(0, IMAGES)
    columns = _multiple(columns, ALIGN)
    inside, known = column < columns, image < images
    own = tl.load(weight + row * _multiple(weight_row, ALIGN) + column, mask=inside, other=0.0)
    total = tl.zeros((IMAGES, BLOCK), tl.float32) + own.to(tl.float32)[None, :]
    bases += row * _multiple(basis_row, ALIGN)
    for band in range(bands):
        part = tl.load(bases + column, mask=inside, other=0.0).to(tl.float32)
        amplitude = tl.load(delta + image * bands + band, mask=known, other=0.0)
        total += amplitude[:, None] * part[None, :]
        bases += _multiple(basis, ALIGN)
    place = mixed + (image.to(tl.int64)[:, None] * rows + row) * columns + column[None, :]
    tl.store(place, total.to(mixed.dtype.element_ty), mask=known[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["begin", "end"])
def image_matmul(
    tokens, weight, bases, delta, bias, gain_in, gain_out, other, output, partial,
    tile_image, tile_row, segments, begin, end, bands, columns, inner, first, width,
    token_row, weight_image, weight_row, basis, basis_row, other_row,
    OVER_ROWS: tl.constexpr, MIX: tl.constexpr, BIAS: tl.constexpr, GAIN_IN: tl.constexpr,
    GAIN_OUT: tl.constexpr, DOT_OTHER: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
    ALIGN: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Tokens times the weight of their image: tokens (T, inner) to `columns` columns of output (T, width).

    output_t = gain_out_s (W_s (gain_in_s tokens_t)) + bias for the columns from `first` on, and the tokens of
    the images from `begin` to `end`. OVER_ROWS: the columns are rows of W_s, whose own columns are summed
    over, as in the layer; else the transpose, as in dx. W_s is read from `weight`, mixed before by `mix`:
    those columns of those images and nothing else. Or, with MIX, it is mixed here from the whole `weight` and
    `bases` (`first` is 0), tile by tile, which pays when an image has few tokens. DOT_OTHER gives
    `partial` (M, width): the sum over the tokens of each tile of other_t (T, width) times W_s (...), before
    gain_out.
    """
    columns, inner = _multiple(columns, ALIGN), _multiple(inner, ALIGN)
    first, width = _multiple(first, ALIGN), _multiple(width, ALIGN)
    weight_row, basis_row = _multiple(weight_row, ALIGN), _multiple(basis_row, ALIGN)
    token_row, other_row = _multiple(token_row, ALIGN), _multiple(other_row, ALIGN)
    blocks = tl.cdiv(columns, BLOCK_N)
    # Neighbouring programs share their tokens; the weight of their image stays in the cache between tiles.
    tile = tl.program_id(0) // blocks
    image = tl.load(tile_image + tile)
    if (image < begin) | (image >= end):  # a tile that does not exist has image -1
        return
    row = tl.load(tile_row + tile)
    t = tl.arange(0, BLOCK_T)
    real = t < (tl.load(segments + image + 1) - row).to(tl.int32)
    n = (tl.program_id(0) % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    within = n < columns
    tokens += row * token_row
    if not MIX:
        weight += (image - begin) * _multiple(weight_image, ALIGN)
    total = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for start in range(0, inner, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        deep = c < inner
        place = tokens + t[:, None] * token_row + c[None, :]
        left = tl.load(place, mask=real[:, None] & deep[None, :], other=0.0)
        if GAIN_IN:
            gain = tl.load(gain_in + image * inner + c, mask=deep, other=0.0).to(tl.float32)
            left = (left.to(tl.float32) * gain[None, :]).to(tokens.dtype.element_ty)
        valid = deep[:, None] & within[None, :]
        if OVER_ROWS:
            place = n[None, :] * weight_row + c[:, None]
        else:
            place = c[:, None] * weight_row + n[None, :]
        right = tl.load(weight + place, mask=valid, other=0.0)
        if MIX:
            right = right.to(tl.float32)
            if OVER_ROWS:
                place = n[None, :] * basis_row + c[:, None]
            else:
                place = c[:, None] * basis_row + n[None, :]
            of_band = bases
            for band in range(bands):
                part = tl.load(of_band + place, mask=valid, other=0.0).to(tl.float32)
                right += tl.load(delta + image * bands + band) * part
                of_band += _multiple(basis, ALIGN)
            right = right.to(tokens.dtype.element_ty)
        if WIDEN:
            left, right = left.to(tl.float32), right.to(tl.float32)
        total = tl.dot(left, right, total, input_precision=PRECISION)
    inside = real[:, None] & within[None, :]
    if DOT_OTHER:
        place = other + row * other_row + first + t[:, None] * other_row + n[None, :]
        product = tl.load(place, mask=inside, other=0.0).to(tl.float32) * total
        tl.store(partial + tile.to(tl.int64) * width + first + n, tl.sum(product, axis=0), mask=within)
    if GAIN_OUT:
        gain = tl.load(gain_out + image * width + first + n, mask=within, other=0.0).to(tl.float32)
        total *= gain[None, :]
    if BIAS:
        total += tl.load(bias + first + n, mask=within, other=0.0).to(tl.float32)[None, :]
    place = output + row * width + first + t[:, None] * width + n[None, :]
    tl.store(place, total.to(output.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["images", "each"])
def outer(
    dy, x, gain_in, gain_out, weight, bases, delta, segments, d_weight, d_delta, d_gain, products,
    images, each, bands, rows, columns, first, width, dy_row, x_row, weight_row, basis, basis_row,
    GAIN_IN: tl.constexpr, GAIN_OUT: tl.constexpr, D_WEIGHT: tl.constexpr, D_DELTA: tl.constexpr,
    D_GAIN: tl.constexpr, KEEP: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr,
    ALIGN: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """G_s = sum_t dy_t (gain_in_s x_t)^T, and at once all that is asked of it, while it is in registers.

    A program has a tile of `rows` x `columns` of the weight, from row `first` of `width` on, and walks over
    `each` images. With f = gain_out: D_WEIGHT adds up f G_s over images, (width, columns); D_DELTA gives the
    tile's part of <B_k, f G_s>, to d_delta (S, K, tiles of the weight); D_GAIN the part of its columns of the
    row sums of W_s G_s, to d_gain (S, column blocks, width); KEEP writes f G_s itself, (S, rows, columns).
    """
    rows, columns, first = _multiple(rows, ALIGN), _multiple(columns, ALIGN), _multiple(first, ALIGN)
    dy_row, x_row = _multiple(dy_row, ALIGN), _multiple(x_row, ALIGN)
    weight_row, basis_row = _multiple(weight_row, ALIGN), _multiple(basis_row, ALIGN)
    blocks = tl.cdiv(columns, BLOCK_I)
    o = (tl.program_id(0) // blocks) * BLOCK_O + tl.arange(0, BLOCK_O)
    block = tl.program_id(0) % blocks
    i = block * BLOCK_I + tl.arange(0, BLOCK_I)
    known_o, known_i = o < rows, i < columns
    known = known_o[:, None] & known_i[None, :]
    weight += first * weight_row
    bases += first * basis_row
    if D_WEIGHT:
        all_images = tl.zeros((BLOCK_O, BLOCK_I), tl.float32)
    begin = tl.program_id(1).to(tl.int64) * each
    for image in range(begin, tl.minimum(begin + each, images)):
        start = tl.load(segments + image).to(tl.int64)
        length = (tl.load(segments + image + 1).to(tl.int64) - start).to(tl.int32)
        of_dy = dy + start * dy_row + first
        of_x = x + start * x_row
        product = tl.zeros((BLOCK_O, BLOCK_I), tl.float32)
        for at in range(0, length, BLOCK_T):
            t = tl.arange(0, BLOCK_T)
            real = t < length - at
            place = of_dy + t[None, :] * dy_row + o[:, None]
            left = tl.load(place, mask=known_o[:, None] & real[None, :], other=0.0)
            place = of_x + t[:, None] * x_row + i[None, :]
            right = tl.load(place, mask=real[:, None] & known_i[None, :], other=0.0)
            if WIDEN:
                left, right = left.to(tl.float32), right.to(tl.float32)
            product = tl.dot(left, right, product, input_precision=PRECISION)
            of_dy += dy_row * BLOCK_T
            of_x += x_row * BLOCK_T
        if GAIN_IN:
            # A factor of the whole sum: within it tokens would pass through registers on their way.
            c = tl.load(gain_in + image * columns + i, mask=known_i, other=0.0).to(tl.float32)
            product *= c[None, :]
        if GAIN_OUT:
            f = tl.load(gain_out + image * width + first + o, mask=known_o, other=0.0).to(tl.float32)
        if D_GAIN:
            own = tl.load(weight + o[:, None] * weight_row + i[None, :], mask=known, other=0.0)
            of_rows = tl.sum(own.to(tl.float32) * product, axis=1)
        if D_DELTA or D_GAIN:
            of_band = bases
            for band in range(bands):
                part = tl.load(of_band + o[:, None] * basis_row + i[None, :], mask=known, other=0.0)
                of_row = tl.sum(part.to(tl.float32) * product, axis=1)
                if D_GAIN:
                    of_rows += tl.load(delta + image * bands + band) * of_row
                if D_DELTA:
                    if GAIN_OUT:
                        of_row *= f
                    place = d_delta + (image * bands + band) * tl.num_programs(0) + tl.program_id(0)
                    tl.store(place, tl.sum(of_row, axis=0))
                of_band += _multiple(basis, ALIGN)
        if D_GAIN:
            tl.store(d_gain + (image * blocks + block) * width + first + o, of_rows, mask=known_o)
        if GAIN_OUT:
            product *= f[:, None]
        if D_WEIGHT:
            all_images += product
        if KEEP:
            place = products + image * rows * columns + o[:, None] * columns + i[None, :]
            tl.store(place, product, mask=known)
    if D_WEIGHT:
        place = d_weight + (first + o[:, None]) * columns + i[None, :]
        tl.store(place, all_images.to(d_weight.dtype.element_ty), mask=known)


@triton.jit(do_not_specialize=["images"])
def spread(
    products, delta, d_weight, d_bases, images, bands, size, first, basis,
    D_WEIGHT: tl.constexpr, BANDS: tl.constexpr, BLOCK: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """dW = sum_s f G_s and dB_k = sum_s delta_sk f G_s, from `size` numbers of f G_s for each image.

    They stand from the element `first` on in d_weight (O, I) and in every basis of d_bases (K, O, I), whose
    distance is `basis`. A program has BANDS bands.
    """
    size, first, basis = _multiple(size, ALIGN), _multiple(first, ALIGN), _multiple(basis, ALIGN)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    band = tl.program_id(1) * BANDS + tl.arange(0, BANDS)
    inside, known = at < size, band < bands
    parts = tl.zeros((BANDS, BLOCK), tl.float32)
    whole = tl.zeros((BLOCK,), tl.float32)
    for image in range(images):
        product = tl.load(products + at, mask=inside, other=0.0)
        parts += tl.load(delta + image * bands + band, mask=known, other=0.0)[:, None] * product[None, :]
        if D_WEIGHT:
            whole += product
        products += size
    place = d_bases + band.to(tl.int64)[:, None] * basis + first + at[None, :]
    tl.store(place, parts.to(d_bases.dtype.element_ty), mask=known[:, None] & inside[None, :])
    if D_WEIGHT:
        if tl.program_id(1) == 0:
            tl.store(d_weight + first + at, whole.to(d_weight.dtype.element_ty), mask=inside)
