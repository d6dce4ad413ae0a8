"""Optimizers in formats as optax transformations: the weights that torch stores, bit for bit, compiled or not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from halfulp.emulate.quantize import quantize
from halfulp.sim.optimizers.optimizers import low_precision, settle
from halfulp.sim.optimizers.storage import Storage

from .wrapped import one_thread  # noqa: F401

RANDOM = np.random.default_rng(0)
W = RANDOM.standard_normal((8, 96)).astype(np.float32)
B = RANDOM.standard_normal(5).astype(np.float32)
G = (RANDOM.standard_normal((24, 8, 96)) * 10.0 ** RANDOM.integers(-4, 2, (24, 8, 96))).astype(np.float32)
KEPT = {"fmt": "scaled(int8_narrow,block=flat256)", "scales": "kept"}
DYADIC = {"momentum": 0.5}
"""With powers of two the products in SGD are exact, so that fused operations change nothing."""


def by_torch(**kept):
    """The weights after each step of SGD."""
    w, b = (torch.nn.Parameter(torch.tensor(x)) for x in (W, B))
    optimizer = low_precision(torch.optim.SGD([w, b], lr=2**-4, **DYADIC), seed=5, **kept)
    found = [w.detach().numpy().copy()]
    for g in G:
        w.grad, b.grad = torch.tensor(g), torch.ones(5)
        optimizer.step()
        found.append(w.detach().numpy().copy())
    assert np.array_equal(b.detach().numpy(), by_hand(B, 2**-4, len(G)))
    return np.array(found)


def by_optax(inner=None, **kept):
    """The same from what `apply_updates` gives; also after `settle`, and the state at the end."""
    tx = low_precision(optax.sgd(2**-4, **DYADIC) if inner is None else inner, seed=5, **kept)
    params = {"a": jnp.asarray(W), "b": jnp.asarray(B)}
    params, state = settle(params, tx.init(params))

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update({"a": g, "b": jnp.ones(5)}, state, params)
        return optax.apply_updates(params, updates), state

    found, settled = ([np.asarray(params["a"])] for _ in range(2))
    for g in G:
        params, state = step(params, state, jnp.asarray(g))
        found.append(np.asarray(params["a"]))
        settled.append(np.asarray(settle(params, state)[0]["a"]))
    assert np.array_equal(params["b"], by_hand(B, 2**-4, len(G)))
    return np.array(found), np.array(settled), state


def by_hand(b, rate, count):
    """A bias that the storage leaves alone, with gradients of 1."""
    m = np.float32(0)
    for _ in range(count):
        m = np.float32(1) + np.float32(0.5) * m
        b = b - np.float32(rate) * m
    return b


SGD_STORAGES = {
    "bf16 alone": {"weights": "bf16", "gradients": "fp8_e5m2", "states": {"momentum": "bf16"}},
    "a calmed master": {"weights": "fp4_e2m1", "master": "bf16", "ema": 0.75, "freezing": {"reach": 0.4, "start": 3}},
    "calmed in blocks": {"weights": "mxfp4", "master": "bf16", "ema": 0.75, "freezing": {"reach": 0.4, "start": 3}},
    "ramped": {"weights": "int4@-1", "master": "binary32", "ramping": {"window": 4, "divisor": 1.0, "factor": 1}},
}


_MARKS = {"calmed in blocks": pytest.mark.slow}


@pytest.mark.parametrize("name", [pytest.param(name, marks=_MARKS.get(name, ())) for name in SGD_STORAGES])
def test_torch_and_optax_store_the_same(name):
    """Bit for bit, from what `apply_updates` alone gives."""
    kept = SGD_STORAGES[name]
    expected = by_torch(**kept)
    found, settled, state = by_optax(**kept)
    assert np.array_equal(found, expected)
    assert np.array_equal(settled, expected)
    assert not np.asarray(state.memory["a"].values["rest"]).any()
    assert state.memory["b"].values == {}
    assert int(state.steps) == len(G)


def test_scales_of_any_float():
    """Not every difference of two such values is a float32; what is missing is small, and settling adds it."""
    expected = by_torch(weights=KEPT)
    found, settled, _ = by_optax(weights=KEPT)
    assert np.array_equal(settled, expected)
    off = np.abs(found - expected)
    assert 0 < (off > 0).mean() < 0.05
    assert (off[1:] <= 2.0**-23 * np.maximum(np.abs(expected[1:]), np.abs(expected[:-1]))).all()


def test_compensation_from_injected_hyperparameters():
    inner = optax.inject_hyperparams(optax.sgd)(2**-4, **DYADIC)
    expected = by_torch(weights="int4@-2", compensation="eco")
    found, _, _ = by_optax(inner, weights="int4@-2", compensation="eco")
    assert np.array_equal(found, expected)


OTHERS = {"rmsprop": {"momentum": 0.9}, "lamb": {}, "amsgrad": {}, "sgd": {"momentum": 0.9, "nesterov": True}}
"""Optimizers whose hyperparameters have the same names as those of SGD and Adam."""


@pytest.mark.parametrize("name", OTHERS)
def test_compensation_of_others_is_refused(name):
    inner = optax.inject_hyperparams(getattr(optax, name))(0.1, **OTHERS[name])
    tx = low_precision(inner, weights="int4_per_row", compensation="eco")
    with pytest.raises(ValueError, match="'eco' is for SGD with momentum, Adam and AdamW, without Nesterov's step"):
        tx.init({"w": jnp.ones((2, 8))})


def test_compensation_needs_a_momentum_and_its_learning_rate():
    inner = optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.0)
    with pytest.raises(ValueError, match="optimizers with momentum, got one of 0"):
        low_precision(inner, weights="int4_per_row", compensation="eco").init(jnp.ones((2, 8)))
    inner = optax.chain(optax.inject_hyperparams(optax.adam)(0.1), optax.scale(0.5))
    with pytest.raises(ValueError, match="nothing but the learning rate after them"):
        low_precision(inner, weights="int4_per_row", compensation="eco").init(jnp.ones((2, 8)))
    adam = optax.inject_hyperparams(optax.adam, static_args="mu_dtype")
    inner = optax.chain(optax.clip(1.0), adam(0.1, mu_dtype=jnp.bfloat16))
    tx = low_precision(inner, weights="int4_per_row", compensation="eco")
    assert int(jax.jit(tx.init)(jnp.ones((2, 8))).steps) == 0


def test_states_in_a_dtype_of_their_own():
    """The state of Adam in bfloat16: its format has to fit that."""
    params = jnp.asarray(W)
    inner = optax.adam(0.01, mu_dtype=jnp.bfloat16)
    tx = low_precision(inner, weights="bf16", states={"exp_avg": "fp8_e5m2"})
    expected = inner.update(jnp.asarray(G[0]), inner.init(params), params)[1][0].mu
    _, state = jax.jit(tx.update)(jnp.asarray(G[0]), tx.init(params), params)
    found = state.inner[0].mu
    assert found.dtype == jnp.bfloat16
    assert jnp.array_equal(found, quantize(expected, "fp8_e5m2"))
    tx = low_precision(inner, weights="bf16", states={"exp_avg": "fp16"})
    with pytest.raises(ValueError, match="state 'exp_avg' of tensor 0: values of binary16 do not fit bfloat16"):
        tx.update(params, tx.init(params), params)


def test_states_of_the_same_name_are_all_rounded():
    params = jnp.asarray(W)
    inner = optax.chain(optax.trace(0.9), optax.trace(0.9), optax.scale(-0.01))
    tx = low_precision(inner, weights="bf16", states={"momentum": "fp8_e5m2"})
    _, state = jax.jit(tx.update)(jnp.asarray(G[0]), tx.init(params), params)
    for part in state.inner[:2]:
        assert np.array_equal(quantize(np.asarray(part.trace), "fp8_e5m2"), part.trace)


def test_compensation_of_adam():
    """Rounding to nearest leaves a weight where it is; compensated it arrives."""
    minimum = jnp.linspace(-1.0, 1.0, 64).reshape(1, 64)
    moved = {}
    for name, compensation in (("lost", None), ("kept", "eco")):
        rates = optax.linear_schedule(0.0, 0.01, 5)  # nothing is lost at 0, and nothing divided by it
        inner = optax.inject_hyperparams(optax.adamw)(rates, b1=0.5, b2=0.9, weight_decay=0.0)
        tx = low_precision(inner, weights={"fmt": "int8@-4", "rounding": "nearest_even"}, compensation=compensation)

        def step(carry, _, tx=tx):
            params, state = carry
            updates, state = tx.update(params - minimum, state, params)
            return (optax.apply_updates(params, updates), state), None

        start = jnp.zeros((1, 64))
        (params, _), _ = jax.lax.scan(step, (start, tx.init(start)), None, length=300)
        moved[name] = params
    assert not moved["lost"].any()
    assert jnp.abs(moved["kept"] - minimum).max() < 0.1


def test_adam_steps_are_rounded_like_those_of_torch():
    """Adam's own arithmetic differs in the last bits, so that some weights end on the value next to torch's."""
    w = torch.nn.Parameter(torch.tensor(W))
    kept = {"weights": "bf16", "states": {"exp_avg": "bf16", "nu": {"fmt": "bf16", "domain": "sqrt"}}}
    optimizer = low_precision(torch.optim.AdamW([w], lr=0.01, weight_decay=0.1), seed=5, **kept)
    tx = low_precision(optax.adamw(0.01, weight_decay=0.1), seed=5, **kept)
    params = jnp.asarray(W)
    params, state = settle(params, tx.init(params))
    update = jax.jit(tx.update)
    for g in G[:6]:
        w.grad = torch.tensor(g)
        optimizer.step()
        updates, state = update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, updates)
    expected, found = w.detach().numpy(), np.asarray(params)
    assert np.array_equal(np.asarray(quantize(params, "bf16")), found)
    assert (found == expected).mean() > 0.95
    np.testing.assert_allclose(found, expected, rtol=2**-6, atol=1e-4)


def test_half_precision_parameters():
    """The update of a bfloat16 parameter is a float32 one, and leads to the stored value."""
    p = jnp.asarray(W).astype(jnp.bfloat16)
    tx = low_precision(optax.sgd(0.1), weights="fp8_e4m3", master="binary32")
    params, state = settle(p, tx.init(p))

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    for g in G[:4]:
        params, state = step(params, state, jnp.asarray(g).astype(jnp.bfloat16))
        expected = np.asarray(quantize(state.memory.values["master"], "fp8_e4m3"))
        assert params.dtype == jnp.bfloat16
        assert np.array_equal(np.asarray(params.astype(jnp.float32)), expected)


def test_trees_chains_and_partitions():
    """Leaves that are None, masked or left alone stay what they were; names are found in any chain."""
    params = {"deep": [jnp.asarray(W), None], "bias": jnp.asarray(B), "steps": jnp.int32(3)}
    kept = low_precision(optax.adam(0.1), states={"exp_avg": "bf16"}, weights="bf16")
    tx = optax.chain(
        optax.scale(2.0),
        optax.partition(
            {"kept": kept, "plain": optax.sgd(0.5), "none": optax.set_to_zero()},
            {"deep": ["kept", None], "bias": "plain", "steps": "none"},
        ),
    )
    gradients = {"deep": [jnp.asarray(G[0]), None], "bias": jnp.zeros(5), "steps": jnp.int32(0)}
    params, state = settle(params, tx.init(params))
    assert np.array_equal(quantize(W, "bf16"), params["deep"][0])
    updates, state = tx.update(gradients, state, params)
    found = optax.apply_updates(params, updates)
    assert found["deep"][1] is None
    assert np.array_equal(found["bias"], B)
    assert np.array_equal(np.asarray(quantize(found["deep"][0], "bf16")), np.asarray(found["deep"][0]))
    states = [leaf for leaf in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(leaf, "mu")]
    assert [np.array_equal(quantize(each.mu["deep"][0], "bf16"), each.mu["deep"][0]) for each in states] == [True]


ERRORS = {
    "state": ({"states": {"exp_avgg": "bf16"}}, "unknown state 'exp_avgg'"),
    "root": ({"states": {"*": {"fmt": "bf16", "domain": "sqrt"}}}, "'exp_avg' of this transformation has negative"),
    "eco": ({"weights": "int4", "compensation": "eco"}, "optax.inject_hyperparams(optax.sgd)"),
    "nothing": ({"weights": "bf16", "min_ndim": 3}, "pass min_ndim=0"),
    "no params": ({"weights": "bf16"}, "call update(gradients, state, params)"),
    "tree": ({"weights": "bf16"}, "pass the parameters they are of"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    kept, message = ERRORS[case]
    params = {"w": jnp.ones((2, 2))}
    tx = low_precision(optax.adam(0.1), Storage(**kept))

    def run():
        given = {"v": params["w"]} if case == "tree" else params
        tx.update(given, tx.init(params), None if case == "no params" else params)

    with pytest.raises(ValueError) as error:  # noqa: PT011
        run()
    assert message in str(error.value)


def test_settle_wants_a_state_of_ours():
    params = jnp.ones((2, 2))
    with pytest.raises(TypeError, match="the state of a transformation that hu.low_precision made"):
        settle(params, optax.adam(0.1).init(params))
