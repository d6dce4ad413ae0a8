"""Every format by name: unscaled, scaled and complex ones."""

import re
from fractions import Fraction
from functools import lru_cache
from math import log10
from typing import TYPE_CHECKING, Any

from .blocks import blocks
from .codebooks import ChannelCodebooks
from .complexes import PHASES, ComplexFormat
from .dyadic import power
from .floats import NONE, FloatFormat
from .registry import ALIASES, NAMED, Format, plain_format
from .residual import RESIDUAL, ResidualFormat, parse_residual
from .scaled import ScaledFormat
from .scaled_registry import SCALED, SCALED_ALIASES, parse_scaled
from .suggest import unknown
from .tapered import TaperedFormat

if TYPE_CHECKING:
    import pandas

AnyFormat = Format | ScaledFormat | ComplexFormat | ResidualFormat | ChannelCodebooks
"""Any format there is."""

COMPLEX: dict[str, ComplexFormat] = {fmt.name: fmt for fmt in PHASES}
COMPLEX_ALIASES = {"phase_t1": "phase", "ifairy": "phase", "complex2": "phase", "fairy2i": "phase_t2"}

_CHANNELS = re.compile(r"channels\((-?\d+);(.+)\)")
_PHASE = re.compile(r"phase\((\d),([^,]+)\)")


def format(name: "str | AnyFormat", **options: Any) -> Any:
    """The format of that name.

    Args:
        name: a named format, an alias, or anything that can be parsed, see `list_formats` and
            `list_scaled_formats`: layouts such as 'e3m2', 'ue4m3', 'e4m3fn', 'int8@-4'; 'int8_per_row';
            'scaled(fp4_e2m1,scale=ue5m3,block=16,rule=rceil)'. A format is returned as it is. Case does
            not matter, and '-' reads as '_' in names.
        options: of a minifloat: bias; specials='ieee', 'fn', 'fnuz' or 'none'; subnormals; signed.

    Returns:
        A `FloatFormat`, `IntFormat`, `CodebookFormat`, `TaperedFormat`, `ScaledFormat`, `ResidualFormat` or
        `ComplexFormat`.

    Raises:
        ValueError: an unknown name (the message has the nearest known ones), or a layout that
            contradicts itself.
        TypeError: neither a string nor a format, or options for a format that is no minifloat.

    Example:
        >>> format("e3m2").max
        Fraction(28, 1)
        >>> format("e4m3", specials="fn").name
        'fp8_e4m3'
        >>> format("mxfp4").bits_per_element()
        4.25
    """
    if isinstance(name, str) and not options:
        return _named(name)
    return _found(name, options)


@lru_cache(maxsize=1024)
def _named(name: str) -> "AnyFormat":
    return _found(name, {})


def _found(name: Any, options: dict[str, Any]) -> "AnyFormat":
    found = name if isinstance(name, ScaledFormat | ComplexFormat | ResidualFormat | ChannelCodebooks) else None
    if isinstance(name, str):
        found = _parse_grouped(name.strip().lower())
    if found is None:
        try:
            return plain_format(name, **options)  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            if isinstance(name, str) and str(error).startswith("unknown format"):
                known = [*NAMED, *ALIASES, *SCALED, *SCALED_ALIASES, *COMPLEX, *COMPLEX_ALIASES, *RESIDUAL]
                raise ValueError(unknown("format", name, known)) from None
            raise
    if options:
        raise TypeError(f"{found.name}: only minifloats take {', '.join(options)}")
    return found


def _parse_grouped(name: str) -> ScaledFormat | ComplexFormat | ResidualFormat | ChannelCodebooks | None:
    """A format that is not a plain one, by name, '-' also reading as '_' outside descriptions."""
    name = name if "(" in name or "@" in name else name.replace("-", "_")
    if (found := parse_residual(name) or parse_scaled(name)) is not None:
        return found
    if matched := _CHANNELS.fullmatch(name):
        books: Any = tuple(map(plain_format, matched[2].split(";")))
        return ChannelCodebooks("channels", books, int(matched[1]), "given as tables")
    name = COMPLEX_ALIASES.get(name, name)
    if name in COMPLEX:
        return COMPLEX[name]
    if matched := _PHASE.fullmatch(name):
        fmt = ComplexFormat(name, int(matched[1]), blocks(matched[2]), "written down")
        return next((known for known in PHASES if known == fmt), fmt)
    return None


def list_formats() -> "pandas.DataFrame":
    """Every named unscaled format and its facts, one row each; `list_scaled_formats` has the scaled ones.

    Columns: bits; max, min_normal and min_subnormal (the smallest positive values of either kind);
    unit_roundoff (largest relative error of rounding to nearest); dynamic_range_db, 20 log10 of the
    largest over the smallest positive value; specials; source.
    """
    import pandas

    return pandas.DataFrame([facts(fmt) for fmt in NAMED.values()]).set_index("name")


def list_scaled_formats() -> "pandas.DataFrame":
    """Every named scaled and complex format and residual stack, one row each.

    Columns: bits_per_element, with scales of fixed-size blocks; element, scale, block, rule, outer (the
    format and group of a second level of scales); source.
    """
    import pandas

    rows = [scaled_facts(fmt) for fmt in SCALED.values()]
    rows += [
        {"name": fmt.name, "bits_per_element": float(fmt.bits), "element": "1, i, -1, -i", "scale": "binary32",
         "block": fmt.blocks.spec, "rule": "mean", "outer": None, "source": fmt.source}
        for fmt in PHASES
    ]  # fmt: skip
    rows += [
        {"name": fmt.name, "bits_per_element": fmt.bits_per_element(), "element": f"sum of {len(fmt.stages)} signs",
         "scale": "binary32", "block": fmt.blocks.spec, "rule": fmt.refit, "outer": None, "source": fmt.source}
        for fmt in RESIDUAL.values()
    ]  # fmt: skip
    return pandas.DataFrame(rows).set_index("name")


def scaled_facts(fmt: ScaledFormat) -> dict[str, object]:
    """The facts of one scaled format, as `list_scaled_formats` shows them."""
    outer = f"{fmt.outer.scale.name} per {fmt.outer.blocks.spec}" if fmt.outer else None
    rule = fmt.rule.spec if fmt.order == "plain" else fmt.order
    return {
        "name": fmt.name,
        "bits_per_element": fmt.bits_per_element(),
        "element": fmt.element.name,
        "scale": fmt.scale.name,
        "block": fmt.blocks.spec,
        "rule": f"{rule}, zero point" if fmt.zero_point else rule,
        "outer": outer,
        "source": fmt.source,
    }


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
    if isinstance(fmt, TaperedFormat):
        kinds = {"nan": "NaR", "infinity": "Inf NaN", "saturate": "none"}
        return kinds[fmt.rules.infinite]
    if not isinstance(fmt, FloatFormat):
        return "none"
    kinds = [] if fmt.specials is NONE else ["Inf"] if fmt.specials.infinity else []
    kinds += ["NaN"] if fmt.nan_code is not None else []
    kinds += ["-0"] if fmt.has_negative_zero else []
    kinds += [] if fmt.zero else ["no zero"]
    return " ".join(kinds) or "none"
