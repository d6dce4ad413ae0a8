"""Explicit Runge-Kutta methods for ordinary differential equations, every operation rounded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...formats.rounding import Rounding
from ...formats.suggest import unknown
from ..rounded.arrays import RoundedArray
from .inputs import Fmt, check_count, prepare
from .machine import Machine

Slope = Callable[[RoundedArray, RoundedArray], Any]
"""f(t, y) of y' = f(t, y)."""


@dataclass(frozen=True, slots=True)
class Tableau:
    """The Butcher tableau of an explicit method.

    Args:
        a: row i has the i weights of the slopes before stage i.
        b: weights of the slopes in the step.
        source: where it was read.

    Raises:
        ValueError: rows of other lengths; weights of the step that do not add up to one.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) != i for i, row in enumerate(self.a)):
            raise ValueError(
                f"expected rows of 0, 1, ..., {len(self.b) - 1} weights, got {[len(row) for row in self.a]}"
            )
        if abs(sum(self.b) - 1) > 1e-12:
            raise ValueError(f"expected weights b that add up to 1, got {sum(self.b)}")


TABLEAUS = {
    "euler": Tableau(((),), (1.0,), "Euler 1768"),
    "midpoint": Tableau(((), (0.5,)), (0.0, 1.0), "Runge 1895"),
    "heun": Tableau(((), (1.0,)), (0.5, 0.5), "Heun 1900"),
    "rk4": Tableau(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), "Kutta 1901"),
}
"""Methods by their name."""


class Trajectory(NamedTuple):
    """What a method computed.

    Args:
        t: (steps + 1,) float64, the times.
        y: (steps + 1, ...) the states, of the format.
    """

    t: np.ndarray
    y: Any


def euler(
    f: Slope,
    y0: Any,
    fmt: Fmt = None,
    *,
    step: float,
    steps: int,
    t0: float = 0.0,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Trajectory:
    """Euler's method: y = rnd(y + rnd(h * f(t, y))); `runge_kutta` says what the arguments are.

    Example:
        >>> euler(lambda t, y: -y, 1.0, "fp16", step=0.25, steps=2).y
        array([1.    , 0.75  , 0.5625], dtype=float32)
    """
    options: dict[str, Any] = {"rounding": rounding, "overflow": overflow, "seed": seed}
    return runge_kutta(f, y0, fmt, method="euler", step=step, steps=steps, t0=t0, **options)


def rk4(
    f: Slope,
    y0: Any,
    fmt: Fmt = None,
    *,
    step: float,
    steps: int,
    t0: float = 0.0,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Trajectory:
    """The classical Runge-Kutta method of order four; `runge_kutta` says what the arguments are."""
    options: dict[str, Any] = {"rounding": rounding, "overflow": overflow, "seed": seed}
    return runge_kutta(f, y0, fmt, method="rk4", step=step, steps=steps, t0=t0, **options)


def runge_kutta(
    f: Slope,
    y0: Any,
    fmt: Fmt = None,
    *,
    method: str | Tableau = "rk4",
    step: float,
    steps: int,
    t0: float = 0.0,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Trajectory:
    """Integrate y' = f(t, y) over equal steps with an explicit Runge-Kutta method.

        k_i = f(t + c_i h, Y_i);   Y_i = rnd(y + rnd(h * s)), with s the sum of the a_ij k_j
        y = rnd(y + rnd(h * s)), with s the sum of the b_i k_i

    Sums have their products rounded, then added one after the other; terms whose weight is zero are left out. h and the
    weights are rounded to the format, to nearest. The time of a stage, t0 + (k + c_i) step, is computed in float64 and
    then rounded, so that it does not drift.

    Args:
        f: of a time and a state, both `RoundedArray`, so that its operations are rounded; what it returns otherwise
            is rounded.
        y0: (...) the initial state, or a number; see `dot` for the other arguments.
        method: one of `TABLEAUS`, or a `Tableau`.
        step: h, any sign.
        steps: how many.
        t0: the initial time.

    Raises:
        ValueError: a step that is zero in the format; an unknown method; a slope of another shape than the state.
    """
    if isinstance(method, str) and method not in TABLEAUS:
        raise ValueError(unknown("method", method, TABLEAUS))
    check_count("runge_kutta", "steps", steps)
    tableau = TABLEAUS[method] if isinstance(method, str) else method
    machine, (y,) = prepare("runge_kutta", (y0,), fmt, rounding, overflow, seed)
    h = machine.constant(step)
    if not h or not np.isfinite(h):
        raise ValueError(f"runge_kutta: the step {step} is {float(h)} in {machine.arithmetic!r}; take another")
    rows = [[machine.constant(w) if w else None for w in row] for row in (*tableau.a, tableau.b)]
    states = np.empty((steps + 1, *y.shape), y.dtype)
    states[0] = y
    for k in range(steps):
        slopes: list[np.ndarray] = []
        for weights, row in zip(rows, tableau.a):
            time = machine.hand(machine.constant(t0 + (k + sum(row)) * step))
            slopes.append(_slope(machine, f, time, _moved(machine, y, h, weights, slopes)))
        y = states[k + 1] = _moved(machine, y, h, rows[-1], slopes)
    return Trajectory(t0 + np.arange(steps + 1) * step, machine.give(states))


def _slope(machine: Machine, f: Slope, time: RoundedArray, y: np.ndarray) -> np.ndarray:
    found = machine.take(f(time, machine.hand(y)))
    if found.shape != y.shape:
        raise ValueError(f"runge_kutta: expected f(t, y) of shape {y.shape}, as y has, got {found.shape}")
    return found


def _moved(
    machine: Machine, y: np.ndarray, h: np.ndarray, weights: list[np.ndarray | None], slopes: list[np.ndarray]
) -> np.ndarray:
    """rnd(y + rnd(h * sum of weights and slopes)); a weight that is zero is None."""
    terms = [machine.multiply(w, k) for w, k in zip(weights, slopes) if w is not None]
    if not terms:
        return y
    total = terms[0]
    for term in terms[1:]:
        total = machine.add(total, term)
    return machine.axpy(h, total, y)
