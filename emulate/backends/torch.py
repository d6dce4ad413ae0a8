"""torch tensors: eager and compiled, with gradients, forward mode, `torch.func` and any strides.

CPU tensors share their memory with the NumPy path; other devices run the portable kernel. Where neither
gradients nor function transforms are at work an eager call goes straight there. Otherwise an
`autograd.Function` handles it, whose `vmap` rule gives members of a map streams of their own. Under
`torch.compile` and with fake tensors the work is behind two `torch.library` operators that take names and
tensors only.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...formats.registry import Format
from .. import kernels
from ..layouts import Layout
from ..philox import Shard, check_word, fold_words, philox
from ..plan import Plan, Randomness, make_plan
from ..tables import Codebook
from . import cpu
from . import numpy as numpy_backend
from .torch_integers import TorchIntegers, TorchWords

_BITS = {16: torch.int16, 32: torch.int32, 64: torch.int64}
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def as_array(x: torch.Tensor) -> torch.Tensor:
    """x, if it is a dense tensor of real floats.

    Raises:
        TypeError: another dtype or layout; the message says what to call.
    """
    if x.layout is not torch.strided:
        raise TypeError(f"expected a dense tensor, got {x.layout}; quantize x.values() or x.to_dense()")
    if not x.is_floating_point():
        kind = "complex numbers" if x.is_complex() else "integers"
        raise TypeError(f"expected floats, got {x.dtype} {kind}; convert with x.to(torch.float32)")
    return x


def dtype_name(x: torch.Tensor) -> str:
    """The dtype's plain name."""
    return str(x.dtype).removeprefix("torch.")


def _torch_dtype(layout: Layout) -> torch.dtype:
    return getattr(torch, layout.name)


def check_out(out: Any, like: torch.Tensor, dtype: str) -> None:
    """Raise unless `out` can take the result.

    Raises:
        TypeError: no tensor, or another dtype or device.
        ValueError: another shape, a tensor that requires a gradient, or one whose elements share memory.
    """
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: expected a torch tensor, got {type(out).__name__}")
    if dtype_name(out) != dtype or out.device != like.device:
        raise TypeError(f"out: expected {dtype} on {like.device}, got {dtype_name(out)} on {out.device}")
    if out.shape != like.shape:
        raise ValueError(f"out: expected shape {tuple(like.shape)}, got {tuple(out.shape)}")
    if torch.is_grad_enabled() and (out.requires_grad or like.requires_grad):
        raise ValueError("out: cannot record a gradient through out=; leave it out, or use torch.no_grad()")
    if any(stride == 0 and length > 1 for stride, length in zip(out.stride(), out.shape)):
        raise ValueError("out: several elements share one memory location; pass a tensor of its own memory")


# ---------------------------------------------------------------- plain tensors


@dataclass(frozen=True, slots=True)
class _Offset:
    """An offset or Shard as plain integers: what an operator's schema can carry."""

    start: tuple[int, ...]
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, offset: Any) -> "_Offset":
        if isinstance(offset, Shard):
            return cls(tuple(map(int, offset.start)), offset.global_shape)
        return cls((int(offset),), None)

    @property
    def offset(self) -> int | Shard:
        return self.start[0] if self.shape is None else Shard(self.start, self.shape)


def _key(randomness: Randomness, device: torch.device) -> torch.Tensor:
    """(stream, step, seed low word, seed high word) as int64."""
    stream = _word("stream", randomness.stream, device)
    step = _word("step", randomness.step, device)
    return torch.cat([stream, step, _seed_words(randomness.seed, device)])


def _word(name: str, value: Any, device: torch.device) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.to(device=device, dtype=torch.int64).reshape(1)
    return torch.tensor([check_word(name, int(value))], dtype=torch.int64, device=device)


