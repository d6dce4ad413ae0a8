"""Complex 2-bit formats: each number becomes the nearest of 1, i, -1, -i, and two scales restore magnitudes.

A number is rounded by its phase, closed at the lower end of each quarter:

    [-pi/4, pi/4) -> 1      [pi/4, 3pi/4) -> i      [-3pi/4, -pi/4) -> -i      otherwise -1      0 -> 1

Scales: s_re = mean |re| over the numbers that became 1 or -1, s_im = mean |im| over those that became i or -i;
0 where there are none. The value is s_re * (1 or -1) or s_im * (i or -i). Further stages quantize what is left.

Sources: arXiv:2508.05571 (iFairy); Fairy2i for the residual stages and the widely-linear form.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

from .blocks import Blocks
from .scaled import TENSOR


@dataclass(frozen=True, slots=True)
class ComplexFormat:
    """Phase quantization.

    Args:
        name: what reports call it; not part of its identity.
        stages: how many times the residual is quantized and added.
        blocks: which numbers share the two scales of a stage.
        source: where it was read.

    Raises:
        ValueError: stages out of range.
    """

    name: str = field(compare=False)
    stages: int = 1
    blocks: Blocks = TENSOR
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.stages <= 8:
            raise ValueError(f"{self.name}: expected 1 to 8 stages, got {self.stages}")

    @property
    def bits(self) -> int:
        """Storage bits of a complex number, scales aside."""
        return 2 * self.stages

    def bits_per_element(self, shape: tuple[int, ...] | None = None) -> float:
        """Storage bits of a complex number with its share of the scales, two float32 a stage and block.

        Args:
            shape: of the array; without it scales of whole axes count nothing.
        """
        size = prod(self.blocks.sizes)
        if shape is None:
            return self.bits + (64 * self.stages / size if size and self.blocks.rest else 0.0)
        return self.bits + 64 * self.stages * prod(self.blocks.grid(shape)) / max(prod(shape), 1)

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format."""
        return f"phase({self.stages},{self.blocks.spec})"


PHASES = (
    ComplexFormat("phase", 1, source="arXiv:2508.05571"),
    *(ComplexFormat(f"phase_t{stages}", stages, source="Fairy2i, residual stages") for stages in (2, 3, 4)),
)
"""The named complex formats."""

UNITS = (1, 1j, -1, -1j)
"""The value of each 2-bit code."""


def phase_code(re: Fraction, im: Fraction) -> int:
    """The code of the phase of re + i im, as the module's text defines it."""
    if re == 0 and im == 0:
        return 0
    if -re <= im < re:
        return 0
    if -im < re <= im:
        return 1
    return 3 if im <= re < -im else 2
