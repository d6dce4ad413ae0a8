"""Runge-Kutta methods: order in wide formats, the loops in narrow ones."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.linalg.ode import TABLEAUS
from halfulp.emulate.rounded.arrays import RoundedArray, array

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


@pytest.mark.parametrize("method", TABLEAUS)
def test_order_in_a_wide_format(method):
    def error(steps):
        found = linalg.runge_kutta(
            lambda t, y: y * np.cos(t), 1.0, "fp64", method=method, step=1 / steps, steps=steps
        )  # fmt: skip
        return abs(found.y[-1] - np.exp(np.sin(1.0)))

    assert np.log2(error(20) / error(40)) == pytest.approx(ORDERS[method], abs=0.15)


def test_rk4_is_the_loop_of_rounded_arrays():
    y, h = array([1.0, 0.25], "bf16"), array(0.1, "bf16")
    weights = [array(w, "bf16") for w in (1 / 6, 1 / 3, 1 / 3, 1 / 6)]

    def f(t, y):
        return array([[0.0, 1.0], [-1.0, -0.1]], "bf16") @ y + t

    found = linalg.rk4(f, y, step=0.1, steps=3)
    for k in range(3):
        start, middle, end = (array((k + c) * 0.1, "bf16") for c in (0, 0.5, 1))
        k1 = f(start, y)
        k2 = f(middle, y + h * (0.5 * k1))
        k3 = f(middle, y + h * (0.5 * k2))
        k4 = f(end, y + h * k3)
        terms = [w * slope for w, slope in zip(weights, (k1, k2, k3, k4))]
        y = y + h * (((terms[0] + terms[1]) + terms[2]) + terms[3])
        assert found.y.values[k + 1].tolist() == y.tolist()
    assert isinstance(found.y, RoundedArray)
    assert found.t.tolist() == pytest.approx([0, 0.1, 0.2, 0.3])


def test_functions_see_rounded_arrays_and_may_return_plain_ones():
    seen = []

    def f(t, y):
        seen.append((t, y))
        return np.array([1 / 3])

    found = linalg.euler(f, [0.0], "fp16", step=0.5, steps=2, t0=1.0)
    assert all(isinstance(t, RoundedArray) and isinstance(y, RoundedArray) for t, y in seen)
    assert [float(t) for t, _ in seen] == [1.0, 1.5]
    assert found.y[1, 0] == np.float32(0.5) * np.float32(np.float16(1 / 3))


def test_half_precision_stagnates_and_stochastic_rounding_does_not():
    """Steps below half an ulp are lost to nearest: chop's example of Euler's method (Higham and Pranesh 2019)."""
    n = 1000
    nearest = linalg.euler(lambda t, y: -y, 1.0, "bf16", step=1 / n, steps=n).y[-1]
    random = [
        linalg.euler(lambda t, y: -y, 1.0, "bf16", step=1 / n, steps=100, rounding="stochastic", seed=s)
        for s in range(5)
    ]
    assert nearest == 1.0
    assert np.mean([found.y[-1] for found in random]) == pytest.approx(np.exp(-0.1), abs=0.02)


def test_tableaus_are_checked():
    with pytest.raises(ValueError, match=r"expected rows of 0, 1, ..., 1 weights, got \[0, 0\]"):
        linalg.Tableau(((), ()), (0.5, 0.5))
    with pytest.raises(ValueError, match=r"expected weights b that add up to 1, got 0.5"):
        linalg.Tableau(((),), (0.5,))
    ralston = linalg.Tableau(((), (2 / 3,)), (0.25, 0.75), "Ralston 1962")
    assert linalg.runge_kutta(lambda t, y: y, 1.0, "fp32", method=ralston, step=0.1, steps=1).y[1] == pytest.approx(
        1.105
    )
