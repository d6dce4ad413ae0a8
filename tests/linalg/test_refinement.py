"""Iterative refinement in three precisions: where it converges, to what, and where it does not."""

from fractions import Fraction

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import backward_error, forward_error
from halfulp.emulate.rounded.arrays import RoundedArray, array

N = 32
U = 2.0**-24


def system(kappa, n=N, seed=0):
    """A matrix of float32 with singular values from 1 to 1 / kappa, a right-hand side, and their exact solution."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    a = (u * np.logspace(0, -np.log10(kappa), n) @ v).astype(np.float32)
    b = rng.standard_normal(n).astype(np.float32)
    return a, b, exact(a, b)


def exact(a, b):
    """Gaussian elimination of Fractions."""
    rows = [[Fraction(float(x)) for x in (*row, right)] for row, right in zip(a, b)]
    for k, pivot in enumerate(rows):
        for row in rows[k + 1 :]:
            factor = row[k] / pivot[k]
            row[k:] = [x - factor * y for x, y in zip(row[k:], pivot[k:])]
    x = []
    for k in reversed(range(len(rows))):
        found = rows[k][-1] - sum((c * y for c, y in zip(reversed(rows[k][k + 1 : -1]), x)), Fraction(0))
        x.append(found / rows[k][k])
    return np.array([float(value) for value in reversed(x)])


@pytest.mark.parametrize("scaling", ["none", "two_sided"])
@pytest.mark.parametrize("method", ["lu", "gmres"])
def test_both_methods_reach_working_precision_where_the_condition_is_low(method, scaling):
    a, b, x = system(300)
    found = linalg.refine(a, b, method=method, scaling=scaling)
    assert found.converged
    assert found.x.dtype == np.float64
    assert forward_error(found.x, x) <= 2 * U
    assert backward_error(a, found.x, b) <= U
    assert found.iterations == len(found.corrections) == len(found.inner_iterations) == len(found.residuals) - 1
    assert found.residuals[-1] == pytest.approx(backward_error(a, found.x, b), rel=1e-4)
    assert found.corrections[-1] <= 2 * U < found.corrections[-2]


@pytest.mark.parametrize("kappa", [1e6, 1e8])
def test_gmres_converges_where_lu_does_not(kappa):
    """Carson and Higham 2018, section 6, in spirit: factors of half precision, condition numbers beyond single's."""
    a, b, x = system(kappa)
    plain = linalg.refine(a, b, scaling="two_sided")
    assert not plain.converged
    assert forward_error(plain.x, x) > 0.01
    found = linalg.refine(a, b, method="gmres", scaling="two_sided")
    assert found.converged
    assert forward_error(found.x, x) <= 2 * U
    assert found.iterations <= 5
    assert found.inner_iterations.max() <= N
    once = linalg.solve(a, b, "fp32")  # all in single precision
    assert forward_error(once, x) > 1000 * forward_error(found.x, x)


def test_residuals_of_working_precision_limit_the_error():
    """Fixed-precision refinement reaches a small backward error, but no small forward error."""
    a, b, x = system(3e5)
    low = linalg.refine(a, b, factor="fp32", residual="fp32")
    high = linalg.refine(a, b, factor="fp32")
    assert high.converged
    assert forward_error(high.x, x) <= 2 * U < 100 * U < forward_error(low.x, x)
    assert backward_error(a, low.x, b) <= N * U


def test_scaling_keeps_half_precision_from_overflowing():
    a, b, _ = system(50)
    rows, columns = np.logspace(-6, 6, N), np.logspace(5, -5, N)
    a, b = (rows[:, None] * a * columns).astype(np.float32), (rows * b).astype(np.float32)
    x = exact(a, b)
    with pytest.raises(np.linalg.LinAlgError, match="pivot of column 0 is -?inf in binary16; scale the matrix"):
        linalg.refine(a, b)
    for method in ("lu", "gmres"):
        found = linalg.refine(a, b, method=method, scaling="two_sided")
        assert found.converged
        assert forward_error(found.x, x) <= 2 * U


def test_substitution_in_the_precision_of_the_factors():
    a, b, x = system(50)
    found = linalg.refine(a, b, substitution="fp16", scaling="two_sided")
    assert found.converged
    assert forward_error(found.x, x) <= 2 * U


def test_other_formats_and_rounded_arrays():
    a, b, x = system(20)
    found = linalg.refine(a, b, factor="bf16", working="fp64", residual="fp64")
    assert forward_error(found.x, x) < 1e-13
    rounded = linalg.refine(array(a, "tf32"), array(b, "tf32"), factor="fp8_e5m2", method="gmres", scaling="two_sided")
    assert isinstance(rounded.x, RoundedArray)
    assert rounded.x.fmt.name == "tf32"
    assert rounded.converged


def test_corner_cases():
    assert linalg.refine(np.zeros((0, 0)), np.zeros(0)).converged
    zero = linalg.refine(np.eye(3), np.zeros(3))
    assert zero.converged
    assert not zero.x.any()
    assert zero.iterations == 1
    nan = linalg.refine(np.eye(3), [1.0, np.nan, 0.0])
    assert not nan.converged
    assert nan.iterations == 0
    assert np.isnan(nan.x).all()
    with pytest.raises(np.linalg.LinAlgError, match=r"^refine: .* zero in binary16.*scaling='two_sided'"):
        linalg.refine(1e-9 * np.eye(3), np.ones(3))
    assert linalg.refine(1e-9 * np.eye(3), np.ones(3), scaling="two_sided").converged
    few = linalg.refine(system(300)[0], np.ones(N), iterations=2)
    assert not few.converged
    assert few.iterations == 2


def test_scaling_into_a_wide_format_leaves_room_for_sums():
    """A tenth of bfloat16's range is too near to binary32's: sums of such elements would overflow."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((24, 24)))[0] for _ in range(2))
    a = (left * np.geomspace(1, 1e-3, 24)) @ right
    found = linalg.refine(a, a @ np.ones(24), factor="bf16", scaling="two_sided")
    assert np.isfinite(np.asarray(found.x, np.float64)).all()
