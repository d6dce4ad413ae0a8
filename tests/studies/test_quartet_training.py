"""Quartet's roundings in training: recipes, paired differences by hand, claims on made-up runs, lengths of one program."""

import numpy as np
import pandas
import pytest
from halfulp import quantize
from halfulp.studies.quartet_training import STUDY, analysis, jax_trainings, recipes, study

PLAN = study.PLANS["quick"]
CALLS: list[tuple[str, ...]] = []


def made_up(effect, plan=PLAN, noise=0.0, swing=0.0):
    """Runs whose log loss is that of the seed, less a power of the length, plus effect(recipe, place of the length).

    With a swing, also plus that much, times a number of the recipe, up in one seed and down in the next.
    """
    rng = np.random.default_rng(0)
    rows = [
        (task, recipe, steps, seed, part.ratio(steps),
         np.exp(0.1 * seed - 0.1 * place + effect(recipe, place) + noise * rng.standard_normal()
                + swing * number * (place + 1) * (-1) ** seed))
        for task, part in plan.items() for number, recipe in enumerate(part.recipes) for place, steps in enumerate(part.lengths)
        for seed in range(part.seeds)
    ]  # fmt: skip
    return pandas.DataFrame(rows, columns=["task", "recipe", "steps", "seed", "ratio", "loss"])


def test_recipes_of_one_program_do_share_it():
    from halfulp.sim.training.jax_grid import groups_of
    from halfulp.sim.training.training import Run

    for names in recipes.SHARED:
        assert len(groups_of([Run(recipes.RECIPES[name]) for name in names])) == 1
    assert sorted(name for names in recipes.SHARED for name in names) == sorted(recipes.RECIPES)


def test_passes_leave_the_other_one_in_float32():
    active = {
        name: [place for place in (*recipes.FORWARD, *recipes.BACKWARD) if getattr(recipe, place).active]
        for name, recipe in recipes.RECIPES.items()
    }
    assert active["forward_nearest"] == active["forward_quest"] == list(recipes.FORWARD)
    assert active["backward_stochastic"] == list(recipes.BACKWARD)
    assert active["quartet"] == [*recipes.FORWARD, *recipes.BACKWARD]
    assert active["float32"] == []


def test_absmax_scales_bring_the_largest_element_to_3_to_6():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((512, 32)) * np.exp2(rng.uniform(-3, 3, (512, 1)))).astype(np.float32)
    top = np.abs(quantize(x, recipes.ABSMAX)).max(1)
    scale = np.exp2(np.ceil(np.log2(np.abs(x).max(1) / 6)))
    assert set(np.round(top / scale, 6)) <= {3.0, 4.0, 6.0}
    draws = np.mean([quantize(x, recipes.ABSMAX, rounding="stochastic", seed=seed) for seed in range(400)], axis=0)
    assert (
        np.abs((draws - x) / scale[:, None]).max() < 0.25
    )  # unbiased also at the largest: steps of 2, five deviations


def test_the_mean_magnitude_gives_quests_scale_of_normal_blocks():
    """In blocks so long that mean and deviation are those of the distribution, the scales are the same power of two."""
    x = np.random.default_rng(0).standard_normal((1, 1 << 16)).astype(np.float32)
    own = recipes.MEAN.replace("block=32", "block=row")
    for deviation in np.exp2(np.linspace(0, 1, 9) + 0.06):
        ideal = recipes.QUEST_FACTOR * deviation / 6
        scale = np.exp2(np.round(np.log2(ideal)))
        grid = np.unique(np.abs(quantize(x * np.float32(deviation), own)))
        assert grid[1] == scale / 2
        assert grid[-1] == 6 * scale


def test_recipes_are_put_together_by_program():
    assert recipes.together(("luq_fp4", "float32", "luq_int4")) == [("float32",), ("luq_int4", "luq_fp4")]
    with pytest.raises(ValueError, match="expected recipes of .*got 'forward_sr'"):
        recipes.together(("forward_sr",))


def test_every_plan_has_what_its_claims_are_about():
    for plan in study.PLANS.values():
        assert set(plan) == {"teacher_student", "text"}
        for part in plan.values():
            assert part.forward in part.recipes
            assert part.seeds >= 5
            assert list(part.lengths) == sorted(set(part.lengths))
            assert sum(len(c["recipes"]) for c in part.configs("text")) * part.seeds * len(part.lengths) == part.runs
    assert PLAN["text"].ratio(256) == 256 * 8 * 64 / 13408


