"""Sums of products in one format, of a tile and some of its products: compiled, modular, or step by step."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ...formats.integers import IntFormat
from ..layouts import FLOAT64
from ..rounded.context import Arithmetic
from .problem import Tile, dtype_of
from .routes import DIRECT, NATIVE, Route
from .span import Span
from .steps import Place, Steps


class Sums(Protocol):
    """What adds products.

    Attributes:
        dtype: of operands.
        result: dtype of sums.
        negates: whether it takes -a in place of a.
        whole_rows: whether a tile must have all columns.
    """

    dtype: np.dtype
    result: np.dtype
    negates: bool
    whole_rows: bool

    def __call__(self, tile: Tile, first: int, last: int, place: Place) -> np.ndarray:
        """(rows, columns) sums of the products from the first to before the last."""
        ...


class Compiled:
    """By a compiled kernel."""

    whole_rows = False

    def __init__(self, route: Route, order: str) -> None:
        from ..backends.numba_units import summing

        self.route = route
        self.kernel = summing(order, route.kind, route.total)
        self.dtype = self.result = dtype_of(route.carrier)
        self.negates = route.negated

    def __call__(self, tile: Tile, first: int, last: int, place: Place) -> np.ndarray:
        """As `Sums`."""
        route = self.route
        out = np.full(tile.shape, -0.0 if self.negates else 0.0, self.dtype)
        self.kernel(tile.a, tile.panels, out, tile.at(first, last), route.cut, route.parameters, route.rounds)
        found = tile.joined(out)
        return np.negative(found, out=found) if self.negates else found


class Modular:
    """Integers that wrap: exact sums, cut to their low bits now and then, which changes no result."""

    negates = False
    whole_rows = False
    dtype = np.dtype(np.float64)

    def __init__(self, arithmetic: Arithmetic, count: int) -> None:
        from ..backends.numba_units import summing

        self.kernel = summing("sequential", NATIVE, DIRECT)
        self.steps = Steps(arithmetic)
        self.result = self.steps.dtype
        self.count = count

    def __call__(self, tile: Tile, first: int, last: int, place: Place) -> np.ndarray:
        """As `Sums`."""
        nothing = np.zeros(40, np.int64)
        found = self.steps.finish(np.zeros(tile.rows_and_columns), place)
        for start in range(first, last, self.count):
            out = np.zeros(tile.shape)
            self.kernel(
                tile.a, tile.panels, out, tile.at(start, min(start + self.count, last)), nothing, nothing, False
            )
            found = self.steps.finish(tile.joined(out) + found, place)
        return found


def modular_count(arithmetic: Arithmetic, product: Span) -> int:
    """How many products at a time `Modular` adds exactly; 0 where it cannot: products between the integers."""
    fmt = arithmetic.fmt
    if not isinstance(fmt, IntFormat) or arithmetic.overflow != "wrap" or product.quantum < fmt.exponent:
        return 0
    spare = 51 - max(product.total(1).top, fmt.bits + fmt.exponent) + min(product.quantum, fmt.exponent)
    return 1 << min(spare, 40) if spare > 0 and product.inside(FLOAT64, True) else 0


class Stepwise:
    """By single operations on arrays, a product at a time for all results of a tile."""

    negates = False
    whole_rows = True

    def __init__(self, arithmetic: Arithmetic, order: str, a: Span, b: Span, fma: bool) -> None:
        self.steps = Steps(arithmetic, a, b)
        self.order, self.fma = order, fma
        self.dtype = self.steps.dtype if self.steps.inside else np.dtype(np.float64)
        self.result = self.steps.dtype
        product = a * b
        if order == "pairwise" and fma and not product.inside(FLOAT64, True):
            raise ValueError(
                f"order='pairwise' with fma=True adds exact products, which float64 must hold: got {a.bits} and "
                f"{b.bits} significant bits; round the operands first, with a_format= and b_format=, or leave fma out"
            )
        self.term = product if fma else None

    def __call__(self, tile: Tile, first: int, last: int, place: Place) -> np.ndarray:
        """As `Sums`."""
        factors = self._factors(tile, first, last)
        if self.order == "pairwise":
            return self._pairwise(tile, factors, place)
        acc = np.zeros(tile.rows_and_columns, self.result)
        for x, y in factors:
            if self.fma:
                acc = self.steps.fma(x, y, acc, place)
            else:
                acc = self.steps.add(acc, self.steps.multiply(x, y, place), place)
        return acc

    def _factors(self, tile: Tile, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, 1) and (1, columns) of every product."""
        for k in range(first, last):
            row = tile.panels[:, k].reshape(1, -1)[:, : tile.rows_and_columns[1]]
            yield tile.a[:, k, None], row

    def _pairwise(self, tile: Tile, factors: Iterator[tuple[np.ndarray, np.ndarray]], place: Place) -> np.ndarray:
        stack: list[np.ndarray] = []
        count = 0
        for x, y in factors:
            count += 1
            stack.append(np.multiply(x, y, dtype=np.float64) if self.fma else self.steps.multiply(x, y, place))
            for _ in range((count & -count).bit_length() - 1):
                self._merge(stack, place)
        while len(stack) > 1:
            self._merge(stack, place)
        if not stack:
            return np.zeros(tile.rows_and_columns, self.result)
        return self.steps.finish(stack[0], place) if self.fma and count == 1 else stack[0]

    def _merge(self, stack: list[np.ndarray], place: Place) -> None:
        b, a = stack.pop(), stack.pop()
        stack.append(self.steps.add(a, b, place, self.term))
