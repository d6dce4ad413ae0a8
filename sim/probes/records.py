"""What a probe keeps: sums by step, layer and tensor, which become rows of a table. No framework here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.suggest import unknown
from ..recipes.operands import Operand, operands_of
from ..recipes.published import RECIPES
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe
from .spaces import NUMPY
from .statistics import finished, finished_gradient, root_mean_square
from .sums import BINS, LOWEST, GradientSums, Sums

RESULTS = ("output", "input_gradient", "weight_gradient")
"""What the three products of a layer give."""
TENSORS = tuple(name for k, result in enumerate(RESULTS) for name in (*OPERANDS[2 * k : 2 * k + 2], result))
"""What can be recorded, by product."""
IDENTITY = ("step", "layer", "product", "tensor", "format", "recipe", "in_use", "training")
NUMBERS = (
    "sqnr_db", "saturated_percent", "underflow_percent", "zeros_percent", "amax", "rms",
    "scale_min", "scale_median", "scale_max", "gradient_to_noise", "gradient_cosine",
)  # fmt: skip
COLUMNS = (*IDENTITY, "calls", *NUMBERS, "scale_counts", "note")
"""The columns of the table."""


class Key(NamedTuple):
    """What sums belong to: the columns that identify a row."""

    step: int
    layer: str
    product: str
    tensor: str
    format: str
    recipe: str
    in_use: bool
    training: bool


@dataclass(slots=True)
class Pool:
    """The sums of all calls of one tensor in one step."""

    calls: int = 0
    sums: Sums | None = None
    gradient: GradientSums | None = None
    note: str = ""


@dataclass(slots=True)
class Ledger:
    """All that was recorded; numbers and short texts only.

    Args:
        pools: by what they belong to.
        places: (layer, product) in the order in which they were called first.
    """

    pools: dict[Key, Pool] = field(default_factory=dict)
    places: dict[tuple[str, str], int] = field(default_factory=dict)

    def called(self, layer: str, product: str) -> None:
        """Remember the place of a product among all."""
        self.places.setdefault((layer, product), len(self.places))

    def add(self, key: Key, found: Sums | GradientSums | None, note: str = "") -> None:
        """Add the sums of one call, or a note about what could not be found."""
        pool = self.pools.setdefault(key, Pool())
        if isinstance(found, GradientSums):
            pool.gradient = _together(pool.gradient, found)
        elif found is not None:
            pool.sums = _added(pool.sums, found)
        pool.calls += found is not None
        if note and note not in pool.note:
            pool.note = "; ".join(part for part in (pool.note, note) if part)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table: by step, in the order of calls, and of `TENSORS`."""
        return [_row(key, self.pools[key]) for key in sorted(self.pools, key=self._order)]

    def _order(self, key: Key) -> tuple[int, int, int]:
        return key.step, self.places.get((key.layer, key.product), len(self.places)), TENSORS.index(key.tensor)


def _units(squares: float, power: int) -> float:
    """A sum of squares in units of 1, in float64."""
    return float(squares) * 4.0 ** float(power)


def _added(pool: Sums | None, new: Sums) -> Sums:
    """Two sums as one, in units of 1."""
    one = Sums(0, np.int32(0), 0.0, 0.0, 0.0, 0, 0, 0.0, None) if pool is None else pool
    blocks = None if new.blocks is None else np.asarray(new.blocks, np.int64)
    return Sums(
        one.count + int(new.count),
        np.int32(0),
        np.float64(one.signal + _units(new.signal, new.power)),
        np.float64(one.noise + _units(new.noise, new.power)),
        np.float64(one.saturated + new.saturated),
        one.underflow + int(new.underflow),
        one.zeros + int(new.zeros),
        np.maximum(one.amax, np.float64(new.amax)),
        one.blocks if blocks is None else blocks if one.blocks is None else one.blocks + blocks,
    )


def _together(pool: GradientSums | None, new: GradientSums) -> GradientSums:
    one = GradientSums(0, 0.0, np.int32(0), 0.0, 0.0, 0.0, 0.0) if pool is None else pool
    squares = [np.float64(a + _units(b, new.power)) for a, b in zip(one[3:], new[3:])]
    amax = np.maximum(one.amax, np.float64(new.amax))
    return GradientSums(one.count + int(new.count), amax, np.int32(0), *squares)


