"""The orthogonal factor of a matrix, as Muon needs it: by products of matrices alone, rounded after every operation."""

from functools import lru_cache
from math import sqrt
from typing import Any

from ...emulate.linalg.polar import polar_express
from ...emulate.plan import dtype_name
from ...emulate.quantize import quantize
from ...formats.catalogue import format as any_format
from ...formats.suggest import unknown

METHODS = ("polar_express", "newton_schulz")
"""How `orthogonalize` iterates."""

ADJUSTMENTS = ("original", "match_rms_adamw", "none")
"""How Muon's updates follow the shape: times sqrt(max(1, outputs / inputs)), .2 sqrt(max(outputs, inputs)), or 1."""

_MUON = (3.4445, -4.7750, 2.0315)
_EPSILON = 1e-7
_CUSHION = 1.01
"""The first norm is made smaller by that, as singular values may grow by rounding."""
_NARROW = {"float16": "fp16", "bfloat16": "bf16"}


@lru_cache(maxsize=1)
def _published() -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in polar_express(1e-3, 8))


def coefficients(method: str, steps: int) -> tuple[tuple[float, ...], ...]:
    """(a, b, c) of x <- a x + b x**3 + c x**5 in each step.

    Those of Polar Express for singular values from 1e-3 on, the first seven at x / 1.01 as published; the eighth, whose
    limit is Newton-Schulz, is repeated.

    Raises:
        ValueError: an unknown method, or no steps.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", str(method), METHODS))
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"expected one step or more, such as 5, got {steps!r}")
    if method == "newton_schulz":
        return (_MUON,) * steps
    found = _published()
    return (*found, *(found[-1],) * steps)[:steps]


def orthogonalize(g: Any, steps: int = 5, fmt: str | None = None, *, method: str = "polar_express") -> Any:
    """A matrix whose singular values are near 1, with the singular vectors of g.

    X = g / (1.01 |g| + 1e-7) in the Frobenius norm, a tall matrix transposed, and then in each step, every operation
    rounded to nearest in the format:

        A = X X^T,    B = b A + c A A,    X <- a X + B X

    Products of matrices are the library's own in float32 (float64 for float64), and their results rounded.

    Args:
        g: (..., m, n) of floats; a NumPy array, torch tensor or JAX array.
        steps: how many polynomials.
        fmt: a format or its name, such as 'bf16', also a scaled one; None to round nothing.
        method: 'polar_express', or 'newton_schulz' with the constant coefficients of the first Muon.

    Returns:
        (..., m, n) in the dtype of g.

    Raises:
        ValueError: fewer than two axes, an unknown method or format, no steps.

    Source: Amsel, Persson, Musco and Gower, arXiv:2505.16932; Jordan et al., Muon, 2024.

    Example:
        >>> import numpy as np
        >>> orthogonalize(np.array([[2.0, 0.0], [0.0, 0.1]]), steps=8).round(3)
        array([[1., 0.],
               [0., 1.]])
    """
    rows = coefficients(method, steps)
    if g.ndim < 2:
        raise ValueError(f"expected a matrix, got an array of shape {tuple(g.shape)}; Muon is for matrices")
    if fmt is not None:
        any_format(fmt)
    dtype = dtype_name(g.dtype)
    x = quantize(g, _NARROW[dtype], out_dtype="float32") if dtype in _NARROW else g

    def rounded(a: Any) -> Any:
        return a if fmt is None else quantize(a, fmt)

    tall = x.shape[-2] > x.shape[-1]
    x = rounded(x.mT if tall else x)
    norm = (x * x).sum((-2, -1)) ** 0.5
    x = rounded(x / (norm * _CUSHION + _EPSILON)[..., None, None])
    for a, b, c in rows:
        gram = rounded(x @ x.mT)
        p = rounded(rounded(b * gram) + rounded(c * rounded(gram @ gram)))
        x = rounded(rounded(a * x) + rounded(p @ x))
    x = x.mT if tall else x
    return quantize(x, _NARROW[dtype], out_dtype=dtype) if dtype in _NARROW else x


def adjustment(how: str, outputs: int, inputs: int) -> float:
    """The factor of Muon's updates for a matrix of that shape.

    Raises:
        ValueError: an unknown name.

    Source: Jordan et al., Muon, 2024; arXiv:2502.16982 for the root mean square of AdamW.
    """
    if how not in ADJUSTMENTS:
        raise ValueError(unknown("adjustment", str(how), ADJUSTMENTS))
    if how == "none":
        return 1.0
    return sqrt(max(1.0, outputs / inputs)) if how == "original" else 0.2 * sqrt(max(outputs, inputs))


def check_muon(
    lr: Any, momentum: Any, weight_decay: Any, *, steps: int, fmt: str | None, method: str, adjust: str
) -> None:
    """Raise a ValueError for settings of Muon that are unknown or out of range; arrays and schedules may be any."""
    for name, value, end in (("lr", lr, None), ("momentum", momentum, 1), ("weight_decay", weight_decay, None)):
        if isinstance(value, int | float) and not (value >= 0 and (end is None or value < end)):
            raise ValueError(f"expected {name} >= 0{'' if end is None else f' and < {end}'}, got {value}")
    coefficients(method, steps)
    adjustment(adjust, 1, 1)
    if fmt is not None:
        any_format(fmt)
