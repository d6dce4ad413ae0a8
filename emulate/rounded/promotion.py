"""The arithmetic of an operation on numbers of two formats."""

from functools import lru_cache
from typing import Any

import numpy as np

from ...formats.exact import default_overflow
from ...formats.floats import BINARY64, FloatFormat
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
def promoted(*operands: Arithmetic) -> Arithmetic:
    """The arithmetic of the result of an operation on several.

    The one whose format holds every value of the others', else the first of `COMMON` that holds them all; the order
    of operands does not matter.

    Raises:
        TypeError: several roundings, or kinds of overflow other than the formats' own.
    """
    first = operands[0]
    if all(each == first for each in operands):
        return first
    for other in operands:
        if other.rounding != first.rounding:
            raise TypeError(
                f"arrays of two roundings meet, {first.rounding.spec} and {other.rounding.spec}; convert one with "
                f".astype({first.fmt.name!r}, rounding={other.rounding.spec!r})"
            )
    overflow = _overflow(operands)
    common = [BINARY64 if name == BINARY64.name else NAMED[name] for name in COMMON]
    for fmt in (*(each.fmt for each in operands), *common):
        if all(holds(fmt, each.fmt) for each in operands):
            return arithmetic(fmt, first.rounding, overflow)
    names = " and ".join(each.fmt.name for each in operands)
    raise TypeError(f"no format holds the values of {names}; convert one with .astype(...)")


def _overflow(operands: tuple[Arithmetic, ...]) -> str | None:
    """The kind of overflow that all operands have; None where each has that of its own format."""
    if all(each.overflow == default_overflow(each.fmt) for each in operands):
        return None
    kinds = {each.overflow for each in operands}
    if len(kinds) > 1:
        raise TypeError(
            f"arrays of two kinds of overflow meet, {' and '.join(sorted(kinds))}; convert one with "
            f".astype({operands[0].fmt.name!r}, overflow={operands[1].overflow!r})"
        )
    return operands[0].overflow


@lru_cache(maxsize=4096)
def holds(wide: Format, narrow: Format) -> bool:
    """Whether every value of one format is one of another, infinities too."""
    if wide in (narrow, BINARY64):
        return True
    if narrow.infinity_code is not None and wide.infinity_code is None:
        return False
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
    if isinstance(wide, FloatFormat) and isinstance(narrow, FloatFormat) and not wide.subnormals:
        smallest = narrow.quantum_exponent if narrow.subnormals else narrow.min_exponent
        precise = precise and smallest >= wide.min_exponent
    signed: Any = narrow.min >= wide.min
    return bool(precise and narrow.max <= wide.max and signed)
