"""What rules would do to a model, as a table."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from torch import nn

from ..costs.cost import weight_bits
from ..recipes.operands import Operand, operands_of
from ..recipes.rules import rules_of
from .torch_modules import Quantized, QuantizedAround
from .torch_survey import Row, kind_of, projection_of, survey
from .torch_wrapping import inner

COLUMNS = ("type", "recipe", "weight", "bits", "parameters", "bytes_before", "bytes_after", "compression", "note")


class Explanation(pd.DataFrame):
    """A DataFrame whose text shows all rows, and the totals."""

    _metadata = ["totals"]  # noqa: RUF012 (as pandas has it)
    totals: tuple[int, int, float]

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __str__(self) -> str:
        count, before, after = self.totals
        shown = self.to_string(float_format=lambda value: f"{value:.4g}") if len(self) else "no modules"
        ratio = f", {before / after:.3g} times smaller" if after else ""
        return f"{shown}\n{count} parameters, {before} bytes before and {round(after)} after{ratio}"

    __repr__ = __str__


def explain(model: nn.Module, given: Any, filter_fn: Callable[[nn.Module, str], bool] | None = None) -> Explanation:
    """See `wrapping.explain`."""
    rows = survey(inner(model), rules_of(given), filter_fn)
    known: dict[int, str] = {}
    records, total = [], [0, 0, 0.0]
    attentions = {projection_of(row.name): row for row in rows if isinstance(row.module, nn.MultiheadAttention)}
    for row in rows:
        inside = attentions.get(row.name)
        if inside is not None:  # its weight is a factor of the attention's own products
            row = Row(row.name, row.module, inside.recipe, inside.mixin, None, row.note)
        wrapped = row.mixin in (Quantized, QuantizedAround)
        own = list(row.module.parameters(recurse=False))
        if not (own or wrapped):
            continue
        record, fresh = _record(row, own, wrapped, known)
        records.append((row.name, record))
        total = [a + b for a, b in zip(total, fresh)]
    found = Explanation([record for _, record in records], index=[name for name, _ in records], columns=list(COLUMNS))
    found.index.name = "module"
    found.totals = tuple(total)  # pyright: ignore[reportAttributeAccessIssue]
    return found


def _record(row: Row, own: list[Any], wrapped: bool, known: dict[int, str]) -> tuple[tuple[Any, ...], list[Any]]:
    """The columns of a module, and what it adds to the totals: parameters, bytes before and after."""
    fmt = row.recipe.fprop_w.fmt if wrapped and row.mixin is Quantized else None
    along = Operand(*operands_of(row.recipe, kind_of(row.module))[1]).along
    before, after, weights, bits, fresh, tied = 0, 0.0, 0, 0.0, [0, 0, 0.0], []
    for p in own:
        size = p.numel() * p.element_size()
        each = 8.0 * p.element_size()
        if fmt is not None and p.dim() > 1:
            each = weight_bits(fmt, tuple(p.shape), along)
            weights, bits = weights + p.numel(), bits + each * p.numel()
        before, after = before + size, after + each * p.numel() / 8
        if id(p) in known:
            tied.append(known[id(p)])
            continue
        known[id(p)] = row.name or "the model"
        fresh = [a + b for a, b in zip(fresh, (p.numel(), size, each * p.numel() / 8))]
    count = sum(p.numel() for p in own)
    note = "; ".join(part for part in (row.note, f"shares parameters with {tied[0]}" if tied else "") if part)
    name = row.recipe.name if wrapped else ""
    per = bits / weights if weights else 8.0 * before / count if count else float("nan")
    ratio = before / after if after else float("nan")
    record = (type(row.module).__name__, name, fmt or "", per, count, before, round(after), ratio, note)
    return record, fresh
