"""Scales of weights by other shapes and rules: rows times columns, and powers of two apart from a common one.

    dual     W ~ r_i c_j q_ij: a scale a row and one a column, by least squares in turn                   D2Quant
    M1       S = 2^round(log2 S): every scale a power of two                                              ZeroQuant-FP
    M2       S_i = S_max / 2^round(log2(S_max / S_i)): a real scale a row, powers of two for its groups   ZeroQuant-FP

Sources: D2Quant, dual scales; arXiv:2307.09782.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...emulate.quantize import quantize

Power = Callable[[np.ndarray], np.ndarray]
"""From a logarithm to a whole number: np.round, np.ceil, ..."""


def group_scales(weights: np.ndarray, largest: float) -> np.ndarray:
    """(rows, groups, 1) scales with which the largest magnitude of each group becomes the largest element.

    Args:
        weights: (rows, groups, size).
    """
    return np.abs(weights).max(axis=-1, keepdims=True) / largest


def powers_of_two(scales: np.ndarray, to: Power) -> np.ndarray:
    """M1: each scale a power of two."""
    return np.exp2(to(np.log2(scales)))


def powers_below(scales: np.ndarray, to: Power) -> np.ndarray:
    """M2: the largest scale of each row over powers of two; `to` rounds the logarithm of the quotient."""
    top = scales.max(axis=1, keepdims=True)
    return top / np.exp2(to(np.log2(top / scales)))


def with_scales(weights: np.ndarray, fmt: Any, scales: np.ndarray) -> np.ndarray:
    """Weights rounded to an unscaled format after a division by scales that broadcast, times them."""
    return quantize(weights / scales, fmt) * scales


def row_scales(
    weights: np.ndarray, fmt: Any, start: float, dual: bool = False, passes: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales of rows, and of columns where asked for, by least squares and rounding in turn.

    Each step, be it the codes or the scales, lowers |W - r q c|^2 or leaves it.

    Args:
        weights: (rows, columns).
        fmt: unscaled format of q.
        start: scales begin at this share of the mean magnitude of their row.
        dual: whether columns have scales; they begin at the mean magnitudes of the columns.
        passes: rounds.

    Returns:
        Values (rows, columns), scales (rows, 1) and (1, columns).
    """
    w = np.asarray(weights, np.float64)
    columns = np.abs(w).mean(axis=0, keepdims=True) if dual else np.ones((1, w.shape[1]))
    rows = start * np.abs(w / columns).mean(axis=1, keepdims=True)
    for _ in range(passes):
        q = quantize(w / (rows * columns), fmt)
        rows = _least_squares(w, q * columns, 1)
        if dual:
            columns = _least_squares(w, q * rows, 0)
    values = quantize(w / (rows * columns), fmt) * rows * columns
    return values, rows, columns


def _least_squares(w: np.ndarray, q: np.ndarray, axis: int) -> np.ndarray:
    """Factors of q, along the axis one, with the least error."""
    power = (q * q).sum(axis=axis, keepdims=True)
    return (w * q).sum(axis=axis, keepdims=True) / np.where(power > 0, power, 1.0) + (power == 0)
