"""Rounding modes as data.

A kernel keeps the leading bits of a significand, discards `shift` low bits and first adds an increment
to them, so that truncation afterwards rounds. Every deterministic mode is one linear form:

    increment = halves * 2**(shift - 1) - less

    halves = halves_even + odd * halves_odd + negative * halves_negative      (0, 1 or 2)
    less   = less_even   + odd * less_odd   + negative * less_negative        (0 or 1)

where `odd` is the parity of the truncated code and `negative` the sign. An increment of 2**(shift - 1)
carries exactly when the discarded part is at least a half, one of 2**shift - 1 when it is not zero.
A stochastic mode adds random bits instead. The independent definition is `exact.py`.

Sources: IEEE 754-2019 section 4.3; IEEE P3109 interim report v4.0 (to-odd, stochastic A, B, C).
"""

from dataclasses import dataclass
from typing import Literal

from .suggest import unknown

Variant = Literal["A", "B", "C"]


@dataclass(frozen=True, slots=True)
class Increment:
    """The six coefficients of the linear form above."""

    halves_even: int
    halves_odd: int
    halves_negative: int
    less_even: int
    less_odd: int
    less_negative: int


@dataclass(frozen=True, slots=True)
class Rounding:
    """One rounding mode.

    Args:
        name: one of `ROUNDINGS`.
        increment: the coefficients of a deterministic mode, None for the stochastic ones.
        bits: number of random bits of `stochastic`, 1 to 30; None uses every bit of the random word
            (32, or 64 for float64 input).
        variant: how few random bits R meet the discarded fraction nu (P3109 v4.0). Away from zero if
            A: floor(nu*2^N) + R >= 2^N;  B: floor(nu*2^(N+1)) + 2R + 1 >= 2^(N+1);
            C: RNE(nu*2^N) + R >= 2^N.

    Raises:
        ValueError: bits or variant out of range, or given to a mode that has none.
    """

    name: str
    increment: Increment | None = None
    bits: int | None = None
    variant: Variant = "A"

    def __post_init__(self) -> None:
        if self.bits is None and self.variant != "A":
            raise ValueError(
                f"variant {self.variant!r} needs a number of random bits; use hu.stochastic(bits=8, variant=...)"
            )
        if self.bits is not None and self.name != "stochastic":
            raise ValueError(f"rounding {self.name!r} takes no bits; only 'stochastic' does")
        if self.bits is not None and not 1 <= self.bits <= 30:
            raise ValueError(f"expected 1 to 30 random bits, got {self.bits}; leave bits out for all of them")
        if self.variant not in ("A", "B", "C"):
            raise ValueError(f"expected variant 'A', 'B' or 'C', got {self.variant!r}")

    @property
    def stochastic(self) -> bool:
        """Whether the mode reads random bits."""
        return self.increment is None

    @property
    def spec(self) -> str:
        """A string that `rounding` parses back to this mode, e.g. 'stochastic:8B'."""
        return self.name if self.bits is None else f"{self.name}:{self.bits}{self.variant}"

    def inward(self, negative: bool) -> bool:
        """Whether a finite value of that sign never rounds past the largest code (so it never overflows)."""
        return (
            self.name in ("toward_zero", "to_odd")
            or (self.name == "down" and not negative)
            or (self.name == "up" and negative)
        )


#                                                     halves           less
#                                                 even odd neg     even odd neg
DETERMINISTIC = (
    Rounding("nearest_even", Increment(1, 0, 0, 1, -1, 0)),  #  half - 1, half if odd
    Rounding("nearest_away", Increment(1, 0, 0, 0, 0, 0)),  #   half
    Rounding("nearest_zero", Increment(1, 0, 0, 1, 0, 0)),  #   half - 1
    Rounding("toward_zero", Increment(0, 0, 0, 0, 0, 0)),  #    nothing
    Rounding("away", Increment(2, 0, 0, 1, 0, 0)),  #           full - 1
    Rounding("up", Increment(2, 0, -2, 1, 0, -1)),  #           full - 1 above zero, nothing below
    Rounding("down", Increment(0, 0, 2, 0, 0, 1)),  #           the reverse
    Rounding("to_odd", Increment(2, -2, 0, 1, -1, 0)),  #       full - 1 if even
)
STOCHASTIC = Rounding("stochastic")
STOCHASTIC_EQUAL = Rounding("stochastic_equal")
ROUNDINGS = {mode.name: mode for mode in (*DETERMINISTIC, STOCHASTIC, STOCHASTIC_EQUAL)}
"""Every mode by its name."""

_ALIASES = {
    "rne": "nearest_even",
    "rna": "nearest_away",
    "rtz": "toward_zero",
    "sr": "stochastic",
}


def rounding(mode: "str | Rounding") -> Rounding:
    """The rounding mode of that name.

    Args:
        mode: a name of `ROUNDINGS`, an abbreviation (rne, rna, rtz, sr), a spec such as
            'stochastic:8B', or a `Rounding`, which is returned as it is.

    Raises:
        ValueError: an unknown name; the message has the nearest known ones.
        TypeError: neither a string nor a `Rounding`.
    """
    if isinstance(mode, Rounding):
        return mode
    if not isinstance(mode, str):
        raise TypeError(f"expected a rounding name or hu.Rounding, got {type(mode).__name__}")
    name, _, detail = mode.partition(":")
    name = _ALIASES.get(name, name)
    if name not in ROUNDINGS:
        raise ValueError(unknown("rounding", mode, [*ROUNDINGS, *_ALIASES]))
    if not detail:
        return ROUNDINGS[name]
    digits, variant = detail.rstrip("ABC"), detail[len(detail.rstrip("ABC")) :]
    if not digits.isdigit() or len(variant) > 1:
        raise ValueError(f"expected a spec like 'stochastic:8B', got {mode!r}")
    return Rounding(name, bits=int(digits), variant=variant or "A")  # pyright: ignore[reportArgumentType]


def stochastic(bits: int | None = None, variant: Variant = "A") -> Rounding:
    """Stochastic rounding with all random bits, or with few of them in a variant of P3109.

    Example:
        >>> stochastic(bits=8, variant="B").spec
        'stochastic:8B'
    """
    return Rounding("stochastic", bits=bits, variant=variant)
