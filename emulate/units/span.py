"""Which bits numbers take: what decides where products and sums are exact."""

from dataclasses import dataclass

import numpy as np

from ..layouts import FLOAT64, Layout
from ..rounded.context import Extent


@dataclass(frozen=True, slots=True)
class Span:
    """Finite numbers that are integers below 2**bits times powers of two.

    Args:
        bits: most significant bits of one.
        quantum: every one is a multiple of 2**quantum.
        top: magnitudes are below 2**(top + 1).
        finite: whether there are no infinities and NaN beside them.
    """

    bits: int
    quantum: int
    top: int
    finite: bool = True

    def __mul__(self, other: "Span") -> "Span":
        """Of the products."""
        quantum, top = self.quantum + other.quantum, self.top + other.top + 1
        return Span(min(self.bits + other.bits, top - quantum + 1), quantum, top, self.finite and other.finite)

    def __or__(self, other: "Span") -> "Span":
        """Of the numbers of both."""
        quantum, top = min(self.quantum, other.quantum), max(self.top, other.top)
        return Span(max(self.bits, other.bits), quantum, top, self.finite and other.finite)

    def total(self, count: int) -> "Span":
        """Of sums of up to that many."""
        top = self.top + (max(count, 1) - 1).bit_length()
        return Span(top - self.quantum + 1, self.quantum, top, self.finite)

    def inside(self, layout: Layout, normal: bool) -> bool:
        """Whether a dtype holds all of them; where `normal`, as normal numbers."""
        lowest = 1 - layout.bias if normal else layout.quantum_exponent
        return self.bits <= layout.mantissa_bits + 1 and self.quantum >= lowest and self.top <= layout.bias

    @classmethod
    def of(cls, extent: Extent) -> "Span":
        """Of the values of a format."""
        return cls(extent.precision, extent.quantum, extent.top)


def span_of(x: np.ndarray) -> Span:
    """Of an array of float32 or float64."""
    from ..backends.numba_units import spanned

    wide = x.dtype == np.float64
    flat = np.require(x, None, ("C", "W")).reshape(-1)
    like = np.empty(0, np.int64 if wide else np.int32)
    top, quantum, bits, strange, _ = (int(n) for n in spanned(flat, like, 52 if wide else 23))
    return Span(max(bits, 1), quantum, top, not strange) if bits else Span(1, 0, 0, not strange)


def normal_only(flushes: bool, layout: Layout) -> bool:
    """Whether subnormal numbers of a dtype are out of reach: where they are flushed, and of float64 always."""
    return flushes or layout is FLOAT64
