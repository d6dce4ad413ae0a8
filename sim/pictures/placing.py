"""Names beside points, where there is room: greedily, the most important first."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .style import GREY, SMALL, text_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RADII = (4.0, 8.0, 13.0, 19.0)
"""Points from the point to the nearest edge of its name."""
_DIRECTIONS = ((0, 1), (1, 1), (-1, 1), (0, -1), (1, -1), (-1, -1), (1, 0), (-1, 0))
_AMBIGUOUS = 3.0
"""What a name costs, in square points of overlap, that is nearer to another point than to its own."""
_AROUND = 3.0
"""Points around a marker that are its own."""


class Box(NamedTuple):
    """In points, from the lower left corner of the figure."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Area in common."""
        across = min(self.right, other.right) - max(self.left, other.left)
        up = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(across, 0.0) * max(up, 0.0)

    def distances(self, places: np.ndarray) -> np.ndarray:
        """From its edge to (n, 2) places."""
        across = np.maximum(self.left - places[:, 0], places[:, 0] - self.right)
        up = np.maximum(self.bottom - places[:, 1], places[:, 1] - self.top)
        return np.hypot(np.maximum(across, 0), np.maximum(up, 0))


class Name(NamedTuple):
    """What stands beside a point.

    Args:
        text: as `plain` makes it. x, y: of the point in data coordinates. colour: of the text.
        needed: whether it is written even where it overlaps something.
    """

    text: str
    x: float
    y: float
    colour: str
    needed: bool


def box_of(artist: Any) -> Box:
    """Where a drawn artist lies."""
    extent, scale = artist.get_window_extent(), 72 / artist.figure.figure.dpi
    return Box(extent.x0 * scale, extent.y0 * scale, extent.x1 * scale, extent.y1 * scale)


def points_of(axes: "Axes", x: Any, y: Any) -> np.ndarray:
    """(n, 2) places on the figure in points, of data coordinates."""
    return axes.transData.transform(np.stack([x, y], -1)) * (72 / axes.figure.figure.dpi)


def around(places: np.ndarray) -> list[Box]:
    """The boxes of markers."""
    return [Box(x - _AROUND, y - _AROUND, x + _AROUND, y + _AROUND) for x, y in places]


def place_names(axes: "Axes", names: Sequence[Name], taken: Iterable[Box]) -> None:
    """Write names beside their points, apart from each other, from `taken`, and within the axes.

    Those that are needed come first, and take the place that overlaps least; others are left out where they have none.
    """
    if not names:
        return
    inside, occupied = box_of(axes), list(taken)
    places = points_of(axes, [each.x for each in names], [each.y for each in names])
    for each, (x, y) in sorted(zip(names, places), key=lambda pair: not pair[0].needed):
        best, least = None, np.inf
        wide, high = text_points(each.text) + 1.5, 1.25 * SMALL
        for radius in _RADII if each.needed else _RADII[:2]:
            for across, up in _DIRECTIONS:
                box = _beside(x, y, across, up, radius, wide, high)
                if min(box.left - inside.left, inside.right - box.right,
                       box.bottom - inside.bottom, inside.top - box.top) < -1:  # fmt: skip
                    continue
                cost = sum(map(box.overlap, occupied)) + radius / 100
                others = places[np.any(places != (x, y), axis=1)]
                cost += _AMBIGUOUS * bool(len(others) and box.distances(others).min() < radius)
                if cost < least:
                    best, least = (box, across, up, radius), cost
            if best is not None and least < 1:
                break
        if best is not None and (each.needed or least < 1):
            occupied.append(best[0])
            _write(axes, each, best)


def _beside(x: float, y: float, across: int, up: int, radius: float, wide: float, high: float) -> Box:
    """The box of a name in one of eight directions."""
    radius = radius * (0.75 if across and up else 1.0)
    left = x + across * radius - wide * (1 - across) / 2
    bottom = y + up * radius - high * (1 - up) / 2
    return Box(left, bottom, left + wide, bottom + high)


def _write(axes: "Axes", name: Name, best: tuple[Box, int, int, float]) -> None:
    _, across, up, radius = best
    radius = radius * (0.75 if across and up else 1.0)
    far = best[3] > _RADII[1]
    text = axes.annotate(
        name.text, (name.x, name.y), (across * radius, up * radius), textcoords="offset points", fontsize=SMALL,
        color=name.colour, ha={-1: "right", 0: "center", 1: "left"}[across],
        va={-1: "top", 0: "center", 1: "bottom"}[up], annotation_clip=False,
        arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": GREY, "shrinkA": 0.5, "shrinkB": 2} if far else None,
    )  # fmt: skip
    text.set_in_layout(False)


def clear_corner(axes: "Axes", legend: Any, taken: Sequence[Box], corners: Iterable[str]) -> str | None:
    """The first corner of the axes where a legend covers nothing of `taken`; None where there is no such."""
    inside, size = box_of(axes), box_of(legend)
    wide, high = size.right - size.left, size.top - size.bottom
    for corner in corners:
        up, side = corner.split()
        left = inside.right - wide if side == "right" else inside.left
        bottom = inside.top - high if up == "upper" else inside.bottom
        box = Box(left - 2, bottom - 2, left + wide + 2, bottom + high + 2)
        if not any(box.overlap(each) for each in taken) and wide < inside.right - inside.left:
            return corner
    return None
