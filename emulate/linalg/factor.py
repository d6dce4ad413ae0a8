"""LU and Cholesky factorizations, and systems solved by them, every operation rounded.

They run by blocks. Of the terms that are subtracted from a number the order is that of the loops in the docstrings,
and nothing else touches the number in between: the bits are those of the loops.
"""

from typing import Any, NamedTuple

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from .inputs import Fmt, as_columns, check_matrix, check_square, prepare
from .machine import BLOCK, Machine
from .triangular import check_diagonal, substitute

_SINGULAR = ("raise", "continue")
_REMEDIES = {
    "lu": "singular='continue' goes on without one",
    "solve": "scale the matrix if it underflowed, or take a wider format",
    "refine": "if it underflowed pass scaling='two_sided', or else a wider factor=",
}
"""What to do about a pivot that is zero, by the function that was called."""


class LU(NamedTuple):
    """A[permutation] = L U.

    Args:
        l: (m, r) with r = min(m, n), unit lower trapezoidal, no entry above one in magnitude but by rounding.
        u: (r, n) upper trapezoidal.
        permutation: (m,) the row of A that each row of L U is.
        growth: max |u| / max |a|, the growth factor; 1 of an empty or a zero matrix.
    """

    l: Any  # noqa: E741
    u: Any
    permutation: np.ndarray
    growth: float


