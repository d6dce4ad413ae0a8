"""Conjugate gradients and GMRES, every operation rounded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...formats.rounding import Rounding
from .inputs import Fmt, check_count, check_lengths, check_square, check_vector, prepare
from .machine import Machine
from .triangular import substitute

Operator = Callable[[np.ndarray], np.ndarray]
"""From a vector of the machine to one."""


@dataclass(frozen=True, slots=True)
class KrylovResult:
    """What an iterative method found.

    Args:
        x: (n,) the last iterate, of the format.
        converged: whether the residual fell to the tolerance; a norm that underflowed to zero does not count.
        iterations: steps taken, each with one product with the matrix.
        residuals: (iterations + 1,) float64, the norms of the residuals as the method itself computed them, relative to
            the norm of the right-hand side. The true residual may differ: see `analysis.backward_error`.
        reason: why it stopped: 'converged', 'iterations', 'breakdown' (a division by what is no positive number).
    """

    x: Any
    converged: bool
    iterations: int
    residuals: np.ndarray
    reason: str


def cg(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    x0: Any = None,
    preconditioner: Any = None,
    tolerance: float = 1e-3,
    iterations: int | None = None,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> KrylovResult:
    """The preconditioned conjugate gradient method for symmetric positive definite matrices.

        r = b - A x;  z = M r;  p = z;  rho = r'z
        repeat:  q = A p;  alpha = rnd(rho / p'q);  x = rnd(x + rnd(alpha p));  r = rnd(r - rnd(alpha q))
                 z = M r;  rho' = r'z;  beta = rnd(rho' / rho);  p = rnd(z + rnd(beta p));  rho = rho'

    Products as in `gemv` and `dot`, norms as in `nrm2`; the first residual is rnd(b - A x), and b where x is zero.

    Args:
        a: (n, n), or a function of a `RoundedArray` (n,) that gives their product.
        b: (n,); see `dot` for the other arguments.
        x0: (n,) where it starts; default zero.
        preconditioner: (n, n) M, an approximate inverse, or a function of a `RoundedArray`.
        tolerance: of the norm of the recursive residual relative to that of b.
        iterations: at most; default 2 n.

    Source: Hestenes and Stiefel 1952; Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., Algorithm 9.1.
    """
    if iterations is not None:
        check_count("cg", "iterations", iterations)
    machine, system = _system("cg", a, b, x0, preconditioner, fmt, rounding, overflow, seed, order)
    x, r = system.start(machine)
    size = machine.norm(system.b)
    history = [_relative(machine.norm(r), size)]
    if _met(history[0], r, tolerance):
        return _result(machine, x, history, "converged")
    z = system.preconditioned(r)
    p, rho = z, machine.dot(r, z)
    for _ in range(2 * x.size if iterations is None else iterations):
        q = system.apply(p)
        curvature = machine.dot(p, q)
        if not (curvature > 0 and rho > 0):  # NaN too
            return _result(machine, x, history, "breakdown")
        alpha = machine.divide(rho, curvature)
        x, r = machine.axpy(alpha, p, x), machine.minus(alpha, q, r)
        history.append(_relative(machine.norm(r), size))
        if _met(history[-1], r, tolerance):
            return _result(machine, x, history, "converged")
        z = system.preconditioned(r)
        rho, before = machine.dot(r, z), rho
        p = machine.axpy(machine.divide(rho, before), p, z)
    return _result(machine, x, history, "iterations")


def gmres(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    x0: Any = None,
    preconditioner: Any = None,
    restart: int | None = None,
    tolerance: float = 1e-3,
    iterations: int | None = None,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> KrylovResult:
    """GMRES, restarted, preconditioned from the left.

        r = M (b - A x);  v_0 = rnd(r / ||r||);  for j = 0, 1, ... until the restart:
            w = M (A v_j);  for i = 0, ..., j:  h[i, j] = dot(w, v_i);  w = rnd(w - rnd(h[i, j] v_i))     (MGS Arnoldi)
            h[j + 1, j] = ||w||;  v_(j + 1) = rnd(w / ||w||)
            column j takes the rotations of those before, then one with rho = nrm2(h[j, j], h[j + 1, j]),
            c = rnd(h[j, j] / rho), s = rnd(h[j + 1, j] / rho), that makes it triangular; so does the right-hand side
        y by `solve_triangular`;  x = rnd(x + rnd(y_j v_j)) for j = 0, 1, ...

    A rotation of (f, g) gives rnd(rnd(c f) + rnd(s g)) and rnd(rnd(c g) - rnd(s f)).

    Args:
        a: (n, n), or a function of a `RoundedArray` (n,) that gives their product.
        b: (n,); see `dot` for the other arguments.
        x0: (n,) where it starts; default zero.
        preconditioner: (n, n) M, an approximate inverse, or a function of a `RoundedArray`.
        restart: steps before a restart; default n.
        tolerance: of the norm of the preconditioned residual, relative to that of M b.
        iterations: at most, over all restarts; default 2 n.

    Returns:
        A `KrylovResult`, whose residuals are those of the preconditioned system.

    Source: Saad and Schultz 1986; Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., Algorithm 9.4.
    """
    machine, system = _system("gmres", a, b, x0, preconditioner, fmt, rounding, overflow, seed, order)
    n = system.b.size
    limit = 2 * n if iterations is None else iterations
    check_count("gmres", "iterations", limit)
    if restart is not None and restart < 1:
        raise ValueError(f"gmres: expected a restart after at least 1 step, got {restart}")
    x, history, reason = iterate(machine, system, n if restart is None else restart, tolerance, limit)
    return _result(machine, x, history, reason)


@dataclass(frozen=True, slots=True)
class System:
    """M A x = M b.

    Args:
        apply, preconditioned: A x and M x.
        b: (n,) the right-hand side.
        x0: (n,) where to start; None for zero.
    """

    apply: Operator
    preconditioned: Operator
    b: np.ndarray
    x0: np.ndarray | None = None

    def start(self, machine: Machine) -> tuple[np.ndarray, np.ndarray]:
        """The first iterate and its residual."""
        if self.x0 is None:
            return np.zeros_like(self.b), self.b
        return self.x0, machine.subtract(self.b, self.apply(self.x0))


def iterate(
    machine: Machine, system: System, restart: int, tolerance: float, limit: int
) -> tuple[np.ndarray, list[float], str]:
    """The last iterate of `gmres`, the history of its residuals, and why it stopped."""
    x, r = system.start(machine)
    size = machine.norm(system.preconditioned(system.b))
    r = system.preconditioned(r)
    history = [_relative(machine.norm(r), size)]
    while not _met(history[-1], r, tolerance) and len(history) <= limit:
        norm = machine.norm(r)
        if not np.isfinite(norm) or not norm:
            return x, history, "breakdown"
        cycle = _Cycle(machine, system, r, norm)
        steps = min(restart, limit + 1 - len(history))
        for _ in range(steps):
            history.append(_relative(cycle.step(), size))
            if cycle.ended or not history[-1] > tolerance:
                break
        if not cycle.columns:
            return x, history, "breakdown"
        found = cycle.solution(x)
        if not np.isfinite(history[-1]) or not np.isfinite(found).all():
            return x, history, "breakdown"
        x = found
        if 0 < history[-1] <= tolerance:
            return x, history, "converged"
        r = system.preconditioned(machine.subtract(system.b, system.apply(x)))
        if history[-1] == 0:  # the end of the space, or an estimate that underflowed
            history[-1] = _relative(machine.norm(r), size)
    return x, history, "converged" if _met(history[-1], r, tolerance) else "iterations"


class _Cycle:
    """The steps of GMRES between two restarts."""

    def __init__(self, machine: Machine, system: System, r: np.ndarray, norm: np.ndarray) -> None:
        self.machine, self.system = machine, system
        self.basis = [machine.divide(r, norm)]
        self.columns: list[np.ndarray] = []
        self.rotations: list[tuple[np.ndarray, np.ndarray]] = []
        self.right = [norm]
        self.ended = False

    def step(self) -> np.ndarray:
        """One more vector of the basis; the norm of the residual."""
        machine = self.machine
        w = self.system.preconditioned(self.system.apply(self.basis[-1]))
        column = []
        for v in self.basis:
            column.append(machine.dot(w, v))
            w = machine.minus(column[-1], v, w)
        norm = machine.norm(w)
        for j, rotation in enumerate(self.rotations):
            column[j], column[j + 1] = self._rotated(rotation, column[j], column[j + 1])
        rho = machine.norm(np.array([column[-1], norm]))
        self.ended = not (norm > 0 and rho > 0 and np.isfinite(norm))  # the space is exhausted, or there is a NaN
        if rho == 0:  # a singular matrix: the column adds nothing
            return np.abs(self.right[-1])
        rotation = machine.divide(column[-1], rho), machine.divide(norm, rho)
        column[-1] = rho
        last, rest = self._rotated(rotation, self.right[-1], machine.dtype.type(0))
        self.right[-1:] = [last, rest]
        self.rotations.append(rotation)
        self.columns.append(np.array(column))
        if not self.ended:
            self.basis.append(machine.divide(w, norm))
        return np.abs(rest)

    def solution(self, x: np.ndarray) -> np.ndarray:
        """The iterate with the smallest residual."""
        count = len(self.columns)
        r = np.zeros((count, count), self.machine.dtype)
        for j, column in enumerate(self.columns):
            r[: j + 1, j] = column
        y = substitute(self.machine, r, np.array(self.right[:count], r.dtype)[:, None], lower=False)[:, 0]
        for factor, v in zip(y, self.basis):
            x = self.machine.axpy(factor, v, x)
        return x

    def _rotated(self, rotation: tuple[np.ndarray, np.ndarray], f: np.ndarray, g: np.ndarray) -> tuple[Any, Any]:
        machine, (c, s) = self.machine, rotation
        first = machine.add(machine.multiply(c, f), machine.multiply(s, g))
        return first, machine.subtract(machine.multiply(c, g), machine.multiply(s, f))


def _system(
    name: str,
    a: Any,
    b: Any,
    x0: Any,
    preconditioner: Any,
    fmt: Fmt,
    rounding: Any,
    overflow: Any,
    seed: Any,
    order: str,
) -> tuple[Machine, System]:
    """The checked arguments: matrices and vectors rounded, functions called with rounded arrays."""
    given = {"a": a, "b": b, "x0": x0, "m": preconditioner}
    arrays = {key: x for key, x in given.items() if x is not None and not callable(x)}
    machine, values = prepare(name, list(arrays.values()), fmt, rounding, overflow, seed, order)
    found = dict(zip(arrays, values))
    n = check_vector(name, found["b"]).size
    if "x0" in found:
        check_lengths(name, "a first iterate", check_vector(name, found["x0"]).size, n)
    identity: Operator = lambda x: x  # noqa: E731
    preconditioned = identity if preconditioner is None else _operator(name, machine, found.get("m", preconditioner), n)
    return machine, System(_operator(name, machine, found.get("a", a), n), preconditioned, found["b"], found.get("x0"))


def _operator(name: str, machine: Machine, a: Any, n: int) -> Operator:
    if not callable(a):
        check_lengths(name, "a right-hand side", n, check_square(name, a).shape[0])
        return lambda x: machine.apply(a, x)

    def called(x: np.ndarray) -> np.ndarray:
        found = machine.take(a(machine.hand(x)))
        check_lengths(name, "the vector that the function returns", check_vector(name, found).size, n)
        return found

    return called


def _met(relative: float, r: np.ndarray, tolerance: float) -> bool:
    """Whether a residual is small; a norm of zero says so of zeros only."""
    return relative <= tolerance and (relative > 0 or not r.any())


def _relative(norm: np.ndarray, size: np.ndarray) -> float:
    return float(norm) / float(size) if size else float(norm)


def _result(machine: Machine, x: np.ndarray, history: list[float], reason: str) -> KrylovResult:
    return KrylovResult(machine.give(x), reason == "converged", len(history) - 1, np.array(history), reason)
