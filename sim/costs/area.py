"""A gate-level area model of multiply-accumulate units, in equivalents of a NAND2 gate.

Cells are those of the NanGate 45 nm Open Cell Library, in areas of its NAND2_X1: XOR2 2, AND2 and OR2 4/3, INV 2/3,
MUX2 7/3, half adder 10/3, full adder 16/3, flip-flop 17/3.

Blocks, for widths in bits (B. Parhami, Computer Arithmetic, 2nd ed., 2010; J.-M. Muller et al., Handbook of
Floating-Point Arithmetic, 2nd ed., 2018, ch. 8):

    multiplier p x q      p q AND, q half adders, (p - 2) q full adders, p >= q; an array multiplier (Parhami 11.5),
                          signed ones by Baugh and Wooley need one full adder more (Parhami 11.3)
    ripple adder w        w full adders (Parhami 5.2)
    shifter by up to s    a stage of MUX2 for each bit of s, as wide as what leaves it (Parhami 17.2)
    leading zeros of w    a tree; a node of level l has an AND, an INV and l - 1 MUX2 (Oklobdzija 1994)
    rounding w            w half adders and 3 gates for guard, round and sticky bits

An integer unit is a multiplier, an adder and a register as wide as the accumulator. A minifloat unit also adds
exponents, finds hidden bits, and

    fixed        shifts each product to its place in a fixed-point accumulator that loses nothing (arXiv:2311.12359)
    floating     aligns it with a floating-point sum, adds, normalizes and rounds

It is a MODEL: no routing, no pipeline registers but the accumulator's, ripple adders. It ranks units and shows what
dominates; it does not replace synthesis.
"""

from typing import Any, NamedTuple

from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.floats import FloatFormat
from .cost import accumulator_bits
from .factors import Factor, factors_of

SQUARE_MICROMETRES = {
    "nand2": 0.798,
    "inv": 0.532,
    "and2": 1.064,
    "or2": 1.064,
    "xor2": 1.596,
    "mux2": 1.862,
    "half_adder": 2.660,
    "full_adder": 4.256,
    "flip_flop": 4.522,
}
"""Areas of the cells NAND2_X1, INV_X1, AND2_X1, OR2_X1, XOR2_X1, MUX2_X1, HA_X1, FA_X1 and DFF_X1, in um^2."""

SOURCE = "NanGate 45 nm Open Cell Library, PDKv1_3_v2010_12, NangateOpenCellLibrary_typical.lib, drive strength X1"

CELLS = {name: area / SQUARE_MICROMETRES["nand2"] for name, area in SQUARE_MICROMETRES.items()}
"""Areas of cells in equivalents of a NAND2."""

PUBLISHED = (0.2, 1.8)
"""By how much units of minifloats of 3 to 8 bits are published to exceed integer ones of equal bits, in LUTs of an FPGA
(arXiv:2311.12359)."""


class MacArea(NamedTuple):
    """Area of a multiply-accumulate unit by part, in equivalents of a NAND2.

    Args:
        multiply: of integers or significands.
        exponent: sum of exponents, hidden bits, sign.
        align: shifts before the addition, with the negation of what is subtracted.
        add: the accumulator's adder.
        normalize: leading zeros, shift and exponent after it. round: to the accumulator's format.
        register: the accumulator itself.
    """

    multiply: float
    exponent: float
    align: float
    add: float
    normalize: float
    round: float
    register: float

    @property
    def total(self) -> float:
        """All parts."""
        return sum(self)


def multiplier_area(p: int, q: int, *, signed: bool = False) -> float:
    """Of an array multiplier of p and q bits.

    Example:
        >>> round(multiplier_area(8, 8, signed=True), 1)
        373.3
    """
    long, short = max(p, q), min(p, q)
    if short == 1:
        return long * CELLS["and2"]
    adders = short * CELLS["half_adder"] + (long - 2) * short * CELLS["full_adder"]
    return long * short * CELLS["and2"] + adders + (CELLS["full_adder"] if signed else 0.0)


def shifter_area(width: int, most: int, *, grows: bool) -> float:
    """Of a shifter by 0 to `most` places.

    Args:
        width: of what enters.
        grows: whether the result keeps all bits, so that stages widen from the first, rather than losing some.
    """
    total, entering = 0, width
    for stage in range(most.bit_length()):
        entering = min(entering + (1 << stage), width + most) if grows else width
        total += entering
    return total * CELLS["mux2"]


def leading_zeros_area(width: int) -> float:
    """Of a counter of leading zeros."""
    total, nodes, level = 0.0, width, 0
    while nodes > 1:
        nodes, level = nodes // 2, level + 1
        total += nodes * (CELLS["and2"] + CELLS["inv"] + (level - 1) * CELLS["mux2"])
    return total


