"""Passes in MXFP4 as the paper compares them, and whole recipes, as data."""

from math import pi, sqrt
from typing import Any

from ...sim.recipes.published import recipe as published
from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import Recipe

QUEST_FACTOR = 2.92247856
"""QuEST's largest element, 6 of E2M1, stands for so many standard deviations of its block (arXiv:2505.14669)."""
ABSMAX = "scaled(fp4_e2m1,scale=e8m0,block=32,rule=tetrajet)"
"""The least power of two with which nothing is cut off: the largest element of a block becomes 3 to 6, as with the
paper's floor over 3/4, whose scales are 4/3 times powers of two."""
TARGET = round(6 / QUEST_FACTOR * sqrt(2 / pi), 4)
"""What the mean magnitude of normal numbers becomes where 6 stands for `QUEST_FACTOR` standard deviations."""
MEAN = f"scaled(fp4_e2m1,scale=e8m0,block=32,rule=mean+nearest_log2,target={TARGET})"
"""QuEST's scale from the mean magnitude in place of the deviation."""
FORWARD, BACKWARD = ("fprop_x", "fprop_w"), ("dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x")
_PAPER = "arXiv:2505.14669"


def _recipe(name: str, forward: Quantizer | None = None, backward: Quantizer | None = None) -> Recipe:
    """Both operands of the forward product alike, and all four of the backward ones; None leaves them in float32."""
    parts: dict[str, Any] = {} if forward is None else dict.fromkeys(FORWARD, forward)
    parts |= {} if backward is None else dict.fromkeys(BACKWARD, backward)
    return Recipe(name, **parts, pad=True, source=_PAPER)


def _absmax(transform: str, rounding: str | None = None) -> Quantizer:
    return Quantizer(ABSMAX, rounding=rounding, transform=transform)


def _luq(name: str, forward: str) -> Recipe:
    """Forward operands to nearest, gradients by powers of two and stochastically; a scale a tensor (arXiv:2112.10769).

    Stochastic rounding between 0 and powers of two is LUQ's unbiased underflow and rounding. Its clipping by moments of
    the weights is left out.
    """
    own, taken = Quantizer(forward), Quantizer(source="quantized")
    gradients = Quantizer("fp4_e3m0_per_tensor", rounding="stochastic")
    return Recipe(
        name, own, own, gradients, taken, gradients, taken, pad=True, source="arXiv:2112.10769, without its clipping"
    )  # fmt: skip


def _quest() -> Quantizer:
    return published("quartet").fprop_x


RECIPES: dict[str, Recipe] = {
    found.name: found
    for found in (
        Recipe("float32", source="nothing is quantized"),
        _recipe("forward_quest", forward=_quest()),
        _recipe("forward_mean", forward=Quantizer(MEAN, transform="hadamard32")),
        _recipe("forward_nearest", forward=_absmax("hadamard32")),
        _recipe("forward_stochastic", forward=_absmax("hadamard32", "stochastic")),
        _recipe("backward_nearest", backward=_absmax("rht32")),
        _recipe("backward_stochastic", backward=_absmax("rht32", "stochastic")),
        published("quartet").with_(pad=True),
        published("mxfp4").with_(pad=True),
        _luq("luq_int4", "int4_per_tensor"),
        _luq("luq_fp4", "fp4_e3m0_per_tensor"),
    )
}
"""What is trained, by name. Forward passes in FP4 have a backward pass in float32, and the reverse."""
REFERENCE = "float32"
SHARED = (
    ("float32",),
    ("forward_nearest", "forward_stochastic"),
    ("forward_mean",),
    ("backward_nearest", "backward_stochastic"),
    ("forward_quest",),
    ("quartet",),
    ("mxfp4",),
    ("luq_int4", "luq_fp4"),
)
"""Recipes that differ in data alone, so that one compiled program trains them."""


def together(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Some recipes, those of one program together, in the order of `SHARED`.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> together(("backward_stochastic", "float32", "backward_nearest"))
        [('float32',), ('backward_nearest', 'backward_stochastic')]
    """
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise ValueError(f"expected recipes of {', '.join(RECIPES)}, got {unknown[0]!r}")
    parts = [tuple(name for name in group if name in names) for group in SHARED]
    return [part for part in parts if part]
