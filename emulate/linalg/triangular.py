"""Triangular systems by substitution, every operation rounded."""

from typing import Any

import numpy as np

from ...formats.rounding import Rounding
from .inputs import Fmt, as_columns, check_square, prepare
from .machine import BLOCK, Machine


def solve_triangular(
    t: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    lower: bool = False,
    transpose: bool = False,
    unit_diagonal: bool = False,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """Solve T x = b by substitution.

    An unknown that is found is eliminated from the equations that follow (the column-oriented form). For lower T, and
    in the other direction for upper T:

        for j = 0, 1, ..., n - 1:    x[j] = rnd(b[j] / t[j, j])
                                     b[i] = rnd(b[i] - rnd(t[i, j] * x[j])) for i > j

    So (T + E) x = b with |E| <= gamma(n) |T|, componentwise, whatever the order (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., Theorem 8.5).

    Args:
        t: (n, n), of which one triangle is read; plain or rounded, as for `dot`.
        b: (n,), or (n, r) right-hand sides.
        fmt, rounding, overflow, seed: see `dot`.
        lower: whether the lower triangle is read, instead of the upper one.
        transpose: solve T' x = b.
        unit_diagonal: take the diagonal for ones.

    Returns:
        x in the shape of b.

    Raises:
        numpy.linalg.LinAlgError: a zero on the diagonal.
        ValueError: shapes that do not go together.
    """
    machine, (t, b) = prepare("solve_triangular", (t, b), fmt, rounding, overflow, seed)
    columns = as_columns("solve_triangular", b, check_square("solve_triangular", t).shape[0])
    if not unit_diagonal:
        check_diagonal(machine, "solve_triangular", t)
    found = substitute(machine, t.T if transpose else t, columns, lower != transpose, unit_diagonal)
    return machine.give(found.reshape(b.shape))


def check_diagonal(machine: Machine, name: str, t: np.ndarray) -> None:
    """Raise where the diagonal has a zero."""
    zero = np.flatnonzero(t.diagonal() == 0)
    if zero.size:
        raise np.linalg.LinAlgError(
            f"{name}: the diagonal is zero in {machine.arithmetic!r} at row {zero[0]}: the matrix is singular; "
            "scale it if it underflowed, or take a wider format"
        )


def substitute(machine: Machine, t: np.ndarray, b: np.ndarray, lower: bool, unit: bool = False) -> np.ndarray:
    """The (n, r) solution of `solve_triangular`, a new array."""
    if not lower:  # a lower system, read from its end
        return substitute(machine, t[::-1, ::-1], b[::-1], True, unit)[::-1]
    x, n = np.array(b, order="C"), len(b)
    width = BLOCK if machine.blocked else max(n, 1)
    for left in range(0, n, width):
        right = min(left + width, n)
        for j in range(left, right):
            if not unit:
                x[j] = machine.divide(x[j], t[j, j])
            machine.deduct(x[j + 1 : right], t[j + 1 : right, j : j + 1], x[j : j + 1])
        if right < n:
            x[right:] = machine.update(x[right:], t[right:, left:right], x[left:right])
    return x
