"""Compiled copies of `rounded.error_free`: operations rounded to odd, one number in registers.

The error of a product is one fused multiply-add here, which every processor that matters has. Pinned bit for bit to
the portable functions. Numba keys its disk cache on one file, so what is compiled here calls into no other.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

_inlined = numba.njit(nogil=True, boundscheck=False, forceinline=True, error_model="numpy")


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


def _fused(_, a, b, c):
    """a * b + c rounded once."""

    def codegen(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, b, c), codegen


as_integer: Any = intrinsic(_integer_of)
as_float: Any = intrinsic(_float_of)
fused: Any = intrinsic(_fused)


@_inlined
def step_to_odd(result, error):
    """The result rounded to odd, from the one rounded to nearest and what it lacks."""
    u = as_integer(result)
    one = type(u)(1)
    step = one if (error > 0) == (result > 0) else type(u)(-1)
    inexact = (error > 0) | (error < 0)
    return as_float(type(u)(u + step)) if inexact & (type(u)(u & one) == 0) else result


@_inlined
def odd_sum(a, b):
    """a + b to odd."""
    s = a + b
    of_b = s - a
    return step_to_odd(s, (a - (s - of_b)) + (b - of_b))


@_inlined
def odd_product(a, b):
    """a * b to odd."""
    p = a * b
    return step_to_odd(p, fused(a, b, -p))


@_inlined
def odd_quotient(a, b):
    """a / b to odd."""
    q = a / b
    rest = fused(-q, b, a)
    return step_to_odd(q, -rest if b < 0 else rest)


@_inlined
def odd_root(a):
    """Square root of a to odd."""
    s = np.sqrt(a)
    return step_to_odd(s, fused(-s, s, a))


@_inlined
def odd_fused(a, b, c):
    """a * b + c to odd."""
    high = a * b
    low = fused(a, b, -high)
    if not (low > 0 or low < 0) or c - c != 0:  # exact, or infinite: the sum of two has the right zeros and infinities
        return odd_sum(high, c)
    middle = c + low
    of_low = middle - c
    lowest = (c - (middle - of_low)) + (low - of_low)
    top = high + middle
    of_middle = top - high
    rest = (high - (top - of_middle)) + (middle - of_middle)
    return odd_sum(top, odd_sum(lowest, rest))


def compiled(function):
    """Compile to machine code without the GIL, cached on disk where the disk can be written."""
    try:
        return numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")(function)
    except RuntimeError:  # numba found no directory for the cache
        return numba.njit(nogil=True, boundscheck=False, error_model="numpy")(function)


ADD, MULTIPLY, DIVIDE, SQRT, FMA = range(5)


@compiled
def odd_array(code, a, b, c, out):
    """An operation of (n,) floats, to odd; b and c are read where it has as many operands."""
    if code == 0:
        for k in range(out.size):
            out[k] = odd_sum(a[k], b[k])
    elif code == 1:
        for k in range(out.size):
            out[k] = odd_product(a[k], b[k])
    elif code == 2:
        for k in range(out.size):
            out[k] = odd_quotient(a[k], b[k])
    elif code == 3:
        for k in range(out.size):
            out[k] = odd_root(a[k])
    else:
        for k in range(out.size):
            out[k] = odd_fused(a[k], b[k], c[k])
