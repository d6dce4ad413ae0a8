"""Rounding weights after training: scales of least squared error, learned rounding, and kernels as matrices.

A weight is a matrix (rows, columns), a row an output; values of row i are s_i q(w / s_i).

Sources: arXiv:2004.10568 (AdaRound), arXiv:2210.17323 (GPTQ, `column_methods.compensation`).
"""

from typing import NamedTuple

import numpy as np

from ...emulate.quantize import quantize
from ...formats.catalogue import format as any_format
from ..column_methods.compensation import Fit, Rounder, compensated, statistics

SHRINKS = np.geomspace(0.25, 1.0, 25).astype(np.float32)
"""Scales that are tried, as shares of that at which the largest magnitude is the format's."""
_LIMITS = (-0.1, 1.1)
"""Of the stretched sigmoid, which reaches 0 and 1."""


def matrix_of(kernel: np.ndarray) -> np.ndarray:
    """A kernel (outputs, channels, height, width) as (outputs, height width channels), as patches are; or itself."""
    return kernel if kernel.ndim == 2 else kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)


def kernel_of(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `matrix_of` for a kernel of a shape."""
    if len(shape) == 2:
        return matrix
    outputs, channels, height, width = shape
    return matrix.reshape(outputs, height, width, channels).transpose(0, 3, 1, 2)


def rounded(x: np.ndarray, fmt: str, scale: np.ndarray, rounding: str = "nearest_even") -> np.ndarray:
    """scale q(x / scale); float32 in and out, saturating."""
    return quantize((x / scale).astype(np.float32), fmt, rounding=rounding, overflow="saturate") * scale


def scales_of(x: np.ndarray, fmt: str) -> np.ndarray:
    """(rows, 1) float32: the scale of each row of (rows, columns) with the least squared error of those tried.

    Rows of zeros get one that is not 0.
    """
    x = np.asarray(x, np.float32)
    most = np.abs(x).max(1, keepdims=True) / np.float32(any_format(fmt).max)
    tried = SHRINKS[:, None, None] * np.where(most > 0, most, 1).astype(np.float32)
    errors = ((rounded(x[None], fmt, tried) - x) ** 2).sum(-1)
    return np.take_along_axis(tried[..., 0], errors.argmin(0)[None], 0).T


def nearest(weights: np.ndarray, fmt: str) -> np.ndarray:
    """(rows, columns) float32, each weight rounded to the nearest value."""
    return rounded(weights, fmt, scales_of(weights, fmt))


def fitted(fmt: str) -> Fit:
    """Rounding for `compensated`: scales of rows, found once from the weights as it begins."""

    def fit(block: np.ndarray) -> Rounder:
        scale = scales_of(block, fmt)
        return lambda columns: rounded(columns.astype(np.float32), fmt, scale)

    return fit


def gptq(weights: np.ndarray, inputs: np.ndarray, fmt: str) -> np.ndarray:
    """GPTQ on any grid.

    Args:
        weights: (rows, columns). inputs: (samples, columns) of the layer.
    """
    return compensated(weights, statistics(inputs), fitted(fmt)).astype(np.float32)


class Learning(NamedTuple):
    """How rounding is learned.

    Fields:
        steps: of Adam. rate: its step.
        pull: weight of the term that drives each choice to 0 or 1, against the error over that of nearest rounding.
        sharpness: the exponent of that term, first and last. free: the share of the steps before it begins.
    """

    steps: int = 300
    rate: float = 0.1
    pull: float = 10.0
    sharpness: tuple[float, float] = (20.0, 2.0)
    free: float = 0.2


ADAROUND = Learning()
"""The paper's sharpness and warm-up; its steps are 10 000 at rate 0.001."""


def adaround(weights: np.ndarray, inputs: np.ndarray, fmt: str, how: Learning = ADAROUND) -> np.ndarray:
    """Learned rounding: each weight to the value below or above it, for the least error of the layer's outputs.

        min  |X (W - Q)^T|^2 / |X (W - nearest)^T|^2 + pull mean(1 - |2 h - 1|^sharpness)

    with Q = lower + h (upper - lower), by Adam on v where h = clip(1.2 sigmoid(v) - .1, 0, 1), which begins at Q = W.

    Args:
        weights: (rows, columns). inputs: (samples, columns) of the layer.

    Returns:
        (rows, columns) float32, values of the format.
    """
    w = np.asarray(weights, np.float32)
    scale = scales_of(w, fmt)
    lower, upper = rounded(w, fmt, scale, "down"), rounded(w, fmt, scale, "up")
    gap = upper - lower
    x = np.asarray(inputs, np.float32)
    hessian = x.T @ x / np.float32(len(x))
    worst = _error(rounded(w, fmt, scale) - w, hessian)
    if worst == 0:
        return rounded(w, fmt, scale)
    share = np.clip(np.divide(w - lower, gap, out=np.zeros_like(w), where=gap > 0), 0.0, 1.0)
    v, momentum, power = _logit(share), np.zeros_like(w), np.zeros_like(w)
    for step in range(1, how.steps + 1):
        sigmoid = 1 / (1 + np.exp(-v))
        stretched = _stretched(sigmoid)
        h = np.clip(stretched, 0.0, 1.0)
        slope = np.where(h == stretched, (_LIMITS[1] - _LIMITS[0]) * sigmoid * (1 - sigmoid), 0.0).astype(np.float32)
        pressure = 2 * (lower + h * gap - w) @ hessian * gap / worst + _pull(h, step, how)
        gradient = pressure * slope
        momentum += 0.1 * (gradient - momentum)
        power += 0.001 * (gradient * gradient - power)
        v -= how.rate * (momentum / (1 - 0.9**step)) / (np.sqrt(power / (1 - 0.999**step)) + 1e-10)
    return np.where(_stretched(1 / (1 + np.exp(-v))) >= 0.5, upper, lower)


def _error(difference: np.ndarray, hessian: np.ndarray) -> float:
    return float(np.sum((difference @ hessian) * difference))


def _stretched(sigmoid: np.ndarray) -> np.ndarray:
    low, high = _LIMITS
    return sigmoid * np.float32(high - low) + np.float32(low)


def _logit(share: np.ndarray) -> np.ndarray:
    """v at which the stretched sigmoid is a share from 0 to 1."""
    low, high = _LIMITS
    sigmoid = (share - low) / (high - low)
    return np.log(sigmoid / (1 - sigmoid)).astype(np.float32)


def _pull(h: np.ndarray, step: int, how: Learning) -> np.ndarray | float:
    """The derivative of the term that drives choices to 0 or 1; 0 in the warm-up."""
    begin = how.free * how.steps
    if step <= begin:
        return 0.0
    first, last = how.sharpness
    done = (step - begin) / (how.steps - begin)
    sharpness = last + 0.5 * (first - last) * (1 + np.cos(np.pi * done))
    far = 2 * h - 1
    return -how.pull / h.size * 2 * sharpness * np.sign(far) * np.abs(far) ** (sharpness - 1)
