"""torch as the namespace of the portable kernels, on any device."""

import torch

from ..philox import PlainLoop


class TorchIntegers:
    """`kernels.Integers` over int32 or int64 tensors."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.dtype = torch.int64 if width == 64 else torch.int32

    def where(self, condition, a, b):
        if isinstance(condition, bool | int):
            return a if condition else b
        like = condition.device
        return torch.where(condition, self._tensor(a, like), self._tensor(b, like))

    def _tensor(self, a, device):
        return a.to(self.dtype) if isinstance(a, torch.Tensor) else torch.tensor(a, dtype=self.dtype, device=device)

    def clip(self, a, low, high):
        return min(max(a, low), high) if isinstance(a, int) else torch.clamp(a, low, high)

    def integer(self, a):
        return a.to(self.dtype) if isinstance(a, torch.Tensor) else int(a)

    def shift_right_logical(self, a, n):
        return (a >> n) & ((1 << (self.width - n)) - 1) if n else a

    def floor_log2(self, a):
        if self.width == 64:
            return (a.to(torch.float64).view(torch.int64) >> 52) - 1023
        return (a.to(torch.float32).view(torch.int32) >> 23) - 127

    def wide_product(self, a, b):
        product = (a.to(torch.int64) & 0xFFFFFFFF) * (b.to(torch.int64) & 0xFFFFFFFF)
        return ((product >> 32) & 0xFFFFFFFF).to(self.dtype), (product & 0xFFFFFFFF).to(self.dtype)

    def count_not_above(self, ascending, a):
        return torch.searchsorted(ascending, a, right=True).to(self.dtype)

    def take(self, table, index):
        return table[index.to(torch.int64)]


class TorchWords(PlainLoop):
    """`philox.Words` over int64 tensors that hold 32-bit words; products wrap modulo 2**64."""

    def multiply(self, constant, a):
        product = a * constant
        return (product >> 32) & 0xFFFFFFFF, product & 0xFFFFFFFF

    def add(self, a, b):
        return (a + b) & 0xFFFFFFFF