def _row(key: Key, pool: Pool) -> dict[str, Any]:
    row: dict[str, Any] = {**key._asdict(), "calls": pool.calls, **dict.fromkeys(NUMBERS, float("nan"))}
    counts: list[int] = []
    with np.errstate(invalid="ignore"):
        if pool.sums is not None:
            found = finished(NUMPY, pool.sums)
            row |= {name: float(value) for name, value in found._asdict().items() if name in NUMBERS}
            counts = _trimmed(found.scale_counts)
        if pool.gradient is not None:
            of = pool.gradient
            found = {name: float(value) for name, value in finished_gradient(NUMPY, of)._asdict().items()}
            row |= found if key.tensor != "output" else {"sqnr_db": found["sqnr_db"]}
            row |= {"amax": float(of.amax), "rms": float(root_mean_square(NUMPY, of.reference, of.count, of.power))}
    return {name: {**row, "scale_counts": counts, "note": pool.note}[name] for name in COLUMNS}


def _trimmed(counts: Any) -> list[int]:
    """Counts from the smallest exponent that occurs to the largest."""
    hits = np.flatnonzero(counts)
    return [int(n) for n in counts[hits[0] : hits[-1] + 1]] if len(hits) else []


def exponents_of(row: Any) -> list[int]:
    """The exponents that `scale_counts` of a row counts."""
    first = int(row["scale_min"]) if row["scale_counts"] else LOWEST
    return list(range(first, min(first + len(row["scale_counts"]), LOWEST + BINS)))


def label_of(of: Operand) -> str:
    """An operand's format and what else is not at its default, in a few words."""
    scaling, prescale = of.scaling[0], "" if of.prescale == 1 else f"x{of.prescale:g}"
    scales = f"scales {of.scale_rounding}" if of.scale_rounding else ""
    outliers = f"outliers {of.outliers:g}" if of.outliers else ""
    parts = (of.fmt, of.rounding, of.overflow, scales, "" if scaling == "format" else scaling, of.transform)
    return " ".join(part for part in (*parts, prescale, outliers) if part)


def what_ifs(given: Any) -> tuple[Recipe, ...]:
    """The recipes of formats, quantizers and recipes that are not in use.

    Raises:
        ValueError: an unknown format, a complex one, or scales that are kept from step to step.
        TypeError: none of these.
    """
    entries = [given] if isinstance(given, str | Quantizer | Recipe) or not isinstance(given, Sequence) else given
    return tuple(_what_if(each) for each in entries)


def _what_if(given: Any) -> Recipe:
    if isinstance(given, Recipe):
        later = tuple((step, each.with_(pad=True)) for step, each in given.schedule)
        found = given.with_(pad=True, schedule=later)
    else:
        quantizer = given if isinstance(given, Quantizer) else Quantizer(_format(given))
        found = Recipe("", **dict.fromkeys(OPERANDS, quantizer), pad=True)
    recipes = (found, *(each for _, each in found.schedule))
    for of in (getattr(each, name) for each in recipes for name in OPERANDS):
        if of.scaling.name in ("delayed", "learned"):
            raise ValueError(
                f"what_if: {found.name or of.fmt} keeps {of.scaling.name} scales from step to step, which only formats "
                "in use do; leave it out, or quantize the model with it"
            )
        if of.active and isinstance(any_format(of.fmt), ComplexFormat):
            raise ValueError(f"what_if: {of.fmt} is a format of complex numbers; leave it out")
    operands_of(found, "linear")
    return found


def _format(given: Any) -> str:
    """The name of a format, checked."""
    try:
        any_format(given)
    except ValueError as error:
        if given in RECIPES:
            raise ValueError(f"what_if: {given!r} is a recipe; write hu.recipe({given!r})") from error
        raise ValueError(f"what_if: {error}") from error
    except TypeError as error:
        raise TypeError(f"what_if: expected names of formats, quantizers or recipes, got {given!r}") from error
    return given


def tensors_of(given: Any) -> frozenset[str]:
    """Names of what to record, checked; None for all."""
    names = TENSORS if given is None else (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in TENSORS:
            raise ValueError(unknown("tensor", str(name), TENSORS))
    if not names:
        raise ValueError(f"tensors: expected one or more of {', '.join(TENSORS)}, got none; leave it out for all")
    return frozenset(names)
