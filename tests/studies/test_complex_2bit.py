"""Complex weights of two bits: codes against the library's own, counts of bits, pairing, and claims on made-up runs."""

from functools import cache

import numpy as np
import pandas
import pytest
from halfulp.emulate.complexes import from_widely_linear, to_widely_linear
from halfulp.emulate.quantize import quantize
from halfulp.sim.functions.quantized import quantized
from halfulp.sim.models.feedforward import Mlp
from halfulp.sim.models.transformers import Llama
from halfulp.sim.tasks.loading import task
from halfulp.sim.training.trainer import train
from halfulp.sim.training.training import Run, Training
from halfulp.studies.complex_2bit import STUDY, study, trainings
from halfulp.studies.complex_2bit.entropy import phase_entropy
from halfulp.studies.complex_2bit.jax_bench import Bench, resized
from halfulp.studies.complex_2bit.jax_codes import (
    CODES,
    binary,
    coded_product,
    per_token,
    phases,
    straight,
    ternary,
    widely_linear,
    with_products,
)
from halfulp.studies.complex_2bit.pairing import at_chance, difference, judged_runs, mean
from halfulp.studies.complex_2bit.storage import all_bits, as_large, bits_of, coded

MLP = Mlp(64, (64, 64), 10)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("code", "fmt"), [(ternary, "bitnet"), (binary, "binary_absmean"), (per_token, "int8_per_token")]
)
def test_codes_are_those_of_the_library(code, fmt):
    x = gaussian(64, 48)
    np.testing.assert_allclose(np.asarray(code(x)), quantize(x, fmt), rtol=1e-6)


@pytest.mark.parametrize(("stages", "fmt"), [(1, "phase"), (2, "phase_t2")])
def test_phases_are_those_of_the_library(stages, fmt):
    w = gaussian(32, 48)
    expected = from_widely_linear(*(quantize(part, fmt) for part in to_widely_linear(w)))
    np.testing.assert_allclose(np.asarray(widely_linear(w, stages)), expected, atol=2e-6)


def test_ties_of_phases():
    # 1 + i -> i, -1 + i -> -1, -1 - i -> -i, 1 - i -> 1, 0 -> 1
    re, im = (np.array(part, np.float32) for part in ([1, -1, -1, 1, 0], [1, 1, -1, -1, 0]))
    found = phases(re, im)
    expected = quantize(re + 1j * im, "phase")
    np.testing.assert_allclose(np.asarray(found[0]), expected.real, atol=1e-7)
    np.testing.assert_allclose(np.asarray(found[1]), expected.imag, atol=1e-7)
    assert [np.sign(part).tolist() for part in found] == [[0, -1, 0, 1, 1], [1, 0, -1, 0, 0]]


def test_gradients_go_straight_through():
    import jax

    x = gaussian(5)
    assert jax.grad(lambda x: straight(x, x * x + 1).sum())(x).tolist() == [1] * 5
    assert np.asarray(straight(x, ternary(x))).tolist() == np.asarray(ternary(x)).tolist()


@cache
def bench(steps=4):
    chosen, how = task("digits", size="xs"), Training(steps=steps, batch=32, optimizer="adamw", width=1)

    def seen(parameters, choice, step):
        made = lambda name, layer: None if name == "head" else coded_product(choice["code"], layer["weight"])  # noqa: E731
        return with_products(parameters, made)

    return Bench(chosen, how, seen)


def test_pieces_are_the_whole():
    found = bench()
    whole, pieces = (found.run(3, 0.01, {"code": 1}, pause=pause) for pause in (None, 3))
    assert pieces.metrics == whole.metrics
    assert not whole.diverged
    assert whole.metrics["loss"] != found.run(3, 0.01, {"code": 0}).metrics["loss"]


@pytest.mark.slow
def test_a_bench_trains_as_the_trainer_does():
    found = bench()
    expected = train(found.task, Run("identity", seed=3, learning_rate=0.01), found.training)[0]
    assert found.run(3, 0.01, {"code": 0}).metrics == pytest.approx(expected.metrics, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bitnet", "binary", "ifairy"])
def test_gradients_are_those_of_recipes(name):
    import jax

    chosen, code = task("digits", size="xs"), {"bitnet": "ternary", "ifairy": "phase"}.get(name, name)
    parameters, words = chosen.init(0), np.zeros(2, np.uint32)
    batch = {key: array[:32] for key, array in chosen.train.items()}

    def own(parameters):
        made = lambda key, layer: None if key == "head" else coded_product(CODES.index(code), layer["weight"])  # noqa: E731
        return chosen.loss(with_products(parameters, made), batch, words)

    recipe = quantized(chosen.loss, [("head", None), ("*", name)])
    expected = jax.value_and_grad(lambda p: recipe(p, batch, words))(parameters)
    found = jax.value_and_grad(own)(parameters)
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[1], expected[1])


