"""c - a b of float64 matrices, as if in twice the precision: what errors are measured with."""

from math import ceil, log2

import numpy as np

_BITS = 53


def residual(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """c - a b, with an error of some 2**-100 |a||b| besides the rounding of the result.

    Args:
        c: (m, n) float64, like the others.
        a: (m, k).
        b: (k, n).

    Returns:
        (m, n) float64; NaN where a number is not finite.

    Source: Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using fast routines of
    matrix multiplication and its applications, Numerical Algorithms 59, 2012.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(c).all()):
        return np.full(c.shape, np.nan)
    total, rest = c.astype(np.float64), np.zeros(c.shape)
    right = [part.T for part in _slices(b.T)]
    for left in _slices(a):
        for part in right:
            product = left @ part  # exact: no bit of it lies outside the 53
            before, total = total, total - product
            of_product = total - before
            rest += (before - (total - of_product)) - (product + of_product)
    return total + rest


def _slices(a: np.ndarray) -> list[np.ndarray]:
    """Matrices that add up to a matrix, each of so few bits in a row that products of two of them are exact."""
    slices, rest = [], a.astype(np.float64)
    count = max(a.shape[1], 1)
    shift = ceil((_BITS + log2(count)) / 2)
    while rest.any():
        largest = np.abs(rest).max(axis=1, keepdims=True)
        sigma = np.ldexp(np.where(largest > 0, 1.0, 0.0), np.frexp(largest)[1] + shift)
        high = (rest + sigma) - sigma
        slices.append(high)
        rest = rest - high
    return slices
