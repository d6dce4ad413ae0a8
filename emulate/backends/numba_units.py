"""Compiled kernels of the emulated matrix unit: products and sums of a row of columns at a time, each rounded.

One row of the result is kept for as many columns as a panel of b has, so that a loop runs over columns, in vectors,
while the panel stays in the second cache. What a step rounds to is data; three things are built in, as they decide
what the loop is: the rounding (`NATIVE`, `ADDED`, `SHIFTED`, `GENERAL`), the sum (`DIRECT`, `ODD`, `FUSED`) and the
order. `units.routes` chooses them so that every step is exact to the last bit.

Numba keys its disk cache on the file of a function alone: entry points close over a digest of the other files.
"""

import hashlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from . import numba as tiles
from . import numba_odd
from .numba import compiled, constants, rounded
from .numba_odd import as_float, as_integer, fused, odd_sum

NATIVE, ADDED, SHIFTED, GENERAL = range(4)
"""Roundings: none, as the carrier's own is the format's; a large number added and taken away again; the bits below
the format's cut off with a carry; the one of `numba.rounded`."""
DIRECT, ODD, FUSED = range(3)
"""Sums: the carrier's own; to odd; the carrier's own of product and sum in one."""

_shr = np.right_shift
_inlined = numba.njit(nogil=True, boundscheck=False, forceinline=True, error_model="numpy")
_entry = partial(compiled, error_model="numpy")

SLAB = 1024
"""Rows of a panel that are done for all rows of a before the next: 128 columns of them fill half a second cache."""


class Cut(NamedTuple):
    """What `ADDED` and `SHIFTED` read, as bits of the carrier; see `routes.cut_of`."""

    exponent: int
    low: int
    high: int
    raise_by: int
    limit: int
    over: int
    sign: int
    drop: int
    half: int
    keep: int


@_inlined
def _cut(c):
    return Cut(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9])


@_inlined
def _added(x, c, like):
    """x to nearest even: with |big| = 2**(e + M - m), x + big has its last bit where the format has it at exponent e.

    Nothing is subnormal here, so that no processor flushes it. Beyond the limit the result is `over`.
    """
    i = like.dtype.type
    u = as_integer(x)
    e = min(max(i(u & c.exponent), c.low), c.high)
    sign = i(u & c.sign)
    big = as_float(i(i(e + c.raise_by) | sign))
    r = abs((x + big) - big)
    r = as_float(c.over) if r > as_float(c.limit) else r
    return as_float(i(as_integer(r) | sign))


@_inlined
def _shifted(x, c, like):
    """x to nearest even, for a format with the exponents of the carrier; NaN must have no bits but its first."""
    i = like.dtype.type
    u = as_integer(x)
    odd = i(_shr(u, c.drop) & i(1))
    return as_float(i(i(u + i(c.half + odd)) & c.keep))


@_inlined
def _rounded(x, kind, c, full, p):
    """x to the format; `kind` is a constant where this is called, and all but one branch go."""
    if kind == ADDED:
        return _added(x, c, p)
    if kind == SHIFTED:
        return _shifted(x, c, p)
    if kind == GENERAL:
        return as_float(rounded(as_integer(x), full, p, None, None, None))
    return x


@_inlined
def _plus(a, b, kind, total, c, full, p):
    """The sum, to the format."""
    return _rounded(odd_sum(a, b) if total == ODD else a + b, kind, c, full, p)


def _sequential(kind, total, digest):
    @_entry
    def sequential(a, panels, out, at, c, p, rounds):
        """out += a @ b, one product after the other.

        Args:
            a: (m, k) of the carrier.
            panels: (panels, k, columns): the columns of b.
            out: (panels, m, columns); what the sums begin with, and become.
            at: (first and last panel, row of a, product) of the part to do.
            c: as `Cut`, of the carrier's integers.
            p: of `cpu.parameters`.
            rounds: whether products are rounded before they are added.
        """
        cut, full, width = _cut(c), constants(p), panels.shape[2]
        row = np.empty(width, a.dtype)
        for first in range(at[4], at[5], SLAB):
            last = min(first + SLAB, at[5])
            for q in range(at[0], at[1]):
                panel = panels[q]
                for i in range(at[2], at[3]):
                    for j in range(width):
                        row[j] = out[q, i, j]
                    for k in range(first, last):
                        x = a[i, k]
                        if total == FUSED:
                            for j in range(width):
                                row[j] = fused(x, panel[k, j], row[j])
                        elif rounds:
                            for j in range(width):
                                t = _rounded(x * panel[k, j], kind, cut, full, p)
                                row[j] = _plus(row[j], t, kind, total, cut, full, p)
                        else:
                            for j in range(width):
                                row[j] = _plus(row[j], x * panel[k, j], kind, total, cut, full, p)
                    for j in range(width):
                        out[q, i, j] = row[j]
        return digest

    return sequential


