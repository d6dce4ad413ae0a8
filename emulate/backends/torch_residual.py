"""Sums, differences and host arithmetic of residual stacks in torch; gradients pass straight through the host."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import torch


def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b, one IEEE operation."""
    return a + b


def subtracted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a - b, one IEEE operation."""
    return a - b


def to_host(x: torch.Tensor) -> np.ndarray:
    """As a NumPy array."""
    host = x.detach().cpu()
    if host.dtype is torch.bfloat16:
        return host.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return host.numpy()


def from_host(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """A NumPy array as a tensor of the dtype and on the device of `like`."""
    values = np.ascontiguousarray(values).reshape(values.shape)
    if values.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16).to(like.device)
    return torch.from_numpy(values).to(like.device)


class _StraightThrough(torch.autograd.Function):
    """In the form that `torch.func` differentiates, in both directions."""

    @staticmethod
    def forward(x, call):
        return from_host(call(to_host(x)), x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing to keep."""

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0], None

    @staticmethod
    def jvp(ctx, *tangents):
        return tangents[0].clone()


def on_host(x: torch.Tensor, call: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """call(x) as a tensor."""
    return _StraightThrough.apply(x, call)  # pyright: ignore[reportReturnType]


def joined(parts: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Tensors side by side."""
    return torch.cat(parts, axis)
