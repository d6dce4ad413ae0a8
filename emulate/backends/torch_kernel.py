"""Rounding of torch tensors that are nothing but memory: no gradients, no transforms.

CPU tensors share their memory with the NumPy path; CUDA tensors go through Triton where it is installed and knows
the format, other devices run the portable kernel.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from .. import codebook_kernels, kernels, numbers
from ..layouts import BFLOAT16, Layout
from ..philox import Shard, check_word, philox
from ..plan import Plan, Randomness
from ..tables import Codebook
from . import cpu, cpu_masks
from . import numpy as numpy_backend
from .torch_integers import TorchIntegers, TorchWords

BITS = {16: torch.int16, 32: torch.int32, 64: torch.int64}
"""Integer dtypes by width."""


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
    return x.resolve_neg() if x.is_neg() else x


def dtype_name(x: torch.Tensor) -> str:
    """The dtype's plain name."""
    return str(x.dtype).removeprefix("torch.")


def torch_dtype(layout: Layout) -> torch.dtype:
    """The dtype of a layout."""
    return getattr(torch, layout.name)


def characters(name: str) -> torch.Tensor:
    """(n,) uint8, the name and zeros; n is 256 or the next power of two that holds it."""
    data = name.encode()
    size = max(256, 1 << (len(data) - 1).bit_length())
    return torch.tensor(list(data.ljust(size, b"\0")), dtype=torch.uint8)


@dataclass(frozen=True, slots=True)
class Offset:
    """An offset or Shard as plain integers: what an operator's schema can carry."""

    start: tuple[int, ...]
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, offset: Any) -> "Offset":
        """From what the user gave."""
        if type(offset) is int:
            return cls((offset,), None) if offset else _NO_OFFSET
        if isinstance(offset, Shard):
            return cls(tuple(map(int, offset.start)), offset.global_shape)
        return cls((int(offset),), None)

    @property
    def offset(self) -> int | Shard:
        """Back again."""
        return self.start[0] if self.shape is None else Shard(self.start, self.shape)


_NO_OFFSET = Offset((0,), None)


def key_of(randomness: Randomness, device: torch.device) -> torch.Tensor:
    """(stream, step, seed low word, seed high word) as int64."""
    stream = _word("stream", randomness.stream, device)
    step = _word("step", randomness.step, device)
    return torch.cat([stream, step, _seed_words(randomness.seed, device)])


def _word(name: str, value: Any, device: torch.device) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.to(device=device, dtype=torch.int64).reshape(1)
    if torch.compiler.is_compiling():
        return torch.ops.halfulp.word_of(name, value).to(device)
    return torch.tensor([check_word(name, int(value))], dtype=torch.int64, device=device)


