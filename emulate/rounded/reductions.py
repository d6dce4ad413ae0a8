"""Sums and sums of products in a stated order, every operation rounded, on NumPy arrays of the carrier.

    sequential    s = x[0]; s = rnd(s + x[k]) for k = 1, 2, ...
    pairwise      ((x0 + x1) + (x2 + x3)) + ..., adjacent pairs level by level; an odd one out passes to the next level

Products are rounded before they are added, and sequential sums of products begin with +0. Stochastic rounding takes
one step of the draws for each operation on a whole array: for each k the products, then the sums; for pairwise sums
each level.
"""

import itertools
from functools import lru_cache
from typing import Any

import numpy as np

from ...formats.suggest import unknown
from ..backends import cpu
from ..backends.numpy import FLOATS
from ..plan import Randomness
from ..tables import Grid
from .context import Arithmetic
from .draws import Draws
from .operations import odd_compiled, operate, rounded_to

ORDERS = ("sequential", "pairwise")
"""The orders in which terms are added."""

_SHARED_FROM = 1 << 16
"""Products from which on threads share the work."""


def check_order(order: str) -> str:
    """The order.

    Raises:
        ValueError: an unknown one.
    """
    if order not in ORDERS:
        raise ValueError(unknown("order", str(order), ORDERS))
    return order


def accumulate(
    arithmetic: Arithmetic, x: np.ndarray, axis: int, order: str = "sequential", draws: Draws | None = None
) -> np.ndarray:
    """The sum over an axis, which goes away; +0 over an empty one."""
    terms = np.moveaxis(x, axis, 0)
    if not terms.shape[0]:
        return np.zeros(terms.shape[1:], FLOATS[arithmetic.carrier.name])
    if check_order(order) == "pairwise":
        return _pairwise(arithmetic, terms, draws)
    found = np.array(terms[0], order="C")
    if terms.shape[0] > 1 and compiled_terms(arithmetic) is not None:
        ones = np.ones((1, terms.shape[0] - 1), found.dtype)  # a product with one is exact
        rest = np.ascontiguousarray(terms[1:]).reshape(terms.shape[0] - 1, -1)
        _add_products(arithmetic, found.reshape(1, -1), ones, rest, False)
        return found
    for term in terms[1:]:
        found = operate("add", arithmetic, (found, term), next_of(draws))
    return found


def divided(arithmetic: Arithmetic, x: np.ndarray, count: int, draws: Draws | None = None) -> np.ndarray:
    """x / count, rounded once; the count need not be a number of the format."""
    if arithmetic.rational or arithmetic.native:
        return operate("divide", arithmetic, (x, np.array(float(count))), next_of(draws))
    quotient = np.empty(x.shape, np.float64)
    with np.errstate(all="ignore"):
        odd_compiled("divide", [x.astype(np.float64).reshape(-1), np.array([float(count)])], quotient.reshape(-1))
    return rounded_to(arithmetic, quotient, next_of(draws))


def running(arithmetic: Arithmetic, x: np.ndarray, axis: int, draws: Draws | None = None) -> np.ndarray:
    """The sums of the first 1, 2, ... terms along an axis, one after the other."""
    terms = np.moveaxis(x, axis, 0)
    found = np.array(terms, order="C")
    for k in range(1, terms.shape[0]):
        found[k] = operate("add", arithmetic, (found[k - 1], terms[k]), next_of(draws))
    return np.moveaxis(found, 0, axis)


def product(arithmetic: Arithmetic, x: np.ndarray, axis: int, draws: Draws | None = None) -> np.ndarray:
    """The product over an axis, one factor after the other; 1 over an empty one."""
    terms = np.moveaxis(x, axis, 0)
    if not terms.shape[0]:
        return np.ones(terms.shape[1:], FLOATS[arithmetic.carrier.name])
    found = np.array(terms[0], order="C")
    for term in terms[1:]:
        found = operate("multiply", arithmetic, (found, term), next_of(draws))
    return found


