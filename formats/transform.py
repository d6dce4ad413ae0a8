"""Orthogonal transforms along an axis, as data: the Hadamard transform, with fixed or random signs before it.

hadamard32      blocks of 32                    rht16         random signs, new ones for each step
rht32_fixed     random signs, the same for every step
"""

import math
import re
from dataclasses import dataclass

from .suggest import unknown

LARGEST = 4096
_NAME = re.compile(r"(hadamard|rht)(\d{1,9})(_fixed)?")


@dataclass(frozen=True, slots=True)
class Hadamard:
    """The Walsh-Hadamard transform of blocks of consecutive elements, y = H S x / sqrt(size).

    S are signs, H is the symmetric matrix of +-1 in natural (Sylvester) order. The transform is orthogonal: it
    spreads an outlier over its block and leaves the products of two operands that share it as they are.

    Args:
        size: elements of a block, a power of two from 2 to 4096.
        random: whether elements take random signs first.
        fresh: whether each step draws new signs; otherwise the seed alone decides.

    Raises:
        ValueError: a size that is no such power, or `fresh=False` without random signs.
        TypeError: a size that is no integer.

    Example:
        >>> Hadamard(16, random=True).spec
        'rht16'
    """

    size: int = 32
    random: bool = False
    fresh: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool):
            raise TypeError(f"expected a block size, got {self.size!r}; pass e.g. Hadamard(32)")
        if not 2 <= self.size <= LARGEST or self.size & (self.size - 1):
            raise ValueError(f"expected a power of two from 2 to {LARGEST}, got {self.size}; pass e.g. Hadamard(32)")
        if not self.random and not self.fresh:
            raise ValueError("fresh=False keeps random signs over the steps; pass random=True, or leave it out")

    @property
    def spec(self) -> str:
        """A string that `transform` parses back to this one."""
        return f"{'rht' if self.random else 'hadamard'}{self.size}{'' if self.fresh else '_fixed'}"

    @property
    def scale(self) -> float:
        """1 / sqrt(size), rounded once to float64."""
        return math.sqrt(1 / self.size)


def transform(name: "str | Hadamard") -> Hadamard:
    """The transform of that name.

    Args:
        name: 'hadamard' or 'rht' and a size, with '_fixed' after it for signs that no step changes; or a `Hadamard`,
            which is returned as it is.

    Raises:
        ValueError: an unknown name; the message has the nearest known ones.
        TypeError: neither a string nor a `Hadamard`.

    Example:
        >>> transform("rht32_fixed")
        Hadamard(size=32, random=True, fresh=False)
    """
    if isinstance(name, Hadamard):
        return name
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a transform or hu.Hadamard, got {type(name).__name__}")
    found = _NAME.fullmatch(name.strip().lower())
    if found is None or (found[1] == "hadamard" and found[3]):
        sizes = [1 << k for k in range(1, LARGEST.bit_length())]
        known = [f"{kind}{size}" for kind in ("hadamard", "rht") for size in sizes]
        raise ValueError(unknown("transform", name, [*known, *(f"rht{size}_fixed" for size in sizes)]))
    return Hadamard(int(found[2]), found[1] == "rht", not found[3])
