"""Recipes as data, so that one compiled program trains a grid of formats and roundings.

What shapes the computation of a recipe is its `structure`; formats, roundings, whether tensors are scaled and whether
operands are transformed are numbers, which JAX traces and maps over. An unscaled format is one with a scale for the
tensor whose largest magnitude is given, so that the scale is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.backends.jax_float_scales import Near, near_of
from ...emulate.layouts import FLOAT32, fits
from ...emulate.scaled_plan import work_layout
from ...emulate.scaled_tables import Structure, TracedScaled, structure_of, takes_amax
from ...emulate.traced import format_data, rounding_data
from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.exact import default_overflow
from ...formats.listing import is_listed
from ...formats.registry import Format
from ...formats.rounding import rounding as named_rounding
from ...formats.scaled import ScaledFormat
from ...formats.scaled_registry import scaled
from ..products.jax_operands import OperandData
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe

_STRAIGHT = ("default", "identity", "clip")


@dataclass(frozen=True, slots=True)
class Shape:
    """What shapes the computation of an operand that is data otherwise.

    Args:
        structure: of its format; None of wide unscaled ones, which overflow to infinity.
        listed: whether elements are a list of values.
        scale_rounding, source: as in `Quantizer`.
    """

    structure: Structure | None
    listed: bool
    scale_rounding: str | None
    source: str


def shape_of(recipe: Recipe) -> tuple[Any, ...] | None:
    """What shapes the computation of a recipe; None where all of it does, so that it has a program of its own."""
    if recipe.schedule or recipe.accumulator or recipe.bias or recipe.output or recipe.is_complex:
        return None
    found = []
    for name in OPERANDS:
        shape = _operand_shape(getattr(recipe, name))
        if shape is None:
            return None
        found.append(shape)
    return (tuple(found), recipe.pad, recipe.after_step, recipe.master, recipe.optimizer_state)


def _operand_shape(of: Quantizer) -> Any:
    """The shape of an operand: its source where it has no format, None where it is no data."""
    if of.fmt is None:
        return of.source
    plain = of.scaling.name == "format" and of.prescale == 1 and not of.outliers and of.overflow is None
    fmt = _as_data(of.fmt)
    if not plain or fmt is None or of.gradient.name not in _STRAIGHT or not _in_float32(fmt):
        return None
    if not isinstance(fmt, ScaledFormat):
        return Shape(None, is_listed(fmt), of.scale_rounding, of.source)
    return Shape(structure_of(fmt), is_listed(fmt.element), of.scale_rounding, of.source)


def _in_float32(fmt: Any) -> bool:
    """Whether float32, in which tasks train, is wide enough; tables of formats in float64 do not mix with others."""
    return work_layout(fmt, FLOAT32) is FLOAT32 if isinstance(fmt, ScaledFormat) else fits(fmt, FLOAT32)


def _as_data(name: str) -> Any:
    """The format as it is stacked: with a scale for the tensor, which will be 1, where it saturates and has none.

    None where it is no data: complex formats, stacks, codebooks by channel.
    """
    fmt: Any = any_format(name)
    if isinstance(fmt, ScaledFormat):
        return replace(fmt, rounding="nearest_even")  # its own is data; see `_rounding_of`
    if not isinstance(fmt, Format) or isinstance(fmt, ComplexFormat):
        return None
    return scaled(fmt, block="tensor") if default_overflow(fmt) == "saturate" else fmt


def transforms_of(recipe: Recipe) -> tuple[str | None, ...]:
    """The transform of each operand."""
    return tuple(getattr(recipe, name).transform for name in OPERANDS)


def merged(recipes: Sequence[Recipe]) -> Recipe:
    """The recipe that a program of recipes of one shape is made for: with every transform and random word of theirs.

    Raises:
        ValueError: recipes of several shapes, or an operand with two transforms.
    """
    if len({repr(shape_of(each)) for each in recipes}) != 1:
        raise ValueError("recipes of several shapes do not share a program")
    found = {}
    for name in OPERANDS:
        each: list[Quantizer] = [getattr(recipe, name) for recipe in recipes]
        if not each[0].active:
            continue
        transforms = {of.transform for of in each} - {None}
        if len(transforms) > 1:
            raise ValueError(
                f"{name}: expected one transform in a program, got {', '.join(sorted(map(str, transforms)))}"
            )
        random = any(_random(of) for of in each)
        found[name] = replace(
            each[0], transform=transforms.pop() if transforms else None, rounding="stochastic" if random else None
        )  # fmt: skip
    return replace(recipes[0], name="grid", **found)


def _random(of: Quantizer) -> bool:
    return named_rounding(of.rounding or _rounding_of(of.fmt)).stochastic


def _rounding_of(name: str | None) -> str:
    fmt: Any = any_format(name or "binary32")
    return fmt.rounding if isinstance(fmt, ScaledFormat) else "nearest_even"


def data_of(recipes: Sequence[Recipe], program: Sequence[Recipe]) -> tuple[OperandData | None, ...]:
    """The six operands of recipes of one shape as data, each with a leading axis of recipes.

    Args:
        recipes: those that are data. program: all that share the program, which decide what there is a choice of.
    """
    found = []
    for name in OPERANDS:
        mine = [getattr(recipe, name) for recipe in recipes]
        everyone = [getattr(recipe, name) for recipe in program]
        found.append(_operand_data(mine, everyone) if mine[0].active else None)
    return tuple(found)


def _operand_data(mine: Sequence[Quantizer], everyone: Sequence[Quantizer]) -> OperandData:
    random = [_random(of) for of in everyone]
    transforms = {of.transform for of in everyone}
    limits = [_limit(of) for of in everyone]
    table = format_data([_as_data(of.fmt or "") for of in mine])
    chosen = [of.rounding or _rounding_of(of.fmt) for of in mine]
    return OperandData(
        _with_given_scales(table, mine),
        None if all(random) else rounding_data([_either(mode, False) for mode in chosen]),
        rounding_data([_either(mode, True) for mode in chosen]) if any(random) else None,
        jnp.asarray([_random(of) for of in mine]) if any(random) and not all(random) else None,
        jnp.asarray([of.transform is not None for of in mine]) if len(transforms) > 1 else None,
        jnp.asarray([_limit(of) for of in mine], jnp.float32) if min(limits) < np.inf else None,
        None if all(random) else _near(mine, everyone, False),
        _near(mine, everyone, True) if any(random) else None,
    )


def _near(mine: Sequence[Quantizer], everyone: Sequence[Quantizer], random: bool) -> Near | None:
    """What the kernel of few steps reads of each, where it serves every recipe of the program."""
    found = [_numbers(of, random) for of in everyone]
    if any(each is None for each in found) or len({each.scales is None for each in found if each}) > 1:
        return None
    return jax.tree.map(lambda *numbers: np.stack(numbers), *(_numbers(of, random) for of in mine))


def _numbers(of: Quantizer, random: bool) -> Near | None:
    fmt: Any = _as_data(of.fmt or "")
    if not isinstance(fmt, ScaledFormat) or work_layout(fmt, FLOAT32) is not FLOAT32:
        return None
    return near_of(fmt, structure_of(fmt), named_rounding(_either(of.rounding or _rounding_of(of.fmt), random)))


def _either(mode: str, random: bool) -> str:
    """A rounding, or one that stands in for it where it is of the other kind."""
    return mode if named_rounding(mode).stochastic == random else "stochastic" if random else "nearest_even"


def _limit(of: Quantizer) -> float:
    """The magnitude up to which gradients pass; infinity where scales follow the data."""
    fmt: Any = any_format(of.fmt or "binary32")
    if of.gradient.name == "identity" or (isinstance(fmt, ScaledFormat) and fmt.dynamic):
        return float("inf")
    element = fmt.element if isinstance(fmt, ScaledFormat) else fmt
    return float(max(element.max, -element.min))


def _with_given_scales(data: Any, operands: Sequence[Quantizer]) -> Any:
    """Formats that are unscaled get the largest magnitude that makes their scale 1."""
    if not isinstance(data, TracedScaled):
        return data
    given = [_given(any_format(of.fmt or "")) for of in operands]
    if all(bits < 0 for bits in given) or not takes_amax(data.structure):
        return data
    integer = np.int64 if data.layout == "float64" else np.int32
    return replace(data, table=data.table._replace(amax=np.array(given, integer)))


def _given(fmt: Any) -> int:
    return -1 if isinstance(fmt, ScaledFormat) else int(np.float32(float(fmt.max)).view(np.int32))
