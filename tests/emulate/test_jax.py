"""JAX behaviour: jit, grad, jvp, vmap, scan, traced formats, sharding."""

import os
import subprocess
import sys
import textwrap

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SR = {"rounding": "stochastic", "seed": 3}


def sample(*shape, scale=300.0, dtype=np.float32):
    return jnp.asarray((np.random.default_rng(0).standard_normal(shape) * scale).astype(dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(), (3, 0, 2), (5, 7)])
def test_shape_and_dtype_come_back(shape, dtype):
    x = sample(*shape).astype(dtype)
    for options in ({}, SR):
        y = hu.quantize(x, "fp4_e2m1", **options)
        assert isinstance(y, jax.Array)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert hu.encode(x, "fp4_e2m1", nan=0.0).shape == x.shape


OPTIONS = [{}, SR, {"ste": "identity"}, {"rounding": "up", "overflow": "special"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["fp8_e4m3", "int4", "nf4"])
def test_gradients_equal_torch(name, options):
    import torch

    if name == "nf4":
        options = {**options, "overflow": None}
    x = sample(200, scale=300.0 if name == "fp8_e4m3" else 8.0 if name == "int4" else 1.0)
    f = lambda x: hu.quantize(x, name, **options)  # noqa: E731
    t = torch.from_numpy(np.array(x)).requires_grad_()
    hu.quantize(t, name, **options).nansum().backward()
    want = t.grad.numpy()
    assert np.array_equal(jax.jit(jax.grad(lambda x: jnp.nansum(f(x))))(x), want)
    out, tangent = jax.jit(lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),)))(x)
    assert np.array_equal(out, f(x), equal_nan=True)
    assert np.array_equal(np.where(np.isnan(out), 0, tangent), want)


def test_gradients_in_every_transform():
    x = sample(20)
    f = lambda x: hu.quantize(x, "fp8_e4m3").sum()  # noqa: E731
    want = jax.grad(f)(x)
    assert set(want.tolist()) == {0.0, 1.0}
    assert np.array_equal(jax.vmap(jax.grad(f))(x), want)
    assert np.array_equal(jax.jacfwd(f)(x), want)
    assert np.array_equal(jax.linearize(f, x)[1](jnp.ones_like(x)), want.sum())


def test_second_order_is_that_of_a_straight_line():
    x = jnp.array([1.1, 500.0])
    f = lambda x: (hu.quantize(x, "fp8_e4m3", **SR) ** 2).sum()  # noqa: E731
    assert np.array_equal(jax.hessian(f)(x), np.diag([2.0, 0.0]))


def test_jit_scan_cond_while_remat_equal_eager():
    x = sample(40)
    f = lambda x: hu.quantize(x, "fp8_e4m3", **SR)  # noqa: E731
    want = f(x)
    assert np.array_equal(jax.jit(f)(x), want)
    assert np.array_equal(jax.checkpoint(f)(x), want)
    assert np.array_equal(lax.cond(True, f, lambda x: x, x), want)
    assert np.array_equal(lax.fori_loop(0, 1, lambda _, x: f(x), x), want)

    def step(carry, k):
        return carry, hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=3, step=k)

    _, steps = lax.scan(step, 0, jnp.arange(5, dtype=jnp.uint32))
    for k in range(5):
        assert np.array_equal(steps[k], hu.quantize(x, "fp8_e4m3", step=k, **SR))
    assert len({tuple(row) for row in np.asarray(steps).tolist()}) == 5


def test_vmap_members_draw_from_streams_of_their_own():
    x = sample(6, 30)
    f = lambda x: hu.quantize(x, "fp8_e4m3", **SR)  # noqa: E731
    for members in (jax.vmap(f)(x), jax.jit(jax.vmap(f))(x), jax.vmap(jax.jit(f))(x), jax.vmap(f, in_axes=1)(x.T)):
        for b in range(6):
            assert np.array_equal(members[b], hu.quantize(x[b], "fp8_e4m3", stream=hu.fold_stream(0, b), **SR))
    same = jax.vmap(f)(jnp.full((8, 500), 1.03))
    assert len({tuple(row) for row in np.asarray(same).tolist()}) == 8
    nested = jax.vmap(jax.vmap(f))(x[:, :, None])
    stream = hu.fold_stream(hu.fold_stream(0, 4), 2)  # the inner member first
    assert np.array_equal(nested[2, 4], hu.quantize(x[2, 4:5], "fp8_e4m3", stream=stream, **SR))


