"""Scaled formats by name: the table, patterns that parse, and `scaled` to write down any other.

mxfp4  nvfp4  four_over_six  nf4_dq  bitnet  ...                  rows of the table
int8_per_tensor  fp8_e4m3_per_row  int4_per_channel_asym          any element, one binary32 scale
bfp8                                                              block floating point, 16 integers of 8 bits
scaled(fp4_e2m1,scale=ue5m3,block=16,rule=rceil)                  what `scaled` returns, as a name
"""

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

from .blocks import Blocks, blocks
from .floats import FN, NONE, FloatFormat
from .integers import IntFormat
from .registry import Format, plain_format
from .scaled import BINARY32, TENSOR, Element, Outer, Rule, ScaledFormat, ScaleFormat
from .scaled import rule as named_rule
from .suggest import unknown

_PER = re.compile(r"(.+)_per_(tensor|row|token|column|channel)(_asym)?")
_BFP = re.compile(r"bfp(\d{1,2})")
_OPTIONS = ("scale", "block", "rule", "outer", "outer_target", "target", "encode", "epsilon", "zero_point", "order",
            "micro", "rounding")  # fmt: skip


def scaled(
    element: "str | Format",
    *,
    scale: "str | ScaleFormat" = BINARY32,
    block: "int | str | tuple[int, ...] | Blocks" = "tensor",
    axis: int | tuple[int, ...] | None = None,
    rule: "str | Rule | None" = None,
    outer: "str | ScaleFormat | Outer | None" = None,
    outer_block: "int | str | tuple[int, ...] | Blocks" = "tensor",
    target: Any = None,
    encode: str = "divide",
    zero_point: bool = False,
    rounding: str = "nearest_even",
    epsilon: float = 0.0,
) -> ScaledFormat:
    """A format whose elements share scales.

    Args:
        element: format of the elements, or its name.
        scale: format of the scales: 'e8m0' for powers of two, 'ue4m3', 'ue5m3', 'uint8', 'binary32', ...
        block: which elements share a scale: a size along the last axis, a tuple of sizes for the last axes,
            'tensor', 'row' (or 'token'), 'column', 'channel', 'flat64', or a string such as '16@0'.
        axis: the axis, or axes, of the sizes where they are not the last ones.
        rule: 'floor', 'ceil', 'even', 'tetrajet', 'nearest_log2', 'rceil' or 'nearest'; a statistic,
            'mean', 'percentile:99.9' or 'static:2.5'; 'mse' to search; or several joined by '+'. Default:
            'floor' where scales are powers of two, else 'nearest', both of the largest magnitude.
        outer: format of a second level of scales, or None for a single level.
        outer_block: which elements share an outer scale.
        target: the element the statistic shall become; default the largest, of tapered formats the end of the
            range in which they are most precise.
        encode: 'divide' by the scale or multiply with its 'reciprocal'; the two differ in the last bit.
        zero_point: asymmetric; the element is then an unsigned integer.
        rounding: of the elements where a call names none.
        epsilon: added to the scale in the division only.

    Raises:
        ValueError: an unknown name, or pieces that do not go together.

    Example:
        >>> fmt = scaled("fp4_e2m1", scale="ue5m3", block=16, rule="rceil")
        >>> fmt.name
        'scaled(fp4_e2m1,scale=ue5m3,block=16,rule=rceil)'
        >>> scaled("fp4_e2m1", scale="e8m0", block=32).name
        'mxfp4'
    """
    if outer is None and outer_block != "tensor":
        raise ValueError(f"outer_block={outer_block!r} needs a format of the outer scales; pass outer='binary32'")
    scale_format: Any = plain_format(scale)
    one_bit = isinstance(scale_format, FloatFormat) and scale_format.mantissa_bits == 0
    given_outer = outer if isinstance(outer, Outer) or outer is None else Outer(_scale(outer), blocks(outer_block))
    fmt = ScaledFormat(
        "scaled format",
        plain_format(element),
        scale_format,
        blocks(block, axis),
        named_rule(rule or ("floor" if one_bit else "nearest"), one_bit),
        given_outer,
        None if target is None else Fraction(target),
        encode,  # pyright: ignore[reportArgumentType]
        float(epsilon),
        zero_point,
        rounding=rounding,
        source="written down",
    )
    return _called(fmt)


def _scale(name: "str | ScaleFormat") -> ScaleFormat:
    found: Any = plain_format(name)
    return found


def _called(fmt: ScaledFormat) -> ScaledFormat:
    """The row of the table it equals, or the format named by its own description."""
    known = _CANONICAL.get(fmt)
    return known if known is not None else replace(fmt, name=fmt.describe(_name_of))


