"""Tensors that are rounded alone, outside of any product: rows of embeddings, what enters a norm, complex weights."""

from typing import Any

import torch

from ..emulate.quantize import quantize
from .operands import Operand
from .torch_operands import Spec, estimated, own_storage, quantized, reads_values, step_gradient


class Values(torch.autograd.Function):
    """One operand quantized, with its gradient estimator; see `rounded_values`."""

    @staticmethod
    def forward(t, seed, step, size, largest, seen, spec, call):
        state = size if size is not None else largest
        values, scale = quantized(own_storage(t), spec, seed, step, state, seen, call)
        return values if spec[0] else values.view_as(values), scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        t, seed, step, _, _, _, ctx.spec, _ = inputs
        values, scale = output
        if scale is not None:
            ctx.mark_non_differentiable(scale)
        ctx.set_materialize_grads(False)
        read = reads_values(Operand(*ctx.spec), scale)
        ctx.save_for_backward(t if read else None, values if read else None, scale, seed, step)

    @staticmethod
    def backward(ctx, e, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        if e is None:
            return (None,) * 8
        t, values, scale, seed, step = ctx.saved_tensors
        if t is None:
            return (e, *[None] * 7)
        dense = e.to_dense() if e.is_sparse else e
        taught = None
        if ctx.needs_input_grad[3] and scale is not None:
            taught = step_gradient(dense, t, values, scale, ctx.spec)
        return estimated(dense, t, values, scale, ctx.spec, seed, step), None, None, taught, *[None] * 4


def rounded_values(
    t: torch.Tensor,
    spec: Spec,
    seed: torch.Tensor,
    step: torch.Tensor,
    *,
    size: torch.Tensor | None = None,
    largest: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
    call: int = 0,
) -> torch.Tensor:
    """A tensor rounded as an operand is, with the gradient of the operand's estimator.

    Args:
        spec: an operand without transform and prescale. size, largest, seen: () of this operand, or None.
    """
    found: Any = Values.apply(t, seed, step, size, largest, seen, spec, call)
    return found[0]


class Complex(torch.autograd.Function):
    """A real matrix whose widely-linear complex parts are rounded by phase; gradients pass straight through.

    The view is linear and is undone afterwards, so that straight through for the complex parts is straight through for
    the matrix. It is `emulate.complexes.to_widely_linear` in pairs of real tensors, which compilers know better.
    """

    @staticmethod
    def forward(weight, fmt):
        (a, b), (c, d) = (rows.chunk(2, -1) for rows in own_storage(weight).chunk(2, -2))
        u_re, u_im = quantize(((a + d) / 2, (c - b) / 2), fmt)
        w_re, w_im = quantize(((a - d) / 2, (b + c) / 2), fmt)
        top, bottom = torch.cat([u_re + w_re, w_im - u_im], -1), torch.cat([u_im + w_im, u_re - w_re], -1)
        return torch.cat([top, bottom], -2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, e):  # pyright: ignore[reportIncompatibleMethodOverride]
        return e, None


def complex_values(weight: torch.Tensor, fmt: str) -> torch.Tensor:
    """A real matrix (2n, 2m) with its complex parts in a complex format.

    Source: arXiv:2508.05571, and Fairy2i for the view of a real matrix.
    """
    wide = weight if weight.dtype in (torch.float32, torch.float64) else weight.to(torch.float32)
    found: Any = Complex.apply(wide, fmt)
    return found.to(weight.dtype)
