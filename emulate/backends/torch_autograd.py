"""Operators and gradients: what `torch.compile`, autograd and `torch.func` see.

`torch.library` operators take names and tensors only and hide the kernels from tracing: values, clip masks, and
what makes keys of numbers. Three `autograd.Function`s put the straight-through estimator around them: `Recorded` for
plain eager tensors, the shortest; `Eager` with a `jvp` and a `vmap` rule, which gives members of a map streams of
their own; `Compiled` without either, because a `jvp` breaks `torch.compile(fullgraph=True)`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..encoded import Amax, Scales
from ..philox import check_word, fold_words, seed_words
from ..plan import Plan, Randomness, spelled
from ..scaled_plan import Options, ScaledPlan, check_amax, plan_for
from .torch_integers import TorchWords
from .torch_kernel import (
    Offset,
    as_array,
    dtype_name,
    in_range_plain,
    key_of,
    packed_mask,
    plain_key,
    quantize_plain,
    unpacked_mask,
)
from .torch_scaled_kernel import in_range_scaled_plain, quantize_scaled_plain

_PLAIN = (torch.Tensor, torch.nn.Parameter)

LIBRARY = torch.library.Library("halfulp", "DEF")
_ARGUMENTS = (
    "Tensor x, Tensor? key, Tensor? scale, Tensor? amax, Tensor? name, str fmt, str rounding, str scale_rounding, "
    "str overflow, str out_dtype, str ste, int[] axis, bool pad, SymInt[] start, SymInt[]? shape"
)
LIBRARY.define(f"quantize({_ARGUMENTS}) -> Tensor")
LIBRARY.define(f"clip_mask({_ARGUMENTS}) -> Tensor")
LIBRARY.define("unpack_mask(Tensor mask, SymInt[] shape) -> Tensor")
LIBRARY.define("word_of(str name, SymInt value) -> Tensor")
LIBRARY.define("seed_words(SymInt seed) -> Tensor")


Given = Scales | Amax | None
"""What the caller brought."""


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

    def named(self, name: torch.Tensor | None) -> "Names":
        """With the format whose name is in a tensor, where there is one."""
        return self if name is None else self._replace(fmt=spelled(name))

    def plan(self, x: torch.Tensor, given: bool) -> Plan | ScaledPlan:
        """Back again, for a tensor."""
        options = Options(
            self.rounding or None, self.scale_rounding or None, self.overflow or None, self.out_dtype,
            self.ste or None, tuple(self.axis) or None, self.pad, given,
        )  # fmt: skip
        return plan_for(self.fmt, dtype_name(as_array(x)), options)


def _values(x, plan: Plan | ScaledPlan, key, offset: Offset, given: Given, out=None) -> torch.Tensor:
    if isinstance(plan, ScaledPlan):
        return quantize_scaled_plain(x, plan, key, offset, given, out)
    return quantize_plain(x, plan, key, offset, out)


def _mask(x, plan: Plan | ScaledPlan, key, offset: Offset, given: Given) -> torch.Tensor:
    """The clip mask, one bit an element; empty where the gradient passes everywhere."""
    if plan.ste != "clip":
        return x.new_empty(0, dtype=torch.uint8)
    if isinstance(plan, ScaledPlan):
        return packed_mask(in_range_scaled_plain(x, plan, key, offset, given))
    return in_range_plain(x, plan, key, offset)


def _unpack(mask: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The operator `unpack_mask`: booleans of that shape."""
    return unpacked_mask(mask, tuple(shape))


def _operator(kernel):
    """The operator around a kernel on plain tensors; names are resolved and checked here."""

    def call(x, key, scale, amax, name, *arguments):
        *names, start, shape = arguments
        plan = Names(*names).named(name).plan(x, scale is not None)
        given = None if scale is None else Scales(scale)
        if amax is not None:
            check_amax(plan)
            given = Amax(amax)
        return kernel(x, plan, key, Offset(tuple(start), None if shape is None else tuple(shape)), given)

    return call


