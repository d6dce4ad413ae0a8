"""Codebooks learned from data: Lloyd-Max quantizers, one for the array or one for each channel."""

from itertools import pairwise
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
    """The 2**bits values with the smallest squared error on x that Lloyd's algorithm finds, from two starts.

    Each value becomes the weighted mean of the numbers nearest to it, until no number changes sides; the better
    end of a start from quantiles and one from an even spread is taken. The values are rounded to the dtype of x,
    which then holds the format. Infinities and NaN are left out.

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
        >>> learn_codebook([0.0, 1.0, 2.0, 50.0, 51.0, -30.0, -31.0, 90.0], bits=2).values
        (-30.5, 1.0, 50.5, 90.0)
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
    """Ascending values for sorted numbers: the better of the ends from quantiles and from an even spread."""
    distinct = np.unique(numbers)
    if len(distinct) + len(fixed) <= count:
        return np.union1d(distinct, fixed)
    total, moment = (np.concatenate([[0.0], np.cumsum(part)]) for part in (weights, weights * numbers))
    middles = (np.arange(count - len(fixed)) + 0.5) / (count - len(fixed))
    quantiles = numbers[np.minimum(np.searchsorted(total[1:], middles * total[-1]), len(numbers) - 1)]
    spread = numbers[0] + middles * (numbers[-1] - numbers[0])
    starts = [_different(start, distinct, fixed) for start in (quantiles, spread)]
    ends = [_iterated(numbers, weights, total, moment, start, fixed, iterations) for start in starts]
    return min(ends, key=lambda values: _error(numbers, weights, values))


def _different(start: np.ndarray, distinct: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The start with the fixed values put in, others of the numbers standing in for repeated ones."""
    picks = np.setdiff1d(start, fixed)
    others = np.setdiff1d(distinct, np.union1d(picks, fixed))
    missing = len(start) - len(picks)
    stand_ins = others[np.linspace(0, len(others) - 1, missing).astype(int)] if missing else others[:0]
    return np.sort(np.concatenate([picks, stand_ins, fixed]))


def _edges(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the cells of sorted numbers end and begin; a number in the middle belongs to the lower value."""
    inner = np.searchsorted(numbers, (values[:-1] + values[1:]) / 2, side="right")
    return np.concatenate([[0], inner, [len(numbers)]])


def _iterated(
    numbers: np.ndarray, weights: np.ndarray, total: np.ndarray, moment: np.ndarray, values: np.ndarray,
    fixed: np.ndarray, iterations: int,
) -> np.ndarray:  # fmt: skip
    """Lloyd's iteration until no number changes its cell; sums are differences of running ones until the end."""
    cells = None
    for _ in range(iterations):
        found = _edges(numbers, values)
        if cells is not None and np.array_equal(found, cells):
            break
        cells = found
        values = _means(np.diff(total[cells]), np.diff(moment[cells]), values, fixed)
    cells = _edges(numbers, values)
    parts = [slice(a, b) for a, b in pairwise(cells)]
    mass = np.array([weights[part].sum() for part in parts])
    sums = np.array([(weights[part] * numbers[part]).sum() for part in parts])
    return np.unique(_means(mass, sums, values, fixed))


def _means(mass: np.ndarray, sums: np.ndarray, values: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Means of the cells; fixed values, and those of empty cells, stay."""
    stays = np.isin(values, fixed) | (mass <= 0)
    return np.sort(np.where(stays, values, sums / np.where(stays, 1, mass)))


def _error(numbers: np.ndarray, weights: np.ndarray, values: np.ndarray) -> float:
    cells = _edges(numbers, values)
    return float(sum((weights[a:b] * (numbers[a:b] - v) ** 2).sum() for v, (a, b) in zip(values, pairwise(cells))))
