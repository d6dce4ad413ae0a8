"""A scaling law of trainings: plans and recipes, the fit against laws put in, paired effects, claims on made-up runs."""

from dataclasses import replace

import halfulp as hu
import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps.task_members import member_of
from halfulp.sim.training.jax_recipe_data import shape_of
from halfulp.studies.claims import Measured
from halfulp.studies.errors import resampled
from halfulp.studies.errors.samples import mean_of
from halfulp.studies.fitting import least_huber
from halfulp.studies.fp_scaling_law import Law
from halfulp.studies.trained_scaling_law import STUDY, designs, effects, fit, running, study
from halfulp.studies.trained_scaling_law.designs import COARSEST, FP4_BEST, REFERENCE, Cell, Grid, Layout, Plan

TRUTH = Law(4.0, 0.15, 60.0, 0.4, 0.6, 400.0, 2.4, 2.1)
QUICK = designs.PLANS["quick"]


def made_up(plan, law=TRUTH, noise=0.0, operands=lambda targets: 0.0):
    """Trainings with the losses of a law; `operands` is what FP3 costs in the trainings that choose operands."""
    rng, rows = np.random.default_rng(0), []
    for cell in plan.cells():
        resolution = law.resolution(cell.layout.exponent, cell.layout.mantissa) if not cell.everything else np.inf
        clean = law.loss(cell.parameters, cell.tokens, resolution, np.log2(cell.block))
        clean += operands(cell.targets) if cell.everything else 0.0
        rows += [
            {**running.facts(cell), "seed": seed, "loss": clean + noise * rng.standard_normal(), "diverged": False}
            for seed in range(plan.seeds)
        ]
    return pandas.DataFrame(rows)


@pytest.fixture(scope="module")
def clean():
    return made_up(QUICK)


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_a_plan_has_each_training_once_and_all_it_compares(scale):
    plan = designs.PLANS[scale]
    cells = plan.cells()
    assert len(cells) == len(set(cells))
    assert len({cell.recipe.name for cell in cells}) == len({cell.recipe for cell in cells})
    assert plan.seeds >= 5
    assert plan.base[1] in plan.grids[plan.base[0]].steps
    assert {replace(cell, layout=REFERENCE) for cell in plan.law()} <= set(cells)
    table = made_up(replace(plan, seeds=2))
    assert set(effects.of_data(table, plan)) == {"data_13k", "data_50k", "size"}
    assert not table.duplicated([name for name in table.columns if name != "loss"]).any()


def test_seeds_are_paired_and_rates_are_one():
    rows = list(designs.rows(QUICK.cells(), 3))
    assert len(rows) == 3 * len(QUICK.cells())
    assert {row["learning_rate"] for row in rows} == {0.003}
    by_seed = {seed: [row for row in rows if row["seed"] == seed] for seed in range(3)}
    runs = {seed: [member_of(row, designs.training(50)).run.as_dict() for row in own] for seed, own in by_seed.items()}
    for seed, own in runs.items():
        assert {run.pop("seed") for run in own} == {seed}
    assert runs[0] == runs[1] == runs[2]


def test_a_cell_is_a_recipe():
    recipe = Cell("13k", 50, FP4_BEST, 16).recipe
    quantized = {name for name in ("fprop_x", "fprop_w", "dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x")
                 if getattr(recipe, name).active}  # fmt: skip
    assert quantized == {"fprop_w", "dgrad_w", "wgrad_x"}
    assert recipe.fprop_w.fmt == hu.format("scaled(e2m1,scale=binary32,block=16)").name
    six = Cell("13k", 50, COARSEST, targets=("P5",), everything=True).recipe
    assert "e1m1" in six.wgrad_e.fmt
    assert all("e5m11" in getattr(six, name).fmt for name in ("fprop_x", "fprop_w", "dgrad_e", "dgrad_w", "wgrad_x"))
    assert not Cell("13k", 50, targets=()).recipe.active


def test_the_output_head_stays_in_float32():
    for row in designs.rows(QUICK.cells(), 1):
        first, second = member_of(row, designs.training(50)).run.rules
        assert (first.pattern, first.recipe.active) == ("head", False)
        assert (second.pattern, second.recipe) == ("*", row["recipe"][1][1])


