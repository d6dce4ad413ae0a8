"""The trainer: many runs in few programs, each as if it were alone, resumable to the last bit."""

from dataclasses import replace

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.sim.functions.jax_state import advance
from halfulp.sim.products.jax_operands import quantized
from halfulp.sim.products.jax_products import quantized_product
from halfulp.sim.recipes.operands import operands_of
from halfulp.sim.recipes.published import recipe, uniform
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from halfulp.sim.tasks.twins import torch_model
from halfulp.sim.training import checkpoints
from halfulp.sim.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint, versions
from halfulp.sim.training.jax_grid import Trainer
from halfulp.sim.training.jax_recipe_data import data_of, merged, shape_of
from halfulp.sim.training.jax_recipes import grouped
from halfulp.sim.training.jax_step import Doing, Member, initial_state, stepped
from halfulp.sim.training.torch_training import _gradients
from halfulp.sim.training.training import Run, Training, rate_factors, width_for

RNG = np.random.default_rng(0)
QUICK = Training(steps=10, batch=32, width=2, checkpoint_every=4)


@pytest.fixture(scope="module")
def task():
    return hu.task("digits", model="mlp", size="xs")


@pytest.fixture(scope="module")
def trainer(task):
    return Trainer(task, QUICK)


def same(a, b):
    assert a.metrics == b.metrics
    assert a.diverged_at == b.diverged_at
    for name, curve in a.curves.items():
        assert np.array_equal(curve, b.curves[name], equal_nan=True), name


def test_trainings_of_other_lengths_share_a_program(task):
    """How many steps there are, and how the rate changes over them, is data: the bits are those of a program of one's own."""
    long = Training(steps=8, batch=32, width=2, checkpoint_every=4, warmup=2)
    short = Training(steps=4, batch=32, width=2, checkpoint_every=4, schedule="linear", final=0.1)
    runs, programs = [Run(uniform("e3m2"), seed, 0.1) for seed in (0, 1)], {}
    shared = [Trainer(task, each, programs=programs).train(runs) for each in (long, short)]
    assert [program.compiled for program in programs.values()] == [1]
    for mine, alone in zip(shared[1], Trainer(task, short).train(runs)):
        same(mine, alone)
    Trainer(task, replace(long, momentum=0.5), programs=programs).train(runs)
    assert len(programs) == 2


def test_formats_share_one_program_and_runs_do_not_see_their_neighbours(trainer):
    """More formats, roundings, scales on and off compile nothing; alone, first or last in a chunk a run is the same."""
    runs = [Run(uniform(name), seed, 0.1) for name in ("e3m2", "int4", "e4m3") for seed in (0, 1)]
    found = trainer.train(runs)
    assert trainer.compiled == 1
    more = [Run(uniform(name), 3, 0.3) for name in ("e2m1", "int8", "e5m2")]
    again = trainer.train([more[0], runs[3], *more[1:]])
    assert trainer.compiled == 1
    same(found[3], again[1])
    alone = trainer.train([runs[3]])
    same(found[3], alone[0])
    assert found[0].metrics != found[1].metrics != found[2].metrics


def test_data_gives_what_compiled_recipes_give():
    """Formats, roundings, transforms and scales as data, forward and backward, bit for bit."""
    grids = [
        [uniform("e3m2"), uniform("int4"), uniform("e3m2", scale=False)],
        [mixed("e2m1", rounding="stochastic"), mixed("e4m3", rounding="up"), mixed("e4m3", transform="hadamard32")],
    ]
    x, w, e = (jnp.asarray(RNG.standard_normal(shape), jnp.float32) for shape in ((32, 64), (64, 64), (32, 64)))
    seed = jnp.array([7, 9], jnp.uint32)

    def both(formats, specs, seed):
        found, pull = jax.vjp(lambda a, b: quantized_product(a, b, ("linear",), specs, seed, 4, formats=formats), x, w)
        return found, *pull(e)

    for grid in grids:
        assert len({shape_of(each) for each in grid}) == 1
        program = operands_of(merged(grid), "linear")
        mapped = jax.jit(jax.vmap(lambda data, seed, program=program: both(data, program, seed)))
        stacked = mapped(data_of(grid, grid), jnp.stack([seed] * len(grid)))
        for k, each in enumerate(grid):
            want = both((None,) * 6, operands_of(each, "linear"), seed)
            for part, expected in zip(stacked, want):
                assert np.array_equal(part[k], expected) or np.allclose(part[k], expected, rtol=1e-5, atol=1e-5), each


def mixed(fmt, **how):
    return Recipe(fmt, **dict.fromkeys(OPERANDS, Quantizer(f"{fmt}_per_tensor", **how)), pad=True)


