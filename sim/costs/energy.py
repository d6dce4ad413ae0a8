"""Energy of arithmetic and memory in 45 nm CMOS at 0.9 V: published numbers, and a model between them.

Published, in picojoules (M. Horowitz, Computing's energy problem, ISSCC 2014, Fig. 1.1.9):

    add        int8 0.03    int32 0.1    fp16 0.4    fp32 0.9
    multiply   int8 0.2     int32 3.1    fp16 1.1    fp32 3.7
    64 bits from a cache of 8 KB 10, 32 KB 20, 1 MB 100; from DRAM 1300 to 2600

Other widths are a MODEL, not a measurement: a power law through the two published points,

    add        E ~ width**p            bits of an integer, or of a significand with its leading one
    multiply   E ~ (w_a * w_b)**p      an array multiplier has one cell for each pair of bits

with p from the points themselves (0.87 and 0.99 for integers, 1.04 and 0.78 for floats: their sums need shifters that
grow with the width, their products rounding that does not grow with its square). It meets the four published points
exactly. Numbers are of one old process; ratios carry over better than values.
"""

from collections.abc import Mapping
from math import ceil, log, log2
from typing import Any, NamedTuple

from ...formats.catalogue import AnyFormat
from ...formats.suggest import unknown
from .cost import longest_run, product_bytes
from .factors import Factor, factors_of

SOURCE = "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, 45 nm, 0.9 V"


class Point(NamedTuple):
    """A published energy.

    Args:
        width: bits of an integer, or of a significand with its leading one; of memory, bits of an access.
        picojoules: of one operation or access; of DRAM the middle of the published range.
        low, high: the published range.
    """

    width: int
    picojoules: float
    low: float
    high: float


def _exact(width: int, picojoules: float) -> Point:
    return Point(width, picojoules, picojoules, picojoules)


ADD: Mapping[str, tuple[Point, Point]] = {
    "integer": (_exact(8, 0.03), _exact(32, 0.1)),
    "float": (_exact(11, 0.4), _exact(24, 0.9)),
}
"""Additions."""

MULTIPLY: Mapping[str, tuple[Point, Point]] = {
    "integer": (_exact(8, 0.2), _exact(32, 3.1)),
    "float": (_exact(11, 1.1), _exact(24, 3.7)),
}
"""Multiplications of factors of the same width."""

MEMORY: Mapping[str, Point] = {
    "sram_8k": _exact(64, 10.0),
    "sram_32k": _exact(64, 20.0),
    "sram_1m": _exact(64, 100.0),
    "dram": Point(64, 1950.0, 1300.0, 2600.0),
}
"""Accesses of 64 bits."""

PHILOX = (20, 40, 128)
"""Multiplications and additions of 32 bits in a call of Philox4x32-10, and the random bits it gives."""

FIXED = 32
"""The widest fixed-point accumulator that is taken where none is named."""


def add_energy(width: float, *, integer: bool) -> float:
    """Picojoules of an addition.

    Args:
        width: bits of the integer, or of the significand with its leading one.
        integer: whether it is one of integers.

    Raises:
        ValueError: a width below 1.

    Example:
        >>> [round(add_energy(w, integer=True), 3) for w in (8, 16, 32)]
        [0.03, 0.055, 0.1]
    """
    _check(width)
    low, high = ADD["integer" if integer else "float"]
    return _between(low.picojoules, high.picojoules, low.width, high.width, width)


def multiply_energy(a: float, b: float, *, integer: bool) -> float:
    """Picojoules of a multiplication of widths a and b.

    Raises:
        ValueError: a width below 1.

    Example:
        >>> multiply_energy(8, 8, integer=True), round(multiply_energy(2, 2, integer=False), 3)
        (0.2, 0.078)
    """
    _check(a)
    _check(b)
    low, high = MULTIPLY["integer" if integer else "float"]
    return _between(low.picojoules, high.picojoules, low.width**2, high.width**2, a * b)


def memory_energy(bits: float, level: str = "dram") -> float:
    """Picojoules to read or write bits.

    Raises:
        ValueError: an unknown level of memory, or a negative number of bits.
    """
    if level not in MEMORY:
        raise ValueError(unknown("level of memory", level, MEMORY))
    if bits < 0:
        raise ValueError(f"expected 0 bits or more, got {bits}")
    return bits / MEMORY[level].width * MEMORY[level].picojoules


def random_energy(bits: float) -> float:
    """Picojoules of random bits from Philox4x32-10, by its operations."""
    products, sums, given = PHILOX
    return bits / given * (products * multiply_energy(32, 32, integer=True) + sums * add_energy(32, integer=True))


def mac_energy(
    a: "str | AnyFormat", b: "str | AnyFormat", k: int = 4608, accumulator: "str | AnyFormat | None" = None
) -> float:
    """Picojoules of a multiply-accumulate, scales aside.

    Args:
        a, b: formats of the factors; of sums of formats all pairs of stages count.
        k: terms of each sum.
        accumulator: format in which products are added; None for a fixed-point one where 32 bits hold the sum exactly
            (`accumulator_bits`; of scaled formats, of a block), else binary32.

    Raises:
        ValueError: an unknown format, or an accumulator that is a sum of formats.

    Example:
        >>> round(mac_energy("int8", "int8"), 3), round(mac_energy("bf16", "bf16"), 2)
        (0.295, 1.57)
    """
    terms = longest_run(a, b, k)
    return sum(_pair(x, y, terms, accumulator) for x in factors_of(a) for y in factors_of(b))


def _pair(x: Factor, y: Factor, terms: int, accumulator: Any) -> float:
    integer = x.integer and y.integer
    product = multiply_energy(x.width, y.width, integer=integer)
    if accumulator is not None:
        sums = factors_of(accumulator)
        if len(sums) != 1:
            raise ValueError(f"expected an unscaled accumulator such as 'fp16', got {accumulator}")
        return product + add_energy(sums[0].width, integer=sums[0].integer)
    bits = x.span + y.span + ceil(log2(terms)) + x.integer + y.integer - 1
    return product + (add_energy(bits, integer=True) if bits <= FIXED else add_energy(24, integer=False))


def product_energy(
    a: "str | AnyFormat",
    b: "str | AnyFormat",
    m: int,
    k: int,
    n: int,
    *,
    out: "str | AnyFormat" = "bfloat16",
    accumulator: "str | AnyFormat | None" = None,
    memory: str = "dram",
) -> float:
    """Picojoules of a product: its multiply-accumulates, and each factor and the result once through memory.

    Args:
        a, b, m, k, n, out: as in `product_bytes`. accumulator: as in `mac_energy`. memory: a level of `MEMORY`.

    Example:
        >>> quarter = product_energy("mxfp4", "mxfp4", 64, 64, 64) / product_energy("bf16", "bf16", 64, 64, 64)
        >>> 0.3 < quarter < 0.7
        True
    """
    arithmetic = m * k * n * mac_energy(a, b, k, accumulator)
    return arithmetic + memory_energy(8 * product_bytes(a, b, m, k, n, out), memory)


def _between(low: float, high: float, first: float, second: float, at: float) -> float:
    """The power law through (first, low) and (second, high); exactly the published values at both."""
    if at == first:
        return low
    if at == second:
        return high
    return low * (at / first) ** (log(high / low) / log(second / first))


def _check(width: float) -> None:
    if not width >= 1:
        raise ValueError(f"expected a width of 1 bit or more, got {width}")
