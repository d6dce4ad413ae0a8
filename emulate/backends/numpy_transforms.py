"""Hadamard transforms of NumPy arrays."""

from typing import Any

import numpy as np

from ..layouts import FLOAT32
from ..plan import Plan, Randomness
from ..scaled_plan import ScaledPlan
from ..transform_kernels import TransformPlan
from . import cpu, cpu_transformed, cpu_transforms
from . import numpy as plain


def negative_signs(randomness: Randomness | None, size: int) -> np.ndarray | None:
    """(size,) which signs are negative; None without random ones."""
    if randomness is None:
        return None
    return negative_of(plain.noise_for(randomness, (size,)).key, size)


def negative_of(key: tuple[int, int, int, int], size: int) -> np.ndarray:
    """As `negative_signs`, for a key."""
    return cpu.random_words(key, 0, size, FLOAT32) < 0


def signs(randomness: Randomness | None, size: int) -> np.ndarray:
    """(size,) float32 of +-1."""
    negative = negative_signs(randomness, size)
    return np.where(np.zeros(size, bool) if negative is None else negative, np.float32(-1), np.float32(1))


def hadamard(x: np.ndarray, plan: TransformPlan, randomness: Randomness | None, out: np.ndarray | None) -> np.ndarray:
    """`emulate.transforms.hadamard` on arrays."""
    dtype = x.dtype if plan.target is plan.source else plain.FLOATS[plan.target.name]
    source = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("="), copy=False))
    return plain.deliver(transformed(source, plan, negative_signs(randomness, plan.size), out), out, dtype)


def transformed(source: np.ndarray, plan: TransformPlan, negative: Any, out: np.ndarray | None) -> np.ndarray:
    """The transform of a row-major array; in `out` if it can go there directly."""
    target = out if out is not None and _takes(out, source) else np.empty(source.shape, plain.FLOATS[plan.target.name])
    cpu_transforms.transform(source, target, plan, negative)
    return target


def quantize(
    x: np.ndarray,
    transform: TransformPlan,
    signs: Randomness | None,
    plan: Plan | ScaledPlan,
    randomness: Randomness,
    out: np.ndarray | None,
) -> np.ndarray | None:
    """`emulate.quantize` of the transform of an array without holding that, or None where it must be held."""
    if isinstance(plan, ScaledPlan) and plan.scale_rounding is not None:
        return None
    noise = plain.noise_for(randomness, x.shape) if plan.rounding.stochastic else None
    dtype = x.dtype if plan.target is transform.source else plain.FLOATS[plan.target.name]
    source = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("="), copy=False))
    found = quantized(source, transform, negative_signs(signs, transform.size), plan, noise, out)
    return None if found is None else plain.deliver(found, out, dtype)


def quantized(
    source: np.ndarray,
    transform: TransformPlan,
    negative: np.ndarray | None,
    plan: Plan | ScaledPlan,
    noise: cpu.Noise | None,
    out: np.ndarray | None,
) -> np.ndarray | None:
    """The rounded transform of a row-major array, in `out` if it can go there directly; None where it must be held."""
    direct = out is not None and _takes(out, source)
    if direct and isinstance(plan, ScaledPlan):
        direct = not np.may_share_memory(out, source)  # the input must survive blocks beyond the kernel's reach
    target = out if direct else np.empty(source.shape, plain.FLOATS[plan.target.name])
    return target if cpu_transformed.quantize(source, target, transform, negative, plan, noise) else None  # pyright: ignore


def _takes(out: np.ndarray, source: np.ndarray) -> bool:
    """Whether the result can be written there while the source is read: right on it, or apart."""
    same = out.itemsize == source.itemsize and out.ctypes.data == source.ctypes.data
    return out.flags.c_contiguous and out.dtype.isnative and (same or not np.may_share_memory(out, source))
