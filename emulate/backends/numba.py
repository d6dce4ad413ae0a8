"""The CPU copy of the kernels: one pass, vectorized, pinned bit for bit to `emulate.kernels`.

Numba keys its disk cache on this file alone, so nothing here may call into another file of the package or
read a constant from one: every callee stands here and every number arrives as an argument.

Numba widens int32 arithmetic to int64, which halves the vector rate. So each step is cast back with `i`,
the type of the parameter array (int32, or int64 for float64 input), and shifts go through the ufuncs, which
keep their type. A kernel reads slices, never x[lo + k]: that keeps the loop vectorized. Where input and
output are the same memory LLVM gives up on vectors, so in-place work goes through a tile in the L1 cache.

The parameters `p` come from `cpu.parameters`; the names below are its order.
"""

import numba
import numpy as np

_shl = np.left_shift
_shr = np.right_shift

TILE = 4096
"""Elements per tile: words and scratch stay in the L1 cache."""


def _compiled(function):
    """Compile to machine code without the GIL, cached on disk where the disk can be written."""
    try:
        return numba.njit(nogil=True, cache=True, boundscheck=False)(function)
    except RuntimeError:  # numba found no directory for the cache
        return numba.njit(nogil=True, boundscheck=False)(function)


@_compiled
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


@_compiled
def deterministic_tile(x, out, p, plain):
    """A tile of `deterministic`."""
    i = p.dtype.type
    mantissa, mask, infinity, nan = p[0], p[1], p[2], p[3]
    m_shift, low_shift, max_shift, implicit, parity = p[4], p[5], p[6], p[7], p[8]
    quantum, up_positive, up_negative = p[9], p[10], p[11]
    limit_p, limit_n, over_p, over_n, inf_p, inf_n, zero_sign = p[12], p[13], p[14], p[15], p[16], p[17], p[18]
    nearest, take, take_negative, take_odd, plus, plus_odd = p[19], p[20], p[21], p[22], p[23], p[24]
    top = i(p.itemsize * 8 - 1)
    one = i(1)
    zero = i(0)
    for k in range(x.size):
        u = i(x[k])
        magnitude = i(u & mask)
        shift = min(max(i(low_shift - _shr(magnitude, mantissa)), m_shift), max_shift)
        discarded = i(_shl(one, shift) - one)
        odd = i(_shr(i(i(magnitude | implicit) ^ parity), shift) & one)
        if plain is None:
            negative = _shr(u, top)
            taken = i(i(take ^ i(negative & take_negative)) ^ i(i(-odd) & take_odd))
            one_more = i(i(discarded & one) & i(plus | i(odd & plus_odd)))
            increment = i(i(_shr(discarded, nearest) & taken) + one_more)
            first_up = up_negative if negative else up_positive
            limit = limit_n if negative else limit_p
            over = over_n if negative else over_p
            infinite = inf_n if negative else inf_p
        else:
            increment = i(_shr(discarded, one) + i(odd & discarded))
            first_up, limit, over, infinite = up_positive, limit_p, over_p, inf_p
        rounded = i(i(magnitude + increment) & i(~discarded))
        tiny = quantum if magnitude >= first_up else zero
        r = tiny if magnitude < quantum else rounded
        r = over if r > limit else r
        r = infinite if magnitude == infinity else r
        sign = i(u ^ magnitude)
        sign = i(sign & zero_sign) if r == zero else sign
        signed = i(r | sign)
        out[k] = nan if max(r, magnitude) > infinity else signed


