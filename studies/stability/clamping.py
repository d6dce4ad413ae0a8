"""What MX blocks do to numbers that lie close together, as the affine weights of normalizations do.

The scale of a block is the power of two of its largest magnitude over that of E4M3's largest value, 448 = 1.75 * 2^8
(OCP MX v1.0, rounded down). A block whose largest weight is between 1.75 and 2 times a power of two is cut off there:
weights between .875 and 1 all become .875.
"""

from typing import Any

import numpy as np

from ...emulate.quantize import quantize

FORMAT = "mxfp8_e4m3"
BLOCK = 32
LARGEST = 1.75
"""Of E4M3, in units of its largest power of two."""


def clamped_share(xp: Any, weights: Any) -> Any:
    """The share of (..., n) weights that their MX block cuts off, n a multiple of the block.

    Args:
        xp: NumPy or jax.numpy.

    Example:
        >>> float(clamped_share(np, np.full(32, 0.97)))
        1.0
        >>> float(clamped_share(np, np.array([1.01, *[0.97] * 31])))
        0.0
    """
    blocks = xp.abs(weights).reshape(-1, BLOCK)
    exponent = xp.frexp(blocks.max(-1, keepdims=True))[1]
    return (blocks > LARGEST * xp.ldexp(xp.ones_like(blocks), exponent - 1)).mean()


def all_become_one(rng: np.random.Generator, blocks: int) -> bool:
    """Whether blocks of weights drawn between .875 and 1 come out of the format as .875 each, different as they are."""
    drawn = rng.uniform(0.876, 0.999, (blocks, BLOCK)).astype(np.float32)
    return bool((quantize(drawn, FORMAT) == np.float32(LARGEST / 2)).all())
