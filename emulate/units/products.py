"""Matrix products of NumPy arrays in an accumulator."""

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from ..backends import cpu
from ..backends import numpy as numpy_backend
from ..layouts import FLOAT32, FLOAT64, Layout, fits
from ..rounded.context import Arithmetic, extent
from ..rounded.draws import Draws
from ..scaled_plan import Options, plan_for
from .accumulator import Accumulator
from .kulisch import exact_product
from .problem import Problem, Tile, chunks, dtype_of, solve
from .routes import carrier_of_binary, route_for
from .span import Span, normal_only, span_of
from .steps import Place, Steps
from .sums import Compiled, Modular, Stepwise, Sums, modular_count


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scales of chunks of products.

    Args:
        a: (batch, m, chunks) float64.
        b: (batch, chunks, n) float64.
    """

    a: np.ndarray
    b: np.ndarray

    @property
    def transposed(self) -> "Scaling":
        """Of the transposed product."""
        return Scaling(self.b.transpose(0, 2, 1), self.a.transpose(0, 2, 1))

    def of(self, tile: Tile, chunk: int) -> np.ndarray:
        """(rows, columns) products of the scales of a chunk: exact but where scales have more than 26 bits."""
        return self.a[tile.index, tile.rows, chunk, None] * self.b[tile.index, None, chunk, tile.columns]

    @property
    def span(self) -> Span:
        """What the products take."""
        product = span_of(self.a) * span_of(self.b)
        return Span(min(product.bits, FLOAT64.mantissa_bits + 1), product.quantum, product.top, product.finite)


def multiplied(problem: Problem, unit: Accumulator, draws: Draws | None, scaling: Scaling | None = None) -> np.ndarray:
    """(batch, m, n) the products, values of `unit.result` in float32 or float64; NaN is canonical.

    Args:
        problem: of float32 or float64; NaN is canonical here, too.
        draws: of stochastic rounding; every operation of the same place in all sums is one step.
        scaling: of 'blocked': factors of the sums of its chunks.
    """
    if unit.draws or not problem.narrow:
        return _canonical(_multiplied(problem, unit, draws, scaling))
    turned = _multiplied(problem.transposed, unit, draws, None if scaling is None else scaling.transposed)
    return np.ascontiguousarray(_canonical(turned).transpose(0, 2, 1))


def _canonical(found: np.ndarray) -> np.ndarray:
    nan = np.isnan(found)
    if nan.any():
        found[nan] = np.nan
    return found


def _multiplied(problem: Problem, unit: Accumulator, draws: Draws | None, scaling: Scaling | None) -> np.ndarray:
    first = 0 if draws is None else draws.step
    if not problem.products or 0 in problem.shape:
        return np.zeros(problem.shape, dtype_of(unit.result.carrier))
    if draws is not None:
        draws.take(operations(unit, problem.products, scaling is not None))
    spans = span_of(problem.a), span_of(problem.b)
    flushes = cpu.flushes()
    if unit.exact:
        return exact_product(problem, unit.outer, *spans, lambda start: Place(draws, count(first), start))
    if unit.order == "aligned":
        return _Aligned(unit, *spans, problem.products, flushes).run(problem, draws, first)
    sums = sums_for(unit, *spans, flushes)
    if sums.negates:
        problem = Problem(-problem.a, problem.b)
    if unit.order != "blocked":

        def whole(tile: Tile) -> np.ndarray:
            return sums(tile, 0, problem.products, Place(draws, count(first), tile.start))

        return solve(problem, sums.dtype, whole, sums.result, sums.whole_rows)
    outer = _Outer(unit, sums, flushes, scaling)

    def blocked(tile: Tile) -> np.ndarray:
        return outer.run(tile, Place(draws, count(first), tile.start), problem.products)

    return solve(problem, sums.dtype, blocked, outer.dtype, sums.whole_rows or unit.draws)


def operations(unit: Accumulator, products: int, scaled: bool) -> int:
    """How many operations of a place there are, which are the steps of stochastic rounding."""
    if unit.exact:
        return 1
    spans = [last - first for first, last in chunks(products, unit.chunk or products)]
    if unit.order == "aligned":
        return len(spans)
    if unit.order == "pairwise":
        return max(products - 1, 1) if unit.fma else 2 * products - 1
    outer = 0 if unit.order == "sequential" else len(spans) * (1 if unit.fma or not scaled else 2)
    return products * (1 if unit.fma else 2) + outer


def sums_for(unit: Accumulator, a: Span, b: Span, flushes: bool) -> Sums:
    """What adds products in the unit's format; the fastest that is exact."""
    order = "pairwise" if unit.order == "pairwise" else "sequential"
    arithmetic = unit.arithmetic
    route = route_for(arithmetic, a, b, unit.fma, order == "pairwise", flushes)
    if route is not None:
        return Compiled(route, order)
    several = modular_count(arithmetic, a * b)
    return Modular(arithmetic, several) if several else Stepwise(arithmetic, order, a, b, unit.fma)


