"""How the blocks of a scaled format lie in memory, and which of them a Triton program takes."""

from dataclasses import dataclass
from typing import Any

from ..scales import Work
from .places import place_in
from .triton_memory import BLOCK

LONGEST = 4 * BLOCK
"""Elements of a block, at most, that one program holds."""
NEIGHBOURS = 32
"""Neighbouring elements to read at once, at least, where blocks run across rows."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What one program takes; see `triton_scaled_kernels`."""

    rows: int
    groups: int
    run: int
    row_chunks: bool
    run_chunks: bool
    whole: bool

    @property
    def long(self) -> bool:
        """Whether a block is too long for a program."""
        return self.row_chunks or self.run_chunks

    @property
    def warps(self) -> int:
        """32 elements a thread."""
        return min(max(self.rows * self.groups * self.run // 1024, 4), 16)

    def arguments(self) -> dict[str, Any]:
        """As the kernels name them."""
        return {
            "ROWS": self.rows, "GROUPS": self.groups, "RUN": self.run, "WHOLE": self.whole,
            "ROW_CHUNKS": self.row_chunks, "RUN_CHUNKS": self.run_chunks, "num_warps": self.warps,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where blocks lie: an array (outer, rows, columns), a block all rows and `run` neighbouring columns."""

    outer: int
    rows: int
    columns: int
    run: int

    @property
    def groups(self) -> int:
        """Blocks next to each other."""
        return self.columns // self.run

    def arguments(self) -> dict[str, int]:
        """As the kernels name them."""
        return {"rows": self.rows, "groups": self.groups, "run": self.run, "columns": self.columns}

    def tile(self, block: int, hadamard: int) -> Tile:
        """Tiles of about `block` elements that hold whole transforms of `hadamard` neighbours."""
        rows, run = _power_of_two(self.rows), _power_of_two(self.run)
        neighbours = run if self.rows == 1 else max(run, min(NEIGHBOURS, _power_of_two(self.columns)))
        whole, most = self.run == run, _power_of_two(self.groups)
        if rows * neighbours <= max(LONGEST, block):
            groups = min(max(block // (rows * run), neighbours // run, hadamard // run, 1), most)
            padded = hadamard > 0 and not whole  # transforms stay together only within a block
            return Tile(rows, 1 if padded else groups, run, False, False, whole)
        if self.rows == 1:
            return Tile(1, 1, block, False, True, False)
        short = min(run, 2 * NEIGHBOURS)
        groups = min(max(2 * NEIGHBOURS // short, hadamard // short, 1), most)
        rows = min(rows, max(block // (short * groups), 1))
        return Tile(rows, groups, short, rows < self.rows, short < run, whole and short == run)

    def programs(self, tile: Tile) -> int:
        """Programs of all tiles."""
        chunks = -(-self.rows // tile.rows) * -(-self.run // tile.run)
        return self.outer * chunks * -(-self.groups // tile.groups)

    def transforms(self, tile: Tile, size: int) -> bool:
        """Whether tiles hold whole transforms of `size` neighbours."""
        if tile.whole:
            return self.columns % size == 0 and tile.groups * tile.run % size == 0
        return tile.groups == 1 and self.run % size == 0 and tile.run % size == 0

    def quads(self, tile: Tile) -> bool:
        """Whether four neighbours of a tile share a Philox call, if the tensor starts at a multiple of four."""
        together = tile.whole or (tile.groups == 1 and (self.run % 4 == 0 or self.groups == 1))
        rows = self.columns % 4 == 0 or self.outer * self.rows == 1
        return together and rows and tile.groups * tile.run % 4 == 0


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def blocks_of(work: Work, size: int) -> Blocks | None:
    """Where the blocks of an array of that many elements lie; None where they lie otherwise."""
    place = place_in(work.view, size)
    if place is None:
        return None
    if place.columns == 1:  # consecutive elements
        return Blocks(1, 1, size, place.rows)
    return Blocks(place.outer, place.rows, place.columns, place.run)
