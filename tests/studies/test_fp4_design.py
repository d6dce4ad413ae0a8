"""The design space of FP4 training: points as recipes, designs, scores and paired effects on made-up runs, one training."""

import numpy as np
import pandas
import pytest
from halfulp.formats.scaled_registry import scaled
from halfulp.studies.fp4_design import STUDY, analysis, designs, measures, plans, study
from halfulp.studies.fp4_design.designs import Point

OPERANDS = ("fprop_x", "fprop_w", "dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x")
SETTING = plans.SETTINGS["digits"]


def made_up(points, named=("mxfp4",), seeds=6, extra=lambda point: 0.0, task="digits", noise=0.0):
    """Runs in which float32 has a loss of 0.1 * (1 + seed / 10), MXFP4 four times that, points e^extra times it."""
    setting, rng = plans.SETTINGS[task], np.random.default_rng(0)
    logs = {point.name: extra(point) for point in points} | dict.fromkeys(named, np.log(4)) | {"identity": 0.0}
    rows = [
        {
            "recipe": row["recipe"].name,
            "seed": row["seed"],
            "test_loss": 0.1
            * (1 + row["seed"] / 10)
            * np.exp(logs[row["recipe"].name] + noise * rng.standard_normal()),
            "diverged": False,
        }
        for row in designs.rows(points, setting, seeds, named)
    ]
    return pandas.DataFrame(rows)


def test_a_point_is_a_recipe():
    recipe, found = Point().recipe, scaled("fp4_e2m1", scale="ue5m3", block=16, outer="binary32")
    assert {getattr(recipe, name).fmt for name in OPERANDS} == {found.name}
    random = [name for name in OPERANDS if getattr(recipe, name).rounding]
    turned = [name for name in OPERANDS if getattr(recipe, name).transform]
    assert random == ["dgrad_e", "wgrad_e"]
    assert turned == list(OPERANDS[2:])
    everything = Point(rounding="backward", transform="none", estimator="dge", scale_rounding="stochastic").recipe
    assert [name for name in OPERANDS if getattr(everything, name).rounding] == list(OPERANDS[2:])
    assert everything.fprop_x.gradient.name == "dge"
    assert everything.dgrad_w.gradient.name == "default"
    assert everything.wgrad_x.scale_rounding == "stochastic"


def test_mxfp4_is_a_point():
    point = Point(scale="e8m0", tensor=False, rounding="nearest", transform="none", block=32)
    assert {getattr(point.recipe, name).fmt for name in OPERANDS} == {"mxfp4"}


