"""The formulas of INT against FP, and what the library measures."""

import numpy as np
import pytest
from halfulp.emulate.quantize import quantize
from halfulp.formats.scaled_registry import scaled
from halfulp.studies.errors.samples import gaussian_rows
from halfulp.studies.int_fp import study as int_fp
from halfulp.studies.int_fp.formulas import PAIRS, WITH_RHO, Pair, root
from halfulp.studies.running import run_study


@pytest.mark.parametrize(
    ("name", "kappa", "decibels"), [("mx8", 7.55, 31.86), ("mx6", 1.96, 31.54), ("mx4", 2.04, 19.14)]
)
def test_printed_crossovers(name, kappa, decibels):
    found = PAIRS[name].crossover()
    assert found == (pytest.approx(kappa, abs=0.005), pytest.approx(decibels, abs=0.005))


def test_the_printed_crossover_of_nvfp4_needs_an_overhead():
    assert PAIRS["nv4"].crossover()[0] == pytest.approx(2.464, abs=5e-4)
    assert WITH_RHO.crossover() == (pytest.approx(2.39, abs=0.005), pytest.approx(21.14, abs=0.005))


@pytest.mark.parametrize("name", PAIRS)
def test_both_sides_of_a_crossover(name):
    pair = PAIRS[name]
    kappa, decibels = pair.crossover()
    assert pair.of_float(kappa) == pytest.approx(decibels, abs=1e-6)
    assert pair.of_integer(0.9 * kappa) > pair.of_float(0.9 * kappa)
    assert pair.of_integer(1.1 * kappa) < pair.of_float(1.1 * kappa)


def test_a_pair_needs_a_minifloat():
    with pytest.raises(TypeError, match="expected a minifloat"):
        Pair("?", "int4_narrow", "nf4").of_float(2.0)


def test_root_is_the_highest_sign_change():
    assert root(lambda x: (x - 1) * (x - 2), 0.1, 3.3) == pytest.approx(2, abs=1e-9)


def test_the_formula_predicts_eight_bits():
    kappas = np.array([2.0, 3.0, 4.0])
    curves = int_fp.measured_curve(PAIRS["mx8"], kappas, 0, 800)
    assert curves[0] == pytest.approx(PAIRS["mx8"].of_integer(kappas, exact=True), abs=0.15)
    assert curves[1] == pytest.approx(PAIRS["mx8"].of_float(kappas), abs=0.5)
    assert (curves[0] > curves[1]).all()


def test_steps_that_integers_have_explain_four_bits():
    pair = PAIRS["mx4"]
    curves = int_fp.measured_curve(pair, np.array([1.8, 2.2]), 0, 800)
    exact, rough = pair.of_integer(np.array([1.8, 2.2]), exact=True), pair.of_integer(np.array([1.8, 2.2]))
    assert (np.abs(curves[0] - exact) < np.abs(curves[0] - rough)).all()


@pytest.mark.parametrize("kind", ["gaussian_mx", "laplace_nv"])
def test_tables_by_integration_and_by_samples(kind):
    sampled = int_fp.sampled_table(kind, 4, 3, 512)
    assert sampled.value == pytest.approx(int_fp.exact_table(kind, 4), abs=0.06)


def test_only_symmetric_integers_are_odd():
    x, _ = gaussian_rows(64, 4, 0)
    for name, odd in (("int4@-2", False), ("int4_narrow@-2", True)):
        fmt = scaled(name, scale="e8m0", block=32)
        assert (np.asarray(quantize(-x, fmt)) == -np.asarray(quantize(x, fmt))).all() == odd


@pytest.mark.slow
def test_the_study_answers_its_claims():
    found = run_study("int_fp", out=None)
    assert set(found.measured) == {claim.id for claim in int_fp.CLAIMS}
    assert found.tables["sqnr"].shape == (16, 4)
