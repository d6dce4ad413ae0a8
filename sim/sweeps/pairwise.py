"""Pairwise designs: few configurations in which any two values of two parameters that can meet do meet.

Covering arrays of strength two, built greedily, a configuration at a time, as in AETG (Cohen, Dalal, Fredman, Patton
1997, IEEE Trans. Softw. Eng. 23(7)): of several candidates the one with the most pairs that are new is kept. What
conditions or exclusions rule out is avoided by completing every partial configuration.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from .choices import Configuration
from .conditions import Exclusion, is_active, is_excluded
from .parameters import Parameter

_CANDIDATES = 12
"""Configurations of which one is kept; more make designs hardly smaller."""

Row = dict[int, int]
"""Numbers of values by numbers of parameters; parameters that do not exist, or are open, are left out."""


def pairwise(parameters: Sequence[Parameter], exclusions: Sequence[Exclusion], seed: int) -> list[Configuration]:
    """Configurations in which every possible pair of values occurs, and every possible value.

    Args:
        parameters: with listed values, each after those it depends on.
        seed: decides between values that are equally good.
    """
    search = _Search(parameters, exclusions)
    pairs = _Pairs(search)
    uniform = Random(seed)
    rows = []
    while pairs.left.any():
        totals = pairs.left.sum(axis=1)
        candidates = [_candidate(search, pairs, totals, uniform) for _ in range(_CANDIDATES)]
        best = max(candidates, key=pairs.gain)
        pairs.cover(best)
        rows.append({each.name: search.values[i][best[i]] for i, each in enumerate(parameters) if i in best})
    return rows


class _Search:
    """Finds whole configurations around some values that are wanted."""

    def __init__(self, parameters: Sequence[Parameter], exclusions: Sequence[Exclusion]) -> None:
        self.parameters, self.exclusions = parameters, exclusions
        self.values: list[tuple[Any, ...]] = [each.listed or () for each in parameters]
        self.free = not exclusions and not any(each.when for each in parameters)
        tied = {name for each in parameters for name, _ in each.when} | {each.name for each in parameters if each.when}
        tied |= {name for each in exclusions for name, _ in each.terms}
        # Parameters that nothing is tied to come last: they never fail, so that no search goes back through them.
        self.order = sorted(range(len(parameters)), key=lambda i: parameters[i].name not in tied)

    def possible(self, wanted: Mapping[int, int]) -> bool:
        """Whether a configuration has the wanted values."""
        return self.free or self.complete(wanted, [0] * len(self.values)) is not None

    def complete(self, wanted: Mapping[int, int], turns: Sequence[int]) -> Row | None:
        """A configuration with the wanted values, or None.

        Args:
            turns: for every parameter, from which of its values on others are tried.
        """
        row: Row = {}
        return row if self._extend(0, row, {}, wanted, turns) else None

    def _extend(
        self, depth: int, row: Row, named: Configuration, wanted: Mapping[int, int], turns: Sequence[int]
    ) -> bool:
        if depth == len(self.order):
            return True
        i = self.order[depth]
        each, count = self.parameters[i], len(self.values[i])
        if not is_active(each, named):
            return i not in wanted and self._extend(depth + 1, row, named, wanted, turns)
        for a in [wanted[i]] if i in wanted else [(turns[i] + k) % count for k in range(count)]:
            row[i], named[each.name] = a, self.values[i][a]
            if not is_excluded(named, self.exclusions) and self._extend(depth + 1, row, named, wanted, turns):
                return True
            del row[i], named[each.name]
        return False


class _Pairs:
    """The pairs that no configuration has yet.

    Attributes:
        left: (values, values) int32, 1 for a pair that is left, both ways; the values of all parameters in a row. The
            diagonal stands for values alone, so that those without any pair are covered as well.
        start: where the values of each parameter begin.
    """

    def __init__(self, search: _Search) -> None:
        sizes = [len(values) for values in search.values]
        self.sizes = sizes
        self.start = [sum(sizes[:i]) for i in range(len(sizes))]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        self.left = ((owner[:, None] != owner) | np.eye(len(owner), dtype=bool)).astype(np.int32)
        if not search.free:
            for u, v in np.argwhere(np.tril(self.left)).tolist():
                i, j = int(owner[u]), int(owner[v])
                if not search.possible({i: u - self.start[i], j: v - self.start[j]}):
                    self.left[u, v] = self.left[v, u] = 0

    def places(self, row: Mapping[int, int]) -> list[int]:
        """Where the values of a configuration are."""
        return [self.start[i] + a for i, a in row.items()]

    def gain(self, row: Mapping[int, int]) -> int:
        """Pairs of a configuration that are left, counted both ways, and values alone."""
        places = self.places(row)
        return int(self.left[np.ix_(places, places)].sum())

    def cover(self, row: Mapping[int, int]) -> None:
        """Take the pairs of a configuration out."""
        places = self.places(row)
        self.left[np.ix_(places, places)] = 0


def _candidate(search: _Search, pairs: _Pairs, totals: np.ndarray, uniform: Random) -> Row:
    """The value with the most pairs left, then for each parameter, in random order, the value that adds the most."""
    count = len(pairs.sizes)
    most = np.flatnonzero(totals == totals.max())
    place = int(most[int(uniform.random() * len(most))])
    first = int(np.searchsorted(pairs.start, place, side="right")) - 1
    turns = [int(uniform.random() * size) for size in pairs.sizes]
    row = {first: place - pairs.start[first]}
    gains = np.diagonal(pairs.left) + pairs.left[place]
    for i in sorted((i for i in range(count) if i != first), key=lambda _: uniform.random()):
        a = _best_value(i, row, gains[pairs.start[i] :][: pairs.sizes[i]], search, uniform)
        if a is not None:
            row[i] = a
            gains = gains + pairs.left[pairs.start[i] + a]
    whole = row if search.free else search.complete(row, turns)
    if whole is None:  # every step kept the row completable
        raise RuntimeError(f"no configuration has the values {row}")
    return whole


def _best_value(i: int, row: Row, gains: np.ndarray, search: _Search, uniform: Random) -> int | None:
    """The value of a parameter that adds the most pairs, ties at random; None where none adds any or is possible."""
    best = np.flatnonzero(gains == gains.max())
    if search.free:
        return int(best[int(uniform.random() * len(best))])
    tie = [uniform.random() for _ in gains]
    for a in sorted(range(len(gains)), key=lambda a: (-gains[a], tie[a])):
        if not gains[a]:
            return None
        if search.possible({**row, i: a}):
            return a
    return None
