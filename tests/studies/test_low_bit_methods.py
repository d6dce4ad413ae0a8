"""Low-bit methods and the repair of quantized weights: closed forms against brute force, optima against other ways."""

import numpy as np
import pytest
from halfulp import quantize
from halfulp.studies.column_methods import study as column_methods
from halfulp.studies.column_methods.compensation import (
    Compensation,
    Statistics,
    compensated,
    damped,
    fitted,
    inverse_factor,
    least_squares_target,
    output_error,
    statistics,
)
from halfulp.studies.column_methods.low_rank import correction, decomposed
from halfulp.studies.column_methods.weight_scales import group_scales, powers_below, powers_of_two, row_scales
from halfulp.studies.errors.densities import GAUSSIAN
from halfulp.studies.errors.exact import lloyd_max
from halfulp.studies.low_bit_methods import codes as low_bit_codes
from halfulp.studies.low_bit_methods import study as low_bit_methods
from halfulp.studies.low_bit_methods import updates as low_bit_updates

RNG = np.random.default_rng


def inputs(seed=0, samples=200, columns=12):
    g = RNG(seed)
    return g.standard_normal((samples, columns)) @ g.standard_normal((columns, columns))


# --- columns ------------------------------------------------------------------------------------------------------


def test_the_factor_is_of_the_inverse():
    h = damped(statistics(inputs()).hessian, 0.01)
    u = inverse_factor(h)
    assert np.allclose(u.T @ u @ h, np.eye(len(h)), atol=1e-9)
    assert (np.tril(u, -1) == 0).all()
    assert (np.diag(u) > 0).all()


def first_column_only(block):
    """A fit that rounds the first column it sees to integers, and leaves all others."""
    rounded = []

    def rounder(columns):
        rounded.append(True)
        return np.rint(columns) if len(rounded) == 1 else columns

    return rounder


def test_the_columns_left_are_the_best_ones():
    """With one column rounded the others minimize the damped output error, which least squares gives too."""
    w, of = RNG(1).standard_normal((5, 12)) * 3, statistics(inputs())
    found = compensated(w, of, first_column_only)
    h = damped(of.hessian, 0.01)
    error = np.rint(w[:, :1]) - w[:, :1]
    best = w[:, 1:] - error @ h[:1, 1:] @ np.linalg.inv(h[1:, 1:])
    assert (found[:, 0] == np.rint(w[:, 0])).all()
    assert np.allclose(found[:, 1:], best, atol=1e-9)


def test_uncorrelated_inputs_round_to_nearest():
    w = RNG(2).standard_normal((4, 8))
    fit = fitted("int4_per_row")
    assert np.array_equal(compensated(w, Statistics(np.eye(8)), fit), fit(w)(w))


def test_groups_and_order():
    w, of = RNG(3).standard_normal((4, 12)), statistics(inputs())
    fit = fitted("int3_per_row_asym")
    order = np.argsort(-np.diag(of.hessian), kind="stable")
    by_hand = compensated(w[:, order], Statistics(of.hessian[np.ix_(order, order)]), fit)
    found = compensated(w, of, fit, Compensation(ordered=True))
    assert np.allclose(found[:, order], by_hand, atol=1e-12)
    grouped = compensated(w, of, fit, Compensation(group=4))
    assert len(np.unique(grouped[0])) > len(np.unique(compensated(w, of, fit)[0]))


def test_the_target_is_of_least_squares():
    x0 = inputs(4)
    x = x0 + 0.3 * RNG(5).standard_normal(x0.shape)
    w = RNG(6).standard_normal((3, 12))
    found = least_squares_target(w, statistics(x, x0), damping=0.0)
    best = np.linalg.lstsq(x, x0 @ w.T, rcond=None)[0].T
    assert np.allclose(found, best, atol=1e-9)
    assert output_error(w, found, x, x0) < output_error(w, w, x, x0)
    assert np.array_equal(least_squares_target(w, statistics(x)), w)