def test_a_batch_larger_than_the_data_is_refused():
    chosen = task("digits", size="xs")
    with pytest.raises(ValueError, match="1437 samples to train on, got a batch of 2000"):
        Bench(chosen, Training(batch=2000), lambda parameters, choice, step: parameters)


def test_bits_are_counted_by_hand():
    assert coded(MLP.leaves) == {"layers.0": (64, 64), "layers.1": (64, 64)}
    assert bits_of(MLP, "float32") == 32 * 8192
    assert bits_of(MLP, "phase") == 8192 + 2 * 4 * 32
    assert bits_of(MLP, "phase_t2") == 2 * bits_of(MLP, "phase")
    assert bits_of(MLP, "ternary") == pytest.approx(8192 * np.log2(3) + 64)
    # a head of 64 x 10, and biases of 64, 64 and 10, stay in float32
    assert all_bits(MLP, "phase") == bits_of(MLP, "phase") + 32 * (640 + 138)
    assert all_bits(MLP, "float32") == 32 * (8192 + 640 + 138)
    with pytest.raises(ValueError, match="expected a code of float32, .* got 'int4'"):
        bits_of(MLP, "int4")


@pytest.mark.parametrize("name", list(trainings.SETTINGS))
def test_wider_models_take_equally_many_bits(name):
    description = task(name, **dict(trainings.SETTINGS[name].options)).description
    bits = all_bits(description, "ternary")
    wide = as_large(description, "phase", bits)
    assert abs(all_bits(wide, "phase") / bits - 1) < 0.01  # head and biases too
    found = trainings.storage_of(name, trainings.SETTINGS[name])
    assert found["phase_wide"] == all_bits(wide, "phase")
    assert found["phase"] < found["phase_wide"]
    assert sum(n * m for n, m in coded(wide.leaves).values()) > sum(
        n * m for n, m in coded(description.leaves).values()
    )
    if isinstance(description, Llama):
        assert wide.width == description.width


def test_a_resized_task_has_another_model_for_its_data():
    found = resized(task("digits", size="s"), Mlp(64, (10, 8), 10))
    assert found.init(0)["layers"]["1"]["weight"].shape == (8, 10)
    assert found.parameters == 64 * 10 + 10 + 80 + 8 + 80 + 10


def test_entropy_of_codes():
    assert phase_entropy(np.array([1, 1j, -1, -1j])) == pytest.approx(2)
    assert phase_entropy(np.array([1, 2, 3j, 5j])) == pytest.approx(1)
    assert phase_entropy(np.full(4, 2 + 0.1j)) == 0
    u, w = to_widely_linear(gaussian(64, 64))
    assert min(phase_entropy(u), phase_entropy(w)) > 1.99


def test_differences_are_paired():
    runs = made_up({"a": 0.5, "b": 0.0}, noise=0.0)
    found = difference(runs, "loss", "a", "b", logs=True)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.count == 6
    with pytest.raises(ValueError, match="expected one run of 'c' a seed, got 0"):
        difference(runs, "loss", "c", "b")
    with pytest.raises(ValueError, match="have other seeds: .5"):
        difference(runs[(runs["seed"] < 5) | (runs["variant"] == "a")], "loss", "a", "b")
    with pytest.raises(ValueError, match=r"has no loss at seeds \[0, 1, 2, 3, 4, 5\]; see at_chance"):
        difference(runs.assign(loss=np.inf), "loss", "a", "b")


def test_runs_that_diverged_count_as_chance():
    runs = made_up({"a": 0.5, "b": 0.0}, noise=0.0, accuracy=0.9)
    runs.loc[(runs["variant"] == "a") & (runs["seed"] == 2), ["loss", "diverged"]] = [np.nan, True]
    found = at_chance(runs, {"loss": 3.0, "accuracy": 0.1})
    own = found[found["variant"] == "a"].set_index("seed")
    assert own["accuracy"].tolist() == [0.9, 0.9, 0.1, 0.9, 0.9, 0.9]
    # e^(seed / 3 + 1 / 2): the loss of seed 2 is chance, and those of seeds 3 to 5 are no worse than it
    assert own["loss"].to_numpy() == pytest.approx([np.exp(0.5), np.exp(5 / 6), 3, 3, 3, 3])
    paired = difference(found, "loss", "a", "b", logs=True)
    expected = np.log(own["loss"].to_numpy()) - np.arange(6) / 3
    expected[4:] = np.log(3) - np.log(np.minimum(np.exp(np.arange(4, 6) / 3), 3))
    assert paired.value == pytest.approx(expected.mean())
    assert paired.note == "Runs that diverged and count as chance: 1 of a."
    assert difference(found, "loss", "b", "b").note == ""
    gates = mean(found.assign(gate=found["seed"].astype(float)), "a", "gate")
    assert (gates.value, gates.count) == (pytest.approx((0 + 1 + 3 + 4 + 5) / 5), 5)
    assert gates.note == "1 runs that diverged are left out."


