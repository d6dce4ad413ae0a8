"""The CPU copy of the kernels: one pass, vectorized, pinned bit for bit to `emulate.kernels`.

Numba keys its disk cache on this file alone, so nothing here may call into another file of the package or
read a constant from one: every callee stands here and every number arrives as an argument.

Numba widens int32 arithmetic to int64, which halves the vector rate. So each step is cast back with `i`,
the type of the parameter array (int32, or int64 for float64 input), and shifts go through the ufuncs, which
keep their type. A kernel reads slices, never x[lo + k]: that keeps the loop vectorized. Where input and
output are the same memory LLVM gives up on vectors, so in-place work goes through a tile in the L1 cache.

The parameters `p` come from `cpu.parameters`; the names below are its order.
"""

from typing import NamedTuple

import numba
import numpy as np

_shl = np.left_shift
_shr = np.right_shift

TILE = 4096
"""Elements per tile: words and scratch stay in the L1 cache."""


def compiled(function, **options):
    """Compile to machine code without the GIL, cached on disk where the disk can be written."""
    try:
        return numba.njit(nogil=True, cache=True, boundscheck=False, **options)(function)
    except RuntimeError:  # numba found no directory for the cache
        return numba.njit(nogil=True, boundscheck=False, **options)(function)


_inlined = numba.njit(nogil=True, boundscheck=False, forceinline=True)
"""For what a loop does to one number: a call in the loop would keep it from running in vectors."""

_inlined_early = numba.njit(nogil=True, boundscheck=False, inline="always")
"""The same before LLVM sees it, which loses its way in the longer functions."""