def test_formats_that_differ_in_their_own_rounding_share_a_program():
    """The rounding is data: a stochastic one, and its nearest neighbour, each as compiled alone."""
    nearest = hu.format("mxfp4")
    grid = [uniform(nearest), uniform(replace(nearest, rounding="stochastic")), uniform("mxfp6")]
    (group, numbers), *others = grouped([Run(each).rules for each in grid])
    assert (numbers, others) == ([0, 1, 2], [])
    x = jnp.asarray(RNG.standard_normal((4, 64)), jnp.float32)
    seed = jnp.array([7, 9], jnp.uint32)
    spec = operands_of(group.rules[0].recipe, "linear")[0]
    (data,) = group.data([Run(each).rules for each in grid]).values()
    stacked = jax.vmap(lambda of: quantized(x, spec, seed, jnp.uint32(4), data=of)[0])(data[0])
    for each, values in zip(grid, stacked):
        want, _ = quantized(x, operands_of(each, "linear")[0], seed, jnp.uint32(4))
        assert np.array_equal(values, want)


def test_what_shares_a_program():
    rules = [
        Run(r).rules for r in (uniform("e3m2"), "identity", uniform("int4"), "mxfp4", "mxfp6", "quartet", "bitnet")
    ]
    assert [numbers for _, numbers in grouped(rules)] == [[0, 2], [1], [3, 4], [5], [6]]
    two = [mixed("e2m1", transform="hadamard16"), mixed("e2m1", transform="hadamard32"), mixed("e2m1")]
    assert [numbers for _, numbers in grouped([Run(r).rules for r in two])] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="expected one transform in a program, got hadamard16, hadamard32"):
        merged(two)
    with pytest.raises(ValueError, match="recipes of several shapes do not share a program"):
        merged([recipe("mxfp4"), uniform("e3m2")])


def test_a_resumed_training_equals_an_uninterrupted_one(task, trainer, tmp_path):
    runs = [Run(uniform("e2m1"), 0, 0.1), Run(uniform("int4"), 1, 0.3)]
    whole = trainer.train(runs)

    def stop(done, total):
        raise KeyboardInterrupt

    kept = Trainer(task, QUICK, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        kept.train(runs, report=stop)
    (path,) = tmp_path.glob("*.npz")
    seen = []
    again = Trainer(task, QUICK, tmp_path).train(runs, report=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 20), (20, 20)]  # the first four steps of both were not repeated
    for a, b in zip(whole, again):
        same(a, b)
    assert not path.exists()


def test_finished_chunks_are_not_trained_again(task, tmp_path):
    runs = [Run(seed=seed) for seed in range(3)]
    training = Training(steps=4, batch=32, width=1, checkpoint_every=2)
    seen = []

    def stop(done, total):
        seen.append(done)
        if done == 10:  # in the midst of the last
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(task, training, tmp_path).train(runs, report=stop)
    assert len(list(tmp_path.iterdir())) == 3
    seen.clear()
    again = Trainer(task, training, tmp_path).train(runs, report=lambda done, total: seen.append(done))
    assert seen == [4, 8, 12]
    for a, b in zip(again, Trainer(task, training).train(runs)):
        same(a, b)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_of_its_data_and_of_when_numbers_are_recorded(task):
    def keys(task, **how):
        trainer = Trainer(task, Training(steps=8, batch=32, width=1, **how), "nowhere")
        (chunk,) = trainer.chunks([Run()])
        return trainer._checkpoint_of(chunk, [Run()]), trainer.fingerprint

    other = replace(task, valid={name: a[::-1] for name, a in task.valid.items()})
    assert keys(task) == keys(task)
    assert len({keys(task), keys(other), keys(task, checkpoint_every=2), keys(task, probe_every=8)}) == 4
    assert keys(task)[1] == keys(task, probe_every=8)[1] != keys(other)[1]


def test_loss_scales_share_a_program(task):
    """With one that makes gradients vanish in E4M3, after one that does not: as if it were alone."""
    run, programs = Run(Recipe("gradients", wgrad_e=Quantizer("fp8_e4m3")), learning_rate=0.1), {}
    usual = Trainer(task, QUICK, programs=programs).train([run])[0]
    small = Trainer(task, replace(QUICK, loss_scale=2.0**-12), programs=programs)
    found = small.train([run])[0]
    assert small.compiled == 1
    assert (found.curves["loss_scale"] == 2.0**-12).all()
    assert found.metrics["loss"] > usual.metrics["loss"]
    same(found, Trainer(task, small.training).train([run])[0])


