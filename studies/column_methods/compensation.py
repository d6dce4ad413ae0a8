"""Quantize a weight matrix column by column, each time moving the columns that are left to make up for the error.

With inputs X (samples, columns), weights W (rows, columns), H = 2 X^T X / samples + damping and H^-1 = U^T U, U upper
triangular, column i after column i:

    q_i = round(w_i)        e_i = (w_i - q_i) / U_ii        W[:, i:] -= e_i U[i, i:]                GPTQ

is the best that the columns after i can do for |X (W - Q)^T|^2. Inputs X of a quantized network differ from those of
the original one, X_0; with D = 2 (X_0 - X)^T X / samples the target is |X_0 W_0^T - X Q^T|^2, and each column adds

    W[:, i:] += w_i P[i, i:]               P = a triu(D U^T, 1) U                                   GPTAQ
    W[:, i:] += (w0_i - w_i) R[i, i:]      R = b triu((D + H) U^T, 1) U      w0 the first weights   ResComp

Without rounding the same target has the solution W_0 + W_0 D H^-1, which can also be taken first and then rounded.

Sources: arXiv:2210.17323 (GPTQ), arXiv:2504.02692 (GPTAQ), residual compensation as its code has it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...emulate.quantize import quantize, scales

Rounder = Callable[[np.ndarray], np.ndarray]
"""(rows, some columns) of a group -> their values, with scales that were found before."""
Fit = Callable[[np.ndarray], Rounder]
"""(rows, columns) weights of a group as it begins -> how its columns are rounded."""


class Statistics(NamedTuple):
    """What compensation knows of the inputs of a layer.

    Fields:
        hessian: (columns, columns) H, without damping.
        drift: (columns, columns) D; None where inputs are those of the original network.
    """

    hessian: np.ndarray
    drift: np.ndarray | None = None


class Compensation(NamedTuple):
    """Which errors later columns make up for.

    Fields:
        drift: a, the share of what inputs that differ do (GPTAQ; .25 in its code); 0 for none.
        moved: b, the share of how far a column moved before it was rounded (ResComp); 0 for none.
        damping: added to the diagonal of H, as a share of its mean.
        group: columns that share scales; None for all.
        ordered: whether columns with large inputs come first (not with groups).
    """

    drift: float = 0.0
    moved: float = 0.0
    damping: float = 0.01
    group: int | None = None
    ordered: bool = False


def statistics(inputs: np.ndarray, original: np.ndarray | None = None) -> Statistics:
    """H and D of a layer.

    Args:
        inputs: (samples, columns) as the quantized network has them.
        original: (samples, columns) as the original network has them; None for the same.

    Raises:
        ValueError: arrays that are not matrices of one shape.
    """
    x = np.asarray(inputs, np.float64)
    if x.ndim != 2 or not len(x):
        raise ValueError(f"expected inputs (samples, columns), got shape {x.shape}")
    if original is None:
        return Statistics(2 * x.T @ x / len(x))
    x0 = np.asarray(original, np.float64)
    if x0.shape != x.shape:
        raise ValueError(f"expected original inputs of shape {x.shape}, got {x0.shape}; give the same samples to both")
    return Statistics(2 * x.T @ x / len(x), 2 * (x0 - x).T @ x / len(x))


def fitted(fmt: str) -> Fit:
    """Rounding to a format whose scales are found once, from the weights of a group as it begins.

    Args:
        fmt: a scaled format with a scale per row, e.g. 'int3_per_row_asym' or 'int4_per_row'.
    """

    def fit(block: np.ndarray) -> Rounder:
        found = scales(block, fmt)
        return lambda columns: quantize(columns, fmt, scale=found)

    return fit


def damped(hessian: np.ndarray, share: float) -> np.ndarray:
    """H with a share of the mean of its diagonal added to it; 1 where an input is always zero.

    Raises:
        ValueError: a share that is negative.
    """
    if not share >= 0:
        raise ValueError(f"expected a damping of 0 or more, such as 0.01, got {share}")
    diagonal = np.diag(hessian)
    dead = diagonal == 0
    return hessian + np.diag(np.where(dead, 1.0, 0.0) + share * diagonal.mean())


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """U, upper triangular with positive diagonal, H^-1 = U^T U, without inverting H.

    Reversed in rows and columns the Cholesky factor of H is upper triangular, and its inverse is U^T.

    Raises:
        ValueError: H that is not positive definite.
    """
    try:
        lower = np.linalg.cholesky(hessian[::-1, ::-1])
    except np.linalg.LinAlgError:
        raise ValueError("the inputs leave H singular; give more samples, or a damping such as 0.01") from None
    # H = V V^T with V upper triangular, so that H^-1 = V^-T V^-1 = U^T U with U = V^-1.
    return np.triu(np.linalg.inv(lower[::-1, ::-1]))


PLAIN = Compensation()
"""GPTQ."""


def compensated(weights: np.ndarray, of: Statistics, fit: Fit, how: Compensation = PLAIN) -> np.ndarray:
    """Weights rounded column by column, as the module says.

    Args:
        weights: (rows, columns) float.
        of: statistics of the inputs.
        fit: how columns are rounded.
        how: which errors are compensated.

    Returns:
        (rows, columns) float64, values of the format.

    Raises:
        ValueError: statistics of other columns; drift asked of inputs that have none; groups that are reordered.
    """
    w0 = np.array(weights, np.float64)
    columns = w0.shape[-1]
    if w0.ndim != 2 or of.hessian.shape != (columns, columns):
        raise ValueError(f"expected weights (rows, {len(of.hessian)}) as the inputs have columns, got {w0.shape}")
    if how.drift and of.drift is None:
        raise ValueError("drift compensates for inputs that differ; give their originals to `statistics`, or drift=0")
    if how.ordered and how.group:
        raise ValueError("columns that are reordered share scales with others; leave group or ordered out")
    order = np.argsort(-np.diag(of.hessian), kind="stable") if how.ordered else np.arange(columns)
    back = np.argsort(order)
    hessian = damped(of.hessian, how.damping)[np.ix_(order, order)]
    u = inverse_factor(hessian)
    drift = np.zeros_like(u) if of.drift is None else of.drift[np.ix_(order, order)]
    by_drift = how.drift * np.triu(drift @ u.T, 1) @ u if how.drift else None
    by_move = how.moved * np.triu((drift + hessian) @ u.T, 1) @ u if how.moved else None
    return _swept(w0[:, order], u, (by_drift, by_move), fit, how.group or columns)[:, back]


def _swept(
    w0: np.ndarray, u: np.ndarray, additions: tuple[np.ndarray | None, np.ndarray | None], fit: Fit, group: int
) -> np.ndarray:
    """The sweep over columns."""
    by_drift, by_move = additions
    w, found = w0.copy(), np.empty_like(w0)
    rounder = fit(w[:, :group])
    for i in range(w.shape[1]):
        if i and i % group == 0:
            rounder = fit(w[:, i : i + group])
        column = w[:, i].copy()
        found[:, i] = rounder(column[:, None])[:, 0]
        change = np.outer((found[:, i] - column) / u[i, i], u[i, i:])
        if by_drift is not None:
            change += np.outer(column, by_drift[i, i:])
        if by_move is not None:
            change += np.outer(w0[:, i] - column, by_move[i, i:])
        w[:, i:] += change
    return found


def least_squares_target(weights: np.ndarray, of: Statistics, damping: float = 0.01) -> np.ndarray:
    """(rows, columns) W_0 + W_0 D H^-1: the weights that on the inputs at hand give most of the original outputs."""
    if of.drift is None:
        return np.array(weights, np.float64)
    hessian = damped(of.hessian, damping)
    return weights + np.linalg.solve(hessian, (weights @ of.drift).T).T


def output_error(
    weights: np.ndarray, values: np.ndarray, inputs: np.ndarray, original: np.ndarray | None = None
) -> float:
    """|X_0 W^T - X Q^T|^2 / |X_0 W^T|^2 in Frobenius norms; X_0 is X where no original inputs are given."""
    wanted = (inputs if original is None else original) @ weights.T
    return float(np.sum((wanted - inputs @ values.T) ** 2) / np.sum(wanted**2))
