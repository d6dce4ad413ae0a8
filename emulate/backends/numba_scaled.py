"""Fused kernels of scaled formats: maxima, scales and elements of a tile of blocks while it is in the cache.

Numba keys its disk cache on the file of a function alone. The entry points here call into others as well, so
each closes over a digest of those files, which is part of its key; what they call in this file is not cached by
itself. Division by zero gives infinities, as in IEEE arithmetic, so that loops run in vectors.
"""

import hashlib
from functools import partial
from pathlib import Path

import numba
import numpy as np

from . import numba as tiles
from . import numba_lists, numba_scales
from .numba import (
    TILE,
    Constants,
    compiled,
    constants,
    philox_words,
    rounded,
    rounded_randomly,
)
from .numba_lists import codebook_tile
from .numba_scales import as_float, as_integer, column_maxima, row_maxima, scales_tile

_shl = np.left_shift

_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")
_entry = partial(compiled, error_model="numpy")


@_inner
def _moved(c, k, p, coded):
    """The constants of the grid times 2**k; codes do not move, the magnitudes that lead to them do."""
    i = p.dtype.type
    up = i(_shl(k, c.mantissa))
    top = up if coded is None else i(0)
    below = top if c.limit_negative != i(0) else i(0)  # unsigned formats have nothing there
    parity = i(up & i(_shl(i(1), c.mantissa) ^ c.implicit))  # of fields, where there is no mantissa
    return Constants(
        c.mantissa, c.mask, c.infinity, c.nan, c.m_shift, i(c.low_shift + k), c.max_shift, c.implicit,
        i(c.parity ^ parity), i(c.quantum + up), i(c.up_positive + up), i(c.up_negative + up),
        i(c.limit_positive + top), i(c.limit_negative + below), i(c.over_positive + top), i(c.over_negative + below),
        i(c.infinite_positive + top), i(c.infinite_negative + below), c.zero_sign, c.nearest, c.take, c.take_negative,
        c.take_odd, c.plus, c.plus_odd, i(c.min_field + k), c.code_mantissa, c.nan_code, c.sign_bit, c.ones,
        i(c.smallest + top), i(c.tiny_shift + k),
    )  # fmt: skip


