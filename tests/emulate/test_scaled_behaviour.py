"""Scaled formats in use: shapes, strides, given scales, gradients, transforms, stacks of formats, bad input."""

import copy
import pickle

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.formats.scaled_registry import SCALED
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ..support.scaled_cases import arrays_of, same_bits

RNG = np.random.default_rng(1)
X = RNG.standard_normal((4, 6, 64)).astype(np.float32)


def everywhere(x):
    return x, torch.from_numpy(x), jnp.asarray(x)


# ------------------------------------------------------------ shapes and types


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_per_tensor", "int4_per_row_asym", "nf4_dq", "bitnet"])
def test_type_shape_dtype_and_strides_come_back(name):
    for shape in ((3, 64), (32,), (2, 3, 32), (0, 32), (5, 0)):
        x = RNG.standard_normal(shape).astype(np.float32)
        for given_array in everywhere(x)[: 2 if shape in ((32,), (2, 3, 32)) else 3]:  # JAX compiles for each shape
            y = hu.quantize(given_array, name, pad=True)
            assert type(y) is type(given_array)
            assert (tuple(y.shape), str(y.dtype)) == (shape, str(given_array.dtype))
    t = torch.from_numpy(X).transpose(0, 1)
    assert hu.quantize(t, name, pad=True).stride() == torch.empty_like(t).stride()
    for x in (X[:, ::2], X.transpose(1, 0, 2), np.asfortranarray(X), X[::-1], X.astype(">f4")):
        y = hu.quantize(x, name, pad=True)
        assert y.dtype == x.dtype
        assert np.array_equal(y, hu.quantize(np.ascontiguousarray(x, np.float32), name, pad=True))
    assert hu.quantize(torch.from_numpy(X)[:, ::2], name, pad=True).shape == (4, 3, 64)


def test_scalars_and_lists():
    assert hu.quantize([1.0, 2.0, 127.0], "int8_per_tensor").tolist() == [1, 2, 127]
    assert hu.quantize(127.0, "int8_per_tensor") == 127.0
    assert hu.quantize(np.float32(3.0), "int8_per_tensor").dtype == np.float32
    assert hu.quantize(torch.tensor(3.0), "int8_per_tensor").shape == ()
    assert hu.quantize(jnp.float32(3.0), "int8_per_tensor").shape == ()
    with pytest.raises(ValueError, match=r"need axis -1, got an array of shape \(\)"):
        hu.quantize(3.0, "mxfp4")


def test_out_and_in_place():
    want = hu.quantize(X, "mxfp4")
    for out in (np.empty_like(X), np.empty(X.shape[::-1], np.float32).T):
        assert hu.quantize(X, "mxfp4", out=out) is out
        assert np.array_equal(out, want)
    y = X.copy()
    hu.quantize(y, "mxfp4", out=y)
    assert np.array_equal(y, want)
    t = torch.from_numpy(X.copy())
    assert hu.quantize(t, "mxfp4", out=t) is t
    assert np.array_equal(t.numpy(), want)
    wide = np.empty(X.shape)
    hu.quantize(X, "mxfp4", out=wide, out_dtype="float64")
    assert np.array_equal(wide, want)


def test_large_arrays_run_in_tiles():
    """Tiles cut anywhere: within blocks, between them, along any axis."""
    x = RNG.standard_normal((3, 70000)).astype(np.float32)
    whole = {"int8_per_tensor": x.reshape(-1), "int8_per_row": x[2], "bitnet": x.reshape(-1)}
    for name, part in whole.items():
        assert np.array_equal(np.asarray(hu.quantize(jnp.asarray(part), name)), hu.quantize(x, name).reshape(-1)[-part.size:])  # fmt: skip
    for axis, block in ((0, 32), (1, 7)):
        fmt = hu.scaled("fp4_e2m1", scale="e8m0", block=block, axis=axis)
        y = x.T.copy() if axis == 0 else x
        cut = block * 2500
        pieces = np.split(y, [cut], axis=axis)
        want = np.concatenate([hu.quantize(piece, fmt, pad=True) for piece in pieces], axis=axis)
        assert np.array_equal(hu.quantize(y, fmt, pad=True), want)


