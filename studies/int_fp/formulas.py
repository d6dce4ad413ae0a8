"""The formulas of INT against FP (arXiv:2510.25602), as data.

The signal to noise of a block with crest factor kappa, its largest magnitude over its root mean square; b bits,
M mantissa bits, bias B, largest value Qmax, and rho the average overhead of a scale that is a power of two:

    INT  4.78 + 6.02 b - 20 log10 rho - 20 log10 kappa                       powers of two, rho = 1.5
         4.78 + 6.02 b - 20 log10 kappa + 10 log10 (g / (g - 1))             E4M3 scales, blocks of g
    FP   -10 log10 (alpha w_norm + beta (rho kappa)^2 p_sub)                 powers of two
         -10 log10 (alpha (w_norm - kappa^2 / g) + beta kappa^2 p_sub)       E4M3 scales

with alpha = 1 / (24 2^(2M)), beta = 2^(2(1 - B - M)) / (12 Qmax^2), w_norm the power and p_sub the share of numbers in
and below the normal range, of a Gaussian.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from ...formats.floats import FloatFormat
from ...formats.registry import plain_format
from ...formats.scaled import ScaledFormat
from ...formats.scaled_registry import scaled

PAPER = "arXiv:2510.25602"


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """The highest sign change on a fine grid, refined."""
    grid = np.linspace(low, high, 2000)
    signs = np.sign([function(x) for x in grid])
    places = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    found: Any = brentq(function, grid[places[-1]], grid[places[-1] + 1], xtol=1e-12)
    return found


@dataclass(frozen=True, slots=True)
class Pair:
    """An integer and a floating-point format of the same bits and scales.

    Args:
        name: as printed. integer, floating: names of elements. block: elements a scale.
        rho: average overhead of the scale. exact_largest: whether the largest element has no error (E4M3 scales).
    """

    name: str
    integer: str
    floating: str
    block: int = 32
    rho: float = 1.5
    exact_largest: bool = False

    @property
    def bits(self) -> int:
        """Of an element."""
        return plain_format(self.integer).bits

    def scaled(self, element: str) -> ScaledFormat:
        """The library's format: powers of two that never saturate, or E4M3 scales."""
        if self.exact_largest:
            return scaled(element, scale="ue4m3", block=self.block)
        return scaled(element, scale="e8m0", block=self.block, rule="tetrajet")

    def of_integer(self, kappa: Any, exact: bool = False) -> Any:
        """Decibels of the integer format at a crest factor.

        Args:
            exact: with the 2^(b-1) - 1 steps up to the largest integer in place of 2^(b-1), and with the root mean
                square of a scale's overhead, spread evenly in the logarithm from 1 to 2, in place of its rough mean.
        """
        gain = 10 * np.log10(self.block / (self.block - 1)) if self.exact_largest else 0.0
        rho = np.sqrt(1.5 / np.log(2)) if exact and not self.exact_largest else self.rho
        if exact:
            gain += 20 * np.log10(1 - 2.0 ** (1 - self.bits))
        return 4.78 + 6.02 * self.bits - 20 * np.log10(rho * kappa) + gain

    def of_float(self, kappa: Any) -> Any:
        """Decibels of the floating-point format at a crest factor; NaN where the formula's noise is negative."""
        fmt = plain_format(self.floating)
        if not isinstance(fmt, FloatFormat):
            raise TypeError(f"expected a minifloat, got {fmt.name}")
        alpha = 1 / (24 * 4.0**fmt.mantissa_bits)
        beta = 4.0 ** (1 - fmt.bias - fmt.mantissa_bits) / (12 * float(fmt.max) ** 2)
        reach = self.rho * kappa
        normal = reach * 2.0 ** (1 - fmt.bias) / float(fmt.max)
        below = 2 * ndtr(normal) - 1
        power = 1 - below + 2 * normal * np.exp(-normal * normal / 2) / np.sqrt(2 * np.pi)
        noise = alpha * (power - (kappa**2 / self.block if self.exact_largest else 0)) + beta * reach**2 * below
        return -10 * np.log10(np.where(noise > 0, noise, np.nan))

    def crossover(self, exact: bool = False) -> tuple[float, float]:
        """The crest factor below which the integer format wins, and the decibels of both there."""

        def lead(kappa: float) -> float:
            return float(self.of_integer(kappa, exact) - self.of_float(kappa))

        kappa = root(lead, 1.2, 3.9 if self.exact_largest else 20.0)
        return kappa, float(self.of_integer(kappa, exact))


PAIRS = {
    "mx8": Pair("8 bits", "int8_narrow", "fp8_e4m3"),
    "mx6": Pair("6 bits", "int6_narrow", "fp6_e2m3"),
    "mx4": Pair("MX, 4 bits", "int4_narrow", "fp4_e2m1"),
    "nv4": Pair("NV, 4 bits", "int4_narrow", "fp4_e2m1", 16, 1.0, True),
}
WITH_RHO = Pair("NV, 4 bits, rho 1.05", "int4_narrow", "fp4_e2m1", 16, 1.05, True)
"""The formula of E4M3 scales with an overhead that is not printed."""
