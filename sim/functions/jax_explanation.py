"""What rules would do to a function of JAX arrays, as a table."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import pandas as pd

from ..costs.cost import weight_bits
from ..recipes.operands import Operand, operands_of
from .jax_rules import Row
from .jax_wrapping import Quantized, program_of

COLUMNS = ("kind", "part", "parameter", "scope", "shapes", "turns", "recipe", "weight", "bits", "note")


class Explanation(pd.DataFrame):
    """A DataFrame whose text shows all rows, and how many of them are quantized."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __str__(self) -> str:
        count = sum(bool(name) for name in self["recipe"].tolist())
        shown = self.to_string(float_format=lambda value: f"{value:.4g}", max_colwidth=60)
        return f"{shown}\n{count} of {len(self)} products are quantized"

    __repr__ = __str__


def explain(
    fn: Callable[..., Any], given: Any, args: Sequence[Any], kwargs: Mapping[str, Any], params: Any
) -> Explanation:
    """See `wrapping.explain`."""
    rows = program_of(Quantized(fn, given, params), tuple(args), dict(kwargs)).rows
    found = Explanation([_record(row) for row in rows], index=[row.slot for row in rows], columns=list(COLUMNS))
    found.index.name = "product"
    return found


def _record(row: Row) -> tuple[Any, ...]:
    product, recipe = row.product, row.recipe
    shapes = " x ".join("(" + ", ".join(map(str, shape)) + ")" for shape in product.shapes)
    turns = float("nan") if 0 in product.loops else prod(product.loops)
    path = ".".join(product.path.keys) or product.path.argument if product.path else ""
    fmt, bits = None, float("nan")
    if recipe is not None and product.part == "forward":
        fmt = recipe.fprop_w.fmt
        along = Operand(*operands_of(recipe, product.kind)[1]).along
        bits = float("nan") if fmt is None else weight_bits(fmt, product.second, along)
    name = "" if recipe is None else recipe.name
    return (
        product.kind, product.part, path, str(product.scope), shapes, turns, name, fmt or "", bits, row.note
    )  # fmt: skip
