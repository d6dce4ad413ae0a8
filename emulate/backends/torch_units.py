"""torch tensors in and out of the matrix unit, with straight-through gradients.

CPU tensors share their memory with the NumPy path. CUDA tensors go through Triton where it knows the case, and else are
computed on the CPU and copied back.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..layouts import BFLOAT16, LAYOUTS, Layout
from ..rounded.draws import Draws
from ..units.accumulator import Accumulator
from ..units.arrays import in_layout, product_of_arrays
from ..units.operands import Operand, Terms, terms_of
from . import numpy as numpy_backend
from .torch_autograd import transforms_active
from .torch_kernel import BITS, as_array, torch_dtype
from .torch_kernel import dtype_name as dtype_name


def operand(name: str, x: torch.Tensor) -> torch.Tensor:
    """x, if it is a dense tensor of floats; integers of up to 32 bits as float64.

    Raises:
        TypeError: another dtype or layout.
    """
    if x.dtype in (torch.int8, torch.uint8, torch.int16, torch.int32):
        x = x.to(torch.float64)
    try:
        found = as_array(x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if dtype_name(found) not in LAYOUTS:
        raise TypeError(
            f"{name}: expected float16, bfloat16, float32 or float64, got {found.dtype}; convert it with to"
        )
    return found


def terms(of: Operand, x: torch.Tensor, apart: bool) -> Terms:
    """x quantized; with elements and scales apart where asked for.

    Raises:
        RuntimeError: elements and scales under `torch.func`.
    """
    if apart and transforms_active():
        raise RuntimeError(
            "order='blocked' with scaled formats does not run under torch.func; use another order, or "
            "torch.autograd.grad"
        )
    return terms_of(of, x, dtype_name(x), x.detach() if apart else None)


def windows(x: torch.Tensor, geometry: Any) -> torch.Tensor:
    """(n, c, *space, *kernel) what a kernel sees at every place, of x (n, c, *space) with zeros around it."""
    padded = torch.nn.functional.pad(x, [pad for pad in reversed(geometry.padding) for _ in range(2)])
    for axis, (reach, stride) in enumerate(zip(geometry.reach, geometry.stride), 2):
        padded = padded.unfold(axis, reach, stride)
    return padded[(..., *(slice(None, None, step) for step in geometry.dilation))]


def permute(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """x with its axes in that order."""
    return x.permute(axes)


def multiply(a: Terms, b: Terms, unit: Accumulator, draws: Draws | None, target: Layout) -> torch.Tensor:
    """The products of (..., m, k) and (..., k, n) tensors; the gradient is that of their exact product.

    Raises:
        TypeError: tensors on two devices.
    """
    if a.values.device != b.values.device:
        raise TypeError(f"expected both operands on one device, got {a.values.device} and {b.values.device}")

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        left, right = replace(a, values=x), replace(b, values=y)
        found = _on_device(left, right, unit, target) if x.is_cuda and draws is None else None
        return _on_host(left, right, unit, draws, target) if found is None else found

    return Product.apply(a.values, b.values, run)


def _on_device(a: Terms, b: Terms, unit: Accumulator, target: Layout) -> torch.Tensor | None:
    from . import triton, triton_units

    return triton_units.multiply(a, b, unit, target) if triton.available(a.values) else None


def _on_host(a: Terms, b: Terms, unit: Accumulator, draws: Draws | None, target: Layout) -> torch.Tensor:
    left, right = (None if x.scales is None else _array(x.scales) for x in (a, b))
    found = product_of_arrays(_array(a.factor), _array(b.factor), left, right, unit, draws)
    bits = in_layout(found, target).view(numpy_backend.BITS[target.width])
    return torch.from_numpy(bits).view(torch_dtype(target)).to(a.values.device)


def _array(x: torch.Tensor) -> Any:
    """The numbers of a tensor in NumPy."""
    x = x.detach().cpu().contiguous()
    if x.dtype != torch.bfloat16:
        return x.numpy()
    return x.view(BITS[16]).numpy().view(numpy_backend.FLOATS[BFLOAT16.name])


@torch.compiler.disable
def uncompiled(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function gives, computed outside of `torch.compile`: a graph ends before it and another begins behind."""
    return function(*arguments, **named)


class Product(torch.autograd.Function):
    """The emulated product with the gradient of the exact one."""

    @staticmethod
    def forward(a: torch.Tensor, b: torch.Tensor, run: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Of (..., m, k) and (..., k, n)."""
        return run(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the operands."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.result = output.dtype

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """d a = g b^T, d b = a^T g, summed over the axes that were broadcast."""
        a, b = ctx.saved_tensors
        dtype = _wide(a, b, gradient)
        g, of_a, of_b = gradient.to(dtype), None, None
        if ctx.needs_input_grad[0]:
            of_a = (g @ b.to(dtype).mT).sum_to_size(a.shape).to(a.dtype)
        if ctx.needs_input_grad[1]:
            of_b = (a.to(dtype).mT @ g).sum_to_size(b.shape).to(b.dtype)
        return of_a, of_b, None

    @staticmethod
    def jvp(ctx: Any, a_tangent: Any, b_tangent: Any, _: Any) -> torch.Tensor:  # pyright: ignore
        """ta b + a tb."""
        a, b = ctx.saved_tensors
        dtype = _wide(a, b)
        parts = []
        if a_tangent is not None:
            parts.append(a_tangent.to(dtype) @ b.to(dtype))
        if b_tangent is not None:
            parts.append(a.to(dtype) @ b_tangent.to(dtype))
        return sum(parts[1:], parts[0]).to(ctx.result)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        """There is none."""
        raise RuntimeError(
            "hu.matmul does not run under torch.func.vmap; it broadcasts batch axes itself: pass (batch, m, k) at once"
        )


def _wide(*tensors: torch.Tensor) -> torch.dtype:
    """float64 where one is, else float32."""
    return torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
