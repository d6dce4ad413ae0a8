"""Codebooks learned from data, and one codebook a channel."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

GAUSS = np.random.default_rng(3).standard_normal(1 << 18).astype(np.float32)
ROWS = (GAUSS[: 1 << 14].reshape(16, -1) * np.geomspace(0.1, 10, 16, dtype=np.float32)[:, None]).astype(np.float32)


@pytest.mark.parametrize(("bits", "published"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497), (5, 0.002499)])
def test_gaussian_numbers_reach_the_published_errors(bits, published):
    """J. Max (1960), table 1. The variance of 2**18 numbers is off by up to .6%."""
    book = hu.learn_codebook(GAUSS, bits)
    assert len(book.values) == 1 << bits
    error = ((hu.quantize(GAUSS, book) - GAUSS) ** 2).mean() / (GAUSS**2).mean()
    assert abs(error / published - 1) < 0.01


def test_values_are_the_means_of_their_cells():
    book = hu.learn_codebook(GAUSS.astype(np.float64), 3)
    rounded = hu.quantize(GAUSS.astype(np.float64), book)
    for value in book.values:
        assert abs(GAUSS.astype(np.float64)[rounded == value].mean() - value) < 1e-12


def test_weights_count_as_repetitions():
    x = np.array([0.0, 1.0, 2.0, 7.0, 8.0, 20.0, 21.0, 30.0])
    weights = np.array([1, 3, 1, 2, 1, 1, 4, 2])
    assert hu.learn_codebook(x, 2, weights=weights) == hu.learn_codebook(np.repeat(x, weights), 2)


def test_fixed_values_stay():
    book = hu.learn_codebook(GAUSS, 3, fixed=(0.0, 1.5))
    assert len(book.values) == 8
    assert {0.0, 1.5} <= set(book.values)


def test_few_different_numbers():
    assert hu.learn_codebook([3.0, 3.0, 1.0], 4).values == (1.0, 3.0)
    assert hu.learn_codebook([3.0, 3.0], 4).values == (0.0, 3.0)
    assert hu.learn_codebook([0.0, 0.0], 4).values == (0.0, 1.0)
    assert hu.learn_codebook([3.0, np.nan, np.inf, 1.0], 2).values == (1.0, 3.0)
    assert hu.learn_codebook([1.0] * 90 + [2.0, 3.0, 4.0, 5.0, 6.0], 2).bits == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_are_numbers_of_the_dtype(dtype):
    x = GAUSS[:4096].astype(dtype)
    book = hu.learn_codebook(x, 4)
    assert all(dtype(value) == value for value in book.values)
    assert hu.quantize(x, book).dtype == dtype
    assert hu.learn_codebook(torch.from_numpy(x), 4) == book


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_channel_is_rounded_in_its_own_codebook(axis):
    x = ROWS if axis == 0 else np.ascontiguousarray(ROWS.T)
    fmt = hu.learn_codebook(x, 2, axis=axis)
    parts = [hu.quantize(part, book) for part, book in zip(np.moveaxis(x, axis, 0), fmt.books)]
    want = np.moveaxis(np.stack(parts), 0, axis)
    assert np.array_equal(hu.quantize(x, fmt), want)
    assert np.array_equal(hu.quantize(torch.from_numpy(x), fmt).numpy(), want)
    assert np.array_equal(jax.jit(lambda v: hu.quantize(v, fmt))(x), want)
    codes = hu.encode(x, fmt)
    assert np.array_equal(hu.decode(codes, fmt), want)
    assert np.array_equal(hu.decode(torch.from_numpy(codes), fmt).numpy(), want)
    assert np.array_equal(hu.encode(jnp.asarray(x), fmt), codes)
    alone = hu.learn_codebook(x, 2)
    assert ((want - x) ** 2).sum() < ((hu.quantize(x, alone) - x) ** 2).sum()


def test_channels_draw_the_random_bits_of_the_whole_array(tmp_path):
    fmt = hu.learn_codebook(ROWS, 2, axis=0)
    want = hu.quantize(ROWS, fmt, rounding="stochastic", seed=4)
    same = hu.ChannelCodebooks("same", (hu.format("nf4"),) * 16, 0)
    assert np.array_equal(
        hu.quantize(ROWS, same, rounding="stochastic", seed=4), hu.quantize(ROWS, "nf4", rounding="stochastic", seed=4)
    )
    assert np.array_equal(hu.quantize(torch.from_numpy(ROWS), fmt, rounding="stochastic", seed=4).numpy(), want)
    assert np.array_equal(hu.quantize(jnp.asarray(ROWS), fmt, rounding="stochastic", seed=4), want)
    half = hu.ChannelCodebooks("half", fmt.books[8:], 0)
    shard = hu.Shard((8, 0), ROWS.shape)
    assert np.array_equal(hu.quantize(ROWS[8:], half, rounding="stochastic", seed=4, offset=shard), want[8:])


def test_gradients_of_channels():
    fmt = hu.learn_codebook(ROWS, 3, axis=0)
    x = torch.from_numpy(ROWS).requires_grad_()
    hu.quantize(x, fmt).sum().backward()
    ends = np.array([[book.values[0], book.values[-1]] for book in fmt.books], np.float32)
    inside = (ends[:, :1] <= ROWS) & (ends[:, 1:] >= ROWS)
    assert np.array_equal(x.grad.numpy(), inside)
    assert np.array_equal(jax.grad(lambda v: hu.quantize(v, fmt).sum())(jnp.asarray(ROWS)), inside)


def test_channels_are_packed_and_saved(tmp_path):
    fmt = hu.learn_codebook(ROWS, 2, axis=0)
    packed = hu.pack(ROWS, fmt)
    assert packed.bits_per_element == 2
    assert fmt.bits_per_element(ROWS.shape) == 2 + 16 * 4 * 32 / ROWS.size
    path = hu.save(tmp_path / "w.safetensors", {"w": packed})
    assert np.array_equal(hu.unpack(hu.load(path)["w"]), hu.quantize(ROWS, fmt))
    assert hu.format(fmt.spec) == fmt


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hu.learn_codebook(GAUSS, 9), "1 to 8 bits, got 9"),
        (lambda: hu.learn_codebook(GAUSS, 1, fixed=(0.0, 1.0)), "expected fewer than 2 fixed values"),
        (lambda: hu.learn_codebook([np.nan], 2), "expected finite numbers with positive weights"),
        (lambda: hu.learn_codebook([1.0, 2.0], 2, weights=[1.0, -1.0]), "weights: expected finite numbers >= 0"),
        (lambda: hu.learn_codebook([1.0, 2.0], 2, weights=[1.0]), "weights: .* of shape .2,., got"),
        (lambda: hu.learn_codebook(ROWS, 2, axis=2), "expected an axis of an array of shape"),
        (lambda: hu.quantize(ROWS[:3], hu.learn_codebook(ROWS, 2, axis=0)), "has 16 channels along axis 0, got"),
        (lambda: hu.quantize(ROWS, hu.learn_codebook(ROWS, 2, axis=0), axis=0), "has no scales, so axis"),
        (lambda: hu.quantize(ROWS, hu.learn_codebook(ROWS, 2, axis=0), out=ROWS), "leave out= out"),
        (lambda: hu.ChannelCodebooks("mixed", (hu.format("nf4"), hu.format("ternary"))), "codebooks of one width"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
