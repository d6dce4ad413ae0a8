"""Hadamard transforms: their definition, and the same bits from every copy of it."""

import itertools
from contextlib import nullcontext

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import torch_transforms
from halfulp.emulate.layouts import LAYOUTS
from halfulp.emulate.transform_kernels import make_transform_plan
from halfulp.formats.transform import transform
from scipy.linalg import hadamard as sylvester

from ..support import reference_philox
from ..support.cases import FLOATS, SIGNED
from ..support.transforms import RNG, SIZES, assert_same, by_definition, hostile, portable

# ---------------------------------------------------------------- what it is


@pytest.mark.parametrize("size", SIZES)
def test_integers_give_the_matrix_of_sylvester(size):
    x = RNG.integers(-100, 101, (3, size)).astype(np.float64)
    got = hu.hadamard(x, f"hadamard{size}")
    assert np.array_equal(got, (x @ sylvester(size)) * np.sqrt(1 / size))
    assert np.array_equal(hu.hadamard(x.T, f"hadamard{size}", axis=0), got.T)


@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_inverse_is_exact_where_sums_are(size):
    x = RNG.integers(-50, 51, (4, 2 * size)).astype(np.float32)
    for name in (f"hadamard{size}", f"rht{size}", f"rht{size}_fixed"):
        y = hu.hadamard(x, name, seed=7, step=3)
        assert np.array_equal(hu.hadamard(y, name, seed=7, step=3, inverse=True), x)


@pytest.mark.parametrize("size", [2, 32, 512])
def test_orthogonal(size):
    matrix = hu.hadamard(np.eye(size), f"rht{size}", seed=1)
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    assert np.allclose(hu.hadamard(np.eye(size), f"rht{size}", seed=1, inverse=True), matrix.T, atol=0)


def test_a_shared_transform_leaves_products_alone():
    a, b = RNG.integers(-9, 10, (5, 64)).astype(np.float32), RNG.integers(-9, 10, (7, 64)).astype(np.float32)
    options = {"transform": "rht16", "seed": 3, "step": 8}
    assert np.array_equal(hu.hadamard(a, **options) @ hu.hadamard(b, **options).T, a @ b.T)


def test_signs_are_pinned():
    """The highest bits of the Philox words of a stream of their own; like all random bits they never change."""
    negative = hu.hadamard_signs("rht32", seed=0) < 0
    assert np.packbits(negative).tolist() == [0x9F, 0x55, 0xE7, 0xF1]
    seed, step, stream = 0x123456789ABCDEF, 7, 0x48414441
    words = [reference_philox.word(k, seed, step, stream) >> 31 == 1 for k in range(4096)]
    assert np.array_equal(hu.hadamard_signs("rht4096", seed, step) < 0, words)


def test_signs_come_from_seed_and_step_alone():
    first = hu.hadamard_signs("rht64", seed=5, step=2)
    assert set(first.tolist()) == {-1.0, 1.0}
    assert not np.array_equal(first, hu.hadamard_signs("rht64", seed=5, step=3))
    assert not np.array_equal(first, hu.hadamard_signs("rht64", seed=6, step=2))
    fixed = hu.hadamard_signs("rht64_fixed", seed=5, step=2)
    assert np.array_equal(fixed, hu.hadamard_signs("rht64_fixed", seed=5, step=9))
    assert np.array_equal(fixed, hu.hadamard_signs("rht64", seed=5))
    assert np.array_equal(first[:8], hu.hadamard_signs("rht8", seed=5, step=2))
    assert np.array_equal(hu.hadamard_signs("hadamard8"), np.ones(8))
    assert np.array_equal(hu.hadamard_signs("rht64", torch.tensor(5), 2).numpy(), first)
    assert np.array_equal(hu.hadamard_signs("rht64", jnp.uint32(5), 2), first)
    assert np.array_equal(hu.hadamard_signs("rht64", 5, torch.tensor(2)).numpy(), first)
    assert np.array_equal(
        hu.hadamard(np.ones(64, np.float32), "rht64", seed=5, step=2, inverse=True)[1:] * first[1:], np.zeros(63)
    )


# ---------------------------------------------------------------- the same bits everywhere


