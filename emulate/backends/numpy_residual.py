"""Sums, differences and host arithmetic of residual stacks in NumPy."""

from collections.abc import Callable

import numpy as np


def added(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, one IEEE operation."""
    with np.errstate(over="ignore", invalid="ignore"):
        return a + b


def subtracted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, one IEEE operation; NaN for infinities of one sign."""
    with np.errstate(over="ignore", invalid="ignore"):
        return a - b


def to_host(x: np.ndarray) -> np.ndarray:
    """As a NumPy array."""
    return x


def from_host(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A NumPy array in the type of `like`."""
    return values


def on_host(x: np.ndarray, call: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """call(x)."""
    return call(x)


def joined(parts: list[np.ndarray], axis: int) -> np.ndarray:
    """Arrays side by side."""
    return np.concatenate(parts, axis)
