"""Arrays that round every operation, for NumPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...formats.registry import Format
from ...formats.rounding import Rounding
from ..dispatch import library_of
from .context import Arithmetic, arithmetic
from .draws import draws_for
from .operands import Rounded, nothing_else, one_axis, operand, plain_index, shown
from .operations import operate
from .reductions import accumulate, dot_general, next_of, product, running


class RoundedArray(Rounded, np.lib.mixins.NDArrayOperatorsMixin):
    """An array of values of a format, whose operations give values of the format.

    It behaves like a NumPy array: operators, ufuncs, indexing, and the functions of NumPy that move data or that are
    made of rounded operations. `halfulp.array` makes one.

    - `+ - * /`, `np.sqrt`, `np.square`, `np.reciprocal` and `fma` are correctly rounded, in every format and rounding.
    - Negation, magnitudes, maxima, comparisons, sorting, indexing and reshaping round nothing.
    - Sums and products of matrices round every product and every sum, in a stated order; see `sum` and `dot`.
    - Other functions, such as `np.exp`, are computed in float64 and rounded once, so that they are correctly rounded
      but for the rare result that float64 cannot tell from a tie.
    - Plain numbers and arrays are rounded to the format before they meet a rounded array.
    - Of two formats the result has the one that holds the values of the other; see `promotion`.

    Args:
        values: float32 or float64, the carrier of the arithmetic; values of the format. Not checked, not copied.
        arithmetic: what operations end with.
        draws: where stochastic rounding takes its random words from; shared with results.
    """

    __slots__ = ()
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    # what it is

    @property
    def fmt(self) -> Format:
        """The format of the values."""
        return self.arithmetic.fmt

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.values.size

    @property
    def dtype(self) -> np.dtype:
        """The dtype that carries the values."""
        return self.values.dtype

    @property
    def T(self) -> "RoundedArray":  # noqa: N802
        """The axes in reverse."""
        return self._with(self.values.T)

    def __repr__(self) -> str:
        text = np.array2string(shown(self), separator=", ", prefix="RoundedArray(")
        return f"RoundedArray({text}, {self.arithmetic!r})"

    def __str__(self) -> str:
        return str(shown(self))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> "Iterator[RoundedArray]":
        return (self[k] for k in range(len(self)))

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    def item(self) -> float:
        """The one element, as a float."""
        return float(self.values.item())

    def tolist(self) -> Any:
        """The values as nested lists of floats."""
        return self.values.tolist()

    # shapes and copies: nothing is rounded

    def __getitem__(self, index: Any) -> "RoundedArray":
        return self._with(np.asarray(self.values[plain_index(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[plain_index(index)] = operand(value, self.arithmetic, self.draws)

    def reshape(self, *shape: Any, order: Any = "C") -> "RoundedArray":
        """The elements in another shape."""
        return self._with(self.values.reshape(*shape, order=order))

    def ravel(self) -> "RoundedArray":
        """The elements along one axis."""
        return self._with(self.values.ravel())

    flatten = ravel

    def transpose(self, *axes: Any) -> "RoundedArray":
        """The axes in another order."""
        return self._with(self.values.transpose(*axes))

    def squeeze(self, axis: Any = None) -> "RoundedArray":
        """Without axes of length one."""
        return self._with(self.values.squeeze(axis))

    def copy(self) -> "RoundedArray":
        """The same values in memory of their own."""
        return self._with(self.values.copy())

    def fill(self, value: Any) -> None:
        """Set every element to a number, rounded."""
        self.values[...] = operand(value, self.arithmetic, self.draws)

    def astype(
        self,
        fmt: "str | Format | Arithmetic",
        rounding: str | Rounding | None = None,
        overflow: str | None = None,
        seed: Any = None,
    ) -> "RoundedArray":
        """The values rounded to another format, rounding or overflow; the rounding stays where none is given."""
        mode = self.arithmetic.rounding if rounding is None and not isinstance(fmt, Arithmetic) else rounding
        target = arithmetic(fmt, mode, overflow)
        draws = self.draws if seed is None and self.draws is not None else seed
        return array(self.values, target, seed=draws)

    # arithmetic

    def fma(self, b: Any, c: Any) -> "RoundedArray":
        """self * b + c, rounded once."""
        return combined("fma", self, b, c)

    def sum(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, order: str = "sequential"
    ) -> "RoundedArray":
        """The sum over one axis, several, or all elements in row-major order; every sum is rounded.

        Args:
            order: 'sequential', one term after the other; 'pairwise', neighbours first.
        """
        nothing_else(dtype, out)
        terms, axes = one_axis(self.values, axis)
        found = accumulate(self.arithmetic, terms, -1, order, self.draws)
        return self._with(np.expand_dims(found, axes) if keepdims else found)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> "RoundedArray":
        """The product, one factor after the other; every product is rounded."""
        nothing_else(dtype, out)
        terms, axes = one_axis(self.values, axis)
        found = product(self.arithmetic, terms, -1, self.draws)
        return self._with(np.expand_dims(found, axes) if keepdims else found)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, order: str = "sequential"
    ) -> "RoundedArray":
        """The sum divided by the number of terms, itself rounded to the format first."""
        total = self.sum(axis, dtype, out, keepdims, order)
        return total / (self.size // max(total.size, 1))

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """The mean of the squared distances from the mean, by the terms' number less `ddof`."""
        nothing_else(dtype, out)
        centred = self - self.mean(axis, keepdims=True)
        total = (centred * centred).sum(axis, keepdims=keepdims)
        return total / (self.size // max(total.size, 1) - ddof)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """The square root of the variance."""
        return np.sqrt(self.var(axis, dtype, out, ddof, keepdims))

    def cumsum(self, axis: int | None = None) -> "RoundedArray":
        """The sums of the first 1, 2, ... terms."""
        terms = self.values.ravel() if axis is None else self.values
        return self._with(running(self.arithmetic, terms, -1 if axis is None else axis, self.draws))

    def dot(self, other: Any, order: str = "sequential") -> "RoundedArray":
        """The matrix product as `np.matmul` shapes it; every product and every sum is rounded.

        Args:
            order: 'sequential', from +0 along the contraction; 'pairwise', neighbouring products first.
        """
        return matrix_product(self, other, order)

    def __matmul__(self, other: Any) -> "RoundedArray":
        return matrix_product(self, other)

    def __rmatmul__(self, other: Any) -> "RoundedArray":
        return matrix_product(other, self)

    def clip(self, minimum: Any = None, maximum: Any = None) -> "RoundedArray":
        """Values between two limits, themselves rounded to the format."""
        low, high = (None if end is None else operand(end, self.arithmetic, None) for end in (minimum, maximum))
        return self._with(np.clip(self.values, low, high))

    # what rounds nothing

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> "RoundedArray":
        """The largest element."""
        nothing_else(None, out)
        return self._with(np.asarray(self.values.max(axis, keepdims=keepdims)))

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> "RoundedArray":
        """The smallest element."""
        nothing_else(None, out)
        return self._with(np.asarray(self.values.min(axis, keepdims=keepdims)))

    def argmax(self, axis: Any = None) -> Any:
        """Where the largest element is."""
        return self.values.argmax(axis)

    def argmin(self, axis: Any = None) -> Any:
        """Where the smallest element is."""
        return self.values.argmin(axis)

    def any(self, axis: Any = None) -> Any:
        """Whether an element is not zero."""
        return self.values.any(axis)

    def all(self, axis: Any = None) -> Any:
        """Whether no element is zero."""
        return self.values.all(axis)

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .ufuncs import call

        return call(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .functions import call

        return call(function, args, kwargs)

    def _with(self, values: np.ndarray) -> "RoundedArray":
        return RoundedArray(values, self.arithmetic, self.draws)


def array(
    x: Any,
    fmt: "str | Format | Arithmetic | None" = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """An array that rounds every operation to a format.

    Args:
        x: a NumPy array, list or number, rounded to the format here; a torch tensor; or a rounded array, to copy or
            to convert. Integers must be exact in float64.
        fmt: an unscaled format or its name, see `halfulp.format`; binary64 (fp64, double) too.
        rounding: of x and of every result, as in `halfulp.quantize`; default nearest_even.
        overflow: what results beyond the largest value become, as in `halfulp.quantize`.
        seed: of stochastic roundings, an integer. Every operation draws new random words, in the order in which
            operations run; results share the count.

    Returns:
        A `RoundedArray`; for torch tensors one of torch.

    Raises:
        ValueError: an unknown name; stochastic rounding without a seed; values of the format beyond float64.
        TypeError: scaled and complex formats; complex numbers; JAX arrays, for which there is `halfulp.rounded`.

    Example:
        >>> a = array([1.0, 2.0, 0.1], "fp16")
        >>> a / 3
        RoundedArray([0.33325 , 0.6665  , 0.033325], binary16)
        >>> array(2048.0, "fp16") + 1
        RoundedArray(2048., binary16)
    """
    if isinstance(x, RoundedArray):
        return _again(x, fmt, rounding, overflow, seed)
    if fmt is None:
        raise TypeError("array needs a format; pass its name, e.g. 'fp16'")
    target = arithmetic(fmt, rounding, overflow)
    draws = draws_for(target.rounding.stochastic, seed, "array")
    library = library_of(x)
    if library == "jax":
        raise TypeError("JAX functions are rounded as a whole: hu.rounded(function, fmt)(x)")
    if library == "torch":
        from ..backends.torch_rounded import rounded_tensor

        return rounded_tensor(x, target, draws)
    return RoundedArray(operand(x, target, draws, copy=True), target, draws)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once: a fused multiply-add.

    Args:
        a, b, c: arrays, at least one of them rounded.

    Raises:
        TypeError: no rounded array among them.

    Example:
        >>> x = array(1.0625, "bf16")
        >>> x * x + 2.0**-100, fma(x, x, 2.0**-100)
        (RoundedArray(1.125, bfloat16), RoundedArray(1.133, bfloat16))
    """
    if library_of(next((x for x in (a, b, c) if library_of(x) == "torch"), 0)) == "torch":
        raise TypeError("fma: for torch tensors use hu.array(tensor, fmt).fma(b, c)")
    if not any(isinstance(x, RoundedArray) for x in (a, b, c)):
        raise TypeError("fma: expected a rounded array among the three; make one with hu.array(x, fmt)")
    return combined("fma", a, b, c)


def _again(x: RoundedArray, fmt: Any, rounding: Any, overflow: Any, seed: Any) -> RoundedArray:
    if fmt is None:
        fmt = x.arithmetic if rounding is None and overflow is None else x.fmt
    return x.astype(fmt, rounding, overflow, seed)


def combined(name: str, *operands: Any) -> RoundedArray:
    """One of `operations.OPERATIONS` on rounded arrays and plain numbers."""
    from .ufuncs import common

    target, draws = common(operands)
    values = [operand(x, target, draws) for x in operands]
    return RoundedArray(operate(name, target, values, next_of(draws)), target, draws)


def matrix_product(a: Any, b: Any, order: str = "sequential") -> RoundedArray:
    """`np.matmul` of rounded arrays and plain ones.

    Raises:
        ValueError: shapes that do not go together.
    """
    from .ufuncs import common

    target, draws = common((a, b))
    left, right = operand(a, target, draws), operand(b, target, draws)
    if not left.ndim or not right.ndim:
        raise ValueError("matmul: expected arrays with axes, got a number; use * for products with numbers")
    rows, columns = left.ndim > 1, right.ndim > 1
    left, right = left if rows else left[None], right if columns else right[:, None]
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: the contracted axes have {left.shape[-1]} and {right.shape[-2]} elements")
    found = dot_general(target, left, right, order, draws)
    found = found if columns else found[..., 0]
    found = found if rows else found[..., 0, :] if columns else found[..., 0]
    return RoundedArray(np.asarray(found), target, draws)
