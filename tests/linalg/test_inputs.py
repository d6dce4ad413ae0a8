"""What every algorithm takes and gives, and what it says to the rest."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate import linalg
from halfulp.emulate.rounded.arrays import RoundedArray, array
from halfulp.emulate.rounded.context import arithmetic

from .textbook import same

A = np.random.default_rng(0).standard_normal((6, 6))
S = A @ A.T + np.eye(6)
B = np.arange(1.0, 7)
CALLS = {
    "dot": lambda a, s, b, *f, **k: linalg.dot(b, b, *f, **k),
    "nrm2": lambda a, s, b, *f, **k: linalg.nrm2(b, *f, **k),
    "axpy": lambda a, s, b, *f, **k: linalg.axpy(0.5, b, b, *f, **k),
    "gemv": lambda a, s, b, *f, **k: linalg.gemv(a, b, *f, **k),
    "gemm": lambda a, s, b, *f, **k: linalg.gemm(a, s, *f, **k),
    "solve_triangular": lambda a, s, b, *f, **k: linalg.solve_triangular(s, b, *f, **k),
    "lu": lambda a, s, b, *f, **k: linalg.lu(a, *f, **k).u,
    "solve": lambda a, s, b, *f, **k: linalg.solve(a, b, *f, **k),
    "cholesky": lambda a, s, b, *f, **k: linalg.cholesky(s, *f, **k),
    "qr": lambda a, s, b, *f, **k: linalg.qr(a, *f, **k).r,
    "mgs": lambda a, s, b, *f, **k: linalg.qr(a, *f, method="mgs", **k).q,
    "cg": lambda a, s, b, *f, **k: linalg.cg(s, b, *f, iterations=3, **k).x,
    "gmres": lambda a, s, b, *f, **k: linalg.gmres(s, b, *f, iterations=3, restart=2, **k).x,
    "polar": lambda a, s, b, *f, **k: linalg.polar(a, *f, steps=2, **k),
    "sum": lambda a, s, b, *f, **k: linalg.sum(a, *f, **k),
    "euler": lambda a, s, b, *f, **k: linalg.euler(lambda t, y: -y, b, *f, step=0.1, steps=2, **k).y,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("rounding", ["nearest_even", "up"])
def test_rounded_arrays_in_rounded_arrays_out(name, rounding):
    call = CALLS[name]
    plain = call(A, S, B, "fp16", rounding=rounding)
    rounded = call(*(array(x, "fp16", rounding=rounding) for x in (A, S, B)))
    assert isinstance(rounded, RoundedArray)
    assert rounded.arithmetic == arithmetic("fp16", rounding)
    assert isinstance(plain, np.ndarray | np.float32)
    assert plain.dtype == np.float32
    assert same(plain, rounded.values) or (name == "axpy" and rounding == "up")  # 0.5 is exact, the rest is the same


@pytest.mark.parametrize("name", CALLS)
def test_stochastic_rounding_is_reproducible_and_needs_a_seed(name):
    call = CALLS[name]
    first, again, *others = (
        call(A, S, B, "fp8_e5m2", rounding="stochastic", seed=seed)
        for seed in (1, 1, *range(2, 12 if name == "nrm2" else 6))
    )
    assert same(first, again)
    assert not all(same(first, other) for other in others)
    with pytest.raises(ValueError, match="stochastic rounding needs seed="):
        call(A, S, B, "fp8_e5m2", rounding="stochastic")


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_overwritten(name):
    a, s, b = (array(x, "fp16") for x in (A, S, B))
    copies = [x.values.copy() for x in (a, s, b)]
    CALLS[name](a, s, b)
    assert all(same(x.values, copy) for x, copy in zip((a, s, b), copies))


def test_draws_are_shared():
    x = array(A, "fp16", rounding="stochastic", seed=4)
    before = x.draws.step
    found = linalg.gemm(x, x)
    assert found.draws is x.draws
    assert x.draws.step == before + 12


def test_a_given_format_converts():
    x = array(B, "fp32", rounding="up")
    assert linalg.nrm2(x, "bf16").arithmetic == arithmetic("bf16", "up")
    assert linalg.nrm2(x, "bf16", rounding="down").arithmetic == arithmetic("bf16", "down")
    assert linalg.gemv(array(A, "bf16"), array(B, "fp8_e5m2")).arithmetic == arithmetic("bf16")
    with pytest.raises(TypeError, match="two roundings"):
        linalg.gemv(array(A, "fp32"), x)


def test_complete_messages():
    with pytest.raises(TypeError, match="dot needs a format; pass fmt='fp16', or arrays made by halfulp.array"):
        linalg.dot(B, B)
    with pytest.raises(TypeError, match=r"dot computes on NumPy arrays, got one of torch; pass np.asarray\(x\)"):
        linalg.dot(torch.ones(3), B, "fp16")
    with pytest.raises(TypeError, match="got one of jax"):
        linalg.lu(jnp.ones((3, 3)), "fp16")
    with pytest.raises(TypeError, match="expected real numbers, got complex"):
        linalg.solve(A + 1j, B, "fp16")
    with pytest.raises(ValueError, match="unknown order 'pairwis'; did you mean 'pairwise'"):
        linalg.dot(B, B, "fp16", order="pairwis")
    with pytest.raises(TypeError, match="mxfp4 is more than a set of numbers"):
        linalg.lu(A, "mxfp4")


SHAPES = [
    (lambda: linalg.dot(B, B[:3], "fp16"), "dot: expected a second vector of length 6, got 3"),
    (lambda: linalg.dot(A, A, "fp16"), "dot: expected a vector, got shape"),
    (lambda: linalg.nrm2(A, "fp16"), r"nrm2: expected a vector, got shape \(6, 6\); pass x.ravel\(\)"),
    (lambda: linalg.axpy(B, B, B, "fp16"), "axpy: expected a number and two arrays of one shape"),
    (lambda: linalg.gemv(A, B[:3], "fp16"), "gemv: expected a vector of length 6, got 3"),
    (lambda: linalg.gemv(B, B, "fp16"), "gemv: expected a matrix, got shape"),
    (lambda: linalg.gemm(A, A[:3], "fp16"), "gemm: expected columns of the second matrix of length 6, got 3"),
    (lambda: linalg.gemm(A, A, "fp16", c=B), r"gemm: expected c of shape \(6, 6\), got \(6,\)"),
    (lambda: linalg.gemm(A, A, "fp16", beta=2.0), "gemm: beta multiplies c; pass c="),
    (lambda: linalg.lu(B, "fp16"), r"lu: expected a matrix, got shape \(6,\)"),
    (lambda: linalg.solve(A[:4], B[:4], "fp16"), r"solve: expected a square matrix, got shape \(4, 6\)"),
    (lambda: linalg.solve(A, B[:4], "fp16"), "solve: expected a right-hand side of length 6, got 4"),
    (lambda: linalg.solve(A, A[None], "fp16"), r"solve: expected a right-hand side of shape \(n,\) or \(n, r\)"),
    (lambda: linalg.cholesky(A[:4], "fp16"), "cholesky: expected a square matrix"),
    (lambda: linalg.solve_triangular(A[:4], B, "fp16"), "solve_triangular: expected a square matrix"),
    (lambda: linalg.qr(A, "fp16", method="givens"), "unknown method 'givens'; known: householder, mgs"),
    (lambda: linalg.qr(A[:4], "fp16", method="mgs"), "method='mgs' needs at least as many rows as columns, got 4 x 6"),
    (lambda: linalg.cg(A[:4], B, "fp16"), "cg: expected a square matrix"),
    (lambda: linalg.cg(A, B[:4], "fp16"), "cg: expected a right-hand side of length 6, got 4"),
    (lambda: linalg.cg(lambda x: x[:2], B, "fp16"), "cg: expected the vector that the function returns of length 6"),
    (lambda: linalg.gmres(A, B, "fp16", x0=B[:2]), "gmres: expected a first iterate of length 6, got 2"),
    (lambda: linalg.cg(S, B, "fp16", iterations=-3), "cg: expected iterations=0 or more, an integer, got -3"),
    (lambda: linalg.gmres(A, B, "fp16", iterations=-3), "gmres: expected iterations=0 or more, an integer, got -3"),
    (lambda: linalg.refine(A, B, iterations=2.5), "refine: expected iterations=0 or more, an integer, got 2.5"),
    (lambda: linalg.polar(A, "fp16", steps=-1), "polar: expected steps=0 or more, an integer, got -1"),
    (lambda: linalg.polar_express(steps=-1), "polar_express: expected steps=0 or more"),
    (lambda: linalg.rk4(lambda t, y: y, 1.0, "fp16", step=1, steps=-2), "runge_kutta: expected steps=0 or more"),
    (lambda: linalg.fft(B[:4], "fp16", axis=3), "fft: expected one axis of 1, an integer from -1 to 0, got 3"),
    (lambda: linalg.sum(A, "fp16", axis=(0, 1)), r"sum: expected one axis of 2, an integer from -2 to 1, got \(0, 1\)"),
    (lambda: linalg.gemm(A, A, "fp16", alpha=B), r"gemm: expected numbers alpha and beta, got one of shape \(6,\)"),
    (lambda: linalg.two_sum(B, B[:2], "fp16"), r"two_sum: expected arrays of one shape, got \(6,\) and \(2,\)"),
    (lambda: linalg.gmres(A, B, "fp16", restart=0), "gmres: expected a restart after at least 1 step, got 0"),
    (lambda: linalg.refine(A, B, method="qr"), "unknown method 'qr'; known: lu, gmres"),
    (lambda: linalg.refine(A, B, scaling="both"), "unknown scaling 'both'; known: none, two_sided"),
    (lambda: linalg.refine(A, A), "refine: expected a vector"),
    (lambda: linalg.polar(A, "fp16", method="newton"), "unknown method 'newton'; did you mean 'newton_schulz'"),
    (lambda: linalg.polar_express(0.0), "expected 0 < lower <= 1"),
    (lambda: linalg.fft(B, "fp16"), "fft: expected a length that is a power of two, got 6; pad with zeros to 8"),
    (lambda: linalg.ifft([], "fp16"), "ifft: expected a length that is a power of two, got 0"),
    (lambda: linalg.fft(1.0, "fp16"), "fft: expected arrays of one shape, with an axis"),
    (lambda: linalg.sum(B, "fp16", method="Kahan's"), "unknown method \"Kahan's\"; did you mean 'kahan'"),
    (lambda: linalg.sum(B, "fp16", method="blocked", block=0), "sum: expected blocks of at least 1 term, got 0"),
    (lambda: linalg.runge_kutta(lambda t, y: y, 1.0, "fp16", method="rk5", step=1, steps=1), "unknown method 'rk5'"),
    (lambda: linalg.euler(lambda t, y: y, 1.0, "fp16", step=1e-9, steps=1), "the step 1e-09 is 0.0 in binary16"),
    (lambda: linalg.euler(lambda t, y: y[:2], B, "fp16", step=1, steps=1), r"expected f\(t, y\) of shape \(6,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), SHAPES, ids=[message[:40] for _, message in SHAPES])
def test_shapes_and_names_that_do_not_go_together(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nan_goes_through_products():
    x = B.copy()
    x[2] = np.nan
    assert np.isnan(linalg.dot(x, B, "fp16"))
    assert np.isnan(linalg.gemv(A, x, "bf16")).all()
    assert np.isnan(linalg.sum(x, "fp16", method="kahan"))
    assert np.isnan(linalg.fft(x[:4], "fp16")).any()


def test_imports_stay_light():
    program = (
        "import sys; from halfulp.emulate import linalg, analysis;"
        "found = {'numba', 'torch', 'jax', 'scipy', 'pandas'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
