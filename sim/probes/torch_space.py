"""The functions of `spaces` in torch."""

from collections.abc import Sequence
from typing import Any

import torch


class TorchSpace:
    """The functions of `spaces.Space` in torch."""

    xp = torch

    def pad(self, a: Any, widths: Sequence[int]) -> Any:
        return torch.nn.functional.pad(a, [n for width in reversed(widths) for n in (0, width)])

    def given(self, numbers: Any, like: Any) -> Any:
        return torch.as_tensor(numbers, dtype=like.dtype, device=like.device)

    def wide(self, a: Any) -> Any:
        return a if a.dtype in (torch.float32, torch.float64) else a.to(torch.float32)

    def narrow(self, a: Any) -> Any:
        largest = torch.finfo(torch.float32).max
        return a if a.dtype == torch.float32 else a.clamp(-largest, largest).to(torch.float32)

    def bits(self, a: Any) -> Any:
        return a.view(torch.int32)

    def floats(self, bits: Any) -> Any:
        return bits.to(torch.int32).view(torch.float32)

    def largest(self, a: Any, axes: tuple[int, ...] | None = None) -> Any:
        if axes is None:
            low, high = torch.aminmax(a)
            return torch.maximum(-low, high)
        return a.abs().amax(axes)

    def dot(self, a: Any, b: Any) -> Any:
        return (a * b).sum()

    def count_nonzero(self, a: Any) -> Any:
        return torch.count_nonzero(a)

    def bincount(self, indices: Any, length: int) -> Any:
        return torch.bincount(indices, minlength=length).to(torch.int32)

    def first(self, a: Any) -> Any:
        return a.to(torch.int8).argmax()

    def zeros(self, length: int, like: Any) -> Any:
        return torch.zeros(length, dtype=torch.int32, device=like.device)


SPACE = TorchSpace()
