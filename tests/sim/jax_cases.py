"""Functions, data and recipes for the tests of quantized JAX functions.

Data are small integers, and the recipes keep them so: then every matrix product is exact, whatever the order of its
sums, and results can be compared bit for bit.
"""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
from halfulp.sim.functions.quantized import quantized
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from jax import lax

FP4 = Recipe("all in fp4", **dict.fromkeys(OPERANDS, Quantizer("fp4_e2m1", gradient="identity")))
"""Unscaled: 5 becomes 4, and 7 becomes 6."""
_STOCHASTIC = Quantizer("fp4_e2m1", rounding="stochastic", gradient="identity")
SR = FP4.with_(name="stochastic", fprop_x=_STOCHASTIC)
ALL_SR = Recipe("all stochastic", **dict.fromkeys(OPERANDS, _STOCHASTIC))


def integers(*shape, seed=0, largest=7):
    """Integers as float32."""
    return jnp.asarray(np.random.default_rng(seed).integers(-largest, largest + 1, shape).astype(np.float32))


def rounded(x, fmt="fp4_e2m1", **how):
    """Rounded in NumPy, where nothing is compiled."""
    return jnp.asarray(hu.quantize(np.asarray(x), fmt, **how))


fp4 = rounded


def equal(found, expected):
    """All leaves of two pytrees, bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        assert a.dtype == b.dtype


def gradients(fn, e, *args):
    """The value, and the gradients with respect to all arguments where the cotangent is e."""

    def run(e, *args):
        value, pull = jax.vjp(fn, *args)
        return value, pull(e)

    return jax.jit(run)(e, *args)


def by_hand(x, w, e):
    """Value and gradients of x w with every operand of the three products rounded."""
    return fp4(x) @ fp4(w), (fp4(e) @ fp4(w).T, fp4(x).T @ fp4(e))


def trunk(params, x):
    """Layers of a stack, one after another, checkpointed."""

    def layer(h, p):
        return h @ p["kernel"] / 64, None

    return lax.scan(jax.checkpoint(layer), x, params["layers"])[0]


def names_of(fn, *args, rules="mxfp4", **kwargs):
    """The names of the products of a function."""
    return list(hu.explain(fn, rules, args=args, kwargs=kwargs).index)


def counted(fn):
    """A function and how often it was traced."""
    calls = []

    def call(*args):
        calls.append(args)
        return fn(*args)

    return call, calls


X, W, E = integers(6, 8), integers(8, 5, seed=1), integers(6, 5, seed=2)


def linear(params, x):
    return x @ params["w"]


def product(w, x):
    return x @ w


__all__ = [
    "ALL_SR", "FP4", "SR", "E", "W", "X", "by_hand", "counted", "equal", "fp4", "gradients", "integers", "linear",
    "names_of", "product", "quantized", "rounded", "trunk",
]  # fmt: skip
