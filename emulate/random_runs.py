"""What rounding does to a result, told by running the computation several times under random rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np

from ..formats.registry import Format
from .backends.numpy import FLOATS
from .rounded.arrays import RoundedArray
from .rounded.context import Arithmetic, arithmetic, extent
from .rounded.draws import Draws
from .rounded.operands import operand

_STEPS = 48
"""Runs are 2**48 operations apart in the random stream."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The results of runs that differ in their random words only.

    Args:
        samples: (runs, ...) float64, the results.
    """

    samples: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(...) the mean of each number."""
        return self.samples.mean(axis=0)

    @property
    def std(self) -> np.ndarray:
        """(...) the standard deviation of each number, by runs - 1."""
        return self.samples.std(axis=0, ddof=1)

    @property
    def relative(self) -> np.ndarray:
        """(...) standard deviation by magnitude of the mean; 0 where all runs agree, infinite where that is zero."""
        std = self.std
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(std == 0, 0.0, std / np.abs(self.mean))


def spread(
    fn: Callable[..., Any],
    *args: Any,
    fmt: "str | Format | Arithmetic",
    runs: int = 30,
    seed: int = 0,
    rounding: str = "stochastic",
    overflow: str | None = None,
) -> Spread:
    """Run a computation several times under stochastic rounding.

    With stochastic rounding the mean of many runs of a sum, or of another computation that is linear in its errors, is
    the exact result, and the deviation of one run is its error.

    Args:
        fn: of `args`, with arrays, lists, tuples and numbers, integers too, as rounded arrays (see `halfulp.array`),
            everything else as it is: put a count into the function, `lambda x: f(x, 3)`. It returns an array or a
            number: pick one where there are several, `lambda a: hu.linalg.lu(a).u`.
        args: rounded to the format to nearest, so that all runs have the same data.
        fmt: an unscaled format or its name.
        runs: at least 2.
        seed: run r draws from step r * 2**48 of it.
        rounding: 'stochastic', 'stochastic_equal' or one with a number of bits, as in `halfulp.quantize`.
        overflow: as in `halfulp.quantize`.

    Source: Connolly, Higham and Mary, Stochastic rounding and its probabilistic backward error analysis, SIAM J. Sci.
    Comput. 43(1), 2021.

    Example:
        >>> found = spread(lambda x: x.sum(), [2048.0, 1.0, 1.0, 1.0, 1.0], fmt="fp16", runs=2000)
        >>> print(round(float(found.mean), 1))
        2052.0
    """
    target = arithmetic(fmt, rounding, overflow)
    if not target.rounding.stochastic:
        raise ValueError(f"spread: expected a stochastic rounding, got {rounding!r}; runs of it would all be the same")
    if runs < 2:
        raise ValueError(f"spread: expected at least 2 runs, got {runs}")
    return Spread(np.stack([_once(fn, args, target, Draws(seed, run << _STEPS)) for run in range(runs)]))


def significant_digits(
    fn: Callable[..., Any],
    *args: Any,
    fmt: "str | Format | Arithmetic",
    samples: int = 3,
    seed: int = 0,
    probability: float = 0.95,
    overflow: str | None = None,
) -> np.ndarray:
    """How many decimal digits of a result are not the work of rounding errors: discrete stochastic arithmetic.

    The computation runs a few times, every operation rounded up or down with equal chances. For N results with mean m
    and standard deviation s, and t of Student's distribution with N - 1 degrees of freedom,

        log10(sqrt(N) |m| / (t s))

    digits are common to m and the exact result, with the given probability, if errors are many, as they are to first
    order, and not all of one sign. Results that all agree count as exact, and a few of a short computation may agree by
    chance: take more of them there. No more digits are said than the format has, and none less than 0; a result that is
    not finite in some run has 0.

    Args:
        fn, args, fmt, overflow: see `spread`.
        samples: N, at least 2; 3 in the literature.
        seed: of the random roundings.
        probability: that the estimate holds.

    Returns:
        (...) float64 decimal digits of each number of the result.

    Source: Vignes, A stochastic arithmetic for reliable scientific computation, Mathematics and Computers in Simulation
    35, 1993 (the CESTAC method, as in CADNA).
    """
    if samples < 2:
        raise ValueError(f"significant_digits: expected at least 2 samples, got {samples}")
    if not 0 < probability < 1:
        raise ValueError(f"significant_digits: expected a probability between 0 and 1, got {probability}")
    from scipy.special import stdtrit

    found = spread(fn, *args, fmt=fmt, runs=samples, seed=seed, rounding="stochastic_equal", overflow=overflow)
    held = extent(arithmetic(fmt).fmt).precision * log10(2)
    student = float(stdtrit(samples - 1, (1 + probability) / 2))
    with np.errstate(all="ignore"):
        digits = np.log10(np.sqrt(samples) * np.abs(found.mean) / (student * found.std))
    digits = np.where((found.samples == found.samples[0]).all(axis=0), held, digits)
    finite = np.isfinite(found.samples).all(axis=0)
    return np.where(finite, np.clip(np.nan_to_num(digits, nan=0.0), 0.0, held), 0.0)


def _once(fn: Callable[..., Any], args: tuple[Any, ...], target: Arithmetic, draws: Draws) -> np.ndarray:
    """The result of one run."""
    nearest, dtype = arithmetic(target, rounding="nearest_even"), FLOATS[target.carrier.name]
    given = [RoundedArray(operand(x, nearest, None).astype(dtype), target, draws) if _is_data(x) else x for x in args]
    found = fn(*given)
    if isinstance(found, tuple):
        raise TypeError(
            "expected a function that returns one array or number; pick one of the results: lambda x: f(x)[0]"
        )
    return np.asarray(found, np.float64)


def _is_data(x: Any) -> bool:
    number = isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
    return number or isinstance(x, RoundedArray | np.ndarray | list) or type(x) is tuple  # an LU is none
