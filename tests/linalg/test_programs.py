"""Programs written for MATLAB's chop and for Pychop, as one would write them here.

Higham and Pranesh, Simulating low precision floating-point arithmetic, SIAM J. Sci. Comput. 41(5), 2019; Carson and
Chen, Pychop, arXiv:2504.07835.
"""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.rounded.arrays import array

HARMONIC = {"fp16": (7.0859375, 513), "bf16": (5.0625, 65), "fp8_e5m2": (3.5, 16)}


@pytest.mark.parametrize("fmt", ["fp16", "bf16"])
def test_the_harmonic_series_converges(fmt):
    """s = chop(s + chop(1/k)) until it no longer changes: published values for fp16 and bfloat16."""
    s, k = array(0.0, fmt), 0
    while True:
        k += 1
        before, s = s, s + array(1.0, fmt) / k
        if s == before:
            break
    assert (float(s), k) == HARMONIC[fmt]
    terms = array(np.ones(1000), fmt) / np.arange(1, 1001)
    assert float(linalg.sum(terms)) == HARMONIC[fmt][0]


def test_the_harmonic_series_goes_on_with_stochastic_rounding():
    terms = array(np.ones(2000), "bf16") / np.arange(1, 2001)
    found = np.mean([float(linalg.sum(terms.values, "bf16", method="stochastic", seed=s)) for s in range(20)])
    assert found == pytest.approx((1 / np.arange(1, 2001)).sum(), rel=0.03)


@pytest.mark.parametrize(("fmt", "exponent", "significand"), [("fp16", 5, 10), ("bf16", 8, 7)])
def test_a_product_of_matrices_rounded_after_every_operation(fmt, exponent, significand):
    """The rank-1 loop of chop's documentation, C = chop(C + chop(A(:,k) * B(k,:))), run in Pychop."""
    pychop = pytest.importorskip("pychop")
    chop = pychop.Chop(exponent, significand, rmode=1)
    rng = np.random.default_rng(0)
    a, b = chop(rng.standard_normal((20, 30))), chop(rng.standard_normal((30, 10)))
    c = np.zeros((20, 10))
    for k in range(30):
        c = chop(c + chop(np.outer(a[:, k], b[k])))
    assert np.array_equal(linalg.gemm(a, b, fmt), c)


@pytest.mark.parametrize("fmt", ["fp16"])
def test_gaussian_elimination_with_chop(fmt):
    """lutx_chop of Higham and Pranesh, run in Pychop."""
    pychop = pytest.importorskip("pychop")
    chop = pychop.Chop(5, 10, rmode=1)
    a = chop(np.random.default_rng(1).standard_normal((25, 25)))
    found = linalg.lu(a, fmt)
    p = np.arange(25)
    for k in range(24):
        m = k + np.argmax(abs(a[k:, k]))
        a[[k, m]], p[[k, m]] = a[[m, k]], p[[m, k]]
        a[k + 1 :, k] = chop(a[k + 1 :, k] / a[k, k])
        a[k + 1 :, k + 1 :] = chop(a[k + 1 :, k + 1 :] - chop(np.outer(a[k + 1 :, k], a[k, k + 1 :])))
    assert np.array_equal(found.u, np.triu(a))
    assert np.array_equal(np.tril(found.l, -1), np.tril(a, -1))
    assert np.array_equal(found.permutation, p)
