"""Operators and gradients: what `torch.compile`, autograd and `torch.func` see.

Two `torch.library` operators take names and tensors only and hide the kernel from tracing. Two
`autograd.Function`s put the straight-through estimator around them, one with a `jvp` for eager forward mode
and one without, because a `jvp` breaks `torch.compile(fullgraph=True)`. The `vmap` rule gives members of a
map streams of their own.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ..philox import fold_words
from ..plan import Plan, make_plan
from .torch_integers import TorchWords
from .torch_kernel import Offset, as_array, dtype_name, in_range_plain, quantize_plain, torch_dtype

_PLAIN = (torch.Tensor, torch.nn.Parameter)

_LIBRARY = torch.library.Library("halfulp", "DEF")
_ARGUMENTS = (
    "Tensor x, Tensor? key, str fmt, str rounding, str overflow, str out_dtype, SymInt[] start, SymInt[]? shape"
)
_LIBRARY.define(f"quantize({_ARGUMENTS}) -> Tensor")
_LIBRARY.define(f"in_range({_ARGUMENTS}) -> Tensor")


def _operator(kernel):
    """The operator around a kernel on plain tensors; names are resolved and checked here."""

    def call(x, key, fmt, rounding, overflow, out_dtype, start, shape):
        plan = make_plan(fmt, rounding, overflow or None, dtype_name(as_array(x)), out_dtype)
        return kernel(x, plan, key, Offset(tuple(start), None if shape is None else tuple(shape)))

    return call


def _fake_quantize(x, key, fmt, rounding, overflow, out_dtype, start, shape):
    plan = make_plan(fmt, rounding, overflow or None, dtype_name(as_array(x)), out_dtype)
    return torch.empty_like(x, dtype=torch_dtype(plan.target))


def _fake_in_range(x, key, fmt, rounding, overflow, out_dtype, start, shape):
    return torch.empty_like(x, dtype=torch.bool)


_LIBRARY.impl("quantize", _operator(quantize_plain), "CompositeExplicitAutograd")
_LIBRARY.impl("in_range", _operator(in_range_plain), "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::quantize", _fake_quantize, lib=_LIBRARY)
torch.library.register_fake("halfulp::in_range", _fake_in_range, lib=_LIBRARY)


@dataclass(frozen=True, slots=True)
class _Names:
    """A plan as the operators take it."""

    fmt: str
    rounding: str
    overflow: str
    out_dtype: str

    @classmethod
    def of(cls, plan: Plan) -> "_Names":
        return cls(plan.fmt.spec, plan.rounding.spec, plan.overflow or "", plan.target.name)  # pyright: ignore


def _forward(x: torch.Tensor, key: torch.Tensor | None, plan: Plan, offset: Offset) -> tuple[torch.Tensor, ...]:
    """Result and clip mask; the mask is empty where the gradient passes everywhere."""
    clip = plan.ste == "clip"
    if is_plain(x):
        mask = in_range_plain(x, plan, key, offset) if clip else x.new_empty(0, dtype=torch.bool)
        return quantize_plain(x, plan, key, offset), mask
    names = _Names.of(plan)
    return _by_operator(
        x, key, names.fmt, names.rounding, names.overflow, names.out_dtype, offset.start, offset.shape, clip
    )


def _by_operator(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip):
    arguments = (x, key, fmt, rounding, overflow, out_dtype, start, shape)
    mask = torch.ops.halfulp.in_range(*arguments) if clip else x.new_empty(0, dtype=torch.bool)
    return torch.ops.halfulp.quantize(*arguments), mask


def is_plain(x: torch.Tensor) -> bool:
    """Whether x is memory and nothing watches: no subclass, no fake tensor, no tracing mode."""
    return type(x) in _PLAIN and x.device.type != "meta" and torch._C._len_torch_dispatch_stack() == 0


def _save(ctx, inputs, output) -> None:
    mask = output[1]
    ctx.mark_non_differentiable(mask)
    ctx.save_for_backward(mask)
    ctx.save_for_forward(mask)
    ctx.input_dtype, ctx.output_dtype = inputs[0].dtype, output[0].dtype


def _pass(mask: torch.Tensor, tangent: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The straight-through estimator, the same in both directions."""
    passed = tangent if mask.dim() == 1 and mask.numel() == 0 and tangent.numel() else torch.where(mask, tangent, 0)
    return passed.to(dtype)


class Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip):
        return _by_operator(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), *[None] * 8


class Eager(torch.autograd.Function):
    """For eager gradients, forward mode and `torch.func`."""

    @staticmethod
    def forward(x, key, plan, offset):
        return _forward(x, key, plan, offset)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], tangent, ctx.output_dtype), None

    @staticmethod
    def vmap(info, in_dims, x, key, plan, offset):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_dim, key_dim = in_dims[:2]
        if not plan.rounding.stochastic:
            return Eager.apply(x, key, plan, offset), (x_dim, x_dim)
        members = [
            Eager.apply(_member(x, x_dim, b), _member_key(key, key_dim, b), plan, offset)
            for b in range(info.batch_size)
        ]
        return tuple(torch.stack(part) for part in zip(*members)), (0, 0)


def _member(a: torch.Tensor, dim: int | None, index: int) -> torch.Tensor:
    return a if dim is None else a.select(dim, index)


def _member_key(key: torch.Tensor, dim: int | None, index: int) -> torch.Tensor:
    """A member's own key if the keys are mapped, else the shared key with a stream of its own."""
    if dim is not None:
        return key.select(dim, index)
    return torch.cat([fold_words(TorchWords(), key[:1], index), key[1:]])


def transforms_active() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work."""
    stack: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return stack.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0
