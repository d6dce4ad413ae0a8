"""Which elements of an array share a scale: granularities as data.

    tensor     one scale                        row, token  one scale per vector along the last axis
    column     one per vector along axis -2     channel     one per index of axis 0 (channel@1: of axis 1)
    16         blocks of 16 along axis -1       16@0        blocks of 16 along axis 0
    16x16      tiles over the last two axes     flat64      blocks of 64 of the flattened array

A size of 0 in a list of sizes stands for the whole axis, so that `column` is `0@-2`.
"""

import re
from dataclasses import dataclass
from math import prod

_SIZES = re.compile(r"(\d+(?:x\d+)*)(?:@(-?\d+(?::-?\d+)*))?")
_FLAT = re.compile(r"flat(\d+)")
_CHANNEL = re.compile(r"channel@(-?\d+(?::-?\d+)*)")


@dataclass(frozen=True, slots=True)
class Blocks:
    """A granularity.

    Args:
        sizes: extent of a block along each of `axes`; 0 for the whole axis.
        axes: axes the sizes belong to, negative ones counted from the end.
        rest: extent along all other axes, 1, or 0 for the whole axis.
        flat: blocks of the flattened, row-major array; one size and no axes.

    Raises:
        ValueError: sizes and axes that do not go together.
    """

    sizes: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    rest: int = 1
    flat: bool = False

    def __post_init__(self) -> None:
        if any(size < 0 for size in self.sizes) or self.rest not in (0, 1):
            raise ValueError(f"expected block sizes of 1 or more, or 0 for a whole axis, got {self.sizes}")
        if self.flat and (len(self.sizes) != 1 or self.axes or not self.sizes[0]):
            raise ValueError(f"flat blocks have one size and no axes, got sizes {self.sizes} and axes {self.axes}")
        if not self.flat and len(self.sizes) != len(self.axes):
            raise ValueError(f"expected a block size for each axis, got sizes {self.sizes} for axes {self.axes}")
        if len(set(self.axes)) != len(self.axes):
            raise ValueError(f"expected different axes, got {self.axes}")
        if self.rest == 0 and any(size != 1 for size in self.sizes):
            raise ValueError(f"where the other axes are whole, each listed axis has size 1, got {self.sizes}")

    @property
    def spec(self) -> str:
        """A string that `blocks` parses back to an equal granularity."""
        if self.flat:
            return f"flat{self.sizes[0]}"
        for name, known in _NAMED.items():
            if self == known:
                return name
        axes = ":".join(map(str, self.axes))
        if self.rest == 0:
            return f"channel@{axes}"
        sizes = "x".join(map(str, self.sizes))
        return sizes if self.axes == _default_axes(len(self.sizes)) else f"{sizes}@{axes}"

    def extents(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extent of a block along each axis of an array of that shape; of the flattened array for flat blocks.

        Raises:
            ValueError: an axis the array does not have.
        """
        if self.flat:
            return self.sizes
        if len({axis % max(len(shape), 1) for axis in self.axes}) < len(self.axes):
            raise ValueError(f"blocks of {self.spec} name one axis of an array of shape {shape} twice")
        extents = [1 if self.rest else max(length, 1) for length in shape]
        for size, axis in zip(self.sizes, self.axes):
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"blocks of {self.spec} need axis {axis}, got an array of shape {shape}")
            extents[axis] = size or max(shape[axis], 1)
        return tuple(extents)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many blocks there are along each axis, a ragged last one included; the shape of the scales."""
        lengths = (prod(shape),) if self.flat else shape
        return tuple(-(-length // extent) for length, extent in zip(lengths, self.extents(shape)))

    def along(self, axes: tuple[int, ...]) -> "Blocks":
        """The same sizes along other axes.

        Raises:
            ValueError: another number of axes than there are sizes.
        """
        if self.flat or len(axes) != len(self.axes):
            raise ValueError(f"blocks of {self.spec} have {len(self.axes)} axes, got axis={axes}")
        if len(set(axes)) < len(axes):
            raise ValueError(f"expected different axes, got axis={axes}")
        return Blocks(self.sizes, axes, self.rest)


_NAMED = {
    "tensor": Blocks(rest=0),
    "row": Blocks((0,), (-1,)),
    "column": Blocks((0,), (-2,)),
    "channel": Blocks((1,), (0,), 0),
}


def _default_axes(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))


def blocks(given: "int | str | tuple[int, ...] | Blocks", axis: int | tuple[int, ...] | None = None) -> Blocks:
    """The granularity that was written down.

    Args:
        given: a block size, a tuple of sizes for the last axes, or a name as the module's text shows.
        axis: the axis, or axes, of the sizes.

    Raises:
        ValueError: none of these.
        TypeError: neither a number, a tuple, a string nor `Blocks`.

    Example:
        >>> blocks(16, axis=0).spec
        '16@0'
        >>> blocks("16x16").sizes
        (16, 16)
    """
    found = _blocks(given)
    return found if axis is None else found.along((axis,) if isinstance(axis, int) else tuple(axis))


def _blocks(given: object) -> Blocks:
    if isinstance(given, Blocks):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return _sized((given,))
    if isinstance(given, tuple | list) and all(isinstance(size, int) for size in given):
        return _sized(tuple(given))
    if isinstance(given, str):
        return _parsed(given.strip().lower())
    raise TypeError(f"expected a block size, a tuple of sizes or a name such as 'row', got {given!r}")


def _sized(sizes: tuple[int, ...]) -> Blocks:
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"expected block sizes of 1 or more, got {sizes}; a whole axis is 'row', all is 'tensor'")
    return Blocks(sizes, _default_axes(len(sizes)))


def _parsed(name: str) -> Blocks:
    name = {"token": "row", "vector": "row"}.get(name, name)
    if name in _NAMED:
        return _NAMED[name]
    if found := _FLAT.fullmatch(name):
        return Blocks((int(found[1]),), flat=True)
    if found := _CHANNEL.fullmatch(name):
        axes = tuple(map(int, found[1].split(":")))
        return Blocks((1,) * len(axes), axes, 0)
    if found := _SIZES.fullmatch(name):
        sizes = tuple(map(int, found[1].split("x")))
        axes = tuple(map(int, found[2].split(":"))) if found[2] else _default_axes(len(sizes))
        return Blocks(sizes, axes)
    raise ValueError(
        f"unknown granularity {name!r}; expected tensor, row, token, column, channel, a size such as 16, 16@0 or "
        "16x16, or flat64"
    )
