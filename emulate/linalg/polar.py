"""The orthogonal polar factor by products of matrices alone, every operation rounded."""

from typing import Any

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from .inputs import Fmt, check_count, check_matrix, prepare
from .machine import Machine
from .scaling import exponent_of

_STEPS = {"newton_schulz": 20, "polar_express": 8}
METHODS = tuple(_STEPS)
"""How `polar` iterates."""
_CUSHION = 0.02407327424182761
"""Least ratio of the ends of the interval that a polynomial is the best one for; of the published coefficients."""
_SAFETY = 1.01
"""Singular values may be that much too large by rounding without leaving the interval."""


def polar(
    a: Any,
    fmt: Fmt = None,
    *,
    method: str = "newton_schulz",
    steps: int | None = None,
    lower: float = 1e-3,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Any:
    """The nearest matrix with orthonormal columns, U of A = U H; of rows, for a wide A.

    X_0 = A / 2**e with the least e for which the Frobenius norm, in float64, is at most 1: exact but for what becomes
    subnormal. Then, for tall A (a wide one is transposed first), with products as in `gemm`:

        newton_schulz   G = X'X;  E = rnd(I - G);  X = rnd(X + X rnd(E / 2))
        polar_express   G = X'X;  P = rnd(rnd(b G) + rnd(c G G));  X = rnd(rnd(a X) + X P)

    Newton-Schulz converges quadratically once singular values are near 1, and multiplies small ones by 3/2 a step; the
    coefficients of Polar Express, another three in each step, multiply them by 8 at first.

    Args:
        a: (m, n); see `dot` for the other arguments.
        method: one of `METHODS`.
        steps: how many; default 20 and 8.
        lower: for Polar Express, the least singular value of X_0 that it is to serve; see `polar_express`.

    Returns:
        (m, n).

    Source: Higham, Functions of Matrices, 2008, (8.20); Amsel, Persson, Musco and Gower, arXiv:2505.16932.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", str(method), METHODS))
    count = _STEPS[method] if steps is None else steps
    check_count("polar", "steps", count)
    machine, (a,) = prepare("polar", (a,), fmt, rounding, overflow, seed, order)
    wide = check_matrix("polar", a).shape[0] < a.shape[1]
    x = np.ascontiguousarray(a.T) if wide else a
    if not np.isfinite(x).all():
        raise np.linalg.LinAlgError(f"polar: expected finite numbers in {machine.arithmetic!r}, got infinities or NaN")
    x = machine.scaled(x, -_exponent(x)) if x.any() else x
    if method == "newton_schulz":
        for _ in range(count):
            x = _newton_schulz(machine, x)
    else:
        for coefficients in polar_express(lower, count):
            x = _polynomial(machine, x, coefficients)
    return machine.give(np.ascontiguousarray(x.T) if wide else x)


def polar_express(lower: float = 1e-3, steps: int = 8) -> np.ndarray:
    """The coefficients (a, b, c) of x <- a x + b x**3 + c x**5 for each step of Polar Express, in float64.

    Each polynomial is the best one, in the maximum norm, for taking to 1 the interval that the steps before leave of
    [lower, 1]. It is found by Remez exchange; where the interval is longer than its upper end by a factor of 41 the
    best one for the longest such interval is scaled to be centred at 1; and all but the last are evaluated at
    x / 1.01, for the sake of rounding. These are the published choices.

    Args:
        lower: least singular value, of the matrix whose norm is at most 1; 0 < lower <= 1.
        steps: how many polynomials.

    Returns:
        (steps, 3) float64.

    Source: Amsel, Persson, Musco and Gower, The Polar Express, arXiv:2505.16932, Algorithm 1 and Appendix.

    Example:
        >>> polar_express(1e-3, 2).round(4)
        array([[  8.2052, -22.9019,  16.4607],
               [  4.1071,  -2.9478,   0.5448]])
    """
    if not 0 < lower <= 1:
        raise ValueError(f"expected 0 < lower <= 1, a lower bound of the singular values, got {lower}")
    check_count("polar_express", "steps", steps)
    upper, found = 1.0, np.empty((steps, 3))
    for k in range(steps):
        row = _best_quintic(max(lower, _CUSHION * upper), upper)
        at_lower, at_upper = (row @ [end, end**3, end**5] for end in (lower, upper))
        found[k] = row * (2 / (at_lower + at_upper))
        lower = float(found[k] @ [lower, lower**3, lower**5])
        upper = 2 - lower
    found[:-1] /= [_SAFETY, _SAFETY**3, _SAFETY**5]
    return found


def _best_quintic(lower: float, upper: float) -> np.ndarray:
    """The odd quintic whose largest distance from 1 between the ends is the least: it is reached at four points."""
    if lower / upper >= 1 - 5e-6:  # the limit, where the exchange is ill-conditioned
        return np.array([1.875 / upper, -1.25 / upper**3, 0.375 / upper**5])
    q, r = (3 * lower + upper) / 4, (lower + 3 * upper) / 4
    before, error = np.inf, 0.0
    a = b = c = 0.0
    while abs(before - error) > 1e-15:
        before = error
        rows = [[x, x**3, x**5, sign] for x, sign in ((lower, 1), (q, -1), (r, 1), (upper, -1))]
        a, b, c, error = np.linalg.solve(np.array(rows), np.ones(4))
        root = np.sqrt(9 * b * b - 20 * a * c)
        q, r = np.sqrt((-3 * b - root) / (10 * c)), np.sqrt((-3 * b + root) / (10 * c))
    return np.array([a, b, c])


def _newton_schulz(machine: Machine, x: np.ndarray) -> np.ndarray:
    rest = machine.subtract(np.eye(x.shape[1], dtype=x.dtype), machine.product(x.T, x))
    return machine.add(x, machine.product(x, machine.multiply(rest, machine.constant(0.5))))


def _polynomial(machine: Machine, x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    a, b, c = (machine.constant(value) for value in coefficients)
    gram = machine.product(x.T, x)
    p = machine.add(machine.multiply(b, gram), machine.multiply(c, machine.product(gram, gram)))
    return machine.add(machine.multiply(a, x), machine.product(x, p))


def _exponent(x: np.ndarray) -> int:
    """The least e with ||x|| <= 2**e, in the Frobenius norm, whose squares may be beyond float64 unless scaled."""
    first = exponent_of(x.astype(np.float64))
    mantissa, exponent = np.frexp(np.linalg.norm(np.ldexp(x.astype(np.float64), -first)))
    return first + int(exponent) - int(mantissa == 0.5)
