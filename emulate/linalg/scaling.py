"""Scalings of a matrix by powers of two, which are exact but for what leaves the range of a format."""

from dataclasses import dataclass
from math import floor, log2

import numpy as np

from ..rounded.context import Arithmetic

THETA = 0.1
"""Share of the range of a format that a scaled matrix fills: room for the growth of elimination."""
_HIGHEST = 60
"""Exponent beyond which a wider range is left alone: squares of elements stay finite in binary32, which keeps sums."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The matrix 2**shift R A S with diagonal R and S.

    Args:
        rows, columns: (n,) exponents of R and S.
        shift: the exponent common to all.
    """

    rows: np.ndarray
    columns: np.ndarray
    shift: int

    def matrix(self, a: np.ndarray) -> np.ndarray:
        """2**shift R A S in float64."""
        return np.ldexp(a.astype(np.float64), self.rows[:, None] + self.columns + self.shift)

    def right(self, r: np.ndarray, extra: int) -> np.ndarray:
        """2**(shift + extra) R r in float64."""
        return np.ldexp(r.astype(np.float64), self.rows + self.shift + extra)

    def solution(self, y: np.ndarray, extra: int) -> np.ndarray:
        """2**-extra S y in float64: the solution of A x = r."""
        return np.ldexp(y.astype(np.float64), self.columns - extra)


def unscaled(n: int) -> Scaling:
    """No scaling."""
    zeros = np.zeros(n, np.int64)
    return Scaling(zeros, zeros, 0)


def two_sided(a: np.ndarray, arithmetic: Arithmetic) -> Scaling:
    """Rows, then columns, scaled to maxima between 1 and 2, then all to a share `THETA` of a format's range.

    Source: Higham, Pranesh and Zounon, Squeezing a Matrix into Half Precision, with an Application to Solving Linear
    Systems, SIAM J. Sci. Comput. 41(4), 2019, section 2; scalings rounded to powers of two.
    """
    return Scaling(*equilibrated(a), min(floor(log2(THETA * float(arithmetic.fmt.max))) - 1, _HIGHEST))


def equilibrated(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponents that scale rows, then columns, of (m, n) to maxima between 1 and 2."""
    magnitudes = np.abs(a.astype(np.float64))
    rows = -_exponents(magnitudes.max(axis=1, initial=0))
    return rows, -_exponents(np.ldexp(magnitudes, rows[:, None]).max(axis=0, initial=0))


def exponent_of(x: np.ndarray) -> int:
    """floor(log2(max|x|)); 0 of a zero vector."""
    return int(_exponents(np.abs(x).max(initial=0, keepdims=True).reshape(1))[0])


def _exponents(x: np.ndarray) -> np.ndarray:
    """floor(log2(x)), 0 of zeros."""
    return np.where(x > 0, np.frexp(x)[1].astype(np.int64) - 1, 0)
