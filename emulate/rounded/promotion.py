"""The arithmetic of an operation on numbers of two formats."""

from functools import lru_cache
from typing import Any

import numpy as np

from ...formats.floats import BINARY64
from ...formats.integers import IntFormat
from ...formats.listing import is_listed
from ...formats.registry import NAMED, Format
from ..backends.numpy import decoding_table
from ..layouts import FLOAT64
from ..quantize import quantize
from .context import Arithmetic, arithmetic, extent

COMMON = ("binary16", "bfloat16", "binary32", "binary64")
"""The formats of results where neither operand's holds the other's values, the first that holds both."""

_ENUMERABLE = 16


@lru_cache(maxsize=4096)
def promoted(a: Arithmetic, b: Arithmetic) -> Arithmetic:
    """The arithmetic of the result of an operation on two.

    The one whose format holds every value of the other's, else the first of `COMMON` that holds both.

    Raises:
        TypeError: other roundings, or other kinds of overflow than the formats' own.
    """
    if a == b:
        return a
    if a.rounding != b.rounding:
        raise TypeError(
            f"arrays of two roundings meet, {a.rounding.spec} and {b.rounding.spec}; convert one with "
            f".astype({a.fmt.name!r}, rounding={b.rounding.spec!r})"
        )
    for one, other in ((a, b), (b, a)):
        if holds(one.fmt, other.fmt):
            if one.fmt == other.fmt:
                raise TypeError(
                    f"arrays of two kinds of overflow meet, {a.overflow} and {b.overflow}; convert one with "
                    f".astype({a.fmt.name!r}, overflow={b.overflow!r})"
                )
            return one
    for name in COMMON:
        fmt = BINARY64 if name == BINARY64.name else NAMED[name]
        if holds(fmt, a.fmt) and holds(fmt, b.fmt):
            return arithmetic(fmt, a.rounding)
    raise TypeError(f"no format holds the values of {a.fmt.name} and {b.fmt.name}; convert one with .astype(...)")


@lru_cache(maxsize=4096)
def holds(wide: Format, narrow: Format) -> bool:
    """Whether every finite value of one format is one of another."""
    if wide in (narrow, BINARY64):
        return True
    if narrow.bits <= _ENUMERABLE:
        values = decoding_table(narrow, FLOAT64).view(np.float64)
        values = values[np.isfinite(values)]
        return bool((quantize(values, wide) == values).all())
    if is_listed(wide) or is_listed(narrow):
        return False
    a, b = extent(wide), extent(narrow)
    precise = a.precision >= b.precision and a.quantum <= b.quantum
    if isinstance(wide, IntFormat):  # one spacing everywhere
        precise = a.quantum <= b.quantum
    signed: Any = narrow.min >= wide.min
    return bool(precise and narrow.max <= wide.max and signed)
