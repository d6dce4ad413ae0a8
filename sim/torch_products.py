"""Products of two tensors whose operands are quantized, forward and backward: what layers are made of in torch.

One `autograd.Function` serves linear layers, batched products and convolutions. It takes a recipe as plain tuples,
and seed and step as tensors, so that `torch.compile` traces it whole and compiles nothing anew over steps.
"""

from typing import Any

import torch

from .operands import Operand
from .torch_operands import Spec, estimated, quantized, rotated, step_gradient

Kind = tuple[Any, ...]
"""What product: ('linear',), ('matmul',) or ('convolution' or 'transposed', stride, padding, dilation, output padding,
groups), and after it the settings of an accumulator as (name, value) pairs, or none."""


def product(a: torch.Tensor, b: torch.Tensor, kind: Kind, unit: tuple[Any, ...]) -> torch.Tensor:
    """The forward product of quantized operands."""
    if unit:
        from ..emulate.units.matmul import matmul

        right = b.mT if kind[0] == "linear" else b
        return matmul(a, right, accumulator=_accumulator(unit), out_dtype=str(a.dtype).removeprefix("torch."))
    if kind[0] == "linear":
        return torch.matmul(a, b.mT)
    if kind[0] == "matmul":
        return torch.matmul(a, b)
    _, stride, padding, dilation, output_padding, groups = kind
    transposed = kind[0] == "transposed"
    return torch.convolution(a, b, None, stride, padding, dilation, transposed, output_padding, groups)


def _accumulator(unit: tuple[Any, ...]) -> Any:
    from ..emulate.units.accumulator import Accumulator

    return Accumulator(**dict(unit))


def data_gradient(e: torch.Tensor, b: torch.Tensor, a: torch.Tensor, kind: Kind, unit: tuple[Any, ...]) -> torch.Tensor:
    """The gradient of the first operand: dgrad. Of `a` only the shape is read."""
    if kind[0] in ("linear", "matmul"):
        return _reduced(product(e, b if kind[0] == "linear" else b.mT, ("matmul",), unit), a)
    return _convolution_gradient(e, a, b, kind, 0)


def weight_gradient(
    e: torch.Tensor, a: torch.Tensor, b: torch.Tensor, kind: Kind, unit: tuple[Any, ...]
) -> torch.Tensor:
    """The gradient of the second operand: wgrad. Of `b` only the shape is read."""
    if kind[0] == "linear":
        return product(e.mT, a, ("matmul",), unit)
    if kind[0] == "matmul":
        return _reduced(product(a.mT, e, ("matmul",), unit), b)
    return _convolution_gradient(e, a, b, kind, 1)


def _convolution_gradient(e: torch.Tensor, a: torch.Tensor, b: torch.Tensor, kind: Kind, which: int) -> torch.Tensor:
    _, stride, padding, dilation, output_padding, groups = kind
    mask = [which == 0, which == 1, False]
    found = torch.ops.aten.convolution_backward(
        e, a, b, None, stride, padding, dilation, kind[0] == "transposed", output_padding, groups, mask
    )
    return found[which]


