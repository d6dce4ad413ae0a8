"""Iterative refinement in three precisions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from ..rounded.arrays import RoundedArray
from ..rounded.context import extent
from .factor import LU, factored
from .inputs import Fmt, check_count, check_lengths, check_square, check_vector, prepare
from .krylov import System, iterate
from .machine import Machine
from .scaling import Scaling, exponent_of, two_sided, unscaled
from .triangular import check_diagonal, substitute

METHODS = ("lu", "gmres")
"""How `refine` solves for a correction."""
SCALINGS = ("none", "two_sided")
"""What is done to the matrix before it is rounded to the format of its factors."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """What `refine` found.

    Args:
        x: (n,) of the working format; NaN where the first residual is not finite, as that of a b with NaN.
        converged: whether the last correction was no larger than rounding to the working format: 2 u ||x||.
        iterations: corrections, the first of them the first solution.
        corrections: (iterations,) float64, ||d|| / ||x|| of each, in the maximum norm.
        residuals: (iterations + 1,) float64, ||r|| / (||A|| ||x|| + ||b||) before each and after the last, as the
            residual precision has r: the normwise backward error.
        inner_iterations: (iterations,) steps of GMRES in each; ones for LU.
    """

    x: Any
    converged: bool
    iterations: int
    corrections: np.ndarray
    residuals: np.ndarray
    inner_iterations: np.ndarray


def refine(
    a: Any,
    b: Any,
    *,
    factor: Fmt = "fp16",
    working: Fmt = None,
    residual: Fmt = "fp64",
    method: str = "lu",
    scaling: str = "none",
    substitution: Fmt = None,
    iterations: int = 50,
    inner_tolerance: float = 1e-4,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Refinement:
    """Solve A x = b by factors of low precision and residuals of high precision.

        A = L U in `factor`;  x = 0
        repeat:  r = b - A x in `residual`, scaled, rounded to `working`
                 d from A d = r:  'lu'     L U d = r by substitution in `substitution`, rounded to `working`
                                  'gmres'  GMRES in `working` for (L U)^-1 A d = (L U)^-1 r, whose products with A
                                           and substitutions are done in `residual`
                 x = rnd(x + d) in `working`
        until ||d|| <= 2 u ||x||, or d is no longer half as large as the one before

    in the maximum norm, with u the unit roundoff of `working`. Every r is scaled by a power of two to a maximum between
    1 and 2, and d back. The forward error falls to about u, whatever the condition number k, where the residual's unit
    roundoff is below u / k: 'lu' gets there for k below about 1 / u_factor, 2e3 for fp16; 'gmres' for k far above, up
    to some 1e8 for the three defaults. The matrix is first rounded to `working`.

    Args:
        a: (n, n).
        b: (n,).
        factor, working, residual: formats, names, or arithmetics (see `halfulp.array`); working is fp32 unless a or b
            are rounded arrays, whose format it is then. Each should hold the values of the one before.
        method: one of `METHODS`.
        scaling: 'none'; or 'two_sided', rows and columns by powers of two to maxima near a tenth of the largest number
            of `factor`, without which fp16 overflows or loses small elements.
        substitution: for 'lu', the format of the substitutions; default `working`.
        iterations: at most.
        inner_tolerance: for 'gmres', of the residuals of its steps.
        rounding, overflow, seed: of `working`, see `dot`; for others pass arithmetics as formats.

    Raises:
        numpy.linalg.LinAlgError: a factorization that breaks down, by overflow or singularity in `factor`.
        ValueError: unknown names; shapes that do not go together.

    Source: Carson and Higham, SIAM J. Sci. Comput. 40(2), 2018, Algorithm 1.1 and section 2; Higham, Pranesh and
    Zounon, SIAM J. Sci. Comput. 41(4), 2019; the stopping rule as in Demmel et al., ACM TOMS 32(2), 2006.
    """
    for kind, name, known in (("method", method, METHODS), ("scaling", scaling, SCALINGS)):
        if name not in known:
            raise ValueError(unknown(kind, str(name), known))
    check_count("refine", "iterations", iterations)
    if working is None and not isinstance(a, RoundedArray) and not isinstance(b, RoundedArray):
        working = "fp32"
    machine, (a, b) = prepare("refine", (a, b), working, rounding, overflow, seed)
    check_lengths("refine", "a right-hand side", check_vector("refine", b).size, check_square("refine", a).shape[0])
    low, high = _machine(factor, seed), _machine(residual, seed)
    solver = machine if substitution is None else _machine(substitution, seed)
    scale = two_sided(a, low.arithmetic) if scaling == "two_sided" else unscaled(b.size)
    factors = factored(low, low.round(scale.matrix(a)), name="refine")
    check_diagonal(low, "refine", factors.u)
    if method == "lu":
        correct = _by_substitution(solver, factors)
    else:
        correct = _by_gmres(machine, high, factors, machine.round(scale.matrix(a)), inner_tolerance)
    return _refined(machine, high, a, b, scale, correct, iterations)


Correct = Callable[[np.ndarray], tuple[np.ndarray, int]]
"""From a scaled residual, of the working format, to the scaled correction and how many steps it took."""


def _refined(
    machine: Machine, high: Machine, a: np.ndarray, b: np.ndarray, scale: Scaling, correct: Correct, iterations: int
) -> Refinement:
    wide_a, wide_b = high.round(a), high.round(b)
    tolerance = 2 * 2.0 ** -extent(machine.arithmetic.fmt).precision
    x = np.zeros_like(b)
    corrections, residuals, steps = [], [], []
    size = _norm(np.abs(a).sum(axis=1, dtype=np.float64))
    converged = False
    while True:
        r = high.update(wide_b[:, None], wide_a, high.round(x)[:, None])[:, 0]
        scaled = size * _norm(x) + _norm(b)
        residuals.append(_norm(r) / scaled if scaled else 0.0)
        if converged or len(steps) >= iterations or _stagnates(corrections) or not np.isfinite(residuals[-1]):
            break
        shift = exponent_of(np.ldexp(r.astype(np.float64), scale.rows))
        d, count = correct(machine.round(scale.right(r, -shift)))
        d = machine.round(scale.solution(d, -shift))
        x = machine.add(x, d)
        steps.append(count)
        corrections.append(_norm(d) / _norm(x) if x.any() else _norm(d))
        converged = corrections[-1] <= tolerance
    if not steps and not np.isfinite(residuals[-1]):
        x = np.full_like(x, np.nan)
    history = np.array(corrections, np.float64), np.array(residuals, np.float64)
    return Refinement(machine.give(x), converged, len(steps), *history, np.array(steps, np.int64))


def _stagnates(corrections: list[float]) -> bool:
    return len(corrections) > 1 and not corrections[-1] <= corrections[-2] / 2


def _by_substitution(machine: Machine, factors: LU) -> Correct:
    lower, upper = machine.round(factors.l), machine.round(factors.u)

    def correct(r: np.ndarray) -> tuple[np.ndarray, int]:
        return _substituted(machine, lower, upper, machine.round(r[factors.permutation])), 1

    return correct


def _by_gmres(working: Machine, high: Machine, factors: LU, a: np.ndarray, tolerance: float) -> Correct:
    lower, upper, wide = high.round(factors.l), high.round(factors.u), high.round(a)

    def preconditioned(v: np.ndarray) -> np.ndarray:
        return working.round(_substituted(high, lower, upper, v[factors.permutation]))

    def correct(r: np.ndarray) -> tuple[np.ndarray, int]:
        right = preconditioned(high.round(r))
        system = System(lambda v: preconditioned(high.apply(wide, high.round(v))), lambda v: v, right)
        d, history, _ = iterate(working, system, r.size, tolerance, r.size)
        return d, len(history) - 1

    return correct


def _substituted(machine: Machine, lower: np.ndarray, upper: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = substitute(machine, lower, b[:, None], lower=True, unit=True)
    return substitute(machine, upper, y, lower=False)[:, 0]


def _machine(fmt: Any, seed: Any) -> Machine:
    machine, _ = prepare("refine", (), fmt, seed=seed)
    return machine


def _norm(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0))
