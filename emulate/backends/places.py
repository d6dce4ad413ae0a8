"""How blocks lie in the memory of a contiguous array."""

from dataclasses import dataclass
from math import prod

from ..views import View


@dataclass(frozen=True, slots=True)
class Place:
    """How blocks lie in memory: an array (outer, rows, columns), each block `rows` rows of `run` neighbours.

    With one column a block is `rows` consecutive elements.
    """

    outer: int
    rows: int
    columns: int
    run: int

    @property
    def size(self) -> int:
        """Elements of a block."""
        return self.rows * self.run

    @property
    def size_of_rows(self) -> int:
        """Elements of the rows a block lies in."""
        return self.rows * self.columns


def place_in(view: View, size: int) -> Place | None:
    """Where the blocks of a contiguous array of that many elements lie; None where they lie otherwise."""
    if any(view.padding) or not view.extents:
        return None
    lengths, extents = view.lengths, view.extents
    wide = [axis for axis, extent in enumerate(extents) if extent > 1] or [len(lengths) - 1]
    first = wide[0]
    if all(extents[axis] == lengths[axis] for axis in range(first + 1, len(lengths))):
        return Place(size // view.block_size, view.block_size, 1, 1)
    if any(axis not in (first, len(lengths) - 1) for axis in wide):
        return None
    run = extents[-1] if first < len(lengths) - 1 else 1
    columns = prod(lengths[first + 1 :])
    return Place(size // (extents[first] * columns), extents[first], columns, run)