def _name_of(part: Element) -> str:
    """What `plain_format` parses: the name of a layout, the whole of a table."""
    name = plain_format(part.spec).name
    return name if name != "codebook" else part.spec


def parse_scaled(name: str) -> ScaledFormat | None:
    """The scaled format of that (lower-case) name, or None.

    Raises:
        ValueError: a name of the right form whose pieces are unknown or do not go together.
    """
    name = SCALED_ALIASES.get(name, name)
    if name in SCALED:
        return SCALED[name]
    if name.startswith("scaled(") and name.endswith(")"):
        return _called(_parse_description(name, name[len("scaled(") : -1]))
    if found := _BFP.fullmatch(name):
        return block_floating_point(int(found[1]))
    if found := _PER.fullmatch(name):
        return per(found[1], found[2], bool(found[3]))
    return None


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _parse_description(name: str, text: str) -> ScaledFormat:
    element, *pairs = _split(text)
    options: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in _OPTIONS:
            raise ValueError(unknown("option", key, _OPTIONS))
        if key in options:
            raise ValueError(f"{name!r} says {key} twice; keep one")
        options[key] = value
    if options.get("zero_point", "true") not in ("true", "false"):
        raise ValueError(f"{name!r}: expected zero_point=true or false, got {options['zero_point']!r}")
    scale: Any = plain_format(options.get("scale", "binary32"))
    one_bit = isinstance(scale, FloatFormat) and scale.mantissa_bits == 0
    outer = None
    if "outer" in options:
        outer_scale, _, outer_block = options["outer"].partition(":")
        target = _fraction(options, "outer_target")
        outer = Outer(_scale(outer_scale), blocks(outer_block or "tensor"), target)
    return ScaledFormat(
        name,
        plain_format(element),
        scale,
        blocks(options.get("block", "tensor")),
        named_rule(options.get("rule", "floor" if one_bit else "nearest"), one_bit),
        outer,
        _fraction(options, "target"),
        options.get("encode", "divide"),  # pyright: ignore[reportArgumentType]
        float(options.get("epsilon", 0)),
        options.get("zero_point", "false") == "true",
        options.get("order", "plain"),  # pyright: ignore[reportArgumentType]
        tuple(map(int, options["micro"].split("x"))) if "micro" in options else (),
        options.get("rounding", "nearest_even"),
        source="written down",
    )


def _fraction(options: dict[str, str], key: str) -> Fraction | None:
    try:
        return Fraction(options[key]) if key in options else None
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{key}: expected a number such as 6 or 1/8, got {options[key]!r}") from None


def per(element: "str | Format", granularity: str, asymmetric: bool = False) -> ScaledFormat:
    """One binary32 scale per tensor, row, token, column or channel, the largest magnitude becoming the largest element.

    Integers are symmetric, without their most negative code, or asymmetric with a zero point (iNTb -> uINTb).
    """
    fmt: Any = plain_format(element)
    if isinstance(fmt, IntFormat) and not fmt.mid_rise and not fmt.exponent:
        code = "uint" if asymmetric or not fmt.signed else "int"
        fmt = plain_format(f"{code}{fmt.bits}" + ("" if asymmetric or not fmt.signed or fmt.bits == 1 else "_narrow"))
    elif asymmetric:
        raise ValueError(f"asymmetric scaling needs integers, got {fmt.name}; leave _asym out")
    plain_name = fmt.name.removesuffix("_narrow") if not asymmetric else fmt.name.removeprefix("u")
    return ScaledFormat(
        f"{plain_name}_per_{granularity}{'_asym' if asymmetric else ''}",
        fmt,
        blocks=blocks(granularity),
        zero_point=asymmetric,
        source="absmax scaling" if not asymmetric else "min-max scaling",
    )


