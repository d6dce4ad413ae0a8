"""What rounding does to every operand of every product of a step, in the compiled program of a grid.

A product hands its result on through a function with a derivative of its own, which sees the operands and E, and
returns statistics as the cotangent of an array of zeros: so they leave any jit, loop or checkpoint. Training itself
runs another program, which stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.quantize import scales
from ...emulate.scaled_tables import TracedScaled
from ...emulate.views import view_of
from ...formats.catalogue import format as any_format
from ..functions import jax_canonical as canonical
from ..functions.jax_evaluation import Equation, Evaluation, Traced
from ..functions.jax_rewriting import Rewriting, call_number, form_of, product_seed
from ..functions.jax_rules import KEPT, Row
from ..functions.jax_sites import Product
from ..functions.jax_wrapping import Quantized, program_of
from ..probes.jax_space import SPACE
from ..probes.statistics import finished
from ..probes.sums import grid_of, limits_of, sums_of
from ..products.jax_multiply import padded
from ..products.jax_operands import OperandData, Spec, quantized, rotated
from ..products.operand_values import stream_of
from ..recipes.operands import Operand
from ..recipes.plan import KindPlan, Plan, plan_of
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import Rule
from ..tasks.task import Task
from .jax_recipes import Group

NUMBERS = ("sqnr_db", "saturated_percent", "underflow_percent")
"""Of each operand, as in `TensorStatistics`; means over the turns of a loop."""
_TAPS, _LIMITS = "taps", "limits"
"""What travels among formats, whose names have a colon or are those of recipes."""


class Place(NamedTuple):
    """Where the random words of a product come from, and what is data of its operands."""

    seed: Any
    step: Any
    call: Any
    formats: tuple[OperandData | None, ...]
    limits: Any


def limits_for(group: Group, rules: Sequence[tuple[Rule, ...]]) -> dict[str, np.ndarray]:
    """(runs, 6, 2) float32 by the name of the program's recipe: what lies outside of them an element's format cuts off.

    NaN where a format has no such limits.
    """
    found = {}
    for k, rule in enumerate(group.rules):
        operands = [[getattr(each[k].recipe, name) for name in OPERANDS] for each in rules]
        pairs = [[_limits(of.fmt) for of in each] for each in operands]
        found[rule.recipe.name] = np.array(pairs, np.float32)
    return found


def _limits(name: str | None) -> tuple[float, float]:
    found = None if name is None else limits_of(any_format(name))
    return (np.nan, np.nan) if found is None else found


class OperandProbes:
    """The statistics of operands of a program, as a function that may be traced; {} where nothing is quantized."""

    def __init__(self, task: Task, group: Group) -> None:
        self._quantized = Quantized(task.loss, group.rules, (0,)) if group.rewrites else None

    def __call__(
        self, parameters: Any, scales: Any, batch: Any, words: Any, member: Any, limits: Any, step: Any, factor: Any
    ) -> dict[str, Any]:
        """() float32 by name: 'LAYER.OPERAND.NUMBER', such as 'layers.0.dgrad_e.underflow_percent'.

        Args:
            limits: of this run, see `limits_for`. factor: of the loss.
        """
        if self._quantized is None:
            return {}
        args = (parameters, batch, words)
        program = program_of(self._quantized, args, {})
        rows = {row.product.site: row for row in program.rows if row.recipe is not None}
        watched = [row for row in rows.values() if _watched(row)]
        run = Evaluation(
            {site: row.product for site, row in rows.items()},
            {site: row.slot for site, row in rows.items()},
            program.survey.rules,
            Tapping(Rewriting(rows)),
        )

        def loss(taps: dict[str, Any]) -> Any:
            formats = {**member.formats, _TAPS: taps, _LIMITS: limits}
            traced = Traced(member.seed, step.astype(jnp.uint32), (), scales, formats)
            return run.closed(program.closed, jax.tree.leaves(args), traced, ())[0] * factor

        nothing = jnp.zeros((len(OPERANDS), len(NUMBERS) + 1), jnp.float32)
        found = jax.grad(loss)({row.slot: nothing for row in watched})
        return {
            f"{row.slot}.{OPERANDS[k]}.{number}": found[row.slot][k, i] / found[row.slot][k, -1]
            for row in watched
            for k in _shown(row)
            for i, number in enumerate(NUMBERS)
        }


def _watched(row: Row) -> bool:
    recipe = row.recipe
    return recipe is not None and row.product.part == "forward" and not recipe.schedule and not recipe.is_complex


def _shown(row: Row) -> list[int]:
    """The operands of a product that are quantized by scales of their own; of convolutions the forward ones."""
    recipe = row.recipe or Recipe()
    count = 2 if row.product.kind == "convolution" else len(OPERANDS)
    operands = [getattr(recipe, name) for name in OPERANDS[:count]]
    return [k for k, of in enumerate(operands) if of.active and of.scaling.name not in KEPT]


@dataclass(frozen=True, slots=True)
class Tapping:
    """Computes products as training does, and has their operands looked at."""

    inner: Rewriting

    def __call__(self, traced: Traced, product: Product, equation: Equation, operands: list[Any]) -> jax.Array:
        """See `Rewriting`."""
        found = self.inner(traced, product, equation, operands)
        row = self.inner.rows[product.site]
        shared: dict[str, Any] = traced.formats
        if row.recipe is None or row.slot not in shared[_TAPS]:
            return found
        lhs, rhs = canonical.widened(operands, equation.params["preferred_element_type"])
        form, plan = form_of(product, equation.params, lhs, rhs), plan_of(row.recipe)
        kind = KindPlan(*getattr(Plan(*plan), form.kind[0]))
        call = call_number(product, traced) if Plan(*plan).random else jnp.uint32(0)
        data = shared.get(row.recipe.name, (None,) * len(OPERANDS))
        seed = product_seed(product, traced, plan, operands)
        place = Place(seed, traced.step, call, data, shared[_LIMITS][row.recipe.name])
        a, b = padded(form.a, form.b, form.kind, kind.whole)
        outputs = 0 if form.kind[0] == "linear" else -1
        shape, whole = ((*x.shape[:-1], y.shape[outputs]) for x, y in ((form.a, form.b), (a, b)))
        padding = [(0, large - small) for large, small in zip(whole, shape)]

        def canonical_of(e: jax.Array) -> jax.Array | None:
            if form.kind[0] == "convolution":
                return None
            (own,) = jax.linear_transpose(form.back, jax.ShapeDtypeStruct(shape, e.dtype))(e)
            return jnp.pad(own, padding)

        @jax.custom_vjp
        def tapped(y: Any, a: Any, b: Any, place: Place, tap: Any) -> Any:
            return y

        def forward(y: Any, a: Any, b: Any, place: Place, tap: Any) -> Any:
            return y, (a, b, place)

        def backward(kept: Any, e: Any) -> Any:
            a, b, place = kept
            found = _measured(a, b, canonical_of(e), kind.specs, _shown(row), place)
            return e, jnp.zeros_like(a), jnp.zeros_like(b), None, found

        tapped.defvjp(forward, backward)
        return tapped(found, a, b, place, shared[_TAPS][row.slot])


def _measured(a: Any, b: Any, e: Any, specs: Sequence[Spec], shown: Sequence[int], place: Place) -> Any:
    """(6, 4) statistics of the operands, and 1 where there are any."""
    values = [_quantized(t, specs[k], k, place) for k, t in enumerate((a, b))]
    taken = {3: 1, 5: 0}
    nothing = jnp.zeros(len(NUMBERS) + 1, jnp.float32)
    found = []
    for k, spec in enumerate(specs):
        if k not in shown:
            found.append(nothing)
            continue
        source = e if k in (2, 4) else (a, b)[taken.get(k, k)]
        if k in taken and Operand(*spec).quantized:
            source = values[taken[k]][1]
        turned, rounded = values[k] if k < 2 else _quantized(source, spec, k, place)
        found.append(jnp.stack([*_numbers(turned, rounded, spec, k, place), jnp.float32(1)]))
    return jnp.stack(found)


def _quantized(t: Any, spec: Spec, k: int, place: Place) -> tuple[Any, Any]:
    """An operand after its transform, and what its product takes."""
    data = place.formats[k]
    turned = rotated(t, spec, place.seed, place.step, data=data)
    if Operand(*spec).scaling[0] in KEPT:
        return turned, turned
    return turned, quantized(turned, spec, place.seed, place.step, None, place.call, data)[0]


def _numbers(t: Any, values: Any, spec: Spec, k: int, place: Place) -> list[Any]:
    """`NUMBERS` of an operand."""
    of, data = Operand(*spec), place.formats[k]
    axis = of.along or None
    if data is None:
        fmt: Any = any_format(of.fmt)
        random = {"seed": place.seed, "step": place.step, "stream": stream_of(of, place.call)}
        grid = grid_of(SPACE, t, fmt, axis, None, of.scale_rounding or None, random)
        found = finished(SPACE, sums_of(SPACE, t, values / of.prescale, fmt, grid))
        return [getattr(found, name).astype(jnp.float32) for name in NUMBERS]
    found = finished(SPACE, sums_of(SPACE, t, values, None, None))
    saturated = 100 * _beyond(t, data.fmt, of, place.limits[k]) / t.size
    return [found.sqnr_db, saturated, found.underflow_percent]


def _split(view: Any, t: Any) -> Any:
    """See `View.split`, which needs no more than `pad` of a space."""
    return view.split(SPACE, t)


def _beyond(t: Any, given: Any, of: Operand, limits: Any) -> Any:
    """How many elements a format that is data cuts off."""
    parts, unit = t, jnp.float32(1)
    if isinstance(given, TracedScaled):
        fmt: Any = given
        if fmt.structure.zero_point:
            return jnp.float32(0)  # the range of a block is mapped to all codes
        blocks = fmt.structure.blocks.along(of.along) if of.along else fmt.structure.blocks
        view = view_of(blocks, tuple(t.shape), True, "the traced format")
        decode = scales(t, fmt, axis=of.along or None, pad=True).decode
        parts, unit = _split(view, t), view.spread(decode)
    outside = jnp.count_nonzero(parts > unit * limits[1]) + jnp.count_nonzero(parts < unit * limits[0])
    return jnp.where(jnp.isnan(limits[0]), jnp.nan, outside.astype(jnp.float32))
