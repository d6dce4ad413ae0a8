"""torch as the namespace of `operand_values`: the hardware's operations, which keep subnormals."""

from collections.abc import Sequence
from typing import Any

import torch


class TorchFloats:
    """`floats.Floats` over tensors: the hardware's operations, which keep subnormals."""

    def wide(self, t: torch.Tensor) -> torch.Tensor:
        return t if t.dtype == torch.float64 else t.to(torch.float32)

    def delivered(self, v: torch.Tensor, like: torch.Tensor, saturate: bool) -> torch.Tensor:
        if v.dtype == like.dtype and not saturate:
            return v
        top = min(torch.finfo(like.dtype).max, torch.finfo(v.dtype).max)
        bounded = torch.clamp(v, -top, top).to(like.dtype)
        return bounded if saturate else torch.where(torch.isinf(v), v.to(like.dtype), bounded)

    def number(self, value: Any, like: torch.Tensor) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            return value.to(like.dtype)
        return torch.full((), value, dtype=like.dtype, device=like.device)

    def where(self, condition: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
        return torch.where(condition, a, b)

    def plus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def minus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b

    def times(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * b

    def term(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * b

    def over(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a / b

    def root(self, a: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(a)

    def power_below(self, v: torch.Tensor) -> torch.Tensor:
        _, exponent = torch.frexp(v)
        return torch.ldexp(torch.ones_like(v), exponent - 1)

    def relative(self, t: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
        found = t / self.power_below(top)
        return torch.where(found.abs() < 2.0**-60, 0.0, found)

    def largest(self, t: torch.Tensor, axes: Sequence[int] | None) -> torch.Tensor:
        return t.abs().amax() if axes is None else t.abs().amax(tuple(axes), keepdim=True)

    def at_most(self, t: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        return t.abs() <= limit

    def finite(self, t: torch.Tensor) -> torch.Tensor:
        return torch.isfinite(t)

    def materialized(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def pad(self, t: torch.Tensor, axis: int, count: int) -> torch.Tensor:
        return torch.nn.functional.pad(t, [0, 0] * (t.dim() - 1 - axis) + [0, count])

    def broadcast(self, t: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return t.expand(tuple(shape))

    def sum(self, t: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        return t.sum(tuple(axes), keepdim=True)

    def joined(self, parts: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
        return torch.cat(list(parts), axis)

    def ordered(self, t: torch.Tensor) -> torch.Tensor:
        t = torch.where(torch.isnan(t), torch.nan, t).contiguous()
        return _flipped(t.view(torch.int64 if t.dtype == torch.float64 else torch.int32))

    def unordered(self, keys: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return _flipped(keys).view(like.dtype)

    def nth(self, keys: torch.Tensor, n: int) -> torch.Tensor:
        return keys.kthvalue(n).values

    def clip(self, t: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
        return torch.clamp(t, low, high)

    def cosh(self, t: torch.Tensor) -> torch.Tensor:
        return torch.cosh(t)


def _flipped(bits: torch.Tensor) -> torch.Tensor:
    """Negative numbers have their bits in the opposite order."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF if bits.dtype == torch.int64 else (bits >> 31) & 0x7FFFFFFF)


FLOATS = TorchFloats()
"""The namespace."""
