"""Low-rank corrections: a product A B in high precision is added to quantized weights and makes up for their error.

    LoRC, LoftQ   A B = SVD_r(W - Q)                                      least |W - Q - A B|
    EoRA          A B = SVD_r((W - Q) V L^1/2) L^-1/2 V^T                 least |X (W - Q - A B)^T|, X^T X = V L V^T
    LQ-LoRA       Q = round(W - A B), A B = SVD_r(W - Q), in turn

Sources: arXiv:2307.09782 (LoRC), arXiv:2410.21271 (EoRA), arXiv:2311.12023 (LQ-LoRA).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class LowRank(NamedTuple):
    """A product of two thin matrices.

    Fields:
        left: (rows, rank). right: (rank, columns).
    """

    left: np.ndarray
    right: np.ndarray

    @property
    def product(self) -> np.ndarray:
        """(rows, columns)."""
        return self.left @ self.right

    def first(self, rank: int) -> "LowRank":
        """The correction of a lower rank: the first columns and rows, which are in order of what they correct."""
        return LowRank(self.left[:, :rank], self.right[:rank])


def correction(error: np.ndarray, rank: int, hessian: np.ndarray | None = None) -> LowRank:
    """The product of that rank that makes up for most of an error.

    Args:
        error: (rows, columns) W - Q.
        rank: from 0 to min(rows, columns).
        hessian: (columns, columns) X^T X of the inputs, up to a factor: most of the error of the outputs. None: most
            of that of the weights. Directions that no input has are left alone.

    Raises:
        ValueError: a rank out of range, a Hessian of other columns.
    """
    error = np.asarray(error, np.float64)
    if error.ndim != 2 or not 0 <= rank <= min(error.shape):
        raise ValueError(f"expected a matrix and a rank up to its lesser side, got shape {error.shape}, rank {rank}")
    if hessian is None:
        return _truncated(error, rank)
    if hessian.shape != (error.shape[1],) * 2:
        raise ValueError(f"expected a Hessian of {error.shape[1]} columns, got shape {hessian.shape}")
    power, basis = np.linalg.eigh(hessian)
    used = power > power.max() * len(power) * np.finfo(np.float64).eps
    root, basis = np.sqrt(power[used]), basis[:, used]
    found = _truncated(error @ basis * root, min(rank, int(used.sum())))
    return LowRank(found.left, found.right / root @ basis.T)


def _truncated(matrix: np.ndarray, rank: int) -> LowRank:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return LowRank(u[:, :rank] * s[:rank], v[:rank])


def decomposed(
    weights: np.ndarray, rank: int, quantized: Callable[[np.ndarray], np.ndarray], passes: int = 10
) -> tuple[np.ndarray, LowRank, list[float]]:
    """W ~ Q + A B by taking turns, for as long as the error falls (LQ-LoRA).

    Args:
        weights: (rows, columns). rank: of A B.
        quantized: weights -> their values.
        passes: at most.

    Returns:
        Q, A B and |W - Q - A B|^2 / |W|^2 after each pass, the last of which is the best.

    Raises:
        ValueError: passes below 1.
    """
    if passes < 1:
        raise ValueError(f"expected one or more passes, got {passes}")
    weights, power = np.asarray(weights, np.float64), float(np.sum(np.square(weights, dtype=np.float64)))
    best = LowRank(np.zeros((len(weights), 0)), np.zeros((0, weights.shape[1])))
    values, errors = weights, []
    for _ in range(passes):
        tried = quantized(weights - best.product)
        low_rank = correction(weights - tried, rank)
        error = float(np.sum((weights - tried - low_rank.product) ** 2)) / power
        if errors and error >= errors[-1]:
            break
        values, best = tried, low_rank
        errors.append(error)
    return values, best, errors
