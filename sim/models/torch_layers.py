"""Layers of the models in torch, where torch has none with these names and this arithmetic."""

import torch
from torch import nn
from torch.nn import functional

from .constants import EPSILON, GROUPS, rotary_tables


def convolution(inputs: int, outputs: int, stride: int = 1, side: int = 3) -> nn.Conv2d:
    """With an odd square kernel, padded by half of it."""
    return nn.Conv2d(inputs, outputs, side, stride, side // 2)


def group_norm(channels: int) -> nn.GroupNorm:
    """In eight groups, or one for each channel where there are fewer."""
    return nn.GroupNorm(min(GROUPS, channels), channels, EPSILON)


class BatchNorm(nn.Module):
    """Mean 0 and variance 1 of each channel, over the batch or its first rows; no running statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, rows: int | None = None) -> torch.Tensor:
        """(n, c, ...) by the statistics of x[:rows]."""
        axes = [0, *range(2, x.ndim)]
        shape = (-1, *[1] * (x.ndim - 2))
        mean = x[:rows].mean(axes, keepdim=True)
        variance = ((x[:rows] - mean) ** 2).mean(axes, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + EPSILON) * self.weight.reshape(shape) + self.bias.reshape(shape)


class Attention(nn.Module):
    """Self-attention of (n, length, width), with rotary positions up to a context where one is given."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(self, width: int, heads: int, bias: bool, context: int = 0) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias) for _ in range(4))
        self.heads, self.causal = heads, context > 0
        for name, table in zip(("cosines", "sines"), rotary_tables(context, width // heads)):
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Causal with rotary positions, over all positions without them."""
        q, k, v = (
            each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        if self.causal:
            q, k = self._rotated(q), self._rotated(k)
        values = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(values.transpose(1, 2).flatten(2))

    def _rotated(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        length = x.shape[-2]
        return x * self.cosines[:length] + torch.cat([-second, first], dim=-1) * self.sines[:length]
