"""Exact integrals of grids against brute force, samples and closed forms."""

from fractions import Fraction

import numpy as np
import pytest
from halfulp.emulate.quantize import quantize, scales
from halfulp.formats.registry import plain_format
from halfulp.formats.scaled_registry import scaled
from halfulp.studies.errors.densities import GAUSSIAN, LAPLACE, STUDENT
from halfulp.studies.errors.exact import (
    best_scale,
    blocked,
    cells_of,
    error_at,
    lloyd_max,
    moments_of,
    of_largest,
    scale_steps,
    static,
    uniform_cells,
    usage,
)
from halfulp.studies.errors.samples import blocks_of_crest, generator
from halfulp.studies.number_grids import effects as effects
from halfulp.studies.number_grids.study import CLAIMS, NF4
from halfulp.studies.number_grids.survey import FORMATS, RULES, error_of
from halfulp.studies.running import run_study
from scipy.integrate import quad

DENSITIES = (GAUSSIAN, LAPLACE, STUDENT)
ELEMENTS = ("fp4_e2m1", "int4_narrow", "nf4", "posit8", "hifloat8", "int2_midrise")


@pytest.mark.parametrize("density", DENSITIES, ids=lambda density: density.name)
@pytest.mark.parametrize("end", [-2.3, 0.4, 3.0])
def test_partial_moments_are_integrals(density, end):
    for power, found in enumerate(density.moments(np.array(end))):
        expected = quad(lambda x, k=power: x**k * float(density.at(np.array(x))), 0, end)[0]
        assert float(found) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("density", DENSITIES, ids=lambda density: density.name)
def test_densities_have_variance_one(density):
    share, _, square = density.moments(np.array(1e30))
    assert float(share) == pytest.approx(0.5, abs=1e-12)
    assert float(square) == pytest.approx(0.5, abs=1e-12)
    assert float(density.moments(np.array(density.far))[2]) == pytest.approx(0.5, abs=1e-9)


def _around(x, fmt, scale):
    """Values below and above, by directed roundings of the library."""
    return (np.asarray(quantize(x / scale, fmt, rounding=mode)) * scale for mode in ("down", "up"))


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("name", ELEMENTS)
def test_static_errors_equal_the_library(name, stochastic):
    fmt, scale, limit = plain_format(name), 0.37, 7.0
    x = (np.arange(200_000) + 0.5) / 100_000 * limit - limit
    if stochastic:
        low, high = _around(x, fmt, scale)
        inside = np.clip(x, low, high)
        error = (inside - low) * (high - inside) + (x - inside) ** 2
    else:
        error = (np.asarray(quantize(x / scale, fmt)) * scale - x) ** 2
    brute = float((error * GAUSSIAN.at(x)).sum() * limit / 100_000)
    found = moments_of(cells_of(fmt), GAUSSIAN, scale, limit, stochastic)
    assert float(found.error) == pytest.approx(brute, rel=2e-4)
    single = error_at(cells_of(fmt), x[::997], np.full(len(x[::997]), scale), stochastic)[0]
    assert single == pytest.approx(error[::997], abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"block": 16},
        {"block": 32, "scale": "e8m0"},
        {"block": 32, "scale": "e8m0", "rule": "tetrajet"},
        {"block": 16, "scale": "ue4m3"},
    ],
)
@pytest.mark.parametrize("stochastic", [False, True])
def test_block_errors_equal_samples_of_the_library(options, stochastic):
    fmt = scaled("fp4_e2m1", **options)
    x = generator(5).standard_normal((4096, 128)).astype(np.float32)
    q = np.asarray(quantize(x, fmt, rounding="stochastic" if stochastic else None, seed=3), np.float64)
    each = ((q - x) ** 2).reshape(-1, fmt.block_size).mean(-1)
    found = blocked(fmt, GAUSSIAN, stochastic=stochastic)
    error = each.std() / np.sqrt(len(each))
    assert abs(found.error - each.mean()) < 4 * error
    along = (q * x).reshape(-1, fmt.block_size).mean(-1)
    assert found.shrinkage == pytest.approx(1 - along.mean() / (x.astype(float) ** 2).mean(), abs=2e-3)


def test_a_standard_deviation_is_a_scale():
    fmt = scaled("fp4_e2m1", scale="e8m0", block=32)
    assert blocked(fmt, LAPLACE, deviation=2.0).error == pytest.approx(blocked(fmt, LAPLACE).error, rel=1e-12)
    assert blocked(fmt, LAPLACE, deviation=1.4).error != pytest.approx(blocked(fmt, LAPLACE).error, rel=1e-3)


@pytest.mark.parametrize("name", ["nvfp4", "bitnet", "int8_per_row", "hif4", "nf4_dq"])
def test_other_formats_are_refused(name):
    from halfulp.formats.catalogue import format

    with pytest.raises(ValueError, match="expected blocks of a size"):
        blocked(format(name), GAUSSIAN)


@pytest.mark.parametrize("options", [{"scale": "e8m0"}, {"scale": "e8m0", "rule": "tetrajet"}, {"scale": "ue4m3"}])
def test_steps_of_scales_are_those_of_the_library(options):
    fmt = scaled("fp4_e2m1", block=16, **options)
    x = np.zeros((500, 16), np.float32)
    x[:, 3] = np.exp2(np.linspace(-8, 8, 500))
    starts, values = scale_steps(fmt)
    found = values[np.searchsorted(starts, x[:, 3].astype(np.float64), side="right") - 1]
    if options == {"scale": "e8m0", "rule": "tetrajet"}:  # 6 itself still fits
        found = values[np.searchsorted(starts, x[:, 3].astype(np.float64)) - 1]
    assert (np.asarray(scales(x, fmt).decode).reshape(-1) == found).all()


