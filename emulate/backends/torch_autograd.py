"""Operators and gradients: what `torch.compile`, autograd and `torch.func` see.

Two `torch.library` operators take names and tensors only and hide the kernel from tracing. Two
`autograd.Function`s put the straight-through estimator around them, one with a `jvp` for eager forward mode
and one without, because a `jvp` breaks `torch.compile(fullgraph=True)`. The `vmap` rule gives members of a
map streams of their own.
"""

from typing import Any, NamedTuple

import torch

from ..encoded import Scales
from ..philox import fold_words
from ..plan import Plan
from ..scaled_plan import Options, ScaledPlan, plan_for
from .torch_integers import TorchWords
from .torch_kernel import Offset, as_array, dtype_name, in_range_plain, quantize_plain, torch_dtype
from .torch_scaled_kernel import in_range_scaled_plain, quantize_scaled_plain

_PLAIN = (torch.Tensor, torch.nn.Parameter)

LIBRARY = torch.library.Library("halfulp", "DEF")
_ARGUMENTS = (
    "Tensor x, Tensor? key, Tensor? scale, str fmt, str rounding, str scale_rounding, str overflow, str out_dtype, "
    "str ste, int[] axis, bool pad, SymInt[] start, SymInt[]? shape"
)
LIBRARY.define(f"quantize({_ARGUMENTS}) -> Tensor")
LIBRARY.define(f"in_range({_ARGUMENTS}) -> Tensor")


class Names(NamedTuple):
    """A plan as the operators take it; empty strings and no axes are what the caller left out."""

    fmt: str
    rounding: str
    scale_rounding: str
    overflow: str
    out_dtype: str
    ste: str
    axis: tuple[int, ...]
    pad: bool

    @classmethod
    def of(cls, plan: Plan | ScaledPlan) -> "Names":
        """The names of a plan; its format already runs along the axes asked for."""
        scaled = isinstance(plan, ScaledPlan)
        scale_rounding = plan.scale_rounding.spec if scaled and plan.scale_rounding else ""
        fmt: Any = plan.fmt
        pad = scaled and plan.pad
        return cls(
            fmt.spec, plan.rounding.spec, scale_rounding, plan.overflow or "", plan.target.name, plan.ste, (), pad
        )  # fmt: skip

    def plan(self, x: torch.Tensor, given: bool) -> Plan | ScaledPlan:
        """Back again, for a tensor."""
        options = Options(
            self.rounding or None, self.scale_rounding or None, self.overflow or None, self.out_dtype,
            self.ste or None, tuple(self.axis) or None, self.pad, given,
        )  # fmt: skip
        return plan_for(self.fmt, dtype_name(as_array(x)), options)


def _values(x, plan: Plan | ScaledPlan, key, offset: Offset, given: Scales | None) -> torch.Tensor:
    if isinstance(plan, ScaledPlan):
        return quantize_scaled_plain(x, plan, key, offset, given)
    return quantize_plain(x, plan, key, offset)


def _mask(x, plan: Plan | ScaledPlan, key, offset: Offset, given: Scales | None) -> torch.Tensor:
    """The clip mask, empty where the gradient passes everywhere."""
    if plan.ste != "clip":
        return x.new_empty(0, dtype=torch.bool)
    if isinstance(plan, ScaledPlan):
        return in_range_scaled_plain(x, plan, key, offset, given)
    return in_range_plain(x, plan, key, offset)


def _operator(kernel):
    """The operator around a kernel on plain tensors; names are resolved and checked here."""

    def call(x, key, scale, *arguments):
        *names, start, shape = arguments
        plan = Names(*names).plan(x, scale is not None)
        given = None if scale is None else Scales(scale)
        return kernel(x, plan, key, Offset(tuple(start), None if shape is None else tuple(shape)), given)

    return call


def _fake_quantize(x, key, scale, *arguments):
    return torch.empty_like(x, dtype=torch_dtype(Names(*arguments[:-2]).plan(x, scale is not None).target))


def _fake_in_range(x, key, scale, *arguments):
    if Names(*arguments[:-2]).plan(x, scale is not None).ste != "clip":
        return x.new_empty(0, dtype=torch.bool)
    return torch.empty_like(x, dtype=torch.bool)


LIBRARY.impl("quantize", _operator(_values), "CompositeExplicitAutograd")
LIBRARY.impl("in_range", _operator(_mask), "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::quantize", _fake_quantize, lib=LIBRARY)
torch.library.register_fake("halfulp::in_range", _fake_in_range, lib=LIBRARY)


def _forward(x, key, decode, plan: Plan | ScaledPlan, offset: Offset, rest: Scales | None) -> tuple[torch.Tensor, ...]:
    """Result and clip mask."""
    given = None if rest is None else Scales(decode, rest.zero_point, rest.micro)
    if is_plain(x):
        return _values(x, plan, key, offset, given), _mask(x, plan, key, offset, given)
    if given is not None and (given.zero_point is not None or given.micro):
        raise ValueError("zero points and micro exponents cannot be given where operators are traced")
    return _by_operator(x, key, decode, *Names.of(plan), offset.start, offset.shape)


def _by_operator(*arguments):
    return torch.ops.halfulp.quantize(*arguments), torch.ops.halfulp.in_range(*arguments)


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
    passed = tangent if mask.numel() == 0 else torch.where(mask, tangent, 0)  # no mask, or nothing to mask
    return passed.to(dtype)


class Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(
        x, key, scale, fmt, rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, start, shape
    ):  # fmt: skip
        arguments = (x, key, scale, fmt, rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, start, shape)
        return _by_operator(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), *[None] * 12


class Eager(torch.autograd.Function):
    """For eager gradients, forward mode and `torch.func`."""

    @staticmethod
    def forward(x, key, decode, plan, offset, rest):
        return _forward(x, key, decode, plan, offset, rest)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), *[None] * 5

    @staticmethod
    def jvp(ctx, tangent, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], tangent, ctx.output_dtype), None

    @staticmethod
    def vmap(info, in_dims, x, key, decode, plan, offset, rest):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_dim, key_dim, decode_dim = in_dims[:3]
        if not plan.rounding.stochastic and isinstance(plan, Plan):
            return Eager.apply(x, key, decode, plan, offset, rest), (x_dim, x_dim)
        members = [
            Eager.apply(
                _member(x, x_dim, b), _member_key(key, key_dim, b), _member(decode, decode_dim, b), plan, offset, rest
            )
            for b in range(info.batch_size)
        ]
        return tuple(torch.stack(part) for part in zip(*members)), (0, 0)


def _member(a: Any, dim: int | None, index: int) -> Any:
    return a if dim is None else a.select(dim, index)


def _member_key(key: torch.Tensor | None, dim: int | None, index: int) -> torch.Tensor | None:
    """A member's own key if the keys are mapped, else the shared key with a stream of its own."""
    if key is None:
        return None
    if dim is not None:
        return key.select(dim, index)
    return torch.cat([fold_words(TorchWords(), key[:1], index), key[1:]])


def transforms_active() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work."""
    stack: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return stack.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0
