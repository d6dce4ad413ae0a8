"""Quantize one operand of a product in torch, and estimate the gradient through it.

Everything here is traced by `torch.compile`: it reads tuples of names and numbers, never objects.
"""

import math
import sys
from typing import Any

import torch

from ..emulate.quantize import quantize
from ..emulate.transforms import hadamard
from .operands import Operand

Spec = tuple[Any, ...]
"""An `Operand` as a plain tuple."""

_STREAMS = 16
"""Random streams of an operand: its elements, its scales."""
_OPERANDS = 8
"""Places for the six operands of a product, before those of the next."""


def own_storage(t: torch.Tensor) -> torch.Tensor:
    """The same memory in a storage of its own, where FSDP2 is at work on the CPU.

    NumPy, which kernels use, fixes the size of a storage it has seen, and FSDP2 frees that of a gathered weight.
    """
    if torch.compiler.is_compiling() or not t.is_cpu or "torch.distributed.fsdp._fully_shard" not in sys.modules:
        return t
    return torch.from_dlpack(t.detach())


def rotated(t: torch.Tensor, spec: Spec, seed: Any, step: Any, inverse: bool = False) -> torch.Tensor:
    """The operand after its transform, or before."""
    of = Operand(*spec)
    if not of.transform:
        return t
    return hadamard(t, of.transform, axis=of.axis, seed=seed, step=step, inverse=inverse)