def test_seeds_that_choose_a_rate_are_not_judged():
    runs = made_up({"a": 0.0, "b": 0.0})
    # the higher rate is better on the seeds that are judged, and by much; they have no say
    better = (runs["variant"] == "a") & (runs["rate"] == 0.03) & (runs["seed"] >= 2)
    runs.loc[better, "loss"] /= 100
    apart = judged_runs(runs, 2)
    assert sorted(apart["seed"].unique()) == [2, 3, 4, 5]
    assert set(apart["rate"]) == {0.01}
    together = judged_runs(runs, 0)
    assert together["seed"].nunique() == 6
    assert together.groupby("variant")["rate"].first().to_dict() == {"a": 0.03, "b": 0.01}


def made_up(logs, noise=0.01, **columns):
    """Runs whose losses vary with the seed by a lot, and with the variant by its log."""
    rng = np.random.default_rng(1)
    rows = [
        {"variant": variant, "seed": seed, "rate": rate, "diverged": False,
         "loss": np.exp(seed / 3 + log + noise * rng.standard_normal() + worse), **columns}
        for variant, log in logs.items() for seed in range(6) for rate, worse in ((0.01, 0.0), (0.03, 0.3))
    ]  # fmt: skip
    table = pandas.DataFrame(rows)
    return table if noise else table[table["rate"] == 0.01]


def test_every_claim_is_measured_at_the_best_rate():
    logs = dict(zip(trainings.VARIANTS, (0.0, 0.3, 0.5, 0.2, 0.1, 0.15)))
    runs = pandas.concat([made_up(logs, task=name, entropy=1.99, bits=1000.0) for name in study.TASKS])
    best = study.judged(runs.assign(loss=runs["loss"] / 20), {"text": 0, "digits": 2, "teacher_student": 2})
    assert best.groupby("task")["seed"].min().to_dict() == {"text": 0, "digits": 2, "teacher_student": 2}
    assert set(best["rate"]) == {0.01}
    found = study.measured(best)
    assert set(found) == {claim.id for claim in STUDY.claims}
    verdicts = {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims}
    assert verdicts["bitnet_storage_digits"] == "reproduced"
    assert found["bitnet_storage_digits"].value == pytest.approx(-0.15, abs=0.02)
    assert verdicts["float32_digits"] == "not reproduced"
    assert {verdicts[f"codes_{name}"] for name in study.TASKS} == {"reproduced"}
    best.loc[best["task"] == "digits", "entropy"] = 1.97  # other tasks do not make up for it
    assert (
        STUDY.claims[[claim.id for claim in STUDY.claims].index("codes_digits")].judged(
            study.measured(best)["codes_digits"]
        )
        == "not reproduced"
    )


def test_the_plan_pairs_seeds_and_goes_on(tmp_path, monkeypatch):
    setting = trainings.Setting((("size", "xs"),), Training(5, 32, optimizer="adamw"), (0.01,), 2)
    plan = list(trainings.rows("digits", setting))
    assert {(row["variant"], row["seed"]) for row in plan} == {(v, s) for v in trainings.VARIANTS for s in range(2)}
    asked = []
    monkeypatch.setattr(trainings, "_bench", lambda *given: asked.append(given) or bench())
    plan = [row for row in plan if row["variant"] in ("ternary", "phase")]
    first = trainings.trained(trainings.train_one, plan, tmp_path / "runs.db", "test", lambda done, total: None)
    assert len(asked) == 4
    again = trainings.trained(trainings.train_one, plan, tmp_path / "runs.db", "test", lambda done, total: None)
    assert len(asked) == 4
    pandas.testing.assert_frame_equal(first, again)
    assert first["entropy"].notna().sum() == 2
    assert first["bits"].tolist() == [bits_of(bench().task.description, row["variant"]) for row in plan]


def test_stored_runs_name_drawn_data_and_widths():
    how = Training(5, 32, optimizer="adamw")
    digits, drawn = (
        list(trainings.rows(name, trainings.Setting((("size", "xs"),), how, (0.01,), 1)))
        for name in ("digits", "teacher_student")
    )
    assert [row["variant"] for row in digits if "fingerprint" in row] == ["phase_wide"]
    assert len({row["fingerprint"] for row in drawn}) == 2  # of the task's own model, and of the wider one
    other = trainings.Setting((("size", "xs"), ("data_seed", 1)), how, (0.01,), 1)
    again = list(trainings.rows("teacher_student", other))
    assert {row["fingerprint"] for row in again}.isdisjoint({row["fingerprint"] for row in drawn})
