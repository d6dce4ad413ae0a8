"""Densities of variance 1 with their partial moments in closed form."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import gamma, ndtr, stdtr

Array = np.ndarray


class Density(NamedTuple):
    """A symmetric density of variance 1.

    Args:
        name: for tables.
        at: the density at x.
        moments: integrals of p, x p and x^2 p from 0 to x, any sign of x; three arrays.
        far: beyond it less than 1e-10 of the variance is left.
    """

    name: str
    at: Callable[[Array], Array]
    moments: Callable[[Array], tuple[Array, Array, Array]]
    far: float


def _gaussian_at(x: Array) -> Array:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _gaussian_moments(x: Array) -> tuple[Array, Array, Array]:
    share, height = ndtr(x) - 0.5, _gaussian_at(x)
    return share, _gaussian_at(np.zeros(())) - height, share - x * height


_B = np.sqrt(0.5)
"""Scale of the Laplace density of variance 1."""


def _laplace_moments(x: Array) -> tuple[Array, Array, Array]:
    size, sign = np.abs(x), np.sign(x)
    tail = np.exp(-size / _B)
    second = 2 * _B * _B - (size * size + 2 * _B * size + 2 * _B * _B) * tail
    return -sign * np.expm1(-size / _B) / 2, (_B - (size + _B) * tail) / 2, sign * second / 2


def student_t(degrees: float) -> Density:
    """Student's t of variance 1; degrees above 2."""
    nu, unit = degrees, np.sqrt((degrees - 2) / degrees)
    peak = gamma((nu + 1) / 2) / (np.sqrt(nu * np.pi) * gamma(nu / 2))

    def at(x: Array) -> Array:
        return peak / unit * (1 + (x / unit) ** 2 / nu) ** (-(nu + 1) / 2)

    def moments(x: Array) -> tuple[Array, Array, Array]:
        t = x / unit
        share = stdtr(nu, t) - 0.5
        first = peak * nu / (nu - 1) * (1 - (1 + t * t / nu) ** (-(nu - 1) / 2))
        # (1 + t^2/nu) p is (nu-1)/(nu-2) times the density with two degrees fewer, stretched.
        second = nu * ((nu - 1) / (nu - 2) * (stdtr(nu - 2, t * unit) - 0.5) - share)
        return share, first * unit, second * unit * unit

    return Density(f"student_t{degrees:g}", at, moments, 1e4 ** (3 / (degrees - 2)))


GAUSSIAN = Density("gaussian", _gaussian_at, _gaussian_moments, 15.0)
LAPLACE = Density("laplace", lambda x: np.exp(-np.abs(x) / _B) / (2 * _B), _laplace_moments, 40.0)
STUDENT = student_t(5)
