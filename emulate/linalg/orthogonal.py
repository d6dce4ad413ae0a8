"""QR factorizations, every operation rounded."""

from typing import Any, NamedTuple

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from .inputs import Fmt, check_matrix, prepare
from .machine import Machine

METHODS = ("householder", "mgs")
"""How `qr` factorizes."""


class QR(NamedTuple):
    """A = Q R.

    Args:
        q: (m, r) with r = min(m, n), orthonormal columns up to rounding.
        r: (r, n) upper trapezoidal.
    """

    q: Any
    r: Any


def qr(
    a: Any,
    fmt: Fmt = None,
    *,
    method: str = "householder",
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> QR:
    """QR factorization.

    'householder': for k = 0, 1, ..., with x the part of column k from row k on, alpha = x[0] and s its `nrm2`,

        beta = -sign(alpha) s;  d = rnd(alpha - beta);  tau = rnd(-d / beta);  v[0] = 1, v[i] = rnd(x[i] / d)
        r[k, k] = beta;         for later columns y:  w = rnd(tau * (v'y));  y[i] = rnd(y[i] - rnd(v[i] * w))

    with v'y the `dot` of v and y, and tau = 0 where x is zero beyond its first element. Q is made from the first
    columns of the identity by the same reflectors, the last one first. Column by column, A + E = Q R with ||e_j|| <=
    gamma(c m n) ||a_j|| for an exactly orthogonal Q and a small c (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., Theorem 19.4; the scaling of v is LAPACK's, dlarfg, which cannot overflow).

    'mgs': the modified Gram-Schmidt method (Higham, Algorithm 19.12), for k = 0, 1, ..., n - 1

        r[k, k] = nrm2(a[:, k]);      q[:, k] = rnd(a[:, k] / r[k, k])
        for later columns j:          r[k, j] = dot(q[:, k], a[:, j]);  a[:, j] = rnd(a[:, j] - rnd(q[:, k] * r[k, j]))

    whose residual is as small, while Q loses orthogonality in proportion to the condition number (Theorem 19.13).

    Args:
        a: (m, n), m >= n for 'mgs'; see `dot` for the other arguments.
        method: one of `METHODS`.

    Raises:
        numpy.linalg.LinAlgError: 'mgs' and a column that depends on those before; a norm that is infinite or NaN.
        ValueError: an unknown method, a wide matrix for 'mgs'.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", str(method), METHODS))
    machine, (a,) = prepare("qr", (a,), fmt, rounding, overflow, seed, order)
    q, r = (_householder if method == "householder" else _gram_schmidt)(machine, check_matrix("qr", a))
    return QR(machine.give(q), machine.give(r))


def _householder(machine: Machine, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m, n = a.shape
    r = min(m, n)
    reflectors = []
    for k in range(r):
        beta, tau, v = _reflector(machine, a[k:, k].copy(), k)
        reflectors.append((tau, v))
        a[k, k], a[k + 1 :, k] = beta, 0
        _reflect(machine, tau, v, a[k:], k + 1)
    q = np.eye(m, r, dtype=a.dtype)
    for k in range(r - 1, -1, -1):
        tau, v = reflectors[k]
        _reflect(machine, tau, v, q[k:], k)
    return q, a[:r]


def _reflector(machine: Machine, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """beta, tau and v of `qr`, with (I - tau v v') x = beta e_1."""
    alpha = x[0]
    zero = x.dtype.type(0)
    if not x[1:].any():
        _check_norm(machine, alpha, k)
        return alpha, zero, x
    beta = -np.copysign(machine.norm(x), alpha)
    d = _check_norm(machine, machine.subtract(alpha, beta), k)
    v = np.concatenate([np.ones(1, x.dtype), machine.divide(x[1:], d)])
    return beta, machine.divide(-d, beta), v


def _reflect(machine: Machine, tau: np.ndarray, v: np.ndarray, a: np.ndarray, first: int) -> None:
    """(I - tau v v') A in place, for the columns of A from `first` on."""
    if tau and first < a.shape[1]:
        w = np.zeros((1, a.shape[1]), a.dtype)
        w[:, first:] = machine.multiply(tau, machine.product(v[None], a[:, first:]))
        machine.deduct(a, v[:, None], w, first)


def _gram_schmidt(machine: Machine, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m, n = a.shape
    if m < n:
        raise ValueError(f"qr: method='mgs' needs at least as many rows as columns, got {m} x {n}; use 'householder'")
    r = np.zeros((n, n), a.dtype)
    for k in range(n):
        r[k, k] = _check_norm(machine, machine.norm(a[:, k]), k)
        if not r[k, k]:
            raise np.linalg.LinAlgError(
                f"qr: column {k} depends on those before in {machine.arithmetic!r}; use method='householder'"
            )
        a[:, k] = machine.divide(a[:, k], r[k, k])
        if k + 1 < n:
            r[k : k + 1, k + 1 :] = machine.product(a[:, k][None], a[:, k + 1 :])
            a[:, k + 1 :] = machine.update(a[:, k + 1 :], a[:, k : k + 1], r[k : k + 1, k + 1 :])
    return a, r


def _check_norm(machine: Machine, norm: np.ndarray, k: int) -> np.ndarray:
    if not np.isfinite(norm):
        raise np.linalg.LinAlgError(
            f"qr: the norm of column {k} is {norm} in {machine.arithmetic!r}; scale the matrix, or take a format of "
            "more range, e.g. 'bf16'"
        )
    return norm
