"""c - a b of float64 matrices, as if in twice the precision: what errors are measured with.

Products of float64 numbers may lie beyond float64, so results, their norms and ratios are kept as pairs of a number
and an exponent: no finite input overflows or underflows on the way.
"""

from fractions import Fraction
from math import log2
from typing import Any, NamedTuple

import numpy as np

_BITS = 53
_KEPT = 100
"""Bits of a result that count, from the largest of its terms on."""
_RANGE = 2098
"""Bits from the largest float64 down to the smallest."""
_NO_EXPONENT = -(1 << 20)
"""Of zero: below that of every other number."""


class Scaled(NamedTuple):
    """value * 2**exponent, element by element.

    Args:
        value: (...) float64.
        exponent: (...) integers.
    """

    value: np.ndarray
    exponent: np.ndarray

    @property
    def plain(self) -> np.ndarray:
        """(...) float64; infinite where it holds no such number."""
        with np.errstate(over="ignore"):
            return np.ldexp(self.value, self.exponent)


def scaled(value: Any, exponent: Any = 0) -> Scaled:
    """value * 2**exponent with values between 1/2 and 1 in magnitude, or zero, infinite, NaN."""
    fraction, own = np.frexp(np.asarray(value, np.float64))
    return Scaled(fraction, np.where(fraction == 0, _NO_EXPONENT, own.astype(np.int64) + exponent))


def norm(x: Scaled, p: Any = None) -> Scaled:
    """`numpy.linalg.norm` of a vector or a matrix that is not empty; see there for p."""
    x = scaled(*x)
    top = int(x.exponent.max(initial=_NO_EXPONENT))
    return scaled(np.linalg.norm(np.ldexp(x.value, x.exponent - top), p), top)


def plus(a: Scaled, b: Scaled) -> Scaled:
    """a + b, rounded."""
    top = np.maximum(a.exponent, b.exponent)
    return scaled(np.ldexp(a.value, a.exponent - top) + np.ldexp(b.value, b.exponent - top), top)


def times(a: Scaled, b: Scaled) -> Scaled:
    """a * b, rounded."""
    return scaled(a.value * b.value, a.exponent + b.exponent)


def ratio(error: Scaled, size: Scaled) -> np.ndarray:
    """(...) float64, the magnitude of error / size, where 0 / 0 counts as 0."""
    error, size = scaled(*error), scaled(*size)
    with np.errstate(all="ignore"):
        found = np.ldexp(np.abs(error.value / size.value), error.exponent - size.exponent)
    return np.where(error.value == 0, 0.0, np.where(size.value == 0, np.inf, found))


def residual(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> Scaled:
    """c - a b, with an error of some 2**-100 |a||b| besides the rounding of the result.

    Args:
        c: (m, n) float64, like the others.
        a: (m, k).
        b: (k, n).

    Returns:
        (m, n); NaN where a number is not finite.

    Source: Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using fast routines of
    matrix multiplication and its applications, Numerical Algorithms 59, 2012; with slices of fixed width, as integers.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(c).all()):
        return Scaled(np.full(c.shape, np.nan), np.zeros(c.shape, np.int64))
    (total, exponent), rest = scaled(c), np.zeros(c.shape)
    width = int((_BITS - log2(max(a.shape[1], 1))) / 2)
    (rows, left), (columns, right) = _slices(a, width), _slices(b.T, width)
    largest = rows[:, None] + columns
    depth = 0
    for s, t in sorted(((s, t) for s in left for t in right), key=lambda pair: pair[0] + pair[1]):
        if s + t > depth:  # larger ones come first: the rest is below (s + t)**2 k 2**(largest - (s + t - 2) w)
            depth = s + t
            if (exponent >= largest - (depth - 2) * width + _BITS + _KEPT).all():
                break
        # exact: integers, no sum of which has more than 53 bits
        term = scaled(left[s] @ right[t].T, largest - depth * width)
        top = np.maximum(exponent, term.exponent)
        before, rest = np.ldexp(total, exponent - top), np.ldexp(rest, exponent - top)
        product, exponent = np.ldexp(term.value, term.exponent - top), top
        total = before - product
        of_product = total - before
        rest += (before - (total - of_product)) - (product + of_product)
    return Scaled(total + rest, exponent)


def magnitudes(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> Scaled:
    """|c| + |a||b|, (m, n)."""
    value, exponent = residual(-np.abs(c), np.abs(a), np.abs(b))
    return Scaled(-value, exponent)


def _slices(a: np.ndarray, width: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Exponents e of the rows of a matrix, and integer matrices by s that add up to it times 2**(s width - e).

    Slice s has the bits of a row between 2**(e - (s - 1) width) and 2**(e - s width): so few that products of two
    slices are exact. Those without any are left out.
    """
    rest, exponents = scaled(a)
    rows = exponents.max(axis=1, initial=_NO_EXPONENT)
    rows[rows == _NO_EXPONENT] *= 4  # a product with the largest number is below zero's exponent, too
    slices = {}
    for s in range(1, (_RANGE + _BITS) // width + 2):
        if not rest.any():
            break
        lift = np.where(rest == 0, 0, exponents - rows[:, None] + s * width)
        high = np.trunc(np.ldexp(rest, lift))
        if high.any():
            rest = rest - np.ldexp(high, -lift)
            slices[s] = high
    return rows, slices


def differences(x: np.ndarray, y: np.ndarray) -> tuple[Scaled, Scaled]:
    """|x - y| and |y|, element by element, of finite x.

    Args:
        x: (...) float64 or complex128.
        y: (...) numbers of any dtype; of objects such as Fractions differences are exact.
    """
    if y.dtype == object:
        pairs = [_exact_difference(one, value) for one, value in zip(x.ravel().tolist(), y.ravel().tolist())]
        found = np.array(pairs, np.float64).reshape(*y.shape, 4)
        error, size = (scaled(found[..., k], found[..., k + 1].astype(np.int64)) for k in (0, 2))
        return error, size
    wide = np.result_type(x.dtype, y.dtype, np.float64)
    parts = [part for value in (x.astype(wide), y.astype(wide)) for part in (np.real(value), np.imag(value))]
    largest = np.max(np.abs(parts), axis=0)
    exponent = np.where(np.isfinite(largest), np.frexp(largest)[1], 0)
    x_re, x_im, y_re, y_im = (np.ldexp(part, -exponent) for part in parts)
    return scaled(np.hypot(x_re - y_re, x_im - y_im), exponent), scaled(np.hypot(y_re, y_im), exponent)


def _exact_difference(x: Any, y: Any) -> tuple[float, int, float, int]:
    """|x - y| and |y|, each as a float and an exponent, of a float and a Fraction or a number of another kind."""
    if isinstance(x, complex):
        raise TypeError("expected real numbers with a reference of objects; compare real and imaginary parts in turn")
    try:
        exact = Fraction(y)
    except (TypeError, ValueError, OverflowError):  # a number of another library, an infinity, NaN
        return float(abs(type(y)(x) - y)), 0, float(abs(y)), 0
    return *_rounded(abs(Fraction(x) - exact)), *_rounded(abs(exact))


def _rounded(x: Fraction) -> tuple[float, int]:
    """A Fraction as a float near 1 and an exponent."""
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return float(x / Fraction(2) ** exponent), exponent
