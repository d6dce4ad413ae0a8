"""The polar factor by Newton-Schulz and Polar Express."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import orthogonality, unit_roundoff
from halfulp.emulate.linalg.inputs import prepare
from halfulp.emulate.rounded.context import arithmetic

from .textbook import Loops, same

PUBLISHED = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
]  # fmt: skip
"""Amsel, Persson, Musco and Gower, arXiv:2505.16932, their implementation for lower = 1e-3, before the safety factor."""


def matrix(m, n, kappa=100.0, seed=0):
    rng = np.random.default_rng(seed)
    u, _, v = np.linalg.svd(rng.standard_normal((m, n)), full_matrices=False)
    return u * np.logspace(0, -np.log10(kappa), min(m, n)) @ v, u @ v


def test_coefficients_are_the_published_ones():
    found = linalg.polar_express(1e-3, 8)
    assert np.allclose(found[:7] * [1.01, 1.01**3, 1.01**5], PUBLISHED, rtol=1e-7)
    assert np.allclose(found[7], [1.875, -1.25, 0.375], rtol=1e-6)


def test_each_polynomial_is_the_best_one():
    """Its error on the interval equioscillates four times, so that no odd quintic does better (Chebyshev)."""
    a, b, c = linalg.polar_express(0.1, 1)[0]
    x = np.linspace(0.1, 1, 100001)
    error = a * x + b * x**3 + c * x**5 - 1
    inner = np.flatnonzero(np.diff(np.sign(np.diff(error)))) + 1
    extremes = error[[0, *inner, -1]]
    assert len(extremes) == 4
    assert (np.sign(extremes[1:]) == -np.sign(extremes[:-1])).all()
    assert np.allclose(np.abs(extremes), np.abs(extremes[0]), rtol=1e-6)


@pytest.mark.parametrize("method", ["newton_schulz", "polar_express"])
@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
@pytest.mark.parametrize("shape", [(24, 16), (16, 16), (16, 24)])
def test_orthogonality_and_distance(method, fmt, shape):
    a, polar = matrix(*shape)
    u = unit_roundoff(fmt)
    found = linalg.polar(a, fmt, method=method)
    tall = found.T if shape[0] < shape[1] else found
    n = tall.shape[1]
    assert orthogonality(tall) <= 4 * n * u  # E is known to the error of X'X, n u at most
    assert np.linalg.norm(found - polar, 2) <= 100 * n * u  # the condition of the problem is that of the matrix


def test_six_steps_of_polar_express_suffice_in_bf16():
    a, _ = matrix(48, 48)
    values = np.linalg.svd(linalg.polar(a, "bf16", method="polar_express", steps=6).astype(float))[1]
    assert 0.97 < values.min() < values.max() < 1.03
    slow = np.linalg.svd(linalg.polar(a, "bf16", steps=6).astype(float))[1]
    assert slow.min() < 0.1


def test_a_step_is_what_it_says():
    ar = arithmetic("bf16", "up")
    _, (x,) = prepare("test", (matrix(6, 4)[0],), "bf16")
    loops, scaled = Loops(ar), np.ldexp(x, -1)  # the Frobenius norm lies between 1 and 2
    gram = linalg.gemm(scaled.T, scaled, ar)
    rest = loops.do("multiply", loops.do("subtract", np.eye(4), gram), np.float64(0.5))
    assert same(linalg.polar(x, ar, steps=1), loops.do("add", scaled, linalg.gemm(scaled, rest, ar)))
    a, b, c = prepare("test", (linalg.polar_express(1e-3, 1)[0],), "bf16")[1][0]
    p = loops.do("add", loops.do("multiply", b, gram), loops.do("multiply", c, linalg.gemm(gram, gram, ar)))
    expected = loops.do("add", loops.do("multiply", a, scaled), linalg.gemm(scaled, p, ar))
    assert same(linalg.polar(x, ar, method="polar_express", steps=1), expected)


def test_corner_cases():
    assert linalg.polar(np.zeros((3, 2)), "fp16").tolist() == np.zeros((3, 2)).tolist()
    assert linalg.polar(np.zeros((3, 0)), "fp16").shape == (3, 0)
    assert np.allclose(linalg.polar(1e30 * np.eye(3), "bf16"), np.eye(3), atol=0.02)
    assert np.allclose(linalg.polar(np.ldexp(np.eye(3), -14), "fp16"), np.eye(3), atol=0.02)
    for size in (1e-300, 1e308, 5e-324, 1e200, 1e-200):
        assert np.allclose(linalg.polar(size * np.eye(2), "fp64"), np.eye(2), atol=1e-15)
    with pytest.raises(np.linalg.LinAlgError, match="polar: expected finite numbers in binary16"):
        linalg.polar(1e30 * np.eye(3), "fp16")
