"""Elementary operations on JAX arrays, each rounded once to a format: the same bits as `rounded.operations`.

XLA flushes subnormals, contracts a * b + c, divides by way of reciprocals and takes x + 0 for x. So an operation is
computed by integers, rounded to odd in float32 where that has two bits more than the format, otherwise in float64
(also where `jax_enable_x64` is off: 64-bit integers then exist inside the operation only), and then to the format.
Where float32 is the carrier and nothing comes near its subnormals, the hardware adds and multiplies: products are
exact there, so that contraction does no harm, and the error of a sum rounds it to odd where the format needs that.

The gradient is straight-through: that of the plain operation, where the result is within the range of the format.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...formats.listing import is_listed, listing
from ...formats.registry import NAMED
from ...formats.suggest import unknown
from .. import arithmetic as ieee
from .. import codebook_kernels, kernels, numbers
from ..layouts import FLOAT32, FLOAT64, LAYOUTS, Layout, fits
from ..plan import Randomness
from ..rounded.context import Arithmetic, extent
from ..tables import Codebook, Grid, Mode, mode_of, tabulate
from . import jax as jax_backend
from .jax_integers import JaxIntegers
from .jax_rounding import Short, rounded, short_of
from .jax_words import Place

PLAIN: dict[str, Callable[..., jax.Array]] = {
    "add": lax.add,
    "subtract": lax.sub,
    "multiply": lax.mul,
    "divide": lax.div,
    "sqrt": lax.sqrt,
    "fma": lambda a, b, c: a * b + c,
}
"""The operations of the hardware, which gradients go by."""
_BY_BITS: dict[str, Callable[..., Any]] = {
    "add": ieee.plus,
    "subtract": ieee.minus,
    "multiply": ieee.times,
    "divide": ieee.over,
    "sqrt": ieee.sqrt,
    "fma": ieee.fma,
}
_BY_HARDWARE = ("add", "subtract", "multiply", "fma")
_KEPT_SIGN = {"add": (), "subtract": (), "fma": (1,)}
"""Sums, and their operands that keep the sign in -(-a - b): a sum of zero is -0 then, as where it is rounded down."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an operation is computed: what one compiled program is for.

    Args:
        name: one of `operations.OPERATIONS`.
        layout: dtype of the result before it is rounded to the format.
        by: 'odd', integers that round it to odd; 'nearest', integers that round it to nearest, which is the result;
            'hardware', to nearest; 'hardware_odd', to odd.
        down: whether sums of zero are -0.
        overflow: of the format; None where its table has it.
        place: of random words; None where there are none.
    """

    name: str
    layout: Layout
    by: str
    down: bool = False
    overflow: str | None = None
    place: Place | None = None


class _Data(NamedTuple):
    """What is run-time data to the program: format, rounding, and (key, start) of random words or None."""

    table: Grid | Codebook
    mode: Mode
    short: Short | None
    noise: tuple[jax.Array, jax.Array] | None


@lru_cache(maxsize=1024)
def require_home(arithmetic: Arithmetic, dtype: str) -> Layout:
    """The dtype of arrays that hold the format's values.

    Raises:
        ValueError: a dtype that does not.
        TypeError: a dtype that holds no numbers of 16, 32 or 64 bits.
    """
    if dtype not in LAYOUTS:
        raise TypeError(f"expected float16, bfloat16, float32 or float64 arrays, got {dtype}; convert with astype")
    if fits(arithmetic.fmt, LAYOUTS[dtype]):
        return LAYOUTS[dtype]
    if fits(arithmetic.fmt, FLOAT32):
        raise ValueError(f"values of {arithmetic.fmt.name} do not fit {dtype} arrays; convert them to float32")
    raise ValueError(
        f"values of {arithmetic.fmt.name} do not fit {dtype} arrays; convert them to float64, which "
        "jax.config.update('jax_enable_x64', True) makes possible"
    )


@lru_cache(maxsize=1024)
def way_of(name: str, arithmetic: Arithmetic) -> Way:
    """How to compute an operation.

    Raises:
        ValueError: an unknown operation.
        TypeError: formats and roundings that take rational arithmetic.
    """
    if name not in _BY_BITS:
        raise ValueError(unknown("operation", name, _BY_BITS))
    of, fused = extent(arithmetic.fmt), name == "fma"
    down = name in _KEPT_SIGN and arithmetic.rounding.name == "down"
    overflow = None if is_listed(arithmetic.fmt) else arithmetic.overflow
    nearest = FLOAT64 if arithmetic.native else FLOAT32 if _is_float32(arithmetic) else None
    if nearest is not None and not fused:
        return Way(name, nearest, "nearest")
    if (arithmetic.carrier is FLOAT32 or _in_float32(arithmetic)) and not (fused and of.precision > 12):
        hardware = arithmetic.carrier is FLOAT32 and name in _BY_HARDWARE
        exact = name == "multiply" or (arithmetic.direct and not fused)
        by = "odd" if not hardware else "hardware" if exact else "hardware_odd"
        return Way(name, FLOAT32, by, down, overflow)
    if arithmetic.rational or not _rational(arithmetic) or (fused and of.precision > 26):
        raise TypeError(
            f"{name} in {arithmetic} takes rational arithmetic, which JAX does not have; use hu.array with NumPy arrays"
        )
    return Way(name, FLOAT64, "odd", down, overflow)


def _is_float32(arithmetic: Arithmetic) -> bool:
    ieee = arithmetic.rounding.name == "nearest_even" and arithmetic.overflow == "special"
    return ieee and arithmetic.fmt == NAMED["binary32"]


def _in_float32(arithmetic: Arithmetic) -> bool:
    """Whether rounding to odd in float32 decides every rounding: two bits more than the format, below it as well.

    What is beyond float32 becomes its largest or smallest number, on the right side of every value and tie. Not so
    for wrapped integers; and stochastic rounding has 64 random bits where float64 is the carrier.
    """
    of, fmt = extent(arithmetic.fmt), arithmetic.fmt
    bits = FLOAT32.mantissa_bits + 1
    enough = of.precision + 2 <= bits and of.quantum >= FLOAT32.quantum_exponent + 2 and fits(fmt, FLOAT32)
    return enough and _rational(arithmetic) and arithmetic.overflow != "wrap" and not arithmetic.rounding.stochastic


def _rational(arithmetic: Arithmetic) -> bool:
    fmt: Any = arithmetic.fmt
    return not is_listed(fmt) or listing(fmt).rational


def wide(layout: Layout) -> AbstractContextManager[Any]:
    """Where 64-bit integers exist, if the dtype needs them."""
    needed = layout.width == 64 and jax.dtypes.canonicalize_dtype(np.float64) != np.float64
    return jax.enable_x64(True) if needed else nullcontext()


def operate(
    name: str, arithmetic: Arithmetic, operands: Sequence[jax.Array], randomness: Randomness | None = None
) -> jax.Array:
    """The operation of values of a format, rounded once to it.

    Args:
        name: add, subtract, multiply, divide, sqrt or fma.
        operands: arrays of one float dtype that broadcast; values of the format.
        randomness: of stochastic rounding; random words go by the row-major index in the result.

    Returns:
        Values of the format in the dtype of the operands.

    Raises:
        ValueError: an unknown operation; a dtype that does not hold the format's values; stochastic rounding without
            random words.
        TypeError: formats and roundings that take rational arithmetic.
    """
    way = way_of(name, arithmetic)
    require_home(arithmetic, jax_backend.dtype_name(operands[0]))
    operands = jnp.broadcast_arrays(*operands)
    with wide(way.layout):
        place, noise = None, None
        if arithmetic.rounding.stochastic:
            if randomness is None:
                raise ValueError("stochastic rounding needs random words; pass seed=")
            place, start = jax_backend.place_of(randomness.offset, operands[0].shape, way.layout.words)
            noise = (jax_backend.key_of(randomness), start)
        way = Way(way.name, way.layout, way.by, way.down, way.overflow, place)
        return _apply_jit(way, tuple(operands), _Data(*_tables(arithmetic, way.layout), noise))


@lru_cache(maxsize=1024)
def _tables(arithmetic: Arithmetic, layout: Layout) -> tuple[Any, Any, Any]:
    table = tabulate(arithmetic.fmt, layout, arithmetic.overflow)
    mode = mode_of(arithmetic.rounding, layout.work_width)
    short = None if arithmetic.rounding.stochastic else short_of(table, layout, mode, arithmetic.overflow)
    return jax_backend.arrays(table, layout), jax_backend.arrays(mode, layout), short


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply(way: Way, operands: tuple[jax.Array, ...], data: _Data) -> jax.Array:
    with wide(way.layout):
        bits = _before_rounding(way, operands)
        if way.by != "nearest":
            bits = _rounded(way, bits, data, way.overflow)
        return _delivered(way.layout, bits, LAYOUTS[jax_backend.dtype_name(operands[0])])


@_apply.defjvp
def _(way: Way, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    operands, data = primals
    _, tangent = jax.jvp(PLAIN[way.name], operands, tangents[0])
    with wide(way.layout):
        inside = _in_range(way, _before_rounding(way, tuple(map(lax.stop_gradient, operands))), data)
    return _apply(way, operands, data), jnp.where(inside, tangent, jnp.zeros_like(tangent))


_apply_jit = jax.jit(_apply, static_argnums=0, inline=True)


def _rounded(way: Way, bits: jax.Array, data: _Data, overflow: str | None) -> jax.Array:
    """Bits of the values of the format."""
    xp, layout = JaxIntegers(way.layout.width), way.layout
    words = jax_backend.words_of(way.place, bits, data.noise)
    if isinstance(data.table, Codebook):
        index = codebook_kernels.round_to_codebook(xp, layout, data.table, bits, data.mode, words)
        return xp.take(data.table.values, index)
    if data.short is not None and overflow != kernels.MARK:
        return rounded(layout, data.short, bits)
    return kernels.round_to_grid(xp, layout, data.table, bits, data.mode, overflow, words)


def _in_range(way: Way, bits: jax.Array, data: _Data) -> jax.Array:
    """Where magnitudes round to at most the largest value, as the straight-through estimator of `quantize` has it."""
    if way.by == "nearest":
        return (bits & way.layout.magnitude_mask) < way.layout.infinity
    if isinstance(data.table, Codebook):
        key = codebook_kernels.key_of(JaxIntegers(way.layout.width), way.layout, bits)
        return (key >= data.table.ends[0]) & (key <= data.table.ends[1])
    return _rounded(way, bits, data, kernels.MARK) != way.layout.nan


def _before_rounding(way: Way, operands: tuple[jax.Array, ...]) -> jax.Array:
    """Bits of the result as a number of `way.layout`."""
    bits = [bits_in(way.layout, x) for x in operands]
    if way.by.startswith("hardware"):
        return _by_hardware(way, bits)
    if way.down:
        kept = _KEPT_SIGN[way.name]
        bits = [x if k in kept else ieee.negated(way.layout, x) for k, x in enumerate(bits)]
    found = _BY_BITS[way.name](JaxIntegers(way.layout.width), way.layout, *bits, odd=way.by == "odd")
    return ieee.negated(way.layout, found) if way.down else found


def _by_hardware(way: Way, bits: list[jax.Array]) -> jax.Array:
    """The operation in float32. XLA may give a sum of zero the wrong sign: it takes x + 0 for x."""
    layout = way.layout
    if way.name == "subtract":
        bits = [bits[0], ieee.negated(layout, bits[1])]
    a, *rest = (jax_backend.floats(layout, x) for x in bits)
    if way.name in ("multiply", "fma"):
        a = a * rest.pop(0)
        bits = [_bits(a), *bits[2:]]
    if not rest:
        return bits[0]
    total = a + rest[0]
    u = _bits(total)
    if way.by == "hardware_odd":
        of_rest = total - a  # two_sum of `error_free`
        error = (a - (total - of_rest)) + (rest[0] - of_rest)
        step = jnp.where((error > 0) == (total > 0), 1, -1)
        u = jnp.where(((error > 0) | (error < 0)) & ((u & 1) == 0), u + step, u)
    sign = (bits[0] | bits[1] if way.down else bits[0] & bits[1]) & ~layout.magnitude_mask
    return jnp.where((u & layout.magnitude_mask) == 0, sign, u)


def _bits(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.int32)


def bits_in(layout: Layout, x: jax.Array) -> jax.Array:
    """Bits of the same numbers in a dtype that holds them, by integers: casts flush subnormals."""
    source = LAYOUTS[jax_backend.dtype_name(x)]
    bits = lax.bitcast_convert_type(x, jax_backend.SIGNED[source.width])
    return bits if source is layout else _converted(source, layout, bits)


def _delivered(layout: Layout, bits: jax.Array, home: Layout) -> jax.Array:
    """Floats of a dtype from bits of another."""
    return jax_backend.floats(home, bits if layout is home else _converted(layout, home, bits))


def _converted(source: Layout, target: Layout, bits: jax.Array) -> jax.Array:
    xp = JaxIntegers(max(source.work_width, target.work_width))
    found = numbers.convert(xp, source, target, bits.astype(xp.dtype))
    return found.astype(jax_backend.SIGNED[target.work_width])
