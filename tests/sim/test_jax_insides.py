"""`hu.quantized` inside of loops, branches, checkpoints and functions with rules for derivatives of their own."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.recipes.seeds import seed_words
from jax import lax
from jax.extend.core import jaxprs_in_params

from .jax_cases import FP4, SR, E, W, X, equal, fp4, gradients, integers, product, quantized, rounded, trunk

# ---------------------------------------------------------------- wherever it is


def test_inside_of_everything():
    """jit, cond, a while loop, a scan, a function with a rule for derivatives; each product once."""

    def call(params, x):
        x = jax.jit(product)(params["a"], x)
        x = lax.cond(x.sum() > 1e6, lambda x: x, lambda x: x @ params["b"] / 8, x)
        x = lax.fori_loop(0, x.shape[0] // 3, lambda k, x: jnp.round(x @ params["b"] / 8), x)
        return lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, jnp.round(s[1] @ params["b"] / 8)), (0, x))[1]

    params = {"a": W, "b": integers(5, 5, seed=7)}
    a, b = fp4(W), fp4(params["b"])
    x = fp4(fp4(X) @ a) @ b / 8
    for _ in range(4):
        x = jnp.round(fp4(x) @ b / 8)
    equal(quantized(call, FP4)(params, X), x)
    table = hu.explain(call, FP4, args=(params, X))
    assert list(table.index) == ["a", "b", "b#1", "b#2"]
    assert table["turns"].fillna(0).tolist() == [1, 1, 2, 0]


def test_scan_equals_its_turns():
    params, x = {"layers": {"kernel": integers(3, 8, 8, seed=1)}}, integers(4, 8)
    e = integers(4, 8, seed=9)

    def unrolled(params, x):
        for k in range(3):
            x = x @ params["layers"]["kernel"][k] / 64
        return x

    equal(*(gradients(quantized(fn, FP4), e, params, x) for fn in (trunk, unrolled)))


def test_turns_draw_their_own_words():
    """Product k of a layer, whether of a turn of a loop or of a call, draws from stream 16 (operand + 8 k)."""

    def looped(w, xs):
        return lax.scan(lambda c, x: (c, (x @ w, 2 * (x @ w))), 0, xs)[1]

    xs = integers(3, 4, 8)
    words = np.array(seed_words(7, "w"), np.uint32)

    def expected(k, x):
        return rounded(x, rounding="stochastic", seed=words, step=5, stream=16 * (1 + 8 * k)) @ fp4(W)

    found = quantized(looped, SR)(W, xs, seed=7, step=5)
    equal(found[0], jnp.stack([expected(2 * k, x) for k, x in enumerate(xs)]))
    equal(found[1], jnp.stack([2 * expected(2 * k + 1, x) for k, x in enumerate(xs)]))


def test_turns_of_a_while_loop_differ():
    def call(w, x):
        def turn(state):
            k, ys = state
            return k + 1, ys.at[k].set(x @ w)

        return lax.while_loop(lambda state: state[0] < 3, turn, (0, jnp.zeros((3, 6, 5))))[1]

    found = quantized(call, SR)(W, X)
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
    equal(found, quantized(call, SR)(W, X))


def test_branches_and_seeds():
    """The seed may be a number, words or a key, the step traced; each draws anew."""
    q = quantized(product, SR)
    runs = [q(W, X), q(W, X, seed=1), q(W, X, step=1), q(W, X, seed=jax.random.key(3)), q(W, X, seed=2**40)]
    assert len({np.asarray(y).tobytes() for y in runs}) == 5
    equal(jax.jit(lambda s: q(W, X, seed=s, step=s))(jnp.uint32(1)), q(W, X, seed=1, step=1))
    equal(q(W, X, seed=np.array([1, 0], np.uint32)), q(W, X, seed=1))


def test_checkpoint_draws_the_same_again():
    def block(w, x):
        return (x @ w) ** 2

    noisy = Recipe(fprop_x=SR.fprop_x)
    found = [gradients(quantized(fn, noisy), E, W, X) for fn in (block, jax.checkpoint(block))]
    equal(*found)
    equal(found[0][1][0], X.T @ (2 * quantized(product, noisy)(W, X) * E))


def test_policies_of_checkpoints_are_kept():
    saved = jax.checkpoint_policies.save_only_these_names("kept")

    def call(w, x):
        return jax.checkpoint(lambda x: (x @ w) ** 2, policy=saved, prevent_cse=False)(x)

    def checkpoints(jaxpr):
        inner = [each for e in jaxpr.eqns for part in jaxprs_in_params(e.params) for each in checkpoints(part)]
        return [e.params for e in jaxpr.eqns if "policy" in e.params] + inner

    (found,) = checkpoints(jax.make_jaxpr(quantized(call, FP4))(W, X).jaxpr)
    assert found["policy"] is saved
    assert not found["prevent_cse"]


# ---------------------------------------------------------------- functions with rules of their own


@jax.custom_vjp
def own(x, w):
    return x @ w


def _own_bwd(kept, e):
    x, w = kept
    return e @ w.T, jax.vjp(lambda w: x @ w, w)[1](e)[0]


own.defvjp(lambda x, w: (x @ w, (x, w)), _own_bwd)


def test_a_rule_of_its_own_is_quantized_too():
    call = {"own": lambda w, x: own(x, w), "plain": product}
    recipe = FP4.with_(dgrad_w=Quantizer("int3", source="quantized"), wgrad_x=Quantizer(source="quantized"))
    equal(*(gradients(quantized(fn, recipe), E, W, X) for fn in call.values()))
    table = hu.explain(call["own"], FP4, args=(W, X))
    assert table["part"].tolist() == ["forward", "forward", "dgrad", "wgrad"]
    assert table["parameter"].tolist() == ["w"] * 4


def test_transforms_in_a_rule_of_its_own():
    """A gradient with respect to a transformed operand is taken back."""
    how = {"fmt": "fp4_e2m1", "transform": "hadamard4", "gradient": "identity"}
    forward, backward = Quantizer(**how), Quantizer(**how, source="quantized")
    recipe = Recipe("turned", forward, forward, forward, backward)
    w, x, e = integers(8, 4, seed=1), integers(8, 8), integers(8, 4, seed=2)
    equal(*(gradients(quantized(fn, recipe), e, w, x) for fn in (product, lambda w, x: own(x, w))))


def test_a_rule_with_batch_axes():
    @jax.custom_vjp
    def mine(a, b):
        return a @ b

    mine.defvjp(lambda a, b: (a @ b, (a, b)), lambda kept, e: (e @ kept[1].mT, kept[0].mT @ e))
    w, x, e = integers(2, 8, 5, seed=1), integers(2, 6, 8), integers(2, 6, 5, seed=2)
    q = [quantized(fn, [("type:matmul", FP4)]) for fn in (lambda w, x: mine(x, w), product)]
    equal(*(gradients(each, e, w, x) for each in q))


def test_a_jvp_of_its_own():
    @jax.custom_jvp
    def mine(x, w):
        return x @ w

    mine.defjvp(lambda p, t: (mine(*p), t[0] @ p[1] + p[0] @ t[1]))
    equal(gradients(quantized(lambda w, x: mine(x, w), FP4), E, W, X), gradients(quantized(product, FP4), E, W, X))


def test_rules_without_products_are_kept():
    def call(w, x):
        return jax.nn.relu(x @ w), jax.nn.silu(x @ w)

    text = str(jax.make_jaxpr(quantized(call, FP4))(W, X))
    assert "custom_jvp_call" in text
    assert "name=relu" in text


def test_an_empty_batch_passes_through():
    """There is nothing to quantize, which is no mistake in the rules; gradients are zeros as without them."""
    w, x = jnp.ones((32, 8)), jnp.ones((0, 32))
    fn = hu.quantized(lambda w, x: (x @ w).sum(), "mxfp8")
    assert fn(w, x, seed=0, step=0) == 0
    assert not jax.grad(fn)(w, x, seed=0, step=0).any()
