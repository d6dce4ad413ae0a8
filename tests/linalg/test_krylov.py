"""Conjugate gradients and GMRES."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import backward_error
from halfulp.emulate.linalg.krylov import _met
from halfulp.emulate.rounded.arrays import RoundedArray
from halfulp.emulate.rounded.context import arithmetic

from .textbook import Loops, dot, same

RNG = np.random.default_rng(3)
N = 40
ROOT = RNG.standard_normal((N, 2 * N))
S = ROOT @ ROOT.T / (2 * N) + 0.1 * np.eye(N)
A = S + 0.3 * RNG.standard_normal((N, N)) / np.sqrt(N)
B = RNG.standard_normal(N)


@pytest.mark.parametrize("method", [linalg.cg, linalg.gmres])
@pytest.mark.parametrize(("fmt", "tolerance"), [("fp64", 1e-12), ("fp32", 1e-6), ("fp16", 1e-2), ("bf16", 5e-2)])
def test_convergence(method, fmt, tolerance):
    a = S if method is linalg.cg else A
    found = method(a, B, fmt, tolerance=tolerance)
    assert found.converged
    assert found.reason == "converged"
    assert found.iterations == len(found.residuals) - 1 <= N
    assert found.residuals[0] == 1
    assert found.residuals[-1] <= tolerance
    assert backward_error(a, found.x, B, p=2) <= 2 * tolerance
    if method is linalg.gmres:  # it minimizes the residual
        assert (np.diff(found.residuals) <= 0).all()


def test_cg_is_the_loop():
    ar = arithmetic("fp16")
    loops = Loops(ar)
    a, b = (x.astype(np.float32) for x in (np.round(S[:6, :6] * 8) / 8, np.round(B[:6] * 8) / 8))
    found = linalg.cg(a, b, "fp16", iterations=3, tolerance=0)

    def inner(x, y):
        return np.float32(dot(ar, x, y))

    x, r = np.zeros(6, np.float32), b
    p, rho = r, inner(r, r)
    for _ in range(3):
        q = np.array([inner(row, p) for row in a])
        alpha = loops.do("divide", rho, inner(p, q))
        x = loops.do("add", x, loops.do("multiply", alpha, p))
        r = loops.minus_product(r, alpha, q)
        rho, before = inner(r, r), rho
        beta = loops.do("divide", rho, before)
        p = loops.do("add", r, loops.do("multiply", beta, p))
    assert same(found.x, x)


def test_preconditioners_and_functions():
    scale = np.logspace(0, 2, N)
    a, b = S * scale * scale[:, None], B * scale
    plain = linalg.cg(a, b, "fp32", tolerance=1e-4, iterations=60)
    m = np.diag(1 / np.diag(a))
    jacobi = linalg.cg(a, b, "fp32", tolerance=1e-4, iterations=60, preconditioner=m)
    assert jacobi.converged
    assert jacobi.iterations < plain.iterations
    called = linalg.cg(
        lambda x: x.dot(a.T) if isinstance(x, RoundedArray) else None, b, "fp32", tolerance=1e-4, iterations=60,
        preconditioner=lambda r: r / np.diag(a),
    )  # fmt: skip
    assert called.converged
    assert abs(called.iterations - jacobi.iterations) <= 1
    both = linalg.gmres(a, b, "fp32", tolerance=1e-4, preconditioner=m)
    assert both.converged
    assert both.iterations < linalg.gmres(a, b, "fp32", tolerance=1e-4).iterations


def test_restarts_and_first_iterates():
    once = linalg.gmres(A, B, "fp32", tolerance=1e-5)
    often = linalg.gmres(A, B, "fp32", tolerance=1e-5, restart=7, iterations=200)
    assert often.converged
    assert often.iterations > once.iterations
    for method in (linalg.cg, linalg.gmres):
        near = method(S, B, "fp32", x0=np.linalg.solve(S, B), tolerance=1e-4)
        assert near.converged
        assert near.iterations == 0


def test_breakdowns():
    assert linalg.cg(-S, B, "fp16").reason == "breakdown"  # not positive definite
    assert linalg.cg(S, B, "fp16", iterations=2, tolerance=1e-9).reason == "iterations"
    assert linalg.gmres(A, B, "fp16", iterations=2, tolerance=1e-9).reason == "iterations"
    for method in (linalg.cg, linalg.gmres):
        b = B.copy()
        b[0] = np.nan
        found = method(S, b, "fp16")
        assert found.reason == "breakdown"
        assert not found.converged
        assert method(S, 0 * B, "fp16").converged
        assert method(np.zeros((0, 0)), np.zeros(0), "fp16").x.shape == (0,)
    singular = linalg.gmres(np.diag([1.0, 0.0]), [1.0, 1.0], "fp16", iterations=6)
    assert singular.reason == "breakdown"
    assert np.isfinite(singular.x).all()
    assert linalg.gmres(np.zeros((2, 2)), [1.0, 1.0], "fp16").reason == "breakdown"


@pytest.mark.parametrize("method", [linalg.cg, linalg.gmres])
@pytest.mark.parametrize(("fmt", "b"), [("int8", [3.0, 4.0]), ("int16", [30.0, 40.0]), ("fp4_e2m1", [3.0, 4.0])])
def test_narrow_formats_converge_to_the_solution_or_not_at_all(method, fmt, b):
    found = method(np.eye(2), b, fmt)
    assert found.residuals[0] == 1
    if method is linalg.cg and fmt == "int16":
        assert found.x.tolist() == b
    assert not found.converged or found.x.tolist() == b


def test_a_norm_that_underflows_is_no_convergence():
    assert _met(0.0, np.zeros(2), 1e-3)
    assert not _met(0.0, np.array([0.0, 1.0]), 1e-3)
    assert not _met(np.nan, np.zeros(2), 1e-3)


def test_gmres_ends_where_the_space_does():
    found = linalg.gmres(2 * np.eye(5), np.arange(5.0), "fp16")
    assert found.converged
    assert found.iterations == 1
    assert found.x.tolist() == [0, 0.5, 1, 1.5, 2]