def test_blocks_along_any_axis_are_those_of_the_transposed_array():
    x = X[0, :, :32].T.copy()  # (32, 6)
    for given_array in everywhere(x):
        y = np.asarray(hu.quantize(given_array, "mxfp4", axis=0))
        assert np.array_equal(y, hu.quantize(np.ascontiguousarray(x.T), "mxfp4").T)
    assert hu.encode(x, "mxfp4", axis=0).scales.shape == (1, 6)
    tiles = hu.quantize(X[:, :, :16], "nvfp4_2d", axis=(0, 2), pad=True)
    assert np.array_equal(tiles.transpose(1, 0, 2), hu.quantize(X[:, :, :16].transpose(1, 0, 2), "nvfp4_2d", axis=(1, 2), pad=True))  # fmt: skip


def test_ragged_blocks_read_nothing_past_the_end():
    """A ragged array is one piece of a buffer whose other numbers are huge."""
    buffer = np.full((6, 50), 3e38, np.float32)
    x = RNG.standard_normal((3, 45)).astype(np.float32)
    buffer[:3, :45] = x
    for name in ("mxfp4", "nvfp4_2d", "nf4_block64", "hif4"):
        assert np.array_equal(hu.quantize(buffer[:3, :45], name, pad=True), hu.quantize(x, name, pad=True))
    y = hu.quantize(x, "mxfp4", pad=True)
    assert np.array_equal(y[:, :32], hu.quantize(x[:, :32], "mxfp4"))
    tail = np.zeros((3, 32), np.float32)
    tail[:, :13] = x[:, 32:]
    assert np.array_equal(y[:, 32:], hu.quantize(tail, "mxfp4")[:, :13])


# ------------------------------------------------------------ stated answers

ONE_OF_EACH = ["mxfp4", "nvfp4", "four_over_six", "hif4", "nf4_dq", "bitnet", "int8_per_row", "int4_per_tensor_asym"]
"""A format of each structure: JAX compiles for every one."""


@pytest.mark.parametrize("name", list(SCALED))
def test_zeros_stay_zeros(name):
    for zero in (0.0, -0.0):
        for dtype in (np.float16, np.float32, np.float64):
            y = hu.quantize(np.full((16, 64), zero, dtype), name, pad=True)
            if name == "binary_absmean":
                assert np.all(y == 0)
                continue
            assert np.all(y == 0)
            signed = getattr(SCALED[name].element, "has_negative_zero", False) and not SCALED[name].zero_point
            assert np.all(np.signbit(y) == (bool(np.signbit(zero)) and signed))
    if name in ONE_OF_EACH:
        assert np.all(np.asarray(hu.quantize(jnp.zeros((16, 64)), name, pad=True)) == 0)
    codes = hu.encode(np.zeros((16, 64), np.float32), name, pad=True)
    assert not codes.scales.any()


@pytest.mark.parametrize("name", [name for name in SCALED if SCALED[name].order == "plain"])
def test_a_block_with_nan_or_infinity_is_nan_and_no_other_is(name):
    fmt = SCALED[name]
    for bad in (np.nan, np.inf, -np.inf):
        x = RNG.standard_normal((16, 128)).astype(np.float32)
        spoilt = x.copy()
        spoilt[3, 5] = bad
        y = hu.quantize(spoilt, fmt, pad=True)
        nan = np.isnan(y)
        assert nan[3, 5]
        assert np.isfinite(y[~nan]).all()
        size = fmt.block_size or 16 * 128 if "row" not in name and "channel" not in name else 128
        assert nan.sum() == size
        if fmt.outer is None:
            assert np.array_equal(y[~nan], hu.quantize(x, fmt, pad=True)[~nan])


def test_nvfp4_saturates_infinities_as_nvidia_does():
    x = np.full((1, 32), 2.0, np.float32)
    x[0, 0] = np.inf
    y = hu.quantize(x, "nvfp4")
    assert y[0, 0] == 6 * 448
    assert np.all(y[0, 16:] == 6 * 0.34375)  # an infinite tensor maximum gives S_enc = 1; E4M3(2 / 6) = 0.34375
    x[0, 20] = np.nan
    y = hu.quantize(x, "nvfp4")
    assert np.isnan(y[0, 16:]).all()
    assert y[0, 0] == 6 * 448


