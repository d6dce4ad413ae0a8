"""The points of a picture of costs: means of groups, which of them no other beats, and where they are drawn."""

from typing import Any, NamedTuple

import numpy as np

from .runs import groups_of, numbers_of
from .style import plain


class Point(NamedTuple):
    """A group in the picture; `x` is its cost, moved a little where others cost the same."""

    name: str
    kind: str
    cost: float
    x: float
    y: float
    low: float
    high: float
    lost: bool
    partly: bool
    runs: int
    front: bool


def points_of_groups(runs: Any, cost: str, metric: str, by: str, kind: str, factor: float, spread: str) -> list[Point]:
    """The groups of runs, with the means of their costs.

    Raises:
        ValueError: a cost that is not finite.
    """
    prices = runs.assign(**{cost: numbers_of(runs, cost)}).groupby(by, sort=False, dropna=False)[cost].mean()
    found = []
    for each, price in zip(groups_of(runs, (by,), metric, factor, spread), prices):
        if not np.isfinite(price):
            raise ValueError(f"expected a finite {cost!r} of each {by}, got {price} for {each.name}; leave it out")
        of = each.first[kind] if kind in runs.columns else None
        partly = 0 < each.diverged < each.runs
        found.append(
            Point(plain(each.name), of if isinstance(of, str) else "", price, price, each.mean, each.low, each.high,
                  each.diverged == each.runs, partly, each.runs, False)
        )  # fmt: skip
    return found


def with_front(points: list[Point], rising: bool) -> list[Point]:
    """Mark those that no other beats: not dearer and not worse, and better in one of both."""
    sign = 1 if rising else -1
    able = [point for point in points if not point.lost and not point.partly]

    def beaten(point: Point) -> bool:
        return any(
            other.cost <= point.cost
            and sign * other.y >= sign * point.y
            and (other.cost < point.cost or other.y != point.y)
            for other in able
        )

    return [point._replace(front=not point.lost and not point.partly and not beaten(point)) for point in points]


def apart(points: list[Point], log: bool) -> list[Point]:
    """Move points of one cost apart by less than half the way to the next cost; the one on the front stays."""
    scale = np.log if log else np.asarray
    costs = sorted({point.cost for point in points})
    gap = float(np.min(np.diff(scale(np.array(costs))))) if len(costs) > 1 else 1.0 if log else abs(costs[0]) / 4 or 1.0
    moved = []
    for cost in costs:
        same = sorted((point for point in points if point.cost == cost), key=lambda point: (not point.front, point.y))
        step = min(0.1 * gap, 0.4 * gap / max(len(same) // 2, 1))
        for k, point in enumerate(same):
            offset = step * ((k + 1) // 2) * (1 if k % 2 else -1)
            moved.append(point._replace(x=float(cost * np.exp(offset) if log else cost + offset)))
    return moved
