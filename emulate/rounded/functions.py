"""What NumPy's functions do to rounded arrays."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import numpy as np

from .arrays import RoundedArray, array
from .combining import common, matrix_product
from .context import Arithmetic
from .draws import Draws
from .operands import operand
from .ufuncs import settled

_LINALG = "hu.linalg"


def _named(*names: str) -> tuple[Any, ...]:
    """The functions of NumPy that this version has."""
    return tuple(getattr(np, name) for name in names if hasattr(np, name))


MOVES = (
    np.array_split, np.atleast_1d, np.atleast_2d, np.atleast_3d, np.broadcast_arrays, np.broadcast_to, np.compress,
    np.copy, np.delete, np.diag, np.diagflat, np.diagonal, np.dsplit, np.expand_dims, np.extract, np.flip, np.fliplr,
    np.flipud, np.hsplit, np.meshgrid, np.moveaxis, np.partition, np.permute_dims, np.ravel, np.repeat, np.reshape,
    np.resize, np.roll, np.rollaxis, np.rot90, np.sort, np.split, np.squeeze, np.swapaxes, np.take,
    np.take_along_axis, np.tile, np.transpose, np.tril, np.trim_zeros, np.triu, np.unique, np.vsplit, np.amax, np.amin,
    np.max, np.min, np.nanmax, np.nanmin, np.ones_like, np.zeros_like, np.empty_like, *_named("unstack"),
)  # fmt: skip
"""Functions that only move the values of one array, or choose among them."""

JOINS: dict[Any, tuple[int, ...]] = {
    np.append: (0, 1), np.block: (0,), np.column_stack: (0,), np.concatenate: (0,), np.dstack: (0,), np.hstack: (0,),
    np.insert: (0, 2), np.select: (1, 2), np.stack: (0,), np.vstack: (0,), np.where: (1, 2),
}  # fmt: skip
"""Functions that put several arrays or numbers together, and which of their arguments these are."""

_PADDINGS = ("constant", "edge", "reflect", "symmetric", "wrap")

PLAIN = (
    np.all, np.allclose, np.any, np.argmax, np.argmin, np.argpartition, np.argsort, np.argwhere, np.array_equal,
    np.array_equiv, np.array2string, np.array_repr, np.array_str, np.count_nonzero, np.flatnonzero, np.iscomplexobj,
    np.isclose, np.isin, np.isneginf, np.isposinf, np.isreal, np.isrealobj, np.lexsort, np.may_share_memory, np.ndim,
    np.nonzero, np.searchsorted, np.shape, np.shares_memory, np.size, np.result_type,
)  # fmt: skip
"""Functions whose results are no numbers of the format: indices, truths, texts."""

_MADE: dict[Any, Callable[..., Any]] = {}


def call(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A function of NumPy on rounded arrays and plain ones.

    Raises:
        TypeError: a function that is not made of rounded operations.
    """
    options = {key: value for key, value in options.items() if value is not np._NoValue}
    if function in _MADE:
        return _made(function, args, options)
    if function in PLAIN:
        return function(*_values(args), **_values(options))
    if function in MOVES or function in JOINS:
        return _moved(function, args, options)
    name = f"{function.__module__}.{function.__name__}".replace("numpy", "np")
    instead = f"use {_LINALG}, or " if "linalg" in name else ""
    raise TypeError(
        f"{name} is not made of rounded operations; {instead}apply it to the values and round the result: "
        "hu.array(function(a.values), a.arithmetic)"
    )


def _rounded(x: Any) -> Iterable[RoundedArray]:
    """Every rounded array in nested arguments."""
    if isinstance(x, RoundedArray):
        yield x
    elif isinstance(x, list | tuple):
        for each in x:
            yield from _rounded(each)
    elif isinstance(x, dict):
        yield from _rounded(list(x.values()))


