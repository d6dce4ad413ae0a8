"""Products of two tensors whose operands are quantized, forward and backward: what layers are made of in torch.

One `autograd.Function` serves linear layers, batched products and convolutions. It takes a recipe as plain tuples,
and seed and step as tensors, so that `torch.compile` traces it whole and compiles nothing anew over steps. The
products are aten's, which modes that intercept `torch.matmul` do not see, also where backward runs inside of one.
"""

from typing import Any, TypeAlias

import torch

from ..recipes.operands import Operand
from .torch_operands import Spec, estimated, own_storage, quantized, reads_values, rotated, step_gradient

Kind: TypeAlias = tuple[Any, ...]
"""What product: ('linear',), ('matmul',) or ('convolution' or 'transposed', stride, padding, dilation, output padding,
groups)."""

States = tuple[torch.Tensor | None, ...]


def product(a: torch.Tensor, b: torch.Tensor, kind: Kind, unit: tuple[Any, ...]) -> torch.Tensor:
    """The forward product of quantized operands."""
    if unit:
        from ...emulate.units.matmul import matmul

        right = b.mT if kind[0] == "linear" else b
        return matmul(a, right, accumulator=_accumulator(unit), out_dtype=str(a.dtype).removeprefix("torch."))
    if kind[0] == "linear":
        return torch.ops.aten.matmul.default(a, b.mT)
    if kind[0] == "matmul":
        return torch.ops.aten.matmul.default(a, b)
    _, stride, padding, dilation, output_padding, groups = kind
    transposed = kind[0] == "transposed"
    return torch.ops.aten.convolution.default(
        a, b, None, stride, padding, dilation, transposed, output_padding, groups
    )  # fmt: skip


def _accumulator(unit: tuple[Any, ...]) -> Any:
    from ...emulate.units.accumulator import Accumulator

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
    found = torch.ops.aten.convolution_backward.default(
        e, a, b, None, stride, padding, dilation, kind[0] == "transposed", output_padding, groups, mask
    )
    return found[which]


