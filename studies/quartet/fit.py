"""Quartet's law, fitted to published losses; efficiencies of methods; what resampling says of both.

    L(N, D) = (A / (N eff_N)^alpha + B / (D eff_D)^beta)^gamma + E            (arXiv:2505.14669v4)

with N non-embedding parameters and D tokens. A method's eff_N says how many parameters its forward pass is worth,
eff_D how many tokens its backward pass is. Fits minimize the Huber loss, of scale 1e-4, of log L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas

from ..fitting import least_huber

Form = Literal["free", "gamma=1", "beta=1"]
FORMS: tuple[Form, ...] = ("free", "gamma=1", "beta=1")
"""All six coefficients; a sum of two powers as of Chinchilla; a power of data that is one."""
TOKENS = 512 * 512
"""Tokens a step."""
HUBER = 1e-4
_FREE: dict[str, list[int]] = {"free": [0, 1, 2, 3, 4, 5], "gamma=1": [0, 1, 2, 3, 4], "beta=1": [0, 1, 2, 4, 5]}
_STEPS = (1.0, 3e-3, 1e-3, 3e-4, HUBER)
"""Scales of the Huber loss, one after another: at once the smallest is nearly the absolute value, of many minima."""

NEAR = _STEPS[2:]
"""Of a start that is nearly the fit."""


class Runs(NamedTuple):
    """Trainings, one an element of each array.

    Args:
        parameters: without embeddings. tokens: seen. losses: at the end, nats a token.
    """

    parameters: np.ndarray
    tokens: np.ndarray
    losses: np.ndarray

    def where(self, chosen: np.ndarray) -> "Runs":
        """Some of them."""
        return Runs(*(each[chosen] for each in self))

    def __add__(self, other: Any) -> "Runs":
        return Runs(*(np.concatenate(pair) for pair in zip(self, other)))

    @property
    def ratio(self) -> np.ndarray:
        """Tokens a parameter."""
        return self.tokens / self.parameters


def _runs(rows: Sequence[tuple[int, int, float]]) -> Runs:
    parameters, steps, losses = np.array(rows, float).T
    return Runs(parameters, steps * TOKENS, losses)


LARGE = _runs([(443068288, 164031, 2.57078), (822151168, 305175, 2.46098)])
"""430M and 800M in BF16, which the notebook's fit has and the table of losses has not (IST-DASLab/Quartet, 5b9d74c,
notebooks/plots.ipynb)."""
LEFT_OUT = _runs([(102777856, 381469, 2.75457), (203188480, 152587, 2.68846)])
"""Two in BF16 that the notebook lists but comments out."""


def losses() -> pandas.DataFrame:
    """The published losses: model, non_embedding_params, forward, backward, steps, loss."""
    with (files("halfulp.studies") / "data" / "quartet_losses.csv").open() as file:
        return pandas.read_csv(file, comment="#")


def runs_of(forward: str, backward: str) -> Runs:
    """The published trainings of a method.

    Raises:
        ValueError: there are none.
    """
    table = losses()
    found = table[(table.forward == forward) & (table.backward == backward)]
    if found.empty:
        there = ", ".join(sorted({f"{f}/{b}" for f, b in zip(table.forward, table.backward)}))
        raise ValueError(f"no runs with forward {forward!r} and backward {backward!r}; there are {there}")
    return _runs(list(zip(found.non_embedding_params, found.steps, found.loss)))


@dataclass(frozen=True, slots=True)
class Law:
    """Coefficients of the law."""

    A: float
    alpha: float
    B: float
    beta: float
    E: float
    gamma: float

    @property
    def logs(self) -> np.ndarray:
        """(6,) log A, alpha, log B, beta, log E, gamma: what is fitted."""
        return np.array([np.log(self.A), self.alpha, np.log(self.B), self.beta, np.log(self.E), self.gamma])

    def log_loss(self, parameters: Any, tokens: Any) -> Any:
        """log L; broadcasts."""
        return _terms(self.logs, np.asarray(parameters, float), np.asarray(tokens, float))[0]

    def loss(self, parameters: Any, tokens: Any) -> Any:
        """L, in nats a token; broadcasts."""
        return np.exp(self.log_loss(parameters, tokens))

    def errors(self, runs: Runs) -> np.ndarray:
        """log of what was measured over what the law says."""
        return np.log(runs.losses) - self.log_loss(runs.parameters, runs.tokens)

    def cost(self, runs: Runs) -> float:
        """Half the Huber loss of the errors, summed, as SciPy's `least_squares` has it."""
        squares = (self.errors(runs) / HUBER) ** 2
        return float(HUBER**2 / 2 * np.where(squares <= 1, squares, 2 * np.sqrt(squares) - 1).sum())


def law_of(logs: np.ndarray) -> Law:
    """The law of fitted coefficients."""
    # Of some resampled runs no loss at all remains, and E becomes as small as the optimizer likes.
    a, b, e = np.exp(np.clip(logs[[0, 2, 4]], -700.0, 700.0))
    return Law(float(a), float(logs[1]), float(b), float(logs[3]), float(e), float(logs[5]))