def block_floating_point(bits: int) -> ScaledFormat:
    """Block floating point: 16 sign-magnitude-symmetric integers of `bits` bits share a power of two.

    Raises:
        ValueError: bits out of range.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"bfp formats have 2 to 16 bits, got {bits}")
    element: Any = plain_format(f"int{bits}_narrow@{2 - bits}")
    return ScaledFormat(f"bfp{bits}", element, _E8M0, blocks(16), Rule("floor"), source="J. H. Wilkinson, 1963")


def _mx(name: str, element: "str | Format") -> ScaledFormat:
    fmt = plain_format(element)
    return ScaledFormat(name, fmt, _E8M0, blocks(32), Rule("floor"), source="OCP Microscaling Formats (MX) v1.0")


def _nvfp4(name: str, element: str, block: int | tuple[int, ...], source: str) -> ScaledFormat:
    """S_enc = target * 448 / amax of the tensor, s = E4M3(amax * (S_enc * fl(1 / target))), D = s * fl(1 / S_enc)."""
    fmt = plain_format(element)
    outer = Outer(BINARY32)
    return ScaledFormat(
        name, fmt, _E4M3, blocks(block), Rule(), outer, encode="reciprocal", order="nvidia", source=source
    )  # fmt: skip


def _normal_float(name: str, element: str, double: bool) -> ScaledFormat:
    outer = Outer(BINARY32, blocks("flat16384")) if double else None
    scale: Any = plain_format("uint8") if double else BINARY32
    source = "arXiv:2305.14314; 8-bit scales in groups of 256, arXiv:2311.12023" if double else "arXiv:2305.14314"
    return ScaledFormat(name, plain_format(element), scale, blocks("flat64"), Rule(), outer, source=source)


def _absmean(name: str, element: str, epsilon: float, source: str) -> ScaledFormat:
    return ScaledFormat(name, plain_format(element), rule=Rule(statistic="mean"), epsilon=epsilon, source=source)


def _narrow(bits: int, exponent: int) -> Format:
    return plain_format(f"int{bits}_narrow@{exponent}")


_E8M0: Any = plain_format("e8m0")
_E4M3: Any = plain_format("fp8_e4m3")
_UE5M3: Any = plain_format("ue5m3")
_E6M2 = FloatFormat("e6m2", 6, 2, 48, FN, signed=False, subnormals=False, zero=False, source="arXiv:2602.11287")
_S1P2 = FloatFormat("s1p2", 1, 2, 1, NONE, source="arXiv:2602.11287")
_NVIDIA = "arXiv:2509.25149"

SCALED: dict[str, ScaledFormat] = {
    fmt.name: fmt
    for fmt in (
        _mx("mxfp8_e4m3", "fp8_e4m3"),
        _mx("mxfp8_e5m2", "fp8_e5m2"),
        _mx("mxfp6_e3m2", "fp6_e3m2"),
        _mx("mxfp6_e2m3", "fp6_e2m3"),
        _mx("mxfp4", "fp4_e2m1"),
        _mx("mxint8", _narrow(8, -6)),  # the most negative code stays unused: training needs symmetry
        _mx("mxint4", _narrow(4, -2)),
        _nvfp4("nvfp4", "fp4_e2m1", 16, _NVIDIA),
        _nvfp4("nvfp4_2d", "fp4_e2m1", (16, 16), _NVIDIA + ", weights"),
        _nvfp4("nvint4", "int4_narrow", 16, "arXiv:2510.25602"),
        ScaledFormat(
            "four_over_six", plain_format("fp4_e2m1"), _E4M3, blocks(16), Rule(search=(1.0, 1.5)),
            Outer(BINARY32, TENSOR, Fraction(256)), source="arXiv:2512.02010",
        ),
        ScaledFormat("fp4_ue5m3", plain_format("fp4_e2m1"), _UE5M3, blocks(16), Rule(), source="arXiv:2509.17791"),
        ScaledFormat(
            "hif4", _S1P2, _E6M2, blocks(64), Rule(), order="hif4", micro=(8, 4), rounding="nearest_away",
            encode="reciprocal", source="arXiv:2602.11287",
        ),
        _normal_float("nf4_block64", "nf4", double=False),
        _normal_float("nf4_dq", "nf4", double=True),
        _normal_float("nf2_dq", "nf2", double=True),
        _normal_float("af4_dq", "af4", double=True),
        _absmean("bitnet", "ternary", 1e-5, "arXiv:2402.17764"),
        _absmean("binary_absmean", "binary", 0.0, "arXiv:1603.05279"),
        *(
            per(f"int{bits}", kind, asymmetric)
            for bits in (8, 4) for kind in ("tensor", "row", "channel") for asymmetric in (False, True)
        ),
    )
}  # fmt: skip
"""The named scaled formats. OCP and NVIDIA formats scale along the last axis; `ScaledFormat.along` moves them."""

SCALED_ALIASES = {
    "mxfp8": "mxfp8_e4m3",
    "mxfp6": "mxfp6_e3m2",
    "mxfp4_e2m1": "mxfp4",
    "nvfp4_16x16": "nvfp4_2d",
    "4over6": "four_over_six",
    "nvfp4_4over6": "four_over_six",
    "hifloat4": "hif4",
    "bitnet_b158": "bitnet",
}
"""Other names people type."""

_CANONICAL = {fmt: fmt for fmt in reversed(SCALED.values())}
