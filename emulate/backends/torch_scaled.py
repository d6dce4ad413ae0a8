"""Scaled formats of torch tensors: values with gradients, codes, scales."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch

from ...formats.registry import Format
from ..encoded import Amax, Encoded, Scales
from ..kernels import decode_grid, encode_grid
from ..layouts import FLOAT32, Layout
from ..plan import Randomness
from ..scaled_plan import ScaledPlan, untraced
from ..scaled_run import work_of
from ..scales import combined
from . import numpy as plain
from . import numpy_scaled, torch_autograd
from . import triton as fast
from . import triton_scaled as fast_scaled
from .torch_integers import TorchIntegers
from .torch_kernel import BITS, Offset, check_range, key_of, plain_key, torch_dtype
from .torch_scaled_kernel import as_noises
from .triton_tables import device_table


def quantize(
    x: torch.Tensor, plan: ScaledPlan, randomness: Randomness, given: Any, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.quantize` on tensors."""
    scales = given if given is None or isinstance(given, Scales | Amax) else Scales(given)
    return torch_autograd.quantize(x, plan, randomness, scales, out)


def encode(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness, nan: float | None) -> Encoded:
    """`emulate.encode` on tensors; where there is no kernel for the device on the CPU, and copied."""
    found = _encoded_on_device(x.detach(), plan, randomness, nan) if fast.available(x) and x.numel() else None
    if found is not None:
        return found
    bits, noise = _host(x, plan, randomness)
    codes = numpy_scaled.encode_bits(bits, noise, plan, nan)
    arrays = {name: _to(getattr(codes, name), x.device) for name in ("elements", "scales", "outer", "zero_points")}
    return replace(codes, **arrays, micro=tuple(_to(bits, x.device) for bits in codes.micro))


def _encoded_on_device(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness, nan: float | None) -> Encoded | None:
    """Codes by way of Triton; None where it does not know the format."""
    fmt, work = untraced(plan), work_of(plan, tuple(x.shape))
    nan_code, bad_code, scale_nan = numpy_scaled.nan_codes(fmt, nan)
    first = int(fmt.outer is not None)
    found = torch.empty(prod(work.view.grid) + first, dtype=torch.int32, device=x.device)
    elements = _new_codes(fmt.element, x.shape, x.device)
    key, offset = key_of(randomness, x.device) if plan.draws else None, Offset.of(randomness.offset)
    bits = x.view(BITS[plan.source.width])
    if not fast_scaled.encode(bits, plan, key, offset, (nan_code, bad_code), elements, found):
        return None
    scales = found[first:].reshape(work.view.grid)
    if bad_code < 0:
        plain.refuse_nan(bool((scales > plan.layout.infinity).any()), fmt.name)
    xp, table = TorchIntegers(plan.layout.work_width, x.device), plan.table
    codes = _new_codes(fmt.scale, scales.shape, x.device)
    codes.copy_(encode_grid(xp, plan.layout, table.scale, scales, scale_nan))
    outer = None
    if fmt.outer is not None and work.groups is not None and table.outer is not None:
        outer = _new_codes(fmt.outer.scale, work.groups.grid, x.device)
        outer.copy_(encode_grid(xp, plan.layout, table.outer, found[:1], -1).reshape(work.groups.grid))
    return Encoded(fmt, tuple(x.shape), plan.source.name, elements, codes, outer)


def _new_codes(fmt: Format, shape: Any, device: torch.device) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=getattr(torch, plain.code_dtype(fmt.bits).name), device=device)


def _host(x: torch.Tensor, plan: ScaledPlan, randomness: Randomness) -> tuple[np.ndarray, numpy_scaled.Noises]:
    bits = x.detach().cpu().view(BITS[plan.source.width]).numpy()
    key = plain_key(randomness, torch.device("cpu")) if plan.draws else None
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
    """`emulate.decode` of codes of a scaled format; where there is no kernel for the device on the CPU, and copied."""
    device = encoded.elements.device
    values = _decoded_on_device(encoded, target) if fast.available(encoded.elements) else None
    if values is None:
        arrays = {name: getattr(encoded, name) for name in ("elements", "scales", "outer", "zero_points")}
        arrays = {name: None if a is None else a.detach().cpu().numpy() for name, a in arrays.items()}
        micro = tuple(bits.detach().cpu().numpy() for bits in encoded.micro)
        bits = numpy_scaled.decode_bits(replace(encoded, **arrays, micro=micro), target)
        values = torch.from_numpy(bits).view(torch_dtype(target)).to(device)
    return values if out is None else out.copy_(values)


def _decoded_on_device(encoded: Encoded, target: Layout) -> torch.Tensor | None:
    """Values by way of Triton; None where it does not know the format."""
    plan = numpy_scaled.decoding_plan(encoded, target)
    fmt, layout = untraced(plan), plan.layout
    known = layout is FLOAT32 and target.width <= 32 and fmt.element.bits <= 16 and not fmt.zero_point
    if not known or fmt.micro or not encoded.elements.numel():
        return None
    work = work_of(plan, tuple(encoded.shape))
    check_range(encoded.elements, fmt.element)
    s = _scale_bits(encoded.scales, fmt.scale)
    outer = _scale_bits(encoded.outer, fmt.outer.scale) if fmt.outer else None
    scales = combined(TorchIntegers(layout.work_width, s.device), work, s, outer)
    values = torch.empty(encoded.shape, dtype=torch_dtype(target), device=s.device)
    done = fast_scaled.decode(encoded.elements, fmt.element, scales, work, target, values.view(BITS[target.width]))
    return values if done else None


def _scale_bits(codes: Any, fmt: Any) -> torch.Tensor:
    """float32 bits of the values of codes of scales, on their device."""
    check_range(codes, fmt)
    if fmt.bits <= 16:
        return device_table(fmt, FLOAT32, codes.device)[codes.to(torch.int64)]
    grid = plain.grid_of(fmt, FLOAT32)
    return decode_grid(TorchIntegers(32, codes.device), FLOAT32, grid, codes.to(torch.int64).to(torch.int32))