def test_one_bit_has_a_closed_form():
    scale, error = best_scale(uniform_cells(2), GAUSSIAN)
    assert scale == pytest.approx(np.sqrt(2 / np.pi), abs=1e-12)
    assert error == pytest.approx(1 - 2 / np.pi, abs=1e-12)


@pytest.mark.parametrize("count", [3, 16, 256])
def test_the_best_scale_is_a_minimum(count):
    cells = uniform_cells(count)
    scale, error = best_scale(cells, GAUSSIAN)
    around = moments_of(cells, GAUSSIAN, scale * np.linspace(0.9, 1.1, 41)).error
    assert error <= around.min() * (1 + 1e-12)


def test_tapered_formats_find_their_precise_range():
    cells = cells_of(plain_format("posit8"))
    goal = float(scaled("posit8").goal)
    assert static(cells, GAUSSIAN, best_scale(cells, GAUSSIAN, top=goal)[0]).decibels > 31


@pytest.mark.parametrize(("count", "error"), [(2, 0.3634), (4, 0.1175), (8, 0.0345)])
def test_lloyd_max_finds_the_known_errors(count, error):
    cells, found = lloyd_max(count, GAUSSIAN)
    assert found == pytest.approx(error, abs=1e-4)
    assert cells.values == pytest.approx(-cells.values[::-1], abs=1e-6)
    assert found <= best_scale(uniform_cells(count), GAUSSIAN)[1] * (1 + 1e-9)


def test_weights_of_the_largest_sum_to_one():
    for density in DENSITIES:
        for size in (16, 64, 128):
            assert of_largest(density, size)[2].sum() == pytest.approx(1, abs=1e-9)


def test_usage_equals_samples():
    found = usage(cells_of(plain_format("nf4")), GAUSSIAN, 64)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    x = generator(2).standard_normal((8192, 64))
    q = np.asarray(quantize(x / np.abs(x).max(-1, keepdims=True), "nf4"))
    counts = np.array([(np.abs(q - value) < 1e-6).mean() for value in NF4])
    assert found == pytest.approx(counts, abs=1e-3)


def test_the_library_has_the_published_nf4():
    assert cells_of(plain_format("nf4")).values.tolist() == pytest.approx(NF4, abs=1e-12)


@pytest.mark.parametrize("name", ["fp4_e2m1", "fp4_e1m2", "fp4_e3m0"])
def test_bin_bias_is_the_mean_error_of_a_cell(name):
    q = [value for value in cells_of(plain_format(name)).values if value >= 0]
    for below, here, above, bias in zip(q, q[1:], q[2:], effects.bin_bias(name)):
        x = np.linspace((below + here) / 2, (here + above) / 2, 20_001)
        x = (x[1:] + x[:-1]) / 2
        assert float(np.mean(np.asarray(quantize(x, name)) - x)) == pytest.approx(bias, abs=1e-3)


@pytest.mark.parametrize(("bits", "discarded"), [(1, 4), (2, 6), (3, 5)])
def test_few_random_bits_are_biased_by_what_is_cut_off(bits, discarded):
    assert effects.few_bit_bias(bits, discarded) == -(Fraction(1, 1 << bits) - Fraction(1, 1 << discarded)) / 2
    assert effects.few_bit_bias(bits, discarded, "C") == 0


def test_products_that_bfloat16_cannot_hold():
    codes = [2 * value for value in (0.5, 1, 1.5, 2, 3, 4, 6)]
    rounded = 0
    for code in codes:
        for significand in range(128, 256):
            product = int(code) * significand
            while product % 2 == 0:
                product //= 2
            rounded += product.bit_length() > 8
    assert effects.decoded_share("fp4_e2m1") == pytest.approx(rounded / (128 * len(codes)))


def test_scales_that_never_saturate_clamp_nothing():
    fmt = scaled("fp8_e4m3", scale="e8m0", block=32, rule="tetrajet")
    assert effects.clamped_share(0.93, fmt) == 0
    assert effects.clamped_share(0.93, "mxfp8") > 0.9


@pytest.mark.parametrize(("name", "log2"), [("ue4m3", -12.0), ("ue4m3", -11.5), ("ue3m4", -8.5)])
def test_blocks_that_become_zero(name, log2):
    x = (generator(1).standard_normal((20_000, 16)) * 2.0**log2).astype(np.float32)
    q = np.asarray(quantize(x, scaled("fp4_e2m1", scale=name, block=16)))
    expected = effects.zero_blocks(name, log2)
    assert float((q == 0).all(-1).mean()) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(("kappa", "size"), [(1.8, 32), (3.5, 16), (5.0, 32)])
def test_blocks_have_the_crest_factor(kappa, size):
    x = blocks_of_crest(kappa, size, 200, 0).astype(np.float64)
    assert np.abs(x).max(-1) / np.sqrt((x * x).mean(-1)) == pytest.approx(kappa, rel=1e-6)


def test_impossible_crest_factors_are_refused():
    with pytest.raises(ValueError, match="between 1 and 5.66"):
        blocks_of_crest(7.55, 32, 10, 0)


@pytest.mark.parametrize("name", ["binary", "ternary", "e2m1", "posit6", "fp8_e5m2"])
def test_random_rounding_costs_more(name):
    assert name in FORMATS
    for rule in RULES:
        nearest, random = (error_of(name, GAUSSIAN, rule, stochastic) for stochastic in (False, True))
        assert 0 < nearest.error <= random.error


@pytest.mark.slow
def test_the_study_answers_its_claims():
    found = run_study("number_grids", out=None)
    assert set(found.measured) == {claim.id for claim in CLAIMS}
    assert set(found.tables) == {"survey", "scale_ranges", "rotation", "few_bits"}