TABLE_6 = Law(1.52e5, 0.589, 5.25e5, 0.544, 1.35, 0.274)
NOTEBOOK: dict[Form, Law] = {
    "free": Law(127444.69, 0.57852, 465834.31, 0.538877, 1.340846, 0.276416),
    "gamma=1": Law(48.587, 0.22928, 185.737, 0.28204, 1.89813, 1.0),
    "beta=1": Law(130895, 0.59208, 6.507e9, 1.0, 1.54772, 0.25445),
}
_STARTS = (*NOTEBOOK.values(), Law(150, 0.3, 400, 0.3, 1.5, 1.0), Law(3000, 0.45, 3000, 0.45, 1.35, 0.5),
           Law(1e7, 0.8, 1e8, 0.7, 1.2, 0.2))  # fmt: skip


def _terms(logs: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log L (...), and its derivatives by the six coefficients (..., 6)."""
    a, alpha, b, beta, e, gamma = logs
    n, d = np.log(parameters), np.log(tokens)
    size, data = a - alpha * n, b - beta * d
    inner = np.logaddexp(size, data)
    found = np.logaddexp(gamma * inner, e)
    share, of_size, of_data = np.exp(gamma * inner - found), np.exp(size - inner), np.exp(data - inner)
    by_size, by_data = share * gamma * of_size, share * gamma * of_data
    parts = (by_size, -by_size * n, by_data, -by_data * d, np.exp(e - found), share * inner)
    return found, np.stack(np.broadcast_arrays(*parts), axis=-1)


def fit(runs: Runs, form: Form = "free", starts: Sequence[Law] = _STARTS, scales: Sequence[float] = _STEPS) -> Law:
    """The law that fits runs best, of all starts.

    Args:
        form: which coefficients are free; gamma or beta is 1 otherwise.
        starts: laws to begin with.
        scales: of the Huber loss, one after another.

    Raises:
        ValueError: fewer runs than coefficients.
    """
    free, observed = _FREE[form], np.log(runs.losses)
    if len(observed) < len(free):
        raise ValueError(f"form {form!r} has {len(free)} coefficients, got {len(observed)} runs; pass more")

    def whole(x: np.ndarray) -> np.ndarray:
        logs = np.ones(6)
        logs[free] = x
        return logs

    def errors(x: np.ndarray) -> np.ndarray:
        return observed - _terms(whole(x), runs.parameters, runs.tokens)[0]

    def slopes(x: np.ndarray) -> np.ndarray:
        return -_terms(whole(x), runs.parameters, runs.tokens)[1][:, free]

    found = [least_huber(errors, slopes, start.logs[free], scales) for start in starts]
    return law_of(whole(min(found, key=lambda each: each.cost).x))


class Efficiency(NamedTuple):
    """What parameters and tokens of a method are worth, as shares."""

    parameters: float
    tokens: float


def with_efficiency(law: Law, worth: Efficiency) -> Law:
    """The law of a method, in its own parameters and tokens."""
    logs = law.logs
    logs[0] -= law.alpha * np.log(worth.parameters)
    logs[2] -= law.beta * np.log(worth.tokens)
    return law_of(logs)


def efficiency(
    law: Law,
    runs: Runs,
    forward: bool,
    backward: bool,
    start: Efficiency | None = None,
    scales: Sequence[float] = _STEPS,
) -> Efficiency:
    """The efficiencies that explain the runs of a method best; 1 where its pass is not quantized.

    Args:
        law: of runs without quantization.
        forward, backward: which passes are quantized; at least one.
        start: efficiencies to begin with; 3/4 unless given. scales: as in `fit`.
    """
    free, observed = [k for k, on in enumerate((forward, backward)) if on], np.log(runs.losses)
    first = np.log(start if start is not None else (0.75, 0.75))[free]

    def worth(x: np.ndarray) -> Efficiency:
        logs = np.zeros(2)
        logs[free] = x
        return Efficiency(*map(float, np.exp(logs)))

    def errors(x: np.ndarray) -> np.ndarray:
        return observed - with_efficiency(law, worth(x)).log_loss(runs.parameters, runs.tokens)

    def slopes(x: np.ndarray) -> np.ndarray:
        _, by = _terms(with_efficiency(law, worth(x)).logs, runs.parameters, runs.tokens)
        return np.stack([law.alpha * by[:, 0], law.beta * by[:, 2]], axis=-1)[:, free]

    return worth(least_huber(errors, slopes, first, scales).x)


def resampled(law: Law, runs: Runs, coefficients: int, rng: np.random.Generator) -> Runs:
    """The same trainings with other luck: losses of the law times errors drawn from its own.

    Sizes and data stay: each size has few runs, and drawing runs themselves would leave sizes out. Errors are widened
    by sqrt(n / (n - p)) for the p coefficients that were fitted to them.
    """
    errors, count = law.errors(runs), len(runs.losses)
    drawn = rng.choice(errors - errors.mean(), count) * np.sqrt(count / (count - coefficients))
    return runs._replace(losses=law.loss(runs.parameters, runs.tokens) * np.exp(drawn))


def bootstrap(law: Law, runs: Runs, count: int, rng: np.random.Generator) -> list[Law]:
    """Laws fitted to resampled runs, from the law itself on."""
    return [fit(resampled(law, runs, 6, rng), "free", (law,), NEAR) for _ in range(count)]


def interval(values: Any) -> tuple[float, float]:
    """The middle 95% of resampled values."""
    low, high = np.quantile(np.asarray(values, float), (0.025, 0.975))
    return float(low), float(high)
