"""torch as the namespace of the portable kernels, on any device."""

import torch

from ..philox import PlainLoop


class TorchIntegers:
    """`kernels.Integers` over int32 or int64 tensors."""

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.width, self.device = width, device
        self.dtype = torch.int64 if width == 64 else torch.int32
        self._float = torch.float64 if width == 64 else torch.float32

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

    def maximum(self, a, b):
        return torch.maximum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, min=b)

    def minimum(self, a, b):
        return torch.minimum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, max=b)

    def to_float(self, a):
        return a.to(self._float)

    def quotient(self, a, b):
        return a / b

    def to_integer(self, a):
        return a.to(self.dtype)

    def floats(self, bits):
        return bits.view(self._float)

    def bits(self, floats):
        return floats.view(self.dtype)

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
        return table[index.to(torch.int64) if isinstance(index, torch.Tensor) else index]

    def materialized(self, a):
        return a

    def wider(self):
        return TorchIntegers(64, self.device)

    def pad(self, a, widths):
        return torch.nn.functional.pad(a, [n for width in reversed(widths) for n in (0, width)])

    def transpose(self, a, axes):
        return a.permute(*axes)

    def broadcast(self, a, shape):
        return a.expand(*shape)

    def largest(self, a, axes):
        return a.amax(dim=tuple(axes)) if axes else a

    def count(self, a):
        return a.sum(dim=-1).to(self.dtype)

    def sorted(self, a):
        return a.sort(dim=-1).values

    def pick(self, a, index):
        return torch.take_along_dim(a, index.to(torch.int64)[..., None], -1)[..., 0]

    def array(self, values):
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def repeat(self, times, body, state):
        for k in range(times):
            state = body(k, state)
        return state


class TorchWords(PlainLoop):
    """`philox.Words` over int64 tensors that hold 32-bit words; products wrap modulo 2**64."""

    def multiply(self, constant, a):
        product = a * constant
        return (product >> 32) & 0xFFFFFFFF, product & 0xFFFFFFFF

    def add(self, a, b):
        return (a + b) & 0xFFFFFFFF
