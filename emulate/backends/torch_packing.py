"""Dense streams of bits in torch, on the device of the codes."""

import ml_dtypes
import numpy as np
import torch

from ...formats.registry import Format
from ..packing import group_of, overlaps


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


def unpack(stream: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """(count,) codes.

    Raises:
        ValueError: last bits that are not zero.
    """
    per_group, width = group_of(bits)
    groups = -(-count // per_group)
    wide = torch.nn.functional.pad(stream.to(torch.int64), (0, groups * width - stream.numel())).reshape(groups, width)
    found = wide.new_zeros(groups, per_group)
    for k, j, shift in overlaps(bits):
        found[:, k] |= wide[:, j] >> shift if shift >= 0 else wide[:, j] << -shift
    flat = (found & ((1 << bits) - 1)).reshape(-1)
    if bool(flat[count:].any()) or (count * bits % 8 and int(stream[-1]) >> (count * bits % 8)):
        raise ValueError("the last bits of the stream are not zero; it holds more codes, or is damaged")
    return flat[:count].to(_dtype(bits))


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


def from_host(a: np.ndarray) -> torch.Tensor:
    """Back again."""
    if a.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(a.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(a.copy())
