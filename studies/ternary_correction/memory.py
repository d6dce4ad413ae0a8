"""What a model takes to store with ternary weights, and what a low-rank path adds."""

from math import prod
from typing import Any

from ..complex_2bit.storage import bits_of, coded

HALF = 16
"""Bits of what is not ternary: embeddings, heads, biases, norms, and the low-rank path."""


def ternary_bits(description: Any) -> float:
    """Bits of the whole model: log2 3 for each ternary weight, a float32 scale a layer, float16 for everything else."""
    shapes = coded(description.leaves)
    others = [leaf for name, leaf in description.leaves.items() if name.removesuffix(".weight") not in shapes]
    return bits_of(description, "ternary") + HALF * sum(prod(leaf.shape) for leaf in others)


def path_bits(description: Any, rank: int) -> float:
    """Bits of the low-rank paths of all ternary layers, r (n + m) numbers and a gate each, in float16."""
    return HALF * sum(rank * (n + m) + 1 for n, m in coded(description.leaves).values())


def share(description: Any, rank: int) -> float:
    """What the low-rank paths add to the memory of the model, as a share of it."""
    return path_bits(description, rank) / ternary_bits(description)