@_inlined
def _merged(low, high, kind, total, cut, full, p):
    for j in range(low.size):
        low[j] = _plus(low[j], high[j], kind, total, cut, full, p)


def _pairwise(kind, total, digest):
    @_entry
    def pairwise(a, panels, out, at, c, p, rounds):
        """out = a @ b, products added in adjacent pairs, level by level; arguments as of `sequential`.

        A sum of 2**d products waits for its neighbour on a stack; what is left at the end is added from the top.
        """
        cut, full, width = _cut(c), constants(p), panels.shape[2]
        stack = np.empty((66, width), a.dtype)
        for q in range(at[0], at[1]):
            panel = panels[q]
            for i in range(at[2], at[3]):
                depth = 0
                for k in range(at[4], at[5]):
                    x, top = a[i, k], stack[depth]
                    for j in range(width):
                        t = x * panel[k, j]
                        top[j] = _rounded(t, kind, cut, full, p) if rounds else t
                    depth += 1
                    pairs = k - at[4] + 1
                    while pairs & 1 == 0:
                        _merged(stack[depth - 2], stack[depth - 1], kind, total, cut, full, p)
                        depth -= 1
                        pairs >>= 1
                while depth > 1:
                    _merged(stack[depth - 2], stack[depth - 1], kind, total, cut, full, p)
                    depth -= 1
                for j in range(width):  # one product alone, which may not be rounded yet
                    out[q, i, j] = _rounded(stack[0, j], kind, cut, full, p) if depth else out[q, i, j]
        return digest

    return pairwise


def _aligned(digest):
    @_entry
    def aligned(a, panels, out, at, like, bits):
        """out = the exact sum of out and of products, each cut to `bits` bits below the largest exponent among them.

        Args:
            a, panels, out, at: as of `sequential`.
            like: an empty array of the carrier's integers.
            bits: with those that a sum needs above them, no more than the carrier has.
        """
        i_type, f = like.dtype.type, a.dtype.type
        width = panels.shape[2]
        top, scale, unit, total = np.empty(width, f), np.empty(width, f), np.empty(width, f), np.empty(width, f)
        infinity = as_integer(f(np.inf))
        one = i_type(infinity & -infinity)
        bias = i_type(i_type(infinity - one) >> 1)  # the bits of 1.0
        shift = i_type(one * i_type(bits))
        lowest = i_type(shift + i_type(2) * one)
        for q in range(at[0], at[1]):
            panel = panels[q]
            for i in range(at[2], at[3]):
                for j in range(width):
                    top[j] = abs(out[q, i, j])
                for k in range(at[4], at[5]):
                    x = a[i, k]
                    for j in range(width):
                        t = abs(x * panel[k, j])
                        top[j] = t if t > top[j] else top[j]
                for j in range(width):
                    g = max(i_type(as_integer(top[j]) & infinity), lowest)
                    scale[j] = as_float(i_type(i_type(i_type(2) * bias + shift) - g))
                    unit[j] = as_float(i_type(g - shift))
                    total[j] = np.trunc(out[q, i, j] * scale[j])
                for k in range(at[4], at[5]):
                    x = a[i, k]
                    for j in range(width):
                        total[j] += np.trunc(x * panel[k, j] * scale[j])
                for j in range(width):
                    out[q, i, j] = total[j] * unit[j]
        return digest

    return aligned


