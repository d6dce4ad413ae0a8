"""Arrays and references for the tests of Hadamard transforms."""

import halfulp as hu
import numpy as np
import torch
from halfulp.emulate.backends import cpu_transforms, numpy_transforms
from halfulp.emulate.layouts import LAYOUTS
from halfulp.formats.transform import transform

from .cases import FLOATS, SIGNED

SIZES = [1 << k for k in range(1, 13)]
RNG = np.random.default_rng(0)


def bits(a):
    a = a.detach().view(getattr(torch, f"int{8 * a.element_size()}")).numpy() if isinstance(a, torch.Tensor) else a
    a = np.asarray(a)
    return a.view(SIGNED[8 * a.itemsize])


def assert_same(a, b):
    a, b = bits(a), bits(b)
    assert a.dtype == b.dtype
    assert np.array_equal(a, b)


def hostile(dtype, shape=(3, 64, 5)):
    """Ordinary numbers, subnormal ones, ones whose sums overflow, and infinities and NaN of every payload."""
    layout, floats = LAYOUTS[dtype], FLOATS[dtype]
    usual = RNG.standard_normal(shape)
    special = RNG.choice([np.inf, -np.inf, np.nan, 0.0, -0.0], shape)
    payloads = np.arange(np.prod(shape)) % ((1 << layout.mantissa_bits) - 1) + layout.infinity + 1
    with np.errstate(all="ignore"):
        found = {
            "usual": usual,
            "subnormal": usual * 2.0 ** (1 - layout.bias),
            "every exponent": usual * np.exp2(RNG.integers(-layout.bias, layout.bias, shape)),
            "huge": usual * (float(layout.max) / 3),
            "special": np.where(RNG.random(shape) < 0.03, special, usual),
        }
        found = {name: x.astype(floats) for name, x in found.items()}
    nans = payloads.astype(SIGNED[layout.width]).view(floats).reshape(shape)
    return found | {"payloads": np.where(RNG.random(shape) < 0.01, nans, found["usual"])}


def by_definition(x, name, *, axis=-1, inverse=False, seed=None, step=0, out_dtype=None):
    """One addition at a time, in NumPy's floats."""
    h = transform(name)
    work = np.float64 if x.dtype == np.float64 else np.float32
    signs = hu.hadamard_signs(h, seed, step).astype(work)
    with np.errstate(all="ignore"):
        rows = np.moveaxis(x.astype(work), axis, -1)
        shape = rows.shape
        rows = rows.reshape(-1, h.size) if inverse else rows.reshape(-1, h.size) * signs
        half = 1
        while half < h.size:
            pairs = rows.reshape(-1, 2, half)
            rows = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1).reshape(-1, h.size)
            half *= 2
        rows = rows * work(np.sqrt(1 / h.size))
        rows = rows * signs if inverse else rows
        rows[np.isnan(rows)] = np.nan
        return np.moveaxis(rows.reshape(shape), -1, axis).astype(out_dtype or x.dtype)


def portable(x, plan, key):
    """The integer definition over NumPy."""
    negative = None if key is None else numpy_transforms.negative_of(key, plan.size)
    out = np.empty(x.shape, FLOATS[plan.target.name])
    shape = plan.cube(x.shape)
    cpu_transforms.in_integers(np.ascontiguousarray(x).reshape(shape), out.reshape(shape), plan, negative)
    return out
