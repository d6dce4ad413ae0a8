"""The law of floating-point training, fitted to trainings: coefficients, what seeds say of them, unseen runs.

    L = n/N^a + d/D^b + eps + D^b/N^a * log2(B) / (g (E+.5)^delta (M+.5)^nu)          (arXiv:2501.02423v3)

Fits minimize the Huber loss, of scale 1e-2, of log L. The simple law has no last term: it knows of no precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import pandas

from ..claims import Measured
from ..errors.resampled import jackknife
from ..fitting import least_huber
from ..fp_scaling_law import Law
from .designs import LAW_TARGETS, REFERENCE
from .running import Table

COEFFICIENTS = tuple(each.name for each in fields(Law))
SCALE = 1e-2
"""Of the Huber loss: about the luck of a training. Far below it the loss is nearly the absolute value, and leaving out
seeds says little of its minimum."""
SCALES = (0.1, SCALE, 1e-3)
"""At which the powers are shown, since they hang on it."""
_N0, _D0, _HALF = 3e4, 1e5, 1.5
"""Where amplitudes are taken, so that they and their powers can be told apart: in the middle of sizes and data, at
E = M = 1."""
_BOUNDS = (np.array([-15.0, 0, -15, 0, -15, -20, -5, -5]), np.array([5.0, 3, 5, 3, 2, 5, 20, 20]))
_STARTS = [
    np.array([np.log(size), a, np.log(data), b, np.log(eps), np.log(5e-3), 2.0, 2.0])
    for size, a, data, b, eps in ((0.3, 0.3, 0.7, 0.5, 1.5), (1.0, 0.1, 1.0, 0.3, 0.5), (0.1, 0.7, 1.5, 0.2, 0.8))
]
_SIMPLE = (0, 1, 2, 3, 4)
_NONE = 1e30
"""The g of a law without precision."""


class Runs(NamedTuple):
    """Trainings, one an element of each array.

    Args:
        parameters, tokens: counts. exponent, mantissa: bits. log2_block: of the elements of a scale. losses: in nats.
    """

    parameters: np.ndarray
    tokens: np.ndarray
    exponent: np.ndarray
    mantissa: np.ndarray
    log2_block: np.ndarray
    losses: np.ndarray


def runs_of(table: Table) -> Runs:
    """The trainings that quantize the law's operands; the others of the table are left out."""
    own = table[(table["targets"] == "+".join(LAW_TARGETS)) & ~table["everything"]]
    names = ("parameters", "tokens", "exponent", "mantissa", "block", "loss")
    found: dict[str, np.ndarray] = {name: own[name].to_numpy(float) for name in names}
    size, data, exponent, mantissa, block, loss = found.values()
    return Runs(size, data, exponent, mantissa, np.log2(block), loss)


def predicted(law: Law, runs: Runs) -> np.ndarray:
    """The losses that a law says of trainings."""
    resolution = law.resolution(runs.exponent, runs.mantissa)
    return law.loss(runs.parameters, runs.tokens, resolution, runs.log2_block)


