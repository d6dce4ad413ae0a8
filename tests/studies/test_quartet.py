"""Quartet: the law and its fits against known values, quantizers against their definitions, claims against data."""

from dataclasses import replace
from typing import Any

import halfulp as hu
import numpy as np
import pytest
from halfulp.studies.quartet import fit as fits
from halfulp.studies.quartet import heldout as heldout
from halfulp.studies.quartet import table as table
from halfulp.studies.quartet.methods import backward_gap
from halfulp.studies.quartet.study import STUDY, llama_parameters

LAW = fits.NOTEBOOK["free"]


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(law, errors: Any = 0.0):
    """Runs of a law, with errors of log L."""
    parameters = np.repeat([3e7, 1e8, 3e8, 1e9], 4)
    tokens = parameters * np.tile([25.0, 100.0, 400.0, 1600.0], 4)
    return fits.Runs(parameters, tokens, law.loss(parameters, tokens) * np.exp(errors))


def test_the_law_is_the_formula():
    n, d = 1e8, 2e10
    want = (LAW.A / n**LAW.alpha + LAW.B / d**LAW.beta) ** LAW.gamma + LAW.E
    assert LAW.loss(n, d) == pytest.approx(want, rel=1e-12)
    worth = fits.Efficiency(0.6, 0.9)
    assert fits.with_efficiency(LAW, worth).loss(n, d) == pytest.approx(LAW.loss(0.6 * n, 0.9 * d), rel=1e-12)


