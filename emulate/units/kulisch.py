"""Exact sums of products, rounded once.

A product is cut into digits of w bits on a fixed grid, each added to a bin of its own, a float64 number that is exact
as long as k * 2**w <= 2**52. With s = 1.5 * 2**(q + 52),

    t = (p + s) - s      the multiple of 2**q nearest to p, in two operations that run in vectors
    p - t                what is left for the next bin, exactly

(Rump, Ogita and Oishi, Accurate floating-point summation, SIAM J. Sci. Comput. 31(1), 2008; bins as in Ahrens, Demmel
and Nguyen, Algorithms for efficient reproducible floating point summation, ACM TOMS 46(3), 2020). Operands of more than
26 bits are split in two first. It is what Kulisch's accumulator computes: no bit of any product is lost.
"""

from collections.abc import Callable
from fractions import Fraction
from math import isfinite, nan

import numpy as np

from ...formats.exact import Exact
from ..layouts import FLOAT64
from ..rounded import error_free
from ..rounded.context import Arithmetic, extent
from .problem import Problem, Tile, solve
from .routes import DIRECT, NATIVE
from .span import Span, span_of
from .steps import Place, Steps

_HALF = 26
"""Bits of factors whose product float64 holds."""
_SPARE = 52
_WIDEST = 50
"""Bits of a digit, at most."""


def exact_product(
    problem: Problem, outer: Arithmetic, a: Span, b: Span, place_at: Callable[[int], Place]
) -> np.ndarray:
    """(batch, m, n) the exact products rounded once, in the dtype of the arithmetic's carrier; exact zeros are +0.

    Args:
        a, b: what the operands take.
        place_at: the place of results from a row-major index on.
    """
    steps, product = Steps(outer), a * b
    precise = outer.native or extent(outer.fmt).precision + 3 <= FLOAT64.mantissa_bits + 1
    normal = min(x.quantum for x in (a, b, product)) >= 1 - FLOAT64.bias
    if not (precise and normal and max(a.top, b.top, product.total(problem.products).top) <= FLOAT64.bias - 64):

        def slowly(tile: Tile) -> np.ndarray:
            return steps.settle(_dots(tile), place_at(tile.start)).reshape(tile.rows_and_columns)

        return solve(problem, np.dtype(np.float64), slowly, steps.dtype, whole_rows=True)
    strange = not product.finite
    pieces = _pieces(problem, a, b, strange)
    bins = Bins.of(span_of(pieces.a) * span_of(pieces.b), pieces.products)
    found = solve(pieces, np.dtype(np.float64), bins.work(outer.native), np.dtype(np.float64))
    if strange:
        loose = solve(problem, np.dtype(np.float64), _loosely, np.dtype(np.float64))
        found = np.where(np.isfinite(loose), found, loose)
    return found if outer.native else steps.finish(found, place_at(0))


class Bins:
    """The grid of the digits."""

    def __init__(self, big: np.ndarray) -> None:
        self.big = big

    @classmethod
    def of(cls, product: Span, count: int) -> "Bins":
        """For sums of that many products."""
        width = min(_SPARE - (count - 1).bit_length(), _WIDEST)
        if product.total(count).bits <= FLOAT64.mantissa_bits + 1:
            return cls(np.zeros(1))
        first = product.top + 1 - width
        levels = 1 + max(-(-(first - product.quantum) // width), 0)
        return cls(np.array([1.5 * 2.0 ** (first - width * level + 52) for level in range(levels)]))

    def work(self, nearest: bool) -> Callable[[Tile], np.ndarray]:
        """What computes a tile: sums rounded to nearest in float64, or to odd."""
        from ..backends.numba_units import binned, collapsed

        def work(tile: Tile) -> np.ndarray:
            bins = np.zeros((self.big.size, *tile.shape))
            binned(tile.a, tile.panels, bins, tile.at(0, tile.a.shape[1]), self.big)
            out = np.empty(tile.shape)
            collapsed(bins.reshape(self.big.size, -1), self.big, out.reshape(-1), nearest)
            return tile.joined(out)

        return work


def _pieces(problem: Problem, a: Span, b: Span, strange: bool) -> Problem:
    """The same products of factors of few bits: those of many are split in two, side by side."""
    x, y = (z.astype(np.float64, copy=False) for z in (problem.a, problem.b))
    if strange:
        x, y = (np.where(np.isfinite(z), z, 0.0) for z in (x, y))
    if a.bits + b.bits <= FLOAT64.mantissa_bits + 1:
        return Problem(x, y)
    left = error_free.split(x, FLOAT64) if a.bits > _HALF else (x,)
    right = error_free.split(y, FLOAT64) if b.bits > _HALF else (y,)
    pairs = [(u, v) for u in left for v in right]
    return Problem(np.concatenate([u for u, _ in pairs], 2), np.concatenate([v for _, v in pairs], 1))


def _loosely(tile: Tile) -> np.ndarray:
    """The float64 sums, which tell where infinities and NaN lead."""
    from ..backends.numba_units import summing

    out, nothing = np.zeros(tile.shape), np.zeros(40, np.int64)
    summing("sequential", NATIVE, DIRECT)(
        tile.a, tile.panels, out, tile.at(0, tile.a.shape[1]), nothing, nothing, False
    )
    return tile.joined(out)


def _dots(tile: Tile) -> list[Exact]:
    """The exact sums in rational arithmetic, one at a time: for numbers from all over float64's range."""
    rows = tile.panels.transpose(1, 0, 2).reshape(tile.panels.shape[1], -1)[:, : tile.rows_and_columns[1]]
    return [exact_dot(x.tolist(), y.tolist()) for x in tile.a for y in rows.T]


def exact_dot(a: list[float], b: list[float]) -> Exact:
    """The exact sum of products of two lists; infinities and NaN as IEEE 754 has them."""
    if all(map(isfinite, a)) and all(map(isfinite, b)):
        return sum((Fraction(x) * Fraction(y) for x, y in zip(a, b)), Fraction(0))
    strange = [float(np.float64(x) * np.float64(y)) for x, y in zip(a, b) if not (isfinite(x) and isfinite(y))]
    return sum(strange) if strange else nan
