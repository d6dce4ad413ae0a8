"""Scaled formats of torch tensors: values with gradients, codes, scales."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..encoded import Encoded, Scales
from ..layouts import Layout
from ..plan import Randomness
from ..scaled_plan import ScaledPlan
from . import numpy_scaled
from .torch_autograd import Eager, is_plain, transforms_active
from .torch_kernel import BITS, Offset, key_of, torch_dtype
from .torch_scaled_kernel import as_noises, quantize_scaled_plain


def _key(plan: ScaledPlan, randomness: Randomness, device: torch.device) -> torch.Tensor | None:
    return key_of(randomness, device) if plan.rounding.stochastic or plan.random_scales else None


def quantize(
    x: torch.Tensor, plan: ScaledPlan, randomness: Randomness, given: Any, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.quantize` on tensors."""
    key, offset = _key(plan, randomness, x.device), Offset.of(randomness.offset)
    scales = None if given is None else given if isinstance(given, Scales) else Scales(given)
    if out is not None:
        return quantize_scaled_plain(x, plan, key, offset, scales, out)
    if transforms_active() or (x.requires_grad and torch.is_grad_enabled()) or not is_plain(x):
        decode, rest = (None, None) if scales is None else (scales.decode, replace(scales, decode=None))
        return Eager.apply(x, key, decode, plan, offset, rest)[0]
    return quantize_scaled_plain(x, plan, key, offset, scales)


def encode(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness, nan: float | None) -> Encoded:
    """`emulate.encode` on tensors; other devices encode on the CPU and copy."""
    bits, noise = _host(x, plan, randomness)
    codes = numpy_scaled.encode_bits(bits, noise, plan, nan)
    arrays = {name: _to(getattr(codes, name), x.device) for name in ("elements", "scales", "outer", "zero_points")}
    return replace(codes, **arrays, micro=tuple(_to(bits, x.device) for bits in codes.micro))


def _host(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness) -> tuple[np.ndarray, numpy_scaled.Noises]:
    bits = x.detach().cpu().view(BITS[plan.source.width]).numpy()
    key = _key(plan, randomness, torch.device("cpu"))
    return bits, as_noises(plan, key, Offset.of(randomness.offset), tuple(x.shape))


def _to(a: Any, device: torch.device) -> Any:
    return None if a is None else torch.from_numpy(a).to(device)


def find_scales(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness) -> Scales:
    """`emulate.scales` on tensors."""
    bits, noise = _host(x, plan, randomness)
    found = numpy_scaled.scales_of_bits(bits, noise, plan)
    micro = tuple(_to(bits, x.device) for bits in found.micro)
    return Scales(_to(found.decode, x.device), _to(found.zero_point, x.device), micro)


def decode(encoded: Encoded, target: Layout, out: torch.Tensor | None) -> torch.Tensor:
    """`emulate.decode` of codes of a scaled format; other devices decode on the CPU and copy."""
    device = encoded.elements.device
    arrays = {name: getattr(encoded, name) for name in ("elements", "scales", "outer", "zero_points")}
    arrays = {name: None if a is None else a.detach().cpu().numpy() for name, a in arrays.items()}
    micro = tuple(bits.detach().cpu().numpy() for bits in encoded.micro)
    bits = numpy_scaled.decode_bits(replace(encoded, **arrays, micro=micro), target)
    values = torch.from_numpy(bits).view(torch_dtype(target)).to(device)
    return values if out is None else out.copy_(values)
