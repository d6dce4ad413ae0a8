"""Dense streams of bits in torch, on the device of the codes; through Triton where that is a GPU."""

import ml_dtypes
import numpy as np
import torch

from ...formats.registry import Format
from ..layouts import Layout
from ..packing import group_of, overlaps
from ..plan import Plan
from . import numpy_packing
from . import triton as fast
from .torch_kernel import BITS


def _dtype(bits: int) -> torch.dtype:
    return torch.uint8 if bits <= 8 else torch.uint16 if bits <= 16 else torch.uint32


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """(ceil(n * bits / 8),) uint8 of codes of any shape.

    Raises:
        TypeError: anything but integers.
        ValueError: a code that needs more bits.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    if bits <= 8 and fast.available(codes):
        from . import triton_packing

        packed = triton_packing.pack(codes, bits)
        if packed is not None:
            return packed
    if codes.device.type == "cpu":
        return torch.from_numpy(numpy_packing.pack(codes.detach().numpy(), bits))
    flat = codes.reshape(-1).to(torch.int64)
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >> bits):
        raise ValueError(f"expected codes of {bits} bits, got {int(flat.min())} to {int(flat.max())}")
    per_group, width = group_of(bits)
    groups = -(-flat.numel() // per_group)
    flat = torch.nn.functional.pad(flat, (0, groups * per_group - flat.numel())).reshape(groups, per_group)
    found = flat.new_zeros(groups, width)
    for k, j, shift in overlaps(bits):
        found[:, j] |= flat[:, k] << shift if shift >= 0 else flat[:, k] >> -shift
    return (found & 0xFF).to(torch.uint8).reshape(-1)[: -(-codes.numel() * bits // 8)]


def stream_of(x: torch.Tensor, plan: Plan, nan: float | None) -> torch.Tensor | None:
    """The stream of the codes of x without a tensor of codes; None where the two steps are as good.

    Raises:
        ValueError: as `encode`.
    """
    if x.device.type != "cpu":
        return None
    stream = numpy_packing.stream_of_bits(x.detach().view(BITS[plan.source.width]).numpy(), plan, nan)
    return None if stream is None else torch.from_numpy(stream)


def unpack(stream: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """(count,) codes.

    Raises:
        ValueError: last bits that are not zero.
    """
    if bits <= 8 and fast.available(stream):
        from . import triton_packing

        codes = triton_packing.unpack(stream, bits, count)
        _refuse_rest(codes[count:], stream, bits, count)
        return codes[:count]
    if stream.device.type == "cpu":
        return torch.from_numpy(numpy_packing.unpack(stream.detach().numpy(), bits, count))
    per_group, width = group_of(bits)
    groups = -(-count // per_group)
    wide = torch.nn.functional.pad(stream.to(torch.int64), (0, groups * width - stream.numel())).reshape(groups, width)
    found = wide.new_zeros(groups, per_group)
    for k, j, shift in overlaps(bits):
        found[:, k] |= wide[:, j] >> shift if shift >= 0 else wide[:, j] << -shift
    flat = (found & ((1 << bits) - 1)).reshape(-1)
    _refuse_rest(flat[count:], stream, bits, count)
    return flat[:count].to(_dtype(bits))


def values_of(stream: torch.Tensor, fmt: Format, target: Layout, count: int) -> torch.Tensor | None:
    """(count,) values of the codes of a dense stream; None where the two steps are as good.

    Raises:
        ValueError: last bits that are not zero.
    """
    if stream.device.type != "cpu":
        return None
    return from_host(numpy_packing.values_of(stream.detach().numpy(), fmt, target, count), copy=False)


def _refuse_rest(rest: torch.Tensor, stream: torch.Tensor, bits: int, count: int) -> None:
    if count * bits % 8 and (bool(rest.any()) or int(stream[-1]) >> (count * bits % 8)):
        raise ValueError("the last bits of the stream are not zero; it holds more codes, or is damaged")


def as_dtype(codes: torch.Tensor, fmt: Format, dtypes: dict[str, str]) -> torch.Tensor:
    """Codes as a tensor of one of torch's small dtypes; E2M1 two to a byte along the last axis.

    Raises:
        ValueError: a format without a dtype, or an odd last axis for E2M1.
    """
    known = {name: getattr(torch, dtype) for name, dtype in dtypes.items() if hasattr(torch, dtype)}
    if fmt.name == "fp4_e2m1" and hasattr(torch, "float4_e2m1fn_x2"):
        if codes.dim() == 0 or codes.shape[-1] % 2:
            raise ValueError(f"torch packs two E2M1 codes along the last axis, got shape {tuple(codes.shape)}")
        pairs = codes.reshape(*codes.shape[:-1], codes.shape[-1] // 2, 2)
        return (pairs[..., 0] | pairs[..., 1] << 4).contiguous().view(torch.float4_e2m1fn_x2)
    if fmt.name not in known:
        raise ValueError(f"torch has no dtype for {fmt.name}; it has for fp4_e2m1, {', '.join(known)}")
    return codes.contiguous().view(known[fmt.name])


def on_host(a: torch.Tensor) -> np.ndarray:
    """A contiguous NumPy array of the same numbers."""
    a = a.detach().cpu().contiguous()
    if a.dtype == torch.bfloat16:
        return a.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return a.numpy()


def from_host(a: np.ndarray, copy: bool = True) -> torch.Tensor:
    """Back again."""
    a = a.copy() if copy else a
    if a.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)
