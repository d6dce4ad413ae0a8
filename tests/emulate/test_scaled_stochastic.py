"""Random rounding of elements and scales: as the definition says, the same everywhere, and unbiased."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.formats.rounding import ROUNDINGS
from halfulp.formats.scaled_registry import SCALED

from ..support.exact_scaled import Reference
from ..support.reference_philox import element_word
from ..support.scaled_cases import arrays_of, jax_floats, same_bits

NAMES = ["mxfp4", "mxint8", "nvfp4", "four_over_six", "hif4", "nf4_dq", "int4_per_row", "int4_per_row_asym", "bitnet"]
SCALE_MEMBER = 0xFFFFFFFF
SR = {"rounding": "stochastic", "seed": 5}


def backends(x):
    yield lambda fmt, **options: hu.quantize(x, fmt, **options)
    t = torch.from_numpy(x)
    yield lambda fmt, **options: hu.quantize(t, fmt, **options).numpy()
    with jax_floats(x):
        j = jnp.asarray(x)
        yield lambda fmt, **options: np.asarray(hu.quantize(j, fmt, **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_elements_equal_the_definition(name, dtype):
    if dtype == "float64" and name not in ("mxfp4", "nvfp4"):
        return
    x = arrays_of(dtype)["usual"]
    words = [element_word(k, 5, 8 * x.dtype.itemsize) for k in range(x.size)]
    want = Reference(SCALED[name], dtype, rounding="stochastic", words=words).run(x)
    for run in backends(x):
        assert same_bits(run(name, pad=True, **SR), want.values)


@pytest.mark.parametrize("mode", ["stochastic", "up", "down"])
@pytest.mark.parametrize("name", ["mxfp4", "mxfp8_e5m2", "nvfp4", "fp4_ue5m3", "nf4_dq", "hif4", "int4_per_row"])
def test_scales_equal_the_definition(name, mode):
    """A stream of their own, folded from that of the elements; indices count blocks."""
    x = arrays_of("float32")["usual"]
    stream = hu.fold_stream(0, SCALE_MEMBER)
    words = [element_word(k, 5, 32, stream=stream) for k in range(x.size)]
    want = Reference(SCALED[name], "float32", scale_rounding=ROUNDINGS[mode], scale_words=words).run(x)
    for run in backends(x):
        assert same_bits(run(name, pad=True, scale_rounding=mode, seed=5), want.values)
        if name != "mxfp4":
            break


def test_elements_and_scales_draw_apart():
    x = arrays_of("float32")["usual"]
    both = hu.quantize(x, "nvfp4", scale_rounding="stochastic", **SR)
    scales = hu.scales(x, "nvfp4", scale_rounding="stochastic", seed=5)
    assert np.array_equal(both, hu.quantize(x, "nvfp4", scale=scales, **SR))
    assert not np.array_equal(scales.decode, hu.scales(x, "nvfp4").decode)
    assert not np.array_equal(scales.decode, hu.scales(x, "nvfp4", scale_rounding="stochastic", seed=5, step=1).decode)
    assert np.array_equal(scales.decode, hu.scales(jnp.asarray(x), "nvfp4", scale_rounding="stochastic", seed=5).decode)
    assert np.array_equal(scales.decode, hu.scales(torch.from_numpy(x), "nvfp4", scale_rounding="sr", seed=5).decode)


@pytest.mark.parametrize("name", ["mxfp4", "fp4_ue5m3"])
def test_a_slice_draws_the_bits_of_its_place(name):
    """Whole blocks of a larger array, elements and scales: as they are there, wherever they are cut out."""
    x = np.random.default_rng(0).standard_normal((8, 128)).astype(np.float32)
    options = {"scale_rounding": "stochastic", **SR}
    whole = hu.quantize(x, name, **options)
    part, place = x[2:5, 64:128], hu.Shard((2, 64), (8, 128))
    for cut in (part, torch.from_numpy(part.copy()), jnp.asarray(part)):
        assert np.array_equal(np.asarray(hu.quantize(cut, name, offset=place, **options)), whole[2:5, 64:128])
    row = hu.quantize(x[3], name, offset=3 * 128, **SR)
    assert np.array_equal(row, hu.quantize(x, name, **SR)[3])
    with pytest.raises(ValueError, match=r"does not begin at a block of"):
        hu.quantize(part, name, offset=hu.Shard((2, 8), (8, 128)), **options)
    with pytest.raises(ValueError, match=r"need its place as hu.Shard\(start, global_shape\), got an offset"):
        hu.quantize(x[3], name, offset=3 * 128, **options)


def test_vmap_members_draw_from_streams_of_their_own():
    x = np.random.default_rng(0).standard_normal((3, 4, 32)).astype(np.float32)
    options = {"scale_rounding": "stochastic", **SR}
    for members in (
        torch.func.vmap(lambda m: hu.quantize(m, "mxfp4", **SR))(torch.from_numpy(x)).numpy(),
        np.asarray(jax.vmap(lambda m: hu.quantize(m, "mxfp4", **SR))(jnp.asarray(x))),
    ):
        for k in range(3):
            assert np.array_equal(members[k], hu.quantize(x[k], "mxfp4", stream=hu.fold_stream(0, k), **SR))
    scales = jax.vmap(lambda m: hu.quantize(m, "mxfp4", **options))(jnp.asarray(np.repeat(x[:1], 3, axis=0)))
    assert len({row.tobytes() for row in np.asarray(scales)}) == 3


@pytest.mark.parametrize(
    "fmt",
    ["mxint8", hu.scaled("fp4_e2m1", scale="e8m0", block=32, rule="tetrajet"), hu.scaled("fp4_e2m1", scale="ue5m3", block=16, rule="rceil"), "int4_per_row"],
    ids=["floor of a symmetric grid", "tetrajet", "rceil", "per row"],
)  # fmt: skip
def test_unbiased_where_the_scale_is_not_rounded_down(fmt):
    """Mean over draws against x: |z| < 5 for each of 64 elements, and their sum of squares as expected."""
    x = np.random.default_rng(3).standard_normal(64).astype(np.float32)
    if fmt == "mxint8":
        x[0] = x[32] = 1.0  # below 2, floor leaves room: the largest scaled magnitude is 1
        x = np.clip(x, -1, 1)
    draws = 4000
    many = np.broadcast_to(x, (draws, 64)).copy()
    q = hu.quantize(many, fmt, **SR).astype(np.float64)
    error, spread = q.mean(axis=0) - x, q.std(axis=0)
    still = spread == 0  # on the grid, or so close that no draw left it: at most a dozen draws of a gap away
    assert np.all(np.abs(error[still]) <= np.abs(x).max() * 12 / draws)
    z = error[~still] / (spread[~still] / np.sqrt(draws))
    assert np.max(np.abs(z)) < 5
    assert np.sum(z**2) < 2 * len(z) + 20


def test_biased_where_it_is():
    """OCP's floor saturates the largest elements: their mean error is not zero, and this says so."""
    x = np.full((4000, 32), 7.5, np.float32)
    assert hu.quantize(x, "mxfp4", **SR).max() == 6
