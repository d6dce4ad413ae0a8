"""Polar Express and Newton-Schulz in bfloat16: how near to one singular values come."""

import numpy as np

from ...emulate import linalg
from ...emulate.linalg.polar import polar_express
from ...emulate.quantize import quantize
from .statistics import Estimate, mean

MUON = (3.4445, -4.7750, 2.0315)
"""The quintic of Muon's Newton-Schulz iteration (github.com/KellerJordan/Muon)."""
LOWER = 1e-3
"""The least singular value that the published coefficients of Polar Express serve."""
STEPS = 6
SAFETY = np.array([1.01, 1.01**3, 1.01**5])
"""What the coefficients of all but the last step are divided by."""


def coefficients(method: str) -> np.ndarray:
    """(6, 3) of the quintics of `polar_express` or `muon`; those of Polar Express with its safety factor of 1.01."""
    return polar_express(LOWER, STEPS) if method == "polar_express" else np.tile(MUON, (STEPS, 1))


def matrix(size: int, seed: int, condition: float = 100.0) -> np.ndarray:
    """Singular values from 1 to 1/condition in geometric progression, random singular vectors, float32."""
    rng = np.random.Generator(np.random.PCG64(seed))
    u, v = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    return ((u * np.geomspace(1, 1 / condition, size)) @ v).astype(np.float32)


def iterated(a: np.ndarray, quintics: np.ndarray, fmt: str = "bf16") -> np.ndarray:
    """x <- a x + (b G + c G G) x with G = x x', every operation's result rounded; products sum in float32."""

    def rounded(x: np.ndarray) -> np.ndarray:
        return quantize(np.asarray(x, np.float32), fmt)

    x = rounded(a / np.linalg.norm(a))
    for a1, a3, a5 in quintics:
        gram = rounded(x @ x.T)
        inner = rounded(rounded(a3 * gram) + rounded(a5 * rounded(gram @ gram)))
        x = rounded(rounded(a1 * x) + rounded(inner @ x))
    return x


def ends(x: np.ndarray) -> tuple[float, float]:
    """The least and the largest singular value."""
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    return float(values[-1]), float(values[0])


def interval(method: str, size: int, seeds: int) -> tuple[Estimate, Estimate]:
    """The mean ends of the singular values after six steps in bfloat16, over matrices."""
    found = [ends(iterated(matrix(size, seed), coefficients(method))) for seed in range(seeds)]
    return mean([low for low, _ in found]), mean([high for _, high in found])


def all_rounded(size: int, seed: int) -> tuple[float, float]:
    """The ends for Polar Express where each product and sum is rounded to bfloat16, also inside of products."""
    return ends(linalg.polar(matrix(size, seed), "bf16", method="polar_express", steps=STEPS, lower=LOWER))
