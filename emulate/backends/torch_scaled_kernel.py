"""Scaled rounding of torch tensors that are nothing but memory.

CPU tensors share their memory with the NumPy path; CUDA tensors go through Triton where it is installed and knows
the format, other devices run the portable kernels.
"""

from typing import Any

import numpy as np
import torch

from ...formats.rounding import ROUNDINGS
from ..encoded import Amax, Scales
from ..layouts import Layout
from ..philox import fold_words
from ..plan import Randomness
from ..scaled_kernels import Rounding, element_values, in_range, spread
from ..scaled_plan import ScaledPlan
from ..scaled_run import load, scales_for, work_of
from ..scales import BlockScales, Draw, Work
from ..tables import Codebook, mode_of
from . import numpy as plain
from . import numpy_given, numpy_scaled
from . import triton as fast
from . import triton_scaled as fast_scaled
from .torch_integers import TorchIntegers, TorchWords
from .torch_kernel import BITS, Key, Offset, deliver, from_numpy, in_numpy, key_words, torch_dtype, words_at


def as_noises(plan: ScaledPlan, key: Key | None, offset: Offset, shape: tuple[int, ...]) -> numpy_scaled.Noises:
    """Where a CPU tensor and its scales lie in their random streams."""
    if key is None:
        return None, None
    stream, step, low, high = key_words(key)
    randomness = Randomness(np.array([low, high]), step, stream, offset.offset)
    return numpy_scaled.noises(plan, randomness, shape)


def as_given(plan: ScaledPlan, given: Scales | Amax | None, shape: tuple[int, ...]) -> numpy_given.Given:
    """What the caller brought, as NumPy bits."""
    if given is None:
        return None
    if isinstance(given, Amax):
        return Amax(numpy_given.amax_bits(plan, _host(given.value)))
    offset = None if given.zero_point is None else np.asarray(_host(given.zero_point))
    micro = tuple(np.asarray(_host(bits)) for bits in given.micro)
    return numpy_given.given_bits(plan, Scales(_host(given.decode), offset, micro), shape)


def _host(a: Any) -> Any:
    """What NumPy reads; bfloat16 has no NumPy dtype of torch's own."""
    if not isinstance(a, torch.Tensor):
        return a
    a = a.detach().cpu()
    return a.float() if a.dtype in (torch.bfloat16, torch.float16) else a


