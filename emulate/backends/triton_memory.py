"""Tensors as the Triton kernels take them: flat memory, places in the random stream, launches."""

from math import prod
from typing import Any

import torch

from .torch_kernel import Offset

BLOCK = 4096
"""Elements of a program."""


def launch(kernel: Any, programs: int, device: torch.device, *arguments: Any, **named: Any) -> None:
    """Start a kernel on a tensor's device, compiled so that a * b + c stays two operations; no programs, no launch."""
    if not programs:
        return
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[(programs,)](*arguments, **named, enable_fp_fusion=False)


def row_starts(offset: Offset, shape: torch.Size, device: torch.device) -> tuple[torch.Tensor, bool]:
    """`numpy.row_starts` on the device, int64, and whether all are multiples of four."""
    if offset.shape is None:
        return torch.full((1,), offset.start[0], dtype=torch.int64, device=device), offset.start[0] % 4 == 0
    place: Any = offset.offset
    place.check(tuple(shape))
    strides, axis = place.strides(), len(shape)
    while axis > 0 and prod(shape[axis:]) == prod(offset.shape[axis:]):
        axis -= 1
    first = sum(s * d for s, d in zip(offset.start, strides))
    starts = torch.full((1,), first, dtype=torch.int64, device=device)
    for length, stride in zip(shape[:axis], strides[:axis]):
        starts = (starts[:, None] + torch.arange(length, device=device) * stride).reshape(-1)
    return starts, first % 4 == 0 and all(stride % 4 == 0 for stride in strides[:axis])


class Flat:
    """Two tensors of one shape as flat memory in the same order; what was written elsewhere is copied back on exit."""

    def __init__(self, source: torch.Tensor, target: torch.Tensor, ordered: bool) -> None:
        if _overlap(source, target):
            source = source.clone()
        order = range(source.dim()) if ordered else sorted(range(source.dim()), key=lambda k: -source.stride(k))
        axes = list(order)
        source, self._wanted = source.permute(axes).contiguous(), target.permute(axes)
        self._written = self._wanted if self._wanted.is_contiguous() else self._wanted.contiguous()
        self.size = source.numel()
        self.source, self.target = source.reshape(-1), self._written.view(-1)

    def __enter__(self) -> "Flat":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._written is not self._wanted and error[0] is None:
            self._wanted.copy_(self._written)


def _overlap(source: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether both lie in one storage, and not on top of each other."""
    same = source.untyped_storage().data_ptr() == target.untyped_storage().data_ptr()
    on_top = source.data_ptr() == target.data_ptr() and source.stride() == target.stride()
    return same and source.numel() > 0 and not (on_top and source.element_size() == target.element_size())
