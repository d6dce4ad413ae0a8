"""Roundings as data in JAX: one program for all, with the bits of the named modes."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.emulate.traced import rounding_data

DETERMINISTIC = ["nearest_even", "nearest_away", "nearest_zero", "toward_zero", "away", "up", "down", "to_odd"]
RANDOM = ["stochastic", "stochastic:8B", "stochastic_equal"]
X = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


@pytest.mark.parametrize("fmt", ["e3m2", "int4_per_tensor", "mxfp4", "nf4"])
def test_a_stack_of_roundings_equals_the_named_ones(fmt):
    found = jax.jit(jax.vmap(lambda mode: hu.quantize(jnp.asarray(X), fmt, rounding=mode)))(
        rounding_data(DETERMINISTIC)
    )
    for row, name in zip(found, DETERMINISTIC):
        assert np.array_equal(row, hu.quantize(X, fmt, rounding=name)), name
    seeds = jnp.array([[3, 0]] * len(RANDOM), jnp.uint32)
    found = jax.vmap(lambda mode, seed: hu.quantize(jnp.asarray(X), fmt, rounding=mode, seed=seed))(
        rounding_data(RANDOM), seeds
    )
    for row, name in zip(found, RANDOM):
        assert np.array_equal(row, hu.quantize(X, fmt, rounding=name, seed=3)), name


def test_formats_and_roundings_share_one_program():
    program = jax.jit(lambda fmt, mode: hu.quantize(jnp.asarray(X), fmt, rounding=mode))
    for fmt in ("e3m2", "e2m1", "int4"):
        for mode in ("up", "nearest_even"):
            assert np.array_equal(program(hu.format_data(fmt), rounding_data(mode)), hu.quantize(X, fmt, rounding=mode))
    assert program._cache_size() == 1


def test_what_is_refused():
    with pytest.raises(ValueError, match="deterministic and stochastic roundings do not stack"):
        rounding_data(["up", "stochastic"])
    with pytest.raises(ValueError, match="expected one or more roundings"):
        rounding_data([])
    with pytest.raises(ValueError, match="did you mean"):
        rounding_data("nearest_evn")
    with pytest.raises(TypeError, match="traced formats and roundings are for JAX arrays"):
        hu.quantize(X, "e3m2", rounding=rounding_data("up"))
    with pytest.raises(ValueError, match="made for 64-bit integers"):
        hu.quantize(jnp.asarray(X), "e3m2", rounding=rounding_data("up", "float64"))
    with pytest.raises(ValueError, match="needs a seed"):
        hu.quantize(jnp.asarray(X), "e3m2", rounding=rounding_data("stochastic"))
