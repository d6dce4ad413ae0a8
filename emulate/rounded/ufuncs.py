"""What NumPy's ufuncs do to rounded arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import RoundedArray
from .combining import common, matrix_product
from .context import Arithmetic, arithmetic
from .operands import numbers_of, operand
from .operations import operate, rounded_to
from .reductions import next_of, running

ROUNDED: dict[np.ufunc, str] = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.divide: "divide",
    np.sqrt: "sqrt",
}
"""Ufuncs that are one operation of `operations.OPERATIONS`."""

EXACT = (
    np.positive, np.negative, np.absolute, np.fabs, np.sign, np.copysign, np.maximum, np.minimum, np.fmax, np.fmin,
    np.floor, np.ceil, np.trunc, np.rint, np.fmod, np.ldexp,
)  # fmt: skip
"""Ufuncs whose results are values of most formats; where they are not, the nearest one."""

_UNDEFINED = ("matvec", "vecmat", "vecdot", "divmod", "modf", "frexp", "nextafter", "spacing")
COMPARISONS = (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isnan, np.isinf, np.isfinite,
    np.signbit, np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
)  # fmt: skip
"""Ufuncs that round nothing, plain operands neither."""

_REDUCTIONS: dict[np.ufunc, str] = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}


def call(ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """A ufunc, or its reduce, accumulate or outer, on rounded arrays and plain ones."""
    out = options.pop("out", None)
    given = {key: value for key, value in options.items() if value is not np._NoValue}
    options = {key: value for key, value in given.items() if value is not None or key == "axis"}
    if method != "__call__" and not isinstance(inputs[0], RoundedArray):
        raise TypeError(f"np.{ufunc.__name__}.{method}: expected a rounded array as the first operand")
    match method:
        case "__call__":
            _refuse(ufunc, options)
            found = _called(ufunc, inputs)
        case "outer":
            _refuse(ufunc, options)
            a, b = (x if isinstance(x, RoundedArray) else numbers_of(x) for x in inputs)
            found = _called(ufunc, (a.reshape(*a.shape, *(1,) * b.ndim), b))
        case "reduce" if ufunc in _REDUCTIONS:
            axis, keepdims = options.pop("axis", 0), options.pop("keepdims", False)
            _refuse(ufunc, options)
            found = getattr(inputs[0], _REDUCTIONS[ufunc])(axis=axis, keepdims=keepdims)
        case "accumulate" if ufunc is np.add:
            axis = options.pop("axis", 0)
            _refuse(ufunc, options)
            x = inputs[0]
            if axis is None and x.ndim != 1:
                raise ValueError("add.accumulate: expected an axis of an array of several")
            axis = axis or 0
            found = RoundedArray(running(x.arithmetic, x.values, axis, x.draws), x.arithmetic, x.draws)
        case _:
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not defined for rounded arrays; there are calls, outer, the reduce "
                f"of {', '.join(each.__name__ for each in _REDUCTIONS)} and add.accumulate"
            )
    return found if out is None else _into(out, found)


def _called(ufunc: np.ufunc, inputs: Sequence[Any]) -> Any:
    if ufunc is np.matmul:
        return matrix_product(*inputs)
    if ufunc in COMPARISONS:
        return _compared(ufunc, inputs)
    if ufunc.__name__ in _UNDEFINED:
        raise TypeError(f"np.{ufunc.__name__} is not defined for rounded arrays; use its parts, or apply it to .values")
    target, draws = common(inputs)
    if ufunc is np.reciprocal:
        return _reciprocal(inputs[0])
    name, operands = _operation(ufunc, inputs)
    if name is not None:
        values = [operand(x, target, draws) for x in operands]
        return RoundedArray(operate(name, target, values, next_of(draws)), target, draws)
    if ufunc in (np.ldexp,):
        values = [operand(inputs[0], target, draws), np.asarray(inputs[1])]
    else:
        values = [operand(x, target, draws).astype(np.float64, copy=False) for x in inputs]
    with np.errstate(all="ignore"):
        found = ufunc(*values)
    if not np.issubdtype(found.dtype, np.floating):
        return found
    if ufunc in EXACT:
        return RoundedArray(settled(target, np.asarray(found, np.float64)), target, draws)
    return RoundedArray(rounded_to(target, np.asarray(found, np.float64), next_of(draws)), target, draws)


def _operation(ufunc: np.ufunc, inputs: Sequence[Any]) -> tuple[str | None, Sequence[Any]]:
    """The operation a ufunc stands for, and its operands."""
    if ufunc is np.square:
        return "multiply", (inputs[0], inputs[0])
    return ROUNDED.get(ufunc), inputs


def _reciprocal(x: RoundedArray) -> RoundedArray:
    """1 / x, rounded once, also where 1 is no number of the format."""
    one = np.ones((), x.dtype)
    return RoundedArray(operate("divide", x.arithmetic, (one, x.values), next_of(x.draws)), x.arithmetic, x.draws)


def _compared(ufunc: np.ufunc, inputs: Sequence[Any]) -> Any:
    """Comparisons of exact numbers; nothing is equal to what is no number."""
    try:
        numbers = [np.asarray(x.values if isinstance(x, RoundedArray) else numbers_of(x), np.float64) for x in inputs]
    except TypeError:
        if ufunc not in (np.equal, np.not_equal):
            raise
        shape = np.broadcast_shapes(*(np.shape(x) for x in inputs))
        return np.full(shape, ufunc is np.not_equal)
    return ufunc(*numbers)


def settled(target: Arithmetic, x: np.ndarray) -> np.ndarray:
    """Numbers that are values of a format, or all but, in its carrier: rounded without random words."""
    nearest = arithmetic(target.fmt, "nearest_even", target.overflow) if target.rounding.stochastic else target
    return rounded_to(nearest, x).astype(target.carrier.name, copy=False)


def _into(out: tuple[Any, ...], found: Any) -> Any:
    """The result written to `out=`, as in `a += b`.

    Raises:
        TypeError: `out` is no rounded array of the result's arithmetic.
    """
    (target,) = out
    if not isinstance(found, RoundedArray):
        np.copyto(target, found)
        return target
    if not isinstance(target, RoundedArray) or target.arithmetic != found.arithmetic:
        kind = repr(target.arithmetic) if isinstance(target, RoundedArray) else "a plain array"
        raise TypeError(
            f"the result is in {found.arithmetic!r} and cannot be written to {kind}; write a = a + b, or convert an "
            "operand with .astype(...)"
        )
    if target.shape != found.shape:
        raise ValueError(f"the result has shape {found.shape} and cannot be written to shape {target.shape}")
    target.values[...] = found.values
    return target


def _refuse(ufunc: np.ufunc, options: dict[str, Any]) -> None:
    extra = [key for key, value in options.items() if not (key == "where" and value is True)]
    if extra:
        raise TypeError(
            f"np.{ufunc.__name__}: rounded arrays take no {', '.join(extra)}; use np.where, or .astype(fmt)"
        )
