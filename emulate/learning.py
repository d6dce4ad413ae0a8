"""Codebooks learned from data: Lloyd-Max quantizers, one for the array or one for each channel."""

from typing import Any

import numpy as np

from ..formats.codebooks import ChannelCodebooks, CodebookFormat
from .dispatch import backend_of, residual_backend_of


def learn_codebook(
    x: Any,
    bits: int = 4,
    *,
    axis: int | None = None,
    weights: Any = None,
    fixed: tuple[float, ...] = (),
    iterations: int = 500,
    name: str = "learned",
) -> CodebookFormat | ChannelCodebooks:
    """The 2**bits values with the smallest (locally) squared error on x: Lloyd's algorithm from quantiles.

    Each value becomes the weighted mean of the numbers nearest to it, until no number changes sides. The values
    are rounded to the dtype of x, which then holds the format. Infinities and NaN are left out.

    Args:
        x: NumPy, torch or JAX array (not traced), or a list.
        bits: 1 to 8.
        axis: learn a codebook for each index along this axis, as LowRA does for output channels; None for one.
        weights: importance of each number, in the shape of x: Fisher information, squared activations, ...
        fixed: values that every codebook keeps, e.g. (0.0,) for an exact zero.
        iterations: at most so many rounds.
        name: of the format.

    Returns:
        A `CodebookFormat`, or `ChannelCodebooks`. Ties go to the lower value. Data with fewer different numbers
        than values gives a codebook of those numbers, of the same width.

    Raises:
        ValueError: bits out of range, more fixed values than there are, weights that are negative, not finite or
            of another shape, or no finite numbers.

    Source: S. Lloyd, IEEE Trans. Inf. Theory 28 (1982); J. Max, IRE Trans. Inf. Theory 6 (1960); arXiv:2502.08141
    for codebooks by channel (LowRA).

    Example:
        >>> learn_codebook([0.0, 0.1, 0.2, 5.0, 5.1, -3.0, -3.1, 9.0], bits=2).values
        (-3.05, 0.1, 5.05, 9.0)
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"expected codebooks of 1 to 8 bits, got {bits}")
    if len(set(fixed)) > (1 << bits) - 1:
        raise ValueError(f"expected fewer than {1 << bits} fixed values, got {len(set(fixed))}")
    numbers = residual_backend_of(x).to_host(backend_of(x).as_array(x))
    dtype = numbers.dtype
    importance = np.ones(numbers.shape) if weights is None else _host(weights).astype(np.float64)
    if importance.shape != numbers.shape or not np.isfinite(importance).all() or (importance < 0).any():
        raise ValueError(
            f"weights: expected finite numbers >= 0 of shape {numbers.shape}, got shape {importance.shape}"
        )
    if axis is None:
        return _learn(numbers.reshape(-1), importance.reshape(-1), bits, fixed, iterations, name, dtype)
    if not -numbers.ndim <= axis < numbers.ndim:
        raise ValueError(f"expected an axis of an array of shape {numbers.shape}, got axis={axis}")
    rows = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
    row_weights = np.moveaxis(importance, axis, 0).reshape(rows.shape)
    books = [
        _learn(row, weight, bits, fixed, iterations, f"{name}[{k}]", dtype)
        for k, (row, weight) in enumerate(zip(rows, row_weights))
    ]
    return ChannelCodebooks(name, tuple(books), axis, "learned by Lloyd's algorithm")


def _host(a: Any) -> np.ndarray:
    return residual_backend_of(a).to_host(a) if hasattr(a, "dtype") else np.asarray(a)


def _learn(
    x: np.ndarray, weights: np.ndarray, bits: int, fixed: tuple[float, ...], iterations: int, name: str, dtype: np.dtype
) -> CodebookFormat:
    numbers = x.astype(np.float64)
    kept = np.isfinite(numbers) & (weights > 0)
    if not kept.any():
        raise ValueError(f"{name}: expected finite numbers with positive weights to learn from, got none")
    order = np.argsort(numbers[kept], kind="stable")
    numbers, weights = numbers[kept][order], weights[kept][order]
    values = _lloyd(numbers, weights, 1 << bits, np.array(sorted(set(fixed))), iterations)
    held = np.unique(values.astype(dtype).astype(np.float64))
    if len(held) < 2:  # constant data: zero is the other value, or one where the data are zero
        held = np.unique([held[0], 0.0 if held[0] else 1.0])
    return CodebookFormat(name, tuple(held.tolist()), bits=bits, ties="lower", source="learned by Lloyd's algorithm")


def _lloyd(numbers: np.ndarray, weights: np.ndarray, count: int, fixed: np.ndarray, iterations: int) -> np.ndarray:
    """Ascending values for sorted numbers; cells end at midpoints, values are the means of their cells."""
    distinct = np.unique(numbers)
    if len(distinct) + len(fixed) <= count:
        return np.union1d(distinct, fixed)
    total = np.concatenate([[0.0], np.cumsum(weights)])
    moment = np.concatenate([[0.0], np.cumsum(weights * numbers)])
    values = _start(numbers, total, count, fixed)
    pinned = np.isin(values, fixed)
    edges = np.zeros(0)
    for _ in range(iterations):
        found = np.searchsorted(numbers, (values[:-1] + values[1:]) / 2, side="right")
        if np.array_equal(found, edges):
            break
        edges = found
        cell = np.concatenate([[0], edges, [len(numbers)]])
        mass, sums = np.diff(total[cell]), np.diff(moment[cell])
        moved = np.where(pinned | (mass <= 0), values, sums / np.where(mass > 0, mass, 1))
        values = np.sort(moved)
        pinned = np.isin(values, fixed)
    return np.unique(values)


def _start(numbers: np.ndarray, total: np.ndarray, count: int, fixed: np.ndarray) -> np.ndarray:
    """Quantiles at the middles of equal shares, made different where numbers repeat, with the fixed values put in."""
    free = count - len(fixed)
    shares = (np.arange(free) + 0.5) / free * total[-1]
    picks = np.unique(numbers[np.minimum(np.searchsorted(total[1:], shares), len(numbers) - 1)])
    picks = picks[~np.isin(picks, fixed)]
    others = np.setdiff1d(np.unique(numbers), np.union1d(picks, fixed))
    missing = free - len(picks)
    if missing > 0:
        picks = np.concatenate([picks, others[np.linspace(0, len(others) - 1, missing).astype(int)]])
    return np.sort(np.concatenate([picks, fixed]))