def test_divergence_ends_the_run_it_befell_and_says_when(task):
    found = Trainer(task, Training(steps=10, batch=32, width=2, diverged_above=4)).train(
        [Run(seed=0), Run(seed=0, learning_rate=1e4)]
    )
    good, bad = found
    assert not good.diverged
    assert bad.diverged
    assert 1 <= bad.diverged_at < 10
    assert np.isfinite(bad.curves["loss"][: bad.diverged_at]).all()
    assert np.isnan(bad.curves["loss"][bad.diverged_at + 1 :]).all()
    assert np.isfinite(good.curves["loss"]).all()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_optimizers_learn_with_clipping_and_a_dynamic_loss_scale(task, optimizer):
    training = Training(
        steps=40, batch=64, optimizer=optimizer, clip=1.0, loss_scale="dynamic", schedule="wsd", warmup=4, width=1,
        evaluate_every=20, probe_every=20,
    )  # fmt: skip
    (found,) = Trainer(task, training).train([Run(seed=0, learning_rate=0.01, weight_decay=0.01)], keep_parameters=True)
    assert found.metrics["accuracy"] > 0.6
    assert found.evaluations["step"].tolist() == [20, 40]
    assert found.probes["step"].tolist() == [20, 40]
    assert found.curves["loss_scale"].shape == (40,)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.parameters))


def test_an_overflowing_loss_scale_is_halved_and_the_step_skipped(task):
    training = Training(steps=12, batch=32, loss_scale="dynamic", width=1)
    (found,) = Trainer(task, training).train([Run(Recipe("fp16", output="binary16"), learning_rate=0.1)])
    assert not found.diverged
    scale = found.curves["loss_scale"]
    assert (scale[1:] <= scale[:-1]).all()


@pytest.mark.parametrize("name", ["lsq", pytest.param("fp8_delayed", marks=pytest.mark.slow)])
def test_recipes_with_state_train(task, name):
    training = Training(steps=20, batch=64, width=1)
    (found,) = Trainer(task, training).train([Run([("*", recipe(name).with_(pad=True))], learning_rate=0.1)])
    assert found.curves["loss"][-1] < 0.9 * found.curves["loss"][0]


def test_step_sizes_are_trained_on_the_loss_whatever_its_scale():
    def loss(parameters, scales, *_):
        return ((parameters["w"] + scales["sizes"]["w"] - 1) ** 2).sum()

    found = []
    for scale in (None, 1024.0):
        training = Training(loss_scale=scale)
        state = initial_state({"w": jnp.zeros(2)}, {"sizes": {"w": jnp.full(2, 0.5)}}, training)
        member = Member(jnp.zeros(2, jnp.uint32), jnp.float32(0.25), jnp.float32(0), {})
        doing = Doing(loss, advance)
        found.append(stepped(doing, training, state, member, {}, jnp.int32(0), jnp.float32(1))[0])
    for state in found:
        assert state.scales["sizes"]["w"].tolist() == [0.75, 0.75]


def test_step_sizes_in_torch_are_trained_on_the_loss_of_their_step(task):
    """Their gradients do not add up over steps, and the scale of the loss is taken out of them."""
    model = torch_model(task, 0)
    hu.quantize_(model, [("*", recipe("lsq").with_(pad=True))])
    batch = {name: torch.as_tensor(array[:8]) for name, array in task.train.items()}
    found = []
    for scale in (None, None, 1024.0):
        _gradients(task, model, batch, np.zeros(2, np.uint32), Training(loss_scale=scale))
        found.append(torch.stack([size.grad for size in hu.extra_parameters(model)]))
    assert found[0].abs().sum() > 0
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_pieces_end_where_something_is_recorded():
    training = Training(steps=20, evaluate_every=6, probe_every=9, checkpoint_every=7)
    assert training.pieces == [(0, 6), (6, 1), (7, 2), (9, 3), (12, 2), (14, 4), (18, 2)]
    assert training.longest == 6
    assert Training(steps=5).pieces == [(0, 5)]


