"""What scaled arrays are made of: scales in use, and codes."""

from dataclasses import dataclass, fields
from typing import Any

from ..formats.catalogue import AnyFormat


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales of an array, as `scales` finds them and `quantize(..., scale=)` takes them.

    Args:
        decode: float array over the grid of blocks: an element times this is its value. float32, or float64
            where the input is.
        zero_point: integers over the grid, of asymmetric formats.
        micro: exponent bits of nested sub-blocks (HiF4), one array per level, (grid, sub-blocks of a block).
    """

    decode: Any
    zero_point: Any = None
    micro: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Amax:
    """The largest magnitude that a format with one scale for the tensor goes by, in place of that of the data.

    Args:
        value: a number >= 0 or an array of one, as the caller gave it.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Encoded:
    """An array as codes: what `encode` makes of a scaled or complex format, and `decode` reads.

    Args:
        fmt: the format.
        shape: of the array.
        dtype: name of the dtype it had.
        elements: unsigned codes in the shape of the array; of a complex format (stages, shape).
        scales: unsigned codes over the grid of blocks; binary32 as its 32 bits. Of a complex format
            (stages, 2, grid).
        outer: codes of the second level over its groups, or None.
        zero_points: unsigned integers over the grid, or None.
        micro: exponent bits of nested sub-blocks, as in `Scales`.
    """

    fmt: AnyFormat
    shape: tuple[int, ...]
    dtype: str
    elements: Any
    scales: Any = None
    outer: Any = None
    zero_points: Any = None
    micro: tuple[Any, ...] = ()

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays that are there, by name; micro exponents as micro0, micro1, ..."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        found = {name: named[name] for name in ("elements", "scales", "outer", "zero_points")}
        found |= {f"micro{level}": bits for level, bits in enumerate(self.micro)}
        return {name: array for name, array in found.items() if array is not None}