def test_parameters_are_those_that_the_law_counts():
    from halfulp.sim.models.leaves import count
    from halfulp.sim.models.sizes import Geometry, described

    for plan in study.PLANS.values():
        size, context = (plan["text"].options[name] for name in ("size", "context"))
        model = described("llama", size, Geometry((context,), 256, {"tied": False}))
        assert plan["text"].parameters == count(model.leaves, embeddings=False)
        network = described("mlp", plan["teacher_student"].options["size"], Geometry((32,), 1))
        assert plan["teacher_student"].parameters == count(network.leaves)


def test_mean_ratio_and_growth_by_hand():
    table = pandas.DataFrame(
        [("t", "a", 10, 0, np.e), ("t", "a", 40, 0, np.e**3), ("t", "a", 10, 1, np.e**2), ("t", "a", 40, 1, np.e**2),
         ("t", "b", 10, 0, 1.0), ("t", "b", 40, 0, 1.0), ("t", "b", 10, 1, 1.0), ("t", "b", 40, 1, np.e)],
        columns=["task", "recipe", "steps", "seed", "loss"],
    )  # fmt: skip
    assert analysis.ratios(table, "t", "a", "b") == pytest.approx(np.array([[1, 3], [2, 1]]))
    found = analysis.mean_ratio(table, "t", "a", "b")
    assert (found.value, found.count) == (pytest.approx(1.75), 2)  # of 2 and 1.5
    assert found.high - found.value == pytest.approx(12.7062 * 0.25, rel=1e-4)  # t of one degree of freedom
    assert analysis.mean_ratio(table, "t", "a", "b", length=-1).value == pytest.approx(2)
    assert analysis.growth(table, "t", "a", "b").value == pytest.approx((2 / 2 - 1 / 2) / 2)  # two doublings
    lead = analysis.shrinking_lead(table, "t", "b", "a")
    assert lead.value == pytest.approx([1.5, -0.25])
    assert (np.array(lead.high) - lead.value)[0] == pytest.approx(12.7062 * 0.5, rel=1e-4)
    found = analysis.by_length(table, [("a", "b"), ("a", "c")])
    assert found[["task", "recipe", "other", "steps"]].to_numpy().tolist() == [["t", "a", "b", 10], ["t", "a", "b", 40]]
    assert found["value"].tolist() == pytest.approx([1.5, 2.0])
    with pytest.raises(ValueError, match="a slope needs two different places or more"):
        analysis.growth(table[table["steps"] == 10], "t", "a", "b")


def test_runs_that_are_missing():
    table = made_up(lambda recipe, place: 0.0)
    with pytest.raises(
        ValueError, match="no training of 'quartet' on 'text'; there are backward_nearest, .*, forward_stochastic$"
    ):
        analysis.mean_ratio(table, "text", "quartet", "float32")
    with pytest.raises(ValueError, match="on 'digits'; there are none of that task"):
        analysis.mean_ratio(table, "digits", "quartet", "float32")
    lost = table.drop(table[(table["recipe"] == "float32") & (table["seed"] == 0)].index)
    with pytest.raises(ValueError, match="not trained with the same seeds"):
        analysis.mean_ratio(lost, "text", "forward_nearest", "float32")


PUBLISHED = {"float32": 0.0, "forward_quest": 0.02, "forward_mean": 0.02, "forward_nearest": 0.025,
             "forward_stochastic": 0.05, "backward_nearest": 0.001, "backward_stochastic": 0.004, "quartet": 0.025,
             "mxfp4": 0.04, "luq_int4": 0.1, "luq_fp4": 0.4}  # fmt: skip


def test_the_published_order_is_reproduced_and_its_reverse_is_not():
    def effect(recipe, place):
        grows = {"forward_quest": 0.002, "forward_nearest": 0.002, "backward_nearest": 0.001}
        return PUBLISHED[recipe] + grows.get(recipe, 0.0) * place

    for sign, verdict in ((1, "reproduced"), (-1, "not reproduced")):
        found = study.measured(made_up(lambda r, k, s=sign: s * effect(r, k), noise=1e-5), PLAN)
        assert {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims} == {
            claim.id: verdict for claim in STUDY.claims
        }


