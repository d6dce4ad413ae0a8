"""JAX on several devices: `shard_map` draws the bits of the whole array, and nothing calls back to the host."""

import subprocess
import sys

import halfulp as hu
import jax
import jax.numpy as jnp
import pytest

DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
from functools import partial
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P
import halfulp as hu

mesh = Mesh(np.array(jax.devices()), ("ranks",))
x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)).at[7, 3].set(300.0)
rows = partial(jax.shard_map, mesh=mesh, in_specs=P("ranks", None), out_specs=P("ranks", None))
columns = partial(jax.shard_map, mesh=mesh, in_specs=P(None, "ranks"), out_specs=P(None, "ranks"))


def equal(f, whole):
    assert np.array_equal(np.asarray(jax.jit(f)(x)), np.asarray(whole)), whole


for name in ("fp8_e4m3", "mxfp4"):
    equal(rows(lambda part: hu.quantize(part, name)), hu.quantize(x, name))


def random(part, place):
    return hu.quantize(part, "mxfp4", rounding="stochastic", seed=5, step=2, offset=hu.Shard(place, x.shape))

whole = hu.quantize(x, "mxfp4", rounding="stochastic", seed=5, step=2)
equal(columns(lambda part: random(part, (0, 32 * jax.lax.axis_index("ranks")))), whole)

for name in ("nvfp4",):
    def agreed(part):
        return hu.quantize(part, name, amax=jax.lax.pmax(jnp.abs(part).max(), "ranks"))
    equal(rows(agreed), hu.quantize(x, name))

def loss(part):
    return (hu.quantize(part, "fp8_e4m3") ** 2).sum()

equal(rows(jax.grad(loss)), jax.grad(loss)(x))

@jax.jit
def scanned(x):
    def step(carry, k):
        def one(part):
            return hu.quantize(part, "fp4_e2m1", rounding="stochastic", seed=1, step=k,
                               offset=hu.Shard((4 * jax.lax.axis_index("ranks"), 0), x.shape))
        return rows(one)(carry) + 0.25, None
    return jax.lax.scan(step, x, jnp.arange(3))[0]

expected = x
for k in range(3):
    expected = hu.quantize(expected, "fp4_e2m1", rounding="stochastic", seed=1, step=k) + 0.25
assert np.array_equal(np.asarray(scanned(x)), np.asarray(expected))
print("two devices agree")
"""


def test_shard_map_on_two_devices(tmp_path):
    script = tmp_path / "devices.py"
    script.write_text(DEVICES)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert "two devices agree" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("fmt", ["fp8_e4m3", "nf4", "int4", "mxfp4", "nvfp4", "int8_per_row"])
def test_no_host_callbacks(fmt):
    """What the accelerator runs holds no call back to Python."""
    x = jnp.ones((4, 64))

    def step(x, seed):
        return hu.quantize(x, fmt) + hu.quantize(x, "fp4_e2m1", rounding="stochastic", seed=seed)

    text = jax.jit(jax.value_and_grad(lambda x, seed: step(x, seed).sum())).lower(x, jnp.uint32(3)).as_text()
    assert "callback" not in text
    assert "custom_call" not in text


@pytest.mark.parametrize("fmt", ["nvfp4", "int8_per_tensor"])
def test_a_given_amax(fmt):
    x = jnp.linspace(-3, 40, 128).reshape(4, 32)
    whole = hu.quantize(x, fmt)
    given = jax.jit(lambda part, amax: hu.quantize(part, fmt, amax=amax))
    parts = jnp.concatenate([given(part, jnp.float32(40)) for part in jnp.split(x, 2)])
    assert (parts == whole).all()
    assert (hu.quantize(x[:2], fmt, amax=40.0) == whole[:2]).all()
    with pytest.raises(ValueError, match="expected one number"):
        hu.quantize(x, fmt, amax=jnp.ones(2))