def test_layouts_and_operands_share_programs():
    assert len({repr(shape_of(cell.recipe)) for cell in QUICK.operands()}) == 1
    by_block = {(cell.block, repr(shape_of(cell.recipe))) for cell in QUICK.law()}
    assert len(by_block) == len({cell.block for cell in QUICK.law()}) == 2


def test_layouts_have_neither_infinity_nor_nan():
    for layout, largest in ((COARSEST, 3.0), (FP4_BEST, 6.0), (Layout(3, 2), 28.0), (Layout(1, 3), 3.75)):
        assert hu.format(layout.name.lower()).max == largest
    x = np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)
    error = hu.quantize(x, Cell("13k", 50).recipe.fprop_w.fmt) - x
    assert np.abs(error).max() < 2**-12 * np.abs(x).max()


@pytest.mark.parametrize("bad", [(0, 1), (1, -1)])
def test_bad_layouts(bad):
    with pytest.raises(ValueError, match=f"expected E >= 1 and M >= 0, got E{bad[0]}M{bad[1]}"):
        Layout(*bad)


@pytest.mark.parametrize(("how", "message"), [({"size": "7b"}, "expected a size of 13k"), ({"targets": ("P7",)}, "P7")])
def test_bad_cells(how, message):
    with pytest.raises(ValueError, match=message):
        Cell(**{"size": "13k", "steps": 50, **how})


def test_the_fit_finds_the_law_that_was_put_in(clean):
    runs = fit.runs_of(clean)
    assert len(runs.losses) == QUICK.seeds * len(QUICK.law())
    law = fit.fit(runs)
    assert fit.predicted(law, runs) == pytest.approx(runs.losses, abs=1e-3)
    assert (law.delta, law.nu) == pytest.approx((TRUTH.delta, TRUTH.nu), abs=0.1)
    assert (law.a, law.b) == pytest.approx((TRUTH.a, TRUTH.b), abs=0.1)


def test_what_is_fitted_and_the_law_say_the_same():
    again = fit._law_of(fit.logs(TRUTH), simple=False)
    for name in fit.COEFFICIENTS:
        assert getattr(again, name) == pytest.approx(getattr(TRUTH, name))


def test_a_law_without_precision_says_one_loss_for_all_layouts(clean):
    law = fit.fit(fit.runs_of(clean), simple=True)
    few, many = law.loss(1e4, 1e5, law.resolution(1, 1)), law.loss(1e4, 1e5, law.resolution(8, 7))
    assert few == pytest.approx(many, rel=1e-12)


def test_a_fit_needs_as_many_trainings_as_coefficients(clean):
    few = fit.Runs(*(each[:7] for each in fit.runs_of(clean)))
    with pytest.raises(ValueError, match="8 coefficients, got 7 trainings"):
        fit.fit(few)


def test_the_huber_fit_ignores_one_outlier():
    x = np.arange(10.0)
    y = 2 * x + 1
    y[4] = 50
    found = least_huber(lambda p: p[0] * x + p[1] - y, lambda p: np.stack([x, np.ones(10)], -1), np.zeros(2), (1, 1e-3))
    assert found.x == pytest.approx([2, 1], abs=1e-3)
    with pytest.raises(ValueError, match="expected scales"):
        least_huber(lambda p: p, lambda p: np.eye(1), np.zeros(1), ())


def test_the_jackknife_of_a_mean_is_its_interval():
    x = np.array([1.0, 2.0, 4.0, 9.0])
    found, want = resampled.jackknife(lambda kept: x[kept].mean(), 4), mean_of(x)
    assert (found.value, found.low, found.high) == pytest.approx((want.value, want.low, want.high))
    assert found.count == 4
    with pytest.raises(ValueError, match="two seeds or more"):
        resampled.jackknife(lambda kept: 0.0, 1)