@pytest.mark.parametrize(("name", "value"), [("scale", "e4m3"), ("rounding", "sr"), ("estimator", "ste")])
def test_unknown_choices(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected one of .*got '{value}'"):
        Point(**{name: value})


def test_names_tell_points_apart():
    points = [point for part in plans.PLANS["full"].values() for point in part.points]
    assert len({point.name for point in points}) == len(set(points))


def test_the_plans_are_as_large_as_they_say():
    for plan in plans.PLANS.values():
        for part in plan.values():
            assert part.seeds >= 5
            assert part.trainings == len(list(designs.rows(part.points, SETTING, part.seeds, part.named)))
    sizes = {scale: sum(part.trainings for part in plan.values()) for scale, plan in plans.PLANS.items()}
    assert sizes["quick"] < 1000
    assert sizes["full"] >= 4000
    assert set(plans.PLANS["full"]) == set(plans.SETTINGS)


def test_what_is_pooled_has_the_core_and_published_recipes():
    full = plans.PLANS["full"]
    for task in ("digits", "teacher_student", "diabetes"):
        assert set(designs.core()) <= set(full[task].points)
        assert set(designs.NAMED[:3]) < set(full[task].named)
    assert set(designs.fraction()) <= set(designs.core())
    assert set(designs.NAMED) < set(full["digits"].named)


def test_rates_are_those_of_the_setting_times_a_factor():
    points = designs.estimators(Point(), ["dge"])
    rows = list(designs.rows(points, SETTING, 1, ()))
    assert [row["learning_rate"] for row in rows[:-1]] == [rate * 0.1 for rate in designs.RATES]
    assert len({row["recipe"].name for row in rows}) == len(points) + 1


def test_the_core_is_balanced():
    table = pandas.DataFrame(
        [(p.representation, p.rounding, p.transform) for p in designs.core()], columns=list(analysis.CORE)
    )
    assert len(table) == 9 * 3 * 2
    assert not table.duplicated().any()


def test_scores_have_float32_and_mxfp4_as_ends():
    point = Point()
    table = analysis.scored(made_up([point], extra=lambda _: np.log(2)), [point], SETTING).set_index("recipe")
    assert table.loc["identity", "gain"].to_numpy() == pytest.approx(np.ones(6))
    assert table.loc["mxfp4", "gain"].to_numpy() == pytest.approx(np.zeros(6), abs=1e-12)
    assert table.loc[point.name, "score"].to_numpy() == pytest.approx(np.full(6, np.log(2)))
    assert table.loc[point.name, "gain"].to_numpy() == pytest.approx(np.full(6, 0.5))
    assert (table.loc["identity", "progress"] == 1).all()


def test_runs_that_diverged_are_at_chance():
    point = Point()
    runs = made_up([point])
    own = runs["recipe"] == point.name
    runs.loc[own, "diverged"] = True
    runs.loc[own, "test_loss"] = [np.nan, np.inf, 0.01, 50.0, 1.0, 2.0]
    table = analysis.scored(runs, [point], SETTING)
    found = table[table["recipe"] == point.name]
    assert (found["test_loss"] == SETTING.chance).all()
    assert (found["progress"] == 0).all()


def test_paired_effects_are_those_put_in():
    points = designs.core()
    effect = {"nearest": 0.3, "gradients": 0.1, "backward": 0.0}
    table = analysis.scored(
        made_up(points, extra=lambda p: 1 + effect[p.rounding] - 0.2 * p.tensor, noise=0.01), points, SETTING
    )
    found = analysis.paired(table, "rounding", "nearest", "gradients")
    assert found.low < 0.2 < found.high
    assert found.high - found.low < 0.02
    assert found.count == 6
    assert analysis.paired(table, "tensor", True, False).value == pytest.approx(-0.2, abs=0.01)
    pair = analysis.paired(table[table["rounding"] == "nearest"], "representation", "UE5M3+T", "E8M0")
    assert pair.value == pytest.approx(-0.2, abs=0.02)


def test_which_factor_leads():
    points = designs.core()
    scales = analysis.scored(
        made_up(points, extra=lambda p: 0.5 * (p.scale == "fp8_e4m3"), noise=0.01), points, SETTING
    )
    rounding = analysis.scored(
        made_up(points, extra=lambda p: 0.5 * (p.rounding == "nearest"), noise=0.01), points, SETTING
    )
    assert analysis.lead_of_scales(analysis.core_of(scales)).low > 0.9
    assert analysis.lead_of_scales(analysis.core_of(rounding)).high < -0.9
    shares = analysis.shares(analysis.core_of(scales), analysis.CORE).set_index("term")["share"]
    assert shares["representation"] > 0.95


def test_overhead_counts_transforms_tensor_scales_and_random_bits():
    plain = Point(tensor=False, rounding="nearest", transform="none")
    cost = analysis.overhead(plain.recipe)
    rotated = analysis.overhead(Point(tensor=False, rounding="nearest").recipe)
    assert rotated - cost == pytest.approx(4 * (4 + 1) / 6)  # log2(16) additions and a sign of four operands of six
    assert analysis.overhead(Point(rounding="nearest", transform="none").recipe) > cost
    assert analysis.overhead(Point(tensor=False, transform="none").recipe) > cost
    assert analysis.overhead("identity") == 0


def test_the_front_leaves_float32_out():
    cheap = Point(tensor=False, rounding="nearest", transform="none")
    table = analysis.scored(
        made_up([cheap, Point()], extra=lambda p: 1.0 if p == cheap else 0.5), [cheap, Point()], SETTING
    )
    found = analysis.front(table).set_index("recipe")
    assert "identity" not in found.index
    assert found["on_front"][[cheap.name, Point().name]].all()


def test_estimators_are_compared_at_their_best_rates():
    # straight through is best at .3 of the setting's rate, DGE at .1 and then .2 worse
    best = {"identity": (0.3, 1.0), "dge": (0.1, 1.2)}
    points = designs.estimators(plans.SIMPLE, best)

    def extra(point):
        rate, loss = best[point.estimator]
        return loss + abs(np.log10(point.rate / rate))

    runs = made_up(points, extra=extra, task="teacher_student")
    table = analysis.scored(runs, points, plans.SETTINGS["teacher_student"])
    kept, rates = analysis.at_best_rates(measures.estimators_of(table))
    assert rates == {"identity": 0.3, "dge": 0.1}
    assert analysis.paired(kept, "estimator", "identity", "dge").value == pytest.approx(-0.2)


def test_what_is_pooled_every_task_has():
    points = designs.factorial(scale=["e8m0"], tensor=[False], rounding=["nearest", "gradients"])
    few = analysis.scored(made_up(points[:1], seeds=3), points, SETTING)
    many = analysis.scored(made_up(points, seeds=6, task="text"), points, plans.SETTINGS["text"])
    found = analysis.common(pandas.concat([few, many]))
    assert set(found["recipe"]) == {points[0].name, "mxfp4", "identity"}
    assert set(found["seed"]) == {0, 1, 2}
    assert len(found) == 2 * 3 * 3


def test_a_task_with_a_fraction_is_not_pooled():
    core = analysis.scored(made_up(designs.core(), seeds=2), designs.core(), SETTING)
    points = designs.fraction()
    part = analysis.scored(made_up(points, seeds=2, task="text"), points, plans.SETTINGS["text"])
    found = analysis.common(pandas.concat([core, part]))
    assert set(found["task"]) == {"digits"}
    assert set(analysis.balanced(analysis.core_of(part))["transform"]) == {"none"}
    assert len(analysis.balanced(analysis.core_of(core))) == 2 * len(designs.core())


def pretended(scale, seeds=5):
    """Runs of a whole plan with a few seeds, in which E4M3 scales double the loss and others of the representations differ little."""
    small = dict(zip(designs.SCALES, (0.1, 0.0, 0.02, 0.03, 0.04)))

    def runs(task, part):
        made = made_up(
            part.points, part.named, seeds, lambda p: 0.5 * (p.scale == "fp8_e4m3") + small[p.scale], task, 0.02
        )
        return analysis.scored(made, part.points, plans.SETTINGS[task])

    return pandas.concat([runs(task, part) for task, part in plans.PLANS[scale].items()], ignore_index=True)


def test_every_claim_is_measured():
    table = pretended("quick")
    found = study.measured(table, analysis.front(table))
    assert set(found) == {claim.id for claim in STUDY.claims}
    verdicts = {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims}
    assert verdicts["scales_lead_digits"] == "reproduced"
    assert verdicts["scales_lead_converging"] == "reproduced"
    assert verdicts["e4m3_digits"] == "not reproduced"


def test_the_findings_of_full_runs():
    found = STUDY.checked(study.findings(pretended("full", 2), "full"))
    tables = found.tables
    conclusions = tables["conclusions"].set_index(["task", "conclusion"])
    assert set(tables["conclusions"]["task"]) == {*plans.SETTINGS, "pooled"}
    assert conclusions.loc[("pooled", "scales_lead"), "verdict"] == "reproduced"
    assert conclusions.loc[("text", "rht"), "seeds"] == 2
    assert conclusions.loc[("text", "scales_lead"), "verdict"] == "reproduced"
    effects = tables["factorial_effects"]
    assert set(effects["task"]) == {"digits", "teacher_student", "pooled"}
    assert {"block", "loss_scale", "representation:block"} <= set(effects["factor"])
    front = tables["front"]
    assert set(designs.NAMED[:3]) < set(front["recipe"])
    assert set(designs.NAMED) < set(tables["fronts"].loc[tables["fronts"]["task"] == "digits", "recipe"])
    rounded = tables["scale_rounding_effects"]
    # 48 made-up runs with a noise of .02, in which the rounding of scales does nothing
    assert abs(rounded[rounded["factor"] == "scale_rounding"]["estimate"]).max() < 0.01
    assert set(found.pictures) == {"front", "effects", "scales"}


@pytest.mark.slow
def test_training_goes_on_from_the_store(tmp_path):
    points = tuple(designs.factorial(scale=["e8m0"], tensor=[False], rounding=["nearest"], transform=["none"]))
    part, short = plans.Part(points, seeds=2), plans.Training(steps=10, batch=64)
    counts: list[tuple[int, int]] = []
    first = plans.trained("digits", part, tmp_path / "runs.db", lambda *now: counts.append(now), short)
    again = plans.trained("digits", part, tmp_path / "runs.db", lambda *now: counts.append(now), short)
    assert counts[0] == (0, 6)
    assert counts[-1] == (6, 6)
    pandas.testing.assert_frame_equal(first, again)
    assert (first["test_loss"] <= SETTING.chance).all()