def test_small_tensors_survive_where_there_is_a_tensor_scale():
    x = (RNG.standard_normal((4, 64)) * 1e-9).astype(np.float32)
    for name in ("nvfp4", "four_over_six", "mxfp4"):
        y = hu.quantize(x, name)
        assert np.linalg.norm(y - x) < 0.2 * np.linalg.norm(x)
    tiny = np.full((1, 16), 0.004, np.float32)  # its ideal scale is below half of the smallest one
    assert np.all(hu.quantize(tiny, "fp4_ue5m3") != 0)
    assert np.all(hu.quantize(tiny, hu.scaled("fp4_e2m1", scale="ue4m3", block=16)) != 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_no_infinity_is_ever_made(dtype):
    largest = np.finfo(dtype).max
    x = np.full((2, 64), largest, dtype)
    x[1] = -largest
    x[:, 1::2] /= 3
    for name in SCALED:
        for rule in ("ceil", "floor"):
            fmt = SCALED[name] if rule == "floor" else hu.scaled("fp4_e2m1", scale="e8m0", block=32, rule="ceil")
            for mode in ("up", "away", "nearest_even"):
                y = hu.quantize(x, fmt, rounding=mode, pad=True)
                assert np.isfinite(y).all(), (name, mode)


# ------------------------------------------------------------ scales that are given


@pytest.mark.parametrize("name", list(SCALED))
def test_idempotent_with_the_same_scales(name):
    """Values of the format stay where they are; scales from `scales`, one number, or an array."""
    x = np.abs(X[0, :, :]) if name == "binary_absmean" else X[0]
    scales = hu.scales(x, name, pad=True)
    y = hu.quantize(x, name, pad=True)
    assert same_bits(hu.quantize(x, name, pad=True, scale=scales), y)
    assert same_bits(hu.quantize(y, name, pad=True, scale=scales), y)
    for library in (torch.from_numpy, jnp.asarray) if name in ONE_OF_EACH else (torch.from_numpy,):
        moved = hu.scales(library(x), name, pad=True)
        assert same_bits(np.asarray(moved.decode), scales.decode)
        assert same_bits(np.asarray(hu.quantize(library(y), name, pad=True, scale=moved)), y)


def test_given_scales_of_every_kind():
    x = np.float32([[1, 2, 3, 300], [1, 2, 3, 4]])
    for make in (np.float32, torch.tensor, jnp.array):
        given_array = make(x.tolist()) if make is not np.float32 else x
        assert np.asarray(hu.quantize(given_array, "int8_per_row", scale=make(1.0))).tolist() == [
            [1, 2, 3, 127],
            [1, 2, 3, 4],
        ]
        per_row = np.asarray(hu.quantize(given_array, "int8_per_row", scale=make([[2.5], [0.0]])))
        assert per_row.tolist() == [[0, 2.5, 2.5, 300], [0, 0, 0, 0]]
        bad = np.asarray(hu.quantize(given_array, "int8_per_row", scale=make([[float("nan")], [-1.0]])))
        assert np.isnan(bad).all()
    half = np.asarray(hu.quantize(jnp.asarray(x), "int8_per_row", scale=jnp.ones((2, 1), jnp.bfloat16)))
    assert half[0, 3] == 127
    assert hu.quantize(torch.from_numpy(x), "int8_per_row", scale=torch.ones(2, 1, dtype=torch.bfloat16))[0, 3] == 127


@settings(deadline=None, max_examples=60)
@given(x=arrays(np.float32, (2, 32), elements=st.floats(-1e4, 1e4, width=32)), name=st.sampled_from(["mxfp4", "mxint8", "nvfp4", "int4_per_row", "int8_per_tensor", "hif4"]))  # fmt: skip
def test_symmetric_monotone_and_invariant_to_powers_of_two(x, name):
    y = hu.quantize(x, name, pad=True)
    assert same_bits(hu.quantize(-x, name, pad=True), np.where(y == 0, np.copysign(0, -np.copysign(1, y)) if SCALED[name].element.has_negative_zero else 0, -y))  # fmt: skip
    scales = hu.scales(x, name, pad=True)
    moved = hu.quantize(np.sort(x, axis=1), name, pad=True, scale=hu.Scales(np.float32(np.max(scales.decode)), None, scales.micro)) if name != "hif4" else None  # fmt: skip
    assert moved is None or np.all(np.diff(moved, axis=1) >= 0)
    if name in ("mxfp4", "mxint8", "int4_per_row", "int8_per_tensor"):
        tame = np.where(np.abs(x) < 1e-20, np.float32(0), x)
        for k in (-20, 7):
            assert same_bits(
                hu.quantize(np.ldexp(tame, k), name, pad=True), np.ldexp(hu.quantize(tame, name, pad=True), k)
            )


# ------------------------------------------------------------ gradients and transforms


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_per_row"])
def test_gradients_pass_where_scales_follow_the_data(name):
    x = X[0]
    t = torch.from_numpy(x.copy()).requires_grad_()
    hu.quantize(t, name).sum().backward()
    assert torch.equal(t.grad, torch.ones_like(t))
    assert np.all(np.asarray(jax.grad(lambda x: hu.quantize(x, name).sum())(jnp.asarray(x))) == 1)
    out, tangent = torch.func.jvp(lambda x: hu.quantize(x, name), (torch.from_numpy(x),), (torch.ones(x.shape) * 2,))
    assert torch.all(tangent == 2)
    assert np.array_equal(out.numpy(), hu.quantize(x, name))


def test_clip_masks():
    """ste='clip' stops elements that saturate; the default of static and given scales."""
    x = np.float32([[1.0, 6.9, -7.1, 3.0] * 8])
    fmt = hu.scaled("fp4_e2m1", block=32, rule="static:6")
    want = np.tile([1.0, 1.0, 0.0, 1.0], (1, 8))
    options = [({}, fmt), ({"ste": "clip"}, fmt), ({"scale": 1.0}, "int4_per_row"), ({"ste": "clip"}, "mxfp4")]
    for extra, name in options[:2]:
        t = torch.from_numpy(x.copy()).requires_grad_()
        hu.quantize(t, name, **extra).sum().backward()
        assert np.array_equal(t.grad.numpy(), want)
        assert np.array_equal(jax.grad(lambda x: hu.quantize(x, name, **extra).sum())(jnp.asarray(x)), want)
    t = torch.from_numpy(x.copy() * 2).requires_grad_()
    hu.quantize(t, "int4_per_row", scale=torch.tensor(1.0)).sum().backward()
    assert np.array_equal(t.grad.numpy(), (np.abs(np.rint(2 * x)) <= 7).astype(np.float32))
    y = np.float32([[7.9] + [1.0] * 31])  # floor: scale 1, 7.9 saturates at 6
    for library in (torch.from_numpy, jnp.asarray):
        g = gradient(library(y), "mxfp4", ste="clip")
        assert g.tolist() == [[0.0] + [1.0] * 31]
        assert gradient(library(y), "mxfp4").tolist() == [[1.0] * 32]


def gradient(x, name, **options):
    if isinstance(x, torch.Tensor):
        x = x.clone().requires_grad_()
        hu.quantize(x, name, **options).sum().backward()
        return x.grad.numpy()
    return np.asarray(jax.grad(lambda x: hu.quantize(x, name, **options).sum())(x))


def test_compiled_equals_eager_in_torch():
    x = torch.from_numpy(X[0].copy())
    sr = {"rounding": "stochastic", "seed": 3}
    written_down = hu.scaled("fp4_e2m1", scale="ue5m3", block=16)
    programs = {
        "mxfp4": lambda x: hu.quantize(x, "mxfp4"),
        "axis and scales at random": lambda x: hu.quantize(x, "mxfp4", axis=0, pad=True, scale_rounding="sr", **sr),
        "given": lambda x: hu.quantize(x, "int8_per_row", scale=torch.full((6, 1), 0.1)),
        "written down": lambda x: hu.quantize(x, written_down, ste="clip"),
    }
    for name, f in programs.items():
        torch._dynamo.reset()
        a, b = (x.clone().requires_grad_() for _ in range(2))
        compiled = torch.compile(f, fullgraph=True, backend="aot_eager" if name != "mxfp4" else "inductor")
        y, z = compiled(a), f(b)
        assert torch.equal(y, z), name
        y.sum().backward()
        z.sum().backward()
        assert torch.equal(a.grad, b.grad), name


def test_vmap_equals_a_loop():
    for name in ("mxfp4", "int8_per_tensor", "nf4_dq"):
        want = np.stack([hu.quantize(x, name, pad=True) for x in X])
        t = torch.func.vmap(lambda x: hu.quantize(x, name, pad=True))(torch.from_numpy(X))
        j = jax.vmap(lambda x: hu.quantize(x, name, pad=True))(jnp.asarray(X))
        assert np.array_equal(t.numpy(), want)
        assert np.array_equal(np.asarray(j), want)
    scales = torch.func.vmap(lambda x, s: hu.quantize(x, "int8_per_row", scale=s))(
        torch.from_numpy(X), torch.ones(4, 6, 1)
    )
    assert np.array_equal(scales.numpy(), hu.quantize(X, "int8_per_row", scale=np.float32(1)))


def test_formats_as_data_equal_formats_by_name():
    x = jnp.asarray(arrays_of("float32")["usual"])
    stacks = [
        ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp4", "mxint8"],
        ["int8_per_tensor", "int4_per_tensor", "e3m2_per_tensor"],
    ]
    for names in stacks:
        q = jax.jit(jax.vmap(lambda fmt: hu.quantize(x, fmt)))
        for row, name in zip(np.asarray(q(hu.format_data(names))), names):
            assert same_bits(row, np.asarray(hu.quantize(x, name)))
        one = jax.jit(lambda fmt: hu.quantize(x, fmt, rounding="stochastic", seed=1))(hu.format_data(names[1]))
        assert same_bits(np.asarray(one), np.asarray(hu.quantize(x, names[1], rounding="stochastic", seed=1)))


def test_a_grid_of_formats_compiles_once():
    x = jnp.asarray(X[0])
    hu.quantize(x, "e1m1_per_tensor")
    before = hu.emulate.backends.jax_scaled._quantize_jit._cache_size()
    for e in range(1, 6):
        for m in range(1, 5):
            hu.quantize(x, f"e{e}m{m}_per_tensor")
    assert hu.emulate.backends.jax_scaled._quantize_jit._cache_size() == before


def test_codes_travel():
    """Encoded, Packed and Scales are deep-copied and pickled, and are pytrees in JAX."""
    codes = hu.encode(X, "hif4")
    for moved in (copy.deepcopy(codes), pickle.loads(pickle.dumps(codes))):
        assert np.array_equal(hu.decode(moved), hu.decode(codes))
    packed = pickle.loads(pickle.dumps(hu.pack(X, "nvfp4")))
    assert np.array_equal(hu.unpack(packed), hu.quantize(X, "nvfp4"))
    decoded = jax.jit(lambda x: hu.decode(hu.encode(x, "nvfp4")))(jnp.asarray(X))
    assert np.array_equal(np.asarray(decoded), hu.quantize(X, "nvfp4"))
    assert len(jax.tree.leaves(hu.encode(jnp.asarray(X), "nvfp4"))) == 3


# ------------------------------------------------------------ bad input

ERRORS = [
    ({"fmt": "mxfp4", "x": X[:, :, :50]}, r"mxfp4 needs axis -1 to be a multiple of 32, got shape \(4, 6, 50\); pad to 64 or pass pad=True"),
    ({"fmt": "nf4_block64", "x": X[:, :, :7]}, "nf4_block64 needs the flattened array to be a multiple of 64"),
    ({"fmt": "mxfp4", "axis": 5}, r"blocks of 32@5 need axis 5, got an array of shape \(4, 6, 64\)"),
    ({"fmt": "int8_per_tensor", "axis": 0}, "int8_per_tensor has one scale per tensor, so axis=0 says nothing; leave it out"),
    ({"fmt": "nvfp4_2d", "axis": 0, "pad": True}, r"blocks of 16x16 have 2 axes, got axis=\(0,\)"),
    ({"fmt": "mxfp4", "overflow": "wrap"}, "mxfp4: elements saturate, or overflow='special' makes Inf or NaN of them; got 'wrap'"),
    ({"fmt": "mxfp4", "rounding": "stochastic"}, "rounding 'stochastic' needs a seed; pass seed=0"),
    ({"fmt": "mxfp4", "scale_rounding": "sr"}, "rounding 'stochastic' needs a seed; pass seed=0"),
    ({"fmt": "int8_per_row_asym", "scale_rounding": "up"}, "int8_per_row_asym: scale_rounding does not go with a zero point; leave it out"),
    ({"fmt": "mxfp4", "scale_rounding": "up", "scale": np.float32(1)}, "mxfp4: scale_rounding does not go with scales that are given"),
    ({"fmt": "mxfp4", "ste": "clipped"}, "unknown ste 'clipped'; did you mean 'clip'"),
    ({"fmt": "mxfp4", "scale": np.ones((4, 6), np.float32)}, r"scale: expected one number or an array of shape \(4, 6, 2\), a number a block, got \(4, 6\)"),
    ({"fmt": "int8_per_row_asym", "scale": np.float32(1)}, "scale: int8_per_row_asym needs zero points as well; pass what hu.scales"),
    ({"fmt": "hif4", "scale": np.float32(1)}, "scale: hif4 has 2 levels of micro exponents, got 0; pass what hu.scales"),
    ({"fmt": "fp8_e4m3", "scale": np.float32(1)}, "fp8_e4m3 has no scales, so scale say nothing; leave them out"),
    ({"fmt": "fp8_e4m3", "pad": True, "axis": 0}, "fp8_e4m3 has no scales, so axis and pad say nothing"),
    ({"fmt": "mxfp5"}, "unknown format 'mxfp5'; did you mean 'mxfp8'"),
    ({"fmt": "mxfp-44"}, "unknown format 'mxfp-44'; did you mean"),
    ({"fmt": "scaled(fp4_e2m1,scale=e8m0,blok=32)"}, "unknown option 'blok'; did you mean 'block'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), ERRORS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_options(options, message):
    options = dict(options)
    x, fmt = options.pop("x", X), options.pop("fmt")
    for given_array in everywhere(x):
        with pytest.raises(ValueError, match=message):
            hu.quantize(given_array, fmt, **options)


def test_bad_types():
    for given_array in everywhere(X):
        with pytest.raises(TypeError, match="scale: expected float32 or narrower floats, got (float64|int64|int32)"):
            hu.quantize(given_array, "int8_per_tensor", scale=np.arange(1))
        with pytest.raises(
            TypeError, match="phase is for complex numbers; pass a complex array or a pair|expected complex numbers"
        ):
            hu.quantize(given_array, "phase")
        with pytest.raises(ValueError, match="fp8_e4m3 has no scales; expected a scaled format, e.g. 'mxfp4'"):
            hu.scales(given_array, "fp8_e4m3")
        with pytest.raises(ValueError, match=r"expected an array with elements, got shape \(0, 32\)"):
            hu.scales(given_array[:0, 0, :32], "mxfp4")
        with pytest.raises(ValueError, match=r"expected an array with elements, got shape \(0, 32\)"):
            hu.encode(given_array[:0, 0, :32], "mxfp4")
        with pytest.raises(ValueError, match="codes of scaled formats are several arrays; leave out out="):
            hu.encode(given_array, "mxfp4", out=np.empty(X.shape, np.uint8))
    with pytest.raises(TypeError, match="mxfp4: expected what hu.encode returns, got ndarray of codes alone"):
        hu.decode(np.zeros(32, np.uint8), "mxfp4")
    with pytest.raises(TypeError, match="decode needs the format of the codes"):
        hu.decode(np.zeros(32, np.uint8))
    codes = hu.encode(X, "mxfp4")
    with pytest.raises(ValueError, match="the codes are of mxfp4, got mxint8; leave the format out"):
        hu.decode(codes, "mxint8")
    with pytest.raises(
        ValueError, match=r"mxfp4: expected arrays of shapes .* for an array of shape \(4, 6, 32\), got"
    ):
        hu.decode(hu.Encoded(codes.fmt, (4, 6, 32), codes.dtype, codes.elements, codes.scales))


def test_stacks_of_unlike_formats():
    with pytest.raises(ValueError, match="nvfp4 cannot be stacked with mxfp4: blocks, rule and order differ"):
        hu.format_data(["mxfp4", "nvfp4"])
    with pytest.raises(ValueError, match="scaled formats cannot be stacked with unscaled ones, got int4"):
        hu.format_data(["mxfp4", "int4"])
    with pytest.raises(TypeError, match="phase: complex formats are not traced"):
        hu.format_data("phase")
    data = hu.format_data("mxfp4")
    match = "this traced format was made for float32, got float64; make it with"
    with pytest.raises(ValueError, match=match), jax.enable_x64(True):
        hu.quantize(jnp.ones(32, jnp.float64), data)
    for x in everywhere(X)[:2]:
        with pytest.raises(TypeError, match="traced formats and roundings are for JAX arrays"):
            hu.quantize(x, data)
    with pytest.raises(TypeError, match="encode needs a format that is not traced"):
        hu.encode(jnp.asarray(X), data)
