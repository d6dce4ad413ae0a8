"""Unscaled formats by name: the tables, the aliases people type, and every name that can be parsed.

    e3m2  ue4m3  e4m3fn  e5m2ieee  e4m3b11fnuz  e5m2_nosub     any minifloat
    binary8p4se  binary6p3uf                                   IEEE P3109: K bits, precision P, domain
    int8  uint4  int8_narrow  int4_midrise  int8@-4            any integer, steps of 2**-4
    pow2_4  apot_5                                             signed powers of two, sums of them
    posit8  posit8es1  takum16  takum_log8  hifloat8  lns8f3   tapered and logarithmic formats

A bare ExMy spends no code on specials (E4M3 reaches 480); the OCP format that stops at 448 is fp8_e4m3.
"""

import re
from dataclasses import replace
from functools import lru_cache

from .codebooks import CODEBOOKS, CodebookFormat, additive_powers_of_two, power_of_two
from .floats import FLOAT_ALIASES, FLOATS, SPECIALS, FloatFormat, default_bias, p3109
from .integers import INTEGERS, IntFormat
from .suggest import unknown
from .tapered import TAPERED, TAPERED_ALIASES, TaperedFormat, tapered

Format = FloatFormat | IntFormat | CodebookFormat | TaperedFormat
"""Any unscaled format."""

NAMED: dict[str, Format] = {fmt.name: fmt for fmt in (*FLOATS, *INTEGERS, *CODEBOOKS, *TAPERED)}
"""The rows of the tables by name, in the order `list_formats` shows them."""

ALIASES = {alias: name for name, aliases in (FLOAT_ALIASES | TAPERED_ALIASES).items() for alias in aliases}
ALIASES |= {"e2m1": "fp4_e2m1", "normalfloat4": "nf4", "sign": "binary"}

_CANONICAL = {fmt: fmt for fmt in reversed(NAMED.values())}  # an equal layout takes the row's name

_FLOAT = re.compile(r"(u?)e(\d{1,2})m(\d{1,2})(?:b(-?\d{1,5}))?(ieee|fnuz|fn|p3109u?[ef])?(_nosub)?(_nozero)?")
_P3109 = re.compile(r"(?:p3109_k|binary)(\d{1,2})p(\d{1,2})([su])([ef])")
_INT = re.compile(r"(u?)int(\d{1,2})(_narrow|_midrise)?(?:@(-?\d{1,4}))?")
_POW2 = re.compile(r"(pow2|apot)_(\d)")
_CODEBOOK = re.compile(r"codebook\((\d+),(even|lower|away),(.+)\)")
_TAPERED = re.compile(r"(posit|takum_log|takum|lns)(\d{1,2})(?:(es|f)(\d{1,2}))?")


def plain_format(
    name: "str | Format",
    *,
    bias: int | None = None,
    specials: str | None = None,
    subnormals: bool | None = None,
    signed: bool | None = None,
) -> Format:
    """The unscaled format of that name; `catalogue.format` knows the scaled and complex ones as well.

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
        >>> plain_format("e3m2").max
        Fraction(28, 1)
        >>> plain_format("e4m3", specials="fn").name
        'fp8_e4m3'
    """
    options = {"bias": bias, "specials": specials, "subnormals": subnormals, "signed": signed}
    options = {key: value for key, value in options.items() if value is not None}
    fmt = name if isinstance(name, Format) else _parse(_typed(name))
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
    fmt = _parse_float(name) or _parse_int(name) or _parse_table(name) or _parse_tapered(name)
    if fmt is None:
        raise ValueError(unknown("format", typed, [*NAMED, *ALIASES]))
    return _CANONICAL.get(fmt, fmt)


def _parse_float(name: str) -> FloatFormat | None:
    if found := _P3109.fullmatch(name):
        bits, precision, sign, domain = found.groups()
        return p3109(int(bits), int(precision), signed=sign == "s", extended=domain == "e")
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
        return (power_of_two if found[1] == "pow2" else additive_powers_of_two)(int(found[2]))
    if not (found := _CODEBOOK.fullmatch(name)):
        return None
    pairs = [pair.split(":") for pair in found[3].split(",")]
    return CodebookFormat(
        "codebook",
        tuple(float.fromhex(value) for value, _ in pairs),
        tuple(int(code, 16) for _, code in pairs),
        int(found[1]),
        found[2],  # pyright: ignore[reportArgumentType]
        source="given as a table",
    )


def _parse_tapered(name: str) -> TaperedFormat | None:
    if not (found := _TAPERED.fullmatch(name)):
        return None
    family, bits, kind, parameter = found.groups()
    if kind != {"posit": "es", "lns": "f"}.get(family) and (kind or family == "lns"):
        return None
    return tapered(family, int(bits), None if parameter is None else int(parameter))


def _with_options(fmt: Format, options: dict) -> Format:
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"{fmt.name}: only minifloats take {', '.join(options)}")
    if "specials" in options:
        if options["specials"] not in SPECIALS:
            raise ValueError(unknown("specials", str(options["specials"]), SPECIALS))
        options["specials"] = SPECIALS[options["specials"]]
    changed = replace(fmt, source="generic minifloat", **options)
    return _CANONICAL.get(changed, replace(changed, name=changed.spec))
