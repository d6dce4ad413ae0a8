"""Elements of scaled formats: rounding with the scale of their block, their values and their codes.

Where every scale is a power of two, x / 2**k is rounded by rounding x on the element's grid moved by 2**k:
exact, and nothing is divided. Otherwise x / D, or x * fl(1 / D), is one IEEE operation, then the element is
rounded, and its value q * D is rounded once to the dtype of the result; finite values never become infinite.
"""

from typing import NamedTuple

from .arithmetic import divide, multiply, narrow, normalized, settle
from .codebook_kernels import key_of, round_to_codebook
from .kernels import encode_grid, magnitude_code, round_magnitude, round_to_grid, signed_code
from .layouts import Layout
from .numbers import Array, Arrays, convert, count_of, from_integer, take_apart, with_sign
from .scaled_tables import ScaledTable
from .scales import BlockScales, Draw, Work, scales_of
from .statistics import one, relative, statistic, total
from .tables import Codebook, Grid, Mode

SMALLEST_ERROR = 40
"""Errors are compared in units of the power of two of the block's largest magnitude; numbers below 2**-40 of
it count as zero."""


class Spread(NamedTuple):
    """What blocks share, against the split array (g0, b0, g1, b1, ...): each field broadcasts to it.

    Fields:
        decode, encode, offset, zero, bad: see `BlockScales`.
        min_field, quantum_field, max_positive, max_negative: fields of the element's `Grid` that differ from
            block to block, None where they do not. A limit may be the bits of infinity, read as a number.
    """

    decode: Array
    encode: Array
    offset: Array
    zero: Array
    bad: Array
    min_field: Array = None
    quantum_field: Array = None
    max_positive: Array = None
    max_negative: Array = None

    def grid(self, element: Grid) -> Grid:
        """The grid on which elements round."""
        names = ("min_field", "quantum_field", "max_positive", "max_negative")
        return element._replace(**{name: getattr(self, name) for name in names if getattr(self, name) is not None})


class Rounding(NamedTuple):
    """How elements are rounded: the mode, the overflow, and random words against the split array or None."""

    mode: Mode
    overflow: str
    words: Array


def block_scales(
    xp: Arrays, work: Work, table: ScaledTable, bits: Array, nearest: Mode, draw: Draw | None
) -> BlockScales:
    """The scales of every block.

    Args:
        bits: (g0, b0, g1, b1, ...) split input.
        nearest: the mode in which a search rounds elements.
        draw: another rounding of the scales than the format's.
    """
    found = statistic(xp, work.layout, work.structure, table, work.view, bits)

    def search(with_factor, ideal):
        _, field = normalized(xp, work.layout, xp.where(found.zero | found.bad, one(work.layout), found.top))
        rounding = Rounding(nearest, "saturate", None)

        def error(scales: BlockScales) -> Array:
            values = element_values(xp, work, work.layout, table, bits, spread(xp, work, table, scales), rounding)
            return _squared_error(xp, work, bits, values, field, found.bad)

        def step(k, state):
            best, least = state
            candidate = with_factor(xp.take(factors, k))
            its_error = error(candidate)
            better = its_error < least
            changed = {
                name: xp.where(better, getattr(candidate, name), getattr(best, name))
                for name in ("scale", "decode", "encode")
            }
            zero = xp.where(better, candidate.zero, best.zero) == 1
            return best._replace(**changed, zero=zero), xp.where(better, its_error, least)

        factors = xp.array(table.factors)
        worst = found.top * 0 + work.layout.infinity
        return xp.repeat(work.structure.searches, step, (with_factor(table.factors[0]), worst))[0]

    return scales_of(xp, work, table, bits, found, draw, search)


def _squared_error(xp: Arrays, work: Work, bits: Array, values: Array, field: Array, bad: Array) -> Array:
    """Bits of the sum of squared errors of each block, float32 sums by halves, in units of its power of two."""
    layout, wide = work.layout, work.view.spread(field)
    x, y = (xp.floats(relative(xp, layout, a, wide, SMALLEST_ERROR)) for a in (bits, values))
    difference = xp.bits(y - x) & layout.magnitude_mask
    difference = xp.where(work.view.spread(bad), 0, difference)
    squares = multiply(xp, layout, difference, difference)
    return xp.bits(total(xp, xp.floats(work.view.rows(xp, squares))))


