"""Models of the tasks: exact counts, the mathematics of their parts, and the same numbers in JAX and torch."""

from math import log, prod

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.backends.integers import NumpyWords
from halfulp.emulate.backends.jax_integers import JaxWords
from halfulp.sim.models import jax_denoisers, jax_layers
from halfulp.sim.models.constants import rotary_tables
from halfulp.sim.models.denoisers import MlpDenoiser, Unet
from halfulp.sim.models.feedforward import Cnn, Mlp, Vgg
from halfulp.sim.models.jax_losses import forward, functions
from halfulp.sim.models.leaves import count, flat, initial, nested
from halfulp.sim.models.noise import uniform
from halfulp.sim.models.objective import Objective
from halfulp.sim.models.schedule import STEPS, schedule, time_features
from halfulp.sim.models.sizes import Geometry, described
from halfulp.sim.models.torch_losses import evaluate as torch_evaluate
from halfulp.sim.models.torch_losses import load_params, module_of, params_of
from halfulp.sim.models.torch_losses import loss as torch_loss
from halfulp.sim.models.transformers import Llama, Vit
from halfulp.sim.tasks.diffusion import sample
from halfulp.sim.tasks.loading import task

from .wrapped import one_thread  # noqa: F401

RNG = np.random.default_rng(0)
IMAGE = (2, 8, 8)
WORDS = np.array([7, 11], np.uint32)
CLASSES = Objective("classes", (100.0, 120.0), (50.0, 60.0), RNG.integers(0, 256, (6, *IMAGE), np.uint8))
SMALL = {
    "mlp": (Mlp(5, (6, 7), 1), Objective("squares", variance=2.0)),
    "mlp_classes": (Mlp(prod(IMAGE), (8,), 3), Objective("classes")),
    "cnn": (Cnn(IMAGE, (4, 8, 16), 3), CLASSES),
    "vgg": (Vgg(IMAGE, 2, 3), CLASSES),
    "vit": (Vit(IMAGE, 4, 16, 1, 2, 3), CLASSES),
    "llama": (Llama(11, 6, 16, 2, 2, 24), Objective("tokens", bytes_per_token=2.0)),
    "llama_tied": (Llama(11, 6, 16, 1, 4, 24, tied=True), Objective("tokens")),
    "mlp_denoiser": (MlpDenoiser(IMAGE, 16, 1), Objective("noise")),
    "unet": (Unet(IMAGE, 8), Objective("noise")),
}
"""A model of each kind, and what it minimizes."""


def batch_of(model, objective, n=5):
    if objective.kind == "squares":
        return {"x": RNG.standard_normal((n, 5), np.float32), "y": RNG.standard_normal(n, np.float32)}
    if objective.kind == "tokens":
        return {"tokens": RNG.integers(0, 11, (n, 7), np.uint8)}
    if objective.kind == "noise":
        return {"x": RNG.uniform(-1, 1, (n, *IMAGE)).astype(np.float32)}
    return {"x": RNG.integers(0, 256, (n, *IMAGE), np.uint8), "y": RNG.integers(0, 3, n).astype(np.int32)}


