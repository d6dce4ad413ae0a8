"""Delayed and learned scales of JAX functions: what they carry passes through `jax.grad` as a pytree."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
from halfulp.sim.recipes.operands import Operand, operands_of
from halfulp.sim.recipes.recipe import Recipe

from .jax_cases import FP4, equal, integers, quantized, rounded, trunk

X, W, E = integers(6, 8), integers(8, 5, seed=1), integers(6, 5, seed=2)


def product(w, x):
    return x @ w


DELAYED = hu.recipe("fp8_delayed")
DELAYED_FORWARD = Recipe(fprop_x=DELAYED.fprop_x, fprop_w=DELAYED.fprop_w)


def test_delayed_scales():
    """The gradient of a history is what the step has seen, and the next step's scales come from it."""
    q = quantized(product, DELAYED)
    state = q.init(W, X)
    assert jax.tree.map(jnp.shape, state) == {"history": {"w": (6, 16)}}
    seen = jax.jit(jax.grad(lambda w, s: (q(w, X, state=s) * E).sum(), argnums=(0, 1)))(W, state)[1]
    state = q.advance(state, seen)
    largest = [float(jnp.abs(t).max()) for t in (X, W, E, W, E, X)]
    equal(state["history"]["w"][:, 0], jnp.array(largest))
    equal(state["history"]["w"][:, 1:], jnp.zeros((6, 15)))
    later = q(W, 2 * X, state=state)
    scaled, weights = (rounded(t * (448 / m), "fp8_e4m3") / (448 / m) for t, m in zip((2 * X, W), largest))
    assert float(jnp.abs(scaled).max()) == largest[0]
    np.testing.assert_allclose(later, scaled @ weights, rtol=1e-5)


def test_state_inside_of_a_scan_has_a_row_for_each_turn():
    params, x = {"layers": {"kernel": integers(3, 8, 8, seed=1)}}, integers(4, 8)
    q = quantized(trunk, DELAYED_FORWARD)
    state = q.init(params, x)
    assert state["history"]["layers"].shape == (3, 6, 16)
    seen = jax.jit(jax.grad(lambda s: q(params, x, state=s).sum()))(state)
    weights = jnp.abs(params["layers"]["kernel"]).max((1, 2))
    equal(q.advance(state, seen)["history"]["layers"][:, 1, 0], weights)


def test_members_that_share_a_state_agree_on_the_largest():
    q = quantized(product, DELAYED_FORWARD)
    state, xs = q.init(W, X), jnp.stack([X, 3 * X, 2 * X])
    seen = jax.jit(jax.grad(lambda s: jax.vmap(lambda x: q(W, x, state=s))(xs).sum()))(state)
    equal(seen["history"]["w"][0, 0], jnp.abs(3 * X).max())
    equal(seen["history"]["w"][1, 0], jnp.abs(W).max())
    own = jax.jit(jax.vmap(lambda s, x: jax.grad(lambda s: q(W, x, state=s).sum())(s)))
    states = jax.tree.map(lambda t: jnp.stack([t] * 3), state)
    equal(own(states, xs)["history"]["w"][:, 0, 0], jnp.abs(xs).max((1, 2)))


def test_learned_sizes():
    q = quantized(product, "lsq")
    state = q.init(W, X)
    largest = [spec.largest for spec in (Operand(*each) for each in operands_of(hu.recipe("lsq"), "linear"))]
    sizes = state["sizes"]["w"]
    expected = [float(2 * jnp.abs(t).mean() / b**0.5) for t, b in zip((X, W), largest)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda s: (q(W, X, state=s) ** 2).sum()))(state)
    assert (gradient["sizes"]["w"] != 0).all()
    moved = q.advance(state, gradient, rate=0.01)["sizes"]["w"]
    equal(moved, sizes - 0.01 * gradient["sizes"]["w"])
    equal(q.advance(state, gradient), state)
    equal(q(W, X, state=state), q(W, X, state={"sizes": {"w": jnp.zeros(2)}}))


def test_no_state_where_none_is_needed():
    q = quantized(product, FP4)
    assert q.init(W, X) == {}
    equal(q(W, X, state={}), q(W, X))
    assert q.advance({}, {}) == {}
