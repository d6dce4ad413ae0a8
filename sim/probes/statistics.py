"""What rounding did to a tensor, in a few numbers, for NumPy, torch and JAX; nothing is kept."""

from typing import Any, NamedTuple

import numpy as np

from ...emulate.dispatch import backend_of
from ...emulate.quantize import quantize
from ...emulate.transforms import transform_first
from ...formats.catalogue import format as any_format
from ...formats.codebooks import ChannelCodebooks
from ...formats.complexes import ComplexFormat
from .spaces import Space, space_of
from .sums import BINS, LOWEST, GradientSums, Sums, gradient_sums, grid_of, sums_of


class TensorStatistics(NamedTuple):
    """What rounding did to a tensor; numbers of no axes in its library, float32 (float64 of float64).

    Args:
        sqnr_db: 10 log10(sum x^2 / sum (x - q)^2), decibels: signal over quantization noise. inf where q equals x, also
            where all is zero; -inf where zeros became something else; NaN where x holds NaN or infinities.
        saturated_percent: of all elements, those beyond the largest (or smallest) value by more than half of the step
            before it, after scaling: what no rounding to nearest would have brought there was cut off. NaN of formats
            whose scales are not at hand (HiF4, stacks).
        underflow_percent: of all elements, those that were not zero and became zero.
        zeros_percent: of all elements, those that were zero before.
        amax: the largest magnitude of x.
        rms: sqrt(mean x^2).
        scale_min, scale_median, scale_max: of floor(log2 scale) over the blocks that are not all zero, the lower
            median; NaN of a format without scales.
        scale_counts: (255,) int32, how many blocks have a scale of each exponent from -127 to 127.
    """

    sqnr_db: Any
    saturated_percent: Any
    underflow_percent: Any
    zeros_percent: Any
    amax: Any
    rms: Any
    scale_min: Any
    scale_median: Any
    scale_max: Any
    scale_counts: Any


class GradientStatistics(NamedTuple):
    """A gradient against the one that nothing was quantized for; numbers of no axes.

    Args:
        sqnr_db: as of `TensorStatistics`, of the reference.
        gradient_to_noise: |r| / (sigma sqrt(d)), with r the reference, d its elements and sigma the root mean square of
            g - r, which is |r| / |g - r|. inf where both are equal, 0 where only the reference is zero. In theory and
            in runs training stalls where it falls below sqrt(3) (arXiv:2505.19115).
        gradient_cosine: of the angle between both; 1 where both are equal, also zero, 0 where one of them is zero.
    """

    sqnr_db: Any
    gradient_to_noise: Any
    gradient_cosine: Any


def tensor_statistics(
    x: Any,
    fmt: Any,
    *,
    axis: int | tuple[int, ...] | None = None,
    rounding: Any = None,
    overflow: str | None = None,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    scale: Any = None,
    scale_rounding: Any = None,
    pad: bool = False,
    transform: Any = None,
) -> TensorStatistics:
    """What `quantize` with the same arguments does to x, in numbers.

    Args:
        x: as in `quantize`, real; in JAX also traced, by jit and vmap.
        fmt: a format of real numbers or its name.
        axis, rounding, overflow, seed, step, stream, scale, scale_rounding, pad, transform: as in `quantize`; of a
            transform the transformed x is what values are compared with.

    Returns:
        `TensorStatistics`, in the library of x.

    Raises:
        ValueError, TypeError: as `quantize`; a complex format; an empty array.

    Example:
        >>> import numpy as np
        >>> found = tensor_statistics(np.float32([0.01, 1.0, -2.9, 100.0]), "fp4_e2m1")
        >>> float(found.saturated_percent), float(found.underflow_percent), round(float(found.sqnr_db), 1)
        (25.0, 25.0, 0.5)
    """
    resolved = any_format(fmt)
    if isinstance(resolved, ComplexFormat | ChannelCodebooks):
        raise TypeError(f"{resolved.name}: statistics are of formats of real numbers; pass the parts one by one")
    if transform is not None:
        x, axis, _ = transform_first(x, resolved, transform, axis, seed, step)
    x = _with_elements(x)
    random = {"seed": seed, "step": step, "stream": stream}
    values = quantize(
        x, resolved, axis=axis, rounding=rounding, overflow=overflow, scale=scale, scale_rounding=scale_rounding,
        pad=pad, ste="identity", **random,
    )  # fmt: skip
    space = space_of(x)
    with np.errstate(invalid="ignore"):  # infinities become NaN
        grid = grid_of(space, x, resolved, axis, scale, scale_rounding, random)
        return finished(space, sums_of(space, x, values, resolved, grid))