def test_slopes_are_those_of_the_law():
    n, d, step = np.array([3e7, 1e9]), np.array([1e9, 1e12]), 1e-6
    _, slopes = fits._terms(LAW.logs, n, d)
    for k in range(6):
        up, down = (fits._terms(LAW.logs + sign * step * np.eye(6)[k], n, d)[0] for sign in (1, -1))
        assert slopes[:, k] == pytest.approx((up - down) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("form", fits.FORMS)
def test_a_fit_finds_the_law_of_its_runs(form):
    law = replace(LAW, gamma=1.0, A=500.0, B=900.0, alpha=0.3, beta=0.35) if form == "gamma=1" else LAW
    law = replace(law, beta=1.0, B=1e10, gamma=0.3) if form == "beta=1" else law
    runs = made(law)
    found = fits.fit(runs, form)
    assert abs(found.errors(runs)).max() < 1e-6
    assert found.gamma == 1 if form == "gamma=1" else found.gamma == pytest.approx(law.gamma, rel=1e-2)


def test_an_outlier_does_not_move_the_fit():
    errors = np.zeros(16)
    errors[5] = 0.05
    found = fits.fit(made(LAW, errors), starts=(LAW,))
    kept = np.arange(16) != 5
    assert abs(found.errors(made(LAW)))[kept].max() < 2e-4


def test_the_notebook_s_fit():
    """Its 24 runs are the 22 of the table and one of 430M and of 800M."""
    runs = fits.runs_of("BF16", "BF16") + fits.LARGE
    assert len(runs.losses) == 24
    assert LAW.cost(runs) == pytest.approx(2.1292e-6, rel=1e-4)
    found = fits.fit(runs, starts=(fits.TABLE_6,))
    assert found.cost(runs) == pytest.approx(2.12921783e-6, rel=1e-6)
    assert found.logs == pytest.approx(LAW.logs, rel=1e-5)
    worth = fits.efficiency(LAW, fits.runs_of("BF16", "SR"), False, True)
    assert worth == pytest.approx((1.0, 0.8934685), rel=1e-5)


def test_efficiencies_of_made_runs():
    law = fits.with_efficiency(LAW, fits.Efficiency(0.64, 0.91))
    assert fits.efficiency(LAW, made(law), True, True) == pytest.approx((0.64, 0.91), rel=1e-6)
    one = fits.with_efficiency(LAW, fits.Efficiency(0.5, 1.0))
    assert fits.efficiency(LAW, made(one), True, False) == pytest.approx((0.5, 1.0), rel=1e-6)


def test_resampling_keeps_sizes_and_spread():
    runs = made(LAW, 1e-3 * rng().standard_normal(16))
    drawn = [LAW.errors(fits.resampled(LAW, runs, 6, rng(seed))).std() for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(LAW.errors(runs).std() * np.sqrt(16 / 10), rel=0.1)
    laws = fits.bootstrap(LAW, runs, 3, rng())
    assert len({law.alpha for law in laws}) == 3


def test_a_loss_that_leaves_nothing_is_a_law():
    logs = LAW.logs
    logs[4] = -1e4
    assert fits.law_of(logs).E > 0
    assert np.isfinite(fits.law_of(logs).logs).all()


def test_unknown_methods_and_too_few_runs():
    with pytest.raises(ValueError, match=r"no runs with forward 'FP8'.*there are BF16/BF16"):
        fits.runs_of("FP8", "BF16")
    with pytest.raises(ValueError, match="has 6 coefficients, got 5 runs"):
        fits.fit(made(LAW).where(np.arange(16) < 5))


def test_held_out_sizes_of_an_exact_law_are_predicted():
    law = fits.TABLE_6
    runs = fits.runs_of("BF16", "BF16")
    exact = runs._replace(losses=law.loss(runs.parameters, runs.tokens))
    found = heldout.leave_one_size_out(exact, {"free": law})
    assert set(found["size"]) == {"30M", "50M", "100M", "200M"}
    assert found.rms_percent.max() < 1e-3


def test_predictions_have_intervals():
    seen = made(LAW, 1e-3 * rng().standard_normal(16))
    found = heldout.predicted(seen, fits.LARGE, {"free": LAW}, 20, rng())
    assert (found.low < found.free).all()
    assert (found.free < found.high).all()


def test_speeds_are_harmonic_means():
    assert [speed.training for speed in heldout.SPEEDS.values()] == pytest.approx([1.0, 1.2, 1.5, 2.0])


def test_the_map_is_the_law_at_the_budget():
    worth = fits.Efficiency(0.64, 0.93)
    found = heldout.losses_at_budget(LAW, worth, np.array(1e9), np.array(100.0))
    assert found["FP8:FP8"] == LAW.loss(1e9, 1e11)
    assert found["FP4:FP8"] == pytest.approx(float(LAW.loss(1.28e9, 0.6e11)), rel=1e-12)
    assert found["FP4:FP4"] == pytest.approx(float(LAW.loss(1.28e9, 0.93e11)), rel=1e-12)
    ratio = heldout.crossing(LAW, worth, 1e9)
    beside = heldout.losses_at_budget(LAW, worth, np.array(1e9), ratio * np.array([0.98, 1.0]))
    assert list(beside["FP4:FP4"] < beside["FP8:FP4"]) == [False, True]
    assert heldout.crossing(LAW, fits.Efficiency(0.1, 0.93), 1e9) == np.inf


def test_nearest_is_better_backward_until_data_abound():
    gap = backward_gap()
    assert len(gap) == 17
    assert (gap[gap.ratio < 250].gap < 0).all()
    assert (gap[gap.ratio > 700].gap > 0).all()


def test_scales_of_the_quantizers():
    """Each value over its block's power of two is one of E2M1, over 3/4 where that is so."""
    x = table.gaussian(8, True, 0)
    grid = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    near = np.abs(table.prescaled(x, 0, "nearest_even")).astype(np.float64) * 0.75
    top = np.abs(x).reshape(8, -1, 32).max(-1)
    scale = 2.0 ** (np.floor(np.log2(top)) - 2)
    elements = near.reshape(8, -1, 32) / scale[..., None]
    assert np.isclose(elements[..., None], grid, atol=1e-5).any(-1).all()
    assert elements.max() == pytest.approx(6, rel=1e-6)
    deviation = x.astype(np.float64).reshape(8, -1, 32).std(-1)
    power = 2.0 ** np.round(np.log2(table.OPTIMAL * deviation))
    assert np.array_equal(
        table.quest(x, np.round).reshape(8, -1, 32),
        (
            hu.quantize((x.reshape(8, -1, 32) / power[..., None]).astype(np.float32), "fp4_e2m1") * power[..., None]
        ).astype(np.float32),
    )


def test_quest_is_the_recipe_s():
    """The study's scale is the one that the recipe `quartet` trains with."""
    torch = pytest.importorskip("torch")
    from halfulp.sim.products.torch_operands import quantized
    from halfulp.sim.recipes.operands import operands_of
    from halfulp.sim.recipes.published import recipe

    x = table.gaussian(8, True, 1)
    spec = operands_of(recipe("quartet"), "linear")[0]
    values, _ = quantized(torch.from_numpy(x), spec, torch.tensor([0, 0]), torch.tensor(0))
    assert np.mean(values.numpy() == table.quest(x, np.round)) > 0.99  # a deviation beside a tie may fall either way


def test_errors_of_values():
    x = table.gaussian(4, False, 0)
    assert table.of_values(x, x) == (0.0, 0.0)
    assert table.of_values(x, 0.9 * x.astype(np.float64)) == pytest.approx((0.01, 0.1))


@pytest.mark.parametrize(
    ("name", "factor", "phases"), [("rtn", 4 / 3, 64), ("ocp", 1.0, 64), ("rtn_one_phase", 4 / 3, 1)]
)
def test_draws_agree_with_integrals(name, factor, phases):
    found, exact = table.errors_of(table.QUARTET[name]._replace(seeds=6)), table.integrated(factor, phases)
    # Four standard errors of a mean of six seeds.
    for drawn, want in zip(found, exact):
        assert abs(drawn.value - want) < 4 * (drawn.high - drawn.low) / 2 / 2.57


def test_parameters_of_llama():
    width, layers = 256, 1
    inner = 768  # 8/3 of 256 is 683
    assert llama_parameters(layers, width) == 4 * width**2 + 3 * width * inner + 3 * width


def test_phases_cover_an_octave():
    x = table.gaussian(64, True, 3)
    spread = np.log2(x.std(axis=-1))
    assert spread.min() < 0.1 < 0.9 < spread.max()


@pytest.mark.parametrize("name", ["sr", "nvfp4_sr", "nvfp4_eden", "mxfp4_eden"])
def test_unbiased_quantizers_keep_the_length(name):
    row = {**table.QUARTET, **table.QUARTET_2}[name]
    found = table.errors_of(row._replace(seeds=4), rows=64)
    # Sampling: 64 thousand numbers a seed, whose errors have a variance of about .025.
    assert abs(found.misalignment.value) < 4 * np.sqrt(0.03 / (4 * 64 * 1024))
    assert 0.005 < found.error.value < 0.04


def test_averages_of_unbiased_products_improve():
    (found,) = table.averaged_products(table.QUARTET_2["nvfp4_sr"], (1, 4), 1, 64)
    assert found[1] == pytest.approx(found[0] / 4, rel=0.15)  # of 4096 sums: 2% each
    (fixed,) = table.averaged_products(table.QUARTET_2["nvfp4_rtn_6"], (1, 2), 1, 32)
    assert fixed[0] == pytest.approx(fixed[1], rel=1e-12)


def test_claims_name_their_sources():
    assert len({claim.id for claim in STUDY.claims}) == len(STUDY.claims)
    assert all("arXiv" in claim.source or "IST-DASLab" in claim.source for claim in STUDY.claims)