def _full_mask(x, key, scale, amax, name, *arguments):
    """The clip mask, of full size where the format is data: only then its size does not depend on the format."""
    mask = _operator(_mask)(x, key, scale, amax, name, *arguments)
    size = -(-x.numel() // 8)
    return mask if name is None or mask.numel() == size else mask.new_full((size,), 255)


def _fake_quantize(x, key, scale, amax, name, *arguments):
    names = Names(*arguments[:-2])
    if name is None:
        names.plan(x, scale is not None)  # raises now what the kernel would raise
    return torch.empty_like(x, dtype=getattr(torch, names.out_dtype))


def _fake_clip_mask(x, key, scale, amax, name, *arguments):
    if name is None and Names(*arguments[:-2]).plan(x, scale is not None).ste != "clip":
        return x.new_empty(0, dtype=torch.uint8)
    return x.new_empty((x.numel() + 7) // 8, dtype=torch.uint8)


def _fake_unpack(mask, shape):
    return mask.new_empty(shape, dtype=torch.bool)


LIBRARY.impl("quantize", _operator(_values), "CompositeExplicitAutograd")
LIBRARY.impl("clip_mask", _full_mask, "CompositeExplicitAutograd")
LIBRARY.impl("unpack_mask", _unpack, "CompositeExplicitAutograd")
LIBRARY.impl("word_of", lambda name, value: torch.tensor([check_word(name, value)]), "CompositeExplicitAutograd")
LIBRARY.impl("seed_words", lambda seed: torch.tensor(seed_words(seed)), "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::word_of", lambda name, value: torch.empty(1, dtype=torch.int64), lib=LIBRARY)
torch.library.register_fake("halfulp::seed_words", lambda seed: torch.empty(2, dtype=torch.int64), lib=LIBRARY)
torch.library.register_fake("halfulp::unpack_mask", _fake_unpack, lib=LIBRARY)
torch.library.register_fake("halfulp::quantize", _fake_quantize, lib=LIBRARY)
torch.library.register_fake("halfulp::clip_mask", _fake_clip_mask, lib=LIBRARY)


def _taken_apart(given: Given) -> tuple[torch.Tensor | None, Given]:
    """The tensor of what was given, which transforms may map, and the rest."""
    if isinstance(given, Amax):
        return given.value, Amax(None)
    return (None, None) if given is None else (given.decode, replace(given, decode=None))


def _forward(x, key, tensor, plan: Plan | ScaledPlan, offset: Offset, rest: Given) -> tuple[torch.Tensor, ...]:
    """Result and packed clip mask."""
    if isinstance(rest, Amax):
        given, scale, amax = Amax(tensor), None, torch.as_tensor(tensor, dtype=torch.float64)
    else:
        given, scale, amax = None if rest is None else replace(rest, decode=tensor), tensor, None
    if is_plain(x):
        return _values(x, plan, key, offset, given), _mask(x, plan, key, offset, given)
    if isinstance(given, Scales) and (given.zero_point is not None or given.micro):
        raise ValueError("zero points and micro exponents cannot be given where operators are traced")
    return _by_operator(x, key, scale, amax, None, *Names.of(plan), offset.start, offset.shape)


def _by_operator(*arguments):
    return torch.ops.halfulp.quantize(*arguments), torch.ops.halfulp.clip_mask(*arguments)


def is_plain(x: torch.Tensor) -> bool:
    """Whether x is memory and nothing watches: no subclass, no fake tensor, no tracing mode."""
    return type(x) in _PLAIN and not x.is_meta and torch._C._len_torch_dispatch_stack() == 0


def _save(ctx, inputs, output) -> None:
    mask = output[1]
    ctx.mark_non_differentiable(mask)
    ctx.save_for_backward(mask)
    ctx.save_for_forward(mask)
    ctx.input_dtype, ctx.output_dtype = inputs[0].dtype, output[0].dtype


def _pass(mask: torch.Tensor, tangent: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The straight-through estimator, the same in both directions."""
    if mask.numel():  # else no mask, or nothing to mask
        if mask.dtype != torch.bool:
            plain = not torch.compiler.is_compiling() and is_plain(mask) and not transforms_active()
            unpack = unpacked_mask if plain else torch.ops.halfulp.unpack_mask
            mask = unpack(mask, tangent.shape)
        tangent = torch.where(mask, tangent, 0)
    return tangent.to(dtype)


class Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(
        x, key, scale, amax, name, fmt, rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, start, shape
    ):  # fmt: skip
        names = (fmt, rounding, scale_rounding, overflow, out_dtype, ste, axis, pad)
        return _by_operator(x, key, scale, amax, name, *names, start, shape)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), *[None] * 14


class Recorded(torch.autograd.Function):
    """For eager gradients of plain tensors. Without `setup_context`, which costs 40 microseconds a call."""

    @staticmethod
    def forward(ctx, x, key, given, plan, offset):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.input_dtype = x.dtype
        ctx.save_for_backward(_mask(x, plan, key, offset, given))
        return _values(x, plan, key, offset, given)

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), None, None, None, None


class Eager(torch.autograd.Function):
    """For forward mode, `torch.func` and tensors that are not plain.

    The mask has the shape of x: the bits of a packed one belong to no member of a map.
    """

    @staticmethod
    def forward(x, key, decode, plan, offset, rest):
        values, mask = _forward(x, key, decode, plan, offset, rest)
        return values, torch.ops.halfulp.unpack_mask(mask, x.shape) if mask.numel() else mask

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
    def vmap(info, in_dims, x, key, decode, *rest):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_dim, key_dim, decode_dim = in_dims[:3]
        plan = rest[0]
        if not plan.rounding.stochastic and isinstance(plan, Plan):
            return Eager.apply(x, key, decode, *rest), (x_dim, x_dim)
        members = [
            Eager.apply(_member(x, x_dim, b), _member_key(key, key_dim, b), _member(decode, decode_dim, b), *rest)
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


def quantize(
    x: torch.Tensor, plan: Plan | ScaledPlan, randomness: Randomness, given: Given, out: torch.Tensor | None
) -> torch.Tensor:
    """The values, by the shortest way that whatever looks at the call allows: a gradient, a transform, a tracer."""
    offset = Offset.of(randomness.offset)
    if out is None and (transforms_active() or not is_plain(x)):
        key = key_of(randomness, x.device) if plan.draws else None
        decode, rest = _taken_apart(given)
        return Eager.apply(x, key, decode, plan, offset, rest)[0]
    key = plain_key(randomness, x.device) if plan.draws else None
    if out is None and x.requires_grad and torch.is_grad_enabled():
        return Recorded.apply(x, key, given, plan, offset)
    return _values(x, plan, key, offset, given, out)


def transforms_active() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work."""
    stack: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return stack.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0
