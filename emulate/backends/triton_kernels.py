"""Device functions of the Triton kernels: dtypes, random words, rounding, codes, Hadamard butterflies.

They are `emulate.backends.numba` over again, step for step, on int32 bits. What describes a format is run-time
data: `p` points at the int32 parameters of `cpu.parameters`, followed by those of `cpu.word_transform`. Only what
changes the program is a `tl.constexpr`: dtypes by name, the kind of rounding, block shapes.

Casts between bfloat16 and float32 are shifts of bits. A NaN that arithmetic makes has other bits on a GPU than on
a CPU, so that every NaN is put in by hand.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

TRANSFORM = tl.constexpr(32)
"""Where the word transform begins among the parameters."""
_INFINITY = tl.constexpr(0x7F800000)
_NAN = tl.constexpr(0x7FC00000)


@triton.jit
def widened(u, SOURCE: tl.constexpr, LAYOUT: tl.constexpr):
    """Bits of the source dtype as int32 bits of the compute dtype, sign-extended."""
    if SOURCE == LAYOUT:
        v = u.to(tl.int32)
    elif SOURCE == "bfloat16":
        v = u.to(tl.int32) << 16
    else:
        v = u.to(tl.float16, bitcast=True).to(tl.float32).to(tl.int32, bitcast=True)
    return v


@triton.jit
def held(v, LAYOUT: tl.constexpr, TARGET: tl.constexpr):
    """Bits of numbers of the compute dtype in a target dtype that holds them; NaN is canonical."""
    if LAYOUT == TARGET:
        r = v
    else:
        if LAYOUT == "bfloat16":
            wide = v << 16
        elif LAYOUT == "float16":
            wide = v.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32).to(tl.int32, bitcast=True)
            wide = tl.where(v > 0x7C00, _NAN, wide)
        else:
            wide = v
        if TARGET == "bfloat16":
            r = wide >> 16
        elif TARGET == "float16":
            r = wide.to(tl.float32, bitcast=True).to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32)
            r = tl.where(wide > _INFINITY, 0x7E00, r)
        else:
            r = wide
    return r


@triton.jit
def narrowed(v, TARGET: tl.constexpr):
    """float32 bits rounded to nearest even in a dtype of 16 bits; finite numbers stay finite. No NaN."""
    magnitude = v & 0x7FFFFFFF
    if TARGET == "bfloat16":
        r = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) >> 16
        r = tl.minimum(r, 0x7F7F) | ((v >> 16) & 0x8000)
    elif TARGET == "float16":
        kept = tl.minimum(magnitude, 0x477FE000) | (v & -0x80000000)  # 65504
        r = kept.to(tl.float32, bitcast=True).to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32)
    else:
        r = v
    return r


@triton.jit
def product_to_odd(q, d):
    """float32 bits of q * d, rounded to odd, so that one more rounding gives what a single one would.

    q * d is exact in float64, and rounding it to nearest errs by less than one unit in the last place: where
    that was inexact and the result is even, the odd neighbour lies on the side of the exact product.
    """
    product = q * d
    exactly, found = q.to(tl.float64) * d.to(tl.float64), product.to(tl.float64)
    bits = product.to(tl.int32, bitcast=True)
    step = tl.where((exactly > found) == (bits >= 0), 1, -1)
    odd = (exactly == found) | ((bits & 1) != 0) | ((bits & 0x7FFFFFFF) == _INFINITY)
    return tl.where(odd, bits, bits + step)


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Four words of Philox4x32-10; all arguments uint32, the first two arrays. See `emulate.philox`.

    A product of 64 bits gives the high and the low word with one multiplication.
    """
    for _ in tl.static_range(10):
        product0 = c0.to(tl.uint64) * 0xD2511F53
        product1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (product1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (product0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = product1.to(tl.uint32)
        c3 = product0.to(tl.uint32)
        k0 = (k0.to(tl.uint64) + 0x9E3779B9).to(tl.uint32)
        k1 = (k1.to(tl.uint64) + 0xBB67AE85).to(tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def words_of_quads(quads, key):
    """The words of elements 4 * quad to 4 * quad + 3, along a new last axis (2, 2).

    Args:
        quads: int64 indices of Philox blocks.
        key: points at int64 (stream, step, seed low, seed high).
    """
    zero = quads.to(tl.uint32) * 0
    stream, step = zero + tl.load(key).to(tl.uint32), zero + tl.load(key + 1).to(tl.uint32)
    low, high = tl.load(key + 2).to(tl.uint32), tl.load(key + 3).to(tl.uint32)
    w0, w1, w2, w3 = philox(quads.to(tl.uint32), (quads >> 32).to(tl.uint32), stream, step, low, high)
    return tl.join(tl.join(w0, w2), tl.join(w1, w3))


@triton.jit
def words_at(index, key):
    """The words of elements of any indices (int64), one Philox call each."""
    quads = index >> 2
    zero = quads.to(tl.uint32) * 0
    stream, step = zero + tl.load(key).to(tl.uint32), zero + tl.load(key + 1).to(tl.uint32)
    low, high = tl.load(key + 2).to(tl.uint32), tl.load(key + 3).to(tl.uint32)
    w0, w1, w2, w3 = philox(quads.to(tl.uint32), (quads >> 32).to(tl.uint32), stream, step, low, high)
    lane = index.to(tl.int32) & 3
    return tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))


@triton.jit
def _finished(
    u, magnitude, r, p,
    SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr, NANS: tl.constexpr,
    INFINITY: tl.constexpr, NAN: tl.constexpr,
):  # fmt: skip
    """Overflow, infinities, the sign, and NaN where NANS asks for it; the other flags are those of `triton.ends`."""
    limit = tl.load(p + 12) if SAME else tl.where(u < 0, tl.load(p + 13), tl.load(p + 12))
    if CLAMPS:
        r = tl.minimum(r, limit)
        invalid = magnitude > INFINITY
    else:
        over = tl.load(p + 14) if SAME else tl.where(u < 0, tl.load(p + 15), tl.load(p + 14))
        infinite = tl.load(p + 16) if SAME else tl.where(u < 0, tl.load(p + 17), tl.load(p + 16))
        r = tl.where(r > limit, over, r)
        r = tl.where(magnitude == INFINITY, infinite, r)
        invalid = tl.maximum(r, magnitude) > INFINITY
    sign = u ^ magnitude
    if not KEEPS:
        sign = tl.where(r == 0, sign & tl.load(p + 18), sign)
    signed = r | sign
    return tl.where(invalid, NAN, signed) if NANS else signed


@triton.jit
def round_deterministic(
    u, p,
    M: tl.constexpr, WIDTH: tl.constexpr,
    NEAREST: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr, NANS: tl.constexpr = True,
):  # fmt: skip
    """Bits of u on the grid of p; NEAREST is the shorter program of ties to even.

    Where a magnitude below the quantum rounds up, rounding it within its binade gives at most the quantum.
    """
    MASK: tl.constexpr = (1 << (WIDTH - 1)) - 1
    INFINITY: tl.constexpr = (MASK >> M) << M
    NAN: tl.constexpr = INFINITY | (1 << (M - 1))
    m_shift, low_shift, max_shift = tl.load(p + 4), tl.load(p + 5), tl.load(p + 6)
    implicit, parity, quantum = tl.load(p + 7), tl.load(p + 8), tl.load(p + 9)
    magnitude = u & MASK
    shift = tl.minimum(tl.maximum(low_shift - (magnitude >> M), m_shift), max_shift)
    discarded = (1 << shift) - 1
    odd = (((magnitude | implicit) ^ parity) >> shift) & 1
    if NEAREST:
        increment = (discarded >> 1) + (odd & discarded)
        first_up = tl.load(p + 10)
    else:
        negative = u < 0
        nearest, take, take_negative = tl.load(p + 19), tl.load(p + 20), tl.load(p + 21)
        take_odd, plus, plus_odd = tl.load(p + 22), tl.load(p + 23), tl.load(p + 24)
        taken = (take ^ tl.where(negative, take_negative, 0)) ^ (-odd & take_odd)
        increment = ((discarded >> nearest) & taken) + ((discarded & 1) & (plus | (odd & plus_odd)))
        first_up = tl.where(negative, tl.load(p + 11), tl.load(p + 10))
    rounded = (magnitude + increment) & ~discarded
    r = tl.where(magnitude >= first_up, tl.maximum(rounded, quantum), 0)
    return _finished(u, magnitude, r, p, SAME, CLAMPS, KEEPS, NANS, INFINITY, NAN)


@triton.jit
def _transformed(word, p):
    """`numbers.prepare_words`, and whether bits of the fraction that are lost count."""
    keep, half = tl.load(p + TRANSFORM).to(tl.uint32), tl.load(p + TRANSFORM + 1).to(tl.uint32)
    low_bits, take_odd = tl.load(p + TRANSFORM + 2).to(tl.uint32), tl.load(p + TRANSFORM + 3).to(tl.uint32)
    equal, sticky = tl.load(p + TRANSFORM + 4), tl.load(p + TRANSFORM + 5).to(tl.uint32)
    few = ((word & keep) | half).to(tl.int32) - ((word >> low_bits) & take_odd).to(tl.int32)
    all_or_nothing = word.to(tl.int32) >> 31
    return tl.where(equal != 0, all_or_nothing, few).to(tl.uint32), sticky


@triton.jit
def round_stochastic(
    u, word, p,
    M: tl.constexpr, WIDTH: tl.constexpr,
    FEW: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr, NANS: tl.constexpr = True,
):  # fmt: skip
    """Bits of u on the grid of p, up where the uint32 word carries; FEW where `p` has a word transform."""
    MASK: tl.constexpr = (1 << (WIDTH - 1)) - 1
    INFINITY: tl.constexpr = (MASK >> M) << M
    NAN: tl.constexpr = INFINITY | (1 << (M - 1))
    m_shift, low_shift, max_shift = tl.load(p + 4), tl.load(p + 5), tl.load(p + 6)
    quantum, tiny_shift = tl.load(p + 9), tl.load(p + 31)
    magnitude = u & MASK
    field = magnitude >> M
    shift = tl.minimum(tl.maximum(low_shift - field, m_shift), max_shift)
    discarded = (1 << shift) - 1
    significand = (magnitude & ((1 << M) - 1)) | tl.where(field > 0, 1 << M, 0)
    aligned = significand.to(tl.uint32) << (31 - M)
    down = tiny_shift - tl.maximum(field, 1) - (M + 1)
    drop = tl.minimum(tl.maximum(down, 0), 31).to(tl.uint32)
    near = down <= 31
    fraction = aligned >> drop
    if FEW:
        word, sticky = _transformed(word, p)
        lost = tl.where(near, (fraction << drop) != aligned, significand > 0)
        fraction = tl.where(near, fraction, 0)
        fraction = tl.where(lost, fraction | sticky, fraction)
        near = near | lost
    increment = ((word >> 1) >> (31 - shift).to(tl.uint32)).to(tl.int32)
    rounded = (magnitude + increment) & ~discarded
    tiny = tl.where((fraction > (word ^ 0xFFFFFFFF)) & near, quantum, 0)
    r = tl.where(magnitude < quantum, tiny, rounded)
    return _finished(u, magnitude, r, p, SAME, CLAMPS, KEEPS, NANS, INFINITY, NAN)


@triton.jit
def codes_of(u, p, M: tl.constexpr, WIDTH: tl.constexpr):
    """Codes of numbers on the grid of p: `kernels.encode_grid`."""
    MASK: tl.constexpr = (1 << (WIDTH - 1)) - 1
    INFINITY: tl.constexpr = (MASK >> M) << M
    m_shift, low_shift, max_shift = tl.load(p + 4), tl.load(p + 5), tl.load(p + 6)
    min_field, code_mantissa, infinity_code = tl.load(p + 25), tl.load(p + 26), tl.load(p + 27)
    nan_code, sign_bit, ones = tl.load(p + 28), tl.load(p + 29), tl.load(p + 30)
    magnitude = u & MASK
    field = magnitude >> M
    shift = tl.minimum(tl.maximum(low_shift - field, m_shift), max_shift)
    significand = (magnitude & ((1 << M) - 1)) | tl.where(field > 0, 1 << M, 0)
    code = (significand >> shift) + (tl.maximum(field - min_field, 0) << code_mantissa)
    code = tl.where(magnitude == INFINITY, infinity_code, code)
    negative = tl.where(sign_bit != 0, code | sign_bit, -code & ones)
    code = tl.where(u < 0, negative, code)
    return tl.where(magnitude > INFINITY, nan_code, code)


@triton.jit
def in_book(u, thresholds, specials, results, STEPS: tl.constexpr, M: tl.constexpr, WIDTH: tl.constexpr):
    """What `results` (int32) holds for the interval of each number: the search of `numba.codebook`.

    Args:
        thresholds: ascending, padded with the largest integer to 2**STEPS - 1.
        specials: the index of what +Inf becomes; -Inf and NaN come next.
    """
    MASK: tl.constexpr = (1 << (WIDTH - 1)) - 1
    INFINITY: tl.constexpr = (MASK >> M) << M
    magnitude = u & MASK
    key = tl.where((u < 0) & (magnitude > 0), ~magnitude, magnitude)
    index = magnitude * 0
    for k in tl.static_range(STEPS):
        probe = index + (1 << (STEPS - 1 - k))
        index = tl.where(tl.load(thresholds + probe - 1) <= key, probe, index)
    special = specials + tl.where(magnitude > INFINITY, 2, tl.where(u < 0, 1, 0))
    return tl.load(results + tl.where(magnitude >= INFINITY, special, index))


@triton.jit
def butterflies(x, BLOCKS: tl.constexpr, SIZE: tl.constexpr, STAGES: tl.constexpr):
    """The Hadamard transform of each row of x (BLOCKS, SIZE = 2**STAGES), not normalized.

    Stage k turns a, b whose indices differ in bit k alone into a + b, a - b, for k = 0, 1, ...; single float
    additions in this order are the definition.
    """
    for k in tl.static_range(STAGES):
        pairs = tl.reshape(x, (BLOCKS * SIZE // (2 << k), 2, 1 << k))
        a, b = tl.split(tl.permute(pairs, (0, 2, 1)))
        x = tl.reshape(tl.permute(tl.join(a + b, a - b), (0, 2, 1)), (BLOCKS, SIZE))
    return x


@triton.jit
def transformed(bits, signs, norm, BLOCKS: tl.constexpr, SIZE: tl.constexpr, STAGES: tl.constexpr):
    """float32 bits (BLOCKS, SIZE) of the normalized transform of float32 bits; rows times `signs` first if given."""
    x = bits.to(tl.float32, bitcast=True)
    if signs is not None:
        x = x * tl.load(signs + tl.arange(0, SIZE))[None, :]
    return (butterflies(x, BLOCKS, SIZE, STAGES) * norm).to(tl.int32, bitcast=True)
