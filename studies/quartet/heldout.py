"""What Quartet's law says of runs that it has not seen, and of which precision is best for how much data."""

from typing import NamedTuple

import numpy as np
import pandas

from .fit import NOTEBOOK, Efficiency, Form, Law, Runs, bootstrap, fit, interval, with_efficiency

SIZES = {30482560: "30M", 49556736: "50M", 102777856: "100M", 203188480: "200M", 443068288: "430M", 822151168: "800M"}
"""Non-embedding parameters, and what the paper calls the model."""


def leave_one_size_out(runs: Runs, known: dict[Form, Law]) -> pandas.DataFrame:
    """Each size of several runs is predicted from all others.

    Args:
        runs: without quantization.
        known: by form the fits to all runs, from which others start, beside that of all coefficients, "free".

    Returns:
        form, size, runs, rms: root mean square of the errors of log L, in percent of the loss.
    """
    sizes = [size for size in np.unique(runs.parameters) if (runs.parameters == size).sum() > 1]
    rows = []
    for form in known:
        for size in sizes:
            held = runs.parameters == size
            law = fit(runs.where(~held), form, (known[form], known["free"], NOTEBOOK[form]))
            rms = 100 * float(np.sqrt(np.mean(law.errors(runs.where(held)) ** 2)))
            rows.append((form, SIZES[int(size)], int(held.sum()), rms))
    return pandas.DataFrame(rows, columns=["form", "size", "runs", "rms_percent"])


def predicted(
    seen: Runs, unseen: Runs, laws: dict[Form, Law], count: int, rng: np.random.Generator
) -> pandas.DataFrame:
    """Losses of unseen runs by laws that were fitted to others.

    Args:
        seen: what laws were fitted to. unseen: what is predicted.
        laws: by form; that of all coefficients gets intervals.
        count: of resamplings.

    Returns:
        size, tokens, loss, a column for each form, and low and high: 95% intervals of a single new run.
    """
    law, found = laws["free"], []
    spread = law.errors(seen) * np.sqrt(len(seen.losses) / (len(seen.losses) - 6))
    for other in bootstrap(law, seen, count, rng):
        luck = rng.choice(spread, len(unseen.losses))
        found.append(other.loss(unseen.parameters, unseen.tokens) * np.exp(luck))
    ends = [interval(column) for column in np.array(found).T]
    columns = {form: laws[form].loss(unseen.parameters, unseen.tokens) for form in laws}
    table = {"size": [SIZES[int(n)] for n in unseen.parameters], "tokens": unseen.tokens, "loss": unseen.losses}
    return pandas.DataFrame({**table, **columns, "low": [low for low, _ in ends], "high": [high for _, high in ends]})


class Speed(NamedTuple):
    """How much faster than FP8 the products of a pass are."""

    forward: float
    backward: float

    @property
    def training(self) -> float:
        """Of a step, two thirds of which are the backward pass."""
        return 3 / (1 / self.forward + 2 / self.backward)


SPEEDS = {"FP8:FP8": Speed(1, 1), "FP4:FP8": Speed(2, 1), "FP8:FP4": Speed(1, 2), "FP4:FP4": Speed(2, 2)}
"""Forward and backward precision: the speed-ups that the paper assumes."""


def worth(name: str, of: Efficiency) -> Efficiency:
    """The efficiencies of a pair of precisions, where FP8 loses nothing."""
    forward, backward = name.split(":")
    return Efficiency(of.parameters if forward == "FP4" else 1.0, of.tokens if backward == "FP4" else 1.0)


def losses_at_budget(law: Law, of: Efficiency, parameters: np.ndarray, ratio: np.ndarray) -> dict[str, np.ndarray]:
    """The loss that each pair of precisions reaches with the budgets of models in FP8.

    A forward pass that is f times as fast allows f times as many parameters in the same time of inference; of the time
    of training, t times as fast, that leaves t/f times as many tokens: Loss(N f, D t / f).

    Args:
        parameters, ratio: of the model in FP8, tokens a parameter; they broadcast.
    """
    tokens = parameters * ratio
    return {
        name: with_efficiency(law, worth(name, of)).loss(parameters * s.forward, tokens * s.training / s.forward)
        for name, s in SPEEDS.items()
    }


def crossing(law: Law, of: Efficiency, parameters: float) -> float:
    """Tokens a parameter beyond which FP4 in both passes beats FP8 forward with FP4 backward; infinite if nowhere."""
    ratio = np.logspace(0, 5, 2001)
    found = losses_at_budget(law, of, np.array(parameters), ratio)
    better = found["FP4:FP4"] < found["FP8:FP4"]
    return float(ratio[np.argmax(better)]) if better.any() else float("inf")