def _binned(digest):
    @_entry
    def binned(a, panels, bins, at, big):
        """Add products to bins without any rounding: each takes the bits above its last one, and leaves the rest.

        Args:
            a, panels, at: as of `sequential`, float64.
            bins: (levels, panels, m, columns).
            big: (levels,) numbers whose last bit is 2**52 below their first and that of the bin; see `units.kulisch`.
        """
        levels, width = bins.shape[0], panels.shape[2]
        held, rest = np.empty((levels, width), np.float64), np.empty(width, np.float64)
        for q in range(at[0], at[1]):
            panel = panels[q]
            for i in range(at[2], at[3]):
                for level in range(levels):
                    for j in range(width):
                        held[level, j] = bins[level, q, i, j]
                last = held[levels - 1]
                for k in range(at[4], at[5]):
                    x = a[i, k]
                    if levels == 1:
                        for j in range(width):
                            last[j] += x * panel[k, j]
                        continue
                    for j in range(width):
                        rest[j] = x * panel[k, j]
                    for level in range(levels - 1):
                        one, row = big[level], held[level]
                        for j in range(width):
                            t = (rest[j] + one) - one
                            row[j] += t
                            rest[j] -= t
                    for j in range(width):
                        last[j] += rest[j]
                for level in range(levels):
                    for j in range(width):
                        bins[level, q, i, j] = held[level, j]
        return digest

    return binned


def _collapsed(digest):
    @_entry
    def collapsed(bins, big, out, nearest):
        """The sum of the bins (levels, n), rounded once to float64: to nearest even, or to odd; uses up the bins.

        Carries first make the bins digits that do not overlap. Then the first two that are not zero, whose sum and
        error are exact, and the odd sum of all others decide.
        """
        levels = bins.shape[0]
        for j in range(bins.shape[1]):
            for level in range(levels - 1, 0, -1):
                one = big[level - 1]
                carry = (bins[level, j] + one) - one
                bins[level, j] -= carry
                bins[level - 1, j] += carry
            first = 0
            while first < levels - 1 and bins[first, j] == 0:
                first += 1
            rest = 0.0
            for level in range(levels - 1, first + 1, -1):
                rest = odd_sum(bins[level, j], rest)
            second = bins[first + 1, j] if first + 1 < levels else 0.0
            high = bins[first, j] + second
            of_second = high - bins[first, j]
            low = (bins[first, j] - (high - of_second)) + (second - of_second)
            low = odd_sum(low, rest)
            out[j] = high + low if nearest else odd_sum(high, low)
        return digest

    return collapsed


def _spanned(digest):
    @_entry
    def spanned(x, like, m):
        """What numbers x (n,) take: (highest exponent, lowest bit, most bits, whether one is no finite number).

        Args:
            like: an empty array of integers as wide as x.
            m: fraction bits of the dtype.
        """
        i, f = like.dtype.type, x.dtype.type
        infinity, bias = as_integer(f(np.inf)), i(as_integer(f(1)) >> i(m))
        top, low, most, strange = i(-4096), i(4096), i(0), i(0)
        for j in range(x.size):
            u = i(as_integer(x[j]) & i(~as_integer(f(-0.0))))
            field = i(u >> i(m))
            s = i(i(u & i(i(i(1) << i(m)) - i(1))) | (i(i(1) << i(m)) if field > i(0) else i(0)))
            unit = i(max(field, i(1)) - i(bias + i(m)))
            highest = i(unit + i(i(as_integer(f(s)) >> i(m)) - bias))
            lowest = i(unit + i(i(as_integer(f(i(s & i(-s)))) >> i(m)) - bias))
            counts = i(i(u != i(0)) & i(u < infinity))
            strange = i(strange | i(u >= infinity))
            top = max(top, highest) if counts else top
            low = min(low, lowest) if counts else low
            most = max(most, i(i(highest - lowest) + i(1))) if counts else most
        return top, low, most, strange, digest

    return spanned


WATCHED = [tiles, numba_odd]
_DIGEST = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in WATCHED)).digest()
_NUMBER = int.from_bytes(_DIGEST[:6], "big")


@lru_cache(maxsize=64)
def summing(order: str, kind: int, total: int) -> Any:
    """The kernel of an order, 'sequential' or 'pairwise', with its rounding and sum built in."""
    return {"sequential": _sequential, "pairwise": _pairwise}[order](kind, total, _NUMBER)


aligned, binned, collapsed, spanned = (make(_NUMBER) for make in (_aligned, _binned, _collapsed, _spanned))