def test_rates():
    assert rate_factors(Training(steps=4, schedule="linear")).tolist() == [1, 0.75, 0.5, 0.25]
    assert rate_factors(Training(steps=4, schedule="constant", warmup=1)).tolist() == [0.5, 1, 1, 1]
    assert rate_factors(Training(steps=10, schedule="wsd")).tolist()[:8] == [1] * 8
    assert np.allclose(rate_factors(Training(steps=4, final=0.5)), 0.5 + 0.25 * (1 + np.cos(np.pi * np.arange(4) / 4)))
    assert (width_for(Training(batch=64), 2e4), width_for(Training(batch=64), 1e9), width_for(Training(width=3), 1)) == (32, 1, 3)  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "expected steps >= 1, got 0"),
        ({"warmup": 300}, "expected a warm-up shorter than the 300 steps"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"loss_scale": 3.0}, "expected a power of two for loss_scale, or 'dynamic', got 3.0"),
        ({"clip": 0.0}, "expected clip > 0"),
        ({"momentum": 1.0}, "expected momentum from 0 to 1"),
        ({"epsilon": -1.0}, "expected epsilon >= 0, got -1"),
        ({"diverged_above": 1.0}, "expected diverged_above > 1"),
        ({"probe_operands": True}, "probe_operands goes with probe_every"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Training(**settings)


def test_bad_runs_and_batches(task):
    with pytest.raises(ValueError, match="expected a positive learning rate, got -1"):
        Run(learning_rate=-1)
    with pytest.raises(ValueError, match="expected a seed from 0"):
        Run(seed=-1)
    with pytest.raises(ValueError, match="nothing to train; pass at least one Run"):
        Trainer(task, QUICK).train([])
    with pytest.raises(ValueError, match=r"phase is for weights in their widely-linear view; give Recipe\(fprop_w"):
        uniform("phase")
    with pytest.raises(TypeError, match=r"expected runs, got 'mxfp8'; write Run\('mxfp8'\)"):
        hu.train(task, ["mxfp8"], QUICK)
    with pytest.raises(ValueError, match="device='cuda' is for library='torch'"):
        hu.train(task, Run(), QUICK, device="cuda")
    numpy = Run(seed=np.int64(3), learning_rate=np.float32(0.5))
    assert (type(numpy.seed), type(numpy.learning_rate)) == (int, float)  # which JSON takes
    with pytest.raises(ValueError, match="1437 samples to train on, got a batch of 2000"):
        Trainer(task, Training(batch=2000))
    with pytest.raises(ValueError, match="unknown task 'digit'; did you mean 'digits'"):
        hu.train("digit", [Run()])


def test_checkpoints_are_checked(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    assert load_checkpoint(path, "k") is None
    save_checkpoint(path, "k", 3, [np.arange(4), np.float32(2)])
    step, arrays = load_checkpoint(path, "k")
    assert step == 3
    assert arrays[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(CheckpointError, match="a checkpoint of another training"):
        load_checkpoint(path, "other")
    monkeypatch.setattr(checkpoints, "versions", lambda: {**versions(), "jax": "0.0.1"})
    with pytest.raises(CheckpointError, match=r"written by jax .*, now 0.0.1; with another .* pass any_version=True"):
        load_checkpoint(path, "k")
    assert load_checkpoint(path, "k", any_version=True)[0] == 3
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="no checkpoint or is damaged"):
        load_checkpoint(path, "k")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "c.npz", "k", 1, [])


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("mxfp8", "adamw"), *(pytest.param("identity", each, marks=pytest.mark.slow) for each in ("sgd", "muon"))],
)
def test_torch_trains_the_same_run(task, name, optimizer):
    """The same first loss, and losses within a percent after ten steps; sums run in another order."""
    training = Training(steps=10, batch=32, width=1, optimizer=optimizer, clip=1.0, momentum=0.9)
    rules = name if name == "identity" else [("head", None), ("*", name)]
    run = Run(rules, seed=2, learning_rate=0.02, weight_decay=0.01)
    (ours,), (other,) = hu.train(task, run, training), hu.train(task, run, training, library="torch")
    assert abs(ours.curves["loss"][0] - other.curves["loss"][0]) < 1e-5
    assert np.allclose(ours.curves["loss"], other.curves["loss"], rtol=0.01)
    assert np.allclose(ours.curves["gradient_norm"], other.curves["gradient_norm"], rtol=0.05)
    assert abs(ours.metrics["loss"] - other.metrics["loss"]) < 0.01 * other.metrics["loss"]


def test_torch_refuses_what_it_does_not_do(task):
    with pytest.raises(ValueError, match="loss_scale='dynamic' is for library='jax'"):
        hu.train(task, Run(), Training(loss_scale="dynamic"), library="torch")
    with pytest.raises(ValueError, match="checkpoints are for library='jax'"):
        hu.train(task, Run(), QUICK, library="torch", checkpoints="there")
    with pytest.raises(ValueError, match="nothing to train; pass at least one Run"):
        hu.train(task, [], QUICK, library="torch")
    with pytest.raises(ValueError, match="1437 samples to train on, got a batch of 2000"):
        hu.train(task, Run(), Training(batch=2000), library="torch")
    with pytest.raises(ValueError, match="unknown library 'pytorch'; did you mean 'torch'"):
        hu.train(task, Run(), QUICK, library="pytorch")


def test_weights_are_bent_after_every_step_in_both_libraries(task):
    """A recipe that does nothing else; with a tight limit it shows, and both do the same."""
    run = Run(Recipe("bent", after_step="tanh:0.1"), seed=1, learning_rate=0.02)
    training = Training(steps=4, batch=32, width=1)
    (ours,), (other,), (plain,) = (
        hu.train(task, each, training, library=library, keep_parameters=True)
        for each, library in ((run, "jax"), (run, "torch"), (Run(seed=1, learning_rate=0.02), "jax"))
    )
    for name in ("head",):
        a, b, c = (found.parameters[name]["weight"] for found in (ours, other, plain))
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.abs(a).max() <= 0.1 < np.abs(c).max()
