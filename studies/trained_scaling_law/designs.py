"""What is trained: layouts of bits as recipes, cells of size, data, block and operands, and the plans of the scales."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import OPERANDS, Recipe
from ...sim.training.training import Training
from ..study import FULL, QUICK

TARGETS: dict[str, str] = dict(zip(("P1", "P2", "P3", "P4", "P5", "P6"), OPERANDS))
"""The paper's names of the six operands: X and W forward, dY and W of dX, dY and X of dW."""
LAW_TARGETS = ("P2", "P4", "P6")
"""The operands that the law's trainings quantize; those of the paper."""
CONTEXT, BATCH = 64, 8
"""Tokens a sample, samples a step."""
PARAMETERS = {"13k": 13_408, "50k": 53_440, "200k": 221_664}
"""Without embeddings, by size of the model."""
RATE, DECAY = 0.003, 0.1
"""The peak learning rate of all sizes, a step below the best in float32 of the smallest (.01), where luck hides less;
weight decay."""
PIECE = 50
"""Steps of a call of the compiled program, so that trainings of 50 steps and more share one."""


@dataclass(frozen=True, order=True, slots=True)
class Layout:
    """Exponent and mantissa bits of a format with a sign, subnormals, and neither Inf nor NaN.

    Args:
        exponent: bits, at least 1. mantissa: bits.
    """

    exponent: int
    mantissa: int

    def __post_init__(self) -> None:
        if self.exponent < 1 or self.mantissa < 0:
            raise ValueError(f"expected E >= 1 and M >= 0, got E{self.exponent}M{self.mantissa}")

    @property
    def bits(self) -> int:
        """The sign included: the paper's P."""
        return 1 + self.exponent + self.mantissa

    @property
    def name(self) -> str:
        """'E2M1'."""
        return f"E{self.exponent}M{self.mantissa}"


REFERENCE = Layout(5, 11)
"""Stands for float32: as data to the same compiled program, and as near to it as trainings can tell."""
FP3, FP4 = (Layout(1, 1), Layout(2, 0)), (Layout(1, 2), Layout(2, 1), Layout(3, 0))
FP5 = (Layout(1, 3), Layout(2, 2), Layout(3, 1))
FP6 = (Layout(2, 3), Layout(3, 2))
COARSEST, FP4_BEST = Layout(1, 1), Layout(2, 1)
"""The paper's FP3 and FP4."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A training but for its seed.

    Args:
        size: of the model, one of `PARAMETERS`. steps: of `BATCH` samples. layout: of the quantized operands.
        block: elements along a contraction that share a float32 scale, absmax over the format's largest value.
        targets: which operands have the layout. everything: whether the other operands go through `REFERENCE`, so that
            each choice of targets is data to one program, or are left alone.
    """

    size: str
    steps: int
    layout: Layout = REFERENCE
    block: int = 32
    targets: tuple[str, ...] = LAW_TARGETS
    everything: bool = False

    def __post_init__(self) -> None:
        if self.size not in PARAMETERS:
            raise ValueError(f"expected a size of {', '.join(PARAMETERS)}, got {self.size!r}")
        unknown = [name for name in self.targets if name not in TARGETS]
        if unknown:
            raise ValueError(f"expected targets of {', '.join(TARGETS)}, got {unknown[0]!r}")

    @property
    def parameters(self) -> int:
        """Of the model, without embeddings."""
        return PARAMETERS[self.size]

    @property
    def tokens(self) -> int:
        """That the training sees."""
        return self.steps * BATCH * CONTEXT

    @property
    def recipe(self) -> Recipe:
        """As a recipe; ragged blocks are allowed, since contractions of small models are short."""
        named = TARGETS if self.everything else dict.fromkeys(self.targets)
        layouts = {TARGETS[name]: self.layout if name in self.targets else REFERENCE for name in named}
        operands: dict[str, Any] = {name: Quantizer(_format(layout, self.block)) for name, layout in layouts.items()}
        kind = ("+".join(self.targets) or "none") + (" of six" if self.everything else "")
        return Recipe(f"{self.layout.name}/{self.block} in {kind}", pad=True, **operands)

    @property
    def rules(self) -> tuple[tuple[str, Recipe | None], ...]:
        """The recipe in all layers but the output head, which stays in float32 and which `parameters` leaves out."""
        return (("head", None), ("*", self.recipe))


