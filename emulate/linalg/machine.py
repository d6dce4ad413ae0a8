"""What the algorithms compute with: one arithmetic, its random words, and the order of its sums."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2
from typing import Any

import numpy as np

from ..backends.numpy import FLOATS
from ..rounded.arrays import RoundedArray
from ..rounded.context import Arithmetic, arithmetic, extent
from ..rounded.draws import Draws
from ..rounded.operands import operand
from ..rounded.operations import operate, rounded_to
from ..rounded.reductions import accumulate, compiled_terms, dot_general, next_of

BLOCK = 32
"""Columns that a factorization takes at once; more cost less overhead and more of what is done one by one."""
_ALONE = 1 << 16
"""Products up to which one thread does them all."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The operations of one arithmetic on NumPy arrays of its carrier, every one of them rounded.

    Args:
        arithmetic: what operations end with.
        draws: where stochastic rounding takes its random words from: one step of it for each operation here.
        order: of sums and of products of matrices, see `rounded.reductions`.
        wraps: whether results are `RoundedArray`, as the operands were.
    """

    arithmetic: Arithmetic
    draws: Draws | None = None
    order: str = "sequential"
    wraps: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Of the arrays."""
        return np.dtype(FLOATS[self.arithmetic.carrier.name])

    @property
    def blocked(self) -> bool:
        """Whether sums of products are compiled, so that algorithms by blocks are the faster ones.

        The operations are the same, and those on each number come in the same order: so are the bits. Random words
        go by whole operations, which blocks would cut.
        """
        return compiled_terms(self.arithmetic) is not None

    def round(self, x: Any) -> np.ndarray:
        """Floats of any dtype as numbers of the format."""
        return rounded_to(self.arithmetic, np.asarray(x), next_of(self.draws))

    def constant(self, x: Any) -> np.ndarray:
        """Numbers of the algorithm, rounded to the format to nearest, ties to even, whatever the rounding."""
        found = rounded_to(_to_nearest(self.arithmetic), np.asarray(x, np.float64))
        return found.astype(self.dtype, copy=False)

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a + b."""
        return self._do("add", np.add, a, b)

    def subtract(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a - b."""
        return self._do("subtract", np.subtract, a, b)

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a * b."""
        return self._do("multiply", np.multiply, a, b)

    def divide(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a / b."""
        return self._do("divide", np.divide, a, b)

    def sqrt(self, a: np.ndarray) -> np.ndarray:
        """The square root."""
        return self._do("sqrt", np.sqrt, a)

    def axpy(self, alpha: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """y + alpha * x, the product rounded first."""
        return self._combined(alpha, x, y, subtract=False)

    def minus(self, alpha: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """y - alpha * x, the product rounded first."""
        return self._combined(alpha, x, y, subtract=True)

    def scaled(self, x: np.ndarray, exponent: int) -> np.ndarray:
        """x * 2**exponent, which rounds where it is no longer a number of the format."""
        limit = int(np.finfo(self.dtype).maxexp) - 1
        if exponent > limit:  # of the smallest subnormal numbers
            x, exponent = self.multiply(x, np.ldexp(self.dtype.type(1), limit)), exponent - limit
        return self.multiply(x, np.ldexp(self.dtype.type(1), exponent))

    def sum(self, x: np.ndarray, axis: int = -1) -> np.ndarray:
        """The sum over an axis, in the order of the machine."""
        return accumulate(self.arithmetic, x, axis, self.order, self.draws)

    def dot(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The inner product of two vectors, in the order of the machine."""
        if self.order == "pairwise" and self.draws is None and x.size:
            return self.sum(self.multiply(x, y))
        found = np.zeros((1, 1), self.dtype)
        if self.order == "sequential" and self._compiled(found, x[None], y[:, None]):
            return found[0, 0]
        return self.product(x[None], y[:, None])[0, 0]

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The product of matrices, in the order of the machine."""
        return dot_general(self.arithmetic, a, b, self.order, self.draws)

    def apply(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The product of a matrix and a vector, in the order of the machine."""
        return self.product(a, x[:, None])[:, 0]

    def update(self, c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """c - a b for matrices: the products of each number are subtracted one after the other."""
        if self.arithmetic.native and a.shape[1] == 1:
            with np.errstate(all="ignore"):
                return c - a * b
        return dot_general(self.arithmetic, a, b, "sequential", self.draws, start=c, subtract=True)

    def deduct(self, c: np.ndarray, a: np.ndarray, b: np.ndarray, first: int = 0) -> None:
        """`update` of the columns of c from `first` on, in place, without the overhead of large products.

        Args:
            c: (m, n) contiguous, like b.
            a: (m, k).
            b: (k, n).
        """
        small = c.size * a.shape[1] <= _ALONE and not self.arithmetic.native
        if c.size and not (small and self._compiled(c, a, b, first, subtract=True)):
            c[:, first:] = self.update(c[:, first:], a, b[:, first:])

    def norm(self, x: np.ndarray) -> np.ndarray:
        """The 2-norm of a vector; see `basic.nrm2`."""
        largest = np.abs(x).max(initial=0)
        if not np.isfinite(largest) or not largest:
            return self.dtype.type(largest)
        limit = 1 - int(np.finfo(self.dtype).minexp)  # as far as both powers of two are normal numbers
        exponent = min(max(self._exponent(x, int(np.frexp(largest)[1])), -limit), limit)
        small = self.scaled(x, -exponent)
        return self.scaled(self.sqrt(self.sum(self.multiply(small, small))), exponent)

    def _exponent(self, x: np.ndarray, own: int) -> int:
        """e of `basic.nrm2`, from that of the largest magnitude."""
        of = extent(self.arithmetic.fmt)
        if of.quantum <= -1 - of.precision and of.top > 1:  # squares from 1/4 to 1 have all bits, a few have sums
            return own
        size = float(np.square(np.ldexp(x.astype(np.float64), -own)).sum())
        fitting = own + ceil(log2(size / float(self.arithmetic.fmt.max)) / 2)
        kept = min(fitting, own - 1 - of.quantum)
        return max(kept, 0) if of.quantum >= 0 else kept

    def give(self, values: np.ndarray) -> Any:
        """A result: a rounded array where the operands were, else a plain one; a scalar where it is one number."""
        return RoundedArray(np.asarray(values), self.arithmetic, self.draws) if self.wraps else np.asarray(values)[()]

    def take(self, x: Any) -> np.ndarray:
        """What a function of the caller's returns, rounded to the format unless it is of it."""
        return operand(x, self.arithmetic, self.draws)

    def hand(self, values: np.ndarray) -> RoundedArray:
        """What a function of the caller's is called with: it rounds every operation."""
        return RoundedArray(values, self.arithmetic, self.draws)

    def _combined(self, alpha: np.ndarray, x: np.ndarray, y: np.ndarray, subtract: bool) -> np.ndarray:
        if y.ndim == 1 and x.ndim == 1 and y.size <= _ALONE and not self.arithmetic.native:
            found = np.array(y[None], order="C")
            if self._compiled(found, np.reshape(alpha, (1, 1)), x[None], subtract=subtract):
                return found[0]
        return (self.subtract if subtract else self.add)(y, self.multiply(alpha, x))

    def _compiled(self, c: np.ndarray, a: np.ndarray, b: np.ndarray, first: int = 0, subtract: bool = False) -> bool:
        """c +- a b in place in this thread, columns from `first` on; False where it is not compiled."""
        terms = compiled_terms(self.arithmetic)
        if terms is None:
            return False
        from ..backends.numba_products import add_products

        p, plain, odd, down = terms
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        add_products(c, a, b, first, c.shape[1], p, plain, odd, subtract, down)
        return True

    def _do(self, name: str, ufunc: np.ufunc, *operands: np.ndarray) -> np.ndarray:
        if self.arithmetic.native:
            with np.errstate(all="ignore"):
                return ufunc(*operands)
        return operate(name, self.arithmetic, operands, next_of(self.draws))


@lru_cache(maxsize=256)
def _to_nearest(target: Arithmetic) -> Arithmetic:
    return arithmetic(target, rounding="nearest_even")
