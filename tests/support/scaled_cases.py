"""Arrays that decide scaled formats, and every backend behind one signature."""

from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace

import halfulp as hu
import numpy as np
from halfulp.emulate.layouts import LAYOUTS
from halfulp.emulate.scaled_plan import Options, plan_for
from halfulp.formats.dyadic import power

from .cases import FLOATS, SIGNED

SHAPE = (6, 64)


@cache
def arrays_of(dtype):
    """Arrays of one shape: usual amplitudes, corners, zeros, and blocks with NaN and infinities."""
    rng = np.random.default_rng(0)
    usual = rng.standard_normal(SHAPE) * np.array([1, 1e-3, 500, 1, 1, 0.02])[:, None]
    usual[3] = rng.standard_normal(64) * np.exp(2 * rng.standard_normal(64))
    usual = usual.astype(FLOATS[dtype])
    layout, bits = LAYOUTS[dtype], SIGNED[LAYOUTS[dtype].width]
    for k, exponent in enumerate((0, 3, 2, -2)):  # maxima one ulp below a power of two, and at it
        below = np.array(layout.floor(power(exponent)) - (k < 3), bits)
        usual[4, 16 * k] = below.view(FLOATS[dtype])
        usual[4, 16 * k + 1 : 16 * k + 16] = (usual[4, 16 * k + 1 : 16 * k + 16].astype(np.float64) / 8).astype(
            FLOATS[dtype]
        )
    corners = rng.standard_normal(SHAPE).astype(FLOATS[dtype])
    subnormal = rng.integers(0, 1 << layout.mantissa_bits, 64).astype(bits)
    corners[0] = subnormal.view(FLOATS[dtype])
    corners[1, :32] = 0
    corners[1, 32] = -0.0
    corners[2] = (rng.standard_normal(64) * float(layout.number(1 << layout.mantissa_bits)) * 4).astype(FLOATS[dtype])
    largest = np.array(layout.infinity - 1, bits).view(FLOATS[dtype])
    corners[3] = (corners[3].astype(np.float64) / 8 * float(largest)).astype(FLOATS[dtype])
    corners[3, ::16] = largest
    corners[4, 1:] = -0.0
    special = rng.standard_normal(SHAPE).astype(FLOATS[dtype])
    special[0, 3], special[1, 17], special[2, 40], special[4, 63] = np.nan, np.inf, -np.inf, np.nan
    return {
        "usual": usual,
        "corners": corners,
        "special": special,
        "zeros": np.zeros(SHAPE, FLOATS[dtype]),
        "small": (rng.standard_normal(SHAPE) * 1e-7).astype(FLOATS[dtype]),
    }


def same_bits(got, want, dtype):
    """Equal numbers with equal signs; NaN like NaN."""
    got, want = np.asarray(got).astype(np.float64), np.asarray(want)
    return bool(np.all(((got == want) & (np.signbit(got) == np.signbit(want))) | (np.isnan(got) & np.isnan(want))))


def _numpy_values(x, fmt, **options):
    return hu.quantize(x, fmt, **options)


def _numpy_codes(x, fmt, **options):
    return hu.encode(x, fmt, **options).arrays


def _tensor(x):
    import torch

    return torch.from_numpy(x.view(SIGNED[x.dtype.itemsize * 8])).view(getattr(torch, x.dtype.name))


def _torch_values(x, fmt, **options):
    return hu.quantize(_tensor(x), fmt, **options).double().numpy()


def _torch_codes(x, fmt, **options):
    return {name: array.numpy() for name, array in hu.encode(_tensor(x), fmt, **options).arrays.items()}


def _torch_portable_values(x, fmt, rounding=None, overflow=None, seed=None, pad=False, **_):
    """What devices without a kernel of their own run."""
    import torch
    from halfulp.emulate.backends.torch_kernel import Offset
    from halfulp.emulate.backends.torch_scaled_kernel import Portable

    plan = plan_for(fmt, x.dtype.name, Options(rounding=rounding, overflow=overflow, pad=pad))
    key = None if seed is None else torch.tensor([0, 0, seed, 0])
    bits = torch.from_numpy(x.view(SIGNED[x.dtype.itemsize * 8]))
    values = Portable(bits, plan, key, Offset((0,), None), None).values(plan.target)
    return values.view(getattr(torch, x.dtype.name)).double().numpy()


def _x64(x):
    import jax

    return jax.enable_x64(True) if x.dtype.itemsize == 8 else nullcontext()


def _jax_values(x, fmt, **options):
    import jax.numpy as jnp

    with _x64(x):
        return np.asarray(hu.quantize(jnp.asarray(x), fmt, **options))


def _jax_codes(x, fmt, **options):
    import jax.numpy as jnp

    with _x64(x):
        return {name: np.asarray(array) for name, array in hu.encode(jnp.asarray(x), fmt, **options).arrays.items()}


BACKENDS = {
    "numpy": SimpleNamespace(values=_numpy_values, codes=_numpy_codes),
    "torch": SimpleNamespace(values=_torch_values, codes=_torch_codes),
    "torch_portable": SimpleNamespace(values=_torch_portable_values, codes=lambda *_, **__: None),
    "jax": SimpleNamespace(values=_jax_values, codes=_jax_codes),
}