class _Outer:
    """Sums of chunks, added in the outer accumulator."""

    def __init__(self, unit: Accumulator, sums: Sums, flushes: bool, scaling: Scaling | None) -> None:
        self.unit, self.sums, self.scaling = unit, sums, scaling
        self.inner = Span.of(extent(unit.arithmetic.fmt))
        self.steps = Steps(unit.outer, *(() if scaling is None else (self.inner, scaling.span)))
        native = carrier_of_binary(unit.outer) is FLOAT32 and scaling is None and not flushes
        self.native = native and sums.result == np.float32
        self.dtype = np.dtype(np.float32) if self.native else self.steps.dtype

    def run(self, tile: Tile, place: Place, products: int) -> np.ndarray:
        """(rows, columns) of a tile."""
        out = np.zeros(tile.rows_and_columns, self.dtype)
        for index, (first, last) in enumerate(chunks(products, self.unit.chunk or products)):
            found = self.sums(tile, first, last, place)
            if self.native:
                next(place.steps)
                np.add(out, found, out=out)
            elif self.scaling is None:
                out = self.steps.add(out, found, place, self.inner)
            elif self.unit.fma:
                out = self.steps.fma(found, self.scaling.of(tile, index), out, place)
            else:
                scaled = self.steps.multiply(found, self.scaling.of(tile, index), place)
                out = self.steps.add(out, scaled, place)
        return out


class _Aligned:
    """Products of a chunk cut to the bits below the largest of them; the sum is rounded by the unit."""

    def __init__(self, unit: Accumulator, a: Span, b: Span, products: int, flushes: bool) -> None:
        self.unit, self.steps = unit, Steps(unit.arithmetic)
        found = [layout for layout in (FLOAT32, FLOAT64) if self._serves(layout, a, b, products, flushes)]
        if not found:
            raise ValueError(
                f"order='aligned' needs products that are exact in float64, got {a.bits} and {b.bits} significant bits "
                f"in the operands (2**{(a * b).quantum} to 2**{(a * b).top}); round them first, with a_format= and "
                "b_format="
            )
        self.layout = found[0]
        self.dtype = dtype_of(self.layout)
        self.like = np.empty(0, numpy_backend.BITS[self.layout.width])
        self.rounding = None if unit.draws else _in_place(unit.arithmetic, self.layout)

    def _serves(self, layout: Layout, a: Span, b: Span, products: int, flushes: bool) -> bool:
        bits, chunk = self.unit.aligned_bits or 0, self.unit.chunk or 1
        product, normal = a * b, normal_only(flushes, layout)
        exact = all(x.inside(layout, normal) for x in (a, b, product)) and fits(self.unit.arithmetic.fmt, layout)
        within = bits + 1 + chunk.bit_length() <= layout.mantissa_bits + 1
        # whatever is added is a multiple of 2**(quantum - bits)
        deep = product.quantum >= 2 * bits + 4 - layout.bias
        return exact and within and deep and product.total(products).top + 3 < layout.bias

    def run(self, problem: Problem, draws: Draws | None, first: int) -> np.ndarray:
        """(batch, m, n) results."""
        from ..backends.numba_units import aligned

        bits, chunk = self.unit.aligned_bits or 0, self.unit.chunk or 1

        def work(tile: Tile) -> np.ndarray:
            out, place = np.zeros(tile.shape, self.dtype), Place(draws, count(first), tile.start)
            for lo, hi in chunks(problem.products, chunk):
                aligned(tile.a, tile.panels, out, tile.at(lo, hi), self.like, bits)
                if self.rounding is not None:
                    u = out.view(self.like.dtype).reshape(-1)
                    self.rounding(u, u, None)
                else:
                    rounded = self.steps.finish(tile.joined(out).astype(np.float64), place)
                    out = tile.split(rounded.astype(self.dtype))
            return tile.joined(out)

        return solve(problem, self.dtype, work, self.dtype, self.unit.draws)


def _in_place(arithmetic: Arithmetic, layout: Layout) -> Any:
    """What rounds (n,) bits of a dtype where they are."""
    plan: Any = plan_for(
        arithmetic.fmt, layout.name, Options(arithmetic.rounding, None, arithmetic.overflow, layout.name)
    )
    return cpu.worker(numpy_backend.job_of(plan, None))