def test_every_method_gains_on_rounding_to_nearest():
    found = column_methods.compensation_errors(column_methods.layer(0))
    assert found["nearest"] > max(found[name] for name in column_methods.METHODS)
    assert found[column_methods.LEAST_SQUARES] == min(found.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, of: compensated(w[:, :5], of, fitted("int4_per_row")), r"weights \(rows, 12\).*\(4, 5\)"),
        (lambda w, of: compensated(w, of, fitted("int4_per_row"), Compensation(drift=0.25)), "give their originals"),
        (lambda w, of: compensated(w, of, fitted("int4_per_row"), Compensation(group=4, ordered=True)), "leave group"),
        (lambda w, of: compensated(w, of, fitted("int4_per_row"), Compensation(damping=-1.0)), "damping of 0 or more"),
        (lambda w, of: compensated(w, Statistics(np.ones((12, 12))), None, Compensation(damping=0.0)), "singular"),
        (lambda w, of: statistics(w[0]), r"expected inputs \(samples, columns\)"),
        (lambda w, of: statistics(inputs(), inputs(samples=9)), "give the same samples"),
        (lambda w, of: correction(w, 5), "rank 5"),
        (lambda w, of: correction(w, 2, np.eye(3)), "Hessian of 12 columns"),
        (lambda w, of: decomposed(w, 2, np.rint, passes=0), "one or more passes"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(RNG(0).standard_normal((4, 12)), statistics(inputs()))


# --- low rank -----------------------------------------------------------------------------------------------------


def test_a_correction_leaves_the_last_singular_values():
    e, x = RNG(7).standard_normal((10, 12)), inputs(8)
    h = x.T @ x
    for rank in (0, 3, 10):
        plain, weighted = correction(e, rank), correction(e, rank, h)
        assert plain.left.shape == weighted.left.shape == (10, rank)
        assert np.sum((e - plain.product) ** 2) == pytest.approx(
            np.sum(np.linalg.svd(e)[1][rank:] ** 2), rel=1e-9, abs=1e-9
        )
        assert np.sum((x @ (e - weighted.product).T) ** 2) == pytest.approx(
            np.sum(np.linalg.svd(e @ x.T)[1][rank:10] ** 2), rel=1e-6, abs=1e-9
        )
    assert np.allclose(correction(e, 4, np.eye(12)).product, correction(e, 4).product)
    assert np.allclose(correction(e, 6).first(4).product, correction(e, 4).product)


def test_inputs_of_few_directions_need_few_ranks():
    x = RNG(9).standard_normal((50, 3)) @ RNG(10).standard_normal((3, 12))
    e = RNG(11).standard_normal((10, 12))
    assert np.allclose(x @ (e - correction(e, 5, x.T @ x).product).T, 0, atol=1e-7)


def test_turns_lower_the_error():
    w = RNG(12).standard_normal((32, 64)).astype(np.float32)
    values, low_rank, errors = decomposed(w, 4, lambda t: quantize(t.astype(np.float32), "int3_per_row"))
    assert errors == sorted(errors, reverse=True)
    assert np.sum((w - values - low_rank.product) ** 2) / np.sum(w * w) == pytest.approx(errors[-1], rel=1e-4)


# --- scales -------------------------------------------------------------------------------------------------------


def test_powers_of_two_of_scales():
    w = RNG(13).standard_normal((6, 4, 32))
    free = group_scales(w, 6.0)
    below = powers_below(free, np.round)
    assert (np.log2(powers_of_two(free, np.ceil)) % 1 == 0).all()
    assert (powers_of_two(free, np.ceil) >= free).all()
    assert np.array_equal(below.max(axis=1), free.max(axis=1))
    assert (np.log2(below.max(axis=1, keepdims=True) / below) % 1 == 0).all()


def test_dual_scales_find_columns():
    columns = np.exp(RNG(14).standard_normal(64))
    w = quantize(RNG(15).standard_normal((64, 64)), "int2_midrise") * columns
    dual, row = (row_scales(w, "int2_midrise", 1.0, each)[0] for each in (True, False))
    assert np.sum((w - dual) ** 2) < 0.2 * np.sum((w - row) ** 2)


def test_one_scale_for_equal_columns_is_the_best_scale():
    scale, error = column_methods.best_row_scale(column_methods.uniform_cells(4), 0.0)
    assert scale == pytest.approx(1.493535, abs=1e-4)
    assert error == pytest.approx(0.118846, abs=1e-6)


# --- codes --------------------------------------------------------------------------------------------------------


def test_sums_of_signs():
    x = RNG(16).standard_normal(400_000)
    assert low_bit_codes.signs_greedy(1) == pytest.approx(1 - 2 / np.pi, abs=1e-12)
    for bits in (1, 2, 3):
        left = x.copy()
        for _ in range(bits):
            left -= np.sign(left) * np.abs(left).mean()
        assert low_bit_codes.signs_greedy(bits) == pytest.approx(np.mean(left**2), rel=0.01)
    assert low_bit_codes.signs_best(2) == pytest.approx(lloyd_max(4, GAUSSIAN)[1], rel=1e-5)
    assert lloyd_max(8, GAUSSIAN)[1] < low_bit_codes.signs_best(3) < low_bit_codes.signs_greedy(3)


def test_integrals_against_the_formats():
    x = RNG(17).standard_normal((8, 65536)).astype(np.float32)
    left = np.mean((quantize(x, "bitnet") - x) ** 2)
    assert left == pytest.approx(low_bit_codes.ternary().error, rel=0.01)
    for bits in (2, 4):
        q = quantize(x, f"scaled(int{bits}_midrise@-{bits - 1},block=row,rule=mean,target=1/2)")
        assert np.mean((q - x) ** 2) == pytest.approx(low_bit_codes.statsq(bits), rel=0.01)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packing_gives_back(bits):
    assert low_bit_codes.packs_back(bits, 5)


def test_parameters_of_a_network():
    assert (
        low_bit_codes.convolutional_parameters() - low_bit_codes.convolutional_parameters(batch_norm_of_hidden=False)
        == 2 * 512
    )
    assert low_bit_codes.convolutional_parameters(100) - low_bit_codes.convolutional_parameters(10) == 90 * 513


def test_identities():
    assert low_bit_codes.widely_linear_error(3) < 1e-15
    assert low_bit_codes.binary_scores(3).identity < 1e-13
    assert low_bit_methods.nested_is_fine(8, 1)


# --- updates ------------------------------------------------------------------------------------------------------


def test_small_updates():
    assert not low_bit_updates.written_back(50, 20, 0.49, "nearest_even", 0).any()
    assert (low_bit_updates.written_back(50, 20, 1.0, "stochastic", 0) == 20).all()


def test_rounding_to_nearest_never_leaves_the_start():
    short = low_bit_updates.QUADRATIC._replace(size=200, length=60, average=20)
    minimum = low_bit_updates.generator(0, 7).uniform(-1, 1, 200)
    still = low_bit_updates.quadratic_loss("nearest", 0, short._replace(rate=1e-4))
    assert still == pytest.approx(np.mean(minimum**2) / 2, rel=1e-12)
    assert low_bit_updates.quadratic_loss("ECO, nearest", 0, short) < still


def test_an_integer_layer_rounds_down_once():
    assert low_bit_methods.floor_of_exact(1)
    layer, x = low_bit_updates.eggroll(1)
    off = np.mean([layer.outputs(x, sign) - layer.exact(x, sign) for sign in (1, -1)])
    assert off == pytest.approx(-0.5, abs=0.02)
