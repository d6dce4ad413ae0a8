"""Fused kernels of scaled formats: maxima, scales and elements of a tile of blocks while it is in the cache.

Numba keys its disk cache on the file of a function alone. The entry points here call into `numba.py` as well, so
each closes over a digest of that file, which is part of its key; what they call in this file is not cached by
itself. Division by zero gives infinities, as in IEEE arithmetic, so that loops run in vectors.
"""

import hashlib
from pathlib import Path

import numba
import numpy as np

from . import numba as tiles
from .numba import TILE, codebook_tile, deterministic_tile, philox_words, stochastic_tile

_shl = np.left_shift
_shr = np.right_shift

_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")


def _entry(function):
    """Compile to machine code without the GIL, cached on disk where the disk can be written."""
    try:
        return numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")(function)
    except RuntimeError:  # numba found no directory for the cache
        return _inner(function)


@_entry
def largest_magnitude(x, mask):
    """The largest of the magnitude bits of x."""
    i = x.dtype.type
    top = i(0)
    for k in range(x.size):
        top = max(top, i(x[k] & mask))
    return top


@_inner
def _scales_tile(top, scratch, decode, encode, p, sp, how, numbers, powers):
    """Scales of the blocks of a tile from their largest magnitudes; see `scaled_rows` for the other arguments.

    Writes what a unit is worth, and what elements are divided by or multiplied with.

    Returns:
        How many blocks lie where only the portable kernels are exact.
    """
    i = p.dtype.type
    mantissa, infinity = p[0], p[2]
    linear, add, threshold, emax, divides, low, high = how[0], how[1], how[2], how[3], how[4], how[5], how[6]
    goal, outer, smallest, largest = numbers[0], numbers[1], numbers[2], numbers[3]
    multiplies, keeps_zero = how[7], how[8]
    implicit = _shl(i(1), mantissa)
    ideal = scratch.view(numbers.dtype)
    missed = 0
    for b in range(top.size):
        missed += i(top[b]) > i(0) and (i(top[b]) < low or i(top[b]) > high) and i(top[b]) < infinity
    magnitudes = top.view(numbers.dtype)
    if goal > numbers.dtype.type(0):
        for b in range(top.size):
            ideal[b] = magnitudes[b] * goal if multiplies else magnitudes[b] / goal
    else:
        for b in range(top.size):
            ideal[b] = magnitudes[b]
    if linear:
        for b in range(top.size):
            u = i(scratch[b])
            raised = i(i(i(u & i(implicit - i(1))) | implicit) + add)
            carry = i(raised >= i(implicit + implicit))
            above = i(i(_shr(raised, carry) - implicit) > threshold)
            e = i(i(_shr(u, mantissa) + carry) + i(above - emax))
            e = min(max(i(e + i(powers.size // 2)), i(0)), i(powers.size - 1))
            decode[b] = powers[e]
    else:
        deterministic_tile(scratch[: top.size], decode.view(scratch.dtype)[: top.size], sp, None)
        if not keeps_zero:
            for b in range(top.size):
                decode[b] = max(decode[b], smallest)
    one = numbers.dtype.type(1)
    nan = numbers[4]
    for b in range(top.size):
        d = decode[b] * outer
        nothing = top[b] == i(0) or d == numbers.dtype.type(0)
        inverse = min(one / d, largest)
        factor = d if divides else inverse
        encode[b] = (one if divides else largest) if nothing else factor
        decode[b] = nan if top[b] >= infinity else (numbers.dtype.type(0) if nothing else d)
    return missed


@_inner
def _element_tile(x, out, p, plain, book, key, drawn, first):
    """Elements of a tile: in a codebook where there is one; else with the random words of logical indices from
    `first` on where there is a key."""
    if book is not None:
        keys, index = np.empty(x.size, p.dtype), np.empty(x.size, np.uint32)
        codebook_tile(x, out, keys, index, book[0], book[1], book[2])
    elif key is None:
        deterministic_tile(x, out, p, plain)
    else:
        skip = np.int64(first & np.uint64(3))
        words = drawn[: (skip + x.size + 3) // 4 * 4]
        philox_words(words, first >> np.uint64(2), key[0], key[1], key[2], key[3])
        stochastic_tile(x, out, p, words[skip : skip + x.size], drawn, None, None)


@_inner
def _long_block(x, out, tile, p, plain, book, divides, numbers, key, drawn, first):
    """The elements of a block longer than a tile."""
    scaled, rounded, decode, encode = tile
    scaled, rounded, decode, encode = tile
    xf, outf = x.view(numbers.dtype), out.view(numbers.dtype)
    scaled_f, rounded_f = scaled.view(numbers.dtype), rounded.view(numbers.dtype)
    for start in range(0, x.size, TILE):
        source = xf[start : start + TILE]
        target = scaled_f[: source.size]
        if divides:
            for k in range(source.size):
                target[k] = source[k] / encode
        else:
            for k in range(source.size):
                target[k] = source[k] * encode
        size = source.size
        _element_tile(scaled[:size], rounded[:size], p, plain, book, key, drawn, first + np.uint64(start))
        target = outf[start : start + source.size]
        source = rounded_f[: target.size]
        for k in range(target.size):
            target[k] = source[k] * decode


@_inner
def _multiply_rows(x, out, factor, divides):
    """Each row of x (rows, n) divided by its factor, or multiplied with it."""
    if divides:
        for b in range(x.shape[0]):
            e = factor[b]
            for k in range(x.shape[1]):
                out[b, k] = x[b, k] / e
    else:
        for b in range(x.shape[0]):
            e = factor[b]
            for k in range(x.shape[1]):
                out[b, k] = x[b, k] * e


@_inner
def _multiply(x, out, factors, divides):
    """Each element of x (n,) divided by its factor, or multiplied with it."""
    if divides:
        for k in range(x.size):
            out[k] = x[k] / factors[k]
    else:
        for k in range(x.size):
            out[k] = x[k] * factors[k]


@_inner
def _row_maxima(x, top, mask):
    """The largest magnitude of each row of x (rows, n)."""
    i = x.dtype.type
    for b in range(x.shape[0]):
        highest = i(0)
        for k in range(x.shape[1]):
            highest = max(highest, i(x[b, k] & mask))
        top[b] = highest


@_inner
def _column_maxima(x, left, highest, top, run, mask):
    """The largest magnitude of each `run` neighbouring columns of x (rows, n), from column `left` on."""
    i = x.dtype.type
    for k in range(highest.size):
        highest[k] = i(0)
    for r in range(x.shape[0]):
        row = x[r, left : left + highest.size]
        for k in range(row.size):
            highest[k] = max(highest[k], i(row[k] & mask))
    for b in range(top.size):
        most = i(0)
        for k in range(run):
            most = max(most, highest[b * run + k])
        top[b] = most


@_inner
def _rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index):
    f = numbers.dtype
    drawn = np.empty(TILE + 8, np.uint32)
    blocks, n = x.shape
    per_tile = max(TILE // n, 1)
    scaled, rounded = np.empty(per_tile * min(n, TILE), p.dtype), np.empty(per_tile * min(n, TILE), p.dtype)
    top, scratch = np.empty(per_tile, p.dtype), np.empty(per_tile, p.dtype)
    decode, encode = np.empty(per_tile, f), np.empty(per_tile, f)
    divides = how[4] != 0
    missed = 0
    for first in range(0, blocks, per_tile):
        count = min(per_tile, blocks - first)
        part = x[first : first + count]
        if tops.size:
            top[:count] = tops[first : first + count]
        else:
            _row_maxima(part, top, p[1])
        missed += _scales_tile(top[:count], scratch, decode, encode, p, sp, how, numbers, powers)
        index = first_index + np.uint64(first) * np.uint64(n)
        if n > TILE:
            tile = (scaled, rounded, decode[0], encode[0])
            _long_block(x[first], out[first], tile, p, plain, book, divides, numbers, key, drawn, index)
            continue
        flat, exact = scaled[: count * n], rounded[: count * n]
        _multiply_rows(part.view(f), flat.view(f).reshape((count, n)), encode, divides)
        _element_tile(flat, exact, p, plain, book, key, drawn, index)
        _multiply_rows(exact.view(f).reshape((count, n)), out[first : first + count].view(f), decode, False)
    return missed


@_inner
def _columns(x, out, at, run, p, plain, book, sp, how, numbers, powers, key, first_index):
    f = numbers.dtype
    drawn = np.empty(TILE + 8, np.uint32)
    rows = x.shape[1]
    width = max(min(max(TILE // rows, 128), at[3] - at[2]) // run, 1) * run
    depth = max(TILE // width, 1)
    xf, outf = x.view(f), out.view(f)
    scaled, rounded = np.empty(depth * width, p.dtype), np.empty(depth * width, p.dtype)
    highest, top, scratch = np.empty(width, p.dtype), np.empty(width, p.dtype), np.empty(width, p.dtype)
    decode, encode, decodes, encodes = np.empty(width, f), np.empty(width, f), np.empty(width, f), np.empty(width, f)
    divides = how[4] != 0
    missed = 0
    for o in range(at[0], at[1]):
        for left in range(at[2], at[3], width):
            w = min(width, at[3] - left)
            count = w // run
            _column_maxima(x[o], left, highest[:w], top[:count], run, p[1])
            missed += _scales_tile(top[:count], scratch, decode, encode, p, sp, how, numbers, powers)
            for b in range(count):
                decodes[b * run : (b + 1) * run] = decode[b]
                encodes[b * run : (b + 1) * run] = encode[b]
            for start in range(0, rows, depth):
                many = min(depth, rows - start)
                for r in range(many):
                    before = scaled[r * w : (r + 1) * w].view(f)
                    _multiply(xf[o, start + r, left : left + w], before, encodes, divides)
                if key is None:
                    _element_tile(scaled[: many * w], rounded[: many * w], p, plain, book, key, drawn, first_index)
                else:  # a row at a time: its words follow each other
                    for r in range(many):
                        index = first_index + np.uint64((o * rows + start + r) * x.shape[2] + left)
                        piece, result = scaled[r * w : (r + 1) * w], rounded[r * w : (r + 1) * w]
                        _element_tile(piece, result, p, plain, book, key, drawn, index)
                for r in range(many):
                    after = rounded[r * w : (r + 1) * w].view(f)
                    _multiply(after, outf[o, start + r, left : left + w], decodes, False)
    return missed


def _kernels(digest):
    """The entry points; `digest`, a number, is in their cache keys and adds nothing to their results."""

    @_entry
    def scaled_rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index):
        """Round blocks of consecutive elements with a scale each, in tiles that stay in the cache.

        Indices come from ranges alone, without slices in the inner loops: a slice of 32 elements costs as much as
        they do.

        Args:
            x, out: (blocks, n) contiguous bits; may be the same memory.
            tops: (blocks,) the largest magnitudes where they are known, else empty.
            p, plain: of the elements, and sp of the scales, as for `numba.deterministic`.
            book: (p, thresholds, results) of `numba.codebook` where elements are a list of values, else None.
            how: integers (linear, add, threshold, emax, divides, low, high, multiplies, keeps_zero): whether scales
                are powers of two from the linear form of `scaled_tables.Fit`; whether elements are divided by
                their scale; the magnitudes between which this kernel is exact; whether the ideal scale is a
                product; whether scales may round to zero.
            numbers: floats (goal or factor of the ideal scale or 0, outer scale, smallest scale, largest number,
                NaN).
            powers: the scale for each power of two, exponent zero in the middle.
            key: None, or uint64 (stream, step, seed low, seed high) where elements are rounded at random.
            first_index: logical index of the first element, uint64.

        Returns:
            How many blocks lie where only the portable kernels are exact; the results are wrong if there are any.
        """
        return _rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index) + digest - digest

    @_entry
    def scaled_columns(x, out, at, run, p, plain, book, sp, how, numbers, powers, key, first_index):
        """Round blocks that run across rows: each of all rows and `run` neighbouring columns; see `scaled_rows`.

        Args:
            x, out: (outer, rows, columns) contiguous bits; may be the same memory.
            at: (first and last outer index, first and last column) of the part to do.
            run: columns of a block; divides those of the part.
        """
        found = _columns(x, out, at, run, p, plain, book, sp, how, numbers, powers, key, first_index)
        return found + digest - digest

    return scaled_rows, scaled_columns


_DIGEST = hashlib.sha256(Path(tiles.__file__).read_bytes()).digest()
scaled_rows, scaled_columns = _kernels(int.from_bytes(_DIGEST[:6], "big"))
