"""Sums, products and choices over axes of rounded arrays."""

from abc import abstractmethod
from typing import Any

import numpy as np

from .operands import Rounded, nothing_else, one_axis
from .reductions import accumulate, divided, product, running


class Reducing(Rounded):
    """What `RoundedArray` does along axes."""

    __slots__ = ()

    @abstractmethod
    def _with(self, values: np.ndarray) -> Any:
        """Other values of the same arithmetic."""

    def sum(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, order: str = "sequential"
    ) -> Any:
        """The sum over one axis, several, or all elements in row-major order; every sum is rounded.

        Args:
            order: 'sequential', one term after the other; 'pairwise', neighbours first.
        """
        nothing_else(dtype, out)
        terms, axes = one_axis(self.values, axis)
        found = accumulate(self.arithmetic, terms, -1, order, self.draws)
        return self._with(np.expand_dims(found, axes) if keepdims else found)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """The product, one factor after the other; every product is rounded."""
        nothing_else(dtype, out)
        terms, axes = one_axis(self.values, axis)
        found = product(self.arithmetic, terms, -1, self.draws)
        return self._with(np.expand_dims(found, axes) if keepdims else found)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, order: str = "sequential"
    ) -> Any:
        """The sum, by `order`, divided by the number of terms; the number is exact, the quotient rounded once."""
        return self._divided(self.sum(axis, dtype, out, keepdims, order), 0)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: int = 0,
        keepdims: bool = False,
        order: str = "sequential",
    ) -> Any:
        """The sum, by `order`, of the squared distances from the mean, divided by the terms' number less `ddof`."""
        nothing_else(dtype, out)
        centred: Any = self - self.mean(axis, keepdims=True, order=order)  # pyright: ignore[reportOperatorIssue]
        return self._divided((centred * centred).sum(axis, keepdims=keepdims, order=order), ddof)

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: int = 0,
        keepdims: bool = False,
        order: str = "sequential",
    ) -> Any:
        """The square root of the variance."""
        return np.sqrt(self.var(axis, dtype, out, ddof, keepdims, order))

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        """The sums of the first 1, 2, ... terms."""
        nothing_else(dtype, out)
        terms = self.values.ravel() if axis is None else self.values
        return self._with(running(self.arithmetic, terms, -1 if axis is None else axis, self.draws))

    def _divided(self, total: Any, less: int) -> Any:
        count = max(self.values.size // max(total.values.size, 1) - less, 0)
        return self._with(divided(self.arithmetic, total.values, count, self.draws))

    def dot(self, other: Any, order: str = "sequential") -> Any:
        """The matrix product as `np.matmul` shapes it; every product and every sum is rounded.

        Args:
            order: 'sequential', from +0 along the contraction; 'pairwise', neighbouring products first.
        """
        from .combining import matrix_product

        return matrix_product(self, other, order)

    # what rounds nothing

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """The largest element."""
        nothing_else(None, out)
        return self._with(np.asarray(self.values.max(axis, keepdims=keepdims)))

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """The smallest element."""
        nothing_else(None, out)
        return self._with(np.asarray(self.values.min(axis, keepdims=keepdims)))

    def argmax(self, axis: Any = None) -> Any:
        """Where the largest element is."""
        return self.values.argmax(axis)

    def argmin(self, axis: Any = None) -> Any:
        """Where the smallest element is."""
        return self.values.argmin(axis)

    def argsort(self, axis: int | None = -1, **options: Any) -> np.ndarray:
        """The order of the elements."""
        return self.values.argsort(axis, **options)

    def nonzero(self) -> tuple[np.ndarray, ...]:
        """Where elements are not zero."""
        return self.values.nonzero()

    def any(self, axis: Any = None) -> Any:
        """Whether an element is not zero."""
        return self.values.any(axis)

    def all(self, axis: Any = None) -> Any:
        """Whether no element is zero."""
        return self.values.all(axis)
