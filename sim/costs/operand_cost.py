"""What quantizing one operand of a product costs; see `recipe_cost`."""

from math import log2
from typing import Any, NamedTuple

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.rounding import rounding as named_rounding
from ...formats.scaled import TENSOR, ScaledFormat
from ..recipes.operands import Operand
from ..recipes.plan import transform_size
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe
from .cost import StoredBits, stored_bits

ESTIMATORS = {
    "identity": 0,
    "clip": 1,
    "dge": 6,
    "spline": 6,
    "piecewise_linear": 3,
    "absmax": 2,
    "absmax_full": 3,
    "lsq": 3,
}
"""Operations an element of a gradient estimator: a comparison; neighbours, a share, a power; a mask, a product."""

_SHAPES = {"x": "mk", "w": "nk", "e": "mn"}
_FIRST = {"dgrad_w": "fprop_w", "wgrad_x": "fprop_x", "wgrad_e": "dgrad_e"}
"""Operands of one tensor: the later one, and the one before it."""


class OperandCost(NamedTuple):
    """What one operand costs.

    Args:
        operand: of `OPERANDS`. shape: of the tensor.
        elementwise, reductions, transform, random_bits: as the module says.
        bytes_read, bytes_written: of the pass that quantizes it.
        shared: whether another product's operand serves, so that nothing is counted.
    """

    operand: str
    shape: tuple[int, int]
    elementwise: float = 0.0
    reductions: float = 0.0
    transform: float = 0.0
    random_bits: float = 0.0
    bytes_read: float = 0.0
    bytes_written: float = 0.0
    shared: bool = False

    @property
    def operations(self) -> float:
        """All operations, random bits aside."""
        return self.elementwise + self.reductions + self.transform


def operand_cost(recipe: Recipe, index: int, specs: list[Operand], sizes: dict[str, int], dtype: str) -> OperandCost:
    """What quantizing operand `index` of `OPERANDS` costs.

    Args:
        specs: all six. sizes: m, k and n of the forward product. dtype: of a source that is not quantized.
    """
    name, spec = OPERANDS[index], specs[index]
    rows, columns = (sizes[axis] for axis in _SHAPES[name[-1]])
    of: Quantizer = getattr(recipe, name)
    estimator, inverse = _estimator(recipe, index, specs)
    count = float(rows * columns)
    if not spec.fmt:
        return OperandCost(name, (rows, columns))
    first = _FIRST.get(name)
    if first is not None and _serves(getattr(recipe, first), of, specs[OPERANDS.index(first)]):
        return OperandCost(name, (rows, columns), shared=True)
    stored = _stored(spec, (rows, columns))
    blocks = _blocks(spec, (rows, columns))
    elementwise, reductions, tries = _scaling(spec, count, blocks)
    elementwise += count * (2 * tries if blocks else 1) + 2 * blocks + estimator * count
    random = float(_random_bits(of.rounding) * count + _random_bits(of.scale_rounding) * blocks)
    random += 32 * blocks if spec.scaling[0] == "eden" else 0
    size = transform_size(spec.transform)
    if spec.transform.startswith("rht"):
        elementwise, random = elementwise + count, random + size
    elementwise += count if _random_bits(of.rounding) else 0
    elementwise += count * ((spec.prescale != 1.0) + 2 * bool(spec.outliers))
    source = specs[OPERANDS.index(_FIRST[name])] if spec.quantized and name in _FIRST else None
    read = _stored(source, (rows, columns)).total if source is not None and source.fmt else _bits(dtype, count)
    transform = count * log2(size) * (1 + inverse)
    return OperandCost(
        name, (rows, columns), elementwise, reductions, transform, random, read * _passes(spec) / 8, stored.total / 8
    )


