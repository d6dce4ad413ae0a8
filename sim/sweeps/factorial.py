"""The linear model of a factorial design: levels coded so that the effects of each factor sum to zero.

    y = mean + a_i + b_j + (ab)_ij + error,     sum_i a_i = sum_j b_j = sum_i (ab)_ij = sum_j (ab)_ij = 0

A factor of L levels has L - 1 columns: level i < L has a one in column i, the last level -1 in all. Then effects do not
depend on which level comes first, and in a balanced design columns of different terms are orthogonal.
Source: Searle, "Linear Models for Unbalanced Data", Wiley 1987; Montgomery, "Design and Analysis of Experiments".
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .measured import groups, names_of

if TYPE_CHECKING:
    import pandas

Interactions = int | Iterable[Sequence[str]]


class Term(NamedTuple):
    """A main effect or an interaction.

    Args:
        factors: which factors, by number.
        columns: its columns of the model's matrix.
        contrasts: (levels, len(columns)); its product with the coefficients is the effect of each level.
    """

    factors: tuple[int, ...]
    columns: slice
    contrasts: np.ndarray


class Design(NamedTuple):
    """Runs as a linear model, in which runs of one combination of levels are one cell.

    Args:
        names: of the factors.
        levels: of each factor: ascending where they are numbers, else in the order of the runs.
        codes: (cells, factors) the number of each level.
        cell_of: (n,) the cell of each run.
        counts: (cells,) runs.
        terms: main effects first, then interactions.
        matrix: (cells, 1 + coefficients) float64; the first column is the mean's.
    """

    names: tuple[str, ...]
    levels: list[list[Any]]
    codes: np.ndarray
    cell_of: np.ndarray
    counts: np.ndarray
    terms: list[Term]
    matrix: np.ndarray

    def name(self, term: Term) -> str:
        """A term as 'format' or 'format:rounding'."""
        return ":".join(self.names[factor] for factor in term.factors)

    def cells(self, term: Term) -> list[tuple[int, ...]]:
        """The combinations of levels of a term, in the order of its contrasts."""
        return list(product(*(range(len(self.levels[factor])) for factor in term.factors)))

    def without(self, dropped: Iterable[Term]) -> np.ndarray:
        """The matrix without the columns of some terms."""
        columns = np.ones(self.matrix.shape[1], bool)
        for term in dropped:
            columns[term.columns] = False
        return self.matrix[:, columns]


def design(runs: "pandas.DataFrame", factors: Sequence[str], interactions: Interactions) -> Design:
    """The model of runs, each of them a row.

    Raises:
        ValueError: a factor of one level, no runs, or effects that the runs cannot tell apart.
    """
    names = tuple(dict.fromkeys(names_of(factors)))
    if not names or not len(runs):
        raise ValueError(f"expected runs and factors, got {len(runs)} runs and {len(names)} factors")
    levels, by_factor = zip(*(_levels(runs, name) for name in names))
    for name, found in zip(names, levels):
        if len(found) < 2:
            raise ValueError(f"factor {name!r} has one level, {found[0]!r}, and no effect; leave it out of factors=")
    coding = [np.vstack([np.eye(len(found) - 1), np.full(len(found) - 1, -1.0)]) for found in levels]
    codes, cell_of, counts = np.unique(np.stack(by_factor, 1), axis=0, return_inverse=True, return_counts=True)
    terms, columns = [], [np.ones((len(codes), 1))]
    start = 1
    for chosen in _terms(names, interactions):
        blocks = [coding[factor][codes[:, factor]] for factor in chosen]
        block = reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), blocks)
        contrasts = reduce(np.kron, [coding[factor] for factor in chosen])
        terms.append(Term(chosen, slice(start, start + block.shape[1]), contrasts))
        columns.append(block)
        start += block.shape[1]
    found = Design(names, list(levels), codes, cell_of.reshape(-1), counts, terms, np.hstack(columns))
    _refuse_aliases(found)
    return found


def _levels(runs: "pandas.DataFrame", name: str) -> tuple[list[Any], np.ndarray]:
    """The levels of a factor and the code of each run."""
    from pandas import CategoricalDtype
    from pandas.api.types import is_numeric_dtype

    found = groups(runs, (name,))
    levels: Any = found.labels[name]
    if is_numeric_dtype(levels):
        order = np.argsort(levels.to_numpy(), kind="stable")
    elif isinstance(levels.dtype, CategoricalDtype):
        order = np.argsort(levels.cat.codes.to_numpy(), kind="stable")
    else:
        order = np.arange(len(levels))
    return levels.iloc[order].tolist(), np.argsort(order)[found.numbers]


def _terms(names: tuple[str, ...], interactions: Interactions) -> list[tuple[int, ...]]:
    main = [(factor,) for factor in range(len(names))]
    if isinstance(interactions, int):
        if interactions < 1:
            raise ValueError(f"expected interactions of 1 (none), 2 or more, got {interactions}; pass interactions=1")
        orders = range(2, min(interactions, len(names)) + 1)
        return main + [chosen for order in orders for chosen in combinations(range(len(names)), order)]
    given = []
    for pair in interactions:
        absent = [name for name in pair if name not in names]
        if isinstance(pair, str) or absent or len(set(pair)) < 2:
            raise ValueError(f"expected interactions of two or more of the factors {names}, got {pair!r}")
        given.append(tuple(sorted({names.index(name) for name in pair})))
    return main + list(dict.fromkeys(given))


def _refuse_aliases(found: Design) -> None:
    """Raise where terms cannot be told apart: one whose columns add less to the others' rank than they are many."""
    rank = np.linalg.matrix_rank(found.matrix)
    if rank == found.matrix.shape[1]:
        return
    aliased = [
        term for term in found.terms if np.linalg.matrix_rank(found.without([term])) + term.contrasts.shape[1] > rank
    ]
    names = " and ".join(repr(found.name(term)) for term in aliased)
    raise ValueError(
        f"these {len(found.cell_of)} runs cannot tell apart the effects of {names}{_missing(found, aliased)}; leave "
        "one out of factors=, pass interactions=1 or those you want, as [('format', 'rounding')], or run more"
    )


def _missing(found: Design, aliased: Sequence[Term]) -> str:
    """Up to three combinations of levels, of aliased interactions, that no run has."""
    said = []
    for term in aliased:
        seen = set(map(tuple, found.codes[:, term.factors].tolist()))
        said += [
            " with ".join(f"{found.names[f]}={found.levels[f][level]}" for f, level in zip(term.factors, cell))
            for cell in found.cells(term)
            if len(term.factors) > 1 and cell not in seen
        ]
    return f" (no run of {', of '.join(said[:3])}{', ...' if len(said) > 3 else ''})" if said else ""