def test_the_jackknife_of_a_fit_leaves_out_the_seed_it_says(clean):
    x = np.array([1.0, 2.0, 4.0, 9.0])
    laws = fit.Fits(replace(TRUTH, a=x.mean()), [replace(TRUTH, a=np.delete(x, k).mean()) for k in range(4)])
    want = mean_of(x)
    found = laws.measured(lambda law: law.a)
    assert (found.value, found.low, found.high) == pytest.approx((want.value, want.low, want.high))
    uneven = clean.assign(loss=clean["loss"] * (1 + 0.1 * (clean["seed"] == 2)))
    each = fit.fits(uneven)
    assert len(each.without) == QUICK.seeds
    want = TRUTH.loss(13_408, 51_200, np.inf)
    assert each.without[2].loss(13_408, 51_200, np.inf) == pytest.approx(want, abs=2e-3)
    assert each.without[0].loss(13_408, 51_200, np.inf) > want + 2e-3


def test_the_powers_put_in_are_found_at_each_scale_of_the_fit(clean):
    found = fit.by_scale(clean)
    assert found["scale"].tolist() == [0.1, 0.01, 0.001]
    assert found["difference"].to_numpy() == pytest.approx(np.full(3, TRUTH.delta - TRUTH.nu), abs=0.1)
    assert (found["low"] <= found["difference"]).all()
    assert (found["difference"] <= found["high"]).all()


def test_unseen_runs_are_those_with_the_most_data_of_their_size(clean):
    held = clean[fit.held_out(clean)]
    assert {(size, steps) for size, steps in zip(held["size"], held["steps"])} == {("13k", 400), ("50k", 200)}
    errors = fit.errors_unseen(clean)
    assert list(errors["seed"]) == list(range(QUICK.seeds))
    assert (errors["law"] < errors["simple"]).all()
    tokens = {"13k": Cell("13k", 400).tokens, "50k": Cell("50k", 200).tokens}
    cells = [("13k", COARSEST), ("13k", FP4_BEST), ("50k", COARSEST)]
    lost = [
        TRUTH.loss(n, tokens[size], TRUTH.resolution(layout.exponent, layout.mantissa), 5)
        - TRUTH.loss(n, tokens[size], TRUTH.resolution(5, 11), 5)
        for size, layout in cells
        for n in [designs.PARAMETERS[size]]
    ]
    assert errors["damage_simple"].to_numpy() == pytest.approx(np.full(QUICK.seeds, np.mean(lost)))
    assert errors["damage_law"].max() < 0.1 * np.mean(lost)


def test_a_new_size_is_judged_on_its_own():
    sizes = {**QUICK.grids, "200k": Grid((100,), (COARSEST,))}
    table = made_up(replace(QUICK, grids=sizes, seeds=2))
    assert set(table[fit.new_size(table)]["size"]) == {"200k"}
    assert not fit.new_size(made_up(QUICK)).any()
    worse = table.assign(loss=table["loss"] + (table["size"] == "200k"))
    before, after = fit.errors_unseen(table), fit.errors_unseen(worse)
    assert after["law"].to_numpy() == pytest.approx(before["law"].to_numpy())
    assert (after["new_size_simple"] > before["new_size_simple"] + 0.5).all()
    means = study.unseen_means(after).set_index("what")
    assert means.index.tolist() == ["more data", "damage", "new size"]
    assert means.loc["new size", "law"] == pytest.approx(after["new_size_law"].mean())


def test_slopes_are_of_each_seed():
    values = [pandas.Series([0.0, 1.0]), pandas.Series([1.0, 3.0]), pandas.Series([2.0, 5.0])]
    assert effects.slopes([1, 2, 3], values) == pytest.approx([1, 2])
    with pytest.raises(ValueError, match="two different places"):
        effects.slopes([2, 2], values[:2])
    with pytest.raises(ValueError, match="3 values, one a place"):
        resampled.slope([1, 2, 3], np.zeros((3, 2)))


def test_no_seed_judges_the_rival_that_it_chose():
    at = {Layout(2, 1): pandas.Series([2.0, 2.0, 2.0]), Layout(1, 2): pandas.Series([0.0, 3.0, 3.0]),
          Layout(3, 0): pandas.Series([3.0, 2.5, 2.5])}  # fmt: skip
    found = effects._against_the_best(at, Layout(2, 1), designs.FP4)
    # seed 0 alone makes E1M2 the better by the mean; the others judge it there, and it judges the others
    assert found.value == pytest.approx(np.mean([2 - 3.0, 2 - 3.0, 2 - 3.0]))
    assert found.note == "Less each of the others: E1M2 0.0000, E3M0 -0.6667."


