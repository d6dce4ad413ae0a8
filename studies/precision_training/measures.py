"""What each claim is judged by."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..claims import Measured
from ..errors.resampled import slope
from .analysis import Table, damages, interval, log_damage, losses, of_means, power, sensitivity, share_of
from .claims import SIZES
from .plans import AWARE, FLOAT, Plan


def _at(shares: Callable[[np.ndarray], np.ndarray], place: int, mean: np.ndarray) -> float:
    return float(shares(mean)[place])


def effective_shares(table: Table, plan: Plan) -> list[Measured]:
    """The share of parameters that stays effective, of each of `AWARE` bits in training."""
    seen, shares = effective(table, plan)
    return [of_means(seen, partial(_at, shares, place)) for place in range(len(AWARE))]


def effective(table: Table, plan: Plan) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Losses (seeds, n), and what makes of their means the shares that training with few bits leaves effective.

    The size that float32 needs for a loss is read off the slope between all sizes of the shared length.
    """
    common = {"steps": plan.shared, "post": 3}
    own = {"size": plan.aware, **common}
    parts = [
        losses(table, "before", bits=list(AWARE), **own),
        losses(table, "before", bits=FLOAT, **own),
        losses(table, "before", bits=FLOAT, **common),
    ]
    sizes = np.log(_parameters(table, plan.shared))

    def shares(mean: np.ndarray) -> np.ndarray:
        low, reference, by_size = np.split(mean, [len(AWARE), len(AWARE) + 1])
        return share_of(low, float(reference[0]), slope(sizes, by_size))

    return np.hstack(parts), shares


def _parameters(table: Table, steps: int) -> np.ndarray:
    return np.sort(table[(table["steps"] == steps) & (table["bits"] == FLOAT)]["parameters"].unique())


def measured(table: Table, plan: Plan) -> dict[str, Measured]:
    """What each claim is judged by."""
    return {**_of_data(table), **_of_size_and_bits(table, plan), **_of_training(table, plan)}


def _power(damage: np.ndarray, at: Any) -> Measured:
    """The power of data or size in the mean damage, (seeds, n) of n places; the mean of several rows of n."""
    spread = damage.std(0, ddof=1).reshape(-1, len(at))

    def powers(mean: np.ndarray) -> float:
        return float(np.mean([power(*row, at) for row in zip(mean.reshape(-1, len(at)), spread)]))

    return of_means(damage, powers)


def _of_data(table: Table) -> dict[str, Measured]:
    plain = table[table["bits"] == FLOAT]
    of = {(size, bits): damages(plain, size=size, post=bits) for size in SIZES for bits in (3, 4)}
    tokens = np.sort(plain[plain["size"] == SIZES[0]]["tokens"].unique())
    last = losses(plain, "after", size=SIZES[-1], post=3)
    return {
        **{f"grows_{size}_int{bits}": _power(each, tokens) for (size, bits), each in of.items()},
        "power_of_data": _power(np.hstack([of[size, 3] for size in SIZES]), tokens),
        "more_data_helps": interval(last[:, -1] - last[:, -2]),
    }


def _of_size_and_bits(table: Table, plan: Plan) -> dict[str, Measured]:
    plain = table[table["bits"] == FLOAT]
    sizes = _parameters(table, plan.shared)
    shrinks = {f"shrinks_int{bits}": _power(damages(plain, steps=plan.shared, post=bits), sizes) for bits in (3, 4)}
    each = np.hstack([damages(plain, post=bits) for bits in (2, 3, 4)])

    def factors(mean: np.ndarray) -> np.ndarray:
        """(2,) logs of the factors from 2 to 3 bits and from 3 to 4, of the mean over models."""
        return np.diff(log_damage(mean.reshape(3, -1).mean(1)))

    falls = of_means(each, lambda mean: float(factors(mean)[1]))
    bends = of_means(each, lambda mean: float(np.diff(factors(mean))[0]))
    return {**shrinks, "falls_from_3_to_4": falls, "rate_from_3_to_4": falls, "exponential_to_2": bends}


def _of_training(table: Table, plan: Plan) -> dict[str, Measured]:
    own = {"size": plan.aware, "steps": plan.shared, "post": 3}
    seen, shares = effective(table, plan)
    hurt = damages(table, bits=[4, 5, 6, FLOAT], **own)
    fewest = damages(table, bits=[3, FLOAT], **{**own, "post": 2})
    return {
        "trained_loss": interval(slope(AWARE, losses(table, "before", bits=list(AWARE), **own))),
        "effective_share": effective_shares(table, plan)[0],
        "sensitivity": of_means(seen, lambda mean: sensitivity(AWARE, shares(mean))),
        "robust": of_means(hurt, lambda mean: float(log_damage(mean)[0] - log_damage(mean)[3])),
        "robust_to_2": of_means(fewest, lambda mean: float(-np.diff(log_damage(mean))[0])),
        "robust_by_bits": of_means(hurt[:, :3], lambda mean: float(slope((4, 5, 6), log_damage(mean)))),
    }
