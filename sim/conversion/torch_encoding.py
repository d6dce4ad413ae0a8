"""What a forward product reads of a weight, as codes: every format, way to find scales and transform of a recipe.

What `torch_operands.quantized` makes of a weight is the truth. Codes are found beside it, and taken only if they decode
to exactly its bits.
"""

from math import prod
from typing import Any, NamedTuple

import torch

from ...emulate.complexes import to_widely_linear
from ...emulate.encoded import Encoded
from ...emulate.packing import Packed, pack
from ...emulate.quantize import encode, scales
from ...emulate.views import grouped, view_of
from ...formats.catalogue import format as any_format
from ...formats.codebooks import ChannelCodebooks
from ...formats.scaled import ScaledFormat
from ..products.torch_operands import Spec, quantized, rotated
from ..products.torch_values import complex_values
from ..recipes.operands import Operand
from ..recipes.plan import DIMENSIONS
from .torch_packed import decoded, described

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_STREAMS = 16


class Reading(NamedTuple):
    """How a product reads a weight.

    Args:
        kind: of product, as in `plan.DIMENSIONS`; 'rows' for an embedding.
        spec: the operand that the weight is.
        phase: the complex format of weights; empty for none.
        whole: what the length of the contraction is padded to a multiple of.
        seed: (2,) int64 words. step: () int64.
        state: () the largest magnitude of earlier steps, or the step size that is learned, or None.
    """

    kind: str
    spec: Spec
    phase: str
    whole: int
    seed: torch.Tensor
    step: torch.Tensor
    state: torch.Tensor | None


class Encoding(NamedTuple):
    """A weight as products read it: one of `entries.WAYS`, packed parts or none, and the values."""

    way: str
    parts: tuple[Packed, ...]
    values: torch.Tensor


@torch.no_grad()
def encoding_of(weight: torch.Tensor, reading: Reading) -> Encoding:
    """What a product reads of a weight.

    Raises:
        ValueError: blocks that do not divide the weight.
    """
    weight = weight.detach()
    if reading.phase:
        values = complex_values(weight, reading.phase)
        if weight.dtype == torch.float64:  # whose scales have no codes
            return Encoding("values", (), values)
        parts = tuple(pack(part, reading.phase) for part in to_widely_linear(weight.to(torch.float32)))
        return _checked("complex", parts, values)
    turned = _turned(weight, reading)
    values, scale = quantized(turned, reading.spec, reading.seed, reading.step, reading.state)
    way, parts = _parts(turned, values, scale, reading)
    return _checked(way, parts, values)


def joined_rows(encodings: list[Encoding]) -> Encoding:
    """Several weights one below the other as one; values where one of them is not a single packed array."""
    values = torch.cat([each.values for each in encodings])
    if any(each.way != "bits" for each in encodings):
        return Encoding("values", (), values)
    return Encoding("rows", tuple(part for each in encodings for part in each.parts), values)