def _format(layout: Layout, block: int) -> str:
    return f"scaled({layout.name.lower()},scale=binary32,block={block})"


NESTED = (("P2",), ("P2", "P6"), LAW_TARGETS)
"""Choices of operands that the paper finds alike."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Data and layouts of a size of the law's plane.

    Args:
        steps: ascending. layouts: beside the reference.
    """

    steps: tuple[int, ...]
    layouts: tuple[Layout, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The trainings of a scale.

    Args:
        grids: by size, ascending. base: size and steps at which all layouts and blocks are compared.
        operand_steps: of the base's size, where operands are compared.
        layouts: of the base. blocks: of the base beside 32, for the reference and `blocked`.
        seeds: of every cell.
    """

    grids: dict[str, Grid]
    base: tuple[str, int]
    operand_steps: int
    blocks: tuple[int, ...]
    layouts: tuple[Layout, ...] = (*FP3, *FP4, *FP5, *FP6)
    blocked: tuple[Layout, ...] = (COARSEST, FP4_BEST)
    seeds: int = 6

    def law(self) -> list[Cell]:
        """Everything that the law is fitted to: the plane of sizes and data, other layouts, other blocks."""
        found = [
            Cell(size, steps, layout)
            for size, grid in self.grids.items() for steps in grid.steps for layout in (REFERENCE, *grid.layouts)
        ]  # fmt: skip
        found += [Cell(*self.base, layout) for layout in (REFERENCE, *self.layouts)]
        found += [Cell(*self.base, layout, block) for block in self.blocks for layout in (REFERENCE, *self.blocked)]
        return list(dict.fromkeys(found))

    def operands(self) -> list[Cell]:
        """FP3 in no operand, in one each, and in the nested choices."""
        chosen = [(), *((name,) for name in TARGETS), *NESTED[1:]]
        size = self.base[0]
        return [Cell(size, self.operand_steps, COARSEST, targets=each, everything=True) for each in chosen]

    def cells(self) -> list[Cell]:
        """Every training but for its seed, each once; the last are in float32, against which references are held."""
        plain = [Cell(*self.base, targets=()), Cell(self.base[0], self.operand_steps, targets=())]
        return list(dict.fromkeys([*self.law(), *self.operands(), *plain]))


PLANS = {
    QUICK: Plan(
        {
            "13k": Grid((50, 100, 200, 400), (COARSEST, FP4_BEST)),
            "50k": Grid((100, 200), (COARSEST,)),
        },
        base=("13k", 100), operand_steps=100, blocks=(8,),
    ),
    FULL: Plan(
        {
            "13k": Grid((50, 100, 200, 400, 800), (*FP3, FP4_BEST)),
            "50k": Grid((100, 200, 400), (COARSEST, FP4_BEST)),
            "200k": Grid((100,), (COARSEST,)),
        },
        base=("13k", 100), operand_steps=100, blocks=(8, 16), seeds=12,
    ),
}  # fmt: skip


def training(steps: int) -> Training:
    """As the paper trains, scaled down: AdamW (.9, .95), cosine to 0 after a tenth of warm-up, gradients clipped to 1.

    Args:
        steps: of `BATCH` samples.
    """
    return Training(steps, BATCH, "adamw", 0.9, 0.95, warmup=steps // 10, clip=1.0, checkpoint_every=PIECE)


def rows(cells: Iterable[Cell], seeds: int) -> Iterator[dict[str, Any]]:
    """Configurations of a sweep: each cell with every seed."""
    for cell in cells:
        for seed in range(seeds):
            yield {
                "recipe": cell.rules, "seed": seed, "steps": cell.steps, "warmup": training(cell.steps).warmup,
                "learning_rate": RATE, "weight_decay": DECAY,
            }  # fmt: skip
