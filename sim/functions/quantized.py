"""Quantize the matrix products of any JAX function, forward and backward. JAX is imported when this is called."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jax_wrapping import Quantized


def quantized(fn: Callable[..., Any], recipe_or_rules: Any, *, params: Any = None) -> "Quantized":
    """A function of JAX arrays whose matrix products and convolutions are quantized, forward and backward.

    `dot_general` and `conv_general_dilated` are found wherever they are: inside of jit, scan, while, cond, checkpoint,
    shard_map, and functions with rules for derivatives of their own, whose rules are quantized too. So models of any
    library work: Flax, Equinox, plain functions. The result is pure, and works under jit, grad, vmap, scan, checkpoint
    and shard_map; called by itself it is compiled, once for each structure of arguments.

        q = hu.quantized(loss, [("layers.*.attn", "mxfp4"), ("head", None), ("*", "mxfp8")])
        value, gradient = jax.value_and_grad(q)(params, x, y, seed=0, step=k)

    The layer of a product is the path of the parameter that feeds it, without its last key, also through reshapes,
    transposes, casts and slices of stacks, and what is computed of parameters alone: `params["0"]["weight"]` belongs to
    layer "0", `params.layers[2].kernel` to "layers.2". A leading "params", as Flax has it, is dropped. Products of
    activations are called by their scope of names, which `jax.named_scope` and Flax's modules make. A model of torch
    and a function whose layers have the same names draw the same random bits.

    Patterns are matched with the layer, the parameter's path, both also with the argument's name before, and the scope;
    'type:linear' (without batch axes, one factor a parameter), 'type:matmul', 'type:convolution', 'type:dot_general'
    match kinds. A rule reaches products that no parameter feeds, such as those of attention, where it names them: by
    type, or by a name whose last part has no wildcard.

    Args:
        fn: a function of pytrees of arrays, which does not take its own gradient: that is taken of the result. Leaves
            of arguments that are neither arrays nor floats are static, as in Equinox.
        recipe_or_rules: a recipe or its name for all products with parameters, or ordered (pattern, recipe) pairs and
            `Rule`s, of which the first that matches wins. `hu.explain` shows what they do.
        params: numbers or names of the arguments whose arrays are parameters. By default the first one; none where that
            is a single array and the function holds arrays of its own, as a method of a model does. What it holds are
            parameters as well.

    Returns:
        A function of the arguments of `fn` and
            seed: an integer below 2**64, two words of 32 bits, or a JAX key; may be traced.
            step: an integer below 2**32; may be traced. Pass a new one at every step.
            state: of recipes with delayed or learned scales: `q.init(*args)` makes it, its gradient, of the same
                jax.grad as that of the parameters, holds what the step has seen, and
                `q.advance(state, gradient_of_state)` is the state of the next step.

    Raises:
        ValueError: an unknown recipe. In a call: a rule that matches nothing or is never used, a function without
            products or with its gradient inside, a recipe that a product cannot have, a length that blocks do not
            divide, a state that is missing or another one's. The message says what to write.
        TypeError: no function, or rules that are none.

    `Recipe.master`, `optimizer_state` and `after_step` are the optimizer's, and not read here. Inside of `shard_map`
    shards draw random words of their own. A format for outputs is rounded to before biases are added.

    Example:
        >>> import halfulp as hu, jax.numpy as jnp
        >>> def model(params, x):
        ...     return x @ params["head"]["kernel"]
        >>> q = quantized(model, hu.Recipe(fprop_x=hu.Quantizer("fp4_e2m1")))
        >>> q({"head": {"kernel": jnp.eye(2)}}, jnp.array([[1.0, 2.2], [3.0, 5.1]]))
        Array([[1., 2.],
               [3., 6.]], dtype=float32)
    """
    from .jax_wrapping import Quantized

    return Quantized(fn, recipe_or_rules, params)
