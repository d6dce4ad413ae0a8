"""Binary floating-point formats: one row of data describes IEEE, OCP, fnuz and any ExMy layout.

A code is sign | exponent field F (exponent_bits) | fraction T (mantissa_bits). Its magnitude is

    F > 0:  2**(F - bias) * (1 + T / 2**mantissa_bits)         normal
    F = 0:  2**(1 - bias) * (T / 2**mantissa_bits)             subnormal, or 0 where there are none
    F = 0 and no zero (E8M0):  as F > 0

With exponent_bits = 0 every code is subnormal: a fixed-point grid. With one exponent bit both binades
have the same spacing, so E1My is the integer grid too.

Sources: IEEE 754-2019 section 3; OCP OFP8 v1.0; OCP Microscaling Formats v1.0; arXiv:2206.02915 (fnuz);
IEEE P3109 interim report v4.0, `p3109`.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from .dyadic import power

Nan = Literal["none", "top_exponent", "top_code", "negative_zero"]


@dataclass(frozen=True, slots=True)
class Specials:
    """The codes that are not numbers.

    Args:
        name: the suffix used in format names.
        infinity: whether the code after the largest finite one is infinite.
        nan: which codes are NaN: none; "top_exponent", the rest of the top exponent field;
            "top_code", the all-ones code only; "negative_zero", the code of -0.
        clamps: whether the largest value also stands for an overflow that nothing else can stand for; in
            other formats without infinity NaN does.
    """

    name: str
    infinity: bool
    nan: Nan
    clamps: bool = False


IEEE = Specials("ieee", True, "top_exponent")
FN = Specials("fn", False, "top_code")
FNUZ = Specials("fnuz", False, "negative_zero")
NONE = Specials("", False, "none")
P3109_EXTENDED = Specials("p3109e", True, "negative_zero")
P3109_FINITE = Specials("p3109f", False, "negative_zero", clamps=True)
P3109_UNSIGNED_EXTENDED = Specials("p3109ue", True, "top_code")
P3109_UNSIGNED_FINITE = Specials("p3109uf", False, "top_code", clamps=True)
_P3109 = (P3109_EXTENDED, P3109_FINITE, P3109_UNSIGNED_EXTENDED, P3109_UNSIGNED_FINITE)
SPECIALS = {"ieee": IEEE, "fn": FN, "fnuz": FNUZ, "none": NONE} | {kind.name: kind for kind in _P3109}
"""The kinds of specials by name."""


def default_bias(exponent_bits: int) -> int:
    """2**(E-1) - 1 for E >= 2, 0 for E1 and 1 for E0, which makes E0My the grid i * 2**-y."""
    return 1 if exponent_bits == 0 else (1 << (exponent_bits - 1)) - 1


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary floating-point format.

    Args:
        name: what reports call it; not part of its identity.
        exponent_bits: width of the exponent field, 0 to 16.
        mantissa_bits: width of the stored fraction, 0 to 30; or 52, of binary64.
        bias: exponent bias.
        specials: `IEEE`, `FN`, `FNUZ`, `NONE` or those of `p3109`.
        signed: whether there is a sign bit.
        subnormals: whether field 0 holds subnormals; without them it holds zero only, and values
            below the smallest normal round to that or to zero.
        zero: False makes field 0 one more binade of normals (E8M0); needs unsigned, no subnormals.
        source: where the row was read.

    Raises:
        ValueError: a layout that contradicts itself; the message names the field to change.
    """

    name: str = field(compare=False)
    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Specials
    signed: bool = True
    subnormals: bool = True
    zero: bool = True
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        e, m = self.exponent_bits, self.mantissa_bits
        if not (0 <= e <= 16 and 0 <= m <= 30 and e + m >= 1 and self.bits <= 32) and (e, m) != (11, 52):
            raise ValueError(
                f"{self.name}: expected 0 to 16 exponent and 0 to 30 mantissa bits, at most 32 in all, got E{e}M{m}"
            )
        if self.specials.nan == "top_exponent" and (e == 0 or m == 0):
            raise ValueError(
                f"{self.name}: IEEE specials need an exponent and a mantissa bit, got E{e}M{m}; use fn, fnuz or none"
            )
        if self.specials.nan == "negative_zero" and not self.signed:
            raise ValueError(
                f"{self.name}: {self.specials.name} keeps NaN in the code of -0 and needs a sign; use fn or none"
            )
        if e == 0 and not self.subnormals:
            raise ValueError(f"{self.name}: E0 has subnormals only; leave subnormals=True")
        if not self.zero and (self.signed or self.subnormals):
            raise ValueError(f"{self.name}: a format without zero is unsigned and has no subnormals")
        if self.max_code < (1 if self.zero else 0) or self.max == 0:
            raise ValueError(f"{self.name}: the specials leave no finite value but zero; use specials='none'")

    @property
    def bits(self) -> int:
        """Storage bits of one code."""
        return self.exponent_bits + self.mantissa_bits + self.signed

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code without its sign."""
        return self.exponent_bits + self.mantissa_bits

    @property
    def max_code(self) -> int:
        """Code of the largest finite magnitude."""
        if self.specials.nan == "top_exponent":
            return ((1 << self.exponent_bits) - 1 << self.mantissa_bits) - 1
        return (1 << self.magnitude_bits) - 1 - (self.specials.nan == "top_code") - self.specials.infinity

    @property
    def infinity_code(self) -> int | None:
        """Code of +Inf, or None."""
        return self.max_code + 1 if self.specials.infinity else None

    @property
    def nan_code(self) -> int | None:
        """The canonical NaN: positive, and quiet where there is a choice; None without NaN."""
        match self.specials.nan:
            case "top_exponent":
                return (self.max_code + 1) | 1 << (self.mantissa_bits - 1)
            case "top_code":
                return (1 << self.magnitude_bits) - 1
            case "negative_zero":
                return 1 << self.magnitude_bits
            case _:
                return None

    @property
    def has_negative_zero(self) -> bool:
        """Whether -0 has a code of its own."""
        return self.signed and self.specials.nan != "negative_zero"

    @property
    def min_exponent(self) -> int:
        """log2 of the smallest normal number (for E0, of the first one past the grid)."""
        return (1 if self.zero else 0) - self.bias

    @property
    def quantum_exponent(self) -> int:
        """log2 of the spacing next to zero."""
        return self.min_exponent - (self.mantissa_bits if self.subnormals else 0)

    def magnitude(self, code: int) -> Fraction:
        """Exact magnitude of a code without its sign bit; the layout alone, specials not looked at."""
        exponent, fraction = divmod(code, 1 << self.mantissa_bits)
        if exponent == 0 and self.zero:
            return fraction * power(self.min_exponent - self.mantissa_bits) if self.subnormals else Fraction(0)
        return power(exponent - self.bias - self.mantissa_bits) * ((1 << self.mantissa_bits) + fraction)

    def value(self, code: int) -> Fraction | float:
        """Exact value of a code: a Fraction, or the float nan, inf, -inf or -0.0.

        Raises:
            ValueError: a code outside 0 .. 2**bits - 1.
        """
        if not 0 <= code < 1 << self.bits:
            raise ValueError(f"{self.name}: expected a code of {self.bits} bits, got {code:#x}")
        negative, magnitude_code = divmod(code, 1 << self.magnitude_bits)
        if self.specials.nan == "negative_zero" and code == self.nan_code:
            return float("nan")
        if magnitude_code > self.max_code:
            infinite = self.specials.infinity and magnitude_code == self.max_code + 1
            return float("nan") if not infinite else float("-inf") if negative else float("inf")
        magnitude = self.magnitude(magnitude_code)
        if negative:
            return -magnitude if magnitude else -0.0
        return magnitude

    @property
    def max(self) -> Fraction:
        """Largest finite value."""
        return self.magnitude(self.max_code)

    @property
    def min(self) -> Fraction:
        """Most negative finite value; for unsigned formats the smallest value."""
        return -self.max if self.signed else self.magnitude(0)

    @property
    def min_normal(self) -> Fraction | None:
        """Smallest positive normal value, None where every value is subnormal."""
        code = (1 << self.mantissa_bits) if self.zero else 0
        return self.magnitude(code) if code <= self.max_code and self.exponent_bits else None

    @property
    def min_positive(self) -> Fraction:
        """Smallest positive value."""
        if not self.zero:
            return self.magnitude(0)
        return power(self.quantum_exponent)

    @property
    def unit_roundoff(self) -> Fraction | None:
        """Largest relative error of rounding to nearest in the normal range, 2**-(mantissa_bits + 1)."""
        return Fraction(1, 2 << self.mantissa_bits) if self.exponent_bits else None

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format, whatever this one is called."""
        if self.specials in _P3109 and 3 <= self.bits <= 16 and self.exponent_bits:
            row = p3109(self.bits, self.mantissa_bits + 1, self.signed, self.specials.infinity)
            if self == row:
                return row.name
        bias = "" if self.bias == default_bias(self.exponent_bits) else f"b{self.bias}"
        tail = "" if self.subnormals or not self.zero else "_nosub"
        tail += "" if self.zero else "_nozero"
        sign = "" if self.signed else "u"
        return f"{sign}e{self.exponent_bits}m{self.mantissa_bits}{bias}{self.specials.name}{tail}"