def _seed_words(seed: Any, device: torch.device) -> torch.Tensor:
    if isinstance(seed, torch.Tensor) and seed.dim() == 0:
        seed = seed.to(device=device, dtype=torch.int64)
        return torch.stack([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
    if isinstance(seed, int) and torch.compiler.is_compiling() and seed < 1 << 63:
        return torch.ops.halfulp.seed_words(seed).to(device)
    if isinstance(seed, torch.Tensor):
        if seed.shape != (2,):
            raise ValueError(f"expected a seed of one integer or two words, got shape {tuple(seed.shape)}")
        return seed.to(device=device, dtype=torch.int64) & 0xFFFFFFFF
    return torch.tensor(numpy_backend.seed_pair(seed), dtype=torch.int64, device=device)


Key: TypeAlias = torch.Tensor | tuple[int, int, int, int]
"""(stream, step, seed low word, seed high word), as int64 or, where all were numbers, as they are."""


def plain_key(randomness: Randomness, device: torch.device) -> Key:
    """`key_of` where nothing traces: no tensors are made of numbers for the CPU."""
    given = (randomness.seed, randomness.step, randomness.stream)
    if device.type != "cpu" or any(isinstance(part, torch.Tensor) for part in given):
        return key_of(randomness, device)
    step, stream = check_word("step", int(randomness.step)), check_word("stream", int(randomness.stream))
    return (stream, step, *numpy_backend.seed_pair(randomness.seed))


def key_words(key: Key) -> tuple[int, int, int, int]:
    """The key as numbers."""
    stream, step, low, high = key if isinstance(key, tuple) else key.tolist()
    return stream, step, low, high


def plain_noise(plan: Plan, key: Key | None, offset: Offset, shape: torch.Size) -> cpu.Noise | None:
    """Where a CPU tensor lies in the random stream; None for deterministic modes."""
    return None if key is None or not plan.rounding.stochastic else noise_of(key, offset, shape)


def noise_of(key: Key, offset: Offset, shape: torch.Size) -> cpu.Noise:
    """Where a CPU tensor lies in the random stream."""
    return cpu.Noise(key_words(key), numpy_backend.row_starts(offset.offset, tuple(shape)))


def quantize_plain(
    x: torch.Tensor, plan: Plan, key: Key | None, offset: Offset, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The kernel on a tensor that is nothing but memory; the result has the strides of `empty_like(x)`."""
    if out is None and in_numpy(x, plan):
        floats = (x.detach() if x.requires_grad else x).numpy()
        noise = plain_noise(plan, key, offset, x.shape)
        found = numpy_backend.quantize_bits(floats.view(numpy_backend.BITS[plan.source.width]), plan, noise, None)
        return from_numpy(found.view(numpy_backend.FLOATS[plan.target.name]))
    if out is None:
        out = torch.empty_like(x, dtype=torch_dtype(plan.target))
    bits, target = x.detach().view(BITS[plan.source.width]), out.detach().view(BITS[plan.target.width])
    if x.is_cpu:
        noise = plain_noise(plan, key, offset, x.shape)
        host = target.numpy()
        result = numpy_backend.quantize_bits(bits.numpy(), plan, noise, host)
        if result is not host:
            deliver(result, target)
    else:
        _on_device(bits, plan, key, offset, target)
    return out


def in_numpy(x: torch.Tensor, plan: Any) -> bool:
    """Whether NumPy can read x and write the result as they are; a view there costs a third of one in torch."""
    known = x.is_cpu and plan.source is not BFLOAT16 and plan.target is not BFLOAT16
    return known and x.numel() > 0 and x.is_contiguous()


def from_numpy(found: np.ndarray) -> torch.Tensor:
    """A contiguous tensor of a result."""
    return torch.from_numpy(found if found.flags.c_contiguous else found.copy())


def deliver(result: np.ndarray, target: torch.Tensor) -> None:
    """Copy a result to where it belongs, unless it is there."""
    if result.ctypes.data != target.data_ptr() or not target.numel():
        target.copy_(torch.from_numpy(np.ascontiguousarray(result)).view(target.shape))


def _on_device(bits: torch.Tensor, plan: Plan, key: Key | None, offset: Offset, out: torch.Tensor) -> None:
    """The fastest kernel that the tensor's device has."""
    from . import triton as fast

    words = None if key is None else torch.as_tensor(key, device=bits.device)
    if not (fast.available(bits) and fast.quantize(bits, plan, words, offset, out)):
        out.copy_(portable(bits, plan, key, offset))


def portable(bits: torch.Tensor, plan: Plan, key: Key | None, offset: Offset) -> torch.Tensor:
    """The portable kernel on the tensor's device; bits of the target dtype."""
    xp = TorchIntegers(plan.layout.work_width)
    work = bits.to(xp.dtype)
    if plan.layout is not plan.source:
        work = numbers.convert(xp, plan.source, plan.layout, work)
    words = None
    if key is not None and plan.rounding.stochastic:
        words = words_at(key, offset, bits, plan.layout)
    if isinstance(plan.table, Codebook):
        book = Codebook(*(torch.from_numpy(column).to(bits.device) for column in plan.table))
        index = codebook_kernels.round_to_codebook(xp, plan.layout, book, work, plan.mode, words)
        result = xp.take(book.values, index)
    else:
        result = kernels.round_to_grid(xp, plan.layout, plan.table, work, plan.mode, plan.overflow, words)
    if plan.layout is not plan.target:
        wide = TorchIntegers(max(plan.layout.work_width, plan.target.work_width))
        result = numbers.convert(wide, plan.layout, plan.target, torch.as_tensor(result).to(wide.dtype))
    return torch.as_tensor(result).to(BITS[plan.target.width])


def words_at(key: Key, offset: Offset, like: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Random words of every element, on the tensor's device."""
    starts = torch.from_numpy(numpy_backend.row_starts(offset.offset, tuple(like.shape)).astype(np.int64))
    row = torch.arange(like.numel() // max(len(starts), 1), device=like.device)
    index = (starts.to(like.device)[:, None] + row).reshape(like.shape)
    stream, step, low, high = torch.as_tensor(key, device=like.device).unbind()
    word = [_word_at(index * layout.words + part, stream, step, low, high) for part in range(layout.words)]
    return word[0].to(torch.int32) if layout.words == 1 else word[0] << 32 | word[1]


def _word_at(index: torch.Tensor, stream, step, low, high) -> torch.Tensor:
    block = index >> 2
    counter = (block & 0xFFFFFFFF, (block >> 32) & 0xFFFFFFFF, stream, step)
    words = torch.stack(torch.broadcast_tensors(*philox(TorchWords(), counter, (low, high))))
    return torch.take_along_dim(words, (index & 3)[None], 0)[0]


def check_range(codes: torch.Tensor, fmt: Any) -> None:
    """Raise for codes out of range, waiting for the device only if their dtype allows any."""
    if codes.numel() and (codes.dtype.is_signed or codes.element_size() * 8 > fmt.bits):
        low, high = (int(end) for end in codes.to(torch.int64).aminmax())
        numpy_backend.check_codes(np.array([low, high]), fmt)


def in_range_plain(x: torch.Tensor, plan: Plan, key: Key | None, offset: Offset) -> torch.Tensor:
    """Where |x| rounds to at most the largest value; (ceil(n / 8),) uint8, see `cpu_masks`."""
    bits = x.detach().view(BITS[plan.source.width])
    if x.is_cpu:
        return torch.from_numpy(cpu_masks.packed(bits.numpy(), plan, plain_noise(plan, key, offset, x.shape)))
    if isinstance(plan.table, Codebook):
        return packed_mask((x >= float(plan.fmt.min)) & (x <= float(plan.fmt.max)))  # pyright: ignore
    found = torch.empty_like(bits, dtype=BITS[plan.layout.width])
    _on_device(bits, numpy_backend.marked(plan), key, offset, found)
    return packed_mask(found != plan.layout.nan)


def packed_mask(mask: torch.Tensor) -> torch.Tensor:
    """(ceil(n / 8),) uint8 of n booleans, the first in the lowest bit."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.packbits(mask.numpy().reshape(-1), bitorder="little"))
    flat = mask.reshape(-1)
    bits = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).reshape(-1, 8).to(torch.uint8)
    return (bits << torch.arange(8, device=mask.device, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)


def unpacked_mask(mask: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Booleans of that shape from their bits."""
    if mask.device.type == "cpu":
        return torch.from_numpy(cpu_masks.unpacked(mask.numpy(), prod(shape))).reshape(shape)
    bits = mask[:, None] >> torch.arange(8, device=mask.device, dtype=torch.uint8) & 1
    return bits.reshape(-1)[: prod(shape)].reshape(shape).bool()