def _checked(way: str, parts: tuple[Packed, ...], values: torch.Tensor) -> Encoding:
    """Codes that give the values bit for bit, or the values."""
    if parts:
        streams = [stream for part in parts for stream in part.streams.values()]
        if same_bits(decoded(streams, described(way, parts)).to(values.dtype), values):
            return Encoding(way, parts, values)
    return Encoding("values", (), values)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same shape, dtype and bits."""
    integers = _INTEGERS[a.element_size()]
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(integers), b.contiguous().view(integers))


def _turned(t: torch.Tensor, reading: Reading) -> torch.Tensor:
    """The weight with zeros up to whole transforms, transformed."""
    if reading.kind == "rows":
        return t
    axis = next(axis for axis, name in DIMENSIONS[reading.kind][1].items() if name == "k")
    missing = -t.shape[axis] % reading.whole
    if missing:
        after = t.dim() - 1 - axis % t.dim()
        t = torch.nn.functional.pad(t, [0, 0] * after + [0, missing])
    return rotated(t, reading.spec, reading.seed, reading.step)


def _parts(
    t: torch.Tensor, values: torch.Tensor, scale: torch.Tensor | None, reading: Reading
) -> tuple[str, tuple[Packed, ...]]:
    """Packed arrays that may stand for the values; none where no codes do."""
    of, fmt = Operand(*reading.spec), any_format(reading.spec[0])
    if of.outliers or of.scaling[0] == "eden" or isinstance(fmt, ChannelCodebooks) or not t.numel():
        return "values", ()
    if not _packs(fmt):
        return "values", ()
    if of.prescale != 1.0 and isinstance(fmt, ScaledFormat):
        scale = scales(t, fmt, axis=of.along or None, pad=of.pad).decode.to(t.dtype)
    if scale is not None:
        found = _by_scales(values, scale, _along(fmt, of), of)
        return "bits", () if found is None else (found,)
    if of.scaling[0] == "delayed" and reading.state is not None and float(reading.state) > 0:
        largest = float(reading.state) * 2.0 ** of.scaling[2]
        return "bits", (_by_largest(t, largest, _along(fmt, of), of, reading),)
    return "bits", (_packed(t, fmt, of, reading),)


def _packs(fmt: Any) -> bool:
    """Whether codes of the format have a width that streams have."""
    widths = [fmt.element.bits, fmt.scale.bits] if isinstance(fmt, ScaledFormat) else [fmt.bits]
    return all(bits <= 16 or bits == 32 for bits in widths)


def _along(fmt: Any, of: Operand) -> Any:
    return fmt.along(of.along) if isinstance(fmt, ScaledFormat) and of.along else fmt


def _options(fmt: Any, of: Operand, reading: Reading) -> Any:
    """As `torch_operands` passes them to `quantize`."""
    found: Any = {
        "rounding": of.rounding or None, "overflow": of.overflow or None,
        "seed": reading.seed, "step": reading.step, "stream": of.stream * _STREAMS,
    }  # fmt: skip
    if isinstance(fmt, ScaledFormat):
        found |= {
            "scale_rounding": of.scale_rounding or None, "axis": of.along or None,
            "pad": of.pad and bool(of.block > 0 or of.follows),
        }  # fmt: skip
    return found


def _packed(t: torch.Tensor, fmt: Any, of: Operand, reading: Reading) -> Packed:
    return pack(t, fmt, **_options(fmt, of, reading))


def _by_scales(values: torch.Tensor, scale: torch.Tensor, fmt: ScaledFormat, of: Operand) -> Packed | None:
    """Codes of values whose scales are known: one for all, or one a block along the operand's axis."""
    if fmt.zero_point or fmt.micro:
        return None
    view = view_of(fmt.blocks, tuple(values.shape), True, fmt.name)
    axis = of.axis % values.dim()
    if scale.numel() == 1:
        wide, grid = scale.reshape([1] * values.dim()), scale.reshape(-1).expand(prod(view.grid))
    else:
        wide = scale.repeat_interleave(of.block, axis).narrow(axis, 0, values.shape[axis])
        grid = scale.reshape(-1)
    elements = encode(torch.where(wide == 0, wide, values / wide), fmt.element, nan=0.0)
    codes = encode(grid.contiguous().to(torch.float32), fmt.scale).reshape(view.grid)
    outer = None
    if fmt.outer is not None:
        groups = grouped(view, fmt.outer.blocks, fmt.name)
        outer = encode(torch.ones(groups.grid, device=values.device), fmt.outer.scale)
    return pack(Encoded(fmt, tuple(values.shape), dtype_name(values.dtype), elements, codes, outer))


def _by_largest(t: torch.Tensor, largest: float, fmt: ScaledFormat, of: Operand, reading: Reading) -> Packed:
    """Codes by the scales that a largest magnitude asks for.

    It stands in one more block, which is left out again; larger elements saturate, as ones of that magnitude do.
    """
    view = view_of(fmt.blocks, tuple(t.shape), True, fmt.name)
    rows = view.extents[0] if len(view.extents) == t.dim() and view.extents[0] < t.shape[0] else 1
    wide = t if t.dtype == torch.float64 else t.to(torch.float32)
    more = wide.new_zeros(rows, *t.shape[1:])
    more.view(-1)[0] = largest
    codes = encode(torch.cat([wide.clamp(-largest, largest), more]), fmt, **_options(fmt, of, reading) | {"axis": None})
    inner = {"elements": codes.elements[: t.shape[0]].contiguous()}
    if tuple(codes.scales.shape) != view.grid:
        inner["scales"] = codes.scales[: view.grid[0]].contiguous()
    kept = {"scales": codes.scales, "outer": codes.outer} | inner
    return pack(Encoded(fmt, tuple(t.shape), dtype_name(t.dtype), **kept))


def dtype_name(dtype: torch.dtype) -> str:
    """Its name without 'torch.'."""
    return str(dtype).removeprefix("torch.")