def _reduced(gradient: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The sum over axes that were broadcast."""
    return gradient.sum_to_size(like.shape) if gradient.shape != like.shape else gradient


class Product(torch.autograd.Function):
    """A product with quantized operands; see `quantized_product`.

    Without gradients the compiler tells `forward` from one that takes a context by the number of its parameters, so
    that each is named.
    """

    @staticmethod
    def forward(a, b, seed, step, sizes, largest, seen, kind, unit, specs, call):
        states = states_of(specs, sizes, largest)
        a, b = own_storage(a), own_storage(b)
        a_rotated, b_rotated = rotated(a, specs[0], seed, step), rotated(b, specs[1], seed, step)
        a_values, a_scale = quantized(a_rotated, specs[0], seed, step, states[0], _at(seen, 0), call)
        b_values, b_scale = quantized(b_rotated, specs[1], seed, step, states[1], _at(seen, 1), call)
        found = unscaled(product(a_values, b_values, kind, unit), specs[0], specs[1])
        return found, _if_new(a_values, specs[0]), _if_new(b_values, specs[1]), a_scale, b_scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, b, seed, step, _, largest, ctx.seen, ctx.kind, ctx.unit, ctx.specs, ctx.call = inputs
        _, a_values, b_values, a_scale, b_scale = output
        ctx.mark_non_differentiable(*[t for t in output[1:] if t is not None])
        ctx.set_materialize_grads(False)
        a_values, b_values = a if a_values is None else a_values, b if b_values is None else b_values
        specs = [Operand(*spec) for spec in ctx.specs]
        a_estimates, b_estimates = reads_values(specs[0], a_scale), reads_values(specs[1], b_scale)
        ctx.save_for_backward(
            a if not specs[5].quantized or a_estimates else None,
            b if not specs[3].quantized or b_estimates else None,
            a_values if specs[5].quantized or a_estimates else None,
            b_values if specs[3].quantized or b_estimates else None,
            a_scale,
            b_scale,
            seed,
            step,
            largest,
        )
        ctx.shapes = a.shape, b.shape

    @staticmethod
    def backward(ctx, e, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        if e is None:
            return (None,) * 11
        a, b, a_values, b_values, a_scale, b_scale, seed, step, largest = ctx.saved_tensors
        specs, kind, learns = ctx.specs, ctx.kind, ctx.needs_input_grad[4]
        random = (seed, step, states_of(specs, None, largest), ctx.seen, ctx.call)
        found_a = found_b = step_a = step_b = None
        if ctx.needs_input_grad[0] or learns:
            taken = Operand(*specs[3]).quantized
            left, right = _backward_operands(e, b_values if taken else b, specs, 2, *random)
            like = _shaped(a_values if a is None else a, e, ctx.shapes[0])
            gradient = unscaled(data_gradient(left, right, like, kind, ctx.unit), specs[2], specs[3])
            found_a, step_a = _to_input(gradient, a, a_values, a_scale, specs[0], taken, seed, step, learns)
        if ctx.needs_input_grad[1] or learns:
            taken = Operand(*specs[5]).quantized
            left, right = _backward_operands(e, a_values if taken else a, specs, 4, *random)
            like = _shaped(b_values if b is None else b, e, ctx.shapes[1])
            gradient = unscaled(weight_gradient(left, right, like, kind, ctx.unit), specs[4], specs[5])
            found_b, step_b = _to_input(gradient, b, b_values, b_scale, specs[1], taken, seed, step, learns)
        found_sizes = _both(step_a, step_b, e) if learns else None
        found_a, found_b = (g if needed else None for g, needed in zip((found_a, found_b), ctx.needs_input_grad))
        return found_a, found_b, None, None, found_sizes, *[None] * 6


def _if_new(values: torch.Tensor, spec: Spec) -> torch.Tensor | None:
    """Values that are not the operand itself: an input may not be both returned and saved."""
    return values if Operand(*spec).fmt else None


def states_of(specs: tuple[Spec, ...], sizes: torch.Tensor | None, largest: torch.Tensor | None) -> States:
    """Of each operand what earlier steps left: a largest magnitude, or a step size."""
    names = [Operand(*spec).scaling[0] for spec in specs]
    return tuple(
        _at(sizes, k) if name == "learned" and k < 2 else _at(largest, k) if name == "delayed" else None
        for k, name in enumerate(names)
    )


def _at(given: torch.Tensor | None, k: int) -> torch.Tensor | None:
    return None if given is None else given[k]


def _both(a: torch.Tensor | None, b: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """(2,) gradients of two step sizes; 0 of those that are not trained."""
    none = like.new_zeros(())
    return torch.stack([none if a is None else a, none if b is None else b])


def _shaped(like: torch.Tensor | None, e: torch.Tensor, shape: Any) -> torch.Tensor:
    """A tensor of a shape, for what reads nothing else."""
    return e.new_empty(1).expand(shape) if like is None else like


def unscaled(found: torch.Tensor, first: Spec, second: Spec) -> torch.Tensor:
    """The product without the prescales of its operands."""
    prescale = Operand(*first).prescale * Operand(*second).prescale
    return found if prescale == 1.0 else found / prescale


def _backward_operands(
    e: torch.Tensor,
    other: Any,
    specs: tuple[Spec, ...],
    k: int,
    seed: Any,
    step: Any,
    states: States,
    seen: torch.Tensor | None,
    call: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Operands k and k + 1, of a backward product, rotated and quantized."""
    found = [
        quantized(rotated(t, specs[i], seed, step), specs[i], seed, step, states[i], _at(seen, i), call)[0]
        for i, t in ((k, e), (k + 1, own_storage(other)))
    ]
    return found[0], found[1]


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
        learns: whether step sizes are trained.
    """
    of = Operand(*spec)
    if t is None or values is None or not reads_values(of, scale):
        return (rotated(gradient, spec, seed, step, inverse=True) if turned else gradient), None
    inner = gradient if turned else rotated(gradient, spec, seed, step)
    inside = rotated(t, spec, seed, step)
    found = estimated(inner, inside, values, scale, spec, seed, step)
    learned = learns and scale is not None and of.scaling[0] == "learned"
    taught = step_gradient(inner, inside, values, scale, spec) if learned and scale is not None else None
    return rotated(found, spec, seed, step, inverse=True), taught


def quantized_product(
    a: torch.Tensor,
    b: torch.Tensor,
    kind: Kind,
    specs: tuple[Spec, ...],
    seed: torch.Tensor,
    step: torch.Tensor,
    *,
    sizes: torch.Tensor | None = None,
    largest: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
    unit: tuple[Any, ...] = (),
    call: int = 0,
) -> torch.Tensor:
    """The product of two tensors, all six operands of forward and backward quantized.

    Args:
        a, b: two tensors as the kind of product takes them: x (..., m, k) and w (n, k) for 'linear', (..., m, k) and
            (..., k, n) for 'matmul', input and weight of a convolution.
        kind: see `Kind`.
        specs: the six operands, see `operands.operands_of`.
        seed: (2,) int64 words. step: () int64.
        sizes: (2,) step sizes of both forward operands that are trained, or None.
        largest: (6,) the largest magnitudes of earlier steps, for delayed scaling; 0 where there are none yet.
        seen: (6,) where the largest magnitudes of this step are gathered, in place; None gathers nothing.
        unit: settings of an accumulator as (name, value) pairs; empty for the library's own product.
        call: which of several products of one seed and step.
    """
    rows = a.reshape(-1, a.shape[-1]) if kind[0] == "linear" else a  # tokens are one axis, along which wgrad contracts
    learns = sizes is not None and sizes.requires_grad
    graded = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad or learns)
    run: Any = Product.apply if graded else Product.forward
    found = run(rows, b, seed, step, sizes, largest, seen, kind, unit, specs, call)
    return found[0].reshape(*a.shape[:-1], b.shape[0]) if kind[0] == "linear" else found[0]
