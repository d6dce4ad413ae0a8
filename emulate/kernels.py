"""The rounding algorithm for float and integer formats, once, in integer arithmetic over an array namespace.

Every function takes `xp`, an `Integers` namespace of one backend. No floating-point operation touches a
value, so flushed subnormals and compilers cannot change a result. Notation as in `numbers`: on a grid the
spacing at x is 2**shift units of S, and rounding keeps S >> shift. Faster copies of this file are pinned
to it bit for bit by tests. Sources: IEEE 754-2019 section 4.3; P3109 interim report v4.0.
"""

from .layouts import Layout
from .numbers import (
    Array,
    Integers,
    Parts,
    count_of,
    from_integer,
    power_bits,
    prepare_words,
    take_apart,
    unsigned_above,
    with_sign,
)
from .tables import Grid, Mode

MARK = "mark"
"""The overflow behind gradient masks: whatever rounds out of range becomes NaN."""


def _random_up(xp: Integers, mode: Mode, rest: Array, shift: Array, words: Array) -> Array:
    """1 where rest / 2**shift plus the random word carries.

    Where the fraction has more bits than the word those below are lost; C and 50/50 ask whether any was set.
    """
    top = xp.width - 1
    left = rest << xp.clip(top - shift, 0, top) << 1
    right_shift = xp.clip(shift - xp.width, 0, top)
    right = rest >> right_shift
    right = right | (xp.integer((right << right_shift) != rest) & (mode.equal | mode.take_odd))
    fraction = xp.where(shift <= top, left, right)
    return xp.integer(unsigned_above(xp, fraction, ~prepare_words(xp, mode, words)))


def _increment(parts: Parts, xp: Integers, mode: Mode, full: Array, odd: Array) -> Array:
    """What a deterministic mode adds before truncation; see `formats.rounding`."""
    negative = xp.integer(parts.negative)
    halves = mode.halves_even + odd * mode.halves_odd + negative * mode.halves_negative
    less = mode.less_even + odd * mode.less_odd + negative * mode.less_negative
    return (halves * (full >> 1) - less) & (full - 1)


def _shift(xp: Integers, layout: Layout, grid: Grid, parts: Parts) -> Array:
    """log2 of the grid's spacing in units of S."""
    low = parts.leading_field < grid.min_field
    spacing_field = xp.where(
        low, grid.quantum_field + parts.leading_field * 0, parts.leading_field - grid.mantissa_bits
    )
    return xp.clip(spacing_field + layout.mantissa_bits - parts.unit_field, 0, 1 << 20)


def _code_parity(xp: Integers, grid: Grid, parts: Parts, kept: Array) -> Array:
    """Parity of the code whose significand is `kept`; without mantissa bits the exponent field decides."""
    binade = xp.clip(parts.leading_field - grid.min_field, 0, 1 << 20)
    by_field = xp.integer((parts.leading_field * 0 + grid.mantissa_bits) == 0)
    return (kept + by_field * (binade + 1 - grid.zero)) & 1


def quantum_bits(xp: Integers, layout: Layout, grid: Grid) -> Array:
    """Host bits of 2**quantum_field, which may be a host subnormal."""
    return power_bits(xp, layout, grid.quantum_field)


def round_to_grid(
    xp: Integers, layout: Layout, grid: Grid, bits: Array, mode: Mode, overflow: str | None, words: Array = None
) -> Array:
    """Round numbers to a float or integer format.

    Args:
        bits: (...) input bits, sign-extended to xp.width.
        overflow: 'saturate', 'propagate', 'special', 'wrap', or None for the format's default.
        words: (...) random words of xp.width bits; their presence makes the mode stochastic.

    Returns:
        (...) bits of the results.
    """
    parts = take_apart(xp, layout, bits)
    rounded = round_magnitude(xp, layout, grid, parts, mode, words)
    if overflow == "wrap":
        return _wrapped(xp, layout, grid, parts, rounded)
    return _finish(xp, layout, grid, parts, rounded, mode, overflow)