def mac_area(
    a: "str | AnyFormat", b: "str | AnyFormat", k: int = 4608, accumulator: "str | AnyFormat | None" = None
) -> MacArea:
    """Area of a unit that multiplies a and b and adds to a sum of k products; scales aside.

    Args:
        a, b: formats of the factors; integers beside minifloats count as significands without exponent.
        k: terms of each sum, which a fixed-point accumulator must hold; 4608 is a 3x3 convolution of 512 channels.
        accumulator: a minifloat in which sums are rounded, such as 'binary32'; None for a fixed-point one of
            `accumulator_bits`.

    Raises:
        ValueError: an unknown format, a sum of formats, or an accumulator that is no minifloat with an exponent.

    Example:
        >>> int8, fp8 = mac_area("int8", "int8").total, mac_area("e4m3", "e4m3").total
        >>> round(fp8 / int8 - 1, 2)
        0.35
    """
    x, y = _single(a), _single(b)
    if accumulator is not None:
        return _floating(x, y, any_format(accumulator))
    width = accumulator_bits(a, b, k)
    add, register = width * CELLS["full_adder"], width * CELLS["flip_flop"]
    if x.integer and y.integer:
        return MacArea(multiplier_area(x.width, y.width, signed=True), 0.0, 0.0, add, 0.0, 0.0, register)
    multiply, exponent, bits = _multiplied(x, y)
    most = sum(max((1 << each.exponent) - 2, 0) for each in (x, y))
    align = shifter_area(bits, most, grows=True) + (bits + most) * CELLS["xor2"]
    return MacArea(multiply, exponent, align, add, 0.0, 0.0, register)


def _multiplied(x: Factor, y: Factor) -> tuple[float, float, int]:
    """Of a product with a minifloat: the multiplier, the handling of exponents and signs, and the product's bits."""
    exponent = max(x.exponent, y.exponent) * CELLS["full_adder"] if x.exponent and y.exponent else 0.0
    exponent += sum(max(each.exponent - 1, 0) for each in (x, y)) * CELLS["or2"] + CELLS["xor2"]
    return multiplier_area(x.width, y.width), exponent, x.width + y.width


def _floating(x: Factor, y: Factor, sums: Any) -> MacArea:
    """A unit that adds in floating point: two paths are one, with a shifter before and one after the adder."""
    if not isinstance(sums, FloatFormat) or sums.exponent_bits < 2:
        raise ValueError(f"expected an accumulator such as 'binary32', or None for a fixed-point one, got {sums.name}")
    multiply, exponent, bits = _multiplied(x, y)
    significand = sums.mantissa_bits + 1
    width = max(significand, bits) + 3
    compare = sums.exponent_bits * (CELLS["full_adder"] + CELLS["mux2"])
    swap = 2 * width * CELLS["mux2"]
    align = compare + swap + shifter_area(width, width - 1, grows=False) + width * CELLS["xor2"]
    normalize = leading_zeros_area(width) + shifter_area(width, width - 1, grows=False)
    normalize += sums.exponent_bits * CELLS["full_adder"]
    rounding = significand * CELLS["half_adder"] + 2 * CELLS["or2"] + CELLS["and2"]
    return MacArea(
        multiply,
        exponent,
        align,
        (width + 1) * CELLS["full_adder"],
        normalize,
        rounding,
        sums.bits * CELLS["flip_flop"],
    )


def _single(fmt: "str | AnyFormat") -> Factor:
    found = factors_of(fmt)
    if len(found) != 1:
        raise ValueError(f"{fmt} is a sum of {len(found)} formats, each with a unit of its own; ask for a stage of it")
    return found[0]


def minifloat_over_integer(bits: int, k: int = 4608, accumulator: "str | AnyFormat | None" = None) -> dict[str, float]:
    """By how much a unit of each minifloat of so many bits exceeds one of integers of as many, as a share.

    Args:
        bits: 3 to 16, sign included.
        k, accumulator: as in `mac_area`; the integer unit has a fixed-point accumulator always.

    Raises:
        ValueError: bits out of range.

    Example:
        >>> {name: round(share, 2) for name, share in minifloat_over_integer(4).items()}
        {'e2m1': 0.02, 'e3m0': 0.33}
    """
    if not 3 <= bits <= 16:
        raise ValueError(f"expected 3 to 16 bits, got {bits}")
    integer = mac_area(f"int{bits}", f"int{bits}", k).total
    names = [f"e{e}m{bits - 1 - e}" for e in range(2, min(bits, 9))]
    return {name: mac_area(name, name, k, accumulator).total / integer - 1 for name in names}