def test_vmap_over_seeds_steps_and_formats_equals_a_loop():
    x = sample(30)
    q = lambda **options: hu.quantize(x, "fp8_e4m3", rounding="stochastic", **options)  # noqa: E731
    seeds = jax.vmap(lambda s: q(seed=s))(jnp.arange(4))
    keys = jax.vmap(lambda k: q(seed=k))(jax.random.split(jax.random.key(1), 4))
    steps = jax.vmap(lambda s: q(seed=0, step=s))(jnp.arange(4))
    for k in range(4):
        assert np.array_equal(seeds[k], q(seed=k))
        assert np.array_equal(keys[k], q(seed=jax.random.split(jax.random.key(1), 4)[k]))
        assert np.array_equal(steps[k], q(seed=0, step=k))
    names = ["fp8_e4m3", "int4", "e2m5"]
    formats = jax.vmap(lambda f: hu.quantize(x, f, **SR))(hu.format_data(names))
    for k, name in enumerate(names):
        assert np.array_equal(formats[k], hu.quantize(x, name, **SR))
    both = jax.vmap(lambda f, s: hu.quantize(x, f, rounding="stochastic", seed=s))(hu.format_data(names), jnp.arange(3))
    for k, name in enumerate(names):
        assert np.array_equal(both[k], hu.quantize(x, name, rounding="stochastic", seed=k))


@pytest.mark.parametrize(
    "names",
    [
        ["fp8_e4m3", "e5m2", "fp8_e5m2fnuz", "int8", "uint4", "e8m0", "e4m3_nosub", "bfloat16"],
        ["nf4", "ternary", "binary", "int4_midrise", "pow2_4"],
    ],
)
@pytest.mark.parametrize("rounding", ["nearest_even", "up", "stochastic", "to_odd"])
def test_traced_formats_equal_static_ones(names, rounding):
    x = jnp.concatenate(
        [sample(100, scale=scale) for scale in (1e-3, 1.0, 1e3)]
        + [jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, 1e-45])]
    )
    stack = hu.format_data(names)
    q = jax.jit(lambda x, f: hu.quantize(x, f, rounding=rounding, seed=1))
    g = jax.jit(jax.grad(lambda x, f: jnp.nansum(hu.quantize(x, f, rounding=rounding, seed=1))))
    mapped, grads = jax.vmap(q, in_axes=(None, 0))(x, stack), jax.vmap(g, in_axes=(None, 0))(x, stack)
    for k, name in enumerate(names):
        want = hu.quantize(x, name, rounding=rounding, seed=1)
        one = hu.format_data(name)
        for got in (mapped[k], q(x, one)):
            assert np.array_equal(got, want, equal_nan=True)
            assert np.array_equal(np.signbit(got), np.signbit(want))
        assert np.array_equal(grads[k], g(x, one))


def test_a_hundred_formats_compile_once():
    count = 0

    @jax.jit
    def f(x, fmt):
        nonlocal count
        count += 1
        return hu.quantize(x, fmt)

    x = sample(10)
    for e in range(1, 7):
        for m in range(1, 18):
            f(x, hu.format_data(f"e{e}m{m}"))
    assert count == 1
    traced = hu.emulate.backends.jax._quantize_jit._cache_size()
    for e in range(1, 7):
        hu.quantize(x, f"e{e}m2")
        hu.quantize(x, f"e{e}m3")
    assert hu.emulate.backends.jax._quantize_jit._cache_size() <= traced + 1


def test_float64_under_x64():
    with jax.enable_x64(True):
        x = jnp.asarray(np.array([1 + 2.0**-11 + 2.0**-40, 1e300, -0.0]))
        assert jax.jit(lambda x: hu.quantize(x, "binary16"))(x).tolist() == [1.0009765625, float("inf"), -0.0]
        assert hu.quantize(x, "binary16", out_dtype="float32").dtype == jnp.float32
        assert jax.grad(lambda x: hu.quantize(x, "binary16", out_dtype="float32").sum())(x).tolist() == [1, 0, 1]


def test_traced_offsets_equal_static_ones():
    whole = jnp.full((8, 12), 1.03)
    want = hu.quantize(whole, "fp8_e4m3", **SR)
    row = jax.jit(lambda k: hu.quantize(whole[:1], "fp8_e4m3", offset=hu.Shard((k, 0), (8, 12)), **SR))
    flat = jax.jit(lambda k: hu.quantize(whole[:1].reshape(-1), "fp8_e4m3", offset=k, **SR))
    for k in range(8):
        assert np.array_equal(row(jnp.int32(k)), want[k : k + 1])
        assert np.array_equal(flat(jnp.int32(12 * k)), want[k])


def test_shard_map_on_two_devices_draws_the_bits_of_the_whole():
    """In a process of its own, because the number of host devices is fixed at start."""
    program = """
        import jax, jax.numpy as jnp, numpy as np, halfulp as hu
        from jax.sharding import PartitionSpec as P
        mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
        x = jnp.full((8, 12), 1.03)
        def f(block):
            start = jax.lax.axis_index("d") * block.shape[0]
            return hu.quantize(block, "fp8_e4m3", rounding="stochastic", seed=3, offset=hu.Shard((start, 0), (8, 12)))
        y = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(x)
        assert np.array_equal(y, hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=3))
        print(len(y.sharding.device_set), "devices agree")
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True
    )
    assert "2 devices agree" in done.stdout, done.stderr
