"""torch tensors: eager and compiled, with gradients, forward mode, `torch.func` and any strides.

Where neither gradients nor function transforms are at work an eager call goes straight to the kernel.
"""

from dataclasses import replace
from typing import Any

import torch

from ...formats.registry import Format
from ..layouts import Layout
from ..philox import Shard
from ..plan import Plan, Randomness
from . import numpy as numpy_backend
from . import torch_autograd
from . import triton as fast
from .torch_autograd import Compiled, Names
from .torch_kernel import (
    BITS,
    Offset,
    as_array,
    check_range,
    dtype_name,
    key_of,
    plain_key,
    plain_noise,
    torch_dtype,
)  # fmt: skip

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
    return torch_autograd.quantize(x, plan, randomness, None, out)


def quantize_compiled(
    x, fmt, rounding, overflow, seed, step, stream, offset, scale, amax, scale_rounding, axis, pad, ste, out, out_dtype
):  # fmt: skip
    """`emulate.quantize` while `torch.compile` traces: nothing here but names, tensors and one Function."""
    if out is not None:
        raise ValueError("out= is not traced by torch.compile; leave it out, the compiler reuses memory itself")
    if scale is not None and not isinstance(scale, torch.Tensor):
        raise ValueError("under torch.compile scale= takes a tensor of one number a block")
    name = fmt if isinstance(fmt, torch.Tensor) else None
    spec = "" if isinstance(fmt, torch.Tensor) else fmt if isinstance(fmt, str) else fmt.spec
    amax = None if amax is None else torch.as_tensor(amax, dtype=torch.float64)
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
    return Compiled.apply(x, key, scale, amax, name, *names, start, shape)[0]


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return numpy_backend.code_dtype_name(fmt)


def encode(
    x: torch.Tensor, plan: Plan, randomness: Randomness, nan: float | None, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.encode` on tensors; where there is no kernel for the device on the CPU, and copied."""
    codes = _encoded_on_device(x.detach(), plan, randomness, nan) if fast.available(x) else None
    if codes is None:
        bits = x.detach().cpu().view(BITS[plan.source.width]).numpy()
        key = plain_key(randomness, torch.device("cpu")) if plan.rounding.stochastic else None
        noise = plain_noise(plan, key, Offset.of(randomness.offset), x.shape)
        codes = torch.from_numpy(numpy_backend.encode_bits(bits, plan, noise, nan, None)).to(x.device)
    return codes if out is None else out.copy_(codes)


def _encoded_on_device(x: torch.Tensor, plan: Plan, randomness: Randomness, nan: float | None) -> torch.Tensor | None:
    """Codes by way of Triton; None where it does not know the format."""
    fmt: Any = plan.fmt
    bits, offset = x.view(BITS[plan.source.width]), Offset.of(randomness.offset)
    key = key_of(randomness, x.device) if plan.rounding.stochastic else None
    nan_code = numpy_backend.nan_code_of(fmt, nan)
    codes = torch.empty_like(bits, dtype=getattr(torch, code_dtype_name(fmt)))
    if not fast.encode(bits, plan, key, offset, nan_code, codes):
        return None
    if nan_code < 0:
        layout, values = plan.source, bits
        if numpy_backend.makes_nan(plan):
            layout = plan.layout
            values = torch.empty_like(bits, dtype=BITS[layout.width])
            fast.quantize(bits, replace(plan, target=layout), key, offset, values)
        numpy_backend.refuse_nan(bool(((values & layout.magnitude_mask) > layout.infinity).any()), fmt.name)
    return codes


def as_codes(codes: torch.Tensor) -> torch.Tensor:
    """Codes as they are, if they are integers.

    Raises:
        TypeError: anything but integers.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    return codes


def decode(codes: torch.Tensor, fmt: Format, target: Layout, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.decode` on tensors; where there is no kernel for the device on the CPU, and copied."""
    if fast.available(codes) and fmt.bits <= 16:
        check_range(codes, fmt)
        values = torch.empty_like(codes, dtype=torch_dtype(target))
        fast.decode(codes, fmt, target, values.view(BITS[target.width]))
    else:
        bits = numpy_backend.decode_checked(codes.detach().cpu().numpy(), fmt, target)
        values = torch.from_numpy(bits).view(torch_dtype(target)).to(codes.device)
    return values if out is None else out.copy_(values)
