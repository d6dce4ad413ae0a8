"""A codebook for each channel: every slice along an axis is rounded in its own format."""

from collections.abc import Callable
from typing import Any

from ..formats.codebooks import ChannelCodebooks
from .dispatch import backend_of, residual_backend_of
from .layouts import LAYOUTS, fits
from .philox import Shard
from .plan import Randomness
from .scaled_plan import Options


def quantize_channels(
    x: Any, fmt: ChannelCodebooks, options: Options, randomness: Randomness, out: Any, quantize: Callable
) -> Any:
    """`quantize` of an array whose channels have codebooks of their own. JAX maps over them in one program.

    Raises:
        ValueError: another number of channels, or options that say nothing.
    """
    options.check_unscaled(fmt.name)
    if out is not None:
        raise ValueError(f"{fmt.name}: results by channel are new arrays; leave out= out")
    array, axis = _checked(x, fmt)
    backend = residual_backend_of(x)
    shared = {
        "rounding": options.rounding,
        "overflow": options.overflow,
        "ste": options.ste,
        "out_dtype": options.out_dtype,
    }
    if randomness.seed is None and options.out_dtype is None and hasattr(backend, "mapped"):
        return backend.mapped(lambda part, book: quantize(part, book, **shared), array, fmt.books, axis)
    drawn = {"seed": randomness.seed, "step": randomness.step, "stream": randomness.stream}
    slices = _slices(array, axis, randomness.offset)
    return backend.joined(
        [quantize(part, book, offset=at, **shared, **drawn) for book, (part, at) in zip(fmt.books, slices)], axis
    )


def encode_channels(
    x: Any, fmt: ChannelCodebooks, options: Options, randomness: Randomness, nan: Any, out: Any, encode: Callable
) -> Any:
    """`encode` by channel."""
    options.check_unscaled(fmt.name)
    if out is not None:
        raise ValueError(f"{fmt.name}: results by channel are new arrays; leave out= out")
    array, axis = _checked(x, fmt)
    shared = {"rounding": options.rounding, "overflow": options.overflow, "nan": nan}
    drawn = {"seed": randomness.seed, "step": randomness.step, "stream": randomness.stream}
    slices = _slices(array, axis, randomness.offset)
    return residual_backend_of(x).joined(
        [encode(part, book, offset=at, **shared, **drawn) for book, (part, at) in zip(fmt.books, slices)], axis
    )


def decode_channels(codes: Any, fmt: ChannelCodebooks, out_dtype: Any, out: Any, decode: Callable) -> Any:
    """`decode` by channel."""
    if out is not None:
        raise ValueError(f"{fmt.name}: results by channel are new arrays; leave out= out")
    array, axis = _checked_shape(codes, fmt)
    slices = _slices(array, axis, 0)
    out_dtype = out_dtype or ("float32" if fits(fmt, LAYOUTS["float32"]) else "float64")
    return residual_backend_of(codes).joined(
        [decode(part, book, out_dtype=out_dtype) for book, (part, _) in zip(fmt.books, slices)], axis
    )


def _checked(x: Any, fmt: ChannelCodebooks) -> tuple[Any, int]:
    return _checked_shape(backend_of(x).as_array(x), fmt)


def _checked_shape(array: Any, fmt: ChannelCodebooks) -> tuple[Any, int]:
    """The array and its axis of channels.

    Raises:
        ValueError: an axis that is not there, or of another length.
    """
    shape = tuple(array.shape)
    if not -len(shape) <= fmt.axis < len(shape) or shape[fmt.axis] != len(fmt.books):
        raise ValueError(
            f"{fmt.name} has {len(fmt.books)} channels along axis {fmt.axis}, got an array of shape {shape}"
        )
    return array, fmt.axis % len(shape)


def _slices(array: Any, axis: int, offset: Any):
    """Each channel, its axis kept, and where it lies in the random stream of the whole array."""
    shape = tuple(array.shape)
    if isinstance(offset, Shard):
        origin, whole = offset.start, offset.global_shape
    elif isinstance(offset, int) and offset == 0:
        origin, whole = (0,) * len(shape), shape
    else:
        raise ValueError("channels are slices, so a place in a larger array is a Shard; pass offset=hu.Shard(...)")
    for k in range(shape[axis]):
        start = tuple(s + (k if a == axis else 0) for a, s in enumerate(origin))
        yield array[(slice(None),) * axis + (slice(k, k + 1),)], Shard(start, whole)