def gradient_statistics(g: Any, reference: Any) -> GradientStatistics:
    """A gradient against the one of the same tensors that nothing was quantized for.

    Args:
        g, reference: two real arrays of one shape, in one library; in JAX also traced.

    Raises:
        ValueError: two shapes, or empty arrays.

    Example:
        >>> import numpy as np
        >>> found = gradient_statistics(np.float32([3.0, 5.0]), np.float32([3.0, 4.0]))
        >>> float(found.gradient_to_noise), round(float(found.gradient_cosine), 4)
        (5.0, 0.9947)
    """
    g, reference = _with_elements(g), _with_elements(reference)
    if tuple(g.shape) != tuple(reference.shape):
        raise ValueError(
            f"expected two gradients of one shape, got {tuple(g.shape)} and {tuple(reference.shape)}; pass the "
            "gradient and the reference of the same tensor"
        )
    space = space_of(g)
    with np.errstate(invalid="ignore"):
        return finished_gradient(space, gradient_sums(space, g, reference))


def _with_elements(x: Any) -> Any:
    """An array of a library, of one or more elements."""
    array = backend_of(x).as_array(x)
    if not all(array.shape):
        raise ValueError(
            f"expected an array with elements, got shape {tuple(array.shape)}; an empty one has no statistics"
        )
    return array


def finished(space: Space, of: Sums) -> TensorStatistics:
    """The statistics of sums."""
    xp = space.xp
    percent, none = 100.0 / of.count, of.signal * 0
    counts = space.zeros(BINS, of.signal) if of.blocks is None else of.blocks
    below = xp.cumsum(counts, 0)
    total = below[-1]
    low, median, high = (
        xp.where(total > 0, space.first(hit) + (none + LOWEST), np.nan)
        for hit in (below > 0, 2 * below >= total, below >= total)
    )
    return TensorStatistics(
        _decibels(xp, of.signal, of.noise),
        of.saturated * percent,
        none + of.underflow * percent,
        none + of.zeros * percent,
        of.amax,
        root_mean_square(space, of.signal, of.count, of.power),
        low,
        median,
        high,
        counts,
    )


def root_mean_square(space: Space, squares: Any, count: Any, power: Any) -> Any:
    """sqrt(squares / count) of squares in units of 4**power."""
    return space.xp.sqrt(squares / count) * space.floats((power - LOWEST) << 23)


def finished_gradient(space: Space, of: GradientSums) -> GradientStatistics:
    """The statistics of the sums of gradients."""
    xp = space.xp
    both, noise = xp.sqrt(of.reference) * xp.sqrt(of.own), xp.sqrt(of.noise)
    cosine = xp.clip(of.product / xp.where(both > 0, both, 1.0), -1, 1)
    ratio = xp.sqrt(of.reference) / xp.where(noise > 0, noise, 1.0)
    equal, none = of.noise == 0, of.noise * 0  # NaN where there is one
    return GradientStatistics(
        _decibels(xp, of.reference, of.noise),
        xp.where(equal, np.inf, ratio + none),
        xp.where(equal, 1.0, cosine + none),
    )


def _decibels(xp: Any, signal: Any, noise: Any) -> Any:
    """10 log10(signal / noise); see `TensorStatistics`."""
    ratio = xp.where(signal > 0, signal, 1.0) / xp.where(noise > 0, noise, 1.0)
    found = xp.where(signal > 0, 10 * xp.log10(ratio), -np.inf)
    return xp.where(noise == 0, np.inf, found + noise * 0 + signal * 0)
