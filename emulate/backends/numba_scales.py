"""Scales of a tile of blocks: largest magnitudes, what they become in the format of the scales, and factors.

Compiled into the entry points of `numba_scaled`, which watch this file; nothing here is cached by itself.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from .numba import deterministic_tile

_shl = np.left_shift
_shr = np.right_shift

_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")


def _bitcast(target):
    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(target))

    return codegen


def _integer_of(_, x):
    """The bits of a float, in a register."""
    target = {types.float32: types.int32, types.float64: types.int64}[x]
    return target(x), _bitcast(target)


def _float_of(_, x):
    """The float of bits, in a register."""
    target = {types.int32: types.float32, types.int64: types.float64}[x]
    return target(x), _bitcast(target)


as_integer: Any = intrinsic(_integer_of)
as_float: Any = intrinsic(_float_of)


@_inner
def row_maxima(x, top, mask):
    """The largest magnitude of each row of x (rows, n)."""
    i = x.dtype.type
    for b in range(x.shape[0]):
        highest = i(0)
        for k in range(x.shape[1]):
            highest = max(highest, i(x[b, k] & mask))
        top[b] = highest


@_inner
def column_maxima(x, left, highest, top, run, mask):
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
def scales_tile(top, scratch, decode, encode, move, kept, p, sp, how, numbers, powers):
    """Scales of the blocks of a tile from their largest magnitudes; see `scaled_rows` for the other arguments.

    Writes what a unit is worth, what elements are divided by or multiplied with, and the exponents of powers of two.

    Returns:
        How many blocks lie where only the portable kernels are exact.
    """
    i = p.dtype.type
    linear, shifts = how[0], how[9]
    _ideal_scales(top, scratch, how[7], numbers)
    if linear:
        _power_scales(top, scratch, decode, p, how, powers)
    else:
        deterministic_tile(scratch[: top.size], decode.view(scratch.dtype)[: top.size], sp, None)
        if not how[8]:
            for b in range(top.size):
                decode[b] = max(decode[b], numbers[2])
    for b in range(kept.size):
        kept[b] = -numbers.dtype.type(1) if top[b] == i(0) else decode[b]
    if shifts:
        _exponents(top, decode, move, p, numbers)
    else:
        _factors(top, decode, encode, p, how, numbers)
    return _out_of_reach(top, p, how, kept.size > 0)


@_inner
def _out_of_reach(top, p, how, finite):
    """How many blocks lie past the ends of the range, or are not finite where they have to be."""
    i = p.dtype.type
    low, high, infinity = how[5], how[6], p[2]
    missed = i(0)
    for b in range(top.size):
        lost = i(i(top[b] > i(0)) & i(i(top[b] < low) | i(i(top[b] > high) & i(top[b] < infinity))))
        missed = i(missed + lost)
    if finite:
        for b in range(top.size):
            missed = i(missed + i(top[b] >= infinity))
    return missed


@_inner
def _ideal_scales(top, scratch, multiplies, numbers):
    """Largest magnitudes divided by the goal, or multiplied with its inverse, or as they are; in `scratch` as bits."""
    ideal, magnitudes, goal = scratch.view(numbers.dtype), top.view(numbers.dtype), numbers[0]
    if goal == numbers.dtype.type(0):
        for b in range(top.size):
            ideal[b] = magnitudes[b]
    elif multiplies:
        for b in range(top.size):
            ideal[b] = magnitudes[b] * goal
    else:
        for b in range(top.size):
            ideal[b] = magnitudes[b] / goal


@_inner
def _power_scales(top, scratch, decode, p, how, powers):
    """The power of two of each ideal scale, by the linear form of `scaled_tables.Fit`."""
    i = p.dtype.type
    add, threshold, emax, mantissa = how[1], how[2], how[3], p[0]
    implicit = _shl(i(1), mantissa)
    last, middle = i(powers.size - 1), i(powers.size // 2)
    for b in range(top.size):
        u = i(scratch[b])
        raised = i(i(i(u & i(implicit - i(1))) | implicit) + add)
        carry = i(raised >= i(implicit + implicit))
        above = i(i(_shr(raised, carry) - implicit) > threshold)
        e = i(i(_shr(u, mantissa) + carry) + i(above - emax))
        scratch[b] = min(max(i(e + middle), i(0)), last)
    for b in range(top.size):
        decode[b] = powers[scratch[b]]


@_inner
def _exponents(top, decode, move, p, numbers):
    """The exponents of scales that are powers of two; NaN in `decode` for blocks that are not finite."""
    i = p.dtype.type
    mantissa, infinity, nan = p[0], p[2], numbers[4]
    one = as_integer(numbers.dtype.type(1))
    for b in range(top.size):
        k = i(_shr(i(as_integer(decode[b]) - one), mantissa))
        move[b] = k if top[b] > i(0) and top[b] < infinity else i(0)
        decode[b] = nan if top[b] >= infinity else decode[b]


@_inner
def _factors(top, decode, encode, p, how, numbers):
    """What elements are divided by or multiplied with, and what their units are worth."""
    i = p.dtype.type
    infinity, divides = p[2], how[4] != 0
    outer, largest, nan = numbers[1], numbers[3], numbers[4]
    one, zero = numbers.dtype.type(1), numbers.dtype.type(0)
    for b in range(top.size):
        d = decode[b] * outer
        nothing = top[b] == i(0) or d == zero
        factor = d if divides else min(one / d, largest)
        encode[b] = (one if divides else largest) if nothing else factor
        decode[b] = nan if top[b] >= infinity else (zero if nothing else d)
