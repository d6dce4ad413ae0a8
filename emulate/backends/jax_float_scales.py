"""Elements of scaled formats by float products and quotients, where no number comes near the ends of the range.

Each is the same single IEEE operation as in the portable kernels, which compute it in integers and take twice as
long. XLA flushes subnormals, so that the floats serve only where every scale lies so far inside the range that what
is flushed would round to zero all the same: to nearest, towards zero, and at random, where numbers below 2**-32 of
the smallest element never round away from zero. `lax.cond` decides for an array as a whole.

Under `vmap` a condition becomes a choice between two results, so that members of a map keep to the integers.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from ...formats.rounding import STOCHASTIC, Rounding
from ..arithmetic import narrow
from ..kernels import round_to_grid
from ..layouts import FLOAT32, Layout
from ..scaled_kernels import Rounding as Words
from ..scaled_plan import ScaledPlan
from ..scaled_tables import ScaledTable
from ..scales import BlockScales, Work
from ..statistics import one
from ..tables import Grid, TracedRounding
from .jax_integers import JaxIntegers

_MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
_LOWEST, _HIGHEST = -90, 100
"""Powers of two between which scales, the smallest element, and the smallest and largest values of a block lie."""


def applies(plan: ScaledPlan) -> bool:
    """Whether the structure and the roundings of a plan allow floats; the data may not."""
    structure, rounding = plan.structure, plan.rounding
    exact = plan.target is FLOAT32 or (structure.shifts and plan.target.width == 16)
    known = plan.layout is FLOAT32 and exact and isinstance(plan.table.element, Grid) and plan.overflow == "saturate"
    return known and not structure.zero_point and not structure.micro and _keeps(rounding)


def _keeps(rounding: Rounding | TracedRounding) -> bool:
    return rounding.name in _MODES or rounding == STOCHASTIC


def inside(work: Work, table: ScaledTable, scales: BlockScales) -> jax.Array:
    """Whether every block that is neither zero nor bad lies well inside the range."""
    m, bias = work.layout.mantissa_bits, work.layout.bias
    element: Any = table.element
    field = scales.decode >> m
    largest = jnp.maximum(element.max_positive, element.max_negative) >> m
    lowest = field + (element.quantum_field - 2 * bias) >= _LOWEST
    highest = field + (largest - 2 * bias) <= _HIGHEST
    known = (field >= bias + _LOWEST) & (field <= bias + _HIGHEST) & (element.quantum_field >= bias + _LOWEST)
    return jnp.all(scales.zero | scales.bad | (lowest & highest & known))


def values(
    xp: JaxIntegers, work: Work, target: Layout, table: ScaledTable, bits: jax.Array, scales: BlockScales, how: Words
) -> jax.Array:
    """Target bits of the values, over the split array; where `inside` holds."""
    layout, view = work.layout, work.view
    x, element = xp.floats(bits), table.element
    decode = xp.where(scales.bad, layout.nan, xp.where(scales.zero, 0, scales.decode))

    def wide(a: Any) -> jax.Array:
        return view.spread(lax.optimization_barrier(xp.floats(a)))

    if work.structure.shifts:
        inverse = (2 * layout.bias << layout.mantissa_bits) - xp.where(scales.zero, one(layout), scales.decode)
        t = x * wide(inverse)
    elif work.structure.encode == "reciprocal":
        t = x * wide(scales.encode)
    else:  # a barrier behind the broadcast keeps XLA from dividing once a block and multiplying
        divisor = wide(xp.where(scales.zero, layout.infinity, scales.encode))
        t = x / lax.optimization_barrier(jnp.broadcast_to(divisor, x.shape))
    q = round_to_grid(xp, layout, element, xp.bits(t), how.mode, "saturate", how.words)  # pyright: ignore
    found = xp.bits(xp.floats(q) * wide(decode))
    return found if target is layout else narrow(xp, layout, target, found)


@lru_cache(maxsize=1024)
def chosen(fast: Callable, slow: Callable, test: Callable) -> Callable:
    """fast(*arguments) where test(*arguments) holds, else slow(*arguments); members of a map take the latter."""

    @custom_vmap
    def choose(*arguments):
        return lax.cond(test(*arguments), fast, slow, *arguments)

    @choose.def_vmap
    def _(axis_size, batched, *arguments):
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, batched)
        return jax.vmap(slow, in_axes=tuple(axes), axis_size=axis_size)(*arguments), True

    return choose