def p3109(bits: int, precision: int, signed: bool = True, extended: bool = True) -> FloatFormat:
    """binary{K}p{P}{s|u}{e|f} of IEEE P3109: K bits, precision P, signed or unsigned, extended or finite domain.

    Bias 2**(K - P - 1) where signed and 2**(K - P) where unsigned; one NaN, no -0; the extended domain has
    infinities, the finite one clamps what overflows.

    Raises:
        ValueError: K beyond 3 to 16, or P beyond 1 to K - 1 (to K where unsigned).

    Source: IEEE P3109 interim report v4.0 (draft).

    Example:
        >>> p3109(8, 3).max
        Fraction(49152, 1)
    """
    name = f"binary{bits}p{precision}{'s' if signed else 'u'}{'e' if extended else 'f'}"
    if not 3 <= bits <= 16 or not 1 <= precision <= bits - signed:
        most = "K - 1 where signed" if signed else "K"
        raise ValueError(f"{name}: expected K of 3 to 16 bits and P of 1 to {most}, got K={bits}, P={precision}")
    exponent_bits = bits - precision + 1 - signed
    kinds = (P3109_EXTENDED, P3109_FINITE) if signed else (P3109_UNSIGNED_EXTENDED, P3109_UNSIGNED_FINITE)
    bias = 1 << (exponent_bits - 1)
    specials = kinds[0] if extended else kinds[1]
    return FloatFormat(name, exponent_bits, precision - 1, bias, specials, signed, source="IEEE P3109 v4.0")