@_inner
def _words(drawn, count, key, first):
    """The random words of `count` elements from the logical index `first` on."""
    skip = np.int64(first & np.uint64(3))
    words = drawn[: (skip + count + 3) // 4 * 4]
    philox_words(words, first >> np.uint64(2), key[0], key[1], key[2], key[3])
    return words[skip : skip + count]


@_inner
def _shifted(x, out, move, nan, p, plain, words, coded):
    """Each row of x (rows, n) on the grid times its power of two; NaN where `nan` is.

    Args:
        words: None for deterministic modes, else (rows * n,).
        coded: as for `numba.rounded`.
    """
    i = p.dtype.type
    c = constants(p)
    n = x.shape[1]
    for b in range(x.shape[0]):
        moved = _moved(c, move[b], p, coded)
        if words is None:
            for k in range(n):
                out[b, k] = rounded(i(x[b, k]), moved, p, plain, True, coded)
        else:
            for k in range(n):
                out[b, k] = rounded_randomly(i(x[b, k]), words[b * n + k], moved, p, words, True, None)
        if coded is None and nan[b] != nan[b]:
            for k in range(n):
                out[b, k] = c.nan


@_inner
def _scaled(x, out, decode, encode, divides, p, plain, words, coded):
    """Each row of x (rows, n) divided by its scale or multiplied with the inverse, rounded, and multiplied back."""
    c = constants(p)
    n = x.shape[1]
    for b in range(x.shape[0]):
        e, d = encode[b], decode[b]
        if words is None:
            if divides:
                for k in range(n):
                    r = rounded(as_integer(x[b, k] / e), c, p, plain, True, coded)
                    out[b, k] = as_float(r) * d if coded is None else r
            else:
                for k in range(n):
                    r = rounded(as_integer(x[b, k] * e), c, p, plain, True, coded)
                    out[b, k] = as_float(r) * d if coded is None else r
        else:
            for k in range(n):
                t = x[b, k] / e if divides else x[b, k] * e
                out[b, k] = as_float(rounded_randomly(as_integer(t), words[b * n + k], c, p, words, True, None)) * d


@_inner
def _listed(x, out, decode, encode, divides, p, book):
    """As `_scaled`, where elements are a list of values and x is a tile."""
    rows, n = x.shape
    keys, index = np.empty(x.size, p.dtype), np.empty(x.size, np.uint32)
    scaled, found = np.empty((rows, n), x.dtype), np.empty((rows, n), x.dtype)
    for b in range(rows):
        e = encode[b]
        for k in range(n):
            scaled[b, k] = x[b, k] / e if divides else x[b, k] * e
    source, target = scaled.reshape(-1).view(p.dtype), found.reshape(-1).view(p.dtype)
    codebook_tile(source, target, keys, index, book[0], book[1], book[2])
    for b in range(rows):
        d = decode[b]
        for k in range(n):
            out[b, k] = found[b, k] * d


@_inner
def _elements(x, out, scales, shifts, divides, p, plain, book, words, coded, numbers):
    """The elements of a tile, blocks in rows; `scales` is (decode, encode, move) of each row."""
    decode, encode, move = scales
    if book is not None:
        _listed(x.view(numbers.dtype), out.view(numbers.dtype), decode, encode, divides, p, book)
    elif shifts:
        _shifted(x, out, move, decode, p, plain, words, coded)
    elif coded is None:
        _scaled(x.view(numbers.dtype), out.view(numbers.dtype), decode, encode, divides, p, plain, words, None)
    else:
        _scaled(x.view(numbers.dtype), out, decode, encode, divides, p, plain, words, coded)


@_inner
def _long_block(x, out, scales, shifts, divides, p, plain, book, key, drawn, first, coded, numbers):
    """The elements of a block longer than a tile, tile by tile where they need one."""
    for start in range(0, x.size, TILE):
        piece, target = x[start : start + TILE], out[start : start + TILE]
        row, to = piece.reshape((1, piece.size)), target.reshape((1, piece.size))
        words = None if key is None else _words(drawn, piece.size, key, first + np.uint64(start))
        _elements(row, to, scales, shifts, divides, p, plain, book, words, coded, numbers)


@_inner
def _rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index, kept, coded):
    f = numbers.dtype
    drawn = np.empty(TILE + 8, np.uint32)
    blocks, n = x.shape
    per_tile = max(TILE // n, 1)
    top, scratch, move = np.empty(per_tile, p.dtype), np.empty(per_tile, p.dtype), np.empty(per_tile, p.dtype)
    decode, encode = np.empty(per_tile, f), np.empty(per_tile, f)
    divides, shifts = how[4] != 0, how[9] != 0
    missed = 0
    for first in range(0, blocks, per_tile):
        count = min(per_tile, blocks - first)
        part, target = x[first : first + count], out[first : first + count]
        if tops.size:
            top[:count] = tops[first : first + count]
        else:
            row_maxima(part, top, p[1])
        keep = kept[first : first + count]
        missed += scales_tile(top[:count], scratch, decode, encode, move, keep, p, sp, how, numbers, powers)
        index = first_index + np.uint64(first) * np.uint64(n)
        scales = (decode, encode, move)
        if n > TILE:
            _long_block(
                x[first], out[first], scales, shifts, divides, p, plain, book, key, drawn, index, coded, numbers
            )  # fmt: skip
            continue
        words = None if key is None else _words(drawn, count * n, key, index)
        _elements(part, target, scales, shifts, divides, p, plain, book, words, coded, numbers)
    return missed


@_inner
def _across(x, out, wide, shifts, divides, p, plain, book, key, drawn, first, numbers):
    """One row (n,) of blocks that run across rows; `wide` has (decode, encode, move) of each column."""
    decode, encode, move = wide
    i, c = p.dtype.type, constants(p)
    xf, outf = x.view(numbers.dtype), out.view(numbers.dtype)
    if book is not None:
        keys, index = np.empty(x.size, p.dtype), np.empty(x.size, np.uint32)
        scaled, found = np.empty(x.size, numbers.dtype), np.empty(x.size, numbers.dtype)
        for k in range(x.size):
            scaled[k] = xf[k] / encode[k] if divides else xf[k] * encode[k]
        codebook_tile(scaled.view(p.dtype), found.view(p.dtype), keys, index, book[0], book[1], book[2])
        for k in range(x.size):
            outf[k] = found[k] * decode[k]
    elif key is not None and shifts:
        words = _words(drawn, x.size, key, first)
        for k in range(x.size):
            r = rounded_randomly(i(x[k]), words[k], _moved(c, move[k], p, None), p, words, True, None)
            out[k] = c.nan if decode[k] != decode[k] else r
    elif key is not None:
        words = _words(drawn, x.size, key, first)
        for k in range(x.size):
            t = xf[k] / encode[k] if divides else xf[k] * encode[k]
            outf[k] = as_float(rounded_randomly(as_integer(t), words[k], c, p, words, True, None)) * decode[k]
    elif shifts:
        for k in range(x.size):
            r = rounded(i(x[k]), _moved(c, move[k], p, None), p, plain, True, None)
            out[k] = c.nan if decode[k] != decode[k] else r
    elif divides:
        for k in range(x.size):
            outf[k] = as_float(rounded(as_integer(xf[k] / encode[k]), c, p, plain, True, None)) * decode[k]
    else:
        for k in range(x.size):
            outf[k] = as_float(rounded(as_integer(xf[k] * encode[k]), c, p, plain, True, None)) * decode[k]


@_inner
def _columns(x, out, at, run, p, plain, book, sp, how, numbers, powers, key, first_index):
    f = numbers.dtype
    drawn = np.empty(TILE + 8, np.uint32)
    rows = x.shape[1]
    width = max(min(max(TILE // rows, 256), at[3] - at[2]) // run, 1) * run
    highest, top, scratch = np.empty(width, p.dtype), np.empty(width, p.dtype), np.empty(width, p.dtype)
    move, moves = np.empty(width, p.dtype), np.empty(width, p.dtype)
    decode, encode, decodes, encodes = np.empty(width, f), np.empty(width, f), np.empty(width, f), np.empty(width, f)
    divides, shifts = how[4] != 0, how[9] != 0
    nothing = np.empty(0, f)
    missed = 0
    for o in range(at[0], at[1]):
        for left in range(at[2], at[3], width):
            w = min(width, at[3] - left)
            count = w // run
            column_maxima(x[o], left, highest[:w], top[:count], run, p[1])
            missed += scales_tile(top[:count], scratch, decode, encode, move, nothing, p, sp, how, numbers, powers)
            for b in range(count):
                decodes[b * run : (b + 1) * run] = decode[b]
                encodes[b * run : (b + 1) * run] = encode[b]
                moves[b * run : (b + 1) * run] = move[b]
            wide = (decodes, encodes, moves)
            for r in range(rows):
                index = first_index + np.uint64((o * rows + r) * x.shape[2] + left)
                row, target = x[o, r, left : left + w], out[o, r, left : left + w]
                _across(row, target, wide, shifts, divides, p, plain, book, key, drawn, index, numbers)
    return missed


def _kernels(digest):
    """The entry points; `digest`, a number, is in their cache keys and adds nothing to their results."""

    @_entry
    def scaled_rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index, kept, coded):
        """Round blocks of consecutive elements with a scale each, in tiles that stay in the cache.

        Indices come from ranges alone, without slices in the inner loops: a slice of 32 elements costs as much as
        they do.

        Args:
            x, out: (blocks, n) contiguous bits; may be the same memory. Codes where `coded`.
            tops: (blocks,) the largest magnitudes where they are known, else empty.
            p, plain: of the elements, and sp of the scales, as for `numba.deterministic`.
            book: (p, thresholds, results) of `numba.codebook` where elements are a list of values, else None.
            how: integers (linear, add, threshold, emax, divides, low, high, multiplies, keeps_zero, shifts): whether
                scales are powers of two from the linear form of `scaled_tables.Fit`; whether elements are divided by
                their scale; the magnitudes between which this kernel is exact; whether the ideal scale is a
                product; whether scales may round to zero; whether elements round on a moved grid.
            numbers: floats (goal or factor of the ideal scale or 0, outer scale, smallest scale, largest number,
                NaN).
            powers: the scale for each power of two, exponent zero in the middle.
            key: None, or uint64 (stream, step, seed low, seed high) where elements are rounded at random.
            first_index: logical index of the first element, uint64.
            kept: (blocks,) takes the scales before the outer one, -1 for blocks of zeros; or empty. Where it is not,
                blocks with NaN and infinities are out of reach.
            coded: None for values; anything else for codes, deterministic ones of a grid.

        Returns:
            How many blocks lie where only the portable kernels are exact; the results are wrong if there are any.
        """
        found = _rows(x, out, tops, p, plain, book, sp, how, numbers, powers, key, first_index, kept, coded)
        return found + digest - digest

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


WATCHED = [tiles, numba_lists, numba_scales]
_DIGEST = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in WATCHED)).digest()
scaled_rows, scaled_columns = _kernels(int.from_bytes(_DIGEST[:6], "big"))
