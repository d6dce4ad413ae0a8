"""What four-bit recipes rest on: the derivative against differences and the library's estimators, shares against draws."""

import numpy as np
import pytest
import torch
from halfulp import Quantizer, Recipe, quantize
from halfulp.sim.products.torch_operands import estimated
from halfulp.sim.recipes.operands import operands_of
from halfulp.studies.fp4_numerics import derivative as derivative
from halfulp.studies.fp4_numerics import study as fp4_numerics


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


EXACT = "scaled(fp4_e2m1,block=16)"


def through_the_library(x, gradient, name):
    """The gradient of a block by an estimator of the library."""
    spec = operands_of(Recipe(fprop_w=Quantizer(EXACT, gradient=name)), "linear")[1]
    t, g = torch.from_numpy(x)[None], torch.from_numpy(gradient)[None]
    values = torch.from_numpy(quantize(x[None], EXACT))
    words = torch.tensor([0, 0])
    return estimated(g, t, values, None, spec, words, torch.tensor(0))[0].numpy()


@pytest.mark.parametrize("name", derivative.SURROGATES)
def test_steps_go_through_the_values(name):
    values, slopes = derivative.surrogate(name, derivative.VALUES)
    assert np.allclose(values, derivative.VALUES)
    middles = (derivative.VALUES[1:] + derivative.VALUES[:-1]) / 2
    assert np.allclose(derivative.surrogate(name, middles)[0], middles)
    assert (slopes > 0).all()


def test_an_unknown_step():
    with pytest.raises(ValueError, match="expected one of dge, spline, identity, got 'ste'"):
        derivative.surrogate("ste", np.zeros(1))


@pytest.mark.parametrize("name", derivative.SURROGATES)
def test_the_jacobian_against_differences(name):
    x = np.linspace(-1.03, 0.97, 16)  # none near the middle of a step, where DGE has no derivative
    assert np.allclose(derivative.jacobian(x, name), derivative.differences(x, name), atol=1e-6)


def test_the_library_has_the_same_slopes():
    x = np.random.default_rng(2).standard_normal(16)
    x = x[np.argsort(np.abs(x))]
    for name, cap in (("dge", derivative.CAP), ("spline", np.inf)):
        slopes = np.minimum(derivative.surrogate(name, x * derivative.scale_of(x, False))[1], cap)
        found = through_the_library(x, np.ones(16), name)
        assert np.allclose(found[:-1], slopes[:-1], rtol=1e-5)  # the largest lies on a value, on no side of it


def test_the_library_has_the_same_column():
    """With a straight line for the steps, and what rounding gives for their values."""
    g = np.random.default_rng(3)
    x, gradient = g.standard_normal(16), g.standard_normal(16)
    largest, values = np.argmax(np.abs(x)), quantize(x[None], EXACT)[0]
    jacobian = np.eye(16)
    jacobian[:, largest] += (values - x) / x[largest]
    assert np.allclose(through_the_library(x, gradient, "absmax_full"), gradient @ jacobian)
    assert np.allclose(through_the_library(x, gradient, "absmax"), gradient * np.diag(jacobian))


def test_the_share_that_is_capped():
    t = np.linspace(-1, 1, 200_001)
    slope = np.maximum(np.abs(t), 1e-12) ** (1 / 5 - 1) / 5
    assert np.mean(slope > 3) == pytest.approx(derivative.capped_share(), abs=2e-5)


def test_shares_of_blocks():
    x = np.random.default_rng(4).standard_normal((40_000, 32))
    significand = 2 * np.frexp(np.abs(x).max(axis=1))[0]
    for limit in fp4_numerics.LIMITED:
        assert fp4_numerics.clipped_share(limit) == pytest.approx(np.mean(significand > limit), abs=0.01)
        assert fp4_numerics.over_a_binade(limit) == pytest.approx(np.log2(2 / limit), abs=1e-4)


def test_scales_leave_room():
    assert fp4_numerics.largest_elements("mxfp4").max() > 7.99
    assert fp4_numerics.largest_elements(fp4_numerics.CEILED).max() == 6
    assert fp4_numerics.tensor_scaled(-20) == 448
    assert fp4_numerics.periods((0.0, 31.9, 32.0)) == [1, 6, 11]


def test_crest_factors():
    assert fp4_numerics.crest(np.eye(4)).tolist() == [2.0] * 4
