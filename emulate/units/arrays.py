"""NumPy arrays in and out of the matrix unit; `backends.torch_units` has the same functions for tensors."""

from math import prod
from typing import Any

import numpy as np

from ..backends import cpu
from ..backends import numpy as numpy_backend
from ..backends.integers import NumpyIntegers
from ..backends.numpy import BITS, FLOATS
from ..layouts import FLOAT64, LAYOUTS, Layout
from ..numbers import convert
from ..rounded.draws import Draws
from ..rounded.operands import numbers_of
from .accumulator import Accumulator
from .operands import Operand, Terms, terms_of
from .problem import Problem
from .products import Scaling, multiplied


def operand(name: str, x: Any) -> np.ndarray:
    """x as a float array; integers as float64.

    Raises:
        TypeError: complex numbers, objects, integers that float64 does not hold.
    """
    try:
        found = numpy_backend.as_array(numbers_of(x) if np.asarray(x).dtype.kind in "iu" else x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if dtype_name(found) not in LAYOUTS:
        kind = " numbers; multiply real and imaginary parts apart" if found.dtype.kind == "c" else ""
        raise TypeError(f"{name}: expected float16, bfloat16, float32 or float64, got {found.dtype}{kind}")
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def dtype_name(x: np.ndarray) -> str:
    """The dtype's plain name."""
    return numpy_backend.dtype_name(x)


def terms(of: Operand, x: np.ndarray, apart: bool) -> Terms:
    """x quantized; with elements and scales apart where asked for."""
    return terms_of(of, x, dtype_name(x), x if apart else None)


def multiply(a: Terms, b: Terms, unit: Accumulator, draws: Draws | None, target: Layout) -> np.ndarray:
    """The products of (..., m, k) and (..., k, n) arrays.

    Args:
        unit: its chunks lie in blocks of scales where there are any.
        target: dtype of the result, which holds it.
    """
    found = product_of_arrays(a.factor, b.factor, a.scales, b.scales, unit, draws)
    return in_layout(found, target)


def windows(x: np.ndarray, geometry: Any) -> np.ndarray:
    """(n, c, *space, *kernel) what a kernel sees at every place, of x (n, c, *space) with zeros around it."""
    axes = tuple(range(2, x.ndim))
    padded = np.pad(x, ((0, 0), (0, 0), *((pad, pad) for pad in geometry.padding)))
    found = np.lib.stride_tricks.sliding_window_view(padded, geometry.reach, axes)
    steps = [slice(None, None, step) for step in (*geometry.stride, *geometry.dilation)]
    return found[(slice(None), slice(None), *steps)]


def permute(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """x with its axes in that order."""
    return x.transpose(axes)


def product_of_arrays(
    a: np.ndarray,
    b: np.ndarray,
    scales_a: np.ndarray | None,
    scales_b: np.ndarray | None,
    unit: Accumulator,
    draws: Any,
) -> np.ndarray:
    """The products in float32 or float64.

    Args:
        a, b: (..., m, k) and (..., k, n).
        scales_a, scales_b: of every element, or None.
    """
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    scaling = None
    if scales_a is not None or scales_b is not None:
        chunk = unit.chunk or 1
        left = np.ones(a.shape) if scales_a is None else _wide(scales_a)
        right = np.ones(b.shape) if scales_b is None else _wide(scales_b)
        pair = _batches(left[..., ::chunk], right[..., ::chunk, :])
        scaling = Scaling(pair.a, pair.b)
    problem = _batches(_loaded(a), _loaded(b))
    return multiplied(problem, unit, draws, scaling).reshape(shape)


def _batches(a: np.ndarray, b: np.ndarray) -> Problem:
    """One batch axis; rows of all batches together where they have the second factor in common."""
    if b.ndim == 2:
        return Problem(a.reshape(1, prod(a.shape[:-1]), a.shape[-1]), b[None])
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
    return Problem(a.reshape(prod(batch), *a.shape[-2:]), b.reshape(prod(batch), *b.shape[-2:]))


def _loaded(x: np.ndarray) -> np.ndarray:
    """float32 or float64 of the same numbers; NaN is canonical."""
    if x.dtype.itemsize < 8 and cpu.flushes():
        x = _wide(x)
    elif x.dtype.itemsize == 2:
        x = x.astype(np.float32)
    nan = np.isnan(x)
    return np.where(nan, x.dtype.type(np.nan), x) if nan.any() else x


def _wide(x: np.ndarray) -> np.ndarray:
    """float64 of the same numbers, subnormals too where the processor would flush them."""
    return x if x.dtype == np.float64 else _converted(x, LAYOUTS[dtype_name(x)], FLOAT64)


def in_layout(found: np.ndarray, target: Layout) -> np.ndarray:
    """float32 or float64 values in a dtype that holds them."""
    source = LAYOUTS[found.dtype.name]
    if source is target:
        return found
    return (
        _converted(found, source, target) if cpu.flushes() or target.width == 16 else found.astype(FLOATS[target.name])
    )


def _converted(x: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    xp = NumpyIntegers(max(source.work_width, target.work_width))
    bits = np.ascontiguousarray(x).view(BITS[source.width]).reshape(-1).astype(xp.dtype)
    found = convert(xp, source, target, bits).astype(BITS[target.width])
    return found.view(FLOATS[target.name]).reshape(x.shape)