#                             name           E   M   bias  specials  source
_OFP8 = "OCP OFP8 v1.0"
_MX = "OCP Microscaling Formats (MX) v1.0"
_P754 = "IEEE 754-2019"
_FNUZ = "arXiv:2206.02915"
_DTYPES = "ml_dtypes 0.6.0"
_NVIDIA = "NVIDIA PTX ISA, alternate floating-point formats"

FLOATS = (
    FloatFormat("binary32", 8, 23, 127, IEEE, source=_P754),
    FloatFormat("fp24", 7, 16, 63, IEEE, source="AMD R300 fragment pipeline, S1E7M16"),
    FloatFormat("tf32", 8, 10, 127, IEEE, source=_NVIDIA),
    FloatFormat("binary16", 5, 10, 15, IEEE, source=_P754),
    FloatFormat("bfloat16", 8, 7, 127, IEEE, source="arXiv:1905.12322"),
    FloatFormat("fp8_e4m3", 4, 3, 7, FN, source=_OFP8),
    FloatFormat("fp8_e4m3_ieee", 4, 3, 7, IEEE, source=_DTYPES),
    FloatFormat("fp8_e5m2", 5, 2, 15, IEEE, source=_OFP8),
    FloatFormat("fp8_e3m4", 3, 4, 3, IEEE, source=_DTYPES),
    FloatFormat("fp8_e4m3fnuz", 4, 3, 8, FNUZ, source=_FNUZ),
    FloatFormat("fp8_e5m2fnuz", 5, 2, 16, FNUZ, source=_FNUZ),
    FloatFormat("fp8_e4m3b11fnuz", 4, 3, 11, FNUZ, source=_DTYPES),
    FloatFormat("fp6_e3m2", 3, 2, 3, NONE, source=_MX),
    FloatFormat("fp6_e2m3", 2, 3, 1, NONE, source=_MX),
    FloatFormat("fp4_e2m1", 2, 1, 1, NONE, source=_MX),
    FloatFormat("fp4_e1m2", 1, 2, 0, NONE, source="arXiv:2501.02423"),
    FloatFormat("fp4_e3m0", 3, 0, 3, NONE, source="arXiv:2501.02423"),
    FloatFormat("e8m0", 8, 0, 127, FN, signed=False, subnormals=False, zero=False, source=_MX),
    FloatFormat("ue4m3", 4, 3, 7, FN, signed=False, source=_NVIDIA),
    FloatFormat("ue5m3", 5, 3, 15, FN, signed=False, source="arXiv:2509.17791"),
    p3109(8, 3),
    p3109(8, 4),
)
"""The named floating-point formats."""

BINARY64 = FloatFormat("binary64", 11, 52, 1023, IEEE, source=_P754)
"""float64 itself: for arithmetic that mixes it with narrower formats. It is none of the formats that have codes."""
BINARY64_NAMES = ("binary64", "float64", "fp64", "double")

FLOAT_ALIASES = {
    "binary32": ("fp32", "float32", "single"),
    "tf32": ("tensorfloat32",),
    "binary16": ("fp16", "float16", "half"),
    "bfloat16": ("bf16",),
    "fp8_e4m3": ("float8_e4m3fn", "fp8_e4m3fn", "ofp8_e4m3"),
    "fp8_e4m3_ieee": ("float8_e4m3", "q43"),
    "fp8_e5m2": ("float8_e5m2", "ofp8_e5m2", "q52"),
    "fp8_e3m4": ("float8_e3m4",),
    "fp8_e4m3fnuz": ("float8_e4m3fnuz",),
    "fp8_e5m2fnuz": ("float8_e5m2fnuz",),
    "fp8_e4m3b11fnuz": ("float8_e4m3b11fnuz",),
    "fp6_e3m2": ("float6_e3m2fn",),
    "fp6_e2m3": ("float6_e2m3fn",),
    "fp4_e2m1": ("float4_e2m1fn",),
    "e8m0": ("float8_e8m0fnu", "ue8m0", "e8m0fnu"),
    "ue4m3": ("float8_ue4m3",),
}
"""Other names people type."""