@pytest.mark.parametrize("dtype", FLOATS)
def test_cpu_bits(dtype):
    """Compiled, portable over NumPy and over torch, and the definition in floats."""
    targets = itertools.cycle(FLOATS)
    for (kind, x), name in itertools.product(hostile(dtype).items(), ("hadamard16", "rht64", "rht2", "rht4")):
        for inverse, axis in ((False, 1), (True, 1)):
            target = next(targets)
            options = {"axis": axis, "inverse": inverse, "seed": 11, "step": 4}
            want = by_definition(x, name, **options, out_dtype=FLOATS[target])
            assert_same(hu.hadamard(x, name, **options, out_dtype=target), want)
            plan = make_transform_plan(transform(name), x.shape, axis, inverse, LAYOUTS[dtype], LAYOUTS[target])
            key = torch.tensor([0x48414441, 4, 11, 0]) if name.startswith("rht") else None
            assert_same(portable(x, plan, None if key is None else tuple(key.tolist())), want)
            t = torch.from_numpy(x.view(SIGNED[8 * x.itemsize])).view(getattr(torch, dtype))
            assert_same(torch_transforms.portable(t, plan, key), want)
            assert_same(hu.hadamard(t, name, **options, out_dtype=target), want), kind


@pytest.mark.parametrize("size", SIZES)
def test_every_size_along_rows_and_columns(size):
    x = RNG.standard_normal((2, size, 37)).astype(np.float32)
    x[0, 0, :5] = np.nan, np.inf, 2.0**-149, 3e38, -0.0
    want = by_definition(x, f"rht{size}", seed=1, axis=1)
    assert_same(hu.hadamard(x, f"rht{size}", seed=1, axis=1), want)
    rows = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    assert_same(hu.hadamard(rows, f"rht{size}", seed=1), np.moveaxis(want, 1, -1))
    assert_same(hu.hadamard(x[:, :, :1], f"rht{size}", seed=1, axis=-2), want[:, :, :1])


@pytest.mark.parametrize("shape", [(1 << 16, 32), (64, 1 << 15), (1, 64, 1 << 15)])
def test_threads_change_nothing(shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    for axis in (-1, -2):
        want = by_definition(x, "hadamard32", axis=axis)
        assert_same(hu.hadamard(x, "hadamard32", axis=axis), want)
        assert_same(
            hu.hadamard(x.astype(np.float16), "hadamard32", axis=axis),
            by_definition(x.astype(np.float16), "hadamard32", axis=axis),
        )


def test_flushed_subnormals_change_nothing():
    x = torch.from_numpy(hostile("float32")["subnormal"])
    want = hu.hadamard(x, "rht64", axis=1, seed=2)
    torch.set_flush_denormal(True)
    try:
        got = hu.hadamard(x, "rht64", axis=1, seed=2)
        of_numpy = hu.hadamard(x.numpy(), "rht64", axis=1, seed=2)
    finally:
        torch.set_flush_denormal(False)
    assert_same(got, want)
    assert_same(of_numpy, want)


@pytest.mark.parametrize("dtype", FLOATS)
def test_jax_bits(dtype):
    """With subnormals that XLA flushes, sums that overflow, and arithmetic after it that XLA would fuse."""
    with jax.enable_x64(True) if dtype == "float64" else nullcontext():
        inverse = dtype in ("float32", "bfloat16")
        call = jax.jit(lambda x, s: hu.hadamard(x, "rht16", axis=1, inverse=inverse, seed=s))
        for x in hostile(dtype).values():
            assert_same(call(jnp.asarray(x), jnp.uint32(9)), by_definition(x, "rht16", axis=1, inverse=inverse, seed=9))


def test_jax_fuses_nothing_into_it():
    x, y = (RNG.standard_normal((8, 64)).astype(np.float32) for _ in range(2))
    plus, times = jax.jit(lambda x, y: ((h := hu.hadamard(x, "hadamard32")) + y, h * np.float32(1.1)))(x, y)
    assert np.array_equal(plus, hu.hadamard(x, "hadamard32") + y)
    assert np.array_equal(times, hu.hadamard(x, "hadamard32") * np.float32(1.1))


def test_strides_and_byte_orders():
    x = RNG.standard_normal((32, 6, 64)).astype(np.float32)
    want = by_definition(x, "hadamard32")
    for view in (np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=1)[:, ::2]):
        got = hu.hadamard(view, "hadamard32")
        assert got.dtype == view.dtype
        assert_same(got.astype(np.float32), want)
    t = torch.from_numpy(x).transpose(0, 2)
    assert_same(hu.hadamard(t, "hadamard32").contiguous(), by_definition(x.T.copy(), "hadamard32"))
    assert hu.hadamard(np.zeros((0, 32), np.float32)).shape == (0, 32)
    assert hu.hadamard(torch.zeros(3, 0)).shape == (3, 0)
    assert hu.hadamard(jnp.zeros((0, 32))).shape == (0, 32)