def quantized(
    t: torch.Tensor,
    spec: Spec,
    seed: Any,
    step: Any,
    state: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
    call: int = 0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """An operand as its product takes it, and the scale that was given to it, where one was.

    Args:
        t: the operand, already transformed.
        seed: (2,) int64 words; step: () int64.
        state: () the largest magnitude of earlier steps, or the step size that is learned.
        seen: () where the largest magnitude of delayed scaling is gathered, in place; None gathers nothing.
        call: which of several products of one seed and step, so that each draws its own random words.

    Returns:
        Values of the dtype of t, times the prescale.
    """
    of = Operand(*spec)
    if not of.fmt:
        return t, None
    if call:
        of = _of_call(of, call)
    if seen is not None and of.scaling[0] == "delayed":
        _gather(t, seen)
    if of.prescale != 1.0:
        return _by_scale(t * of.prescale, of, seed, step, _floor_scale(t, of)), None
    if of.outliers:
        low, high = _ends(t, of.outliers)
        kept = torch.clamp(t, low, high)
        values, scale = _rounded(kept, of, seed, step, state)
        return values + (t - kept), scale
    return _rounded(t, of, seed, step, state)


def _rounded(
    t: torch.Tensor, of: Operand, seed: Any, step: Any, state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    name = of.scaling[0]
    if name == "eden":
        return _unbiased(t, of, seed, step), None
    if name == "std":
        scale = _std_scale(t, of)
        return _by_scale(t, of, seed, step, scale), scale
    if name == "learned" and state is not None:
        scale = state.detach().abs().reshape([1] * t.dim()).to(t.dtype)
        return _by_scale(t, of, seed, step, scale), scale
    if name == "delayed" and state is not None:
        largest = t.detach().abs().amax().to(torch.float64)
        largest = torch.where(torch.isfinite(largest), largest, torch.ones_like(largest))
        margin = 2.0 ** of.scaling[2]
        amax = torch.where(state > 0, state.to(torch.float64) * margin, largest)
        return _call(t, of, seed, step, amax=amax), None
    return _call(t, of, seed, step), None


def _call(
    t: torch.Tensor, of: Operand, seed: Any, step: Any, rounding: str = "", scale: Any = None, amax: Any = None
) -> torch.Tensor:
    return quantize(
        t,
        of.fmt,
        rounding=rounding or of.rounding or None,
        overflow=of.overflow or None,
        scale_rounding=of.scale_rounding or None,
        seed=seed,
        step=step,
        stream=of.stream * _STREAMS,
        axis=of.along or None,
        pad=of.pad and bool(of.block > 0 or of.follows),
        scale=scale,
        amax=amax,
        ste="identity",
    )


def _by_scale(t: torch.Tensor, of: Operand, seed: Any, step: Any, scale: torch.Tensor) -> torch.Tensor:
    """What `quantize(..., scale=scale)` gives, which divides by given scales in integers, by the way of elements.

    Quotients and products with powers of two are exact; a learned scale takes one division and one product of floats.
    """
    axis = of.axis % t.dim()
    wide = scale if scale.numel() == 1 else scale.repeat_interleave(of.block, axis).narrow(axis, 0, t.shape[axis])
    elements = quantize(
        t / wide,
        of.element,
        rounding=of.rounding or None,
        overflow=of.overflow or None,
        seed=seed,
        step=step,
        stream=of.stream * _STREAMS,
        ste="identity",
    )
    return elements * wide


def _gather(t: torch.Tensor, seen: torch.Tensor) -> None:
    """The largest magnitude into `seen`, if it is finite: a step that overflowed must not spoil those after it."""
    largest = t.detach().abs().amax().to(seen.dtype)
    seen.copy_(torch.maximum(seen, torch.where(torch.isfinite(largest), largest, seen)))


def _ends(t: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The quantiles of a share on each side, by the nearest rank."""
    flat = t.detach().reshape(-1)
    low = max(int(share * flat.numel()), 1)
    return flat.kthvalue(low).values, flat.kthvalue(flat.numel() + 1 - low).values


def blocks_of(t: torch.Tensor, of: Operand) -> tuple[torch.Tensor, int]:
    """(..., blocks, size, ...) of the operand along its axis, and the axis of the sizes."""
    axis = of.axis % t.dim()
    size = of.block or t.shape[axis]
    return t.unflatten(axis, (-1, size)), axis + 1


def _power_below(v: torch.Tensor) -> torch.Tensor:
    """The largest power of two that is not above v > 0, exactly."""
    _, exponent = torch.frexp(v)
    return torch.ldexp(torch.ones_like(v), exponent - 1)


def _std_scale(t: torch.Tensor, of: Operand) -> torch.Tensor:
    """2**round(log2(factor * std / largest + 1e-8)) of each block.

    Source: arXiv:2505.14669. Its reference code takes the floor of the logarithm; the errors in its table are those of
    the nearest power, which clips less.
    """
    parts, axis = blocks_of(t.detach().to(torch.float32), of)
    deviation = parts.std(dim=axis, unbiased=False)
    return _power_below((deviation * (of.scaling[1] / of.largest) + 1e-8) * 2**0.5).to(t.dtype)


def _floor_scale(t: torch.Tensor, of: Operand) -> torch.Tensor:
    """2**(floor(log2 amax) - emax) of each block, as OCP's rule has it, of an operand before its prescale."""
    parts, axis = blocks_of(t.detach().to(torch.float32), of)
    amax = parts.abs().amax(axis).clamp_min(2.0**-120)
    emax = int(math.log2(of.largest))
    return (_power_below(amax) * 2.0**-emax).to(t.dtype)


_FP4, _E4M3, _EDEN_TOP = "fp4_e2m1", "ue4m3", 255.99


def _unbiased(t: torch.Tensor, of: Operand, seed: Any, step: Any) -> torch.Tensor:
    """MS-EDEN: nearest elements, then scales corrected so that the product with x is unbiased, rounded at random.

    Source: arXiv:2601.22813; the largest element is 6 / (17/16 * shrink), groups are those of the transform.
    """
    goal = of.largest / (17 / 16 * of.scaling[1])
    x = t.to(torch.float32)
    outer = x.abs().amax() / (_EDEN_TOP * goal)
    outer = torch.where(outer > 0, outer, torch.ones_like(outer))
    parts, axis = blocks_of(x, of)
    s = quantize(parts.abs().amax(axis, keepdim=True) / (goal * outer), _E4M3)
    scale = torch.where(s > 0, s, torch.ones_like(s)) * outer
    elements = quantize(parts / scale, _FP4)
    group = max(int(of.transform.removeprefix("rht").removesuffix("_fixed") or 0) // parts.shape[axis], 1)
    xx, xq = _group_sums(parts * parts, axis, group), _group_sums(parts * elements * scale, axis, group)
    factor = torch.where(xq > 0, xx / xq, torch.ones_like(xq))
    corrected = quantize(
        s * factor, _E4M3, rounding="stochastic", seed=seed, step=step, stream=of.stream * _STREAMS + 1, ste="identity"
    )
    return (elements * (corrected * outer)).flatten(axis - 1, axis).to(t.dtype)


def _group_sums(parts: torch.Tensor, axis: int, group: int) -> torch.Tensor:
    """Sums over groups of neighbouring blocks, one for each block; all blocks where they are no whole groups."""
    sums = parts.sum(axis, keepdim=True)
    count = sums.shape[axis - 1]
    group = group if count % group == 0 else count
    pooled = sums.unflatten(axis - 1, (-1, group)).sum(axis, keepdim=True).expand(*_unflattened(sums, axis, group))
    return pooled.flatten(axis - 1, axis)


def _unflattened(sums: torch.Tensor, axis: int, group: int) -> list[int]:
    shape = list(sums.shape)
    return [*shape[: axis - 1], shape[axis - 1] // group, group, *shape[axis:]]


def _of_call(of: Operand, call: int) -> Operand:
    """An operand of a later product, with streams of its own; the compiler knows no `_replace`."""
    fields: list[Any] = list(of)
    fields[Operand._fields.index("stream")] = of.stream + _OPERANDS * call
    return Operand(*fields)


def reads_values(of: Operand, scale: torch.Tensor | None) -> bool:
    """Whether the gradient estimator reads the operand and what it became."""
    name = of.gradient[0]
    straight = name == "identity" or (name == "default" and of.follows and scale is None)
    return bool(of.fmt) and not straight


def estimated(
    gradient: torch.Tensor,
    t: torch.Tensor,
    values: torch.Tensor,
    scale: torch.Tensor | None,
    spec: Spec,
    seed: Any,
    step: Any,
) -> torch.Tensor:
    """The gradient of an operand from that of its values.

    Args:
        gradient: of the values.
        t: the operand that was rounded.
        values: what it became.
        scale: the scale that was given, or None.
    """
    of = Operand(*spec)
    name = of.gradient[0]
    if name == "default":
        name = "identity" if of.follows and scale is None else "clip"
    if not of.fmt or name == "identity":
        return gradient
    if name in ("clip", "lsq"):
        return _clipped(gradient, t, scale, of)
    if name in ("absmax", "absmax_full"):
        return _through_the_scale(gradient, t, values, of, name == "absmax_full")
    low, high = (_call(t, of, seed, step, rounding=side, scale=scale) for side in ("down", "up"))
    width = high - low
    share = torch.where(width > 0, (t - low) / torch.where(width > 0, width, torch.ones_like(width)), 0.0)
    return gradient * _slope(name, of, share)


def _slope(name: str, of: Operand, share: torch.Tensor) -> torch.Tensor:
    """The derivative of a smooth step between two values, by the share of the way from one to the other."""
    if name == "dge":
        power, limit = of.gradient[1], of.gradient[2]
        away = (2 * share - 1).abs()
        return torch.clamp(away.clamp_min(1e-12) ** (1 / power - 1) / power, max=limit)
    if name == "spline":
        sharpness = of.gradient[1]
        bent = torch.tanh(sharpness * (2 * share - 1))
        return sharpness * (1 - bent * bent) / torch.tanh(torch.tensor(sharpness, dtype=share.dtype))
    width = of.gradient[1]
    return torch.where((share - 0.5).abs() <= width / 2, 1 / width, 0.0)


def _clipped(gradient: torch.Tensor, t: torch.Tensor, scale: torch.Tensor | None, of: Operand) -> torch.Tensor:
    """Passed where the magnitude is at most that of the largest element, times the scale where there is one."""
    if scale is None:
        return gradient if of.follows else torch.where(t.abs() <= of.largest, gradient, 0.0)
    if scale.numel() == 1:
        return torch.where(t.abs() <= scale * of.largest, gradient, 0.0)
    axis = of.axis % t.dim()
    limit = scale.repeat_interleave(t.shape[axis] // scale.shape[axis], axis) * of.largest
    return torch.where(t.abs() <= limit, gradient, 0.0)


def _through_the_scale(
    gradient: torch.Tensor, t: torch.Tensor, values: torch.Tensor, of: Operand, full: bool
) -> torch.Tensor:
    """Straight through, and through the scale at the largest element of each block.

    With s = amax / largest and x^ = s q(x / s):

        d x^_j / d x_i = [i = j] + [i is the largest] sign(x_i) (x^_j - x_j) / amax
    """
    if of.block < 0:
        parts, g, error, axes = t, gradient, values - t, tuple(range(t.dim()))
    else:
        parts, axis = blocks_of(t, of)
        g, error, axes = blocks_of(gradient, of)[0], blocks_of(values - t, of)[0], (axis,)
    amax = parts.abs().amax(axes, keepdim=True)
    largest = (parts.abs() == amax) & (amax > 0)
    first = largest / largest.sum(axes, keepdim=True).clamp_min(1)
    total = (g * error).sum(axes, keepdim=True) if full else g * error
    found = g + first * parts.sign() * total / torch.where(amax > 0, amax, torch.ones_like(amax))
    return found.reshape(t.shape)


def step_gradient(
    gradient: torch.Tensor, t: torch.Tensor, values: torch.Tensor, scale: torch.Tensor, spec: Spec
) -> Any:
    """The gradient of a learned step size: sum g * (q - x/s inside, q outside) / sqrt(n * largest), of q = x^ / s."""
    of = Operand(*spec)
    inside = t.abs() <= scale * of.largest
    slope = (values - torch.where(inside, t, 0.0)) / scale
    return (gradient * slope).sum() / (t.numel() * of.largest) ** 0.5
