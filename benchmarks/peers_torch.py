"""How torch and torchao do the tasks; see `peers`."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .arrays import as_tensor
from .tasks import Task
from .timing import Call

Make = Callable[[Task, np.ndarray], Call]
RoundTrip = Callable[[Any], Any]
"""From a tensor to the tensor that comes back from the format."""


def _compiled(round_trip: RoundTrip, t: Any, out: Any) -> Call:
    """A round trip through torch.compile; what was compiled before is dropped, which would make it general."""
    import torch

    torch.compiler.reset()
    both = torch.compile(lambda t, out: out.copy_(round_trip(t)), dynamic=False)
    return lambda: both(t, out)


def torch_cast(dtype: str, compiled: bool = False) -> Make:
    """A cast to a dtype of torch and back; eager into tensors made beforehand."""

    def make(task: Task, x: np.ndarray) -> Call:
        import torch

        t, kind = as_tensor(x), getattr(torch, dtype)
        narrow, out = torch.empty(t.shape, dtype=kind), torch.empty_like(t)
        if compiled:
            return _compiled(lambda t: t.to(kind).to(t.dtype), t, out)
        if task.operation == "encode":
            return lambda: narrow.copy_(t).view(torch.uint8)
        return lambda: out.copy_(narrow.copy_(t))

    return make


def torchao(round_trip: RoundTrip, compiled: bool = False) -> Make:
    """A round trip of torchao's, its result copied out: its tensors cannot be written into."""

    def make(_: Task, x: np.ndarray) -> Call:
        import torch

        t = as_tensor(x)
        out = torch.empty_like(t)
        if compiled:
            return _compiled(round_trip, t, out)
        return lambda: out.copy_(round_trip(t))

    return make


def mx(dtype: str) -> RoundTrip:
    """MX blocks of 32 along the last axis."""

    def round_trip(t: Any) -> Any:
        import torch
        from torchao.prototype.mx_formats.mx_tensor import MXTensor

        return MXTensor.to_mx(t, getattr(torch, dtype), 32).dequantize()

    return round_trip


def first_axis(round_trip: RoundTrip) -> RoundTrip:
    """A round trip along the first axis, by way of a transposed copy."""
    return lambda t: round_trip(t.t().contiguous()).t()


def hadamard_32(round_trip: RoundTrip) -> RoundTrip:
    """A round trip between two multiplications by the normalized Hadamard matrix of order 32."""

    @cache
    def matrix() -> Any:
        import torch
        from scipy.linalg import hadamard

        return torch.from_numpy(hadamard(32).astype(np.float32) / np.float32(np.sqrt(32)))

    def rotated(t: Any) -> Any:
        back = round_trip((t.reshape(-1, 32) @ matrix()).reshape(t.shape))
        return (back.reshape(-1, 32) @ matrix()).reshape(t.shape)

    return rotated


def nvfp4(t: Any) -> Any:
    """NVFP4 with a scale of the tensor over those of blocks."""
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    return NVFP4Tensor.to_nvfp4(t, per_tensor_scale=per_tensor_amax_to_scale(t.abs().max())).dequantize()


def int8(t: Any) -> Any:
    """Symmetric INT8 with a scale a row."""
    import torch
    from torchao.quantization.quant_primitives import (
        MappingType,
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

    block: Any = (1, t.shape[1])
    limits = (torch.int8, -127, 127)
    scale, zero = choose_qparams_affine(t, MappingType.SYMMETRIC, block, *limits)
    codes = quantize_affine(t, block, scale, zero, *limits)
    return dequantize_affine(codes, block, scale, zero, *limits)


def torchao_pack(_: Task, x: np.ndarray) -> Call:
    """Codes of E2M1, two a byte."""
    from torchao.prototype.mx_formats.kernels import f32_to_f4_unpacked, pack_uint4

    t = as_tensor(x)
    return lambda: pack_uint4(f32_to_f4_unpacked(t))


def torchao_values(packed: Any) -> Any:
    """The values of packed codes."""
    from torchao.prototype.mx_formats.kernels import f4_unpacked_to_f32, unpack_uint4

    return f4_unpacked_to_f32(unpack_uint4(packed))


def torchao_unpack(task: Task, x: np.ndarray) -> Call:
    """Packed codes to values."""
    packed = torchao_pack(task, x)()
    return lambda: torchao_values(packed)
