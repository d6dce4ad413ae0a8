"""Tensors that are rounded alone, outside of any product: rows of embeddings, what enters a norm, complex weights."""

from typing import Any

import torch

from ..recipes.operands import Operand
from .operand_values import widely_linear
from .torch_floats import FLOATS
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
    the matrix.
    """

    @staticmethod
    def forward(weight, fmt):
        return widely_linear(FLOATS, own_storage(weight), fmt)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, e):  # pyright: ignore[reportIncompatibleMethodOverride]
        return e, None


def complex_values(weight: torch.Tensor, fmt: str) -> torch.Tensor:
    """A real matrix (2n, 2m) with its complex parts in a complex format; see `operand_values.widely_linear`."""
    found: Any = Complex.apply(weight, fmt)
    return found
