"""Weights in few bits, in forward products only: for training, and for rounding what was trained."""

from typing import Any

from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import Recipe

FEWEST, MOST = 2, 8
"""Bits of weights."""


def rules_of_bits(bits: int | None) -> Any:
    """Rules that round weights to symmetric integers with a float32 scale for each output channel; None rounds nothing.

    Of a model's linear layers all but the head, as usual for quantization after training: neither it nor the table of
    embeddings counts as a parameter of the law. Backward products take the rounded weights, and gradients pass
    straight through (arXiv:2411.04330: low precision in forward products only).

    Raises:
        ValueError: bits out of range.

    Example:
        >>> rules_of_bits(4)[1][1].fprop_w.fmt
        'int4_per_row'
    """
    if bits is None:
        return "identity"
    if not FEWEST <= bits <= MOST:
        raise ValueError(f"expected from {FEWEST} to {MOST} bits of weights, got {bits}")
    recipe = Recipe(
        f"int{bits} weights",
        fprop_w=Quantizer(f"int{bits}_per_row"),
        dgrad_w=Quantizer(source="quantized"),
        source="arXiv:2411.04330",
    )
    return (("head", None), ("*", recipe))
