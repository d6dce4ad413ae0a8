"""Scaled formats: small elements that share scales. One description covers MX, NVFP4, per-tensor integers, NF4, HiF4.

The numbers x of a block become elements and one scale,

    stat   = statistic of the block           absmax, mean, a percentile, a given number
    ideal  = the scale that fits stat         by the rule, towards target, the element that stat shall become
    s      = ideal, rounded to the scale format, first divided by an outer scale S where there is one
    D      = s * S                            the decoding scale
    q      = round(x / D)                     to the element format; or x * fl(1 / D)
    value  = q * D                            rounded once to the dtype of the result

Arithmetic on scales is IEEE 754 float32 (float64 for float64 input), one rounding an operation, with gradual
underflow. Where all scales are powers of two, x / D is exact and nothing but q is rounded.

Sources: OCP Microscaling Formats (MX) v1.0; NVIDIA NVFP4 (arXiv:2509.25149); arXiv:2305.14314 (QLoRA).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod
from typing import Literal

from .blocks import Blocks
from .floats import FLOATS, FloatFormat
from .integers import IntFormat
from .listing import Listed, is_listed
from .rounding import rounding as named_rounding
from .suggest import unknown
from .tapered import TaperedFormat

Element = FloatFormat | IntFormat | Listed
"""What an element can be."""

ScaleFormat = FloatFormat | IntFormat
"""What a scale can be."""

BINARY32 = FLOATS[0]
TENSOR = Blocks(rest=0)

FITS = {
    "floor": "2**(floor(log2 stat) - emax), OCP MX; emax = floor(log2 target)",
    "ceil": "2**(ceil(log2 stat) - emax)",
    "even": "as floor, stat first rounded half up to the mantissa bits of the element",
    "tetrajet": "2**ceil(log2(stat / target)), the smallest power of two that never saturates",
    "nearest_log2": "2**round(log2(stat / target))",
    "rceil": "stat * fl(1 / target), rounded up to the scale format",
    "nearest": "stat / target, rounded to the nearest value of the scale format",
}
"""How a statistic becomes a scale. The first five are powers of two."""

POWER_OF_TWO_FITS = ("floor", "ceil", "even", "tetrajet", "nearest_log2")
STATISTICS = ("absmax", "mean", "percentile", "static")
ORDERS = ("plain", "nvidia", "hif4")

_MSE = re.compile(r"mse(?::(\d+)|:([\d.e/-]+))?")


@dataclass(frozen=True, slots=True)
class Rule:
    """How the numbers of a block become its scale.

    Args:
        fit: one of `FITS`.
        statistic: 'absmax', 'mean' (of magnitudes), 'percentile' (of magnitudes, nearest rank) or 'static'.
        parameter: the percentile, 0 < p <= 100, or the static number.
        search: factors on the ideal scale; the one with the smallest squared error of its block is taken,
            the first one among equals. Empty for no search.

    Raises:
        ValueError: an unknown name, or a parameter that is missing, superfluous or out of range.
    """

    fit: str = "nearest"
    statistic: str = "absmax"
    parameter: float | None = None
    search: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(unknown("fit", self.fit, FITS))
        if self.statistic not in STATISTICS:
            raise ValueError(unknown("statistic", self.statistic, STATISTICS))
        needs = self.statistic in ("percentile", "static")
        if needs != (self.parameter is not None):
            number = "a number" if needs else "no number"
            raise ValueError(f"statistic {self.statistic!r} takes {number}, as in 'static:2.5' and 'mean'")
        if self.statistic == "percentile" and not 0 < (self.parameter or 0) <= 100:
            raise ValueError(f"expected a percentile above 0 and up to 100, got {self.parameter}")
        if self.statistic == "static" and not 0 < (self.parameter or 0) < float("inf"):
            raise ValueError(f"expected a static number that is positive and finite, got {self.parameter}")
        if any(not 0 < factor < float("inf") for factor in self.search):
            raise ValueError(f"expected positive factors to search over, got {self.search}")

    @property
    def power_of_two(self) -> bool:
        """Whether ideal scales are powers of two."""
        return self.fit in POWER_OF_TWO_FITS

    @property
    def spec(self) -> str:
        """A string that `rule` parses back to an equal rule."""
        statistic = self.statistic if self.parameter is None else f"{self.statistic}:{_text(self.parameter)}"
        search = "mse:" + "/".join(map(_text, self.search)) if self.search else ""
        return "+".join(filter(None, ("" if statistic == "absmax" else statistic, self.fit, search)))


def _text(number: float) -> str:
    """A float without the '+' that joins the parts of a rule; it always has a '.' or an 'e'."""
    return repr(float(number)).replace("e+", "e")


def rule(given: "str | Rule", power_of_two: bool = False) -> Rule:
    """The rule that was written down: names joined by '+', such as 'floor', 'percentile:99.9+rceil', 'mse:40'.

    Args:
        given: a fit, a statistic, 'mse' (a search over shrinking scales; 'mse:40' over 40 of them,
            'mse:1.0/1.5' over given factors), or several of them.
        power_of_two: whether scales are powers of two, which decides the fit where none is named ('floor'
            then, else 'nearest') and the factors that 'mse' tries (1, 2, 1/2 then, else 1, .99, .98, ...).

    Raises:
        ValueError: an unknown name; the message has the nearest known ones.
    """
    if isinstance(given, Rule):
        return given
    found: dict = {}
    for part in re.sub(r"(?<=[\d.])e\+", "e", given.strip().lower()).split("+"):
        name, _, detail = part.partition(":")
        if name in FITS or name == "ocp":
            if ":" in part:
                raise ValueError(f"fit {name!r} takes no ':', got {part!r}; join parts with '+', as in 'mean+{name}'")
            key, value = "fit", "floor" if name == "ocp" else name
        elif matched := _MSE.fullmatch(part):
            key, value = "search", _factors(part, matched[1], matched[2], power_of_two)
        elif name in STATISTICS or name == "absmean":
            key, value = "statistic", "mean" if name == "absmean" else name
            found |= {"parameter": _number(part, detail)} if detail else {}
        else:
            raise ValueError(unknown("rule", part, [*FITS, *STATISTICS, "mse"]))
        if key in found:
            raise ValueError(f"rule {given!r} names two {key}s, {found[key]!r} and {value!r}; keep one")
        found[key] = value
    found.setdefault("fit", "floor" if power_of_two else "nearest")
    return Rule(**found)


def _number(part: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number after ':' in {part!r}, e.g. 'percentile:99.9'") from None


def _factors(part: str, count: str | None, given: str | None, power_of_two: bool) -> tuple[float, ...]:
    """GPTQ's grid, shrinking by hundredths (arXiv:2210.17323, reference code), or one step either way."""
    if given:
        return tuple(_number(part, factor) for factor in given.split("/"))
    if power_of_two and not count:
        return (1.0, 2.0, 0.5)
    number = int(count or 80)
    if not 1 <= number <= 99:
        raise ValueError(f"expected 1 to 99 scales to search over, got {number}")
    return tuple((100 - k) / 100 for k in range(number))