def spread(xp: Arrays, work: Work, table: ScaledTable, scales: BlockScales) -> Spread:
    """The scales against the split array."""
    view, layout = work.view, work.layout
    fields = {name: getattr(scales, name) for name in ("decode", "encode", "offset", "zero", "bad")}
    if work.structure.shifts:
        fields |= _moved(xp, layout, table.element, scales.decode)  # pyright: ignore[reportArgumentType]
    elif scales.offset is not None:
        fields["max_positive"] = from_integer(xp, layout, table.levels - scales.offset, layout.bias)
        fields["max_negative"] = from_integer(xp, layout, scales.offset, layout.bias)
    wide = {name: None if a is None else view.spread(a) for name, a in fields.items()}
    if scales.micro:
        exponent = _micro_exponents(xp, work, scales) << layout.mantissa_bits
        wide["decode"] = wide["decode"] + exponent  # far from the ends of the range
        wide["encode"] = wide["encode"] - exponent
    return Spread(**{name: None if a is None else xp.materialized(a) for name, a in wide.items()})


def _moved(xp: Arrays, layout: Layout, grid: Grid, decode: Array) -> dict[str, Array]:
    """The fields of the element's grid times the power of two of each block."""
    _, field = normalized(xp, layout, decode)
    k = field - layout.bias

    def times_power(limit: Array) -> Array:
        a, own = normalized(xp, layout, xp.integer(limit) + k * 0)
        return settle(xp, layout, a, a * 0, own + k, 0, False)

    return {
        "min_field": grid.min_field + k,
        "quantum_field": grid.quantum_field + k,
        "max_positive": times_power(grid.max_positive),
        "max_negative": times_power(grid.max_negative),
    }


