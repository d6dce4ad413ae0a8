"""Sharpness of the loss in the space of logits: how far it rises at most within a small box around them.

After Keskar et al. (arXiv:1609.04836): (max of f(x + y) over y in a box - f(x)) / (1 + f(x)) * 100.
"""

from typing import Any

RADIUS = 1e-3
"""Of the box; Keskar et al. have 1e-3 and 5e-4."""
BOXES = ("fixed", "relative")
"""Half sides of `RADIUS`, and, as Keskar et al. have it, of `RADIUS` * (1 + |logit|)."""


def half_sides(xp: Any, logits: Any, box: str) -> Any:
    """(..., classes) of a box around logits.

    Args:
        xp: NumPy or jax.numpy.

    Raises:
        ValueError: an unknown box.
    """
    if box not in BOXES:
        raise ValueError(f"expected a box of {', '.join(BOXES)}, got {box!r}")
    return RADIUS * (1 + xp.abs(logits)) if box == "relative" else xp.full_like(logits, RADIUS)


def largest_rise(xp: Any, logits: Any, labels: Any, half_sides: Any) -> Any:
    """How far cross-entropy rises at most when each logit moves by at most its half side; exact.

    Cross-entropy falls with the logit of the label and rises with all others, so that the largest is at one corner: the
    label's down, the others up. With p the softmax and r the half sides the rise is there

        log(sum_j p_j exp(r_j + r_label)) over j other than the label, and p_label  =
        log1p(sum over the others of p_j expm1(r_j + r_label)),

    in which nothing cancels.

    Args:
        xp: NumPy or jax.numpy.
        logits, half_sides: (..., classes). labels: (...) integers.

    Returns:
        (...), in nats.

    Example:
        >>> import numpy as np
        >>> logits = np.zeros((1, 2))
        >>> rise = largest_rise(np, logits, np.array([0]), np.full((1, 2), 0.5))
        >>> print(f"{rise[0]:.6f} {np.log((1 + np.e) / 2):.6f}")
        0.620115 0.620115
    """
    p = xp.exp(logits - logits.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True)
    own = labels[..., None] == xp.arange(logits.shape[-1])
    of_label = xp.where(own, half_sides, 0).sum(-1, keepdims=True)
    return xp.log1p(xp.where(own, 0, p * xp.expm1(half_sides + of_label)).sum(-1))


def sharpness(loss: Any, rise: Any) -> Any:
    """In percent, of a loss and how far it rises in the box."""
    return 100 * rise / (1 + loss)
