"""Bits that the weights of linear layers take in each code, and models as wide as a number of bits allows."""

from collections.abc import Mapping
from dataclasses import replace
from math import log2, prod
from typing import Any

from ...sim.models.leaves import Leaf
from ...sim.models.transformers import Llama

BITS = {"float32": 32.0, "ternary": log2(3), "binary": 1.0, "phase": 1.0, "phase_t2": 2.0}
"""Of a real weight. A phase takes two bits for a complex weight; a real matrix (2n, 2m) is two complex ones (n, m),
which have half as many entries as it has, so that a stage takes one bit a real weight."""
SCALES = {"float32": 0, "ternary": 1, "binary": 1, "phase": 4, "phase_t2": 8}
"""Float32 numbers a layer: a magnitude, or one of real and one of imaginary phases for both matrices and each stage."""
LEFT_ALONE = ("embed", "head")
"""Layers that stay in float32, as they do in all recipes of the comparison."""


def coded(leaves: Mapping[str, Leaf]) -> dict[str, tuple[int, int]]:
    """The shapes, (outputs, inputs), of the weights that are in a code, by layer."""
    return {
        name.removesuffix(".weight"): (leaf.shape[0], leaf.shape[1])
        for name, leaf in leaves.items()
        if name.endswith(".weight") and len(leaf.shape) == 2 and name.split(".")[0] not in LEFT_ALONE
    }


def bits_of(description: Any, code: str) -> float:
    """Bits of all coded weights of a model with their scales; what stays in float32 is not counted.

    Raises:
        ValueError: an unknown code.
    """
    if code not in BITS:
        raise ValueError(f"expected a code of {', '.join(BITS)}, got {code!r}")
    shapes = coded(description.leaves).values()
    return sum(BITS[code] * n * m + 32 * SCALES[code] for n, m in shapes)


def all_bits(description: Any, code: str) -> float:
    """Bits of a whole model: `bits_of`, and 32 for each number that is in no code.

    Raises:
        ValueError: an unknown code.
    """
    shapes = coded(description.leaves)
    others = [leaf.shape for name, leaf in description.leaves.items() if name.removesuffix(".weight") not in shapes]
    return bits_of(description, code) + 32 * sum(prod(shape) for shape in others)


def widened(description: Any, width: int, narrower: int = 0) -> Any:
    """A model with another hidden width.

    Args:
        width: of all hidden layers of a perceptron, or of the feed-forward part of a language model.
        narrower: by how much the last of them is narrower.
    """
    if isinstance(description, Llama):
        return replace(description, hidden=width - narrower)
    hidden = (width,) * len(description.hidden)
    return replace(description, hidden=(*hidden[:-1], width - narrower))


def as_large(description: Any, code: str, bits: float) -> Any:
    """The model of even hidden widths that takes the nearest number of bits, `all_bits`, with its weights in a code.

    A wider model has a wider head and more biases as well, which stay in float32 and count.
    """
    each = (widened(description, width, narrower) for width in range(8, 1025, 2) for narrower in (0, 2))
    return min(each, key=lambda model: abs(all_bits(model, code) - bits))