def test_damage_is_against_the_reference_of_the_same_block(clean):
    cell = Cell("13k", 100, COARSEST, 8)
    want = TRUTH.loss(13_408, cell.tokens, TRUTH.resolution(1, 1), 3) - TRUTH.loss(
        13_408, cell.tokens, TRUTH.resolution(5, 11), 3
    )
    assert effects.damage(clean, cell).to_numpy() == pytest.approx(np.full(QUICK.seeds, want))


def test_what_was_not_trained_is_an_error(clean):
    with pytest.raises(ValueError, match="there is no training of Cell"):
        running.losses(clean, Cell("200k", 50))


def test_the_last_doubling_is_judged_below_the_critical_size_only(clean):
    tokens = Cell("13k", 400).tokens
    turn = study.turn_of(fit.fits(clean), Cell("13k", 400, COARSEST))
    assert 10**turn.value == pytest.approx(TRUTH.critical_tokens(13_408, 1, 1, 5.0), rel=0.2)
    (claim,) = (each for each in STUDY.claims if each.id == "below_critical")

    def verdict(table, log_tokens):
        critical = Measured(log_tokens, log_tokens - 0.1, log_tokens + 0.1, 6)
        return claim.judged(effects.of_last_doubling(table, QUICK, critical)["below_critical"])

    assert verdict(clean, np.log10(tokens) + 0.2) == "reproduced"
    assert verdict(clean, np.log10(tokens)) == "inconclusive"
    assert verdict(clean, np.log10(tokens) - 0.2) == "not reproduced"
    rising = made_up(QUICK, replace(TRUTH, g=TRUTH.g / 500))
    assert verdict(rising, np.log10(tokens) + 0.2) == "not reproduced"


def test_every_claim_is_measured_and_a_law_put_in_is_found():
    hurt = {"P1": 0.2, "P3": 0.1, "P5": 0.3}
    plan = replace(QUICK, seeds=3)
    table = made_up(plan, noise=1e-5, operands=lambda targets: sum(hurt.get(name, 0.01) for name in targets))
    findings = STUDY.checked(study.found(table, plan))
    verdicts = {claim.id: claim.judged(findings.measured[claim.id]) for claim in STUDY.claims}
    assert set(verdicts.values()) == {"reproduced"}
    assert findings.measured["hurts_p3"].value == pytest.approx(0.1, abs=1e-3)
    rows = findings.tables["critical"].set_index(["size", "layout"])
    assert 10 ** rows.loc[("13k", "E1M1"), "fitted"] == pytest.approx(TRUTH.critical_tokens(13_408, 1, 1, 5.0), rel=0.2)
    assert set(findings.pictures) == {"curves", "predictions", "damage"}


def test_what_is_put_in_the_other_way_is_not_found():
    backward = replace(TRUTH, delta=TRUTH.nu - 0.6, nu=TRUTH.delta, a=-0.15, n=0.2, b=-0.1, d=0.3)
    table = made_up(QUICK, backward, 1e-4)
    worst = table["layout"].isin([layout.name for layout in effects.BEST.values()])
    small = (table["block"] == 8) & (table["layout"] != "E5M11")
    table = table.assign(loss=table["loss"] + 1.0 * worst + 0.5 * small)
    found = {**effects.of_bits(table, QUICK), **effects.of_blocks(table, QUICK), **effects.of_data(table, QUICK)}
    verdicts = {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims if claim.id in found}
    assert verdicts == dict.fromkeys(found, "not reproduced")


def operands_judged(hurt, noise=1e-4):
    table = made_up(QUICK, noise=noise, operands=lambda targets: sum(hurt.get(name, 0.0) for name in targets))
    found = effects.of_operands(table, QUICK)
    return {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims if claim.id in found}, found


def test_operands_that_are_put_in_the_other_way_are_not_found():
    verdicts, found = operands_judged({"P1": 0.3, "P3": -0.1, "P5": 0.2, "P2": 0.0, "P6": 0.5})
    assert verdicts == {
        "hurts_p1": "reproduced", "hurts_p3": "not reproduced", "hurts_p5": "reproduced",
        "p5_worst": "not reproduced", "weights_alike": "not reproduced",
    }  # fmt: skip
    assert "P5" in found["weights_alike"].note