def compiled(function, *arguments):
    """A program for arguments of these shapes; compiled without optimizations, in half the time."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function).lower(*arguments).compile(compiler_options=options)


def moved(params):
    """Parameters with biases and gains that are not those of the start."""
    return jax.tree.map(lambda p: p + 0.1 * RNG.standard_normal(p.shape, np.float32), params)


# counts and first values


def test_the_vgg_of_the_paper_has_its_parameters():
    model = described("vgg", "l", Geometry((3, 32, 32), 10))
    assert count(model.leaves) == 3_251_018


@pytest.mark.parametrize(
    ("size", "non_embedding"),
    [("13k", 13_408), ("50k", 53_440), ("100k", 106_816), ("200k", 221_664), ("600k", 603_008), ("1m", 1_004_928),
     ("3m", 3_213_568), ("10m", 10_621_824)],
)  # fmt: skip
def test_language_models_have_the_stated_sizes(size, non_embedding):
    model = described("llama", size, Geometry((128,), 256))
    d, depth, hidden = model.width, model.depth, model.hidden
    assert count(model.leaves, embeddings=False) == depth * (4 * d * d + 3 * d * hidden + 2 * d) + d == non_embedding
    assert count(model.leaves) == non_embedding + 2 * 256 * d
    tied = described("llama", size, Geometry((128,), 256, {"tied": True}))
    assert count(tied.leaves) == non_embedding + 256 * d


@pytest.mark.parametrize("name", SMALL)
def test_costs_are_those_of_the_products(name):
    """The products in the traced forward pass of one sample, counted."""
    model, objective = SMALL[name]
    batch = batch_of(model, objective, 1)
    graph = jax.make_jaxpr(functions(model, objective).loss)(initial(model.leaves, 0), batch, WORDS)

    def cost(jaxpr):
        total = 0
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "dot_general":
                (contracted, _), _ = eqn.params["dimension_numbers"]
                total += 2 * prod(eqn.outvars[0].aval.shape) * prod(eqn.invars[0].aval.shape[k] for k in contracted)
            total += sum(cost(sub.jaxpr) for sub in eqn.params.values() if hasattr(sub, "jaxpr"))
        return total

    assert cost(graph.jaxpr) == model.flops


def test_first_values_depend_on_seed_and_model_only():
    model = SMALL["vit"][0]
    first, again, other = (flat(initial(model.leaves, seed)) for seed in (0, 0, 1))
    for name, leaf in model.leaves.items():
        assert first[name].shape == leaf.shape
        assert first[name].dtype == np.float32
        assert np.array_equal(first[name], again[name])
        assert np.array_equal(first[name], other[name]) == (leaf.std == 0)
    wide = flat(initial(Mlp(400, (300,), 10).leaves, 0))["layers.0.weight"]
    assert abs(wide.std() / np.sqrt(2 / 400) - 1) < 0.01
    assert nested(first).keys() == initial(model.leaves, 0).keys()


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_losses_begin_near_that_of_a_guess(name):
    found = task("digits", model=name)
    arguments = found.init(0), {k: a[:64] for k, a in found.train.items()}, WORDS
    assert log(10) - 0.1 < compiled(found.loss, *arguments)(*arguments) < log(10) + 0.2


def test_a_language_model_begins_near_that_of_a_guess():
    found = task("text", size="50k", context=16, valid_samples=8, path=__file__)
    arguments = found.init(0), found.valid, WORDS
    sums = compiled(found.evaluate, *arguments)(*arguments)
    assert log(256) - 0.05 < sums["loss"] / sums["count"] < log(256) + 0.1
    np.testing.assert_allclose(sums["bits_per_byte"], sums["loss"] / log(2), rtol=1e-6)


# JAX and torch


@pytest.mark.parametrize("name", SMALL)
def test_losses_and_gradients_agree_with_torch(name):
    """Gradients of all but the largest networks, which are made of the parts of the others."""
    model, objective = SMALL[name]
    params, batch = moved(initial(model.leaves, 0)), batch_of(model, objective)
    here = functions(model, objective)
    with_gradient = name not in ("vgg", "unet", "llama_tied")

    def computed(*arguments):
        loss = jax.value_and_grad(here.loss) if with_gradient else lambda *a: (here.loss(*a), {})
        return *loss(*arguments), here.evaluate(*arguments)

    value, gradient, sums = compiled(computed, params, batch, WORDS)(params, batch, WORDS)
    module = module_of(model, params)
    there = torch_loss(model, objective, module, batch, WORDS)
    np.testing.assert_allclose(value, there.detach(), rtol=2e-6)
    there.backward()
    gradients = {n: p.grad.numpy() for n, p in module.named_parameters()}
    assert gradients.keys() == model.leaves.keys()
    scale = max(np.abs(g).max() for g in gradients.values())
    assert (flat(gradient).keys() == gradients.keys()) == with_gradient
    for leaf, of_jax in flat(gradient).items():
        np.testing.assert_allclose(of_jax, gradients[leaf], atol=3e-6 * scale, rtol=1e-4, err_msg=leaf)
    others = torch_evaluate(model, objective, module, batch, WORDS)
    assert sums.keys() == others.keys()
    for metric, total in sums.items():
        np.testing.assert_allclose(total, others[metric], rtol=1e-5)


def test_parameters_travel_both_ways_and_torch_keeps_its_random_numbers():
    params = initial(SMALL["cnn"][0].leaves, 0)
    before = torch.get_rng_state()
    module = module_of(SMALL["cnn"][0], params)
    assert torch.equal(before, torch.get_rng_state())
    back = flat(params_of(module))
    assert all(np.array_equal(back[name], value) for name, value in flat(params).items())
    with pytest.raises(ValueError, match=r"missing: \[\], unknown: \['extra'\]"):
        load_params(module, {**params, "extra": np.zeros(3)})
    with pytest.raises(ValueError, match=r"head.bias: expected the shape \(3,\), got \(4,\)"):
        load_params(module, {**params, "head": {**params["head"], "bias": np.zeros(4, np.float32)}})


def test_torch_models_take_recipes():
    model, objective = SMALL["llama"]
    module = module_of(model, initial(model.leaves, 0))
    batch = batch_of(model, objective)
    plain = torch_loss(model, objective, module, batch, WORDS).item()
    hu.quantize_(module, [("head", None), ("layers.*.attention", "fp8"), ("layers.*", "fp8")])
    assert "recipe='fp8'" in repr(module.layers[1].attention.query)
    rounded = torch_loss(model, objective, module, batch, WORDS)
    rounded.backward()
    assert 0 < abs(rounded.item() - plain) < 0.05


# traced


@pytest.mark.parametrize("name", ["llama", "mlp_denoiser"])
def test_members_are_mapped_side_by_side(name):
    model, objective = SMALL[name]
    members = [initial(model.leaves, seed) for seed in (0, 1)]
    batch, words = batch_of(model, objective), np.stack([WORDS, WORDS + 1])
    loss = functions(model, objective).loss
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    mapped = jax.vmap(loss, in_axes=(0, None, 0))
    one = compiled(loss, members[0], batch, WORDS)
    alone = [one(params, batch, own) for params, own in zip(members, words)]
    np.testing.assert_allclose(compiled(mapped, stacked, batch, words)(stacked, batch, words), alone, rtol=1e-5)


def test_sums_of_batches_add():
    model, objective = SMALL["mlp_classes"]
    params, batch = initial(model.leaves, 0), batch_of(model, objective, 6)
    evaluate = functions(model, objective).evaluate
    half = {k: a[:3] for k, a in batch.items()}
    of_half = compiled(evaluate, params, half, WORDS)
    parts = [of_half(params, {k: a[rows] for k, a in batch.items()}, WORDS) for rows in (slice(3), slice(3, 6))]
    whole = compiled(evaluate, params, batch, WORDS)(params, batch, WORDS)
    assert whole["count"] == 6
    for name, total in whole.items():
        np.testing.assert_allclose(parts[0][name] + parts[1][name], total, rtol=1e-6)


def test_attention_has_a_name():
    model, objective = SMALL["llama"]
    graph = jax.make_jaxpr(functions(model, objective).loss)(
        initial(model.leaves, 0), batch_of(model, objective), WORDS
    )
    scopes = {str(eqn.source_info.name_stack) for eqn in graph.jaxpr.eqns if eqn.primitive.name == "dot_general"}
    assert any("layers.1.attention" in each for each in scopes)


# parts


def test_a_token_does_not_see_what_follows():
    model, objective = SMALL["llama"]
    params = moved(initial(model.leaves, 0))
    tokens = RNG.integers(0, 11, (2, 6)).astype(np.int32)
    changed = tokens.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    run = compiled(lambda params, t: forward(model, objective, params, t), params, tokens)
    one, other = (np.asarray(run(params, t)) for t in (tokens, changed))
    assert np.array_equal(one[:, :4], other[:, :4])
    assert (one[:, 4:] != other[:, 4:]).any()


def test_rotary_products_depend_on_distances():
    q, k = RNG.standard_normal((2, 8), np.float32)
    tables = rotary_tables(20, 8)
    q, k = (np.asarray(jax_layers.rotated(np.tile(x, (20, 1)), tables)) for x in (q, k))
    products = q @ k.T
    for distance in (-5, 0, 3):
        np.testing.assert_allclose(
            np.diagonal(products, distance), products.diagonal(distance)[0], rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose((q**2).sum(1), (q[0] ** 2).sum(), rtol=1e-5)
    assert not np.allclose(products[0, 0], products[0, 3])


@pytest.mark.parametrize(("side", "stride", "shape"), [(3, 2, (5, 4)), (1, 1, (3, 3))])
def test_patches_convolve(side, stride, shape):
    layer = {"weight": RNG.standard_normal((6, 4, side, side), np.float32), "bias": RNG.standard_normal(6, np.float32)}
    x = RNG.standard_normal((2, *shape, 4), np.float32)
    ways = lambda x: [jax_layers.convolution(layer, x, stride, direct=way) for way in (False, True)]  # noqa: E731
    patches, direct = compiled(ways, x)(x)
    np.testing.assert_allclose(patches, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["cnn", "vgg"])
def test_direct_convolutions_are_an_option(model):
    for direct in (False, True):
        found = task("digits", model=model, direct=direct)
        batch = {k: a[:2] for k, a in found.train.items()}
        graph = str(jax.make_jaxpr(found.loss)(found.init(0), batch, WORDS))
        assert ("conv_general_dilated" in graph) == direct


def test_pools_take_the_largest():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    assert jax_layers.max_pool(x).ravel().tolist() == [5, 7, 13, 15]


def test_batch_normalization_does_not_look_at_neighbours_in_evaluation():
    layer = {"weight": np.float32([2, 1, 1]), "bias": np.float32([5, 0, 0])}
    x = RNG.standard_normal((6, 4, 4, 3), np.float32)
    run = compiled(lambda x: [jax_layers.batch_norm(layer, x, rows) for rows in (4, None)], x)
    fixed, whole = run(x)
    np.testing.assert_allclose(np.mean(fixed[:4], (0, 1, 2)), layer["bias"], atol=1e-5)
    np.testing.assert_allclose(np.std(whole, (0, 1, 2)), layer["weight"], rtol=1e-4)
    x[5] += 1
    moved_fixed, moved_whole = run(x)
    assert np.array_equal(moved_fixed[:5], fixed[:5])
    assert not np.allclose(moved_whole[:5], whole[:5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Llama(256, 8, 48, 1, 5, 32), "expected a number of heads that divides the width 48, got 5"),
        (lambda: Llama(256, 8, 15, 1, 5, 32), "rotary positions turn pairs: expected an even width a head, got 3"),
        (lambda: Vit(IMAGE, 0, 32, 1, 1, 3), "expected patches that divide images of 8 x 8, got patch=0"),
    ],
)
def test_impossible_models_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# diffusion


def test_uniform_numbers_are_the_same_in_numpy_and_jax():
    here = uniform(np, NumpyWords(), WORDS.astype(np.uint64), 3, (5000, 3))
    there = compiled(lambda words: uniform(jnp, JaxWords(), words, 3, (5000, 3)), WORDS)(WORDS)
    assert np.array_equal(here, there)
    assert here.dtype == np.float32
    assert 0 < here.min() < 0.001
    assert 0.999 < here.max() < 1
    assert abs(here.mean() - 0.5) < 0.01
    assert not np.array_equal(here, uniform(np, NumpyWords(), WORDS.astype(np.uint64), 4, (5000, 3)))


def test_noise_is_normal_and_times_are_spread():
    x = np.zeros((400, 1, 6, 6), np.float32)
    mixed, noise, time = (np.asarray(a) for a in compiled(jax_denoisers.noisy, WORDS, x)(WORDS, x))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs((noise**4).mean() - 3) < 0.2
    assert np.bincount(time).tolist() == [2] * STEPS
    left = schedule().alpha_bar[time].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(mixed, np.sqrt(1 - left) * noise, rtol=1e-5)


def test_the_schedule_loses_all_signal_and_its_steps_are_consistent():
    plan = schedule()
    assert (np.diff(plan.alpha_bar) < 0).all()
    assert plan.alpha_bar[0] > 0.999
    assert plan.alpha_bar[-1] < 1e-4
    assert plan.deviation[0] == 0
    # an image without noise stays on its path: the mean of a step is sqrt(a_(t-1)) x
    before = np.concatenate([[1.0], plan.alpha_bar[:-1]])
    np.testing.assert_allclose(plan.of_clean + plan.of_noisy * np.sqrt(plan.alpha_bar), np.sqrt(before), rtol=1e-4)
    assert len(np.unique(time_features().round(5), axis=0)) == STEPS


def test_the_sampler_finds_the_image_a_perfect_denoiser_knows(monkeypatch):
    image = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 4, 4)

    def perfect(model, params, x, time):
        left = jnp.asarray(schedule().alpha_bar)[time].reshape(-1, 1, 1, 1)
        return (x - jnp.sqrt(left) * image) / jnp.sqrt(1 - left)

    monkeypatch.setattr(jax_denoisers, "predicted", perfect)
    drawn = jax_denoisers.sampled(MlpDenoiser((1, 4, 4), 8, 1), {}, WORDS, 3)
    np.testing.assert_allclose(drawn, np.tile(image, (3, 1, 1, 1)), atol=2e-3)


def test_images_are_drawn_from_a_seed():
    found = task("diffusion", size="s")
    one, again, other = (sample(found, found.init(0), seed, 4) for seed in (0, 0, 1))
    assert one.shape == (4, 1, 8, 8)
    assert np.abs(one).max() <= 1
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one[0], one[1])
