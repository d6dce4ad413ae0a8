"""Products of vectors and matrices, every operation rounded (BLAS levels 1 to 3)."""

from typing import Any

import numpy as np

from ...formats.rounding import Rounding
from .inputs import Fmt, check_lengths, check_vector, prepare
from .machine import Machine


def dot(
    x: Any,
    y: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Any:
    """The inner product of two vectors.

        s = 0; s = rnd(s + rnd(x[k] * y[k])) for k = 0, 1, ...

    Its error is at most gamma(n) |x|'|y| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    section 3.1).

    Args:
        x, y: (n,) plain arrays, which are rounded to the format first, or rounded ones, which need no format.
        fmt: the format of all numbers and operations, or its name; see `halfulp.array`.
        rounding, overflow: of every operation, as in `halfulp.array`.
        seed: of stochastic rounding.
        order: 'sequential'; or 'pairwise', neighbouring products first, with an error of gamma(log2 n + 1) |x|'|y|.

    Returns:
        A number of the format: float32 or float64, whichever carries it; a `RoundedArray` where an operand was one.

    Raises:
        ValueError: vectors of two lengths; an unknown name.

    Example:
        >>> dot([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], "fp16")
        np.float32(0.5996094)
    """
    machine, (x, y) = prepare("dot", (x, y), fmt, rounding, overflow, seed, order)
    check_lengths("dot", "a second vector", check_vector("dot", y).size, check_vector("dot", x).size)
    return machine.give(machine.dot(x, y))


def nrm2(
    x: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Any:
    """The 2-norm of a vector, scaled so that no square overflows.

    With max|x| in [2**(e - 1), 2**e): s = x * 2**-e, exact but for what is subnormal; then
    rnd(sqrt(sum of rnd(s[k] * s[k]))) * 2**e, the sum as in `dot`. Infinities and NaN are the norm where there are any.

    Formats without the numbers from 1/4 to 1 in full precision, integers, FP4, tables, have another e: the least one
    for which ||x||**2 / 4**e is no more than the largest number, but none so large that max|x| / 2**e is below the
    smallest one, and for integers, whose squares are exact, none below 0.

    Args:
        x: (n,); see `dot` for the other arguments.

    Returns:
        A number of the format; 0 of an empty vector.

    Source: scaling by powers of two as in Blue, ACM TOMS 4(1), 1978.
    """
    machine, (x,) = prepare("nrm2", (x,), fmt, rounding, overflow, seed, order)
    return machine.give(machine.norm(check_vector("nrm2", x)))


def axpy(
    alpha: Any,
    x: Any,
    y: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """rnd(y + rnd(alpha * x)), element by element.

    Args:
        alpha: a number.
        x, y: arrays of one shape; see `dot` for the other arguments.
    """
    machine, (alpha, x, y) = prepare("axpy", (alpha, x, y), fmt, rounding, overflow, seed)
    if alpha.ndim or x.shape != y.shape:
        raise ValueError(
            f"axpy: expected a number and two arrays of one shape, got {alpha.shape}, {x.shape}, {y.shape}"
        )
    return machine.give(machine.axpy(alpha, x, y))


def gemv(
    a: Any,
    x: Any,
    fmt: Fmt = None,
    *,
    transpose: bool = False,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Any:
    """The product of a matrix and a vector: element i is the `dot` of row i and the vector.

    |error| <= gamma(n) |A||x|, componentwise (Higham, section 3.5).

    Args:
        a: (m, n).
        x: (n,), or (m,) where transposed; see `dot` for the other arguments.
        transpose: whether the matrix is.

    Returns:
        (m,), or (n,) where transposed.
    """
    machine, (a, x) = prepare("gemv", (a, x), fmt, rounding, overflow, seed, order)
    a = _oriented("gemv", a, transpose)
    check_lengths("gemv", "a vector", check_vector("gemv", x).size, a.shape[1])
    return machine.give(machine.apply(a, x))


def gemm(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    c: Any = None,
    alpha: float | None = None,
    beta: float | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Any:
    """alpha * A B + beta * C: element (i, j) of A B is the `dot` of row i and column j.

        P = A B;  P = rnd(alpha * P) if alpha is given;  C = rnd(beta * C) if beta is;  rnd(P + C) if C is

    |error of A B| <= gamma(n) |A||B|, componentwise (Higham, section 3.5).

    Args:
        a: (m, k), or (k, m) where transposed.
        b: (k, n), or (n, k) where transposed.
        c: (m, n).
        alpha, beta: rounded to the format; see `dot` for the other arguments.

    Returns:
        (m, n).
    """
    given = [x for x in (a, b, c) if x is not None]
    machine, (a, b, *rest) = prepare("gemm", given, fmt, rounding, overflow, seed, order)
    a, b = _oriented("gemm", a, transpose_a), _oriented("gemm", b, transpose_b)
    check_lengths("gemm", "columns of the second matrix", b.shape[0], a.shape[1])
    found = _times(machine, alpha, machine.product(a, b))
    if beta is not None and c is None:
        raise ValueError("gemm: beta multiplies c; pass c=")
    if rest:
        if rest[0].shape != found.shape:
            raise ValueError(f"gemm: expected c of shape {found.shape}, got {rest[0].shape}")
        found = machine.add(found, _times(machine, beta, rest[0]))
    return machine.give(found)


def _times(machine: Machine, factor: float | None, x: np.ndarray) -> np.ndarray:
    if factor is None:
        return x
    found = machine.take(factor)
    if found.ndim:
        raise ValueError(
            f"gemm: expected numbers alpha and beta, got one of shape {found.shape}; scale a, b or c by it"
        )
    return machine.multiply(found, x)


def _oriented(name: str, a: np.ndarray, transpose: bool) -> np.ndarray:
    if a.ndim != 2:
        raise ValueError(f"{name}: expected a matrix, got shape {a.shape}")
    return a.T if transpose else a
