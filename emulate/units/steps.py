"""Single operations on arrays, each rounded once, for operands of any bits: what no compiled kernel of sums does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...formats.exact import Exact, quantize_exact
from ..backends import cpu
from ..backends import numpy as numpy_backend
from ..backends.numpy import FLOATS
from ..layouts import FLOAT64, Layout
from ..plan import Randomness
from ..rounded import rational
from ..rounded.context import Arithmetic, extent
from ..rounded.draws import Draws
from ..rounded.operations import odd_compiled, operate, rounded_to
from .span import Span

_SIGNS = {"add": (-1, -1), "fma": (-1, 1, -1)}
"""What makes the negative of a sum."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in the result, and the steps of its operations.

    Args:
        draws: of stochastic rounding, or None.
        steps: the numbers of the operations to come.
        start: row-major index in the result of the first element.
    """

    draws: Draws | None
    steps: Iterator[int]
    start: int

    def next(self, arithmetic: Arithmetic) -> Randomness | None:
        """The random words of the next operation; it is a step whether or not it draws any."""
        step = next(self.steps)
        if self.draws is None or not arithmetic.rounding.stochastic:
            return None
        return self.draws.at(step)._replace(offset=self.start)


class Steps:
    """Products and sums in an arithmetic, of arrays that broadcast; results are in the dtype of its carrier.

    The exact result goes to the format by way of the carrier, as that of rounded arrays does: where it is not exact
    there, rounded to odd. Stochastic rounding sees that number, and draws the carrier's words.

    Args:
        arithmetic: what results are rounded to.
        a, b: what the factors take; None for values of the format.
    """

    def __init__(self, arithmetic: Arithmetic, a: Span | None = None, b: Span | None = None) -> None:
        self.arithmetic = arithmetic
        self.values = Span.of(extent(arithmetic.fmt))
        self.product = (a or self.values) * (b or self.values)
        self.inside = all(span is None or self.holds(span) for span in (a, b))
        self.dtype = FLOATS[arithmetic.carrier.name]
        factors = (a or self.values, b or self.values, self.product)
        self.exact = all(span.inside(arithmetic.carrier, normal=True) for span in factors)

    def holds(self, span: Span) -> bool:
        """Whether numbers take no more than those of the format."""
        return span.bits <= self.values.bits and span.quantum >= self.values.quantum and span.top <= self.values.top

    def multiply(self, a: np.ndarray, b: np.ndarray, place: Place) -> np.ndarray:
        """a * b."""
        if self.exact:
            return self.finish(np.multiply(a, b, dtype=self.dtype), place)
        return self._run("multiply", [a, b], self.inside, self.product, place)

    def fma(self, a: np.ndarray, b: np.ndarray, c: np.ndarray, place: Place) -> np.ndarray:
        """a * b + c, c of the format."""
        return self._run("fma", [a, b, c], self.inside, self.product | self.values, place)

    def add(self, a: np.ndarray, b: np.ndarray, place: Place, term: Span | None = None) -> np.ndarray:
        """a + b, values of the format, or numbers that take `term`."""
        inside = term is None or self.holds(term)
        return self._run("add", [a, b], inside, self.values if term is None else self.values | term, place)

    def finish(self, x: np.ndarray, place: Place) -> np.ndarray:
        """Numbers that are exact, or in float64 rounded to odd, to the format."""
        return rounded_to(self.arithmetic, x, place.next(self.arithmetic))

    def _run(self, name: str, operands: list[np.ndarray], inside: bool, result: Span, place: Place) -> np.ndarray:
        of = self.arithmetic
        if of.overflow == "wrap" and result.total(2).inside(FLOAT64, normal=True):  # exact, and integers have no -0
            x, y, *z = (np.asarray(x, np.float64) for x in operands)
            return self.finish(x + y if name == "add" else x * y + z[0] if z else x * y, place)
        if not self._keeps(result, of.carrier if inside else FLOAT64):
            return self._rationally(name, operands, place)
        if inside or (of.native and name != "fma"):
            randomness = place.next(of)
            return operate(name, of, [np.asarray(x, self.dtype) for x in operands], randomness)
        exact = result.quantum >= 1 - FLOAT64.bias and result.top + 1 < FLOAT64.bias
        if not exact or self.values.bits + 2 > FLOAT64.mantissa_bits + 1:
            return self._rationally(name, operands, place)
        return self.finish(_odd(name, operands, of.rounding.name == "down"), place)

    def _keeps(self, result: Span, layout: Layout) -> bool:
        """Whether a result keeps the bits that its rounding reads: of integers that wrap the lowest and two below."""
        if self.arithmetic.overflow != "wrap":
            return True
        lowest = getattr(self.arithmetic.fmt, "exponent", 0) - 2
        return result.total(2).top + 1 - lowest <= layout.mantissa_bits + 1

    def _rationally(self, name: str, operands: list[np.ndarray], place: Place) -> np.ndarray:
        full = np.broadcast_arrays(*operands)
        down = self.arithmetic.rounding.name == "down"
        rows = zip(*(x.reshape(-1).tolist() for x in full))
        return self.settle([rational.exactly(name, row, down) for row in rows], place).reshape(full[0].shape)

    def settle(self, exact: Sequence[Exact], place: Place) -> np.ndarray:
        """(n,) exact numbers to the format, in rational arithmetic."""
        of, randomness = self.arithmetic, place.next(self.arithmetic)
        width, words = of.carrier.work_width, [0] * len(exact)
        if randomness is not None:
            noise = numpy_backend.noise_for(randomness, (len(exact),))
            drawn = cpu.random_words(noise.key, int(noise.row_starts[0]), len(exact), of.carrier)
            words = [int(word) % (1 << width) for word in drawn]
            exact = exact if of.rational else [odd_in(of.carrier, x) for x in exact]
        found = [quantize_exact(of.fmt, x, of.rounding, of.overflow, word, width) for x, word in zip(exact, words)]
        return np.array([float(x) for x in found], self.dtype)


def odd_in(layout: Layout, x: Exact) -> Exact:
    """A number rounded to odd in a dtype."""
    if not isinstance(x, Fraction) or x == 0:
        return x
    bits = layout.floor(abs(x))
    found = layout.number(bits if layout.number(bits) == abs(x) else bits | 1)
    return -found if x < 0 else found


def _odd(name: str, operands: list[np.ndarray], down: bool) -> np.ndarray:
    """The operation of float64 numbers to odd; where rounded down, sums of zero are -0: they are computed negated."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    signs = _SIGNS[name] if down and name in _SIGNS else (1,) * len(operands)
    full = [np.broadcast_to(x if sign == 1 else -x, shape) for x, sign in zip(operands, signs)]
    out = np.empty(shape)
    odd_compiled(name, [np.ascontiguousarray(x, np.float64).reshape(-1) for x in full], out.reshape(-1))
    return -out if signs[0] == -1 else out
