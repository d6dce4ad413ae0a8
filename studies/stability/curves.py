"""What a curve of losses says of a training: whether it diverged, from which step on, and how often it spiked."""

from typing import Any

import numpy as np

WINDOW = 20
"""Steps before a step whose median loss a spike rises above, and steps at the end whose mean is the final loss."""
SPIKE = 0.2
"""How far, in units of the loss of a uniform guess, a spike rises above that median."""
LEARNT = 0.98
"""A final loss above that share of the entropy of the targets is that of a model which does not look at its inputs."""
THRESHOLDS = (0.94, 0.96, 0.98, 1.0, 1.02)
"""Other values of `LEARNT`, to see what hangs on it."""
TURN = 0.05
"""Of the loss of a uniform guess, what the final loss of a run that turned is above its lowest running median."""
USABLE = 0.05
"""Of the way from a uniform guess to float32's best loss, what a usable learning rate may lose."""
_SMOOTH = 10
"""Steps over which the median smooths a curve to find where it turns."""


def final_loss(loss: np.ndarray) -> float:
    """The mean of the last steps; infinity where one is not finite.

    Args:
        loss: (steps,) with NaN after the end of a run that ended early.
    """
    last = np.asarray(loss, float)[-WINDOW:]
    return float(last.mean()) if np.isfinite(last).all() else float("inf")


def spike_steps(loss: Any, height: float, window: int = WINDOW) -> np.ndarray:
    """Steps whose loss is more than `height` above the median of the `window` steps before them, or not finite.

    The first `window` steps have no such median and do not count, nor do steps after one that is not finite.

    Example:
        >>> spike_steps([1.0, 1.0, 1.0, 1.6, 1.0, 1.4], 0.5, window=3).tolist()
        [3]
    """
    found = np.asarray(loss, float)
    if len(found) <= window:
        return np.zeros(0, int)
    before = np.median(np.lib.stride_tricks.sliding_window_view(found[:-1], window), axis=1)
    return np.flatnonzero(np.isfinite(before) & ~(found[window:] <= before + height)) + window


def onset(loss: np.ndarray, window: int = _SMOOTH) -> tuple[int, float]:
    """The step from which the running median loss falls no more, that after the window with the smallest; that median.

    Of a run that diverges it is where it turned, and how far it had come.
    """
    found = np.asarray(loss, float)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(found, window), axis=1)
    medians = np.where(np.isfinite(medians), medians, np.inf)
    return int(medians.argmin()) + window, float(medians.min())


def entropy(targets: Any) -> float:
    """In nats, of the frequencies of targets: the loss of a model that knows them and does not look at its inputs."""
    counts = np.unique(np.asarray(targets), return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
