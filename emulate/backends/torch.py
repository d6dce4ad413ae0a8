"""torch tensors: eager and compiled, with gradients, forward mode, `torch.func` and any strides.

Where neither gradients nor function transforms are at work an eager call goes straight to the kernel.
"""

from typing import Any

import torch

from ...formats.registry import Format
from ..layouts import Layout
from ..philox import Shard
from ..plan import Plan, Randomness
from . import numpy as numpy_backend
from .torch_autograd import Compiled, Eager, Names, is_plain, transforms_active
from .torch_kernel import BITS, Offset, as_array, dtype_name, key_of, plain_noise, quantize_plain, torch_dtype

__all__ = ["as_array", "dtype_name"]


def check_out(out: Any, like: torch.Tensor, dtype: str) -> None:
    """Raise unless `out` can take the result.

    Raises:
        TypeError: no tensor, or another dtype or device.
        ValueError: another shape, a tensor that requires a gradient, or one whose elements share memory.
    """
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: expected a torch tensor, got {type(out).__name__}")
    if dtype_name(out) != dtype or out.device != like.device:
        raise TypeError(f"out: expected {dtype} on {like.device}, got {dtype_name(out)} on {out.device}")
    if out.shape != like.shape:
        raise ValueError(f"out: expected shape {tuple(like.shape)}, got {tuple(out.shape)}")
    if torch.is_grad_enabled() and (out.requires_grad or like.requires_grad):
        raise ValueError("out: cannot record a gradient through out=; leave it out, or use torch.no_grad()")
    if any(stride == 0 and length > 1 for stride, length in zip(out.stride(), out.shape)):
        raise ValueError("out: several elements share one memory location; pass a tensor of its own memory")


def quantize(x: torch.Tensor, plan: Plan, randomness: Randomness, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.quantize` on tensors."""
    key = key_of(randomness, x.device) if plan.rounding.stochastic else None
    offset = Offset.of(randomness.offset)
    if out is not None:
        return quantize_plain(x, plan, key, offset, out)
    if transforms_active() or (x.requires_grad and torch.is_grad_enabled()) or not is_plain(x):
        return Eager.apply(x, key, None, plan, offset, None)[0]
    return quantize_plain(x, plan, key, offset)


def quantize_compiled(
    x, fmt, rounding, overflow, seed, step, stream, offset, scale, scale_rounding, axis, pad, ste, out, out_dtype
):  # fmt: skip
    """`emulate.quantize` while `torch.compile` traces: nothing here but names, tensors and one Function."""
    if out is not None:
        raise ValueError("out= is not traced by torch.compile; leave it out, the compiler reuses memory itself")
    if scale is not None and not isinstance(scale, torch.Tensor):
        raise ValueError("under torch.compile scale= takes a tensor of one number a block")
    spec = fmt if isinstance(fmt, str) else fmt.spec
    modes = [
        "" if mode is None else mode if isinstance(mode, str) else mode.spec for mode in (rounding, scale_rounding)
    ]
    random = [mode for mode in modes if mode.startswith(("stochastic", "sr"))]
    if random and seed is None:
        raise ValueError(f"rounding {random[0]!r} needs a seed; pass seed=0, and step= to vary it")
    key = None if seed is None else key_of(Randomness(seed, step, stream), x.device)
    start, shape = (offset.start, offset.global_shape) if isinstance(offset, Shard) else ((offset,), None)
    dtype = dtype_name(x) if out_dtype is None else str(out_dtype).removeprefix("torch.")
    axes = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    names = Names(spec, modes[0], modes[1], overflow or "", dtype, ste or "", axes, bool(pad))
    return Compiled.apply(x, key, scale, *names, start, shape)[0]


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return numpy_backend.code_dtype_name(fmt)


def encode(
    x: torch.Tensor, plan: Plan, randomness: Randomness, nan: float | None, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.encode` on tensors; other devices encode on the CPU and copy."""
    bits = x.detach().cpu().view(BITS[plan.source.width]).numpy()
    key = key_of(randomness, torch.device("cpu")) if plan.rounding.stochastic else None
    noise = plain_noise(plan, key, Offset.of(randomness.offset), x.shape)
    codes = torch.from_numpy(numpy_backend.encode_bits(bits, plan, noise, nan, None)).to(x.device)
    return codes if out is None else out.copy_(codes)


def as_codes(codes: torch.Tensor) -> torch.Tensor:
    """Codes as they are, if they are integers.

    Raises:
        TypeError: anything but integers.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    return codes


def decode(codes: torch.Tensor, fmt: Format, target: Layout, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.decode` on tensors; other devices decode on the CPU and copy."""
    bits = numpy_backend.decode_checked(codes.detach().cpu().numpy(), fmt, target)
    values = torch.from_numpy(bits).view(torch_dtype(target)).to(codes.device)
    return values if out is None else out.copy_(values)
