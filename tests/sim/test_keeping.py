"""Weights and states of optimizers in formats, and weights that are bent, in both trainers."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.recipes.rules import rules_of
from halfulp.sim.training.jax_grid import Trainer, groups_of
from halfulp.sim.training.keeping import kept_parameters, unbent
from halfulp.sim.training.training import Run, Training

from .wrapped import one_thread as one_thread

SHAPES = {"head.bias": (10,), "head.weight": (10, 32), "layers.0.weight": (32, 64)}


@pytest.fixture(scope="module")
def task():
    return hu.task("digits", model="mlp", size="xs")


def weights(trained):
    return {name: trained.parameters[name]["weight"] for name in ("head",)} | {
        "layers.0": trained.parameters["layers"]["0"]["weight"]
    }


def agree(a, b):
    """The same first loss, all within a percent."""
    assert abs(a.curves["loss"][0] - b.curves["loss"][0]) < 1e-5
    assert np.allclose(a.curves["loss"], b.curves["loss"], rtol=0.01)


def test_weights_and_states_in_formats_are_the_same_in_both_libraries(task):
    """Rounded stochastically where no master is; two runs in one program, each as it is alone."""
    rules = [("head", Recipe("head", master="e5m4", optimizer_state="bfloat16", after_step="tanh:2")),
             ("*", Recipe("rest", master="bfloat16", optimizer_state="fp8_e5m2"))]  # fmt: skip
    runs = [Run(rules, seed=seed, learning_rate=0.05, weight_decay=0.01) for seed in (1, 2)]
    training = Training(steps=20, batch=32, width=2)
    trainer = Trainer(task, training)
    ours = trainer.train(runs, keep_parameters=True)
    (alone,) = trainer.train(runs[1:], keep_parameters=True)
    assert trainer.compiled == 1
    (other,) = hu.train(task, runs[0], training, library="torch", keep_parameters=True)
    agree(ours[0], other)
    for name, fmt in (("head", "e5m4"), ("layers.0", "bfloat16")):
        assert np.array_equal(weights(ours[1])[name], weights(alone)[name])
        for each in (ours[0], other):
            assert np.array_equal(hu.quantize(weights(each)[name], fmt), weights(each)[name])
        assert (weights(ours[0])[name] == weights(other)[name]).mean() > 0.95  # the same random words
    plain = np.array_equal(
        hu.quantize(ours[0].parameters["head"]["bias"], "bfloat16"), ours[0].parameters["head"]["bias"]
    )
    assert not plain  # vectors are left alone
    assert (ours[0].curves["loss"] != ours[1].curves["loss"]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "optimizer"),
    [
        (storage, optimizer)
        for storage in ("bf16", "int8_weights", "fp8_lm", "tetrajet_ramping", "eco")
        for optimizer in ("sgd", "adamw", "muon")
        if (storage, optimizer) != ("eco", "muon")  # refused: muon has no momentum that ECO knows
    ],
)
def test_storages_are_the_same_in_both_libraries(task, optimizer, storage):
    kept = {"weights": "int8_per_row", "compensation": "eco"} if storage == "eco" else storage
    if storage == "int8_weights" and optimizer == "muon":
        kept = hu.Storage(weights="int8_per_row")
    rate = 0.05 if optimizer == "sgd" else 0.003
    run = Run("identity", seed=1, learning_rate=rate, storage=kept)
    training = Training(steps=20, batch=32, width=1, optimizer=optimizer)
    (ours,), (other,) = hu.train(task, run, training), hu.train(task, run, training, library="torch")
    agree(ours, other)
    assert ours.curves["loss"][-5:].mean() < 0.98 * ours.curves["loss"][0]


def test_a_schedule_may_change_what_is_done_after_a_step(task):
    """After step k the recipe of step k + 1 is in force."""
    later = ((3, Recipe("free")), (5, Recipe("tight", after_step="tanh:0.02")))
    run = Run(Recipe("bent", after_step="tanh:0.05", schedule=later), seed=1, learning_rate=0.5)

    def head(steps, library):
        training = Training(steps=steps, batch=32, width=1, schedule="constant")
        (found,) = hu.train(task, run, training, keep_parameters=True, library=library)
        return weights(found)["head"]

    assert np.abs(head(2, "torch")).max() <= 0.05 < np.abs(head(4, "torch")).max()
    ours, other = head(6, "jax"), head(6, "torch")
    assert np.allclose(ours, other, rtol=1e-4, atol=1e-5)
    assert np.abs(ours).max() <= 0.02


def test_the_first_rule_says_how_a_parameter_is_kept():
    found = kept_parameters(rules_of([("head", "identity"), ("*", Recipe("a", master="bf16"))]), None, SHAPES)
    assert [each.storage and each.storage.weights.fmt for each in found] == [None, None, "bfloat16"]
    bent = Recipe("bent", after_step="tanh:3", schedule=((5, Recipe("later")),))
    (_, head, _) = kept_parameters(rules_of(bent), None, SHAPES)
    assert (head.limit(0), head.limit(4), head.limit(5)) == (3.0, 3.0, None)
    assert all(each.limits == () for each in kept_parameters(unbent(rules_of(bent)), None, SHAPES))
    every = kept_parameters(rules_of(Recipe("a", after_step="tanh:3")), hu.Storage(weights="bf16", min_ndim=0), SHAPES)
    assert {each.storage.after_step for each in every} == {"tanh:3"}
    few = kept_parameters(rules_of(Recipe("a", after_step="tanh:3")), hu.Storage(weights="bf16", min_size=1000), SHAPES)
    assert [(each.storage is None, each.limits) for each in few] == [(True, ()), (True, ((0, 3.0),)), (False, ())]


def test_formats_of_weights_are_part_of_a_program():
    kept = [Recipe("a", master=each) for each in ("bf16", "fp16", "bf16", None)]
    runs = [*(Run(each) for each in kept), Run(storage="bf16")]
    found = groups_of(runs)
    assert [numbers for _, numbers in found] == [[0, 2], [1], [3], [4]]
    assert len({group.key for group, _ in found}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rules": Recipe("a", master="bf16", schedule=((5, Recipe("b")),))}, "the schedule changes master; give all"),
        (
            {"rules": Recipe("a", master="bf16"), "storage": "bf16"},
            "a master or optimizer_state, and the run a storage",
        ),
        ({"rules": "four_bit_cnn", "storage": "four_bit_cnn"}, "both have an after_step; leave one of them out"),
        (
            {"rules": Recipe("a", after_step="tanh:3", schedule=((5, Recipe("b")),)), "storage": "bf16"},
            "the schedule changes after_step; give all its recipes the same, or leave weights in float32",
        ),
        ({"storage": "bf61"}, "unknown storage 'bf61'; did you mean 'bf16'"),
    ],
)
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        Run(**settings)


@pytest.mark.parametrize("library", ["jax", "torch"])
def test_what_trainers_cannot_keep(task, library):
    eco = Run(storage={"weights": "int8_per_row", "compensation": "eco"})
    for how in ({"optimizer": "muon"}, {"momentum": 0.0}):
        with pytest.raises(ValueError, match="for SGD with momentum and AdamW, got .* with momentum="):
            hu.train(task, eco, Training(steps=2, batch=8, width=1, **how), library=library)
    with pytest.raises(ValueError, match="pass min_ndim=0, min_size=0 for all"):
        hu.train(task, Run(storage={"weights": "bf16", "min_ndim": 3}), Training(steps=2, width=1), library=library)


def test_a_run_s_storage_is_part_of_it():
    run = Run(storage={"weights": "bf16"})
    assert run.as_dict()["storage"]["weights"] == "bfloat16"
    assert run == Run(storage=hu.Storage(weights="bf16"))
    assert "storage" not in Run().as_dict()