def _seed_words(seed: Any, device: torch.device) -> torch.Tensor:
    if isinstance(seed, torch.Tensor) and seed.dim() == 0:
        seed = seed.to(device=device, dtype=torch.int64)
        return torch.stack([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
    if isinstance(seed, torch.Tensor):
        if seed.shape != (2,):
            raise ValueError(f"expected a seed of one integer or two words, got shape {tuple(seed.shape)}")
        return seed.to(device=device, dtype=torch.int64) & 0xFFFFFFFF
    return torch.tensor(numpy_backend.seed_pair(seed), dtype=torch.int64, device=device)


def _plain_noise(plan: Plan, key: torch.Tensor | None, offset: _Offset, shape: torch.Size) -> cpu.Noise | None:
    if key is None or not plan.rounding.stochastic:
        return None
    stream, step, low, high = key.tolist()
    return cpu.Noise((stream, step, low, high), numpy_backend.row_starts(offset.offset, tuple(shape)))


def _quantize_plain(
    x: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: _Offset, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The kernel on a tensor that is nothing but memory; the result has the strides of `empty_like(x)`."""
    if out is None:
        out = torch.empty_like(x, dtype=_torch_dtype(plan.target))
    bits, target = x.detach().view(_BITS[plan.source.width]), out.detach().view(_BITS[plan.target.width])
    if x.device.type == "cpu":
        noise = _plain_noise(plan, key, offset, x.shape)
        result = numpy_backend.quantize_bits(bits.numpy(), plan, noise, target.numpy())
        if result.ctypes.data != target.data_ptr() or not x.numel():
            target.copy_(torch.from_numpy(np.ascontiguousarray(result)).view(x.shape))
    else:
        target.copy_(_portable(bits, plan, key, offset))
    return out


def _portable(bits: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: _Offset) -> torch.Tensor:
    """The portable kernel on the tensor's device; bits of the target dtype."""
    xp = TorchIntegers(plan.layout.work_width)
    work = bits.to(xp.dtype)
    if plan.layout is not plan.source:
        work = kernels.convert(xp, plan.source, plan.layout, work)
    words = None
    if key is not None and plan.rounding.stochastic:
        words = _words(key, offset, bits, plan.layout)
    if isinstance(plan.table, Codebook):
        book = Codebook(*(torch.from_numpy(column).to(bits.device) for column in plan.table))
        index = kernels.round_to_codebook(xp, plan.layout, book, work, plan.rounding, words)
        not_a_number = (work & plan.layout.magnitude_mask) > plan.layout.infinity
        result = xp.where(not_a_number, plan.layout.nan, xp.take(book.values, index))
    else:
        result = kernels.round_to_grid(xp, plan.layout, plan.table, work, plan.rounding, plan.overflow, words)
    if plan.layout is not plan.target:
        wide = TorchIntegers(max(plan.layout.work_width, plan.target.work_width))
        result = kernels.convert(wide, plan.layout, plan.target, result.to(wide.dtype))
    return result.to(_BITS[plan.target.width])


def _words(key: torch.Tensor, offset: _Offset, like: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Random words of every element, on the tensor's device."""
    starts = torch.from_numpy(numpy_backend.row_starts(offset.offset, tuple(like.shape)).astype(np.int64))
    row = torch.arange(like.numel() // max(len(starts), 1), device=like.device)
    index = (starts.to(like.device)[:, None] + row).reshape(like.shape)
    stream, step, low, high = key.to(like.device).unbind()
    word = [_word_at(index * layout.words + part, stream, step, low, high) for part in range(layout.words)]
    return word[0].to(torch.int32) if layout.words == 1 else word[0] << 32 | word[1]


def _word_at(index: torch.Tensor, stream, step, low, high) -> torch.Tensor:
    block = index >> 2
    counter = (block & 0xFFFFFFFF, (block >> 32) & 0xFFFFFFFF, stream, step)
    words = torch.stack(torch.broadcast_tensors(*philox(TorchWords(), counter, (low, high))))
    return torch.take_along_dim(words, (index & 3)[None], 0)[0]


def _in_range_plain(x: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: _Offset) -> torch.Tensor:
    """Where |x| rounds to at most the largest value; bool with the strides of `empty_like(x)`."""
    mask = torch.empty_like(x, dtype=torch.bool)
    bits = x.detach().view(_BITS[plan.source.width])
    if x.device.type == "cpu":
        found = numpy_backend.in_range(bits.numpy(), plan, _plain_noise(plan, key, offset, x.shape))
        return mask.copy_(torch.from_numpy(found))
    if isinstance(plan.table, Codebook):
        return mask.copy_((x >= float(plan.fmt.min)) & (x <= float(plan.fmt.max)))  # pyright: ignore
    marked = replace(plan, overflow=kernels.MARK, target=plan.layout)
    return mask.copy_(_portable(bits, marked, key, offset) != plan.layout.nan)


# ---------------------------------------------------------------- operators

_LIBRARY = torch.library.Library("halfulp", "DEF")
_ARGUMENTS = "Tensor x, Tensor? key, str fmt, str rounding, str overflow, str out_dtype, SymInt[] start, SymInt[]? shape"
_LIBRARY.define(f"quantize({_ARGUMENTS}) -> Tensor")
_LIBRARY.define(f"in_range({_ARGUMENTS}) -> Tensor")


def _operator(kernel):
    """The operator around a kernel on plain tensors; names are resolved and checked here."""

    def call(x, key, fmt, rounding, overflow, out_dtype, start, shape):
        plan = make_plan(fmt, rounding, overflow or None, dtype_name(as_array(x)), out_dtype)
        return kernel(x, plan, key, _Offset(tuple(start), None if shape is None else tuple(shape)))

    return call


def _fake_quantize(x, key, fmt, rounding, overflow, out_dtype, start, shape):
    plan = make_plan(fmt, rounding, overflow or None, dtype_name(as_array(x)), out_dtype)
    return torch.empty_like(x, dtype=_torch_dtype(plan.target))


def _fake_in_range(x, key, fmt, rounding, overflow, out_dtype, start, shape):
    return torch.empty_like(x, dtype=torch.bool)


_LIBRARY.impl("quantize", _operator(_quantize_plain), "CompositeExplicitAutograd")
_LIBRARY.impl("in_range", _operator(_in_range_plain), "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::quantize", _fake_quantize, lib=_LIBRARY)
torch.library.register_fake("halfulp::in_range", _fake_in_range, lib=_LIBRARY)


# ---------------------------------------------------------------- gradients


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


def _forward(x: torch.Tensor, key: torch.Tensor | None, plan: Plan, offset: _Offset) -> tuple[torch.Tensor, ...]:
    """Result and clip mask; the mask is empty where the gradient passes everywhere."""
    clip = plan.ste == "clip"
    if _is_plain(x):
        mask = _in_range_plain(x, plan, key, offset) if clip else x.new_empty(0, dtype=torch.bool)
        return _quantize_plain(x, plan, key, offset), mask
    names = _Names.of(plan)
    return _by_operator(x, key, names.fmt, names.rounding, names.overflow, names.out_dtype, offset.start, offset.shape, clip)


def _by_operator(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip):
    arguments = (x, key, fmt, rounding, overflow, out_dtype, start, shape)
    mask = torch.ops.halfulp.in_range(*arguments) if clip else x.new_empty(0, dtype=torch.bool)
    return torch.ops.halfulp.quantize(*arguments), mask


def _is_plain(x: torch.Tensor) -> bool:
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


class _Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip):
        return _by_operator(x, key, fmt, rounding, overflow, out_dtype, start, shape, clip)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), *[None] * 8


class _Eager(torch.autograd.Function):
    """For eager gradients, forward mode and `torch.func`."""

    @staticmethod
    def forward(x, key, plan, offset):
        return _forward(x, key, plan, offset)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx, gradient, _):
        return _pass(ctx.saved_tensors[0], gradient, ctx.input_dtype), None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _pass(ctx.saved_tensors[0], tangent, ctx.output_dtype), None

    @staticmethod
    def vmap(info, in_dims, x, key, plan, offset):
        x_dim, key_dim = in_dims[:2]
        if not plan.rounding.stochastic:
            return _Eager.apply(x, key, plan, offset), (x_dim, x_dim)
        members = [
            _Eager.apply(_member(x, x_dim, b), _member_key(key, key_dim, b), plan, offset)
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


def _transforms_active() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0


# ---------------------------------------------------------------- entry points


def quantize(x: torch.Tensor, plan: Plan, randomness: Randomness, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.quantize` on tensors."""
    key = _key(randomness, x.device) if plan.rounding.stochastic else None
    offset = _Offset.of(randomness.offset)
    if out is not None:
        return _quantize_plain(x, plan, key, offset, out)
    if _transforms_active() or (x.requires_grad and torch.is_grad_enabled()) or not _is_plain(x):
        return _Eager.apply(x, key, plan, offset)[0]
    return _quantize_plain(x, plan, key, offset)


def quantize_compiled(x, fmt, rounding, overflow, seed, step, stream, offset, ste, out, out_dtype):
    """`emulate.quantize` while `torch.compile` traces: nothing here but names, tensors and one Function."""
    if out is not None:
        raise ValueError("out= is not traced by torch.compile; leave it out, the compiler reuses memory itself")
    spec = fmt if isinstance(fmt, str) else fmt.spec
    mode = rounding if isinstance(rounding, str) else rounding.spec
    if mode.startswith(("stochastic", "sr")) and seed is None:
        raise ValueError(f"rounding {mode!r} needs a seed; pass seed=0, and step= to vary it")
    key = None if seed is None else _key(Randomness(seed, step, stream), x.device)
    start, shape = (offset.start, offset.global_shape) if isinstance(offset, Shard) else ((offset,), None)
    dtype = dtype_name(x) if out_dtype is None else str(out_dtype).removeprefix("torch.")
    return _Compiled.apply(x, key, spec, mode, overflow or "", dtype, start, shape, ste == "clip")[0]


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return numpy_backend.code_dtype_name(fmt)


def encode(
    x: torch.Tensor, plan: Plan, randomness: Randomness, nan: float | None, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.encode` on tensors; other devices encode on the CPU and copy."""
    bits = x.detach().cpu().view(_BITS[plan.source.width]).numpy()
    key = _key(randomness, torch.device("cpu")) if plan.rounding.stochastic else None
    noise = _plain_noise(plan, key, _Offset.of(randomness.offset), x.shape)
    codes = torch.from_numpy(numpy_backend.encode_bits(bits, plan, noise, nan, None)).to(x.device)
    return codes if out is None else out.copy_(codes)


def as_codes(codes: torch.Tensor) -> torch.Tensor:
    """Codes as they are, if they are integers.

    Raises:
        TypeError: anything but integers.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    return codes


def decode(codes: torch.Tensor, fmt: Format, target: Layout, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.decode` on tensors; other devices decode on the CPU and copy."""
    bits = numpy_backend.decode_checked(codes.detach().cpu().numpy(), fmt, target)
    values = torch.from_numpy(bits).view(_torch_dtype(target)).to(codes.device)
    return values if out is None else out.copy_(values)
