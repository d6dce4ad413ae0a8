"""The arithmetics of the study: unscaled floats whose mantissas are cut off, and block-scaled recipes."""

from typing import Any

from ...sim.recipes.published import recipe as published
from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import OPERANDS, Recipe

FLOAT32 = "float32"
BF16 = "E8M7"
MANTISSAS = {"E8M7": 7, "E8M6": 6, "E8M5": 5, "E8M4": 4, "E8M3": 3, "E8M2": 2}
"""Formats with the exponent of bfloat16 and their mantissa bits."""
UNSCALED = {
    **{name: f"{name.lower()}ieee" for name in (*MANTISSAS, "E7M7", "E6M7")},
    "E4M3": "fp8_e4m3",
    "E5M2": "fp8_e5m2",
}
"""Formats of all six operands, rounded toward zero, without scales."""
SCALED = {"MXFP8": "mxfp8", "MXFP4": "mxfp4", "NVFP4": "nvfp4"}
"""Published recipes."""
NARROW = {"E7M7": (7, 63), "E6M7": (6, 31)}
"""Exponent bits and bias of formats with fewer exponent bits than bfloat16."""


def truncated(name: str, fmt: str, gradients: str | None = None) -> Recipe:
    """All operands in an unscaled format, rounded toward zero as by a mask of bits.

    Args:
        gradients: the format of both gradient operands, where it is another one.
    """
    formats = {operand: gradients if gradients and operand.endswith("_e") else fmt for operand in OPERANDS}
    made: dict[str, Any] = {operand: Quantizer(each, rounding="toward_zero") for operand, each in formats.items()}
    return Recipe(name, **made, source="arXiv:2405.18710")


def with_smaller_gradients(name: str, binades: int) -> Recipe:
    """The arithmetic of a run whose gradients are 2^binades times smaller, as those of larger batches are.

    A format with a bias that much smaller rounds a gradient as the format itself rounds one that is that much smaller,
    so that the size of gradients is data to one program.

    Raises:
        ValueError: a format that has no such range to lose.
    """
    if name not in NARROW:
        raise ValueError(f"expected one of {', '.join(NARROW)}, got {name!r}")
    exponent, bias = NARROW[name]
    return truncated(smaller_name(name, binades), UNSCALED[name], f"e{exponent}m7b{bias - binades}ieee")


def smaller_name(name: str, binades: int) -> str:
    """What runs with smaller gradients are called."""
    return f"{name} / 2^{binades}"


def arithmetic(name: str) -> Recipe:
    """A recipe by its name in the tables; blocks may be ragged, since layers of tasks have few outputs.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> found = arithmetic("E8M4")
        >>> found.fprop_x.fmt, found.fprop_x.rounding
        ('e8m4ieee', 'toward_zero')
    """
    if name == FLOAT32:
        return published("identity").with_(name=FLOAT32)
    if name in UNSCALED:
        return truncated(name, UNSCALED[name])
    if name in SCALED:
        return published(SCALED[name]).with_(name=name, pad=True)
    raise ValueError(f"expected one of {', '.join((FLOAT32, *UNSCALED, *SCALED))}, got {name!r}")
