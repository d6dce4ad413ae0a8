"""Compiled passes over bits that round nothing: the largest magnitude, clip masks, what a dense stream holds.

Numba keys its disk cache on one file, so what is compiled here calls into no other; see `numba`.
"""

import numpy as np

from .numba import compiled

TILE = 4096
"""Codes that are kept between a stream and its values, a multiple of eight."""

_shr = np.right_shift


@compiled
def largest_magnitude(x, mask):
    """The largest of the magnitude bits of x."""
    i = x.dtype.type
    top = i(0)
    for k in range(x.size):
        top = max(top, i(x[k] & mask))
    return top


@compiled
def within(x, out, mask, positive, negative):
    """One bit an element, the first in the lowest bit: whether its magnitude bits are at most the limit of its sign.

    Args:
        x: (n,) contiguous signed bits.
        out: (ceil(n / 8),) uint8; bits past the end are zero.
    """
    i = x.dtype.type
    whole = x.size // 8
    for b in range(whole):
        found = np.uint8(0)
        for j in range(8):
            u = x[8 * b + j]
            limit = negative if u < i(0) else positive
            found |= np.uint8(np.uint8(i(u & mask) <= limit) << np.uint8(j))
        out[b] = found
    if whole < out.size:
        found = np.uint8(0)
        for k in range(8 * whole, x.size):
            limit = negative if x[k] < i(0) else positive
            found |= np.uint8(np.uint8(i(x[k] & mask) <= limit) << np.uint8(k - 8 * whole))
        out[whole] = found


@compiled
def unpack(stream, codes, bits):
    """The codes (n,) of a dense stream, the inverse of `pack`."""
    if bits == 4 and codes.itemsize == 1:
        for k in range(codes.size // 2):
            codes[2 * k] = np.uint8(stream[k] & np.uint8(15))
            codes[2 * k + 1] = _shr(stream[k], np.uint8(4))
        if codes.size % 2:
            codes[codes.size - 1] = np.uint8(stream[codes.size // 2] & np.uint8(15))
        return
    held, filled, at = np.uint64(0), np.uint64(0), 0
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for k in range(codes.size):
        while filled < np.uint64(bits):
            held |= np.uint64(stream[at]) << filled
            filled += np.uint64(8)
            at += 1
        codes[k] = held & mask
        held, filled = held >> np.uint64(bits), filled - np.uint64(bits)


@compiled
def unpack_values(stream, out, table, bits):
    """table[code] of the codes of a dense stream, without an array of codes.

    Args:
        stream: uint8, codes of at most 8 bits.
        out: (n,) of the table's dtype.
        table: (2**bits,) bits of the values.
    """
    if bits == 4:
        for k in range(out.size // 2):
            out[2 * k] = table[stream[k] & np.uint8(15)]
            out[2 * k + 1] = table[_shr(stream[k], np.uint8(4))]
        if out.size % 2:
            out[out.size - 1] = table[stream[out.size // 2] & np.uint8(15)]
        return
    codes = np.empty(min(TILE, out.size), np.uint8)
    for lo in range(0, out.size, TILE):
        target = out[lo : lo + TILE]
        unpack(stream[lo // 8 * bits :], codes[: target.size], bits)
        for k in range(target.size):
            target[k] = table[codes[k]]
