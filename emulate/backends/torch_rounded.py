"""Tensors that round every operation, for torch."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch

from ...formats.registry import Format
from ...formats.rounding import Rounding
from ..rounded.context import Arithmetic, resolve
from ..rounded.context import arithmetic as arithmetic_of
from ..rounded.draws import Draws, draws_for
from ..rounded.operands import Rounded, shown
from ..rounded.promotion import promoted
from ..rounded.reductions import next_of
from . import torch_rounded_ops as ops
from .torch_kernel import dtype_name
from .torch_rounded_operators import Operators


class RoundedTensor(Operators):
    """A tensor of values of a format, whose operations give values of the format; `halfulp.array` makes one.

    It holds a tensor, is none, and goes where tensors go: into operators, torch's functions and modules such as
    `torch.nn.Linear`, whose parameters are rounded to the format as they are used.

    - `+ - * /`, sqrt, square, reciprocal and `fma` are correctly rounded, in every format and rounding.
    - Negation, magnitudes, maxima, comparisons, sorting, indexing and reshaping round nothing.
    - Sums and products of matrices round every product and every sum, in a stated order; see `sum` and `matmul`.
    - Other functions, such as exp and softmax, are computed in float64 and rounded once.
    - Plain numbers and tensors are rounded to the format before they meet a rounded tensor.
    - Gradients are straight-through: those of torch's own operation in the carrier, where its result is within the
      range of the format. Under autograd `a += b` makes a new tensor; otherwise it writes to the memory of a.

    Args:
        values: float32 or float64, the carrier of the arithmetic; values of the format. Not checked, not copied.
        arithmetic: what operations end with.
        draws: where stochastic rounding takes its random words from; shared with results.
    """

    __slots__ = ("arithmetic", "draws", "values")
    __hash__ = None  # pyright: ignore[reportAssignmentType]
    __array_ufunc__ = None  # NumPy arrays leave operators to this class

    def __init__(self, values: torch.Tensor, arithmetic: Arithmetic, draws: Draws | None = None) -> None:
        self.values = values
        self.arithmetic = arithmetic
        self.draws = draws

    # what it is

    @property
    def fmt(self) -> Format:
        """The format of the values."""
        return self.arithmetic.fmt

    @property
    def shape(self) -> torch.Size:
        """Lengths of the axes."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that carries the values."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @property
    def requires_grad(self) -> bool:
        """Whether operations are recorded."""
        return self.values.requires_grad

    @property
    def is_leaf(self) -> bool:
        """Whether it was not made by a recorded operation."""
        return self.values.is_leaf

    @property
    def grad(self) -> torch.Tensor | None:
        """The gradient, a plain tensor."""
        return self.values.grad

    @property
    def T(self) -> "RoundedTensor":  # noqa: N802
        """The axes in reverse."""
        return self._with(self.values.permute(*range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> "RoundedTensor":  # noqa: N802
        """The last two axes exchanged."""
        return self._with(self.values.mT)

    def __repr__(self) -> str:
        values = shown(Rounded(self.values.detach().cpu().numpy(), self.arithmetic))
        text = np.array2string(values, separator=", ", prefix="RoundedTensor(")
        recorded = ", requires_grad=True" if self.requires_grad else ""
        return f"RoundedTensor({text}, {self.arithmetic!r}{recorded})"

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> "Iterator[RoundedTensor]":
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.numpy()
        return np.array(found, dtype) if copy else np.asarray(found, dtype)

    def size(self, dim: int | None = None) -> Any:
        """Lengths of the axes, or of one."""
        return self.values.size() if dim is None else self.values.size(dim)

    def dim(self) -> int:
        """Number of axes."""
        return self.values.dim()

    def numel(self) -> int:
        """Number of elements."""
        return self.values.numel()

    def item(self) -> float:
        """The one element, as a float."""
        return float(self.values.item())

    def tolist(self) -> Any:
        """The values as nested lists of floats."""
        return self.values.tolist()

    def numpy(self) -> np.ndarray:
        """The values, which share memory, as a plain NumPy array."""
        return self.values.detach().numpy()

    # memory and gradients

    def __getitem__(self, index: Any) -> "RoundedTensor":
        return self._with(self.values[_plain_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[_plain_index(index)] = operand(value, self.arithmetic, self.draws, self.device)

    def detach(self) -> "RoundedTensor":
        """The same values, outside of the recorded operations."""
        return self._with(self.values.detach())

    def requires_grad_(self, requires_grad: bool = True) -> "RoundedTensor":
        """Record operations from here on."""
        self.values.requires_grad_(requires_grad)
        return self

    def retain_grad(self) -> None:
        """Keep the gradient though it is no leaf."""
        self.values.retain_grad()

    def backward(self, gradient: Any = None, **options: Any) -> None:
        """The gradients of all leaves, straight through the roundings."""
        gradient = gradient.values if isinstance(gradient, RoundedTensor) else gradient
        self.values.backward(gradient, **options)

    def to(self, device: Any, **options: Any) -> "RoundedTensor":
        """The same on another device.

        Raises:
            TypeError: a dtype; the carrier follows from the format.
        """
        if isinstance(device, torch.dtype) or "dtype" in options:
            raise TypeError(
                "a rounded tensor keeps its format; use .astype(fmt), or .values.to(dtype) for plain numbers"
            )
        return self._with(self.values.to(device, **options))

    def cpu(self) -> "RoundedTensor":
        """The same on the host."""
        return self.to("cpu")

    def cuda(self) -> "RoundedTensor":
        """The same on the GPU."""
        return self.to("cuda")

    def astype(
        self,
        fmt: "str | Format | Arithmetic",
        rounding: str | Rounding | None = None,
        overflow: str | None = None,
        seed: Any = None,
    ) -> "RoundedTensor":
        """The values rounded to another format, rounding or overflow.

        The rounding stays where none is given, and within a format the kind of overflow too.
        """
        if not isinstance(fmt, Arithmetic):
            rounding = self.arithmetic.rounding if rounding is None else rounding
            overflow = self.arithmetic.overflow if overflow is None and resolve(fmt) == self.fmt else overflow
        target = arithmetic_of(fmt, rounding, overflow)
        draws = draws_for(target.rounding.stochastic, self.draws if seed is None else seed, "astype")
        return rounded_tensor(self.values, target, draws)

    # operations in a stated order

    def fma(self, b: Any, c: Any) -> "RoundedTensor":
        """self * b + c, rounded once."""
        return combined("fma", self, b, c)

    def sum(self, dim: Any = None, keepdim: bool = False, order: str = "sequential") -> "RoundedTensor":
        """The sum over one axis, several, or all elements in row-major order; every sum is rounded.

        Args:
            order: 'sequential', one term after the other; 'pairwise', neighbours first.
        """
        terms, axes = _last_axis(self.values, dim)
        return self._kept(ops.accumulate(self.arithmetic, terms, order, self.draws), axes, keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False) -> "RoundedTensor":
        """The product, one factor after the other; every product is rounded."""
        terms, axes = _last_axis(self.values, dim)
        return self._kept(ops.product(self.arithmetic, terms, self.draws), axes, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False, order: str = "sequential") -> "RoundedTensor":
        """The sum, by `order`, divided by the number of terms; the number is exact, the quotient rounded once."""
        return self._divided(self.sum(dim, keepdim, order), 0)

    def var(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> "RoundedTensor":
        """The sum of the squared distances from the mean, divided by the number of terms less the correction."""
        centred = self - self.mean(dim, keepdim=True)
        return self._divided((centred * centred).sum(dim, keepdim), correction)

    def std(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> "RoundedTensor":
        """The square root of the variance."""
        return combined("sqrt", self.var(dim, correction, keepdim))

    def norm(self, dim: Any = None, keepdim: bool = False, order: str = "sequential") -> "RoundedTensor":
        """The Euclidean norm: squares, their sum and its root, each rounded."""
        return combined("sqrt", (self * self).sum(dim, keepdim, order))

    def cumsum(self, dim: int) -> "RoundedTensor":
        """The sums of the first 1, 2, ... terms."""
        found = ops.running(self.arithmetic, self.values.movedim(dim, -1), self.draws)
        return self._with(found.movedim(-1, dim))

    def matmul(self, other: Any, order: str = "sequential") -> "RoundedTensor":
        """The matrix product as `torch.matmul` shapes it; every product and every sum is rounded.

        Args:
            order: 'sequential', from +0 along the contraction; 'pairwise', neighbouring products first.
        """
        return matrix_product(self, other, order)

    dot = mv = mm = bmm = matmul

    def __matmul__(self, other: Any) -> "RoundedTensor":
        return matrix_product(self, other)

    def __rmatmul__(self, other: Any) -> "RoundedTensor":
        return matrix_product(other, self)

    # everything else

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from .torch_rounded_functions import call

        return call(func.__name__, func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        """The methods of tensors, by way of `torch_rounded_functions`."""
        if name.startswith("__") or not callable(getattr(torch.Tensor, name, None)):
            raise AttributeError(f"rounded tensors have no {name!r}; the plain tensor is .values")
        from .torch_rounded_functions import call

        return lambda *args, **options: call(name, getattr(torch.Tensor, name), (self, *args), options)

    def _with(self, values: torch.Tensor) -> "RoundedTensor":
        return RoundedTensor(values, self.arithmetic, self.draws)

    def _divided(self, total: "RoundedTensor", less: int) -> "RoundedTensor":
        count = max(self.numel() // max(total.numel(), 1) - less, 0)
        return self._with(ops.divided(self.arithmetic, total.values, count, self.draws))

    def _kept(self, values: torch.Tensor, axes: tuple[int, ...], keepdim: bool) -> "RoundedTensor":
        for axis in axes if keepdim else ():
            values = values.unsqueeze(axis)
        return self._with(values)


def rounded_tensor(x: Any, arithmetic: Arithmetic, draws: Draws | None) -> RoundedTensor:
    """A tensor, plain or rounded, rounded to an arithmetic; straight-through for gradients."""
    values = x.values if isinstance(x, RoundedTensor) else numbers_of(x)
    return RoundedTensor(ops.rounded_to(arithmetic, values, next_of(draws)), arithmetic, draws)


def operand(x: Any, target: Arithmetic, draws: Draws | None, device: torch.device) -> torch.Tensor:
    """Numbers as values of an arithmetic, in its carrier: those of a rounded tensor exactly, others rounded."""
    if isinstance(x, RoundedTensor) and x.arithmetic == target:
        return x.values
    return rounded_tensor(x if isinstance(x, RoundedTensor) else numbers_of(x, device), target, draws).values


def numbers_of(x: Any, device: torch.device | None = None) -> torch.Tensor:
    """Real numbers as a tensor of floats; integers as float64.

    Raises:
        TypeError: complex numbers, anything that torch does not read as numbers, and integers beyond float64.
    """
    try:
        found = x if isinstance(x, torch.Tensor) else torch.as_tensor(np.array(x, order="C"))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"expected a tensor or a number, got {type(x).__name__}; make a tensor of it") from None
    found = found if isinstance(x, torch.Tensor) or device is None else found.to(device)
    if found.is_complex():
        raise TypeError("expected real numbers, got complex ones; use two tensors, of real and of imaginary parts")
    if not found.is_floating_point():
        wide = found.to(torch.float64)
        if found.dtype == torch.int64 and not torch.equal(wide.to(found.dtype), found):
            raise TypeError("integers beyond 2**53 are not exact in float64; pass floats")
        return wide
    if found.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(f"expected float16, bfloat16, float32 or float64, got {dtype_name(found)}; convert it first")
    return found


def common(operands: Any) -> tuple[Arithmetic, Draws | None, torch.device]:
    """The arithmetic of the result of an operation, the first draws there are, and the device.

    Raises:
        TypeError: formats or roundings that do not go together; no rounded tensor.
    """
    rounded = [x for x in operands if isinstance(x, RoundedTensor)]
    if not rounded:
        raise TypeError("expected a rounded tensor among the operands; make one with hu.array(x, fmt)")
    draws = next((x.draws for x in rounded if x.draws is not None), None)
    return promoted(*(x.arithmetic for x in rounded)), draws, rounded[0].device


def combined(name: str, *operands: Any) -> RoundedTensor:
    """One of `operations.OPERATIONS` on rounded tensors and plain numbers."""
    target, draws, device = common(operands)
    values = [operand(x, target, draws, device) for x in operands]
    return RoundedTensor(ops.operate(name, target, values, next_of(draws)), target, draws)


def matrix_product(a: Any, b: Any, order: str = "sequential") -> RoundedTensor:
    """`torch.matmul` of rounded tensors and plain ones.

    Raises:
        ValueError: shapes that do not go together.
    """
    target, draws, device = common((a, b))
    left, right = operand(a, target, draws, device), operand(b, target, draws, device)
    if not left.ndim or not right.ndim:
        raise ValueError("matmul: expected tensors with axes, got a number; use * for products with numbers")
    rows, columns = left.ndim > 1, right.ndim > 1
    left, right = left if rows else left[None], right if columns else right[:, None]
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: the contracted axes have {left.shape[-1]} and {right.shape[-2]} elements")
    found = ops.products(target, left, right, order, draws)
    found = found if columns else found[..., 0]
    found = found if rows else found[..., 0, :] if columns else found[..., 0]
    return RoundedTensor(found, target, draws)


def _last_axis(values: torch.Tensor, dim: Any) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The terms along a last axis, and the axes they came from."""
    axes = range(values.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = tuple(sorted(range(values.ndim)[axis] for axis in axes)) if values.ndim else ()
    if not axes:
        return values[..., None], ()
    kept = [k for k in range(values.ndim) if k not in axes]
    lengths = [values.shape[k] for k in kept]
    return values.permute(*kept, *axes).reshape(*lengths, prod(values.shape[k] for k in axes)), axes


def _plain_index(index: Any) -> Any:
    if isinstance(index, RoundedTensor):
        raise IndexError("expected integers or booleans as an index, got rounded numbers; use .values.long()")
    return index
