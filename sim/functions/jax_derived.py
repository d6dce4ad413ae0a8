"""The rules for derivatives of a function that has its own, as jaxprs, so that products in them can be rewritten."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Derived(NamedTuple):
    """A rule.

    Args:
        forward: takes the operands; returns results, then what backward reads.
        backward: takes what it reads, then a cotangent of each result; returns those of operands after the constants.
        results: how many results there are.
        consts: how many operands come first that are not differentiated.
    """

    forward: Any
    backward: Any
    results: int
    consts: int


def derived(equation: Any) -> Derived:
    """The rule of an equation of `jax.custom_vjp` or `jax.custom_jvp`; of the latter the transpose."""
    consts = equation.params["num_consts"]
    kept: dict[str, Any] = {}

    def forward(*operands: Any) -> Any:
        def call(*free: Any) -> Any:
            params = equation.primitive.get_bind_params(equation.params)
            return equation.primitive.bind(*operands[:consts], *free, **params)

        found, pull = jax.vjp(call, *operands[consts:])
        leaves, kept["pull"] = jax.tree.flatten(pull)
        return found, leaves

    def backward(read: Any, cotangents: Any) -> Any:
        return jax.tree.unflatten(kept["pull"], read)(cotangents)

    avals = [v.aval for v in equation.invars]
    there, (results, read) = jax.make_jaxpr(forward, return_shape=True)(*avals)
    back = jax.make_jaxpr(backward)(read, [cotangent_of(x) for x in results])
    return Derived(there, back, len(results), consts)


def cotangent_of(x: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the cotangent of an array."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jax.dtypes.float0
    return jax.ShapeDtypeStruct(x.shape, np.dtype(dtype))
