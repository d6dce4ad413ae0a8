"""Methods of summation, every operation rounded."""

from typing import Any, NamedTuple

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from ..backends import cpu
from ..philox import seed_words
from ..rounded.draws import STREAM
from ..rounded.reductions import accumulate, compiled_terms
from ..tables import Grid
from .inputs import Fmt, check_axis, prepare
from .machine import Machine


class SumAndError(NamedTuple):
    """What `two_sum` and `fast_two_sum` give.

    Args:
        sum: rnd(a + b).
        error: what it lacks.
    """

    sum: Any
    error: Any


METHODS = ("recursive", "pairwise", "blocked", "kahan", "neumaier", "doubly_compensated", "stochastic")
"""How `sum` adds."""
_COMPENSATED = ("kahan", "neumaier", "doubly_compensated")


def sum(
    x: Any,
    fmt: Fmt = None,
    *,
    method: str = "recursive",
    axis: int | None = None,
    block: int = 128,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """The sum of numbers, every operation rounded, by one of

        recursive             s = s + x[k] for k = 1, 2, ..., s first x[0]
        pairwise              (x0 + x1) + (x2 + x3) + ..., level by level; an odd one out passes to the next level
        blocked               blocks of `block` terms recursively, then their sums recursively
        kahan                 y = x[k] + e;  t = s + y;  e = (s - t) + y;  s = t
        neumaier              t = s + x[k];  e = (a - t) + b;  c = c + e;  s = t;  in the end s + c,
                              a the larger in magnitude of s and x[k] (s of equals), b the other
        doubly_compensated    of x in decreasing magnitude: y = c + x[k];  w = x[k] - (y - c);  t = y + s;
                              v = y - (t - s);  z = w + v;  s = t + z;  c = z - (s - t)
        stochastic            recursive, with stochastic rounding unless another is given

    where compensations begin as 0. With u the unit roundoff and S the sum of the magnitudes of n numbers, the error is
    at most, to first order and rounding to nearest: recursive (n - 1) u S; pairwise log2(n) u S; blocked
    (block + n / block) u S; kahan 2 u S; neumaier u |sum|, as far as n**2 u**2 S is small; doubly compensated
    2 u |sum|, for n u < 1/4 or so. After an addition whose result is infinite compensations are infinite or NaN: so are
    Neumaier's and the doubly compensated sum NaN, and Kahan's from the next addition on.

    Args:
        x: (..., n, ...); see `dot` for the other arguments.
        method: one of `METHODS`.
        axis: along which numbers are added; default all of them in row-major order.
        block: terms of a block.

    Returns:
        Numbers of the format, without the axis; +0 of no numbers.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Algorithms 4.1 to 4.3; Neumaier,
    ZAMM 54, 1974; Blanchard, Higham and Mary, SIAM J. Sci. Comput. 42(3), 2020, for blocks; Connolly, Higham and Mary,
    SIAM J. Sci. Comput. 43(1), 2021, for stochastic rounding.

    Example:
        >>> sum([2048.0, 1.0, 1.0], "fp16"), sum([2048.0, 1.0, 1.0], "fp16", method="kahan")
        (np.float32(2048.0), np.float32(2050.0))
    """
    if method not in METHODS:
        raise ValueError(unknown("method", str(method), METHODS))
    if block < 1:
        raise ValueError(f"sum: expected blocks of at least 1 term, got {block}")
    if method == "stochastic" and rounding is None:
        rounding = "stochastic"
    machine, (x,) = prepare("sum", (x,), fmt, rounding, overflow, seed)
    if axis is not None:
        check_axis("sum", axis, x.ndim)
    terms = x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1)
    shape = terms.shape[:-1]
    if not terms.size:
        return machine.give(np.zeros(shape, x.dtype))
    rows = np.ascontiguousarray(terms).reshape(-1, terms.shape[-1])
    return machine.give(_summed(machine, rows, method, block).reshape(shape))


