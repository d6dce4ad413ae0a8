"""Which configurations of a space are run: all, some at random or evenly spread, or enough for every pair of values.

Random and Sobol designs take points of the unit cube, one coordinate a parameter in the order of their names: a listed
value has a bin, a range is covered evenly, and where a parameter does not exist its coordinate is not used. So they do
not depend on the order in which parameters were written.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ...formats.suggest import unknown
from .choices import Configuration, identity
from .conditions import Exclusion, is_active, is_excluded
from .parameters import Parameter

LARGEST = 1_000_000
"""Configurations of a grid at most."""
_COUNTED = 100_000
"""Finite spaces up to this size are listed, so that drawing all of them takes no luck."""
_MISSES = 20_000
"""Draws in a row that give nothing new, after which the space counts as used up."""


@dataclass(frozen=True, slots=True)
class Design:
    """How configurations are chosen.

    Args:
        kind: 'grid', 'random', 'sobol', 'pairwise' or 'list'.
        n: how many, of 'random' and 'sobol'.
        seed: of 'random', 'sobol' and 'pairwise'.

    Raises:
        ValueError: an unknown kind, an n that is missing or has no meaning, a seed that is no integer >= 0.
    """

    kind: str = "grid"
    n: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*DESIGNS, "list"):
            raise ValueError(unknown("design", str(self.kind), (*DESIGNS, "list")))
        for name in ("n", "seed"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise ValueError(f"expected an integer >= 0 for {name}, got {value!r}")
        if self.kind in ("random", "sobol"):
            if not self.n:
                raise ValueError(f"design {self.kind!r} needs n, how many configurations to draw, such as n=100")
        elif self.n is not None:
            raise ValueError(
                f"design {self.kind!r} has as many configurations as it needs, got n={self.n}; leave n out"
            )


def listed(parameters: Sequence[Parameter], kind: str) -> None:
    """Raise a ValueError where a design needs listed values and a parameter is a continuous range."""
    for each in parameters:
        if each.listed is None:
            raise ValueError(
                f"{each.name} is a continuous range, and design {kind!r} needs listed values; "
                "give it levels=, or take design='random' or 'sobol'"
            )


def grid(parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], seed: int = 0, n: int | None = None) -> list:
    """Every configuration, the last parameter varying fastest."""
    listed(parameters, "grid")
    found = list_all(parameters, exclusions, LARGEST)
    if found is None:
        raise ValueError(
            f"the grid has more than {LARGEST:,} configurations; leave values out, or take design='random' with n"
        )
    return found


def list_all(parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], most: int) -> list[Configuration] | None:
    """Every configuration; None where there are more than `most`, or infinitely many."""
    rows: list[Configuration] = [{}]
    placed: set[str] = set()
    for each in parameters:
        values = each.listed
        if values is None:
            return None
        placed.add(each.name)
        ready = [x for x in exclusions if each.name in (names := [name for name, _ in x.terms]) and placed >= {*names}]
        if not each.when and not ready and len(rows) * len(values) > most:
            return None
        grown: list[Configuration] = []
        for row in rows:
            longer = [{**row, each.name: value} for value in values] if is_active(each, row) else [row]
            grown.extend(new for new in longer if not ready or not is_excluded(new, ready))
            if len(grown) > most:
                return None
        rows = grown
    return rows


def random(parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], seed: int, n: int) -> list[Configuration]:
    """n different configurations, each parameter drawn by itself.

    A finite space is drawn from without replacement: the order of log(u) / p, p the probability of a configuration, is
    that of drawing one by one (Efraimidis and Spirakis 2006, weighted random sampling with a reservoir).
    """
    uniform = Random(seed).random  # the sequence is promised to stay the same by Python
    everything = list_all(parameters, exclusions, _COUNTED)
    if everything is None:
        return _drawn(parameters, exclusions, n, lambda: iter(lambda: [uniform() for _ in parameters], None))
    _check_size(n, len(everything))
    by_name = {each.name: each for each in parameters}
    keys = [
        math.log(1 - uniform()) / math.prod(by_name[name].share(value) for name, value in row.items())
        for row in everything
    ]
    best = sorted(range(len(everything)), key=lambda number: -keys[number])
    return [everything[number] for number in best[:n]]


def sobol(parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], seed: int, n: int) -> list[Configuration]:
    """The first n different configurations of a scrambled Sobol sequence (Owen's scrambling, as in SciPy)."""
    everything = list_all(parameters, exclusions, _COUNTED)
    if everything is not None:
        _check_size(n, len(everything))
    return _drawn(parameters, exclusions, n, lambda: _sobol_points(len(parameters), seed))


def _sobol_points(dimensions: int, seed: int) -> Iterator[Any]:
    import numpy as np
    from scipy.stats.qmc import Sobol

    make: Any = Sobol  # `seed` is the name before SciPy 1.15; `rng` is the same with a generator
    points = make(dimensions, scramble=True, seed=np.random.default_rng(seed))
    yield from points.random_base2(10).tolist()
    for size in range(10, 30):  # in powers of two, whose balance is the point of the sequence
        yield from points.random_base2(size).tolist()


def _check_size(n: int, size: int) -> None:
    if n > size:
        raise ValueError(f"the space has {size} configurations, got n={n}; ask for at most {size}, or for the grid")


def _drawn(
    parameters: Sequence[Parameter],
    exclusions: Sequence[Exclusion],
    n: int,
    points: Callable[[], Iterator[Sequence[float]]],
) -> list[Configuration]:
    """The first n different configurations of a sequence of points."""
    column = {name: number for number, name in enumerate(sorted(each.name for each in parameters))}
    found: dict[Hashable, Configuration] = {}
    missed = 0
    for point in points():
        row: Configuration = {}
        for each in parameters:
            if is_active(each, row):
                row[each.name] = each.at(point[column[each.name]])
        key = identity(row)
        if key in found or is_excluded(row, exclusions):
            missed += 1
            if missed > _MISSES:
                break
            continue
        missed = 0
        found[key] = row
        if len(found) == n:
            return list(found.values())
    raise ValueError(
        f"found {len(found)} different configurations in {missed + len(found):,} draws, got n={n}; ask for fewer, "
        "or leave less out"
    )


def _pairwise(
    parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], seed: int = 0, n: int | None = None
) -> list[Configuration]:
    from .pairwise import pairwise

    listed(parameters, "pairwise")
    return pairwise(parameters, exclusions, seed)


DESIGNS: dict[str, Callable[..., list[Configuration]]] = {
    "grid": grid,
    "random": random,
    "sobol": sobol,
    "pairwise": _pairwise,
}
"""Designs of parameters: (parameters in the order of `ordered`, exclusions, seed, n) -> configurations."""
