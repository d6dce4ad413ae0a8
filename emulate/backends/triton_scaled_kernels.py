"""Fused kernels of scaled formats: the maxima, scales and elements of a tile of blocks while it is in registers.

A tensor is an array (outer, rows, columns), a block all of `rows` rows and `run` neighbouring columns; blocks of
consecutive elements have one row. A program takes a tile (ROWS, GROUPS, RUN) of GROUPS neighbouring blocks, or a
part of one block too long for a program, whose maximum `maxima` found before.

Each operation on floats is the single IEEE operation of the portable kernels, with gradual underflow: `div_rn`,
products that nothing is added to, compiled without fusion. Past the ends of the exponent range a finite result
becomes the largest number, as there.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from .triton_kernels import (
    codes_of,
    in_book,
    narrowed,
    product_to_odd,
    round_deterministic,
    round_stochastic,
    transformed,
    widened,
    words_at,
    words_of_quads,
)

_MASK = tl.constexpr(0x7FFFFFFF)
_INFINITY = tl.constexpr(0x7F800000)
_LARGEST = tl.constexpr(0x7F7FFFFF)
_NAN = tl.constexpr(0x7FC00000)
_ONE = tl.constexpr(0x3F800000)
NUMBERS = tl.constexpr(38)
"""Where the numbers of a scaled format begin among the parameters of its scales: add, threshold and exponent of
`scaled_tables.Fit`; the goal; the smallest scale; that of zeros; the numerator of NVIDIA's order."""


@triton.jit
def _floats(bits):
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _bits(floats):
    return floats.to(tl.int32, bitcast=True)


@triton.jit
def _finite(bits):
    """Positive bits, the largest number instead of infinity."""
    return tl.minimum(bits, _LARGEST)