def quantize_scaled_plain(
    x: torch.Tensor,
    plan: ScaledPlan,
    key: Key | None,
    offset: Offset,
    given: Scales | Amax | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The kernel on a tensor that is nothing but memory; the result has the strides of `empty_like(x)`."""
    if out is None and in_numpy(x, plan):
        floats = (x.detach() if x.requires_grad else x).numpy()
        noise, scales = as_noises(plan, key, offset, tuple(x.shape)), as_given(plan, given, tuple(x.shape))
        found = numpy_scaled.quantize_bits(floats.view(plain.BITS[plan.source.width]), plan, noise, scales)
        return from_numpy(found.view(plain.FLOATS[plan.target.name]))
    if out is None:
        out = torch.empty_like(x, dtype=torch_dtype(plan.target))
    bits, target = x.detach().view(BITS[plan.source.width]), out.detach().view(BITS[plan.target.width])
    if x.is_cpu:
        noise = as_noises(plan, key, offset, tuple(x.shape))
        scales = as_given(plan, given, tuple(x.shape))
        result = numpy_scaled.quantize_bits(bits.numpy(), plan, noise, scales, target.numpy())
        deliver(result, target)
    elif not _fused(bits, plan, key, offset, given, target):
        run = Portable(bits, plan, key, offset, given)
        target.copy_(run.values(plan.target))
    return out


def _fused(
    bits: torch.Tensor, plan: ScaledPlan, key: Any, offset: Offset, given: Scales | Amax | None,
    out: torch.Tensor,
) -> bool:  # fmt: skip
    """Whether a fused kernel of the tensor's device has done the work."""
    return given is None and fast.available(bits) and fast_scaled.quantize(bits, plan, key, offset, out)


def in_range_scaled_plain(
    x: torch.Tensor, plan: ScaledPlan, key: Key | None, offset: Offset, given: Scales | Amax | None = None
) -> torch.Tensor:
    """Where scaled magnitudes round to at most the largest element; bool with the strides of `empty_like(x)`."""
    mask = torch.empty_like(x, dtype=torch.bool)
    bits = x.detach().view(BITS[plan.source.width])
    if x.device.type != "cpu":
        return mask.copy_(Portable(bits, plan, key, offset, given).mask())
    noise = as_noises(plan, key, offset, tuple(x.shape))
    found = numpy_scaled.in_range_bits(bits.numpy(), plan, noise, as_given(plan, given, tuple(x.shape)))
    return mask.copy_(torch.from_numpy(found))


class Portable:
    """One tensor on its way through the portable kernels on its own device."""

    def __init__(
        self, bits: torch.Tensor, plan: ScaledPlan, key: Key | None, offset: Offset, given: Scales | Amax | None
    ) -> None:
        self.plan, self.table = plan, _on_device(plan.table, bits.device)
        self.work: Work = work_of(plan, tuple(bits.shape))
        self.xp = TorchIntegers(plan.layout.work_width, bits.device)
        self.bits = self.work.view.split(self.xp, load(self.xp, plan, bits.to(self.xp.dtype)))
        self.words = self._words(key, offset, bits) if plan.rounding.stochastic else None
        nearest = mode_of(ROUNDINGS["nearest_even"], plan.layout.work_width)
        host = as_given(plan, given, tuple(bits.shape))
        if isinstance(host, Amax):
            self.table, host = self.table._replace(amax=host.value), None
        scales = None if host is None else (*map(self._array, host[:2]), tuple(map(self._array, host[2])))
        draw = self._draw(key, offset, bits)
        self.scales: BlockScales = scales_for(self.xp, self.work, self.table, self.bits, nearest, draw, scales)

    def _array(self, a: Any) -> Any:
        return None if a is None else self.xp.array(np.ascontiguousarray(a))

    def _words(self, key: Any, offset: Offset, like: torch.Tensor) -> torch.Tensor:
        return self.work.view.split(self.xp, words_at(key, offset, like, self.plan.layout))

    def _draw(self, key: Any, offset: Offset, like: torch.Tensor) -> Draw | None:
        if self.plan.scale_rounding is None:
            return None
        words = None
        if self.plan.scale_rounding.stochastic:
            place = Offset.of(numpy_scaled.grid_offset(self.plan, offset.offset, tuple(like.shape)))
            folded = torch.cat([fold_words(TorchWords(), key[:1], numpy_scaled.SCALE_MEMBER), key[1:]])
            words = words_at(folded, place, like.new_empty(self.work.view.grid), self.plan.layout)
        return Draw(mode_of(self.plan.scale_rounding, self.plan.layout.work_width), words)

    def values(self, target: Layout) -> torch.Tensor:
        """Target bits of the values."""
        rounding = Rounding(self.plan.mode, self.plan.overflow, self.words)
        wide = spread(self.xp, self.work, self.table, self.scales)
        values = element_values(self.xp, self.work, target, self.table, self.bits, wide, rounding)
        return self.work.view.join(values).to(BITS[target.width])

    def mask(self) -> torch.Tensor:
        """Where scaled magnitudes round to at most the largest element."""
        rounding = Rounding(self.plan.mode, self.plan.overflow, self.words)
        wide = spread(self.xp, self.work, self.table, self.scales)
        return self.work.view.join(in_range(self.xp, self.work, self.table, self.bits, wide, rounding))


def _on_device(table: Any, device: torch.device) -> Any:
    """The table with its arrays, those of a codebook, as tensors."""
    if not isinstance(table.element, Codebook):
        return table
    return table._replace(element=Codebook(*(torch.from_numpy(column).to(device) for column in table.element)))