def _values(x: Any) -> Any:
    """Nested arguments with arrays of values in place of rounded ones."""
    if isinstance(x, RoundedArray):
        return x.values
    if isinstance(x, list | tuple):
        return type(x)(_values(each) for each in x)
    if isinstance(x, dict):
        return {key: _values(each) for key, each in x.items()}
    return x


def _moved(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A function that moves values, on those of a common arithmetic; what it puts in itself is rounded too."""
    if options.pop("dtype", None) is not None:
        raise TypeError(f"np.{function.__name__}: rounded arrays take no dtype; convert the result with .astype(fmt)")
    target, draws = common(list(_rounded((args, options))))
    places = JOINS.get(function, ())
    args = tuple(_data(x, target, draws) if k in places else _data_or_plain(x, target) for k, x in enumerate(args))
    options = {key: _data_or_plain(x, target) for key, x in options.items()}
    return _wrapped(function(*args, **options), target, draws)


def _data(x: Any, target: Arithmetic, draws: Draws | None) -> Any:
    """Nested arrays and numbers as values of an arithmetic."""
    if isinstance(x, list | tuple) and any(isinstance(each, RoundedArray | np.ndarray | list | tuple) for each in x):
        return type(x)(_data(each, target, draws) for each in x)
    return operand(x, target, draws)


def _data_or_plain(x: Any, target: Arithmetic) -> Any:
    """Rounded arrays as values of an arithmetic; indices, axes and counts as they are."""
    if isinstance(x, list | tuple):
        return type(x)(_data_or_plain(each, target) for each in x)
    return operand(x, target, None) if isinstance(x, RoundedArray) else x


def _wrapped(found: Any, target: Arithmetic, draws: Draws | None) -> Any:
    if isinstance(found, list | tuple):
        return type(found)(_wrapped(each, target, draws) for each in found)
    if not isinstance(found, np.ndarray | np.floating) or found.dtype.kind != "f":
        return found
    view = isinstance(found, np.ndarray) and found.base is not None and found.dtype == target.carrier.name
    values: Any = found if view else settled(target, np.asarray(found))  # zeros and ones that came in
    return RoundedArray(values, target, draws)


def _made(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        signature(_MADE[function]).bind(*args, **options)
    except TypeError as error:
        raise TypeError(f"np.{function.__name__} of rounded arrays: {error}") from None
    return _MADE[function](*args, **options)


def _made_of(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(made: Callable[..., Any]) -> Callable[..., Any]:
        _MADE[function] = made
        return made

    return register


def _as_rounded(*arrays: Any) -> list[RoundedArray]:
    """All in the arithmetic of their common result."""
    target, draws = common(arrays)
    return [RoundedArray(operand(x, target, draws), target, draws) for x in arrays]


@_made_of(np.sum)
def _sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return a.sum(axis, dtype, out, keepdims)


@_made_of(np.prod)
def _prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return a.prod(axis, dtype, out, keepdims)


@_made_of(np.mean)
def _mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return a.mean(axis, dtype, out, keepdims)


@_made_of(np.var)
def _var(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return a.var(axis, dtype, out, ddof, keepdims)


@_made_of(np.std)
def _std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return a.std(axis, dtype, out, ddof, keepdims)


@_made_of(np.cumsum)
def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return a.cumsum(axis, dtype, out)


@_made_of(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    a, *ends = _as_rounded(a, *(end for end in (low, high) if end is not None))
    found = np.maximum(a, ends.pop(0)) if low is not None else a
    return np.minimum(found, ends.pop(0)) if high is not None else found.copy() if low is None else found


@_made_of(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    if mode not in _PADDINGS:
        raise TypeError(f"np.pad of rounded arrays: expected a mode of {', '.join(_PADDINGS)}, got {mode!r}")
    return _wrapped(np.pad(array.values, pad_width, mode, **options).copy(), array.arithmetic, array.draws)


@_made_of(np.nan_to_num)
def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    top, bottom = float(x.fmt.max), float(x.fmt.min)
    posinf, neginf = top if posinf is None else posinf, bottom if neginf is None else neginf
    found = np.nan_to_num(x.values.astype(np.float64), nan=nan, posinf=posinf, neginf=neginf)
    return _wrapped(found, x.arithmetic, x.draws)


@_made_of(np.dot)
def _dot(a: Any, b: Any) -> Any:
    a, b = _as_rounded(a, b)
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim <= 2:
        return matrix_product(a, b)
    return _tensordot(a, b, ([a.ndim - 1], [b.ndim - 2]))


@_made_of(np.inner)
def _inner(a: Any, b: Any) -> Any:
    a, b = _as_rounded(a, b)
    return _tensordot(a, b, ([a.ndim - 1], [b.ndim - 1])) if a.ndim and b.ndim else a * b


@_made_of(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    a, b = _as_rounded(a, b)
    return matrix_product(a.ravel(), b.ravel())


@_made_of(np.outer)
def _outer(a: Any, b: Any) -> Any:
    a, b = _as_rounded(a, b)
    return a.reshape(-1, 1) * b.reshape(1, -1)


@_made_of(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = _as_rounded(a, b)
    if isinstance(axes, int | np.integer):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    left, right = ([k % x.ndim for k in np.atleast_1d(each)] for x, each in zip((a, b), axes))
    kept_a, kept_b = ([k for k in range(x.ndim) if k not in gone] for x, gone in ((a, left), (b, right)))
    inner = int(np.prod([a.shape[k] for k in left]))
    if [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError(f"tensordot: axes {left} of {a.shape} and {right} of {b.shape} differ in length")
    rows = a.transpose(*kept_a, *left).reshape(int(np.prod([a.shape[k] for k in kept_a])), inner)
    columns = b.transpose(*right, *kept_b).reshape(inner, int(np.prod([b.shape[k] for k in kept_b])))
    return matrix_product(rows, columns).reshape([*(a.shape[k] for k in kept_a), *(b.shape[k] for k in kept_b)])


@_made_of(np.trace)
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.diagonal(a, offset, axis1, axis2).sum(-1)


@_made_of(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    if n < 0:
        raise ValueError(f"np.diff: expected an order of 0 or more, got {n}")
    for _ in range(n):
        moved = np.moveaxis(a, axis, -1)
        a = np.moveaxis(moved[..., 1:] - moved[..., :-1], -1, axis)
    return a


@_made_of(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector norms 1, 2 and infinity, and that of Frobenius: squares, sums and one root, each rounded."""
    frobenius = x.ndim == 2 and axis is None and ord in (None, "fro")
    vector = isinstance(axis, int) or (x.ndim == 1 and axis is None)
    if not (frobenius or (vector and ord in (None, 1, 2, np.inf))):
        raise TypeError("norms of rounded arrays: vector norms 1, 2, inf along one axis, and 'fro' of a matrix")
    if ord == 1:
        return abs(x).sum(axis, keepdims=keepdims)
    if ord == np.inf:
        return abs(x).max(axis, keepdims=keepdims)
    return np.sqrt((x * x).sum(axis, keepdims=keepdims))


@_made_of(np.full_like)
def _full_like(a: Any, fill_value: Any, order: Any = "K", subok: bool = True, shape: Any = None) -> Any:
    found = np.empty_like(a.values, order=order, shape=shape)
    found[...] = operand(fill_value, a.arithmetic, a.draws)
    return RoundedArray(found, a.arithmetic, a.draws)


@_made_of(np.copyto)
def _copyto(dst: Any, src: Any, where: Any = True) -> None:
    if not isinstance(dst, RoundedArray):
        raise TypeError("np.copyto: the target is a plain array; copy the values: np.copyto(target, a.values)")
    np.copyto(dst.values, operand(src, dst.arithmetic, dst.draws), where=where)


@_made_of(np.around)
@_made_of(np.round)
def _round(a: Any, decimals: int = 0) -> Any:
    return array(np.round(a.values.astype(np.float64), decimals), a.arithmetic, seed=a.draws)
