"""Arrays that decide scaled formats, and every backend behind one signature."""

import re
from contextlib import nullcontext
from functools import cache

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.layouts import LAYOUTS
from halfulp.emulate.scaled_plan import Options, plan_for
from halfulp.formats.dyadic import power

from .cases import FLOATS, SIGNED

SHAPE = (6, 64)


@cache
def arrays_of(dtype):
    """Arrays of one shape: usual amplitudes, corners, zeros, and blocks with NaN and infinities."""
    rng = np.random.default_rng(0)
    floats, layout, bits = FLOATS[dtype], LAYOUTS[dtype], SIGNED[LAYOUTS[dtype].width]

    def number(magnitude):
        return np.array(magnitude, bits).view(floats)

    usual = rng.standard_normal(SHAPE) * np.array([1, 1e-3, 500, 1, 1, 0.02])[:, None]
    usual[3] = rng.standard_normal(64) * np.exp(2 * rng.standard_normal(64))
    usual[4] /= 8
    usual = usual.astype(floats)
    for k, exponent in enumerate((0, 3, 2, -2)):  # maxima one ulp below a power of two, the last one at it
        usual[4, 16 * k] = number(layout.floor(power(exponent)) - (k < 3))
    corners = rng.standard_normal(SHAPE).astype(floats)
    corners[0] = rng.integers(0, 1 << layout.mantissa_bits, 64).astype(bits).view(floats)  # subnormals
    corners[1, :32] = 0
    corners[1, 32] = -0.0
    corners[2] = (rng.standard_normal(64) * float(layout.number(1 << layout.mantissa_bits)) * 4).astype(floats)
    largest = number(layout.infinity - 1)
    corners[3] = (corners[3].astype(np.float64) / 8 * float(largest)).astype(floats)
    corners[3, ::16] = largest
    corners[4, 1:] = -0.0
    special = rng.standard_normal(SHAPE).astype(floats)
    special[0, 3], special[1, 17], special[2, 40], special[4, 63] = np.nan, np.inf, -np.inf, np.nan
    small = (rng.standard_normal(SHAPE) * 1e-7).astype(floats)
    return {
        "usual": usual,
        "corners": corners,
        "special": special,
        "zeros": np.zeros(SHAPE, floats),
        "small": small,
    }


def same_bits(got, want):
    """Equal numbers with equal signs; NaN like NaN."""
    got, want = np.asarray(got).astype(np.float64), np.asarray(want)
    return bool(np.all(((got == want) & (np.signbit(got) == np.signbit(want))) | (np.isnan(got) & np.isnan(want))))


def _codes(x, given, fmt, options):
    """Codes by name; None where NaN has no code, which must be said."""
    if fmt.scale.nan_code is None and fmt.element.nan_code is None and np.isnan(x.astype(np.float64)).any():
        with pytest.raises(ValueError, match=f"{re.escape(fmt.name)} has no code for NaN"):
            hu.encode(given, fmt, **options)
        return None
    return {name: np.asarray(array) for name, array in hu.encode(given, fmt, **options).arrays.items()}


def by_numpy(x, fmt, **options):
    coded = {key: value for key, value in options.items() if key != "scale"}
    return hu.quantize(x, fmt, **options), _codes(x, x, fmt, coded)


def as_tensor(x):
    import torch

    return torch.from_numpy(x.view(SIGNED[x.dtype.itemsize * 8])).view(getattr(torch, x.dtype.name))


def by_torch(x, fmt, **options):
    t = as_tensor(x)
    return hu.quantize(t, fmt, **options).double().numpy(), _codes(x, t, fmt, options)


def by_torch_portable(x, fmt, seed=None, **options):
    """What devices without a kernel of their own run."""
    import torch
    from halfulp.emulate.backends.torch_kernel import Offset
    from halfulp.emulate.backends.torch_scaled_kernel import Portable

    plan = plan_for(fmt, x.dtype.name, Options(**options))
    key = None if seed is None else torch.tensor([0, 0, seed, 0])
    bits = torch.from_numpy(x.view(SIGNED[x.dtype.itemsize * 8]))
    values = Portable(bits, plan, key, Offset((0,), None), None).values(plan.target)
    return values.view(getattr(torch, x.dtype.name)).double().numpy(), None


def by_jax(x, fmt, **options):
    """Values; both calls run compiled programs, shared by formats of one structure."""
    import jax.numpy as jnp

    with jax_floats(x):
        return np.asarray(hu.quantize(jnp.asarray(x), fmt, **options)), None


def by_jax_with_codes(x, fmt, **options):
    import jax.numpy as jnp

    with jax_floats(x):
        return by_jax(x, fmt, **options)[0], _codes(x, jnp.asarray(x), fmt, options)


def by_jax_jit(x, fmt, **options):
    """Values and codes inside a program of the user's."""
    import jax
    import jax.numpy as jnp

    def both(x):
        return hu.quantize(x, fmt, **options), hu.encode(x, fmt, **options).arrays

    values, codes = jax.jit(both)(jnp.asarray(x))
    return np.asarray(values), {name: np.asarray(array) for name, array in codes.items()}


def jax_floats(x):
    import jax

    return jax.enable_x64(True) if x.dtype.itemsize == 8 else nullcontext()


BACKENDS = {
    "numpy": by_numpy,
    "torch": by_torch,
    "torch_portable": by_torch_portable,
    "jax": by_jax,
    "jax_with_codes": by_jax_with_codes,
    "jax_jit": by_jax_jit,
}
"""Values, and codes by name or None, of an array in a scaled format."""