def round_magnitude(xp: Integers, layout: Layout, grid: Grid, parts: Parts, mode: Mode, words: Array) -> Array:
    """Magnitude bits on the grid with unbounded exponent."""
    m, s = layout.mantissa_bits, parts.significand
    shift = _shift(xp, layout, grid, parts)
    capped = xp.clip(shift, 0, m + 2)  # from there on S is less than half the spacing
    full = (shift * 0 + 1) << capped
    rest = s & (full - 1)
    odd = _code_parity(xp, grid, parts, s >> capped)
    if words is not None:
        up = _random_up(xp, mode, rest, shift, words)
    else:
        up = (rest + _increment(parts, xp, mode, full, odd)) >> capped
    near = parts.magnitude - rest + (up << xp.clip(capped, 0, m))  # a carry moves to the next binade by itself
    below_quantum = up * quantum_bits(xp, layout, grid)
    return xp.where(shift > m, below_quantum, near)


def overflow_results(
    xp: Integers, layout: Layout, grid: Grid, mode: Mode, overflow: str | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Magnitude bits that (finite, infinite) inputs beyond the range become, each for (positive, negative)."""
    largest = (grid.max_positive, grid.max_negative)
    has_infinity, unsigned = grid.infinity == 1, grid.max_negative == 0
    special = xp.where(has_infinity, layout.infinity, xp.where(grid.clamps == 1, largest[0], layout.nan))
    specials = (special, xp.where(unsigned, 0, special))
    inward = (mode.inward_positive == 1, mode.inward_negative == 1)
    outward = tuple(xp.where(inward[side], largest[side], specials[side]) for side in (0, 1))
    kept = tuple(xp.where(has_infinity, special, largest[side]) for side in (0, 1))
    kept = (kept[0], xp.where(unsigned, 0, kept[1]))
    marked = (layout.nan, layout.nan)
    cases = {
        "saturate": (largest, largest),
        "propagate": (largest, kept),
        "special": (outward, specials),
        MARK: (marked, marked),
    }
    if overflow is not None:
        return cases[overflow]
    choose = [
        tuple(xp.where(grid.saturates == 1, a, b) for a, b in zip(saturated, special))
        for saturated, special in zip(cases["saturate"], cases["special"])
    ]
    return choose[0], choose[1]


def _finish(
    xp: Integers, layout: Layout, grid: Grid, parts: Parts, rounded: Array, mode: Mode, overflow: str | None
) -> Array:
    """Overflow, infinities, NaN, formats without zero, and the sign."""
    negative, magnitude = parts.negative, parts.magnitude
    finite, infinite = overflow_results(xp, layout, grid, mode, overflow)
    limit = xp.where(negative, grid.max_negative, grid.max_positive)
    result = xp.where(rounded > limit, xp.where(negative, finite[1], finite[0]), rounded)
    result = xp.where(magnitude == layout.infinity, xp.where(negative, infinite[1], infinite[0]), result)
    has_zero = (magnitude * 0 + grid.zero) == 1
    smallest = quantum_bits(xp, layout, grid)
    result = xp.where(has_zero | (rounded > smallest), result, smallest)
    not_a_number = (magnitude > layout.infinity) | ~(has_zero | ~(negative | (magnitude == 0)))
    result = xp.where(not_a_number, layout.nan, result)
    return with_sign(xp, layout, result, negative & ((result != 0) | ((result * 0 + grid.negative_zero) == 1)))


def _wrapped(xp: Integers, layout: Layout, grid: Grid, parts: Parts, rounded: Array) -> Array:
    """Integers modulo 2**code_bits; NaN and infinities give NaN."""
    count = count_of(xp, layout, rounded, grid.quantum_field)
    count = xp.where(parts.negative, -count, count) & ((1 << grid.code_bits) - 1)
    top = 1 << (grid.code_bits - 1)
    negative = (count >= top) & (grid.max_negative > 0)
    magnitude = from_integer(xp, layout, xp.where(negative, 2 * top - count, count), grid.quantum_field)
    magnitude = xp.where(parts.magnitude >= layout.infinity, layout.nan, magnitude)
    return with_sign(xp, layout, magnitude, negative)


def encode_grid(xp: Integers, layout: Layout, grid: Grid, bits: Array, nan_code: Array) -> Array:
    """Codes of numbers that `round_to_grid` gave. NaN becomes `nan_code`."""
    parts = take_apart(xp, layout, bits)
    code = xp.where(parts.magnitude == layout.infinity, grid.infinity_code, magnitude_code(xp, layout, grid, parts))
    return xp.where(parts.magnitude > layout.infinity, nan_code, signed_code(xp, grid, code, parts.negative))


def magnitude_code(xp: Integers, layout: Layout, grid: Grid, parts: Parts) -> Array:
    """Codes of magnitudes on the grid, the bits of infinity read as the next power of two."""
    kept = parts.significand >> xp.clip(_shift(xp, layout, grid, parts), 0, layout.mantissa_bits + 1)
    # the most negative integer may be 2**(M + 1) steps, of which S counts every other one
    twice = parts.unit_field - layout.mantissa_bits > grid.quantum_field
    kept = kept << xp.integer(twice & (parts.leading_field < grid.min_field))
    binade = xp.clip(parts.leading_field - grid.min_field, 0, 1 << 20)
    return kept + (binade << grid.mantissa_bits) - ((1 - grid.zero) << grid.mantissa_bits)


def signed_code(xp: Integers, grid: Grid, code: Array, negative: Array) -> Array:
    """Codes of magnitudes with a sign: a bit, or the two's complement."""
    sign = (code * 0 + 1) << (grid.code_bits - 1)  # in an array, so that a 32-bit code wraps
    complement = (code * 0 + grid.twos_complement) == 1
    signed = xp.where(complement, -code & ((sign << 1) - 1), code | sign)
    return xp.where(negative, signed, code)


def decode_grid(xp: Integers, layout: Layout, grid: Grid, codes: Array) -> Array:
    """Host bits of the values of codes; NaN for codes that have none.

    Args:
        codes: (...) codes as integers of xp.width; 32-bit codes as bit patterns.
    """
    one, signed = codes * 0 + 1, xp.where(grid.max_negative > 0, 1, 0)
    magnitude = codes & ((one << (grid.code_bits - signed)) - 1)
    negative = magnitude != codes
    if_integer = xp.where(negative, (one << (grid.code_bits - signed)) - magnitude, magnitude)
    complement = (codes * 0 + grid.twos_complement) == 1
    count, unit = _significand_of_code(xp, grid, magnitude)
    result = from_integer(
        xp, layout, xp.where(complement, if_integer, count), xp.where(complement, grid.quantum_field, unit)
    )
    result = xp.where(result > xp.where(negative, grid.max_negative, grid.max_positive), layout.nan, result)
    result = xp.where(~complement & (magnitude == grid.infinity_code), layout.infinity, result)
    result = xp.where((codes == grid.nan_code) & (codes * 0 + grid.nan_code >= 0), layout.nan, result)
    return with_sign(xp, layout, result, negative & ((result != 0) | ((codes * 0 + grid.negative_zero) == 1)))


def _significand_of_code(xp: Integers, grid: Grid, magnitude: Array) -> tuple[Array, Array]:
    """The magnitude of a float code as count * 2**(unit - bias)."""
    one = magnitude * 0 + 1
    fraction = magnitude & ((one << grid.mantissa_bits) - 1)
    field = (magnitude >> grid.mantissa_bits) + (1 - grid.zero)
    normal = field > 0
    no_subnormals = (magnitude * 0 + grid.quantum_field) == (magnitude * 0 + grid.min_field)
    subnormal = xp.where(no_subnormals & ((one << grid.mantissa_bits) > 1), 0, fraction)
    count = xp.where(normal, fraction | (one << grid.mantissa_bits), subnormal)
    return count, xp.where(normal, field - 1, field) + (grid.min_field - grid.mantissa_bits)
