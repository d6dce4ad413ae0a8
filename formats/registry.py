"""Formats by name: the tables, the aliases people type, and every name that can be parsed.

    e3m2  ue4m3  e4m3fn  e5m2ieee  e4m3b11fnuz  e5m2_nosub     any minifloat
    int8  uint4  int8_narrow  int4_midrise  int8@-4            any integer, steps of 2**-4
    pow2_4                                                     signed powers of two

A bare ExMy spends no code on specials (E4M3 reaches 480); the OCP format that stops at 448 is fp8_e4m3.
"""

import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import log10
from typing import TYPE_CHECKING

from .codebooks import CODEBOOKS, CodebookFormat, power_of_two
from .dyadic import power
from .floats import FLOAT_ALIASES, FLOATS, NONE, SPECIALS, FloatFormat, default_bias
from .integers import INTEGERS, IntFormat
from .suggest import unknown

if TYPE_CHECKING:
    import pandas

Format = FloatFormat | IntFormat | CodebookFormat
"""Any unscaled format."""

NAMED: dict[str, Format] = {fmt.name: fmt for fmt in (*FLOATS, *INTEGERS, *CODEBOOKS)}
"""The rows of the tables by name, in the order `list_formats` shows them."""

ALIASES = {alias: name for name, aliases in FLOAT_ALIASES.items() for alias in aliases}
ALIASES |= {"e2m1": "fp4_e2m1", "normalfloat4": "nf4", "sign": "binary"}

_CANONICAL = {fmt: fmt for fmt in reversed(NAMED.values())}  # an equal layout takes the row's name

_FLOAT = re.compile(r"(u?)e(\d{1,2})m(\d{1,2})(?:b(-?\d{1,5}))?(ieee|fnuz|fn)?(_nosub)?(_nozero)?")
_INT = re.compile(r"(u?)int(\d{1,2})(_narrow|_midrise)?(?:@(-?\d{1,4}))?")
_POW2 = re.compile(r"pow2_(\d)")
_CODEBOOK = re.compile(r"codebook\((\d+),(even|lower),(.+)\)")


def format(
    name: "str | Format",
    *,
    bias: int | None = None,
    specials: str | None = None,
    subnormals: bool | None = None,
    signed: bool | None = None,
) -> Format:
    """The format of that name.

    Args:
        name: a named format, an alias, any layout as the module's text shows, or a format, which is
            returned as it is. Case does not matter, and '-' reads as '_' in names.
        bias: exponent bias of a minifloat; default 2**(E-1) - 1, 0 for E1, 1 for E0.
        specials: 'ieee', 'fn', 'fnuz' or 'none', the codes a minifloat spends on Inf and NaN.
        subnormals: False for a minifloat whose exponent field 0 holds zero only.
        signed: False for a minifloat without a sign.

    Raises:
        ValueError: an unknown name (the message has the nearest known ones), or a layout that
            contradicts itself.
        TypeError: neither a string nor a format, or options for a format that is no minifloat.

    Example:
        >>> format("e3m2").max
        Fraction(28, 1)
        >>> format("e4m3", specials="fn").name
        'fp8_e4m3'
    """
    options = {"bias": bias, "specials": specials, "subnormals": subnormals, "signed": signed}
    options = {key: value for key, value in options.items() if value is not None}
    fmt = name if isinstance(name, FloatFormat | IntFormat | CodebookFormat) else _parse(_typed(name))
    return _with_options(fmt, options) if options else fmt


def _typed(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"expected a format name or a format, got {type(name).__name__}; try hu.list_formats()")
    return name


@lru_cache(maxsize=4096)
def _parse(typed: str) -> Format:
    name = typed.strip().lower()
    name = name if "@" in name or "b-" in name or "(" in name else name.replace("-", "_")
    name = ALIASES.get(name, name)
    if name in NAMED:
        return NAMED[name]
    fmt = _parse_float(name) or _parse_int(name) or _parse_table(name)
    if fmt is None:
        raise ValueError(unknown("format", typed, [*NAMED, *ALIASES]))
    return _CANONICAL.get(fmt, fmt)