def _micro_exponents(xp: Arrays, work: Work, scales: BlockScales) -> Array:
    """How often each element's scale is doubled, over the split array."""
    size = work.view.block_size
    exponent = None
    for bits in scales.micro:
        each = xp.broadcast(bits[..., None], (*bits.shape, size // bits.shape[-1])).reshape(*work.view.grid, size)
        exponent = each if exponent is None else exponent + each
    return work.view.unrows(xp, exponent)


def element_values(
    xp: Arrays, work: Work, target: Layout, table: ScaledTable, bits: Array, scales: Spread, rounding: Rounding
) -> Array:
    """Signed bits of the values, in the dtype of the result.

    Args:
        bits: (...) split input or any part of it, with the parts of `scales` and of the words that belong to it.
    """
    if work.structure.shifts:
        values = _shifted_values(xp, work.layout, target, table, bits, scales, rounding)
    elif isinstance(table.element, Codebook):
        t = _scaled(xp, work, bits, scales)
        index = round_to_codebook(xp, work.layout, table.element, t, rounding.mode, rounding.words)
        values = _times(xp, work.layout, target, xp.take(table.element.values, index), scales)
    else:
        values = _times(xp, work.layout, target, _rounded(xp, work, table.element, bits, scales, rounding), scales)
    return _nan_where(xp, work.layout, target, scales.bad, values)


def _nan_where(xp: Arrays, layout: Layout, target: Layout, bad: Array, values: Array) -> Array:
    wide = xp if target.width <= layout.width else xp.wider()
    return wide.where(bad, target.nan, values)


def element_codes(
    xp: Arrays,
    work: Work,
    table: ScaledTable,
    bits: Array,
    scales: Spread,
    rounding: Rounding,
    nan_code: Array,
    bad_code: Array,
) -> Array:
    """Codes of the elements; `nan_code` for NaN and `bad_code` in blocks that are NaN. See `element_values`."""
    if work.structure.shifts:
        codes = _shifted_codes(xp, work.layout, table, bits, scales, rounding, nan_code)
    elif isinstance(table.element, Codebook):
        t = _scaled(xp, work, bits, scales)
        index = round_to_codebook(xp, work.layout, table.element, t, rounding.mode, rounding.words)
        codes = xp.take(table.element.codes, index)
        codes = xp.where(codes < 0, nan_code, codes)
    else:
        q = _rounded(xp, work, table.element, bits, scales, rounding)
        codes = encode_grid(xp, work.layout, table.element, q, nan_code)
        if scales.offset is not None:
            count = count_of(xp, work.layout, q, work.layout.bias)
            shifted = scales.offset + xp.where(q < 0, -count, count)
            codes = xp.where((q & work.layout.magnitude_mask) > work.layout.infinity, nan_code, shifted)
    return xp.where(scales.bad, bad_code, codes)


def decoded_values(xp: Arrays, work: Work, target: Layout, elements: Array, scales: Spread) -> Array:
    """Signed bits of the values of elements, given by the bits of their own values.

    Args:
        elements: (...) split, as in `element_values`.
    """
    return _nan_where(xp, work.layout, target, scales.bad, _times(xp, work.layout, target, elements, scales))


def in_range(xp: Arrays, work: Work, table: ScaledTable, bits: Array, scales: Spread, rounding: Rounding) -> Array:
    """Where the scaled magnitude rounds to at most the largest element: the mask of the clipped estimator."""
    if isinstance(table.element, Codebook):
        t = _scaled(xp, work, bits, scales)
        key = key_of(xp, work.layout, t)
        return (key >= table.element.ends[0]) & (key <= table.element.ends[1]) & ~scales.bad
    if work.structure.shifts:
        moved = scales.grid(table.element)
        parts = take_apart(xp, work.layout, bits)
        rounded = round_magnitude(xp, work.layout, moved, parts, rounding.mode, rounding.words)
        limit = xp.where(parts.negative, moved.max_negative, moved.max_positive)
        return (rounded <= limit) & (parts.magnitude < work.layout.infinity) & ~scales.bad
    marked = rounding._replace(overflow="mark")
    return (_rounded(xp, work, table.element, bits, scales, marked) != work.layout.nan) & ~scales.bad


def _scaled(xp: Arrays, work: Work, bits: Array, scales: Spread) -> Array:
    """x / D, or x * fl(1 / D); zero where D is zero and x is divided by it."""
    if work.structure.encode == "reciprocal":
        return multiply(xp, work.layout, bits, scales.encode)
    t = divide(xp, work.layout, bits, scales.encode)
    nothing = scales.zero & ((bits & work.layout.magnitude_mask) < work.layout.infinity)
    return xp.where(nothing, t & ~work.layout.magnitude_mask, t)


def _rounded(xp: Arrays, work: Work, grid: Grid, bits: Array, scales: Spread, rounding: Rounding) -> Array:
    """Bits of the elements, before they are scaled back."""
    t = _scaled(xp, work, bits, scales)
    grid = scales.grid(grid)
    return round_to_grid(xp, work.layout, grid, t, rounding.mode, rounding.overflow, rounding.words)


def _times(xp: Arrays, layout: Layout, target: Layout, q: Array, scales: Spread) -> Array:
    """q * D rounded once, signed zeros where D is zero."""
    nothing = scales.zero & ((q & layout.magnitude_mask) < layout.infinity)
    wide = xp
    if target.width > layout.width:
        wide = xp.wider()
        q, decode = (convert(wide, layout, target, wide.integer(bits)) for bits in (q, scales.decode))
        values = multiply(wide, target, q, decode, largest=True)
    else:
        values = multiply(xp, layout, q, scales.decode, target=target, largest=True)
    return wide.where(nothing, with_sign(wide, target, values * 0, q < 0), values)


def _shifted(
    xp: Arrays, layout: Layout, table: ScaledTable, bits: Array, scales: Spread, rounding: Rounding
) -> tuple[Grid, Array]:
    """The moved grid, and signed magnitudes on it, saturated; NaN stays.

    Where the largest element lies beyond the dtype a magnitude may be the bits of infinity: 2**(emax + 1) then.
    """
    grid = scales.grid(table.element)  # pyright: ignore[reportArgumentType]
    parts = take_apart(xp, layout, bits)
    rounded = round_magnitude(xp, layout, grid, parts, rounding.mode, rounding.words)
    magnitude = xp.minimum(rounded, xp.where(parts.negative, grid.max_negative, grid.max_positive))
    negative = parts.negative & ((magnitude != 0) | ((magnitude * 0 + grid.negative_zero) == 1))
    sign = xp.integer(negative) * (-1 << (layout.width - 1))
    return grid, xp.where(parts.magnitude > layout.infinity, layout.nan, magnitude | sign)


def _shifted_values(
    xp: Arrays, layout: Layout, target: Layout, table: ScaledTable, bits: Array, scales: Spread, rounding: Rounding
) -> Array:
    _, signed = _shifted(xp, layout, table, bits, scales, rounding)
    if target.width < layout.width or target.mantissa_bits < layout.mantissa_bits:
        return narrow(xp, layout, target, signed)
    beyond = (signed & layout.magnitude_mask) == layout.infinity  # the next power of two is not in the dtype
    kept = signed - xp.integer(beyond)
    return kept if target is layout else convert(xp.wider(), layout, target, xp.wider().integer(kept))


def _shifted_codes(
    xp: Arrays, layout: Layout, table: ScaledTable, bits: Array, scales: Spread, rounding: Rounding, nan_code: Array
) -> Array:
    grid, signed = _shifted(xp, layout, table, bits, scales, rounding)
    magnitude = signed & layout.magnitude_mask
    code = magnitude_code(xp, layout, grid, take_apart(xp, layout, magnitude))
    return xp.where(magnitude > layout.infinity, nan_code, signed_code(xp, grid, code, signed < 0))
