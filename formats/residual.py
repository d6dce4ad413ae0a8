"""Residual stacks: each stage quantizes what the stages before it left, and the value is their sum.

    r_1 = x        q_k = Q_k(r_k)        r_(k+1) = r_k - z_k q_k        value = sum of z_k q_k

Gates z_k are 1, or 0 for a stage that is left out. A stack can be refitted to its numbers afterwards: by least
squares over each block for the coefficients of the q_k, or alternately for the coefficients and, these given, the
best codes of each number.

Sources: Binary coding quantization, arXiv:1802.00150 (alternating) and arXiv:1603.05279 (one bit); arXiv:2005.07093
(Bayesian Bits, gates).
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Literal

from .blocks import Blocks, blocks
from .exact import numbers
from .registry import NAMED, Format, plain_format
from .scaled import TENSOR, Rule, ScaledFormat
from .scaled_registry import SCALED, parse_scaled
from .suggest import unknown

Stage = Format | ScaledFormat
Refit = Literal["none", "least_squares", "alternating"]

REFITS = ("none", "least_squares", "alternating")
MOST_COMBINATIONS = 1 << 12
"""Combinations of codes that alternating refits try for each number."""


@dataclass(frozen=True, slots=True)
class ResidualFormat:
    """A sum of formats.

    Args:
        name: what reports call it; not part of its identity.
        stages: unscaled or scaled formats, the coarsest first.
        gates: whether each stage takes part; all when left out.
        refit: 'none', 'least_squares' or 'alternating'. Refits run on the host, in float64; blocks are those of
            the scaled stages, the whole array where there are none.
        source: where it was read.

    Raises:
        ValueError: no stage or none that takes part, gates that do not match, stages of different blocks in a
            refit, or too many combinations of codes for an alternating one.
    """

    name: str = field(compare=False)
    stages: tuple[Stage, ...]
    gates: tuple[bool, ...] = ()
    refit: Refit = "none"
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        stages = tuple(self.stages)
        gates = tuple(map(bool, self.gates)) or (True,) * len(stages)
        if not stages or len(gates) != len(stages) or not any(gates):
            raise ValueError(f"{self.name}: expected stages, a gate for each and one that is open, got gates {gates}")
        if self.refit not in REFITS:
            raise ValueError(f"{self.name}: expected a refit among {', '.join(REFITS)}, got {self.refit!r}")
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "gates", gates)
        if self.refit != "none" and len({stage.blocks for stage in self.open if isinstance(stage, ScaledFormat)}) > 1:
            raise ValueError(f"{self.name}: a refit needs scaled stages of the same blocks")
        if self.refit == "alternating" and (count := prod(map(_count, self.open))) > MOST_COMBINATIONS:
            raise ValueError(
                f"{self.name}: alternating refits try up to {MOST_COMBINATIONS} combinations of codes, got {count}; "
                "use refit='least_squares'"
            )

    @property
    def open(self) -> tuple[Stage, ...]:
        """The stages that take part."""
        return tuple(stage for stage, gate in zip(self.stages, self.gates) if gate)

    @property
    def blocks(self) -> Blocks:
        """The blocks of a refit."""
        return next((stage.blocks for stage in self.open if isinstance(stage, ScaledFormat)), TENSOR)

    @property
    def bits(self) -> int:
        """Storage bits of an element, scales aside."""
        return sum(stage.bits for stage in self.open)

    def bits_per_element(self, shape: tuple[int, ...] | None = None) -> float:
        """Storage bits of an element with its share of scales; see `ScaledFormat.bits_per_element`."""
        return sum(
            stage.bits_per_element(shape) if isinstance(stage, ScaledFormat) else stage.bits for stage in self.open
        )

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format."""
        gates = "" if all(self.gates) else "|gates=" + "".join("01"[gate] for gate in self.gates)
        refit = "" if self.refit == "none" else f"|refit={self.refit}"
        return "residual(" + ";".join(stage.spec for stage in self.stages) + gates + refit + ")"


def _count(stage: Stage) -> int:
    """How many different elements a stage has."""
    element = stage.element if isinstance(stage, ScaledFormat) else stage
    return 1 << element.bits if element.bits > 12 else len(numbers(element))


def residual(
    *stages: "str | Stage", gates: tuple[bool, ...] = (), refit: Refit = "none", name: str | None = None
) -> ResidualFormat:
    """A stack of formats or their names.

    Example:
        >>> residual("mxfp4", "mxfp4").bits_per_element()
        8.5
        >>> residual("binary_absmean", "binary_absmean", refit="alternating").name
        'bcq2'
    """
    fmt = ResidualFormat(name or "residual", tuple(map(_stage, stages)), gates, refit, "written down")
    known = _CANONICAL.get(fmt)
    if name is None and known is not None:
        return known
    shown = fmt.spec
    for stage in fmt.stages:
        if _parses(stage):
            shown = shown.replace(stage.spec, stage.name)
    return ResidualFormat(name or shown, fmt.stages, fmt.gates, fmt.refit, fmt.source)