def _scaling(spec: Operand, count: float, blocks: float) -> tuple[float, float, int]:
    """Operations beyond rounding, reductions, and how many scales are tried."""
    fmt: Any = any_format(spec.fmt)
    if isinstance(fmt, ComplexFormat):
        return 0.0, count * fmt.stages, fmt.stages
    name, tries = spec.scaling[0], 1
    elementwise = reductions = 0.0
    if name in ("format", "delayed", "std", "eden") and isinstance(fmt, ScaledFormat) and fmt.dynamic:
        tries = max(len(fmt.rule.search), 1)
        reductions = count * (2 if fmt.zero_point or name == "std" else 3 if name == "eden" else 1)
        reductions += count * tries if tries > 1 else 0.0
        elementwise = count * tries if tries > 1 else 0.0
        reductions += blocks if fmt.outer else 0.0
    if name == "learned":
        reductions = count  # of its gradient
    return elementwise, reductions + (count if spec.outliers else 0.0), tries


def _estimator(recipe: Recipe, index: int, specs: list[Operand]) -> tuple[float, bool]:
    """Operations an element of the gradient of a forward operand, and whether it is transformed back."""
    spec = specs[index]
    if index > 1 or not spec.fmt:
        return 0.0, False
    name = spec.gradient[0]
    if name == "default":
        name = "identity" if spec.follows and spec.scaling[0] not in ("std", "learned") else "clip"
    taken = specs[3 if index else 5].quantized
    scale = {1: "absmax", 2: "absmax_full"}.get(spec.through_scale, "identity")
    operations = ESTIMATORS[name] if name == scale else ESTIMATORS[name] + ESTIMATORS[scale]
    return operations, bool(spec.transform) and (taken or name != "identity")


def _serves(first: Quantizer, second: Quantizer, spec: Operand) -> bool:
    """Whether what one quantizer made of a tensor is what the other would make of it, along another axis."""
    if (first.fmt, first.rounding, first.scaling, first.prescale, first.outliers, first.transform) != (
        (second.fmt, second.rounding, second.scaling, second.prescale, second.outliers, second.transform)
    ):
        return False
    fmt: Any = any_format(first.fmt or "binary32")
    blocks = fmt.blocks if isinstance(fmt, ScaledFormat | ComplexFormat) else TENSOR
    square = blocks == TENSOR or (len(blocks.sizes) == 2 and len(set(blocks.sizes)) == 1)
    return square and not first.stochastic and not first.transform and second.source == "original" and bool(spec.fmt)


def effective(specs: list[Operand], index: int) -> Operand:
    """The operand whose values enter a product: the forward one where a backward one takes what that made."""
    spec = specs[index]
    if spec.fmt or not spec.quantized or OPERANDS[index] not in _FIRST:
        return spec
    return specs[OPERANDS.index(_FIRST[OPERANDS[index]])]


def _blocks(spec: Operand, shape: tuple[int, int]) -> float:
    """Scales of all levels."""
    fmt: Any = any_format(spec.fmt)
    if isinstance(fmt, ComplexFormat):
        return 2.0 * fmt.stages
    bits = _stored(spec, shape).scales
    return bits / fmt.scale.bits if isinstance(fmt, ScaledFormat) else 0.0


def _stored(spec: Operand, shape: tuple[int, int]) -> StoredBits:
    return stored_bits(spec.fmt, shape, spec.along or None, matrix=True)


def _bits(dtype: str, count: float) -> float:
    return any_format(dtype).bits * count


def _passes(spec: Operand) -> int:
    """How often the source is read: once more where a statistic of the whole tensor comes first."""
    fmt: Any = any_format(spec.fmt)
    whole = isinstance(fmt, ComplexFormat) or spec.scaling[0] == "eden"
    if isinstance(fmt, ScaledFormat) and spec.scaling[0] == "format" and fmt.dynamic:
        whole = fmt.blocks == TENSOR or (fmt.outer is not None and fmt.outer.blocks == TENSOR)
    return 1 + whole + bool(spec.outliers)


def _random_bits(mode: str | None) -> int:
    """Random bits of a rounding; 0 of one that draws none."""
    if mode is None or not mode.startswith("stochastic"):
        return 0
    return named_rounding(mode).bits or 32
