"""What operands of rounded arithmetic become: values of its format, along one axis where they are summed."""

from math import ceil, log10
from typing import Any

import numpy as np

from ..backends.numpy import FLOATS
from .context import Arithmetic, extent
from .draws import Draws
from .operations import rounded_to
from .reductions import next_of

_SHOWN = 1000
"""Elements up to which NumPy prints an array whole."""


class Rounded:
    """Values of a format, what operations on them end with, and where random words come from."""

    __slots__ = ("arithmetic", "draws", "values")

    def __init__(self, values: np.ndarray, arithmetic: Arithmetic, draws: Draws | None = None) -> None:
        self.values = values
        self.arithmetic = arithmetic
        self.draws = draws


def operand(x: Any, target: Arithmetic, draws: Draws | None, copy: bool = False) -> np.ndarray:
    """Numbers as values of an arithmetic, in its carrier: those of a rounded array exactly, others rounded.

    Raises:
        TypeError: complex numbers, and what is no number.
    """
    if isinstance(x, Rounded) and x.arithmetic == target:
        return x.values.copy() if copy else x.values
    values = x.values if isinstance(x, Rounded) else numbers_of(x)
    return rounded_to(target, values, next_of(draws))


def numbers_of(x: Any) -> np.ndarray:
    """Anything NumPy reads as real numbers, as floats; integers as float64.

    Raises:
        TypeError: complex numbers, objects and strings, and integers that float64 does not hold.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("masks are not kept; pass x.filled(value)")
    found = np.asarray(x)
    if found.dtype.kind in "iub":
        wide = found.astype(np.float64)
        if found.dtype.itemsize == 8 and not np.array_equal(wide.astype(found.dtype), found):
            raise TypeError("integers beyond 2**53 are not exact in float64; pass floats")
        return wide
    if found.dtype.kind == "c":
        raise TypeError("expected real numbers, got complex ones; use two arrays, of real and of imaginary parts")
    if found.dtype.name not in FLOATS:
        raise TypeError(
            f"expected numbers, got {type(x).__name__} of dtype {found.dtype}; convert with astype('float64')"
        )
    return found


def plain_index(index: Any) -> Any:
    """An index without rounded arrays."""
    if isinstance(index, Rounded):
        raise IndexError(
            "expected integers or booleans as an index, got rounded numbers; use np.nonzero or .astype(int)"
        )
    return index


def shown(a: Rounded) -> np.ndarray:
    """The values with as many digits as tell those of the format apart."""
    if not 0 < a.values.size <= _SHOWN:
        return a.values
    digits = ceil(1 + extent(a.arithmetic.fmt).precision * log10(2))
    shortest = [float(f"{value:.{digits}g}") for value in a.values.reshape(-1).tolist()]
    return np.array(shortest, np.float64).reshape(a.values.shape)


def one_axis(values: np.ndarray, axis: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """The elements to add along a last axis, and the axes they came from."""
    axes = tuple(range(values.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axes, values.ndim)))
    if not axes:
        return values[..., None], ()
    kept = [k for k in range(values.ndim) if k not in axes]
    moved = values.transpose(*kept, *axes)
    return moved.reshape(*(values.shape[k] for k in kept), -1 if values.size else _count(values, axes)), axes


def _count(values: np.ndarray, axes: tuple[int, ...]) -> int:
    return int(np.prod([values.shape[k] for k in axes]))


def nothing_else(dtype: Any, out: Any) -> None:
    """Raise where NumPy's dtype= or out= is given to what takes neither."""
    if dtype is not None or out is not None:
        raise TypeError("rounded arrays take no dtype= or out= here; convert the result with .astype(fmt)")
