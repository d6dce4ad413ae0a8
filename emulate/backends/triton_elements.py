"""Rounding of float16, bfloat16 and float32 tensors to formats without scales, to values or codes, in Triton.

Programs of one dimension over flat memory; formats, modes, seeds and offsets are run-time data, so that a kernel
is compiled once for each pair of dtypes and kind of rounding.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from .triton_kernels import (
    codes_of,
    held,
    in_book,
    round_deterministic,
    round_stochastic,
    transformed,
    widened,
    words_at,
    words_of_quads,
)


@triton.jit
def _stored(r, out, at, inside, p, LAYOUT: tl.constexpr, TARGET: tl.constexpr, M: tl.constexpr, WIDTH: tl.constexpr):
    """Rounded numbers, or where the target is 'codes' their codes, to memory."""
    r = codes_of(r, p, M, WIDTH) if TARGET == "codes" else held(r, LAYOUT, TARGET)
    tl.store(out + at, r.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _loaded(
    x, at, inside, signs, norm,
    SOURCE: tl.constexpr, LAYOUT: tl.constexpr, HADAMARD: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bits of the compute dtype, transformed in blocks of HADAMARD where that is not 0."""
    u = widened(tl.load(x + at, mask=inside, other=0), SOURCE, LAYOUT)
    if HADAMARD > 0:
        blocks = tl.reshape(u, (BLOCK // HADAMARD, HADAMARD))
        u = tl.reshape(transformed(blocks, signs, norm, BLOCK // HADAMARD, HADAMARD, STAGES), (BLOCK,))
    return u


@triton.jit
def deterministic(
    x, out, p, size, signs, norm,
    SOURCE: tl.constexpr, LAYOUT: tl.constexpr, TARGET: tl.constexpr, M: tl.constexpr, WIDTH: tl.constexpr,
    NEAREST: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr,
    HADAMARD: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Round `size` consecutive elements."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    u = _loaded(x, at, inside, signs, norm, SOURCE, LAYOUT, HADAMARD, STAGES, BLOCK)
    r = round_deterministic(u, p, M, WIDTH, NEAREST, SAME, CLAMPS, KEEPS)
    _stored(r, out, at, inside, p, LAYOUT, TARGET, M, WIDTH)


@triton.jit(do_not_specialize=["blocks"])
def stochastic(
    x, out, p, size, key, starts, blocks, signs, norm,
    SOURCE: tl.constexpr, LAYOUT: tl.constexpr, TARGET: tl.constexpr, M: tl.constexpr, WIDTH: tl.constexpr,
    FEW: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr,
    QUADS: tl.constexpr, HADAMARD: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Round rows of `size` consecutive elements, `blocks` programs a row, with random words.

    Args:
        starts: points at the int64 logical index of the first element of each row.
        QUADS: all rows start at multiples of four, so that four neighbours share a Philox call.
    """
    row = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK
    local = first + tl.arange(0, BLOCK)
    inside = local < size
    at = row.to(tl.int64) * size + local
    start = tl.load(starts + row) + first
    if QUADS:
        words = tl.reshape(words_of_quads((start >> 2) + tl.arange(0, BLOCK // 4), key), (BLOCK,))
    else:
        words = words_at(start + tl.arange(0, BLOCK), key)
    u = _loaded(x, at, inside, signs, norm, SOURCE, LAYOUT, HADAMARD, STAGES, BLOCK)
    r = round_stochastic(u, words, p, M, WIDTH, FEW, SAME, CLAMPS, KEEPS)
    _stored(r, out, at, inside, p, LAYOUT, TARGET, M, WIDTH)


@triton.jit(do_not_specialize=["specials"])
def codebook(
    x, out, thresholds, results, size, specials, signs, norm,
    SOURCE: tl.constexpr, LAYOUT: tl.constexpr, TARGET: tl.constexpr, M: tl.constexpr, WIDTH: tl.constexpr,
    STEPS: tl.constexpr, HADAMARD: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Look `size` consecutive elements up in a list of values; see `triton_kernels.in_book`."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    u = _loaded(x, at, inside, signs, norm, SOURCE, LAYOUT, HADAMARD, STAGES, BLOCK)
    r = in_book(u, thresholds, specials, results, STEPS, M, WIDTH)
    r = r if TARGET == "codes" else held(r, LAYOUT, TARGET)
    tl.store(out + at, r.to(out.dtype.element_ty), mask=inside)


@triton.jit
def rotation(
    x, out, size, signs, norm,
    SOURCE: tl.constexpr, TARGET: tl.constexpr, HADAMARD: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The Hadamard transform of blocks of consecutive elements, rounded once to the target dtype."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    u = _loaded(x, at, inside, signs, norm, SOURCE, "float32", HADAMARD, STAGES, BLOCK)
    value = u.to(tl.float32, bitcast=True)
    if TARGET == "float16":
        r = value.to(tl.float16).to(tl.int16, bitcast=True)
    elif TARGET == "bfloat16":
        r = (u + 0x7FFF + ((u >> 16) & 1)) >> 16
    else:
        r = u
    nan = 0x7E00 if TARGET == "float16" else 0x7FC0 if TARGET == "bfloat16" else 0x7FC00000
    tl.store(out + at, tl.where(value != value, nan, r).to(out.dtype.element_ty), mask=inside)


@triton.jit
def decoding(codes, out, table, size, BLOCK: tl.constexpr):
    """out = table[codes] of `size` consecutive codes."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    code = tl.load(codes + at, mask=inside, other=0).to(tl.int32)
    tl.store(out + at, tl.load(table + code, mask=inside, other=0), mask=inside)
