"""Real bits: codes in a dense bit stream, and back.

Code k of a stream of b-bit codes occupies bits k * b to k * b + b - 1, counted from the lowest bit of the first
byte: little-endian, so that the first of two 4-bit codes is the low nibble. The last byte is filled with zeros.
"""

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

from ..formats.catalogue import AnyFormat
from ..formats.catalogue import format as any_format
from ..formats.codebooks import ChannelCodebooks
from ..formats.complexes import ComplexFormat
from ..formats.residual import ResidualFormat
from ..formats.scaled import ScaledFormat
from .dispatch import packing_backend_of
from .encoded import Encoded
from .plan import dtype_name, layout_named
from .quantize import decode, encode
from .views import grouped, view_of

NOT_PLAIN = (ScaledFormat, ComplexFormat, ResidualFormat, ChannelCodebooks)


@dataclass(frozen=True, slots=True)
class Packed:
    """An array in as many bits as its format needs.

    Args:
        fmt: the format.
        shape: of the array.
        dtype: name of the dtype it had, to which `unpack` goes back.
        streams: dense streams of bytes, uint8 arrays by name: 'elements' in row-major order, and where the
            format has them 'scales', 'outer', 'zero_points', 'micro0', 'micro1', ... over their grids.
    """

    fmt: AnyFormat
    shape: tuple[int, ...]
    dtype: str
    streams: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of all streams."""
        return sum(int(stream.shape[0]) for stream in self.streams.values())

    @property
    def bits_per_element(self) -> float:
        """Bits of all streams for each element of the array."""
        return 8 * self.nbytes / max(prod(self.shape), 1)


def pack_codes(codes: Any, bits: int) -> Any:
    """A dense stream of codes.

    Args:
        codes: integers of any shape, 0 <= code < 2**bits; NumPy, torch or JAX.
        bits: 1 to 16, or 32.

    Returns:
        (ceil(n * bits / 8),) uint8, in the library and on the device of the codes.

    Raises:
        ValueError: a width that is not offered, or, outside a trace, a code that needs more bits.

    Example:
        >>> import numpy as np
        >>> pack_codes(np.array([1, 2, 3]), 4).tolist()
        [33, 3]
    """
    _check_width(bits)
    return packing_backend_of(codes).pack(codes, bits)


def unpack_codes(stream: Any, bits: int, count: int) -> Any:
    """The codes of a dense stream, the inverse of `pack_codes`.

    Args:
        stream: (ceil(count * bits / 8),) uint8.
        bits: 1 to 16, or 32.
        count: how many codes there are.

    Returns:
        (count,) uint8, uint16 or uint32, the narrowest that holds a code.

    Raises:
        ValueError: a negative count, a stream of another length, or one whose last bits are not zero.
        TypeError: a stream of another dtype.
    """
    _check_width(bits)
    if count < 0:
        raise ValueError(f"expected a count of codes, got {count}")
    _check_stream(stream, bits, count)
    return packing_backend_of(stream).unpack(stream, bits, count)


def _check_stream(stream: Any, bits: int, count: int) -> None:
    expected = -(-count * bits // 8)
    if tuple(stream.shape) != (expected,):
        raise ValueError(f"expected {expected} bytes for {count} codes of {bits} bits, got shape {tuple(stream.shape)}")
    if "uint8" not in str(stream.dtype):
        raise TypeError(f"expected a stream of uint8, got {stream.dtype}")


def _check_width(bits: int) -> None:
    if not (1 <= bits <= 16 or bits == 32):
        raise ValueError(f"expected codes of 1 to 16 bits, or 32, got {bits}")


def group_of(bits: int) -> tuple[int, int]:
    """How many codes fill how many whole bytes."""
    return 8 // gcd(bits, 8), bits // gcd(bits, 8)


def overlaps(bits: int) -> list[tuple[int, int, int]]:
    """(code, byte, left shift of the code) for every code and byte of a group that share bits."""
    codes, count = group_of(bits)
    return [
        (k, j, k * bits - 8 * j)
        for k in range(codes)
        for j in range(count)
        if k * bits < 8 * (j + 1) and 8 * j < (k + 1) * bits
    ]


def pack(x: Any, fmt: str | AnyFormat | None = None, **options: Any) -> Packed:
    """Round every element of x and keep the codes in as many bits as they need.

    Args:
        x: an array as in `encode`, or what `encode` made of a scaled or complex one.
        fmt: a format or its name; not for `Encoded`.
        options: of `encode`.

    Raises:
        ValueError: as `encode`; an unscaled format wider than 16 bits that is not 32 bits wide.

    Example:
        >>> import numpy as np
        >>> packed = pack(np.linspace(-6, 6, 64, dtype=np.float32), "mxfp4")
        >>> packed.nbytes, packed.bits_per_element
        (34, 4.25)
        >>> bool((unpack(packed) == decode(encode(np.linspace(-6, 6, 64, dtype=np.float32), "mxfp4"))).all())
        True
    """
    if isinstance(x, Encoded):
        if fmt is not None or options:
            raise TypeError("codes are packed as they are; leave the format and options out")
        codes = x
    else:
        if fmt is None:
            raise TypeError("pack needs a format; pass its name")
        direct = _streamed(x, fmt, options)
        if direct is not None:
            return direct
        codes = _as_encoded(x, fmt, options)
    widths = stream_bits(codes.fmt, codes.dtype)
    streams = {name: pack_codes(array.reshape(-1), widths[name]) for name, array in codes.arrays.items()}
    return Packed(codes.fmt, tuple(codes.shape), codes.dtype, streams)


def _streamed(x: Any, fmt: Any, options: dict[str, Any]) -> Packed | None:
    """Codes of an unscaled format of at most 8 bits without an array of codes, where the backend can."""
    from .dispatch import backend_of
    from .scaled_plan import Options, plan_for

    backend, packing = backend_of(x), packing_backend_of(x)
    known = set(options) <= {"rounding", "overflow", "nan"} and not isinstance(x, tuple)
    resolved = any_format(fmt)
    if (
        not known
        or not hasattr(packing, "stream_of")
        or isinstance(resolved, NOT_PLAIN)
        or resolved.bits in (8, 16, 32)
    ):
        return None
    array = backend.as_array(x)
    dtype = backend.dtype_name(array)
    plan: Any = plan_for(resolved, dtype, Options(options.get("rounding"), None, options.get("overflow"), codes=True))
    if plan.draws:
        return None
    stream = packing.stream_of(array, plan, options.get("nan"))
    return None if stream is None else Packed(resolved, tuple(array.shape), dtype, {"elements": stream})


def _as_encoded(x: Any, fmt: Any, options: dict[str, Any]) -> Encoded:
    from .dispatch import backend_of

    resolved = any_format(fmt)
    codes = encode(x, resolved, **options)
    if isinstance(codes, Encoded):
        return codes
    backend = backend_of(x)
    return Encoded(resolved, tuple(codes.shape), backend.dtype_name(backend.as_array(x)), codes)


def unpack(packed: Packed, *, out_dtype: Any = None) -> Any:
    """The values of a packed array: what `quantize` gives.

    Args:
        out_dtype: as in `decode`; default the dtype that was packed, or the narrowest wider one where the
            values do not fit it.

    Raises:
        ValueError: streams whose lengths do not go with the format and shape.
    """
    from .layouts import LAYOUTS, fits

    if isinstance(packed.fmt, ScaledFormat):
        return decode(unpack_encoded(packed), out_dtype=out_dtype)
    if isinstance(packed.fmt, ComplexFormat):
        return decode(unpack_encoded(packed))
    plain: Any = packed.fmt
    able = [name for name in (packed.dtype, "float32", "float64") if fits(plain, LAYOUTS[name])]
    direct = _values_of_stream(packed, dtype_name(out_dtype or able[0]))
    return decode(unpack_encoded(packed).elements, plain, out_dtype=out_dtype or able[0]) if direct is None else direct


def _values_of_stream(packed: Packed, dtype: str) -> Any:
    """Values of an unscaled format of fewer than 8 bits without an array of codes, where the backend can."""
    from .layouts import require_fit

    fmt: Any = packed.fmt
    stream, count = packed.streams.get("elements"), prod(packed.shape)
    if isinstance(fmt, NOT_PLAIN) or fmt.bits >= 8 or set(packed.streams) != {"elements"}:
        return None
    packing = packing_backend_of(stream)
    if not hasattr(packing, "values_of"):
        return None
    target = layout_named(dtype, "out_dtype")
    require_fit(fmt, target)
    _check_stream(stream, fmt.bits, count)
    values = packing.values_of(stream, fmt, target, count)
    return None if values is None else values.reshape(packed.shape)


def unpack_encoded(packed: Packed) -> Encoded:
    """The codes of a packed array.

    Raises:
        ValueError: streams that are missing, superfluous, or of a length that does not go with format and shape.
    """
    widths, shapes = stream_bits(packed.fmt, packed.dtype), stream_shapes(packed.fmt, packed.shape)
    if set(packed.streams) != set(shapes):
        raise ValueError(f"{packed.fmt.name}: expected streams {sorted(shapes)}, got {sorted(packed.streams)}")
    arrays = {
        name: unpack_codes(stream, widths[name], prod(shapes[name])).reshape(shapes[name])
        for name, stream in packed.streams.items()
    }
    micro = tuple(arrays.pop(f"micro{k}") for k in range(len(getattr(packed.fmt, "micro", ()))))
    return replace(Encoded(packed.fmt, tuple(packed.shape), packed.dtype, None), micro=micro, **arrays)


def stream_bits(fmt: AnyFormat, dtype: str) -> dict[str, int]:
    """Bits of a code in each stream."""
    if isinstance(fmt, ComplexFormat):
        if "float64" in dtype:
            raise ValueError(f"{fmt.name}: scales of float64 are not packed; convert the array to complex64 first")
        return {"elements": 2, "scales": 32}
    if isinstance(fmt, ScaledFormat):
        outer = fmt.outer.scale.bits if fmt.outer else 0
        element = fmt.element.bits
        return {"elements": element, "scales": fmt.scale.bits, "outer": outer, "zero_points": element} | {
            f"micro{k}": 1 for k in range(len(fmt.micro))
        }
    return {"elements": fmt.bits}


def stream_shapes(fmt: AnyFormat, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shape of the codes in each stream, for an array of that shape."""
    shape = tuple(shape)
    if isinstance(fmt, ComplexFormat):
        grid = view_of(fmt.blocks, shape, True, fmt.name).grid
        return {"elements": (fmt.stages, *shape), "scales": (fmt.stages, 2, *grid)}
    found = {"elements": shape}
    if not isinstance(fmt, ScaledFormat):
        return found
    view = view_of(fmt.blocks, shape, True, fmt.name)
    found["scales"] = view.grid
    found |= {"outer": grouped(view, fmt.outer.blocks, fmt.name).grid} if fmt.outer else {}
    found |= {"zero_points": view.grid} if fmt.zero_point else {}
    return found | {f"micro{k}": (*view.grid, fmt.block_size // size) for k, size in enumerate(fmt.micro)}
