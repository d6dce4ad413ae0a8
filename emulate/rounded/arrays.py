"""Arrays that round every operation, for NumPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...formats.registry import Format
from ...formats.rounding import Rounding
from ..dispatch import library_of
from .context import Arithmetic, arithmetic, resolve
from .draws import Draws, draws_for
from .operands import operand, plain_index, shown
from .reducing import Reducing


class RoundedArray(Reducing, np.lib.mixins.NDArrayOperatorsMixin):
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
        values: values of the format in the dtype of the arithmetic's carrier. Only the dtype is checked.
        arithmetic: what operations end with.
        draws: where stochastic rounding takes its random words from; shared with results.
    """

    __slots__ = ()

    def __init__(self, values: np.ndarray, arithmetic: Arithmetic, draws: Draws | None = None) -> None:
        if values.dtype != arithmetic.carrier.name:
            raise TypeError(f"values of {arithmetic!r} are kept as {arithmetic.carrier.name}, got {values.dtype}")
        super().__init__(values, arithmetic, draws)

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
    def nbytes(self) -> int:
        """Bytes of the carrier; `halfulp.pack` makes those of the format."""
        return self.values.nbytes

    @property
    def mT(self) -> "RoundedArray":  # noqa: N802
        """The last two axes exchanged."""
        return self._with(self.values.mT)

    @property
    def T(self) -> "RoundedArray":  # noqa: N802
        """The axes in reverse."""
        return self._with(self.values.T)

    def __repr__(self) -> str:
        text = np.array2string(shown(self), precision=17, separator=", ", prefix="RoundedArray(")
        return f"RoundedArray({text}, {self.arithmetic!r})"

    def __str__(self) -> str:
        return np.array2string(shown(self), precision=17)

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

    def __format__(self, spec: str) -> str:
        return format(self.values.item() if not self.ndim and spec else str(self), spec)

    def __contains__(self, x: Any) -> bool:
        return bool((self == x).any())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def item(self, *index: int) -> float:
        """One element, as a float."""
        return float(self.values.item(*index))

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

    def ravel(self, order: Any = "C") -> "RoundedArray":
        """The elements along one axis."""
        return self._with(self.values.ravel(order))

    def flatten(self, order: Any = "C") -> "RoundedArray":
        """The elements along one axis, in memory of their own."""
        return self._with(self.values.flatten(order))

    def transpose(self, *axes: Any) -> "RoundedArray":
        """The axes in another order."""
        return self._with(self.values.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> "RoundedArray":
        """Two axes exchanged."""
        return self._with(self.values.swapaxes(axis1, axis2))

    def take(self, indices: Any, axis: int | None = None) -> "RoundedArray":
        """The elements at some indices."""
        return self._with(np.asarray(self.values.take(plain_index(indices), axis)))

    def squeeze(self, axis: Any = None) -> "RoundedArray":
        """Without axes of length one."""
        return self._with(self.values.squeeze(axis))

    def copy(self) -> "RoundedArray":
        """The same values in memory of their own; random words are drawn from the same count."""
        return self._with(self.values.copy())

    __copy__ = copy

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
        """The values rounded to another format, rounding or overflow.

        The rounding stays where none is given, and within a format the kind of overflow too.
        """
        if isinstance(fmt, type | np.dtype):
            raise TypeError("astype takes a format, e.g. 'bf16'; for plain numbers use np.asarray(a, dtype)")
        if not isinstance(fmt, Arithmetic):
            rounding = self.arithmetic.rounding if rounding is None else rounding
            overflow = self.arithmetic.overflow if overflow is None and resolve(fmt) == self.fmt else overflow
        target = arithmetic(fmt, rounding, overflow)
        draws = self.draws if seed is None and self.draws is not None else seed
        return array(self.values, target, seed=draws)

    # arithmetic

    def fma(self, b: Any, c: Any) -> "RoundedArray":
        """self * b + c, rounded once."""
        from .combining import combined

        return combined("fma", self, b, c)

    def __matmul__(self, other: Any) -> "RoundedArray":
        return np.matmul(self, other)  # pyright: ignore[reportReturnType]

    def __rmatmul__(self, other: Any) -> "RoundedArray":
        return np.matmul(other, self)  # pyright: ignore[reportReturnType]

    def clip(self, min: Any = None, max: Any = None) -> "RoundedArray":
        """Values between two limits, themselves rounded to the format."""
        found: Any = np.clip(self, min, max)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return found

    def round(self, decimals: int = 0) -> "RoundedArray":
        """Rounded to decimals in float64, then to the format."""
        found: Any = np.round(self, decimals)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return found

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
    if isinstance(getattr(x, "arithmetic", None), Arithmetic):  # a rounded array or tensor
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


def _again(x: Any, fmt: Any, rounding: Any, overflow: Any, seed: Any) -> Any:
    if fmt is None:
        fmt = x.arithmetic if rounding is None and overflow is None else x.arithmetic.fmt
    return x.astype(fmt, rounding, overflow, seed)
