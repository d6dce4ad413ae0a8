"""Convolutions with quantized operands."""

from collections.abc import Callable
from typing import Any

import torch

from ..products.torch_multiply import Products


def _many(value: Any, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value) * (count if len(value) == 1 else 1)


def _convolution(axes: int) -> Callable[..., Any]:
    def convolution(
        products: Products,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> torch.Tensor:
        x = input if input.dim() == axes + 2 else input[None]
        stride, dilation = _many(stride, axes), _many(dilation, axes)
        if isinstance(padding, str):
            if padding == "same" and max(stride) > 1:
                products.fail(f"padding='same' goes with stride 1, got stride {stride}")
            x, padding = _padded(x, padding, dilation, weight.shape[2:])
        kind = ("convolution", stride, _many(padding, axes), dilation, (0,) * axes, groups)
        y = products.finished(products.multiply(x, weight, kind), bias, -axes - 1)
        return y if input.dim() == axes + 2 else y[0]

    return convolution


def _padded(
    x: torch.Tensor, padding: str, dilation: tuple[int, ...], kernel: Any
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Input and padding of 'valid' and 'same'; where the latter is uneven, the larger side is the last."""
    if padding == "valid":
        return x, (0,) * len(dilation)
    total = [d * (size - 1) for d, size in zip(dilation, kernel)]
    low = tuple(t // 2 for t in total)
    if any(t % 2 for t in total):
        x = torch.nn.functional.pad(x, [side for t in reversed(total) for side in (0, t % 2)])
    return x, low


def _transposed(axes: int) -> Callable[..., Any]:
    def transposed(
        products: Products,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> torch.Tensor:
        x = input if input.dim() == axes + 2 else input[None]
        stride, padding, dilation, output_padding = (
            _many(v, axes) for v in (stride, padding, dilation, output_padding)
        )
        kind = ("transposed", stride, padding, dilation, output_padding, groups)
        y = products.finished(products.multiply(x, weight, kind), bias, -axes - 1)
        return y if input.dim() == axes + 2 else y[0]

    return transposed


CONVOLUTIONS: dict[Any, Callable[..., Any]] = {
    torch.conv1d: _convolution(1),
    torch.conv2d: _convolution(2),
    torch.conv3d: _convolution(3),
    torch.conv_transpose1d: _transposed(1),
    torch.conv_transpose2d: _transposed(2),
    torch.conv_transpose3d: _transposed(3),
}
