"""The formats of the study and what a unit that multiplies and accumulates them costs."""

from functools import cache

from ...sim.costs.area import mac_area
from ...sim.costs.cost import accumulator_bits
from ..hardware_cost import BITS, every, minifloats

LAYOUTS = {3: "e2m0", 4: "e2m1", 5: "e2m2", 6: "e2m3", 7: "e3m3", 8: "e3m4"}
"""The minifloat of each width with the least product error on Gaussian weights and Student-t activations, as
`hardware_cost` computes it: what the grid of weights x activations takes."""
ALL = tuple(every())
"""INT3 to INT8 and all ExMy of those widths with E >= 2; E1My has the values of the integer of as many bits, but for
its most negative one."""


def bits_of(name: str) -> int:
    """The width."""
    return int(name[3:]) if is_integer(name) else 1 + int(name[1]) + int(name[3:])


def is_integer(name: str) -> bool:
    """Whether it is an integer format."""
    return name.startswith("int")


def of_width(bits: int) -> list[str]:
    """The minifloats of a width.

    Raises:
        ValueError: a width that the study does not have.
    """
    if bits not in BITS:
        raise ValueError(f"expected {BITS[0]} to {BITS[-1]} bits, got {bits}")
    return minifloats(bits)


@cache
def area(weights: str, activations: str, depth: int) -> float:
    """Of a unit, in equivalents of a NAND2; sums have `depth` terms."""
    return mac_area(weights, activations, depth).total


@cache
def accumulator(weights: str, activations: str, depth: int) -> int:
    """Bits of the exact sum of `depth` products."""
    return accumulator_bits(weights, activations, depth)
