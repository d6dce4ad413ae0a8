"""Rounding to a list of values, in integer arithmetic over an array namespace.

Keys order the host's numbers as integers; see `tables.Codebook`. Stochastic modes divide the position in a
gap by its width in fixed point, as `formats.exact` defines it.
"""

from .codebook_tables import SPECIALS, Codebook
from .layouts import Layout
from .numbers import Array, Integers, Parts, half_words, odd_words, take_apart
from .tables import Mode


def key_of(xp: Integers, layout: Layout, bits: Array) -> Array:
    """Integers in the order of the numbers; both zeros give 0."""
    magnitude = bits & layout.magnitude_mask
    return xp.where((bits < 0) & (magnitude > 0), ~magnitude, magnitude)


def round_to_codebook(
    xp: Integers, layout: Layout, book: Codebook, bits: Array, mode: Mode, words: Array = None
) -> Array:
    """Index into the codebook's values and codes of what each number becomes, infinities and NaN included.

    Args:
        bits: (...) input bits, sign-extended.
        words: (...) random words of xp.width bits, the top 32 decide; their presence makes the mode stochastic.
    """
    parts, key = take_apart(xp, layout, bits), key_of(xp, layout, bits)
    if words is None:
        index = xp.count_not_above(book.thresholds[mode.row], key)
    else:
        index = _stochastic(xp, layout, book, parts, key, mode, words)
    specials = book.values.shape[-1] - SPECIALS
    index = xp.where(parts.magnitude == layout.infinity, specials + xp.integer(parts.negative), index)
    return xp.where(parts.magnitude > layout.infinity, specials + 2, index)


def _stochastic(
    xp: Integers, layout: Layout, book: Codebook, parts: Parts, key: Array, mode: Mode, words: Array
) -> Array:
    gap = xp.count_not_above(book.keys[1:-1], key)
    inexact = xp.integer(key > xp.take(book.keys, gap))
    up = inexact & _codebook_up(xp, layout, book, parts, gap, mode, words)
    below, above = key < book.keys[0], key >= book.keys[-1]
    return xp.where(below, gap * 0, gap + xp.where(above, gap * 0 + 1, up))


def _codebook_up(
    xp: Integers, layout: Layout, book: Codebook, parts: Parts, gap: Array, mode: Mode, words: Array
) -> Array:
    """1 where distance + spacing * word / 2**32 reaches the spacing of the gap, all in its fixed-point unit."""
    spacing = xp.take(book.spacing, gap)
    distance = _fixed_point(xp, layout, parts, xp.take(book.unit_field, gap)) - xp.take(book.low, gap)
    word = half_words(mode, words)
    if xp.width == 64:
        distance, word = distance & 0xFFFFFFFF, xp.shift_right_logical(word, 32)
    high, low = xp.wide_product(spacing, word)
    tie = (distance + high == spacing) & (low == 0)
    to_even = tie & (odd_words(mode, words) == 1)  # of C: an exact tie goes to the even multiple of 2**-N
    reaches = xp.integer((distance + high >= spacing) & ~to_even)
    return xp.where((words * 0 + mode.equal) == 1, xp.shift_right_logical(words, xp.width - 1), reaches)


def _fixed_point(xp: Integers, layout: Layout, parts: Parts, unit_field: Array) -> Array:
    """floor(x / 2**(unit_field - bias)) modulo 2**32."""
    up = parts.unit_field - layout.mantissa_bits - unit_field
    left = xp.where(up > 31, 0, parts.significand << xp.clip(up, 0, 31))
    down = xp.clip(-up, 0, layout.mantissa_bits + 1)
    floor = left >> down
    return xp.where(parts.negative, -floor - xp.integer((floor << down) != left), floor)
