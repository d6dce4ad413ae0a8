"""Up to which condition number iterative refinement gives full accuracy, and how accurate it is before.

A = U S V with random orthogonal U and V and singular values from 1 to 1/kappa (`randsvd`): in geometric progression
(mode 3) or all 1 but the last (mode 2). Right-hand sides are normal; both are rounded to the working format. The
reference is a solution in float64 of the rounded system, refined with residuals in longdouble.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...emulate import analysis, linalg
from .statistics import Estimate, mean

SINGLE = 2.0**-24
"""The unit roundoff of binary32."""
FULL_ACCURACY = 4 * SINGLE
"""The forward error, in the maximum norm, that counts as full accuracy."""


@dataclass(frozen=True, slots=True)
class Precisions:
    """Formats of a refinement.

    Args:
        factor, working, residual: as in `halfulp.linalg.refine`, like method and scaling.
    """

    factor: str
    working: str = "fp32"
    residual: str = "fp64"
    method: str = "lu"
    scaling: str = "none"


GEOMETRIC, ONE_SMALL = 3, 2
"""Modes of `randsvd`."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What came of a system: the forward error, the backward error, and steps of GMRES in all."""

    forward: float
    backward: float
    steps: int


FAILED = Solved(np.inf, np.inf, 0)


def system(size: int, log_kappa: float, seed: int, mode: int = GEOMETRIC) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of a given condition number in the 2-norm, and a right-hand side; one seed has one U, V and b."""
    rng = np.random.Generator(np.random.PCG64(seed))
    u, v = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    values = np.logspace(0, -log_kappa, size)
    if mode == ONE_SMALL:
        values[:-1] = 1
    return (u * values) @ v, rng.standard_normal(size)


def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The solution in float64, refined with residuals in longdouble, so that it is good to kappa 2**-64 or so."""
    x = np.linalg.solve(a, b).astype(np.longdouble)
    for _ in range(4):
        r = b.astype(np.longdouble) - (a.astype(np.longdouble) * x).sum(axis=1)
        x = x + np.linalg.solve(a, r.astype(np.float64))
    return x.astype(np.float64)


def solved(precisions: Precisions, size: int, log_kappa: float, seed: int, mode: int = GEOMETRIC) -> Solved:
    """One refinement of one system."""
    dtype = np.float32 if precisions.working == "fp32" else np.float64
    a, b = (each.astype(dtype) for each in system(size, log_kappa, seed, mode))
    options: dict[str, Any] = {"method": precisions.method, "scaling": precisions.scaling}
    formats = {"factor": precisions.factor, "working": precisions.working, "residual": precisions.residual}
    try:
        found = linalg.refine(a, b, **formats, **options)
    except np.linalg.LinAlgError:
        return FAILED
    if not np.isfinite(found.x).all():
        return FAILED
    exact = reference(a.astype(np.float64), b.astype(np.float64))
    forward = float(np.abs(found.x - exact).max() / np.abs(exact).max())
    return Solved(forward, float(analysis.backward_error(a, found.x, b)), int(found.inner_iterations.sum()))


def limit(
    precisions: Precisions, size: int, seed: int, low: float, high: float, mode: int = GEOMETRIC, steps: int = 6
) -> float:
    """log10 of the condition number up to which one system, stretched, is solved to full accuracy, by bisection.

    Args:
        low, high: log10 of condition numbers between which it lies; the result is next to one of them otherwise.
        steps: halvings.
    """
    for _ in range(steps):
        middle = (low + high) / 2
        if solved(precisions, size, middle, seed, mode).forward <= FULL_ACCURACY:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def limits(bits: dict[str, int], size: int, systems: int, mode: int = GEOMETRIC) -> np.ndarray:
    """(systems, formats) limits of LU factors in formats of so many significant bits."""
    expected = {fmt: float(count * np.log10(2)) for fmt, count in bits.items()}
    rows = [
        [limit(Precisions(fmt), size, seed, max(e - 2, 0), e + 2, mode) for fmt, e in expected.items()]
        for seed in range(systems)
    ]
    return np.array(rows)


def rate(bits: dict[str, int], found: np.ndarray) -> Estimate:
    """The power of 1/u_f = 2**bits in limits, (systems, formats): a line for each system."""
    x = np.array(list(bits.values())) * np.log10(2)
    return mean([float(np.polyfit(x, row, 1)[0]) for row in found])