def test_out_and_in_place():
    x = RNG.standard_normal((64, 64)).astype(np.float32)
    for axis, array in itertools.product((0, 1), (np.array, torch.tensor)):
        given = array(x)
        want = hu.hadamard(given, "rht32", axis=axis, seed=1)
        out = given * 0
        assert hu.hadamard(given, "rht32", axis=axis, seed=1, out=out) is out
        assert_same(out, want)
        strided = (given * 0).T
        assert_same(hu.hadamard(given, "rht32", axis=axis, seed=1, out=strided) * 1, want)
        assert hu.hadamard(given, "rht32", axis=axis, seed=1, out=given) is given
        assert_same(given, want)
        overlapping = array(np.concatenate([x, x[:1]]))
        assert_same(hu.hadamard(overlapping[:-1], "rht32", axis=axis, seed=1, out=overlapping[1:]) * 1, want)


# ---------------------------------------------------------------- derivatives


def test_torch_derivatives():
    x = torch.from_numpy(RNG.standard_normal((3, 16))).requires_grad_()
    for inverse in (False, True):

        def call(x, inverse=inverse):
            return hu.hadamard(x, "rht8", inverse=inverse, seed=4)

        assert torch.autograd.gradcheck(call, (x,), check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(call, (x,))
    y = torch.from_numpy(RNG.standard_normal((3, 16)).astype(np.float32))
    want = hu.hadamard(y, "rht8", inverse=True, seed=4)
    half = y.half().requires_grad_()
    hu.hadamard(half, "rht8", seed=4, out_dtype="float32").backward(y)
    assert_same(half.grad, want.half())
    grad = torch.func.grad(lambda x: (hu.hadamard(x, "rht8", seed=4) * y).sum())
    assert_same(grad(y), want)
    value, tangent = torch.func.jvp(lambda x: hu.hadamard(x, "rht8", seed=4), (y,), (2 * y,))
    assert_same(tangent, hu.hadamard(2 * y, "rht8", seed=4))
    assert_same(value, hu.hadamard(y, "rht8", seed=4))


def test_torch_maps():
    x = torch.from_numpy(RNG.standard_normal((5, 16)).astype(np.float32))
    want = hu.hadamard(x, "rht8", seed=4)
    assert_same(torch.vmap(lambda x: hu.hadamard(x, "rht8", seed=4))(x), want)
    assert_same(torch.vmap(lambda x: hu.hadamard(x, "rht8", axis=0, seed=4), in_dims=1)(x.T), want)
    over_seeds = torch.vmap(lambda s: hu.hadamard(x, "rht8", seed=s))(torch.arange(3))
    assert_same(over_seeds, torch.stack([hu.hadamard(x, "rht8", seed=s) for s in range(3)]))


def test_torch_compiled_equals_eager():
    x = torch.from_numpy(RNG.standard_normal((4, 64)).astype(np.float32))

    def call(x, seed):
        y = hu.hadamard(x, "rht32", seed=seed, step=1)
        return hu.quantize(y + 1, "mxfp4", transform="rht16", seed=seed)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    a, b, seed = x.clone().requires_grad_(), x.clone().requires_grad_(), torch.tensor(6)
    got, want = compiled(a, seed), call(b, seed)
    assert_same(got, want)
    got.backward(x)
    want.backward(x)
    assert_same(a.grad, b.grad)


def test_jax_derivatives_and_maps():
    x = RNG.standard_normal((3, 16)).astype(np.float32)

    def call(x, seed=4):
        return hu.hadamard(x, "rht8", seed=seed, out_dtype="float32")

    @jax.jit
    def derivatives(x):
        tangent = jax.jvp(call, (x,), (2 * x,))[1]
        mapped = jax.vmap(jax.grad(lambda y, w: (call(y) * w).sum()))(x.astype(jnp.float16), x)
        return tangent, mapped, jax.vmap(lambda s: call(x, s))(jnp.arange(3))

    tangent, mapped, over_seeds = derivatives(x)
    assert_same(tangent, hu.hadamard(2 * x, "rht8", seed=4))
    assert_same(mapped, hu.hadamard(x, "rht8", inverse=True, seed=4, out_dtype="float16"))
    assert_same(over_seeds, np.stack([hu.hadamard(x, "rht8", seed=s) for s in range(3)]))
    hessian = jax.hessian(lambda y: (hu.hadamard(y, "hadamard4") ** 2).sum())(jnp.asarray(x[0, :4]))
    assert np.array_equal(hessian, 2 * np.eye(4))


# ---------------------------------------------------------------- names and errors


def test_names_parse_back():
    for size, (random, fresh) in itertools.product(SIZES, ((False, True), (True, True), (True, False))):
        h = hu.Hadamard(size, random, fresh)
        assert transform(h.spec) == h
        assert transform(h) is h
    assert [hu.Hadamard().spec, hu.Hadamard(16, random=True).spec] == ["hadamard32", "rht16"]
    assert hu.Hadamard(32, random=True, fresh=False).spec == "rht32_fixed"


ERRORS = [
    (lambda: hu.Hadamard(24), ValueError, "expected a power of two from 2 to 4096, got 24"),
    (lambda: hu.Hadamard(8192), ValueError, "from 2 to 4096"),
    (lambda: hu.Hadamard(1), ValueError, "from 2 to 4096"),
    (lambda: hu.Hadamard(32.0), TypeError, "expected a block size"),
    (lambda: hu.Hadamard(32, fresh=False), ValueError, "pass random=True"),
    (lambda: hu.hadamard(np.ones(32), "hadamrd32"), ValueError, "did you mean 'hadamard32'"),
    (lambda: hu.hadamard(np.ones(32), "hadamard32_fixed"), ValueError, "did you mean"),
    (lambda: hu.hadamard(np.ones(32), 32), TypeError, "expected the name of a transform"),
    (lambda: hu.hadamard(np.ones((4, 40))), ValueError, "axis -1 to be a multiple of 32, got shape (4, 40); pad the array to 64"),
    (lambda: hu.hadamard(np.ones((4, 32)), axis=2), ValueError, "needs axis 2, got an array of shape (4, 32)"),
    (lambda: hu.hadamard(np.ones((4, 32)), axis=(0, 1)), TypeError, "runs along one axis"),
    (lambda: hu.hadamard(1.0), ValueError, "needs axis -1"),
    (lambda: hu.hadamard(np.ones(32), "rht32"), ValueError, "needs a seed; pass seed=0"),
    (lambda: hu.hadamard_signs("rht32"), ValueError, "needs a seed; pass seed=0"),
    (lambda: hu.hadamard(np.ones(32, int)), TypeError, "expected floats"),
    (lambda: hu.hadamard(np.ones(32, complex)), TypeError, "expected float16"),
    (lambda: hu.hadamard((np.ones(32), np.ones(32))), TypeError, "got a tuple"),
    (lambda: hu.hadamard(np.ones(32), out=np.ones(31)), ValueError, "out: expected shape (32,)"),
    (lambda: hu.hadamard(np.ones(32), out=np.ones(32, "f4")), TypeError, "out: expected dtype float64"),
    (lambda: hu.hadamard(jnp.ones(32), out=np.ones(32)), TypeError, "immutable"),
    (lambda: hu.quantize(np.ones(32), "mxfp4", transform="rht32"), ValueError, "needs a seed"),
    (lambda: hu.quantize(np.ones(32), "mxfp4", transform="rht64", seed=1), ValueError, "multiple of 64"),
    (lambda: hu.quantize(np.ones(32), "phase", transform="hadamard32"), TypeError, "pass hu.hadamard(x, ...)"),
    (lambda: hu.quantize(np.ones((32, 32)), "nvfp4_2d", transform="hadamard32", axis=(0, 1)), TypeError, "one axis"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors_say_what_to_type(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_errors_under_compile():
    x = torch.ones(32)
    for call, message in (
        (lambda x: hu.hadamard(x, "rht32"), "needs a seed"),
        (lambda x: hu.hadamard(x, "hadamard32", out=x), "not traced"),
    ):
        with pytest.raises(Exception, match=message):
            torch.compile(call, fullgraph=True, backend="aot_eager")(x)