def two_sum(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> SumAndError:
    """The rounded sum of two numbers, and its error, in six operations, every one of them rounded:

        s = a + b;  v = s - a;  e = (a - (s - v)) + (b - v)

    In binary floating point, rounded to nearest, s + e = a + b exactly unless something overflows.

    Args:
        a, b: arrays of one shape, or of shapes that broadcast; see `dot` for the other arguments.

    Returns:
        s and e, of the format.

    Source: Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, Theorem B.

    Example:
        >>> two_sum(1.0, 2048.0, "fp16")
        SumAndError(sum=np.float32(2048.0), error=np.float32(1.0))
    """
    machine, (a, b) = _pair("two_sum", a, b, fmt, rounding, overflow, seed)
    s = machine.add(a, b)
    v = machine.subtract(s, a)
    e = machine.add(machine.subtract(a, machine.subtract(s, v)), machine.subtract(b, v))
    return SumAndError(machine.give(s), machine.give(e))


def fast_two_sum(
    a: Any,
    b: Any,
    fmt: Fmt = None,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> SumAndError:
    """`two_sum` in three operations, for |a| >= |b|: s = a + b;  e = b - (s - a).

    Where |a| < |b| e may not be the error; nothing checks that.

    Args:
        a, b: see `two_sum`, also for the other arguments.

    Source: Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18, 1971.

    Example:
        >>> fast_two_sum(2048.0, 1.0, "fp16")
        SumAndError(sum=np.float32(2048.0), error=np.float32(1.0))
    """
    machine, (a, b) = _pair("fast_two_sum", a, b, fmt, rounding, overflow, seed)
    s = machine.add(a, b)
    return SumAndError(machine.give(s), machine.give(machine.subtract(b, machine.subtract(s, a))))


def _pair(name: str, a: Any, b: Any, *options: Any) -> tuple[Machine, list[np.ndarray]]:
    machine, (a, b) = prepare(name, (a, b), *options)
    try:
        return machine, [np.array(x) for x in np.broadcast_arrays(a, b)]
    except ValueError:
        raise ValueError(f"{name}: expected arrays of one shape, got {a.shape} and {b.shape}") from None


def _summed(machine: Machine, rows: np.ndarray, method: str, block: int) -> np.ndarray:
    """(m,) sums of the rows of an (m, n) array."""
    if method in _COMPENSATED:
        return _compensated(machine, rows, method)
    if method == "pairwise":
        return accumulate(machine.arithmetic, rows, -1, "pairwise", machine.draws)
    if method == "blocked":
        whole = rows.shape[1] // block * block
        sums = _recursive(machine, rows[:, :whole].reshape(-1, block)).reshape(len(rows), -1) if whole else rows[:, :0]
        if whole < rows.shape[1]:
            sums = np.concatenate([sums, _recursive(machine, rows[:, whole:])[:, None]], axis=1)
        return _recursive(machine, sums)
    return _recursive(machine, rows)


def _recursive(machine: Machine, rows: np.ndarray) -> np.ndarray:
    """`accumulate`; with stochastic rounding its compiled copy."""
    arithmetic, draws = machine.arithmetic, machine.draws
    table, layout = arithmetic.plan.table, arithmetic.carrier
    p = None
    if draws is not None and isinstance(table, Grid) and not arithmetic.rational:
        p = cpu.parameters(table, layout, arithmetic.plan.mode, arithmetic.overflow, -1)
    if p is None or draws is None or rows.shape[1] < 2:
        return accumulate(arithmetic, rows, -1, "sequential", draws)
    from ..backends.numba_sums import randomly

    word_like = np.empty(0, np.uint64 if layout.words == 2 else np.uint32)
    transform = cpu.word_transform(arithmetic.plan.mode, word_like.dtype)
    if transform is None:  # every bit of the word stays, none is rounded
        transform = np.array([np.iinfo(word_like.dtype).max, 0, 0, 0, 0, 0], word_like.dtype)
    terms = np.ascontiguousarray(rows.T)
    found, first = terms[0].copy(), draws.take(len(terms) - 1)
    randomly(terms[1:], found, p, transform, word_like, *map(np.uint64, (STREAM, first, *seed_words(draws.seed))))
    return found


def _compensated(machine: Machine, rows: np.ndarray, method: str) -> np.ndarray:
    if method == "doubly_compensated":
        rows = np.take_along_axis(rows, np.argsort(-np.abs(rows), axis=-1, kind="stable"), axis=-1)
    terms = compiled_terms(machine.arithmetic)
    if terms is None:
        return _BY_COLUMNS[method](machine, rows.T)
    from ..backends.numba_sums import compensated

    found = np.empty(len(rows), rows.dtype)
    parts = cpu.threads() if rows.size >= 1 << 16 else 1
    edges = [len(rows) * part // parts for part in range(parts + 1)]
    code = _COMPENSATED.index(method)
    cpu.share(lambda lo, hi: compensated(rows[lo:hi], found[lo:hi], code, *terms), edges)
    return found


def _kahan(machine: Machine, terms: np.ndarray) -> np.ndarray:
    s, e = terms[0], np.zeros_like(terms[0])
    for x in terms[1:]:
        y = machine.add(x, e)
        s, before = machine.add(s, y), s
        e = machine.add(machine.subtract(before, s), y)
    return s


def _neumaier(machine: Machine, terms: np.ndarray) -> np.ndarray:
    s, c = terms[0], np.zeros_like(terms[0])
    for x in terms[1:]:
        t = machine.add(s, x)
        larger = np.abs(s) >= np.abs(x)
        a, b = np.where(larger, s, x), np.where(larger, x, s)
        c = machine.add(c, machine.add(machine.subtract(a, t), b))
        s = t
    return machine.add(s, c)


def _doubly(machine: Machine, terms: np.ndarray) -> np.ndarray:
    s, c = terms[0], np.zeros_like(terms[0])
    for x in terms[1:]:
        y = machine.add(c, x)
        u = machine.subtract(x, machine.subtract(y, c))
        t = machine.add(y, s)
        v = machine.subtract(y, machine.subtract(t, s))
        z = machine.add(u, v)
        s = machine.add(t, z)
        c = machine.subtract(z, machine.subtract(s, t))
    return s


_BY_COLUMNS = {"kahan": _kahan, "neumaier": _neumaier, "doubly_compensated": _doubly}
"""What `numba_sums.compensated` computes, in any arithmetic, a term of every sum at a time."""
