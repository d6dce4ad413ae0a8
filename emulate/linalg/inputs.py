"""The one place where the arguments that every algorithm takes are checked."""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from ...formats.registry import Format
from ...formats.rounding import Rounding
from ..dispatch import library_of
from ..rounded.arrays import RoundedArray
from ..rounded.context import Arithmetic, arithmetic
from ..rounded.draws import Draws, draws_for
from ..rounded.operands import operand
from ..rounded.reductions import check_order
from ..rounded.ufuncs import common
from .machine import Machine

Fmt = str | Format | Arithmetic | None
"""What `fmt=` takes; None where an operand is a rounded array."""


def prepare(
    name: str,
    operands: Sequence[Any],
    fmt: Fmt,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> tuple[Machine, list[np.ndarray]]:
    """The machine of a call, and its operands as new arrays of numbers of the format.

    Stochastic rounding takes one step of the draws for each operand that is rounded here.

    Args:
        name: of the algorithm, for messages.
        operands: plain arrays or rounded ones, which need no format and share their draws.

    Raises:
        TypeError: no format; arrays of torch or JAX; complex numbers; two roundings.
        ValueError: unknown names; stochastic rounding without a seed.
    """
    for x in operands:
        if (library := library_of(x)) != "numpy":
            raise TypeError(f"{name} computes on NumPy arrays, got one of {library}; pass np.asarray(x)")
    rounded = [x for x in operands if isinstance(x, RoundedArray)]
    draws = None
    if rounded:
        found, draws = common(rounded) if fmt is None else (fmt, rounded[0].draws)
        if rounding is None and not isinstance(found, Arithmetic):
            rounding = rounded[0].arithmetic.rounding
        target = arithmetic(found, rounding, overflow)
    elif fmt is None:
        raise TypeError(f"{name} needs a format; pass fmt='fp16', or arrays made by halfulp.array")
    else:
        target = arithmetic(fmt, rounding, overflow)
    draws = _draws(target, draws, seed, name)
    values = [operand(x, target, draws, copy=True) for x in operands]
    return Machine(target, draws, check_order(order), bool(rounded)), values


def _draws(target: Arithmetic, shared: Draws | None, seed: Any, name: str) -> Draws | None:
    return draws_for(target.rounding.stochastic, shared if seed is None else seed, name)


def check_vector(name: str, x: np.ndarray) -> np.ndarray:
    """The array, where it has one axis."""
    if x.ndim != 1:
        raise ValueError(f"{name}: expected a vector, got shape {x.shape}; pass x.ravel() or one column at a time")
    return x


def check_matrix(name: str, a: np.ndarray) -> np.ndarray:
    """The array, where it has two axes."""
    if a.ndim != 2:
        raise ValueError(f"{name}: expected a matrix, got shape {a.shape}")
    return a


def check_square(name: str, a: np.ndarray) -> np.ndarray:
    """The array, where it is a square matrix."""
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {a.shape}")
    return a


def check_axis(name: str, axis: Any, ndim: int) -> None:
    """Raise unless it is one axis of an array."""
    if not hasattr(axis, "__index__") or not -ndim <= index(axis) < ndim:
        raise ValueError(f"{name}: expected one axis of {ndim}, an integer from {-ndim} to {ndim - 1}, got {axis!r}")


def check_count(name: str, what: str, count: Any) -> None:
    """Raise unless it is an integer from zero on."""
    if not hasattr(count, "__index__") or index(count) < 0:
        raise ValueError(f"{name}: expected {what}=0 or more, an integer, got {count!r}")


def check_lengths(name: str, what: str, found: int, expected: int) -> None:
    """Raise unless two axes go together."""
    if found != expected:
        raise ValueError(f"{name}: expected {what} of length {expected}, got {found}")


def as_columns(name: str, b: np.ndarray, rows: int) -> np.ndarray:
    """(n, r) the right-hand sides, a vector as one column."""
    if b.ndim not in (1, 2):
        raise ValueError(f"{name}: expected a right-hand side of shape (n,) or (n, r), got {b.shape}")
    check_lengths(name, "a right-hand side", b.shape[0], rows)
    return b if b.ndim == 2 else b[:, None]
