"""Posits, takums, HiFloat8 and logarithmic numbers decoded from bit strings, and what inputs round to.

Written from the standards and papers, apart from the package: negative codes are decoded by the formulas for them,
irrational values by `decimal`, and rounding is a search in sorted float64 arrays.
"""

from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache
from itertools import pairwise
from math import inf, ldexp, nan, nextafter

import numpy as np

_PRECISE = Context(prec=50)


def posit(code, bits, es=2):
    """Posit Standard (2022), section 4: regime run, exponent, fraction; negatives by two's complement."""
    text = format(code, f"0{bits}b")
    if "1" not in text:
        return 0.0
    if text == "1" + "0" * (bits - 1):
        return nan
    if text[0] == "1":
        return -posit(2**bits - code, bits, es)
    body = text[1:]
    run = len(body) - len(body.lstrip(body[0]))
    regime = run - 1 if body[0] == "1" else -run
    rest = body[run + 1 :]
    exponent = int(rest[:es].ljust(es, "0") or "0", 2)
    fraction = rest[es:]
    significand = 1 + (int(fraction, 2) / 2 ** len(fraction) if fraction else 0)
    return ldexp(significand, regime * 2**es + exponent)


def _takum_fields(code, bits):
    """S, c and m; arXiv:2404.18603, definition 2."""
    text = format(code, f"0{bits}b").ljust(12, "0")
    s, d, r3 = int(text[0]), int(text[1]), int(text[2:5], 2)
    r = r3 if d else 7 - r3
    characteristic = int(text[5 : 5 + r] or "0", 2)
    c = 2**r - 1 + characteristic if d else -(2 ** (r + 1)) + 1 + characteristic
    mantissa = text[5 + r :]
    return s, c, int(mantissa, 2) / 2 ** len(mantissa) if mantissa else 0.0


def _special(code, bits):
    return 0.0 if code == 0 else nan if code == 2 ** (bits - 1) else None


def takum(code, bits):
    """((1 - 3S) + m) * 2**((-1)**S (c + S))"""
    if (special := _special(code, bits)) is not None:
        return special
    s, c, m = _takum_fields(code, bits)
    return ldexp((1 - 3 * s) + m, (-1) ** s * (c + s))


def takum_log(code, bits):
    """(-1)**S sqrt(e)**((-1)**S (c + m))"""
    if (special := _special(code, bits)) is not None:
        return special
    s, c, m = _takum_fields(code, bits)
    return (-1) ** s * _PRECISE.exp(Decimal((-1) ** s * (c + m)) / 2)


def hifloat8(code):
    """arXiv:2409.16626, table 2: the dot prefix tells exponent and mantissa apart."""
    if code in (0x00, 0x80, 0x6F, 0xEF):
        return {0x00: 0.0, 0x80: nan, 0x6F: inf, 0xEF: -inf}[code]
    text = format(code, "08b")
    sign, body = (-1.0 if text[0] == "1" else 1.0), text[1:]
    for prefix, exponent_bits in (("11", 4), ("10", 3), ("01", 2), ("001", 1), ("0001", 0), ("0000", None)):
        if not body.startswith(prefix):
            continue
        rest = body[len(prefix) :]
        if exponent_bits is None:
            return sign * 2.0 ** (int(rest, 2) - 23)
        field, mantissa = rest[:exponent_bits], rest[exponent_bits:]
        exponent = (-1) ** int(field[0]) * int("1" + field[1:], 2) if field else 0
        return sign * (1 + int(mantissa, 2) / 2 ** len(mantissa)) * 2.0**exponent
    raise AssertionError


def lns(code, bits, f):
    """Sign, then log2 of the magnitude in two's complement with f fraction bits; its lowest code is zero."""
    half = 2 ** (bits - 1)
    sign, low = divmod(code, half)
    logarithm = low - half if low >= half // 2 else low
    if logarithm == -half // 2:
        return nan if sign else 0.0
    whole, part = divmod(logarithm, 2**f)
    return (-1) ** sign * _PRECISE.multiply(_root_of_two(part / 2**f), _PRECISE.power(2, whole))


@cache
def _root_of_two(exponent):
    return _PRECISE.power(2, Decimal(exponent))


def _floor(value):
    """The largest float64 not above a Decimal or float, and whether it is the number itself."""
    near = float(value)
    if Decimal(near) > value:
        near = nextafter(near, -inf)
    return near, Decimal(near) == value


@dataclass
class Reference:
    """Sorted values with codes and tie points; both ends saturate.

    Args:
        values, codes: (n,).
        ties: (n - 1,) floors of the tie points, `exact` where they are those.
    """

    values: np.ndarray
    codes: np.ndarray
    ties: np.ndarray
    exact: np.ndarray

    def index(self, x, mode):
        """Index of what each finite x becomes."""
        i = np.clip(np.searchsorted(self.values, x, side="right") - 1, 0, len(self.values) - 1)
        below, above = self.values[i], self.values[np.minimum(i + 1, len(self.values) - 1)]
        gap = np.minimum(i, len(self.ties) - 1)
        even = self.codes[i] % 2 == 0
        past = x > self.ties[gap]
        tie = (x == self.ties[gap]) & self.exact[gap]
        outward = np.abs(above) > np.abs(below)
        up = {
            "nearest_even": np.where(tie, ~even, past),
            "nearest_away": np.where(tie, outward, past),
            "nearest_zero": np.where(tie, ~outward, past),
            "toward_zero": ~outward,
            "away": outward,
            "up": np.ones_like(past),
            "down": np.zeros_like(past),
            "to_odd": even,
        }[mode]
        return np.where((x <= below) | (i == len(self.values) - 1), i, i + up)


def reference(decode, bits, tie):
    """The table of a format.

    Args:
        decode: value of a code.
        tie: the tie point of two neighbours, from (code, value) of the lower and of the upper one.
    """
    found = sorted((value, code) for code in range(2**bits) if not _is_special(value := decode(code)))
    values, codes = np.array([float(v) for v, _ in found]), np.array([code for _, code in found])
    floors = [_floor(tie(below, above)) for below, above in pairwise(found)]
    return Reference(values, codes, np.array([f for f, _ in floors]), np.array([e for _, e in floors]))


def complement_tie(decode, bits):
    """Codes in two's complement: the code of one more bit in between; next to zero the numbers never give in."""

    def tie(below, above):
        return 0.0 if 0 in (below[0], above[0]) else decode(2 * below[1] + 1, bits + 1)

    return tie


def midpoint(below, above):
    """The arithmetic midpoint, of few bits."""
    return (below[0] + above[0]) / 2


def logarithmic_tie(bits, f):
    """The code of one more bit in between, counted from the smaller magnitude."""
    half = 2 ** (bits - 1)

    def tie(below, above):
        negative = below[0] < 0
        inner = (above if negative else below)[1] % half
        magnitude = lns(2 * inner + 1, bits + 1, f + 1)
        return -magnitude if negative else magnitude

    return tie


def _is_special(value):
    return isinstance(value, float) and (value != value or abs(value) == inf)
