"""QR factorizations: the loops, the bounds, orthogonality."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import condition_number, factorization_error, orthogonality, unit_roundoff
from halfulp.emulate.linalg.inputs import prepare
from halfulp.emulate.rounded.context import arithmetic

from .textbook import Loops, dot, same


def matrix(m, n, fmt, kappa=None, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, n))
    if kappa:
        u, _, v = np.linalg.svd(a, full_matrices=False)
        a = u * np.logspace(0, -np.log10(kappa), min(m, n)) @ v
    return prepare("test", (a,), fmt)[1][0]


@pytest.mark.parametrize(("fmt", "rounding"), [("fp16", "nearest_even"), ("bf16", "up")])
def test_householder_is_the_loop(fmt, rounding):
    ar, m, n = arithmetic(fmt, rounding), 7, 5
    loops, a = Loops(ar), matrix(7, 5, fmt)
    found = linalg.qr(a, ar)
    r, q, reflectors = a.copy(), np.eye(m, n, dtype=a.dtype), []
    for k in range(n):
        x = r[k:, k].copy()
        beta = -np.copysign(linalg.nrm2(x, ar), x[0])
        d = loops.do("subtract", x[0], beta)
        tau, v = loops.do("divide", -d, beta), loops.do("divide", x, d)
        v[0] = 1
        reflectors.append((tau, v))
        r[k, k], r[k + 1 :, k] = beta, 0
        reflect(loops, tau, v, r[k:, k + 1 :])
    for k in reversed(range(n)):
        reflect(loops, *reflectors[k], q[k:, k:])
    assert same(found.r, r[:n])
    assert same(found.q, q)


def reflect(loops, tau, v, a):
    for y in a.T:
        w = loops.do("multiply", tau, np.asarray(dot(loops.arithmetic, v, y), a.dtype))
        y[:] = loops.minus_product(y, v, w)


def test_gram_schmidt_is_the_loop():
    ar = arithmetic("fp16")
    loops, a = Loops(ar), matrix(7, 5, "fp16")
    q, r = a.copy(), np.zeros((5, 5), a.dtype)
    for k in range(5):
        r[k, k] = linalg.nrm2(q[:, k], "fp16")
        q[:, k] = loops.do("divide", q[:, k], r[k, k])
        for j in range(k + 1, 5):
            r[k, j] = dot(ar, q[:, k], q[:, j])
            q[:, j] = loops.minus_product(q[:, j], q[:, k], r[k, j])
    found = linalg.qr(a, "fp16", method="mgs")
    assert same(found.q, q)
    assert same(found.r, r)


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
@pytest.mark.parametrize("shape", [(30, 20), (20, 20), (20, 30)])
def test_householder_is_backward_stable(fmt, shape):
    """Column by column, ||e_j|| <= gamma(c m n) ||a_j||: the constant of the proof is c = 12 or so; 1 is met."""
    a, u = matrix(*shape, fmt, 30), unit_roundoff(fmt)
    found = linalg.qr(a, fmt)
    m, n = shape
    assert 0 < factorization_error(a, found, kind="componentwise") <= m * n * u
    assert 0 < orthogonality(found.q) <= np.sqrt(n) * m * u
    assert found.q.shape == (m, min(m, n))
    assert found.r.shape == (min(m, n), n)
    assert not np.tril(found.r, -1).any()


def test_gram_schmidt_loses_orthogonality_with_the_condition_number():
    u = unit_roundoff("fp32")
    lost = []
    for kappa in (1e1, 1e3, 1e5):
        a = matrix(40, 20, "fp32", kappa)
        found = linalg.qr(a, "fp32", method="mgs")
        lost.append(orthogonality(found.q))
        assert factorization_error(a, found) <= 20 * u
        assert lost[-1] <= 40 * 20 * u * condition_number(a.astype(float).T @ a) ** 0.5
        assert orthogonality(linalg.qr(a, "fp32").q) <= 40 * u
    assert lost[2] > 10 * lost[1] > 100 * lost[0]


def test_special_columns():
    a = matrix(4, 3, "fp16")
    a[:, 0] = [2, 0, 0, 0]
    a[:, 1] = 0
    found = linalg.qr(a, "fp16")
    assert found.r[0, 0] == 2
    assert found.r[:, 1].tolist() == [0, 0, 0]
    assert orthogonality(found.q) < 0.01
    with pytest.raises(np.linalg.LinAlgError, match="column 1 depends on those before in binary16; use method='house"):
        linalg.qr(a, "fp16", method="mgs")
    for bad in (np.inf, np.nan, 4e4):  # with the last, d overflows
        a[2:, 2] = bad
        with pytest.raises(np.linalg.LinAlgError, match=r"norm of column 2 is -?(inf|nan) in binary16; scale the m"):
            linalg.qr(a, "fp16")


def test_empty_matrices():
    assert linalg.qr(np.zeros((3, 0)), "fp16").q.shape == (3, 0)
    assert linalg.qr(np.zeros((0, 3)), "fp16").r.shape == (0, 3)
    assert linalg.qr(np.zeros((3, 0)), "fp16", method="mgs").q.shape == (3, 0)