@dataclass(frozen=True, slots=True)
class Outer:
    """A second level: a scale that the scales of a group of blocks share.

    Args:
        scale: its format.
        blocks: which elements share it; each group covers whole blocks of the first level.
        target: what the largest scale of a group becomes; None for the largest value of the scale format.

    Raises:
        ValueError: a target that is not positive.
    """

    scale: ScaleFormat = BINARY32
    blocks: Blocks = TENSOR
    target: Fraction | None = None

    def __post_init__(self) -> None:
        if self.target is not None and self.target <= 0:
            raise ValueError(f"expected a positive target of the outer scale, got {self.target}")


@dataclass(frozen=True, slots=True)
class ScaledFormat:
    """Elements that share scales.

    Args:
        name: what reports call it; not part of its identity.
        element: format of the elements.
        scale: format of the scales.
        blocks: which elements share a scale.
        rule: how the numbers of a block become its scale.
        outer: a second level of scales, or None.
        target: the element that the block's statistic shall become; None for the largest, see `goal`.
        encode: 'divide', q = round(x / D), or 'reciprocal', q = round(x * min(fl(1 / D), largest)).
        epsilon: added to D in the division only (BitNet).
        zero_point: asymmetric integers: the range of a block, which includes 0, is mapped to all codes;
            its scale is (max - min) / (2**bits - 1), its zero point round(-min / scale).
        order: the sequence of operations: 'plain' as the module says; 'nvidia' and 'hif4' as their rows say.
        micro: sizes of nested sub-blocks, from the outside in, each with an exponent bit of its own ('hif4').
        rounding: of the elements where the call names none.
        source: where the row was read.

    Raises:
        ValueError: pieces that do not go together; the message names the one to change.
    """

    name: str = field(compare=False)
    element: Element
    scale: ScaleFormat = BINARY32
    blocks: Blocks = TENSOR
    rule: Rule = Rule()
    outer: Outer | None = None
    target: Fraction | None = None
    encode: Literal["divide", "reciprocal"] = "divide"
    epsilon: float = 0.0
    zero_point: bool = False
    order: Literal["plain", "nvidia", "hif4"] = "plain"
    micro: tuple[int, ...] = ()
    rounding: str = "nearest_even"
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for what in (self.scale, self.outer.scale if self.outer else BINARY32):
            if not isinstance(what, FloatFormat | IntFormat) or (isinstance(what, IntFormat) and what.mid_rise):
                raise ValueError(f"{self.name}: a scale is a float or integer format, got {what.name}")
            if what.max <= 0 or what.bits > 32:
                raise ValueError(f"{self.name}: a scale needs positive values, got {what.name}")
        if self.target is not None and self.target <= 0:
            raise ValueError(f"{self.name}: expected a positive target, got {self.target}")
        if self.target is None and self.element.max <= 0:
            raise ValueError(f"{self.name}: {self.element.name} has no positive value; pass target=")
        if self.encode not in ("divide", "reciprocal"):
            raise ValueError(unknown("encode", str(self.encode), ("divide", "reciprocal")))
        if self.order not in ORDERS:
            raise ValueError(unknown("order", str(self.order), ORDERS))
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"{self.name}: expected epsilon >= 0, got {self.epsilon}")
        named_rounding(self.rounding)
        self._check_rule()

    def _check_rule(self) -> None:
        if self.rule.fit == "even" and is_listed(self.element):
            what = self.element.name
            raise ValueError(
                f"{self.name}: the rule 'even' needs the mantissa bits of a grid, not {what}; use 'nearest'"
            )
        if self.zero_point:
            whole = isinstance(self.element, IntFormat) and not self.element.signed and not self.element.mid_rise
            if not whole or self.element.exponent:  # pyright: ignore[reportAttributeAccessIssue]
                raise ValueError(f"{self.name}: a zero point needs an unsigned integer element, e.g. uint8")
            if self.rule != Rule() or self.order != "plain" or self.outer or self.encode != "divide" or self.target:
                raise ValueError(f"{self.name}: a zero point goes with rule 'nearest', no target and no outer scale")
        if self.order == "nvidia" and (self.outer is None or self.outer.blocks != TENSOR):
            raise ValueError(f"{self.name}: the order 'nvidia' needs an outer scale of the whole tensor")
        if self.order != "plain" and (self.rule.search or self.rule.statistic != "absmax"):
            raise ValueError(f"{self.name}: the order {self.order!r} takes the largest magnitude, not {self.rule.spec}")
        if (self.order == "hif4") != bool(self.micro):
            raise ValueError(f"{self.name}: micro exponents go with the order 'hif4'")
        sizes = (self.block_size, *self.micro)
        if any(size < 1 for size in self.micro):
            raise ValueError(f"{self.name}: expected sub-blocks of one or more elements, got sizes {sizes}")
        if self.micro and (len(self.blocks.axes) != 1 or any(a % b for a, b in zip(sizes, self.micro))):
            raise ValueError(f"{self.name}: each sub-block divides the one around it, got sizes {sizes}")

    @property
    def block_size(self) -> int:
        """Elements of a block, 0 where a block takes whole axes."""
        return 0 if not self.blocks.sizes or self.blocks.rest == 0 else prod(self.blocks.sizes)

    @property
    def bits(self) -> int:
        """Storage bits of one element, scales aside; see `bits_per_element`."""
        return self.element.bits

    @property
    def goal(self) -> Fraction:
        """The element that the block's statistic shall become.

        Without a target the largest element; of posits, takums and HiFloat8, whose largest value is of no use to
        a typical number, the end of the range in which they are most precise.
        """
        if self.target is not None:
            return self.target
        if self.zero_point:
            return Fraction((1 << self.element.bits) - 1)
        return self.element.precise_up_to if isinstance(self.element, TaperedFormat) else self.element.max

    @property
    def scale_target(self) -> Fraction:
        """What the largest scale of a group becomes under the outer scale."""
        return self.scale.max if self.outer is None or self.outer.target is None else self.outer.target

    @property
    def power_of_two_scales(self) -> bool:
        """Whether every decoding scale is a power of two, so that scaling is exact."""
        plain = self.outer is None and self.order == "plain" and self.encode == "divide"
        exact = isinstance(self.scale, FloatFormat) and self.scale.mantissa_bits == 0
        return exact and plain and not self.epsilon and not self.zero_point

    @property
    def dynamic(self) -> bool:
        """Whether scales follow the data."""
        return self.rule.statistic != "static"

    def bits_per_element(self, shape: tuple[int, ...] | None = None) -> float:
        """Storage bits of an element with its share of scales, micro exponents and zero points.

        Args:
            shape: of the array; without it scales of whole axes and tensors count as nothing.

        Example:
            >>> from halfulp.formats.catalogue import format
            >>> format("mxfp4").bits_per_element()
            4.25
        """
        per_block = self.scale.bits + (self.element.bits if self.zero_point else 0)
        total = float(self.element.bits)
        if shape is None:
            total += per_block / self.block_size if self.block_size else 0.0
            total += sum(1 / size for size in self.micro)
            if self.outer and self.outer.blocks.sizes and all(self.outer.blocks.sizes):
                total += self.outer.scale.bits / prod(self.outer.blocks.sizes)
            return total
        count = prod(shape)
        if not count:
            return total
        per_block += sum(self.block_size // size for size in self.micro)
        total += per_block * prod(self.blocks.grid(shape)) / count
        return total + (self.outer.scale.bits * prod(self.outer.blocks.grid(shape)) / count if self.outer else 0.0)

    def along(self, axis: int | tuple[int, ...]) -> "ScaledFormat":
        """The same format with its blocks along another axis.

        Raises:
            ValueError: a granularity that has no axis, or another number of axes.
        """
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        if not self.blocks.axes or self.blocks.rest == 0:
            raise ValueError(
                f"{self.name} has one scale per {self.blocks.spec}, so axis={axis} says nothing; leave it out"
            )
        moved = replace(self, blocks=self.blocks.along(axes))
        return self if moved == self else replace(moved, name=moved.spec)

    def describe(self, name_of: Callable[[Element], str]) -> str:
        """The format written down as `scaled` takes it, default options left out.

        Args:
            name_of: what to call the element and scale formats.
        """
        pieces = [name_of(self.element), f"scale={name_of(self.scale)}", f"block={self.blocks.spec}"]
        pieces.append(f"rule={self.rule.spec}")
        if self.outer:
            pieces.append(f"outer={name_of(self.outer.scale)}:{self.outer.blocks.spec}")
            pieces += [f"outer_target={self.outer.target}"] if self.outer.target is not None else []
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            pieces += [f"{name}={str(value).lower()}"] if value != default else []
        pieces += [f"micro={'x'.join(map(str, self.micro))}"] if self.micro else []
        return f"scaled({','.join(pieces)})"

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format, whatever this one is called."""
        return self.describe(lambda fmt: fmt.spec)


_DEFAULTS = {
    "target": None,
    "encode": "divide",
    "epsilon": 0.0,
    "zero_point": False,
    "order": "plain",
    "rounding": "nearest_even",
}
