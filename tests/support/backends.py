"""Every way to run the kernels, behind one signature on arrays of bits."""

from contextlib import nullcontext

import halfulp as hu
import numpy as np
from halfulp.emulate.backends import cpu
from halfulp.emulate.layouts import Layout
from halfulp.emulate.plan import make_plan

from .cases import FLOATS, SIGNED


def floats(bits: np.ndarray, layout: Layout) -> np.ndarray:
    """Bits as an array of the dtype."""
    return bits.view(FLOATS[layout.name])


def by_numpy(bits, fmt, layout, **options):
    return hu.quantize(floats(bits, layout), fmt, **options).view(SIGNED[layout.width])


def by_portable(bits, fmt, layout, rounding="nearest_even", overflow=None, seed=None, **_):
    """The portable kernel over NumPy, bypassing the compiled one."""
    plan = make_plan(fmt, rounding, overflow, layout.name, None)
    words = None if seed is None else cpu.random_words((0, 0, seed, 0), 0, len(bits), plan.layout)
    job = cpu.Job(plan.table, plan.layout, plan.rounding, plan.overflow)
    return cpu.portable(job, bits, words).astype(SIGNED[layout.width])


def by_torch(bits, fmt, layout, **options):
    import torch

    x = torch.from_numpy(bits).view(getattr(torch, layout.name))
    return hu.quantize(x, fmt, **options).view(getattr(torch, f"int{layout.width}")).numpy()


def by_torch_portable(bits, fmt, layout, rounding="nearest_even", overflow=None, seed=None, **_):
    """The portable kernel over torch: what devices without a kernel of their own run."""
    import torch
    from halfulp.emulate.backends import torch_kernel as backend

    plan = make_plan(fmt, rounding, overflow, layout.name, None)
    key = None if seed is None else torch.tensor([0, 0, seed, 0])
    return backend.portable(torch.from_numpy(bits), plan, key, backend.Offset((0,), None)).numpy()


def by_jax(bits, fmt, layout, **options):
    import jax
    import jax.numpy as jnp

    padded = np.zeros(-(-len(bits) // 8192) * 8192, bits.dtype)  # few sizes, few compilations
    padded[: len(bits)] = bits
    with jax.enable_x64(True) if layout.width == 64 else nullcontext():
        x = jnp.asarray(padded.view(FLOATS[layout.name]))
        result = np.asarray(hu.quantize(x, fmt, **options))
    return result.view(SIGNED[layout.width])[: len(bits)]


BACKENDS = {
    "numpy": by_numpy,
    "portable": by_portable,
    "torch": by_torch,
    "torch_portable": by_torch_portable,
    "jax": by_jax,
}