@triton.jit
def _placed(
    rows, groups, run, columns,
    ROW_CHUNKS: tl.constexpr, RUN_CHUNKS: tl.constexpr,
    ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Where this program's tile lies.

    Returns:
        base: index of its first element, int64; local (ROWS, GROUPS, RUN): indices from there; inside: which of
        them are elements; block (GROUPS,): indices of its blocks in the grid of scales; there: which are blocks; ours:
        those whose first tile this is.
    """
    pid = tl.program_id(0)
    run_chunks = tl.cdiv(run, RUN) if RUN_CHUNKS else 1
    row_chunks = tl.cdiv(rows, ROWS) if ROW_CHUNKS else 1
    tiles = tl.cdiv(groups, GROUPS)
    j0, pid = pid % run_chunks, pid // run_chunks
    g0, pid = pid % tiles, pid // tiles
    r0, outer = pid % row_chunks, pid // row_chunks
    g = g0 * GROUPS + tl.arange(0, GROUPS)
    width = RUN if WHOLE else run
    base = (outer.to(tl.int64) * rows + r0 * ROWS) * columns + g0.to(tl.int64) * GROUPS * width + j0 * RUN
    local = (tl.arange(0, GROUPS) * width)[None, :, None] + tl.arange(0, RUN)[None, None, :]
    there = g < groups
    inside = there[None, :, None]
    if not WHOLE:
        inside = inside & (j0 * RUN + tl.arange(0, RUN) < run)[None, None, :]
    if ROWS > 1:
        r = tl.arange(0, ROWS)
        local = local + (r.to(tl.int64) * columns)[:, None, None]
        inside = inside & (r0 * ROWS + r < rows)[:, None, None]
    return base, local, inside, outer.to(tl.int64) * groups + g, there, g < tl.where(r0 + j0 == 0, groups, 0)


@triton.jit
def _loaded(
    x, base, local, inside, signs, norm,
    SOURCE: tl.constexpr, HADAMARD: tl.constexpr, STAGES: tl.constexpr,
    ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
    """float32 bits of a tile, transformed in blocks of HADAMARD along the columns where that is not 0."""
    u = widened(tl.load(x + base + local, mask=inside, other=0), SOURCE, "float32")
    if HADAMARD > 0:
        blocks = tl.reshape(u, (ROWS * GROUPS * RUN // HADAMARD, HADAMARD))
        moved = transformed(blocks, signs, norm, ROWS * GROUPS * RUN // HADAMARD, HADAMARD, STAGES)
        u = tl.reshape(moved, (ROWS, GROUPS, RUN))
    return u


@triton.jit
def _tops(u):
    """The largest magnitude bits of each block of a tile (ROWS, GROUPS, RUN)."""
    return tl.max(tl.max(u & _MASK, axis=2), axis=0)


@triton.jit
def maxima(
    x, tops, rows, groups, run, columns, signs, norm,
    SOURCE: tl.constexpr, TENSOR: tl.constexpr, ROW_CHUNKS: tl.constexpr, RUN_CHUNKS: tl.constexpr,
    HADAMARD: tl.constexpr, STAGES: tl.constexpr,
    ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The largest magnitude bits of each block into `tops` (int32, zeros before).

    With TENSOR one maximum of all blocks but those with NaN.
    """
    base, local, inside, block, there, _ = _placed(
        rows, groups, run, columns, ROW_CHUNKS, RUN_CHUNKS, ROWS, GROUPS, RUN, WHOLE
    )
    top = _tops(_loaded(x, base, local, inside, signs, norm, SOURCE, HADAMARD, STAGES, ROWS, GROUPS, RUN))
    if TENSOR:
        tl.atomic_max(tops, tl.max(tl.where(top > _INFINITY, 0, top), axis=0))
    else:
        tl.atomic_max(tops + block, top, mask=there)


@triton.jit
def _power(ideal, sp, powers):
    """The scale that the exponent of an ideal one (positive bits) gives; see `scaled_tables.Fit`."""
    add, threshold, emax = tl.load(sp + NUMBERS), tl.load(sp + NUMBERS + 1), tl.load(sp + NUMBERS + 2)
    ideal = tl.maximum(ideal, 1)
    subnormal = ideal < (1 << 23)
    normal = tl.where(subnormal, _bits(_floats(ideal) * 16777216.0), ideal)
    field = (normal >> 23) - tl.where(subnormal, 24, 0)
    raised = ((normal & 0x7FFFFF) | 0x800000) + add
    carry = tl.where(raised >= (1 << 24), 1, 0)
    above = tl.where((raised >> carry) - (1 << 23) > threshold, 1, 0)
    exponent = field + carry + above - emax
    return tl.load(powers + tl.minimum(tl.maximum(exponent + 256, 0), 511))


@triton.jit
def _scales(
    top, sp, powers, amax,
    LINEAR: tl.constexpr, GOAL: tl.constexpr, MULTIPLIES: tl.constexpr, DIVIDES: tl.constexpr, NVIDIA: tl.constexpr,
    M: tl.constexpr, UP: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """Scales of blocks from their largest magnitudes, all positive float32 bits.

    Returns:
        s; the outer scale; D; what elements are divided by or multiplied with; whether all of a block is NaN.
    """
    outer = 1.0
    goal, smallest, of_zeros = tl.load(sp + NUMBERS + 3), tl.load(sp + NUMBERS + 4), tl.load(sp + NUMBERS + 5)
    if NVIDIA:
        bad = top > _INFINITY
        value = tl.where(bad, 0, top)
        whole = tl.load(amax)
        usable = (whole > 0) & (whole < _INFINITY)
        numerator = _floats(tl.load(sp + NUMBERS + 6))
        quotient = _bits(tl.div_rn(numerator, _floats(tl.where(usable, whole, _ONE))))
        s_enc = tl.where(usable, _finite(quotient), _ONE)
        goal = _finite(_bits(_floats(s_enc) * _floats(goal)))
        outer = tl.div_rn(_floats(tl.full((), _ONE, tl.int32)), _floats(s_enc))
        ideal = _bits(_floats(value) * _floats(goal))
    else:
        bad = top >= _INFINITY
        value = tl.where(bad | (top == 0), _ONE, top)
        ideal = value
        if GOAL and MULTIPLIES:
            ideal = _finite(_bits(_floats(value) * _floats(goal)))
        elif GOAL:
            ideal = _finite(_bits(tl.div_rn(_floats(value), _floats(goal + value * 0))))
    if LINEAR:
        s = _power(ideal, sp, powers)
    else:
        s = round_deterministic(ideal, sp, M, 32, UP, SAME, CLAMPS, KEEPS, False)
        if not NVIDIA:
            s = tl.maximum(s, smallest)
    s = tl.where(top == 0, of_zeros, s)
    decode = _finite(_bits(_floats(s) * outer)) if NVIDIA else s
    zero = decode == 0
    safe = tl.where(zero, _ONE, decode)
    if DIVIDES:
        encode = safe
    else:
        inverse = _finite(_bits(tl.div_rn(_floats(safe * 0 + _ONE), _floats(safe))))
        encode = tl.where(zero, _LARGEST, inverse)
    return s, outer, tl.where(bad, _ONE, decode), tl.where(bad, _ONE, encode), bad


@triton.jit
def _words(
    first, base, local, rows, columns, key,
    QUADS: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
    """The random words of a tile whose tensor starts at the logical index `first`."""
    if QUADS:
        quads = ((first + base) >> 2) + tl.arange(0, GROUPS * RUN // 4)[None, :]
        if ROWS > 1:
            quads = quads + (tl.arange(0, ROWS).to(tl.int64) * (columns // 4))[:, None]
        words = tl.reshape(words_of_quads(quads, key), (ROWS, GROUPS, RUN))
    else:
        words = words_at(first + base + local, key)
    return words


@triton.jit
def _values(q, decode, bad, TARGET: tl.constexpr, SHIFTS: tl.constexpr):
    """Bits of q * D in the target dtype, rounded once; q float32 bits, no NaN: their blocks are bad."""
    if TARGET == "float32":
        v = _floats(q) * decode
        v = tl.minimum(tl.maximum(v, -3.4028234663852886e38), 3.4028234663852886e38)
        v = tl.where(bad, _NAN, _bits(v))
    else:
        product = _bits(_floats(q) * decode) if SHIFTS else product_to_odd(_floats(q), decode)
        nan: tl.constexpr = 0x7E00 if TARGET == "float16" else 0x7FC0
        v = tl.where(bad, nan, narrowed(product, TARGET))
    return v


@triton.jit(do_not_specialize=["specials", "bad_code"])
def quantize(
    x, out, scales, tops, p, sp, powers, thresholds, results, specials, key, starts, bad_code,
    rows, groups, run, columns, signs, norm,
    SOURCE: tl.constexpr, TARGET: tl.constexpr, KIND: tl.constexpr, STEPS: tl.constexpr,
    NEAREST: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr, FEW: tl.constexpr,
    LINEAR: tl.constexpr, GOAL: tl.constexpr, MULTIPLIES: tl.constexpr, DIVIDES: tl.constexpr,
    NVIDIA: tl.constexpr, SHIFTS: tl.constexpr,
    S_NEAREST: tl.constexpr, S_SAME: tl.constexpr, S_CLAMPS: tl.constexpr, S_KEEPS: tl.constexpr,
    KNOWN: tl.constexpr, QUADS: tl.constexpr, ROW_CHUNKS: tl.constexpr, RUN_CHUNKS: tl.constexpr,
    HADAMARD: tl.constexpr, STAGES: tl.constexpr,
    ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Round a tile to values, or where TARGET is 'codes' to codes and the scales' values.

    Args:
        scales: float32 bits of the scales over their grid, written, the outer one before them; None for values.
        tops: the largest magnitudes of blocks where KNOWN; the maximum of the tensor where NVIDIA.
        p, sp: parameters of elements and of scales; powers: the scale for each exponent.
        thresholds, results, STEPS, specials: of a list of values.
        starts: points at the logical index of the first element.
        bad_code: of elements in blocks that are NaN.
        KIND: 'deterministic', 'stochastic' or 'codebook'. A NaN need not survive it: its block is NaN.
    """
    base, local, inside, block, there, ours = _placed(
        rows, groups, run, columns, ROW_CHUNKS, RUN_CHUNKS, ROWS, GROUPS, RUN, WHOLE
    )
    u = _loaded(x, base, local, inside, signs, norm, SOURCE, HADAMARD, STAGES, ROWS, GROUPS, RUN)
    top = tl.load(tops + block, mask=there, other=0) if KNOWN else _tops(u)
    s, outer, decode, encode, bad = _scales(
        top, sp, powers, tops, LINEAR, GOAL, MULTIPLIES, DIVIDES, NVIDIA,
        23, S_NEAREST, S_SAME, S_CLAMPS, S_KEEPS,
    )  # fmt: skip
    wide = _floats(encode)[None, :, None]
    if DIVIDES:
        t = _bits(tl.div_rn(_floats(u), tl.broadcast_to(wide, (ROWS, GROUPS, RUN))))
    else:
        t = _bits(_floats(u) * wide)
    if KIND == "codebook":
        q = in_book(t, thresholds, specials, results, STEPS, 23, 32)
    elif KIND == "stochastic":
        words = _words(tl.load(starts), base, local, rows, columns, key, QUADS, ROWS, GROUPS, RUN)
        q = round_stochastic(t, words, p, 23, 32, FEW, SAME, CLAMPS, KEEPS, False)
    else:
        q = round_deterministic(t, p, 23, 32, NEAREST, SAME, CLAMPS, KEEPS, False)
    all_nan = bad[None, :, None]
    if TARGET == "codes":
        code = q if KIND == "codebook" else codes_of(q, p, 23, 32)
        v = tl.where(all_nan, bad_code, code)
        if NVIDIA:
            tl.store(scales, _bits(outer))
            scales += 1
        tl.store(scales + block, tl.where(bad, _NAN, s), mask=ours)
    else:
        v = _values(q, _floats(decode)[None, :, None], all_nan, TARGET, SHIFTS)
    tl.store(out + base + local, v.to(out.dtype.element_ty), mask=inside)


@triton.jit
def decoding(
    codes, out, table, scales, rows, groups, run, columns,
    TARGET: tl.constexpr, ROW_CHUNKS: tl.constexpr, RUN_CHUNKS: tl.constexpr,
    ROWS: tl.constexpr, GROUPS: tl.constexpr, RUN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The values of a tile of codes, rounded once: table[code] * D.

    Args:
        table: float32 bits of every code's value.
        scales: float32 bits of D over the grid of scales; blocks of negative, infinite and NaN ones are NaN.
    """
    base, local, inside, block, there, _ = _placed(
        rows, groups, run, columns, ROW_CHUNKS, RUN_CHUNKS, ROWS, GROUPS, RUN, WHOLE
    )
    q = tl.load(table + tl.load(codes + base + local, mask=inside, other=0).to(tl.int32))
    scale = tl.load(scales + block, mask=there, other=0)
    bad, zero = (scale < 0) | (scale >= _INFINITY), scale == 0
    decode = _floats(tl.where(bad | zero, _ONE, scale))[None, :, None]
    nan = bad[None, :, None] | ((q & _MASK) > _INFINITY)
    v = _values(q, decode, nan, TARGET, False)
    infinity: tl.constexpr = 0x7C00 if TARGET == "float16" else 0x7F80 if TARGET == "bfloat16" else 0x7F800000
    sign: tl.constexpr = 16 if TARGET != "float32" else 0
    infinite = infinity | ((q >> sign) & (-0x80000000 >> sign))
    v = tl.where(((q & _MASK) == _INFINITY) & ~nan, infinite, v)
    v = tl.where(zero[None, :, None] & ((q & _MASK) < _INFINITY), (q >> sign) & (-0x80000000 >> sign), v)
    tl.store(out + base + local, v.to(out.dtype.element_ty), mask=inside)
