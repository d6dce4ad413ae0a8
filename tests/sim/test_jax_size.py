"""Deep models of formats that are data: an operand is traced and lowered once, however many layers there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.sim.products.jax_operands import quantized
from halfulp.sim.recipes.operands import operands_of
from halfulp.sim.recipes.published import recipe
from halfulp.sim.training.jax_recipe_data import data_of, merged

X = jnp.asarray(np.random.default_rng(0).standard_normal((32, 64)), jnp.float32)


@pytest.mark.parametrize("names", [("mxfp8", "mxfp4"), ("int8", "int8"), ("nvfp4", "nvfp4")])
def test_functions_do_not_grow_with_depth(names):
    recipes = [recipe(name) for name in names]
    specs, data = operands_of(merged(recipes), "linear"), data_of(recipes, recipes)

    def chain(x, data, seed, depth):
        for stream in range(depth):
            x = quantized(x, specs[0], seed, jnp.uint32(0), call=stream, data=data[0])[0]
        return x

    def text(depth):
        mapped = jax.vmap(lambda x, data, seed: chain(x, data, seed, depth), (0, 0, None))
        return jax.jit(mapped).lower(X[None] + jnp.zeros((2, 1, 1)), data, jnp.zeros(2, jnp.uint32)).as_text()

    few, many = text(2), text(6)
    assert many.count("func.func") == few.count("func.func")
    assert many.count("\n") < few.count("\n") + 4 * 100  # lines an operand, of which it alone has hundreds


def test_an_operand_is_two_passes_over_its_elements():
    """The largest magnitudes of blocks, and all the rest: what is in between is no array of that size."""
    specs = operands_of(recipe("mxfp8"), "linear")
    x = jnp.ones((256, 512))
    program = jax.jit(lambda x: quantized(x, specs[0], jnp.zeros(2, jnp.uint32), jnp.uint32(0))[0]).lower(x).compile()
    if jax.default_backend() == "cpu":
        assert program.memory_analysis().temp_size_in_bytes < x.nbytes / 4