@compiled
def philox_words(words, first_block, stream, step, seed_low, seed_high):
    """Fill `words` (uint32, a multiple of 4 long) with the words of consecutive blocks.

    Lanes stay 64 bits wide with rubbish in the upper half: the multiplier reads the lower half only.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for block in range(words.size // 4):
        c0 = first_block + np.uint64(block)
        c1 = c0 >> half
        c2 = stream
        c3 = step
        k0 = seed_low
        k1 = seed_high
        for _ in range(10):
            product0 = (c0 & low) * np.uint64(0xD2511F53)
            product1 = (c2 & low) * np.uint64(0xCD9E8D57)
            c0 = (product1 >> half) ^ c1 ^ k0
            c2 = (product0 >> half) ^ c3 ^ k1
            c1 = product1
            c3 = product0
            k0 += np.uint64(0x9E3779B9)
            k1 += np.uint64(0xBB67AE85)
        words[4 * block] = np.uint32(c0)
        words[4 * block + 1] = np.uint32(c1)
        words[4 * block + 2] = np.uint32(c2)
        words[4 * block + 3] = np.uint32(c3)


class Constants(NamedTuple):
    """The parameters that rounding reads, as scalars that a loop keeps in registers; see `cpu.parameters`."""

    mantissa: int
    mask: int
    infinity: int
    nan: int
    m_shift: int
    low_shift: int
    max_shift: int
    implicit: int
    parity: int
    quantum: int
    up_positive: int
    up_negative: int
    limit_positive: int
    limit_negative: int
    over_positive: int
    over_negative: int
    infinite_positive: int
    infinite_negative: int
    zero_sign: int
    nearest: int
    take: int
    take_negative: int
    take_odd: int
    plus: int
    plus_odd: int
    min_field: int
    code_mantissa: int
    nan_code: int
    sign_bit: int
    ones: int
    smallest: int
    tiny_shift: int


@_inlined
def constants(p):
    """The scalars of a parameter array."""
    return Constants(
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16],
        p[17], p[18], p[19], p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[28], p[29], p[30], p[32], p[31],
    )  # fmt: skip


@_inlined
def rounded(u, c, p, plain, clean, coded):
    """One number, given by its bits, rounded deterministically.

    Args:
        c: the constants; p, their array, says only which integers they are.
        plain: None, or an integer for the shorter program of nearest-even with an end that is the same on both sides.
        clean: None, or anything else where the number is finite and what is too large becomes the limit.
        coded: None for values; anything else for codes, with parameters of `cpu.code_parameters`. The significand
            keeps its rounded bits at the bottom then, and the fields above them count from the smallest normal.
    """
    i = p.dtype.type
    one = i(1)
    zero = i(0)
    magnitude = i(u & c.mask)
    field = _shr(magnitude, c.mantissa)
    shift = min(max(i(c.low_shift - field), c.m_shift), c.max_shift)
    discarded = i(_shl(one, shift) - one)
    odd = i(_shr(i(i(magnitude | c.implicit) ^ c.parity), shift) & one)
    if plain is None:
        negative = _shr(u, i(p.itemsize * 8 - 1))
        taken = i(i(c.take ^ i(negative & c.take_negative)) ^ i(i(-odd) & c.take_odd))
        one_more = i(i(discarded & one) & i(c.plus | i(odd & c.plus_odd)))
        increment = i(i(_shr(discarded, c.nearest) & taken) + one_more)
        first_up = c.up_negative if negative else c.up_positive
        limit = c.limit_negative if negative else c.limit_positive
        over = c.over_negative if negative else c.over_positive
        infinite = c.infinite_negative if negative else c.infinite_positive
    else:
        increment = i(_shr(discarded, one) + i(odd & discarded))
        first_up, limit, over, infinite = c.up_positive, c.limit_positive, c.over_positive, c.infinite_positive
    if coded is None:
        near = i(i(magnitude + increment) & i(~discarded))
    else:
        leading = _shl(one, c.mantissa)
        significand = i(i(magnitude & i(leading - one)) | (leading if field > zero else zero))
        near = i(_shr(i(significand + increment), shift) + _shl(max(i(field - c.min_field), zero), c.code_mantissa))
    tiny = c.smallest if magnitude >= first_up else zero
    r = tiny if magnitude < c.quantum else near
    if clean is None:
        r = over if r > limit else r
        r = infinite if magnitude == c.infinity else r
    else:
        r = min(r, limit)
    if coded is None:
        sign = i(u ^ magnitude)
        sign = i(sign & c.zero_sign) if r == zero else sign
        result = i(r | sign)
        if clean is None:
            result = c.nan if max(r, magnitude) > c.infinity else result
        return result
    below = i(r | c.sign_bit) if c.sign_bit != zero else i(i(-r) & c.ones)
    below = i(below & c.zero_sign) if r == zero else below
    result = below if u < zero else r
    if clean is None:
        result = c.nan_code if magnitude > c.infinity or r == c.nan else result
    return result


@compiled
def deterministic_tile(x, out, p, plain, coded=None):
    """A tile of `deterministic`; see `rounded` for the other arguments."""
    i = p.dtype.type
    c = constants(p)
    for k in range(x.size):
        out[k] = rounded(i(x[k]), c, p, plain, None, coded)


@_inlined_early
def rounded_randomly(u, word, c, p, word_like, clean, transform):
    """One number, given by its bits, rounded by a random word; see `rounded` and `stochastic` for the arguments."""
    i = p.dtype.type
    w_type = word_like.dtype.type
    top = i(p.itemsize * 8 - 1)
    one = i(1)
    zero = i(0)
    leading = _shl(one, c.mantissa)
    if transform is not None:  # `numbers.prepare_words`; transform = (keep, half, low_bits, take_odd, equal, sticky)
        few = w_type(w_type(word & transform[0]) | transform[1])
        few = w_type(few - w_type(_shr(word, transform[2]) & transform[3]))
        all_or_nothing = w_type(w_type(0) - _shr(word, w_type(top)))
        word = all_or_nothing if transform[4] else few
    magnitude = i(u & c.mask)
    field = _shr(magnitude, c.mantissa)
    shift = min(max(i(c.low_shift - field), c.m_shift), c.max_shift)
    discarded = i(_shl(one, shift) - one)
    increment = i(_shr(_shr(word, w_type(1)), w_type(i(top - shift))))
    near = i(i(magnitude + increment) & i(~discarded))
    # below the quantum the fraction is S / 2**(tiny_shift - max(field, 1)), aligned to the word
    significand = i(i(magnitude & i(leading - one)) | (leading if field > zero else zero))
    aligned = _shl(w_type(significand), w_type(top - c.mantissa))
    down = i(i(c.tiny_shift - max(field, one)) - i(c.mantissa + one))
    drop = w_type(min(max(down, zero), top))
    fraction = _shr(aligned, drop) if down <= top else w_type(0)
    if transform is not None:  # bits of the fraction below the word's count where transform[5] says so
        lost = (_shl(fraction, drop) != aligned) if down <= top else (significand > zero)
        fraction = w_type(fraction | transform[5]) if lost else fraction
    tiny = c.smallest if fraction > w_type(~word) else zero
    negative = _shr(u, top)
    limit = c.limit_negative if negative else c.limit_positive
    r = tiny if magnitude < c.quantum else near
    if clean is None:
        over = c.over_negative if negative else c.over_positive
        infinite = c.infinite_negative if negative else c.infinite_positive
        r = over if r > limit else r
        r = infinite if magnitude == c.infinity else r
    else:
        r = min(r, limit)
    sign = i(u ^ magnitude)
    sign = i(sign & c.zero_sign) if r == zero else sign
    result = i(r | sign)
    if clean is None:
        result = c.nan if max(r, magnitude) > c.infinity else result
    return result


@compiled
def stochastic_tile(x, out, p, drawn, word_like, two, transform):
    """Elements take words from `drawn` in order; see `stochastic` for the other arguments."""
    i = p.dtype.type
    w_type = word_like.dtype.type
    c = constants(p)
    for k in range(x.size):
        if two is None:
            word = w_type(drawn[k])
        else:
            word = w_type(_shl(w_type(drawn[2 * k]), w_type(32)) | w_type(drawn[2 * k + 1]))
        out[k] = rounded_randomly(i(x[k]), word, c, p, word_like, None, transform)


@compiled
def _encode_tile(values, codes, p):
    """`kernels.encode_grid` of rounded values."""
    i = p.dtype.type
    mantissa, mask, infinity = p[0], p[1], p[2]
    m_shift, low_shift, max_shift = p[4], p[5], p[6]
    min_field, code_mantissa, infinity_code, nan_code, sign_bit, ones = p[25], p[26], p[27], p[28], p[29], p[30]
    one = i(1)
    zero = i(0)
    fraction_mask = i(_shl(one, mantissa) - one)
    leading = _shl(one, mantissa)
    for k in range(values.size):
        u = i(values[k])
        magnitude = i(u & mask)
        field = _shr(magnitude, mantissa)
        shift = min(max(i(low_shift - field), m_shift), max_shift)
        significand = i(i(magnitude & fraction_mask) | (leading if field > zero else zero))
        code = i(_shr(significand, shift) + _shl(max(i(field - min_field), zero), code_mantissa))
        code = infinity_code if magnitude == infinity else code
        signed = i(code | sign_bit) if sign_bit != zero else i(i(-code) & ones)
        code = signed if u < zero else code
        codes[k] = nan_code if magnitude > infinity else code


@compiled
def _put(tile, out, p, encode):
    """Rounded values, or their codes, to the output."""
    if encode:
        _encode_tile(tile, out, p)
    else:
        for k in range(tile.size):
            out[k] = tile[k]


@compiled
def deterministic(x, out, p, plain, in_place):
    """Round x (1-D, contiguous bits) to values.

    Args:
        plain: None, or an integer for the shorter program of nearest-even with an end that is the same on
            both sides. Its type chooses the program when Numba compiles.
    """
    if not in_place:
        deterministic_tile(x, out, p, plain)
        return
    scratch = np.empty(min(TILE, x.size), p.dtype)
    for lo in range(0, x.size, TILE):
        piece = x[lo : lo + TILE]
        tile = scratch[: piece.size]
        deterministic_tile(piece, tile, p, plain)
        _put(tile, out[lo : lo + TILE], p, False)


@compiled
def deterministic_codes(x, out, p, plain):
    """Round x (1-D, contiguous bits) to codes; `plain` as in `deterministic`."""
    deterministic_tile(x, out, p, plain, True)


@compiled
def deterministic_packed(x, stream, p, plain, bits):
    """Round x (1-D, contiguous bits) to a dense stream of codes of at most 8 bits."""
    scratch = np.empty(min(TILE, x.size) + 8, np.uint8)
    for lo in range(0, x.size, TILE):
        piece = x[lo : lo + TILE]
        tile = scratch[: piece.size]
        deterministic_tile(piece, tile, p, plain, True)
        scratch[piece.size :] = 0
        pack(scratch[: (piece.size + 7) // 8 * 8], stream[lo // 8 * bits : (lo + TILE) // 8 * bits], bits)


@compiled
def pack(codes, stream, bits):
    """A dense stream of codes, as `emulate.packing` defines it.

    Args:
        codes: (n,) unsigned, n a multiple of 8; zeros where there are none.
        stream: uint8, as many bytes as the stream has.
    """
    if bits == 4 and codes.itemsize == 1:
        pairs = codes.view(np.uint16)
        for k in range(stream.size):
            stream[k] = np.uint8(pairs[k] | _shr(pairs[k], np.uint16(4)))
        return
    for group in range(codes.size // 8):
        held, filled, at = np.uint64(0), np.uint64(0), group * bits
        for k in range(8):
            held |= np.uint64(codes[8 * group + k]) << filled
            filled += np.uint64(bits)
            while filled >= np.uint64(8):
                if at < stream.size:
                    stream[at] = np.uint8(held & np.uint64(0xFF))
                held, filled, at = held >> np.uint64(8), filled - np.uint64(8), at + 1


@compiled
def stochastic(x, out, p, encode, in_place, row_starts, key, word_like, two, transform):
    """As `deterministic`, with random words.

    Args:
        row_starts: (r,) uint64 logical index of the first element of each of r equal rows of x.
        key: uint64 (stream, step, seed low, seed high).
        word_like: an empty array of the words' dtype, uint32 or uint64.
        two: None, or anything else where an element takes two words, the first one high.
        transform: None, or what becomes of the words, in their dtype.
    """
    per_element = word_like.itemsize // 4
    scratch = np.empty(TILE, p.dtype)
    drawn = np.empty(TILE * per_element + 8, np.uint32)
    row_size = x.size // row_starts.size
    for row in range(row_starts.size):
        for lo in range(0, row_size, TILE):
            size = min(TILE, row_size - lo)
            first = (row_starts[row] + np.uint64(lo)) * np.uint64(per_element)
            skip = np.int64(first & np.uint64(3))
            blocks = (skip + size * per_element + 3) // 4
            philox_words(drawn[: 4 * blocks], first >> np.uint64(2), key[0], key[1], key[2], key[3])
            words = drawn[skip : skip + size * per_element]
            start = row * row_size + lo
            piece, target = x[start : start + size], out[start : start + size]
            if encode or in_place:
                stochastic_tile(piece, scratch[:size], p, words, word_like, two, transform)
                _put(scratch[:size], target, p, encode)
            else:
                stochastic_tile(piece, target, p, words, word_like, two, transform)