def test_noise_hides_every_difference():
    """What goes up in one seed and down in the next, by more than any effect."""
    found = study.measured(made_up(lambda recipe, place: PUBLISHED[recipe], swing=1.0), PLAN)
    assert {claim.judged(found[claim.id]) for claim in STUDY.claims} == {"inconclusive"}


@pytest.mark.parametrize(
    ("at_first", "change", "verdict"),
    [(-0.003, 0.001, "reproduced"), (0.003, 0.001, "not reproduced"), (-0.003, -0.001, "not reproduced")],
)
def test_a_lead_shrinks_only_where_there_is_one(at_first, change, verdict):
    """Nearest rounding that is behind, and more so with more data, is none."""

    def effect(recipe, place):
        return at_first + change * place if recipe == "backward_nearest" else 0.0

    found = study.measured(made_up(effect, noise=1e-6), PLAN)
    for claim in STUDY.claims:
        if claim.id.startswith("backward_lead_shrinks"):
            assert claim.judged(found[claim.id]) == verdict


def test_parts_that_cannot_be_judged():
    for lengths in ((), (16, 8), (8, 8)):
        with pytest.raises(ValueError, match="expected lengths in ascending order"):
            study.Part({}, 100, ("float32",), lengths, {"batch": 4}, 0.1, 5, "float32")
    with pytest.raises(ValueError, match="expected two seeds or more, for an interval, got 1"):
        study.Part({}, 100, ("float32",), (8,), {"batch": 4}, 0.1, 1, "float32")


def pretended(config):
    """Losses as `trainings` gives them."""
    CALLS.append(tuple(config["recipes"]))
    return {
        f"{recipe} {steps} {seed}": np.exp(PUBLISHED[recipe] + 0.1 * seed) / steps
        for recipe in config["recipes"]
        for steps in config["lengths"]
        for seed in range(config["seeds"])
    }


def test_a_killed_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(jax_trainings, "trainings", pretended)
    CALLS.clear()
    part = study.Part({}, 100, ("float32", "mxfp4"), (8, 16), {"batch": 4}, 0.1, 5, "float32")
    seen: list[tuple[int, int]] = []
    some = study.Part({}, 100, ("float32",), (8, 16), {"batch": 4}, 0.1, 5, "float32")
    study.trained("text", some, tmp_path / "runs.db")
    table = study.trained("text", part, tmp_path / "runs.db", lambda *now: seen.append(now))
    assert CALLS == [("float32",), ("mxfp4",)]
    assert seen[0] == (1, 2)
    assert seen[-1] == (2, 2)
    assert len(table) == part.runs
    found = table.set_index(["recipe", "steps", "seed"])["loss"]
    assert found["mxfp4", 16, 3] == pytest.approx(np.exp(0.04 + 0.3) / 16)
    assert analysis.mean_ratio(table, "text", "mxfp4", "float32").value == pytest.approx(0.04)


def diverging(config):
    """One that diverged."""
    return {name: float("nan") for name in pretended(config)}


def test_a_training_that_diverged_is_named(monkeypatch):
    monkeypatch.setattr(jax_trainings, "trainings", diverging)
    part = study.Part({}, 100, ("float32",), (8,), {"batch": 4}, 0.1, 5, "float32")
    with pytest.raises(RuntimeError, match="float32 diverged on text after 8 steps"):
        study.trained("text", part, None)


def test_trainings_of_one_seed_begin_alike():
    config = {"task": "diabetes", "options": {}, "recipes": ["float32"], "kept": [], "lengths": [1, 3], "seeds": 2,
              "rate": 1e-9, "training": {"batch": 16, "width": 2}}  # fmt: skip
    found = jax_trainings.trainings(config)
    assert set(found) == {f"float32 {steps} {seed}" for steps in (1, 3) for seed in (0, 1)}
    assert found["float32 1 0"] == pytest.approx(found["float32 3 0"], rel=1e-5)
    assert found["float32 1 0"] != pytest.approx(found["float32 1 1"], rel=1e-3)