def _parse_float(name: str) -> FloatFormat | None:
    if not (found := _FLOAT.fullmatch(name)):
        return None
    sign, exponent, mantissa, bias, specials, no_subnormals, no_zero = found.groups()
    return FloatFormat(
        name,
        int(exponent),
        int(mantissa),
        default_bias(int(exponent)) if bias is None else int(bias),
        SPECIALS[specials or "none"],
        signed=not sign,
        subnormals=not (no_subnormals or no_zero),
        zero=not no_zero,
        source="generic minifloat",
    )


def _parse_int(name: str) -> IntFormat | None:
    if not (found := _INT.fullmatch(name)):
        return None
    unsigned, bits, kind, exponent = found.groups()
    return IntFormat(
        name,
        int(bits),
        signed=not unsigned,
        narrow=kind == "_narrow",
        mid_rise=kind == "_midrise",
        exponent=int(exponent or 0),
        source="generic integer",
    )


def _parse_table(name: str) -> CodebookFormat | None:
    if found := _POW2.fullmatch(name):
        return power_of_two(int(found[1]))
    if not (found := _CODEBOOK.fullmatch(name)):
        return None
    pairs = [pair.split(":") for pair in found[3].split(",")]
    return CodebookFormat(
        "codebook",
        tuple(float.fromhex(value) for value, _ in pairs),
        tuple(int(code, 16) for _, code in pairs),
        int(found[1]),
        "lower" if found[2] == "lower" else "even",
        source="given as a table",
    )


def _with_options(fmt: Format, options: dict) -> Format:
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"{fmt.name}: only minifloats take {', '.join(options)}")
    if "specials" in options:
        if options["specials"] not in SPECIALS:
            raise ValueError(unknown("specials", str(options["specials"]), SPECIALS))
        options["specials"] = SPECIALS[options["specials"]]
    changed = replace(fmt, source="generic minifloat", **options)
    return _CANONICAL.get(changed, replace(changed, name=changed.spec))


def list_formats() -> "pandas.DataFrame":
    """Every named format and its facts, one row each.

    Columns: bits; max, min_normal and min_subnormal (the smallest positive values of either kind);
    unit_roundoff (largest relative error of rounding to nearest); dynamic_range_db, 20 log10 of the
    largest over the smallest positive value; specials; source.
    """
    import pandas

    return pandas.DataFrame([facts(fmt) for fmt in NAMED.values()]).set_index("name")


def facts(fmt: Format) -> dict[str, object]:
    """The facts of one format, as `list_formats` shows them; missing ones are None."""
    is_float = isinstance(fmt, FloatFormat)
    normal = fmt.min_normal if is_float else None
    smallest = fmt.min_positive
    subnormal = smallest if smallest != normal else None
    return {
        "name": fmt.name,
        "bits": fmt.bits,
        "max": _float(fmt.max),
        "min_normal": _float(normal),
        "min_subnormal": _float(subnormal) if is_float else None,
        "unit_roundoff": _float(fmt.unit_roundoff) if is_float else None,
        "dynamic_range_db": _decibels(fmt.max / smallest) if smallest and fmt.max > 0 else None,
        "specials": _specials(fmt),
        "source": fmt.source,
    }


def _float(value: Fraction | None) -> float | None:
    """A float for display; infinite where the value is beyond float64."""
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _decibels(ratio: Fraction) -> float:
    """20 log10, also of ratios beyond float64."""
    shift = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    return 20 * (log10(ratio / power(shift)) + shift * log10(2))


def _specials(fmt: Format) -> str:
    if not isinstance(fmt, FloatFormat):
        return "none"
    kinds = [] if fmt.specials is NONE else ["Inf"] if fmt.specials.infinity else []
    kinds += ["NaN"] if fmt.nan_code is not None else []
    kinds += ["-0"] if fmt.has_negative_zero else []
    kinds += [] if fmt.zero else ["no zero"]
    return " ".join(kinds) or "none"
