"""Scaled formats of JAX arrays: the portable kernels traced and compiled, one program for each structure.

Formats and rules that only differ in numbers are run-time data to one program; see `scaled_tables`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ...formats.rounding import ROUNDINGS
from ..encoded import Amax, Encoded, Scales
from ..layouts import LAYOUTS, Layout
from ..numbers import convert
from ..philox import fold_words
from ..plan import Randomness
from ..scaled_kernels import Rounding, element_codes, element_values, in_range, spread
from ..scaled_plan import ScaledPlan, untraced
from ..scaled_run import decoded, integers_as_floats, scale_codes, scales_for, used_scales, work_of
from ..scaled_tables import ScaledTable, Structure, TracedScaled
from ..scales import BlockScales, Draw, Work
from ..statistics import statistic
from ..tables import Mode, mode_of
from . import jax as plain
from . import jax_float_scales, jax_short_scales, numpy_given, numpy_scaled
from . import numpy as numpy_backend
from .jax_float_scales import Near
from .jax_integers import JaxIntegers, JaxWords
from .jax_words import Place

jax.tree_util.register_dataclass(Scales, data_fields=["decode", "zero_point", "micro"], meta_fields=[])
jax.tree_util.register_dataclass(
    Encoded,
    data_fields=["elements", "scales", "outer", "zero_points", "micro"],
    meta_fields=["fmt", "shape", "dtype"],
)


jax.tree_util.register_dataclass(TracedScaled, data_fields=["table"], meta_fields=["layout", "structure", "rounding"])


@dataclass(frozen=True, slots=True)
class _Static:
    """What one compiled program is for."""

    work: Work
    source: Layout
    target: Layout
    overflow: str
    ste: str
    place: Place | None
    scale_place: Place | None
    random_scales: bool

    @property
    def structure(self) -> Structure:
        return self.work.structure


class _Data(NamedTuple):
    """What is run-time data to it.

    Fields:
        table: the format.
        mode, scale_mode: roundings of elements and scales, the latter None for the format's own.
        noise, scale_noise: (key, start) of random words, or None.
        given: scales the caller brought, (decode, zero points, micro), or None.
        near: what `jax_float_scales` reads, or None where it does not serve.
    """

    table: ScaledTable
    mode: Mode
    scale_mode: Mode | None
    noise: tuple[jax.Array, jax.Array] | None
    scale_noise: tuple[jax.Array, jax.Array] | None
    given: tuple | None
    near: Near | None = None


def _prepared(static: _Static, x: jax.Array, data: _Data) -> tuple[JaxIntegers, jax.Array, BlockScales, Rounding]:
    """Split bits, the scales of their blocks, and how elements are rounded."""
    work = static.work
    xp, split, rounding = _elements(static, x, data)
    draw = None
    if data.scale_mode is not None:
        like = x.reshape(-1)[:1]  # carries the batch of a vmap
        grid = jnp.broadcast_to(like.reshape((1,) * len(work.view.grid)), work.view.grid)
        draw = Draw(data.scale_mode, plain.words_of(static.scale_place, grid, data.scale_noise))
    nearest = mode_of(ROUNDINGS["nearest_even"], work.layout.work_width)
    return xp, split, scales_for(xp, work, data.table, split, nearest, draw, data.given), rounding


def _elements(static: _Static, x: jax.Array, data: _Data) -> tuple[JaxIntegers, jax.Array, Rounding]:
    """Split bits, and how they are rounded."""
    work = static.work
    xp = JaxIntegers(work.layout.work_width)
    bits = lax.bitcast_convert_type(x, plain.SIGNED[static.source.width]).astype(xp.dtype)
    bits = bits if work.layout is static.source else convert(xp, static.source, work.layout, bits)
    words = plain.words_of(static.place, x, data.noise)
    words = None if words is None else work.view.split(xp, words)
    return xp, work.view.split(xp, bits), Rounding(data.mode, static.overflow, words)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quantize(static: _Static, x: jax.Array, data: _Data) -> jax.Array:
    work, target = static.work, static.target
    if data.near is None:
        xp, split, scales, how = _prepared(static, x, data)
        found = element_values(xp, work, target, data.table, split, spread(xp, work, data.table, scales), how)
    else:
        split, factors, how = _near(static, x, data)
        found = jax_float_scales.values(work, target, data.near.element, split, factors, how.words)
    return plain.floats(target, work.view.join(found))


def _near(static: _Static, x: jax.Array, data: _Data) -> tuple[jax.Array, jax_float_scales.Factors, Rounding]:
    """Split bits, the factors of their blocks, and how elements are rounded."""
    work, brought = static.work, data.scale_mode is not None or data.given is not None
    powers = not brought and jax_float_scales.powers_of_two(work)
    numbers = None if brought or data.near is None else data.near.scales
    if not powers and numbers is None:
        _, split, scales, how = _prepared(static, x, data)
        return split, jax_float_scales.factors(work, scales), how
    xp, split, how = _elements(static, x, data)
    found = statistic(xp, work.layout, work.structure, data.table, work.view, split)
    if numbers is None or powers:
        return split, jax_float_scales.power_factors(data.table, found), how
    scales = jax_short_scales.short_scales(work, data.table, found, numbers)
    return split, jax_float_scales.factors(work, scales), how


@_quantize.defjvp
def _(static: _Static, primals, tangents):
    x, data = primals
    result = _quantize(static, x, data)
    tangent = tangents[0].astype(result.dtype)
    if static.ste == "clip":
        xp, split, scales, rounding = _prepared(static, x, data)
        mask = in_range(xp, static.work, data.table, split, spread(xp, static.work, data.table, scales), rounding)
        tangent = jnp.where(static.work.view.join(mask), tangent, jnp.zeros_like(tangent))
    return result, tangent


@partial(jax.jit, static_argnums=0, inline=True)
def _quantize_jit(static: _Static, x, data):
    return _quantize(static, x, data)


@partial(jax.jit, static_argnums=(0, 3), inline=True)
def _encode_jit(static: _Static, x, data, codes: tuple[int, int, int]):
    xp, split, scales, rounding = _prepared(static, x, data)
    nan_code, bad_code, scale_nan = codes
    wide = spread(xp, static.work, data.table, scales)
    elements = element_codes(xp, static.work, data.table, split, wide, rounding, nan_code, bad_code)
    of_scales, of_outer = scale_codes(xp, static.work, data.table, scales, scale_nan)
    return static.work.view.join(elements), of_scales, of_outer, scales.offset, scales.micro


@partial(jax.jit, static_argnums=0, inline=True)
def _scales_jit(static: _Static, x, data):
    xp, _, scales, _ = _prepared(static, x, data)
    decode = plain.floats(static.work.layout, used_scales(xp, static.work, scales))
    return decode, scales.offset, scales.micro


# ---------------------------------------------------------------- entry points


def quantize(
    x: jax.Array, plan: ScaledPlan, randomness: Randomness, given: Any, out: None, near: Near | None = None
) -> jax.Array:
    """`emulate.quantize` on JAX arrays.

    Args:
        near: of a format and a rounding that are data, what `jax_float_scales.near_of` says, stacked as they are.
    """
    if not x.size:
        work_of(plan, x.shape)
        return jnp.zeros(x.shape, plan.target.name)
    static, data = _static(x, plan, randomness, given)
    return _quantize_jit(static, x, data._replace(near=jax_float_scales.near_for(plan) if near is None else near))


def _static(x: jax.Array, plan: ScaledPlan, randomness: Randomness, given: Any) -> tuple[_Static, _Data]:
    plain.require_x64(plan.layout, plan.target)
    place = noise = scale_place = scale_noise = None
    work = work_of(plan, x.shape)
    words = plan.layout.words
    if plan.rounding.stochastic:
        place, start = plain.place_of(randomness.offset, x.shape, words)
        noise = (plain.key_of(randomness), start)
    if plan.random_scales:
        offset = numpy_scaled.grid_offset(plan, randomness.offset, x.shape)
        scale_place, start = plain.place_of(offset, work.view.grid, words)
        key = plain.key_of(randomness)
        scale_noise = (key.at[0].set(fold_words(JaxWords(), key[0], jnp.uint32(numpy_scaled.SCALE_MEMBER))), start)
    mode = None
    if plan.scale_rounding is not None:
        mode = plain.arrays(mode_of(plan.scale_rounding, plan.layout.work_width), plan.layout)
    static = _Static(
        work, plan.source, plan.target, plan.overflow, plan.ste, place, scale_place, plan.random_scales
    )  # fmt: skip
    table = plan.table if isinstance(plan.fmt, TracedScaled) else as_arrays(plan.table, plan.layout)
    if isinstance(given, Amax):
        table, given = table._replace(amax=_amax(plan, given.value)), None
    return static, _Data(
        table, plain.arrays(plan.mode, plan.layout), mode, noise, scale_noise, _given(plan, given, work)
    )  # fmt: skip


def as_arrays(table: ScaledTable, layout: Layout) -> ScaledTable:
    """The integers of a table as arrays, so that jit does not compile anew for each format."""
    integer = np.int64 if layout.width == 64 else np.int32
    return jax.tree.map(lambda field: np.asarray(field, integer), table)


def _amax(plan: ScaledPlan, value: Any) -> jax.Array:
    """Bits of the largest magnitude to go by; NaN and infinity make every element NaN, as they would in the data."""
    number = jnp.asarray(value)
    if number.size != 1:
        raise ValueError(f"amax: expected one number >= 0, got shape {number.shape}")
    if not isinstance(number, Tracer) and not 0 <= number.reshape(()) < jnp.inf:
        raise ValueError(f"amax: expected one finite number >= 0, got {value}")
    if not jnp.issubdtype(number.dtype, jnp.floating):
        number = number.astype(plan.layout.name)
    xp = JaxIntegers(plan.layout.work_width)
    return xp.bits(_exact_floats(number.reshape(()), plan.layout)) & plan.layout.magnitude_mask


def _given(plan: ScaledPlan, given: Any, work: Work) -> tuple | None:
    if given is None:
        return None
    scales = given if isinstance(given, Scales) else Scales(given)
    numpy_given.check_given(plan, scales)
    decode, grid = jnp.asarray(scales.decode), work.view.grid
    if not jnp.issubdtype(decode.dtype, jnp.floating) or decode.dtype.itemsize > plan.layout.width // 8:
        raise TypeError(f"scale: expected {plan.layout.name} or narrower floats, got {decode.dtype}; use astype")
    xp = JaxIntegers(plan.layout.work_width)
    offset = scales.zero_point
    return (
        xp.bits(_exact_floats(_over_grid("scale", decode, grid), plan.layout)),
        None if offset is None else _over_grid("zero_point", jnp.asarray(offset), grid).astype(xp.dtype),
        tuple(_micro(bits, (*grid, work.view.block_size // n)) for bits, n in zip(scales.micro, plan.structure.micro)),
    )


def _micro(bits: Any, shape: tuple[int, ...]) -> jax.Array:
    found = jnp.asarray(bits)
    if found.shape != shape:
        raise ValueError(f"micro: expected zeros and ones of shape {shape}, got {found.shape}")
    return found.astype(jnp.int32)


def _exact_floats(a: Any, layout: Layout) -> jax.Array:
    """Floats of the compute dtype by integer arithmetic: casts may flush subnormals."""
    source = LAYOUTS[np.dtype(a.dtype).name]
    xp = JaxIntegers(layout.work_width)
    bits = lax.bitcast_convert_type(a, plain.SIGNED[source.width]).astype(xp.dtype)
    return plain.floats(layout, bits if source is layout else convert(xp, source, layout, bits))


def _over_grid(name: str, a: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    if a.shape != grid and a.size != 1:
        raise ValueError(f"{name}: expected one number or an array of shape {grid}, a number a block, got {a.shape}")
    return jnp.broadcast_to(a.reshape(grid) if a.shape == grid else a.reshape(()), grid)


def find_scales(x: jax.Array, plan: ScaledPlan, randomness: Randomness) -> Scales:
    """`emulate.scales` on JAX arrays."""
    _require_elements(x)
    decode, offset, micro = _scales_jit(*_at(_static(x, plan, randomness, None), x))
    offset = None if offset is None else offset.astype(jnp.int32)
    return Scales(decode, offset, tuple(bits.astype(jnp.uint8) for bits in micro))


def _at(static_and_data: tuple[_Static, _Data], x: jax.Array) -> tuple[_Static, jax.Array, _Data]:
    return static_and_data[0], x, static_and_data[1]


def _require_elements(x: jax.Array) -> None:
    if not x.size:
        raise ValueError(f"expected an array with elements, got shape {x.shape}; an empty one has no scales")


def encode(x: jax.Array, plan: ScaledPlan, randomness: Randomness, nan: float | None) -> Encoded:
    """`emulate.encode` on JAX arrays."""
    _require_elements(x)
    fmt = untraced(plan)
    codes = numpy_scaled.nan_codes(fmt, nan)
    elements, scales, outer, offset, micro = _encode_jit(*_at(_static(x, plan, randomness, None), x), codes)
    if codes[1] < 0 or (codes[0] < 0 and (plan.overflow == "special" or not fmt.dynamic)):
        if isinstance(elements, Tracer):
            raise ValueError(f"{fmt.name} has no code for NaN, and a trace cannot look for NaN; pass nan=0.0")
        numpy_backend.refuse_nan(bool((elements < 0).any()), fmt.name)

    def as_codes(a: Any, bits: int) -> Any:
        return None if a is None else a.astype(numpy_backend.code_dtype(bits))

    outer_bits = fmt.outer.scale.bits if fmt.outer else 32
    return Encoded(
        fmt,
        tuple(x.shape),
        plan.source.name,
        as_codes(elements, fmt.element.bits),
        as_codes(scales, fmt.scale.bits),
        as_codes(outer, outer_bits),
        as_codes(offset, fmt.element.bits),
        tuple(bits.astype(jnp.uint8) for bits in micro),
    )


def decode(encoded: Encoded, target: Layout, out: None) -> jax.Array:
    """`emulate.decode` of codes of a scaled format."""
    plan = numpy_scaled.decoding_plan(encoded, target)
    plain.require_x64(plan.layout, target)
    fmt, layout = untraced(plan), plan.layout
    integer = JaxIntegers(layout.work_width).dtype

    def values(codes: jax.Array, part: Any) -> jax.Array:
        return lax.bitcast_convert_type(plain.decode(plain.as_codes(codes), part, layout, None), integer)

    elements = encoded.elements if fmt.zero_point else values(encoded.elements, fmt.element)
    outer = values(encoded.outer, fmt.outer.scale) if fmt.outer else None
    work, table = work_of(plan, tuple(encoded.shape)), as_arrays(plan.table, layout)
    s = values(encoded.scales, fmt.scale)
    return _decode_jit(work, target, table, elements, s, outer, encoded.zero_points, encoded.micro)


@partial(jax.jit, static_argnums=(0, 1))
def _decode_jit(work: Work, target: Layout, table, elements, s, outer, zero_points, micro):
    xp = JaxIntegers(work.layout.work_width)
    if zero_points is not None:
        split = jnp.broadcast_to(work.view.spread(zero_points.astype(xp.dtype)), numpy_scaled.split_shape(work))
        elements = integers_as_floats(xp, work.layout, elements.astype(xp.dtype) - work.view.join(split))
    levels = tuple(bits.astype(xp.dtype) for bits in micro)
    return plain.floats(target, decoded(xp, work, table, target, elements, s, outer, levels))