def lu(
    a: Any,
    fmt: Fmt = None,
    *,
    singular: str = "raise",
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> LU:
    """LU factorization with partial pivoting: Gaussian elimination.

        for k = 0, 1, ..., r - 1:    exchange row k with the first row i >= k of the largest |a[i, k]|
                                     a[i, k] = rnd(a[i, k] / a[k, k])                     for i > k
                                     a[i, j] = rnd(a[i, j] - rnd(a[i, k] * a[k, j]))      for i, j > k

    |A[permutation] - L U| <= gamma(n) |L||U|, componentwise (Higham, Accuracy and Stability of Numerical Algorithms,
    2nd ed., Theorem 9.3).

    Args:
        a: (m, n); see `dot` for the other arguments.
        singular: 'raise'; or 'continue' past a column without a pivot, which leaves a zero on the diagonal of U.

    Raises:
        numpy.linalg.LinAlgError: a column whose pivot is zero, infinite or NaN.

    Example:
        >>> factors = lu([[1.0, 2.0], [3.0, 4.0]], "fp16")
        >>> factors.l
        array([[1.        , 0.        ],
               [0.33325195, 1.        ]], dtype=float32)
    """
    machine, (a,) = prepare("lu", (a,), fmt, rounding, overflow, seed)
    return factored(machine, check_matrix("lu", a), singular)


def factored(machine: Machine, a: np.ndarray, singular: str = "raise", name: str = "lu") -> LU:
    """`lu` of a matrix of the format, which is overwritten; messages go by the name of the caller, see `_REMEDIES`."""
    if singular not in _SINGULAR:
        raise ValueError(unknown("choice of singular=", str(singular), _SINGULAR))
    m, n = a.shape
    r, largest = min(m, n), float(np.abs(a).max(initial=0))
    permutation = np.arange(m)
    (_by_blocks if machine.blocked else _by_columns)(machine, a, permutation, name, singular == "continue")
    lower, upper = np.tril(a[:, :r], -1), np.triu(a[:r])
    np.fill_diagonal(lower, 1)
    growth = float(np.abs(upper).max(initial=0)) / largest if largest else 1.0
    return LU(machine.give(lower), machine.give(upper), permutation, growth)


def _by_columns(machine: Machine, a: np.ndarray, permutation: np.ndarray, name: str, goes_on: bool) -> None:
    """The loops of `lu`, in place."""
    for k in range(min(a.shape)):
        pivot = k + _pivot(machine, a[k:, k], k, name, goes_on)
        a[[k, pivot]] = a[[pivot, k]]
        permutation[[k, pivot]] = permutation[[pivot, k]]
        if a[k, k]:
            a[k + 1 :, k] = machine.divide(a[k + 1 :, k], a[k, k])
            a[k + 1 :, k + 1 :] = machine.update(a[k + 1 :, k + 1 :], a[k + 1 :, k : k + 1], a[k : k + 1, k + 1 :])


def _by_blocks(machine: Machine, a: np.ndarray, permutation: np.ndarray, name: str, goes_on: bool) -> None:
    """The same numbers: what a block of columns does to those on its right is done for the whole block at once."""
    m, n = a.shape
    for left in range(0, min(m, n), BLOCK):
        right = min(left + BLOCK, m, n)
        panel = np.ascontiguousarray(a[left:, left:right].T)  # columns as rows, along which loops run in vectors
        order = _eliminate(machine, panel, left, name, goes_on)
        a[left:] = a[left:][order]
        permutation[left:] = permutation[left:][order]
        a[left:, left:right] = panel.T
        if right < n:
            block = a[left:right, left:right]
            a[left:right, right:] = substitute(machine, block, a[left:right, right:], lower=True, unit=True)
            a[right:, right:] = machine.update(a[right:, right:], a[right:, left:right], a[left:right, right:])


def _eliminate(machine: Machine, panel: np.ndarray, left: int, name: str, goes_on: bool) -> np.ndarray:
    """The loops of `lu` for a few columns, the rows of `panel`, in place; the order in which it takes the rows."""
    order = np.arange(panel.shape[1])
    for k, column in enumerate(panel):
        pivot = k + _pivot(machine, column[k:], left + k, name, goes_on)
        if pivot != k:
            panel[:, [k, pivot]] = panel[:, [pivot, k]]
            order[[k, pivot]] = order[[pivot, k]]
        if column[k]:
            column[k + 1 :] = machine.divide(column[k + 1 :], column[k])
            machine.deduct(panel[k + 1 :], panel[k + 1 :, k : k + 1], panel[k : k + 1], first=k + 1)
    return order


def _pivot(machine: Machine, column: np.ndarray, k: int, name: str, goes_on: bool) -> int:
    """Where the largest magnitude of a column is, the first of equals; the first NaN where there is one."""
    found = int(np.argmax(np.abs(column)))
    value = column[found]
    if not np.isfinite(value):
        raise np.linalg.LinAlgError(
            f"{name}: the pivot of column {k} is {value} in {machine.arithmetic!r}; scale the matrix, e.g. by "
            "refine(..., scaling='two_sided'), or take a format of more range, e.g. 'bf16'"
        )
    if value == 0 and not goes_on:
        raise np.linalg.LinAlgError(
            f"{name}: column {k} has no pivot but zero in {machine.arithmetic!r}, the matrix is singular there; "
            f"{_REMEDIES[name]}"
        )
    return found


def lu_solve(
    factors: LU,
    b: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """Solve A x = b from the factors of A: L y = b[permutation], U x = y, as in `solve_triangular`.

    (A + E) x = b with |E| <= gamma(3 n) |L||U| (Higham, Theorem 9.4).

    Args:
        factors: what `lu` gave, of a square matrix.
        b: (n,) or (n, r); see `dot` for the other arguments.

    Raises:
        numpy.linalg.LinAlgError: a zero on the diagonal of U.
    """
    machine, (lower, upper, b) = prepare("lu_solve", (factors.l, factors.u, b), fmt, rounding, overflow, seed)
    columns = as_columns("lu_solve", b, check_square("lu_solve", lower).shape[0])
    check_square("lu_solve", upper)
    return machine.give(_solved(machine, LU(lower, upper, *factors[2:]), columns).reshape(b.shape))


def solve(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """Solve A x = b: `lu`, then `lu_solve`.

    Args:
        a: (n, n).
        b: (n,) or (n, r); see `dot` for the other arguments.

    Example:
        >>> solve([[3.0, 1.0], [1.0, 2.0]], [1.0, 1.0], "fp16")
        array([0.1998291 , 0.40014648], dtype=float32)
    """
    machine, (a, b) = prepare("solve", (a, b), fmt, rounding, overflow, seed)
    columns = as_columns("solve", b, check_square("solve", a).shape[0])
    plain = Machine(machine.arithmetic, machine.draws)
    return machine.give(_solved(machine, factored(plain, a, name="solve"), columns).reshape(b.shape))


def _solved(machine: Machine, factors: LU, b: np.ndarray) -> np.ndarray:
    check_diagonal(machine, "lu_solve", factors.u)
    y = substitute(machine, factors.l, b[factors.permutation], lower=True, unit=True)
    return substitute(machine, factors.u, y, lower=False)


def cholesky(
    a: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """The Cholesky factor L of A = L L', the transpose of R in

        for k = 0, 1, ..., n - 1:    r[k, k] = rnd(sqrt(a[k, k]))
                                     r[k, j] = rnd(a[k, j] / r[k, k])                     for j > k
                                     a[i, j] = rnd(a[i, j] - rnd(r[k, i] * r[k, j]))      for i, j > k

    |A - L L'| <= gamma(n + 1) |L||L'|, componentwise (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    Theorem 10.3).

    Args:
        a: (n, n) symmetric, of which the lower triangle is read; see `dot` for the other arguments.

    Returns:
        (n, n) lower triangular, with a positive diagonal.

    Raises:
        numpy.linalg.LinAlgError: a matrix that is not positive definite, or not any more once it is rounded.
    """
    machine, (a,) = prepare("cholesky", (a,), fmt, rounding, overflow, seed)
    n = check_square("cholesky", a).shape[0]
    r = np.ascontiguousarray(a.T)
    width = BLOCK if machine.blocked else max(n, 1)
    for left in range(0, n, width):
        right = min(left + width, n)
        rows = np.ascontiguousarray(r[left:right, left:])
        if left:
            rows = machine.update(rows, r[:left, left:right].T, r[:left, left:])
        for k, row in enumerate(rows):
            _check_pivot(machine, row[k], left + k)
            row[k] = machine.sqrt(row[k])
            row[k + 1 :] = machine.divide(row[k + 1 :], row[k])
            machine.deduct(rows[k + 1 :], row[k + 1 : right - left, None], row[None], first=k + 1)
        r[left:right, left:] = rows
    return machine.give(np.ascontiguousarray(np.triu(r).T))


def _check_pivot(machine: Machine, pivot: Any, k: int) -> None:
    if pivot > 0 and np.isfinite(pivot):
        return
    if not np.isfinite(pivot):
        raise np.linalg.LinAlgError(
            f"cholesky: the pivot of column {k} is {pivot} in {machine.arithmetic!r}; scale the matrix, or take a "
            "format of more range, e.g. 'bf16'"
        )
    raise np.linalg.LinAlgError(
        f"cholesky: the pivot of column {k} is {pivot} in {machine.arithmetic!r}, the matrix is not positive definite; "
        "add a small multiple of the identity, or take a wider format"
    )
