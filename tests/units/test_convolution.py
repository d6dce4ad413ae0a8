"""Convolutions against a loop over results, and what does not go together."""

from itertools import product

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.units.convolution import convolve
from halfulp.emulate.units.matmul import matmul


def direct(x, w, unit, stride, padding, dilation, groups):
    """Result by result: the products in the order (places of the kernel, channels)."""
    space, kernel, cg, og = x.shape[2:], w.shape[2:], w.shape[1], w.shape[0] // groups
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(space, kernel, stride, padding, dilation)]
    found = np.empty((x.shape[0], w.shape[0], *out), np.float32)
    for i, o in product(range(x.shape[0]), range(w.shape[0])):
        for place in product(*map(range, out)):
            a, b = [], []
            for at in product(*map(range, kernel)):
                where = [q * s + k * d - p for q, s, k, d, p in zip(place, stride, at, dilation, padding)]
                inside = all(0 <= q < n for q, n in zip(where, space))
                channels = slice(o // og * cg, (o // og + 1) * cg)
                a.append(x[(i, channels, *where)] if inside else np.zeros(cg, np.float32))
                b.append(w[(o, slice(None), *at)])
            found[(i, o, *place)] = matmul(np.concatenate(a), np.concatenate(b), **unit)
    return found


GEOMETRIES = [
    ((2, 2, 9), (3, 2, 3), (1,), (0,), (1,), 1),
    ((1, 4, 9), (2, 2, 2), (2,), (1,), (3,), 2),
    ((1, 2, 5, 6), (3, 2, 3, 2), (1, 2), (1, 0), (1, 2), 1),
    ((1, 4, 4, 4), (4, 1, 2, 2), (1, 1), (0, 1), (1, 1), 4),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (1, 2, 1), (0, 1, 0), (1, 1, 1), 1),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_direct_loop(geometry):
    x_shape, w_shape, stride, padding, dilation, groups = geometry
    rng = np.random.default_rng(0)
    x, w = (hu.quantize(rng.standard_normal(shape).astype(np.float32), "fp16") for shape in (x_shape, w_shape))
    for unit in ({"accumulator": "fp16"}, {"accumulator": "bf16", "order": "blocked", "chunk": 3, "rounding": "up"}):
        got = convolve(x, w, **unit, stride=stride, padding=padding, dilation=dilation, groups=groups)
        assert (got == direct(x, w, unit, stride, padding, dilation, groups)).all()


def test_formats_and_numbers_for_all_axes():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 6, 6)).astype(np.float32), rng.standard_normal((3, 4, 3, 3)).astype(np.float32)
    got = convolve(x, w, "fp8_e4m3", "int8_per_channel", "fp22", stride=2, padding=1)
    values = hu.quantize(x, "fp8_e4m3"), hu.quantize(w, "int8_per_channel")
    assert (got == convolve(*values, accumulator="fp22", stride=(2, 2), padding=(1, 1))).all()
    assert got.shape == (2, 3, 3, 3)


def test_blocks_of_channels():
    """At one place of the kernel the block dot product is that of the channels."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 64, 3)).astype(np.float32), rng.standard_normal((4, 64, 1)).astype(np.float32)
    options = {"a_format": "mxfp4", "b_format": "mxfp4", "accumulator": "fp22", "order": "blocked"}
    got = convolve(x, w, **options)
    assert (got.transpose(0, 2, 1) == matmul(x.transpose(0, 2, 1), w[..., 0].T, **options)).all()
    wide = convolve(x, np.repeat(w, 2, 2), padding=1, **options)
    assert wide.shape == (2, 4, 4)
    assert (wide[..., 0] == got[..., 0]).all()
    grouped = convolve(x, w[:, :32], groups=2, **options)
    assert (grouped[:, :2] == convolve(x[:, :32], w[:2, :32], **options)).all()
    uneven = rng.standard_normal((1, 96, 2)).astype(np.float32), rng.standard_normal((2, 48, 1)).astype(np.float32)
    straddling = convolve(*uneven, groups=2, **options)  # a group of 48 begins in the middle of a block
    assert (straddling == convolve(*uneven, groups=2, chunk=16, **options)).all()
    with pytest.raises(ValueError, match=r"chunk=32 does not divide.*channels: 16.*use chunk=16"):
        convolve(x, w[:, :16], groups=4, chunk=32, **options)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((2, 3), (3, 3)), {}, r"one to three axes of space, got shapes \(2, 3\) and \(3, 3\)"),
        (((1, 3, 4), (3, 3, 2, 2)), {}, "one to three axes of space"),
        (((1, 3, 4), (3, 2, 2)), {}, r"w must have the channels of a group, 3 / 1 = 3, got shape \(3, 2, 2\)"),
        (
            ((1, 4, 4), (3, 2, 2)),
            {"groups": 2},
            "groups: expected a divisor of the 4 channels of x and the 3 filters of w",
        ),
        (((1, 4, 4), (2, 4, 2)), {"groups": 0}, "groups: expected a divisor.*got 0"),
        (((1, 3, 4), (3, 3, 5)), {}, r"a kernel of shape \(5,\) with dilation \(1,\) reaches over \(5,\)"),
        (((1, 3, 4), (3, 3, 0)), {}, "a kernel of shape"),
        (((1, 3, 4), (3, 3, 2)), {"stride": 0}, "stride: expected 1 or more for each of 1 axes of space, got 0"),
        (((1, 3, 4), (3, 3, 2)), {"dilation": (1, 1)}, r"dilation: expected 1 or more for each of 1 axes"),
        (((1, 3, 4), (3, 3, 2)), {"padding": -1}, "padding: expected 0 or more"),
        (((1, 3, 4), (3, 3, 2)), {"order": "blocked"}, "needs chunk="),
        (((1, 3, 4), (3, 3, 2)), {"rounding": "stochastic"}, "convolve: stochastic rounding needs seed="),
    ],
)
def test_refused_convolutions(shapes, options, message):
    x, w = (np.ones(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        convolve(x, w, **options)


def test_stochastic_convolutions():
    x, w = np.full((1, 2, 5, 5), 0.3, np.float32), np.full((2, 2, 2, 2), 0.7, np.float32)
    got = [convolve(x, w, accumulator="fp8_e4m3", rounding="stochastic", seed=seed) for seed in (0, 0, 1)]
    assert (got[0] == got[1]).all()
    assert (got[0] != got[2]).any()