def _parses(stage: Stage) -> bool:
    """Whether the stage's name stands for it."""
    try:
        return _stage(stage.name) == stage
    except ValueError:
        return False


def _stage(given: "str | Stage") -> Stage:
    if isinstance(given, ScaledFormat):
        return given
    scaled = parse_scaled(given.strip().lower()) if isinstance(given, str) else None
    if scaled is not None:
        return scaled
    try:
        return plain_format(given)
    except ValueError as error:
        if isinstance(given, str) and str(error).startswith("unknown format"):
            raise ValueError(unknown("format", given, [*SCALED, *NAMED])) from None
        raise


def binary_coding(bits: int, granularity: str = "tensor", refit: Refit = "alternating") -> ResidualFormat:
    """BCQ: a sum of `bits` signs, each with a scale per tensor, row, token, column or channel.

    Greedy where refit is 'none': each scale is the mean magnitude of what is left.

    Raises:
        ValueError: bits out of range.

    Source: arXiv:1802.00150; arXiv:1603.05279 for one bit.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bcq formats have 1 to 8 bits, got {bits}")
    if granularity == "tensor":
        stage = SCALED["binary_absmean"]
    else:
        spread = blocks(granularity)
        stage = ScaledFormat("binary", plain_format("binary"), rule=Rule(statistic="mean"), blocks=spread)
    kind = {"none": "_greedy", "least_squares": "_refit", "alternating": ""}[refit]
    where = "" if granularity == "tensor" else f"_per_{granularity}"
    return ResidualFormat(f"bcq{bits}{kind}{where}", (stage,) * bits, refit=refit, source="arXiv:1802.00150")


def bayesian_bits(limit: float | str, bits: int = 8, most: int = 16) -> ResidualFormat:
    """Nested uniform quantizers of 2, 4, 8 and 16 bits on [-limit, limit]; gates beyond `bits` are closed.

    Steps are s_2 = 2 limit / (2**2 - 1) and s_2b = s_b / (2**b + 1). With the gates up to b open a number is
    rounded to one of 2**b - 1 multiples of s_b, which take b bits; stage by stage the codes take a few more.

    Args:
        limit: the clipping range. With limit = (2**most - 1) / 2 * 2**k every step is a multiple of 2**k, and
            all arithmetic is exact.
        bits, most: 2, 4, 8 or 16, bits <= most.

    Raises:
        ValueError: other numbers of bits, or a limit that is not positive.

    Source: arXiv:2005.07093, equations 2 to 5, without the range's shift.
    """
    widths = [b for b in (2, 4, 8, 16) if b <= most]
    if bits not in widths or most not in (2, 4, 8, 16):
        raise ValueError(f"expected 2, 4, 8 or 16 bits, and bits <= most, got bits={bits} and most={most}")
    step, stages = Fraction(limit) * 2, []
    if step <= 0:
        raise ValueError(f"expected a positive limit, got {limit}")
    for width in widths:
        half = width // 2
        step = step / 3 if width == 2 else step / ((1 << half) + 1)
        # what is left is at most half the step before: 1, 2, 8 or 128 of these
        element = plain_format(f"int{half + (width > 2 or 1)}_narrow")
        static = float(step * element.max)
        stages.append(
            ScaledFormat(f"x{width}" if width == 2 else f"e{width}", element, rule=Rule("nearest", "static", static))
        )
    gates = tuple(width <= bits for width in widths)
    return ResidualFormat(f"bayesian_bits({limit},{bits},{most})", tuple(stages), gates, source="arXiv:2005.07093")


RESIDUAL: dict[str, ResidualFormat] = {
    fmt.name: fmt for fmt in (*(binary_coding(bits) for bits in (2, 3, 4)), binary_coding(2, refit="none"))
}
"""The named stacks."""

_CANONICAL = {fmt: fmt for fmt in RESIDUAL.values()}
_BCQ = re.compile(r"bcq(\d)(_greedy|_refit)?(?:_per_([a-z]+))?")
_SPEC = re.compile(r"residual\((.+?)(?:\|gates=([01]+))?(?:\|refit=([a-z_]+))?\)")


def parse_residual(name: str) -> ResidualFormat | None:
    """The stack of that (lower-case) name, or None.

    Raises:
        ValueError: a description that contradicts itself.
    """
    if name in RESIDUAL:
        return RESIDUAL[name]
    if found := _BCQ.fullmatch(name):
        refit = {"_greedy": "none", "_refit": "least_squares", None: "alternating"}[found[2]]
        return binary_coding(int(found[1]), found[3] or "tensor", refit)  # pyright: ignore[reportArgumentType]
    if found := _SPEC.fullmatch(name):
        gates = tuple(gate == "1" for gate in found[2] or "")
        return residual(*found[1].split(";"), gates=gates, refit=found[3] or "none")  # pyright: ignore
    return None