@_compiled
def stochastic_tile(x, out, p, drawn, word_like, two, transform):
    """Elements take words from `drawn` in order; see `stochastic` for the other arguments."""
    i = p.dtype.type
    w_type = word_like.dtype.type
    word_bits = w_type(word_like.itemsize * 8)
    mantissa, mask, infinity, nan = p[0], p[1], p[2], p[3]
    m_shift, low_shift, max_shift = p[4], p[5], p[6]
    quantum, tiny_shift = p[9], p[31]
    limit_p, limit_n, over_p, over_n, inf_p, inf_n, zero_sign = p[12], p[13], p[14], p[15], p[16], p[17], p[18]
    top = i(p.itemsize * 8 - 1)
    one = i(1)
    zero = i(0)
    fraction_mask = i(_shl(one, mantissa) - one)
    leading = _shl(one, mantissa)
    deep = i(mantissa + one)
    align = w_type(top - mantissa)
    for k in range(x.size):
        u = i(x[k])
        if two is None:
            word = w_type(drawn[k])
        else:
            word = w_type(_shl(w_type(drawn[2 * k]), w_type(32)) | w_type(drawn[2 * k + 1]))
        if (
            transform is not None
        ):  # `numbers.prepare_words`; transform = (keep, half, low_bits, take_odd, equal, sticky)
            few = w_type(w_type(word & transform[0]) | transform[1])
            few = w_type(few - w_type(_shr(word, transform[2]) & transform[3]))
            all_or_nothing = w_type(w_type(0) - _shr(word, w_type(word_bits - w_type(1))))
            word = all_or_nothing if transform[4] else few
        magnitude = i(u & mask)
        field = _shr(magnitude, mantissa)
        shift = min(max(i(low_shift - field), m_shift), max_shift)
        discarded = i(_shl(one, shift) - one)
        increment = i(_shr(_shr(word, w_type(1)), w_type(i(top - shift))))
        rounded = i(i(magnitude + increment) & i(~discarded))
        # below the quantum the fraction is S / 2**(tiny_shift - max(field, 1)), aligned to the word
        significand = i(i(magnitude & fraction_mask) | (leading if field > zero else zero))
        aligned = _shl(w_type(significand), align)
        down = i(i(tiny_shift - max(field, one)) - deep)
        drop = w_type(min(max(down, zero), top))
        fraction = _shr(aligned, drop) if down <= top else w_type(0)
        if transform is not None:  # bits of the fraction below the word's count where transform[5] says so
            lost = (_shl(fraction, drop) != aligned) if down <= top else (significand > zero)
            fraction = w_type(fraction | transform[5]) if lost else fraction
        tiny = quantum if fraction > w_type(~word) else zero
        negative = _shr(u, top)
        limit = limit_n if negative else limit_p
        over = over_n if negative else over_p
        infinite = inf_n if negative else inf_p
        r = tiny if magnitude < quantum else rounded
        r = over if r > limit else r
        r = infinite if magnitude == infinity else r
        sign = i(u ^ magnitude)
        sign = i(sign & zero_sign) if r == zero else sign
        signed = i(r | sign)
        out[k] = nan if max(r, magnitude) > infinity else signed


@_compiled
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


@_compiled
def _put(tile, out, p, encode):
    """Rounded values, or their codes, to the output."""
    if encode:
        _encode_tile(tile, out, p)
    else:
        for k in range(tile.size):
            out[k] = tile[k]


@_compiled
def deterministic(x, out, p, plain, encode, in_place):
    """Round x (1-D, contiguous bits) to values, or to codes where `encode`.

    Args:
        plain: None, or an integer for the shorter program of nearest-even with an end that is the same on
            both sides. Its type chooses the program when Numba compiles.
    """
    if not encode and not in_place:
        deterministic_tile(x, out, p, plain)
        return
    scratch = np.empty(min(TILE, x.size), p.dtype)
    for lo in range(0, x.size, TILE):
        piece = x[lo : lo + TILE]
        tile = scratch[: piece.size]
        deterministic_tile(piece, tile, p, plain)
        _put(tile, out[lo : lo + TILE], p, encode)


@_compiled
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


@_compiled
def codebook(x, out, p, thresholds, results):
    """results[index], index counting the thresholds not above the key of x, or pointing at what a special becomes.

    A binary search that takes each step for a whole tile before the next, so that it runs in vectors.

    Args:
        p: (magnitude mask, infinity bits, index of what +Inf becomes; -Inf and NaN come next).
        thresholds: ascending, padded with the largest integer to a power of two less one.
    """
    keys, index = np.empty(min(TILE, x.size), p.dtype), np.empty(min(TILE, x.size), np.uint32)
    for lo in range(0, x.size, TILE):
        codebook_tile(x[lo : lo + TILE], out[lo : lo + TILE], keys, index, p, thresholds, results)


@_compiled
def codebook_tile(piece, target, keys, index, p, thresholds, results):
    """A tile of `codebook`."""
    i = p.dtype.type
    mask, infinity, specials = p[0], p[1], np.uint32(p[2])
    for k in range(piece.size):
        u = i(piece[k])
        magnitude = i(u & mask)
        keys[k] = i(~magnitude) if u < i(0) and magnitude > i(0) else magnitude
        index[k] = np.uint32(0)
    step = np.uint32((thresholds.size + 1) // 2)
    while step > 0:
        for k in range(piece.size):
            probe = np.uint32(index[k] + step)
            index[k] = probe if thresholds[np.uint32(probe - np.uint32(1))] <= keys[k] else index[k]
        step = np.uint32(step >> np.uint32(1))
    for k in range(piece.size):
        u = i(piece[k])
        magnitude = i(u & mask)
        special = np.uint32(2) if magnitude > infinity else np.uint32(u < i(0))
        target[k] = results[np.uint32(specials + special) if magnitude >= infinity else index[k]]