def dot_general(
    arithmetic: Arithmetic,
    a: np.ndarray,
    b: np.ndarray,
    order: str = "sequential",
    draws: Draws | None = None,
    start: np.ndarray | None = None,
    subtract: bool = False,
) -> np.ndarray:
    """Matrix products, every product and sum rounded.

    Args:
        a: (..., m, k) of the carrier.
        b: (..., k, n), batch axes that broadcast.
        order: one of `ORDERS`.
        start: (..., m, n) to which products are added, sequentially; default +0.
        subtract: whether they are subtracted from it.

    Returns:
        (..., m, n), a new array.
    """
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    if check_order(order) == "pairwise" and (start is not None or subtract):
        raise ValueError("products are added to a start one after the other; use order='sequential'")
    if order == "pairwise" and a.shape[-1]:
        return _pairwise_products(arithmetic, a, b, draws)
    found = np.zeros(shape, a.dtype) if start is None else np.array(np.broadcast_to(start, shape), order="C")
    if compiled_terms(arithmetic) is not None:
        left, right = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
        for index in np.ndindex(*batch):
            _add_products(arithmetic, found[index], left[index], right[index], subtract)
        return found
    operation = "subtract" if subtract else "add"
    for k in range(a.shape[-1]):
        terms = operate("multiply", arithmetic, (a[..., k, None], b[..., None, k, :]), next_of(draws))
        found = operate(operation, arithmetic, (found, terms), next_of(draws))
    return found


def next_of(draws: Draws | None) -> Randomness | None:
    """The random words of the next operation, where there are any."""
    return None if draws is None else draws.next()


def _pairwise(arithmetic: Arithmetic, terms: np.ndarray, draws: Draws | None) -> np.ndarray:
    while terms.shape[0] > 1:
        pairs = terms.shape[0] // 2
        sums = operate("add", arithmetic, (terms[0 : 2 * pairs : 2], terms[1 : 2 * pairs : 2]), next_of(draws))
        terms = np.concatenate([sums, terms[2 * pairs :]]) if terms.shape[0] % 2 else sums
    return np.array(terms[0], order="C")


def _pairwise_products(arithmetic: Arithmetic, a: np.ndarray, b: np.ndarray, draws: Draws | None) -> np.ndarray:
    """The tree of `_pairwise`, grown from the left: a finished subtree waits until its neighbour is as high."""
    waiting: list[tuple[int, np.ndarray]] = []
    for k in range(a.shape[-1]):
        level, found = 0, operate("multiply", arithmetic, (a[..., k, None], b[..., None, k, :]), next_of(draws))
        while waiting and waiting[-1][0] == level:
            found = operate("add", arithmetic, (waiting.pop()[1], found), next_of(draws))
            level += 1
        waiting.append((level, found))
    _, found = waiting.pop()
    while waiting:
        found = operate("add", arithmetic, (waiting.pop()[1], found), next_of(draws))
    return found


Terms = tuple[np.ndarray, Any, Any, bool]


@lru_cache(maxsize=1024)
def compiled_terms(arithmetic: Arithmetic) -> Terms | None:
    """(p, plain, odd, down) of the compiled loop; None where it does not know the format or rounding."""
    table, layout, rounding = arithmetic.plan.table, arithmetic.carrier, arithmetic.rounding
    if rounding.stochastic or arithmetic.rational or not isinstance(table, Grid):
        return None
    p = cpu.parameters(table, layout, arithmetic.plan.mode, arithmetic.overflow, -1)
    if p is None:
        return None
    plain = arithmetic.direct and rounding == cpu.NEAREST_EVEN and cpu.same_on_both_sides(p)
    one = p.dtype.type(0)
    return p, one if plain else None, None if plain else one, rounding.name == "down"


def _add_products(arithmetic: Arithmetic, c: np.ndarray, a: np.ndarray, b: np.ndarray, subtract: bool) -> None:
    """`numba_products.add_products` in threads, along the longer axis of the result."""
    from ..backends.numba_products import add_products

    terms = compiled_terms(arithmetic)
    if terms is None:
        raise ValueError(f"{arithmetic}: expected an arithmetic that the compiled loops know")
    (m, n), k = c.shape, a.shape[1]
    if not c.size or not k:
        return
    if n < m and n < 16:  # vectors run along the rows of the result
        turned = np.ascontiguousarray(c.T)
        _add_products(arithmetic, turned, np.ascontiguousarray(b.T), np.ascontiguousarray(a.T), subtract)
        c[...] = turned.T
        return
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    count = cpu.threads() if m * n * k >= _SHARED_FROM else 1
    p, plain, odd, down = terms
    by_rows = m >= 2 * count
    edges = [(m if by_rows else n) * part // count for part in range(count + 1)]

    def part(ends: tuple[int, int]) -> None:
        rows, columns = (slice(*ends), (0, n)) if by_rows else (slice(None), ends)
        add_products(c[rows], a[rows], b, *columns, p, plain, odd, subtract, down)

    cpu.in_threads(part, [ends for ends in itertools.pairwise(edges) if ends[0] < ends[1]])