@pytest.mark.parametrize(("change", "verdict"), [(0.1, "reproduced"), (-0.1, "reproduced"), (-0.5, "not reproduced")])
def test_weights_alike_is_judged_up_and_down_by_what_is_harmful(change, verdict):
    verdicts, found = operands_judged({"P1": 0.3, "P3": 0.0, "P5": 0.4, "P2": 1.0, "P6": change})
    assert verdicts["weights_alike"] == verdict
    assert "P1" in found["weights_alike"].note
    assert found["weights_alike"].value[0] == pytest.approx(change - 0.3, abs=1e-3)
    assert found["weights_alike"].value[2] == pytest.approx(-change - 0.3, abs=1e-3)


def test_without_a_harmful_operand_nothing_is_alike_or_unlike():
    verdicts, found = operands_judged({"P1": -0.1, "P3": -0.1, "P5": -0.1, "P6": 0.5})
    assert verdicts["weights_alike"] == "inconclusive"
    assert "nothing to compare with" in found["weights_alike"].note


def test_float32_is_told_from_what_stands_for_it(clean):
    shifted = clean.assign(loss=clean["loss"] + 0.25 * ((clean["targets"] == "") & ~clean["everything"]))
    found = effects.damages(shifted, QUICK)
    plain = found[(found["layout"] == "E5M11")]
    assert plain["everything"].tolist() == [False, True]
    assert plain["damage"].to_numpy() == pytest.approx([-0.25, -0.25], abs=1e-3)


TINY = Plan({"13k": Grid((2, 4), (COARSEST,))}, ("13k", 2), 2, (8,), (COARSEST,), (COARSEST,), seeds=2)


def test_runs_that_diverged_are_at_chance_and_others_than_asked_for_are_refused(monkeypatch):
    asked = []
    changes = [lambda rows: rows]

    def pretend(task, space, **how):
        configs = [member_of(each, how["training"]).shown for each in space.configurations()]
        asked.append((task, how["task_options"]["size"], len(configs)))
        how["progress"](len(configs), len(configs))
        rows = [{**c, "status": "finished", "test_loss": 2.0 + c["seed"], "diverged": False} for c in configs]
        rows[0] |= {"diverged": True, "test_loss": 1.0}
        rows[1] |= {"test_loss": 99.0}
        return changes[-1](pandas.DataFrame(rows))

    monkeypatch.setattr(running, "sweep", pretend)
    told = []
    table = running.trained(TINY, None, lambda *now: told.append(now))
    count = TINY.seeds * len(TINY.cells())
    assert asked == [("text", "13k", count)]
    assert told == [(count, count, "training 13k")]
    assert table["loss"].iloc[:2].tolist() == [running.CHANCE] * 2
    assert running.losses(table, TINY.cells()[1]).tolist() == [2.0, 3.0]
    for change, message in (
        (lambda rows: rows.iloc[::-1].reset_index(drop=True), "expected the training of"),
        (lambda rows: rows.assign(steps=rows["steps"] + 1), "steps and seed"),
        (lambda rows: rows.iloc[1:], f"expected {count} trainings, got {count - 1}"),
    ):
        changes.append(change)
        with pytest.raises(RuntimeError, match=message):
            running.trained(TINY, None, lambda *_: None)


def test_a_failed_training_is_an_error(monkeypatch):
    def failed(*_, **__):
        return pandas.DataFrame({"status": ["failed"], "error": ["out of luck"]})

    monkeypatch.setattr(running, "sweep", failed)
    with pytest.raises(RuntimeError, match="1 trainings of 13k failed, the first with: out of luck"):
        running.trained(TINY, None, lambda *_: None)


@pytest.mark.slow
def test_training_goes_on_from_the_store(tmp_path):
    first = running.trained(TINY, tmp_path / "runs.db", lambda *_: None)
    told = []
    again = running.trained(TINY, tmp_path / "runs.db", lambda *now: told.append(now))
    pandas.testing.assert_frame_equal(first, again)
    assert told == [(len(first), len(first), "training 13k")]
    assert ((first["loss"] > 3) & (first["loss"] < 7)).all()