def fit(runs: Runs, simple: bool = False, starts: Sequence[np.ndarray] = _STARTS, scale: float = SCALE) -> Law:
    """The law that fits trainings best, of all starts.

    Args:
        runs: trainings. simple: without the term of precision.
        starts: (8,) coefficients of the amplitudes' form; see `logs`. scale: of the Huber loss, reached from 1 in tens.

    Raises:
        ValueError: fewer trainings than coefficients.
    """
    free = list(_SIMPLE if simple else range(len(COEFFICIENTS)))
    if len(runs.losses) < len(free):
        raise ValueError(f"the law has {len(free)} coefficients, got {len(runs.losses)} trainings; train more")
    observed, log_n, log_d = np.log(runs.losses), np.log(runs.parameters / _N0), np.log(runs.tokens / _D0)
    log_e, log_m = np.log((runs.exponent + 0.5) / _HALF), np.log((runs.mantissa + 0.5) / _HALF)

    def terms(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The losses (n,), and their derivatives (n, 8)."""
        whole = np.array(starts[0])
        whole[free] = x
        size, a, data, b, floor, amount, delta, nu = whole
        of_size, of_data = np.exp(size - a * log_n), np.exp(data - b * log_d)
        lost = np.zeros_like(observed)
        if not simple:
            lost = runs.log2_block * np.exp(amount + b * log_d - a * log_n - delta * log_e - nu * log_m)
        rest = np.full_like(observed, np.exp(floor))
        by = (of_size, -log_n * (of_size + lost), of_data, log_d * (lost - of_data), rest, lost,
              -log_e * lost, -log_m * lost)  # fmt: skip
        return of_size + of_data + rest + lost, np.stack(by, axis=-1)

    def errors(x: np.ndarray) -> np.ndarray:
        return observed - np.log(terms(x)[0])

    def slopes(x: np.ndarray) -> np.ndarray:
        value, by = terms(x)
        return -(by / value[:, None])[:, free]

    bounds = (_BOUNDS[0][free], _BOUNDS[1][free])
    scales = (*(each for each in (1.0, 0.1, 1e-2) if each > scale), scale)
    tried = [least_huber(errors, slopes, np.clip(start[free], *bounds), scales, bounds) for start in starts]
    found = np.array(starts[0])
    found[free] = min(tried, key=lambda each: each.cost).x
    return _law_of(found, simple)


def _law_of(x: np.ndarray, simple: bool) -> Law:
    """Coefficients as the law is written, of those that are fitted."""
    size, a, data, b, floor, amount, delta, nu = map(float, x)
    n, d, eps = np.exp(size) * _N0**a, np.exp(data) * _D0**b, np.exp(floor)
    if simple:
        return Law(float(n), a, float(d), b, float(eps), _NONE, 0.0, 0.0)
    g = _D0**b / (_N0**a * np.exp(amount) * _HALF ** (delta + nu))
    return Law(float(n), a, float(d), b, float(eps), float(g), delta, nu)


def logs(law: Law) -> np.ndarray:
    """(8,) what is fitted: logs of the terms' sizes at 3e4 parameters, 1e5 tokens, E = M = 1 and log2 B = 1, powers."""
    amount = _D0**law.b / (_N0**law.a * law.g * _HALF ** (law.delta + law.nu))
    return np.array([np.log(law.n / _N0**law.a), law.a, np.log(law.d / _D0**law.b), law.b, np.log(law.eps),
                     np.log(amount), law.delta, law.nu])  # fmt: skip


class Fits(NamedTuple):
    """The law fitted to all trainings, and to those without each seed, in the order of seeds."""

    whole: Law
    without: list[Law]

    def measured(self, number: Callable[[Law], float]) -> Measured:
        """A number of the law with its 95% interval by the jackknife over seeds."""
        count = len(self.without)
        every = count * (count - 1) // 2

        def of(kept: np.ndarray) -> float:
            return number(self.whole if len(kept) == count else self.without[every - int(kept.sum())])

        return jackknife(of, count)


def fits(table: Table, scale: float = SCALE) -> Fits:
    """The fit to all trainings, and from it on those to all but one seed's."""
    law = fit(runs_of(table), scale=scale)
    some = [runs_of(table[table["seed"] != seed]) for seed in sorted(set(table["seed"]))]
    return Fits(law, [fit(each, starts=[logs(law)], scale=scale) for each in some])


def by_scale(table: Table) -> Table:
    """The powers of exponent and mantissa bits by the scale of the Huber loss.

    Returns:
        scale, delta, nu, difference (delta - nu), low, high.
    """
    rows = []
    for scale in SCALES:
        found = fits(table, scale)
        apart = found.measured(lambda law: law.delta - law.nu)
        rows.append((scale, found.whole.delta, found.whole.nu, apart.value, apart.low, apart.high))
    return pandas.DataFrame(rows, columns=["scale", "delta", "nu", "difference", "low", "high"])


def held_out(table: Table) -> Any:
    """Which rows have the most data of their size: a Series of yes and no."""
    return table["tokens"] == table.groupby("size")["tokens"].transform("max")


def new_size(table: Table) -> Any:
    """Which rows are of a size with one amount of data, so that nothing of it is left where that is held out."""
    return table.groupby("size")["tokens"].transform("nunique") == 1


def errors_unseen(table: Table) -> Table:
    """The mean error on the most data of each size, by seed, of laws fitted to the seed's other trainings.

    Returns:
        seed; law and simple: the mean of |predicted - trained| in nats at sizes of which less data were seen;
        damage_law and damage_simple: the same of what layouts cost there, their losses less the reference's, which is
        nothing to the simple law; where there is a size of which nothing was seen, new_size_law and new_size_simple.
    """
    rows = []
    for seed, own in table.groupby("seed"):
        unseen, new = held_out(own), new_size(own)
        laws = {name: fit(runs_of(own[~unseen]), simple) for name, simple in (("law", False), ("simple", True))}
        longer, larger = runs_of(own[unseen & ~new]), runs_of(own[unseen & new])
        row: dict[str, Any] = {"seed": seed}
        row |= {name: _error(law, longer) for name, law in laws.items()}
        row |= {f"damage_{name}": _damage_error(law, longer) for name, law in laws.items()}
        row |= {f"new_size_{name}": _error(law, larger) for name, law in laws.items() if len(larger.losses)}
        rows.append(row)
    return pandas.DataFrame(rows)


def _error(law: Law, runs: Runs) -> float:
    return float(np.abs(predicted(law, runs) - runs.losses).mean())


def _damage_error(law: Law, runs: Runs) -> float:
    """The mean of |predicted - trained| of losses less that of the reference with the same size and data."""
    plain = (runs.exponent == REFERENCE.exponent) & (runs.mantissa == REFERENCE.mantissa)
    said = predicted(law, runs)
    errors = []
    for k in np.flatnonzero(~plain):
        (base,) = np.flatnonzero(plain & (runs.parameters == runs.parameters[k]) & (runs.tokens == runs.tokens[k])
                                 & (runs.log2_block == runs.log2_block[k]))  # fmt: skip
        errors.append(abs((said[k] - said[base]) - (runs.losses[k] - runs.losses[base])))
    return float(np.mean(errors))


def coefficients(found: Fits) -> Table:
    """The fitted coefficients with intervals; those of terms as powers of ten.

    Returns:
        coefficient, fitted, low, high, published.
    """
    rows = []
    for name in COEFFICIENTS:
        log = name in ("n", "d", "g")

        def value(law: Law, name: str = name, log: bool = log) -> float:
            number = float(getattr(law, name))
            return float(np.log10(number)) if log else number

        here = found.measured(value)
        rows.append((f"log10 {name}" if log else name, here.value, here.low, here.high, value(Law())))
    return pandas.DataFrame(rows, columns=["coefficient", "fitted", "low", "high", "published"])