def _reduced(gradient: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The sum over axes that were broadcast."""
    return gradient.sum_to_size(like.shape) if gradient.shape != like.shape else gradient


class Product(torch.autograd.Function):
    """A product with quantized operands; see `quantized_product`."""

    @staticmethod
    def forward(a, b, seed, step, *rest):
        states, (kind, unit, specs) = rest[:6], rest[6:]
        a_rotated, b_rotated = rotated(a, specs[0], seed, step), rotated(b, specs[1], seed, step)
        a_values, a_scale = quantized(a_rotated, specs[0], seed, step, states[0])
        b_values, b_scale = quantized(b_rotated, specs[1], seed, step, states[1])
        found = product(a_values, b_values, kind, unit)
        # an operand that is kept as it is must not be returned as well
        kept_a, kept_b = None if a_values is a else a_values, None if b_values is b else b_values
        return _unscaled(found, specs[0], specs[1]), kept_a, kept_b, a_scale, b_scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, b, seed, step, *rest = inputs
        _, a_values, b_values, a_scale, b_scale = output
        ctx.mark_non_differentiable(*[t for t in output[1:] if t is not None])
        a_values, b_values = a if a_values is None else a_values, b if b_values is None else b_values
        ctx.kind, ctx.unit, ctx.specs = rest[6:]
        ctx.set_materialize_grads(False)
        specs = [Operand(*spec) for spec in ctx.specs]
        a_estimates, b_estimates = _reads_values(specs[0], a_scale), _reads_values(specs[1], b_scale)
        ctx.save_for_backward(
            a if not specs[5].quantized or a_estimates else None,
            b if not specs[3].quantized or b_estimates else None,
            a_values if specs[5].quantized or a_estimates else None,
            b_values if specs[3].quantized or b_estimates else None,
            a_scale,
            b_scale,
            seed,
            step,
            *rest[2:6],
        )
        ctx.shapes = a.shape, b.shape
        ctx.steps = [state is not None and state.requires_grad for state in rest[:2]]

    @staticmethod
    def backward(ctx, e, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        if e is None:
            return (None,) * 13
        a, b, a_values, b_values, a_scale, b_scale, seed, step, *states = ctx.saved_tensors
        specs, kind = ctx.specs, ctx.kind
        found_a = found_b = step_a = step_b = None
        if ctx.needs_input_grad[0]:
            other = b_values if Operand(*specs[3]).quantized else b
            left, right = _backward_operands(e, other, specs[2], specs[3], seed, step, states[0], states[1])
            like = a_values if a is None else a
            gradient = data_gradient(left, right, _shaped(like, e, ctx.shapes[0]), kind, ctx.unit)
            gradient = _unscaled(gradient, specs[2], specs[3])
            found_a, step_a = _to_input(
                gradient, a, a_values, a_scale, specs[0], Operand(*specs[3]).quantized, seed, step, ctx.steps[0]
            )
        if ctx.needs_input_grad[1]:
            other = a_values if Operand(*specs[5]).quantized else a
            left, right = _backward_operands(e, other, specs[4], specs[5], seed, step, states[2], states[3])
            like = b_values if b is None else b
            gradient = weight_gradient(left, right, _shaped(like, e, ctx.shapes[1]), kind, ctx.unit)
            gradient = _unscaled(gradient, specs[4], specs[5])
            found_b, step_b = _to_input(
                gradient, b, b_values, b_scale, specs[1], Operand(*specs[5]).quantized, seed, step, ctx.steps[1]
            )
        return found_a, found_b, None, None, step_a, step_b, *[None] * 7


def _reads_values(of: Operand, scale: torch.Tensor | None) -> bool:
    """Whether the gradient estimator reads the operand and what it became."""
    name = of.gradient[0]
    straight = name == "identity" or (name == "default" and of.follows and scale is None)
    return bool(of.fmt) and not straight


def _shaped(like: torch.Tensor | None, e: torch.Tensor, shape: Any) -> torch.Tensor:
    """A tensor of a shape, for what reads nothing else."""
    return e.new_empty(1).expand(shape) if like is None else like


def _unscaled(found: torch.Tensor, first: Spec, second: Spec) -> torch.Tensor:
    """The product without the prescales of its operands."""
    prescale = Operand(*first).prescale * Operand(*second).prescale
    return found if prescale == 1.0 else found / prescale


def _backward_operands(
    e: torch.Tensor, other: Any, e_spec: Spec, spec: Spec, seed: Any, step: Any, e_state: Any, state: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both operands of a backward product, rotated and quantized."""
    left = quantized(rotated(e, e_spec, seed, step), e_spec, seed, step, e_state)[0]
    right = quantized(rotated(other, spec, seed, step), spec, seed, step, state)[0]
    return left, right


def _to_input(
    gradient: torch.Tensor,
    t: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor | None,
    spec: Spec,
    turned: bool,
    seed: Any,
    step: Any,
    learns: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradient of an operand, and of the step size it was rounded with.

    Args:
        turned: whether the gradient is that of the transformed operand.
        learns: whether the step size is trained.
    """
    of = Operand(*spec)
    if t is None or values is None or not _reads_values(of, scale):
        return (rotated(gradient, spec, seed, step, inverse=True) if turned else gradient), None
    inner = gradient if turned else rotated(gradient, spec, seed, step)
    inside = rotated(t, spec, seed, step)
    found = estimated(inner, inside, values, scale, spec, seed, step)
    taught = step_gradient(inner, inside, values, scale, spec) if learns and scale is not None else None
    return rotated(found, spec, seed, step, inverse=True), taught


def quantized_product(
    a: torch.Tensor,
    b: torch.Tensor,
    kind: Kind,
    specs: tuple[Spec, ...],
    seed: torch.Tensor,
    step: torch.Tensor,
    states: tuple[torch.Tensor | None, ...] = (None,) * 6,
    unit: tuple[Any, ...] = (),
) -> torch.Tensor:
    """The product of two tensors, all six operands of forward and backward quantized.

    Args:
        a, b: as the kind of product takes them: x (..., m, k) and w (n, k) for 'linear', (..., m, k) and (..., k, n)
            for 'matmul', input and weight of a convolution.
        kind: see `Kind`.
        specs: the six operands, see `operands.operands_of`.
        seed: (2,) int64 words. step: () int64.
        states: of each operand what earlier steps left: a largest magnitude, or a step size that is trained.
        unit: settings of an accumulator as (name, value) pairs; empty for the library's own product.
    """
    rows = a.reshape(-1, a.shape[-1]) if kind[0] == "linear" else a  # tokens are one axis, along which wgrad contracts
    found: Any = Product.apply(rows, b, seed, step, *states, kind, unit, specs)
    return found[0].reshape(*a.shape[:-1], b.shape[0]) if kind[0] == "linear" else found[0]
