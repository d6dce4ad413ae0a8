"""Rounding of torch tensors that are nothing but memory: no gradients, no transforms.

CPU tensors share their memory with the NumPy path; other devices run the portable kernel.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .. import codebook_kernels, kernels, numbers
from ..layouts import Layout
from ..philox import Shard, check_word, philox
from ..plan import Plan, Randomness
from ..tables import Codebook
from . import cpu
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
    return x


def dtype_name(x: torch.Tensor) -> str:
    """The dtype's plain name."""
    return str(x.dtype).removeprefix("torch.")


def torch_dtype(layout: Layout) -> torch.dtype:
    """The dtype of a layout."""
    return getattr(torch, layout.name)


@dataclass(frozen=True, slots=True)
class Offset:
    """An offset or Shard as plain integers: what an operator's schema can carry."""

    start: tuple[int, ...]
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, offset: Any) -> "Offset":
        """From what the user gave."""
        if isinstance(offset, Shard):
            return cls(tuple(map(int, offset.start)), offset.global_shape)
        return cls((int(offset),), None)

    @property
    def offset(self) -> int | Shard:
        """Back again."""
        return self.start[0] if self.shape is None else Shard(self.start, self.shape)


def key_of(randomness: Randomness, device: torch.device) -> torch.Tensor:
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


def plain_noise(plan: Plan, key: torch.Tensor | None, offset: Offset, shape: torch.Size) -> cpu.Noise | None:
    """Where a CPU tensor lies in the random stream; None for deterministic modes."""
    if key is None or not plan.rounding.stochastic:
        return None
    stream, step, low, high = key.tolist()
    return cpu.Noise((stream, step, low, high), numpy_backend.row_starts(offset.offset, tuple(shape)))


def quantize_plain(
    x: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: Offset, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The kernel on a tensor that is nothing but memory; the result has the strides of `empty_like(x)`."""
    if out is None:
        out = torch.empty_like(x, dtype=torch_dtype(plan.target))
    bits, target = x.detach().view(BITS[plan.source.width]), out.detach().view(BITS[plan.target.width])
    if x.device.type == "cpu":
        noise = plain_noise(plan, key, offset, x.shape)
        result = numpy_backend.quantize_bits(bits.numpy(), plan, noise, target.numpy())
        if result.ctypes.data != target.data_ptr() or not x.numel():
            target.copy_(torch.from_numpy(np.ascontiguousarray(result)).view(x.shape))
    else:
        target.copy_(portable(bits, plan, key, offset))
    return out


def portable(bits: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: Offset) -> torch.Tensor:
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


def words_at(key: torch.Tensor, offset: Offset, like: torch.Tensor, layout: Layout) -> torch.Tensor:
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


def in_range_plain(x: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: Offset) -> torch.Tensor:
    """Where |x| rounds to at most the largest value; bool with the strides of `empty_like(x)`."""
    mask = torch.empty_like(x, dtype=torch.bool)
    bits = x.detach().view(BITS[plan.source.width])
    if x.device.type == "cpu":
        found = numpy_backend.in_range(bits.numpy(), plan, plain_noise(plan, key, offset, x.shape))
        return mask.copy_(torch.from_numpy(found))
    if isinstance(plan.table, Codebook):
        return mask.copy_((x >= float(plan.fmt.min)) & (x <= float(plan.fmt.max)))  # pyright: ignore
    marked = replace(plan, overflow=kernels.MARK, target=plan.layout)
    return mask.copy_(portable(bits, marked, key, offset) != plan.layout.nan)
