"""Robust least squares, as the studies of scaling laws fit them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import least_squares


def least_huber(
    errors: Callable[[np.ndarray], np.ndarray],
    slopes: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    scales: Sequence[float],
    bounds: tuple[Any, Any] = (-np.inf, np.inf),
) -> Any:
    """The coefficients at which the Huber loss of errors is least, near a start.

    Args:
        errors: (p,) coefficients -> (n,) errors. slopes: likewise, their derivatives (n, p).
        start: (p,) coefficients to begin with.
        scales: of the Huber loss, one after another: at once the smallest is nearly the absolute value, of many minima.
        bounds: of the coefficients.

    Returns:
        What SciPy's `least_squares` returns for the last scale: `x`, `cost` and more.

    Raises:
        ValueError: no scales.
    """
    if not scales:
        raise ValueError("expected scales of the Huber loss, such as (1.0, 1e-3), got none")
    found: Any = None
    jac: Any = slopes
    for scale in scales:
        found = least_squares(errors, start, jac=jac, loss="huber", f_scale=scale, x_scale="jac", bounds=bounds,
                              max_nfev=300, xtol=1e-12, ftol=1e-12, gtol=1e-14)  # fmt: skip
        start = found.x
    return found
