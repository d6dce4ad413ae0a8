"""Numerical methods: experiments against direct loops and known values."""

import numpy as np
import pytest
from halfulp import analysis, quantize
from halfulp.studies.numerical_methods import heat as methods_heat
from halfulp.studies.numerical_methods import polar as methods_polar
from halfulp.studies.numerical_methods import refinement as methods_refinement
from halfulp.studies.numerical_methods import statistics as methods_statistics
from halfulp.studies.numerical_methods import sums as methods_sums
from halfulp.studies.numerical_methods.study import CLAIMS


def test_means_have_students_interval():
    found = methods_statistics.mean([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.302653 / np.sqrt(3))


def test_slopes_of_exact_powers_are_exact():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    found = methods_statistics.slope(x, np.tile(3 * x[:, None] ** 1.5, (1, 5)))
    assert found == pytest.approx((1.5, 1.5, 1.5, 5))


def test_slopes_hold_the_truth_in_their_interval():
    rng = np.random.default_rng(0)
    x = 2.0 ** np.arange(8)
    found = methods_statistics.slope(x, np.sqrt(x)[:, None] * rng.standard_normal((8, 200)))
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.1


def test_systems_have_their_condition_number():
    for mode in (methods_refinement.GEOMETRIC, methods_refinement.ONE_SMALL):
        a, b = methods_refinement.system(12, 3.0, 0, mode)
        assert analysis.condition_number(a, p=2) == pytest.approx(1e3)
        assert b.shape == (12,)


def test_references_are_better_than_float64():
    a, _ = methods_refinement.system(12, 10.0, 1)
    a, exact = np.round(a * 2**20), np.arange(1.0, 13.0)
    x = methods_refinement.reference(a, a @ exact)
    assert np.abs(x - exact).max() < 1e-12


def test_refinement_serves_easy_systems_and_fails_for_hard_ones():
    half = methods_refinement.Precisions("fp16")
    easy, hard = (methods_refinement.solved(half, 16, kappa, 0) for kappa in (1.0, 7.0))
    assert easy.forward < methods_refinement.FULL_ACCURACY < hard.forward
    assert easy.backward < 2**-24


def test_a_limit_lies_where_refinement_turns():
    half = methods_refinement.Precisions("fp16")
    found = methods_refinement.limit(half, 16, 0, 0.0, 8.0, steps=5)
    width = 8 / 2**5
    below = methods_refinement.solved(half, 16, found - width / 2, 0).forward
    above = methods_refinement.solved(half, 16, found + width / 2, 0).forward
    assert below <= methods_refinement.FULL_ACCURACY < above


@pytest.mark.parametrize("fmt", ["bf16", "fp16"])
def test_harmonic_sums_stop_where_a_loop_stops(fmt):
    total, k = 0.0, 0
    while True:
        k += 1
        before, total = total, float(quantize(total + float(quantize(1 / k, fmt)), fmt))
        if total == before:
            break
    assert methods_sums.harmonic(fmt, 1000) == (total, k)


def test_harmonic_sums_that_still_grow_say_so():
    with pytest.raises(ValueError, match="take more terms"):
        methods_sums.harmonic("fp16", 100)


def test_backward_errors_of_a_loop():
    a, b = methods_sums.vectors("uniform", 16, 3)
    total = np.zeros(3)
    for k in range(16):
        total = quantize(total + quantize(a[:, k].astype(np.float64) * b[k, 0], "fp16"), "fp16").astype(np.float64)
    exact = a.astype(np.float64) @ b[:, 0].astype(np.float64)
    assert np.array_equal(methods_sums.backward_errors("uniform", 16, 3, "nearest_even"), np.abs(total - exact) / exact)


def test_int32_wraps_from_the_131072nd_product_on():
    assert methods_sums.int8_sum(2**17 - 1) == 2**31 - 2**14
    assert methods_sums.int8_sum(2**17) == -(2**31)


def test_the_heat_equation_stops_unless_rounded_at_random():
    nearest, random = (methods_heat.heat(16, "fp16", rounding, runs) for rounding, runs in (("nearest_even", 1),
                                                                                            ("stochastic", 4)))  # fmt: skip
    assert nearest.stagnates_after < 0.8 < random.stagnates_after
    assert random.error.max() < nearest.error[0] / 5
    assert nearest.cells == 16


def test_the_heat_equation_of_float64_nears_its_limit():
    found = methods_heat.heat(8, "fp64")
    x = np.arange(1, 8) / 8
    assert found.error[0] < 1e-15
    assert np.abs(found.exact - 1 - np.sin(np.pi * x)).max() < 0.02


def test_polar_express_beats_muon():
    a = methods_polar.matrix(32, 0)
    low, high = methods_polar.ends(methods_polar.iterated(a, methods_polar.coefficients("polar_express")))
    least, largest = methods_polar.ends(methods_polar.iterated(a, methods_polar.coefficients("muon")))
    assert least < 0.8 < 0.98 < low
    assert high < 1.02 < largest


def test_polar_express_needs_its_safety_factor():
    a, quintics = methods_polar.matrix(32, 1), methods_polar.coefficients("polar_express") * methods_polar.SAFETY
    with np.errstate(all="ignore"):
        assert methods_polar.ends(methods_polar.iterated(a, quintics))[1] > 10


def test_claims_are_distinct():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
