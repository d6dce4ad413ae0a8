"""Successive halving: many configurations for few steps, the best of them for more, until few are left.

All runs of a rung end before the next one begins, and are ranked by their results and then their numbers. So what is
run depends on the seed and the results only, not on the order in which they come. Optuna's samplers draw the
configurations, and learn from one bracket for the next.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from random import Random
from typing import Any, NamedTuple

from ...formats.suggest import unknown
from .choices import Configuration, identity
from .conditions import is_excluded
from .designs import Design, list_all
from .space import Space, of_parameters
from .suggestions import encoded, new_study, optuna, suggested

DIRECTIONS = ("minimize", "maximize")
"""What is done to the metric."""
_COUNTED = 10_000
"""Finite spaces up to this size are listed, so that drawing all of them takes no luck."""
_MISSES = 100
"""Draws for each one that is new, on average, after which a bracket stays smaller."""


class Rung(NamedTuple):
    """One rung of a bracket: what each run is given, and how many runs there are at most."""

    resource: float
    runs: int


class Best(NamedTuple):
    """The best run among those with the largest resource so far."""

    number: int
    configuration: Configuration
    value: float


class _Candidate(NamedTuple):
    trial: Any
    configuration: Configuration


def halving(
    space: "Mapping[str, Any] | Space",
    *,
    metric: str = "test_loss",
    direction: str = "minimize",
    resource: str = "steps",
    low: float,
    high: float,
    factor: int = 3,
    n: int | None = None,
    brackets: int = 1,
    seed: int = 0,
    exclude: Sequence[Mapping[str, Any]] = (),
    sampler: Any = None,
) -> "Halving":
    """Successive halving over a space, for `halfulp.sweep` or a loop of your own.

    Of n configurations that are run with the lowest resource the best n / factor go on with factor times as much, and
    so forth up to `high`. Runs that failed or diverged, or whose metric is not finite, never go on.

    Args:
        space: parameters as `halfulp.space` takes them, or a space, of which parameters and exclusions count.
        metric: by which runs are ranked. direction: 'minimize' or 'maximize'.
        resource: the parameter that grows, such as steps; the space must not have it.
        low, high: its bounds; rungs are high, high / factor, ... as long as they are at least low.
        factor: 2 or more. n: configurations of the first rung; by default so many that one reaches the last rung.
        brackets: how many times all of this is done. From the second on configurations are drawn by what was learned.
        seed: of the draws. exclude: as `halfulp.space` takes it.
        sampler: one of Optuna's in place of TPESampler(seed=seed).

    Raises:
        ModuleNotFoundError: Optuna is missing.
        ValueError: numbers out of range, an unknown direction, a list of configurations, more configurations than the
            space has.

    Example:
        >>> from halfulp.sim.sweeps.parameters import between
        >>> search = halving({"learning_rate": between(1e-3, 1, log=True)}, low=10, high=90, n=9)
        >>> [tuple(rung) for rung in search.rungs]
        [(10, 9), (30, 3), (90, 1)]
        >>> while runs := search.ask():
        ...     for number, configuration in runs:
        ...         search.tell(number, {"test_loss": abs(configuration["learning_rate"] - 0.1)})
        >>> search.best.configuration["steps"]
        90
    """
    optuna()
    if not isinstance(space, Mapping | Space):
        raise TypeError(f"expected parameters by name, or a space, got {type(space).__name__}")
    found = space if isinstance(space, Space) else of_parameters(space, Design("random", n=1, seed=seed), exclude)
    if found.design.kind == "list":
        raise ValueError("halving draws its configurations itself; expected parameters with values, got a list")
    if isinstance(space, Space) and exclude:
        raise ValueError("a space has its exclusions already; give exclude to halfulp.space")
    if direction not in DIRECTIONS:
        raise ValueError(unknown("direction", str(direction), DIRECTIONS))
    if resource in found.names:
        raise ValueError(f"{resource} is what halving grows; leave it out of the space, or name another resource=")
    for name, value, least in (("factor", factor, 2), ("n", n, 1), ("brackets", brackets, 1), ("seed", seed, 0)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise ValueError(f"expected an integer >= {least} for {name}, got {value!r}")
    rungs = _rungs(low, high, factor, n)
    return Halving(found, metric, direction, resource, rungs, brackets, seed, sampler)


def _rungs(low: float, high: float, factor: int, n: int | None) -> tuple[Rung, ...]:
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise ValueError(f"expected a positive number for {name}, got {value!r}")
    if not low < high:
        raise ValueError(f"expected low < high, got {low} and {high}")
    most = 0
    while low * factor ** (most + 1) <= high:
        most += 1
    whole = isinstance(low, int) and isinstance(high, int)
    shares = [high / factor ** (most - k) for k in range(most + 1)]
    first = factor**most if n is None else n
    return tuple(Rung(round(share) if whole else share, max(1, first // factor**k)) for k, share in enumerate(shares))


class Halving:
    """Asks for runs, is told what became of them, and asks for more; `halving` makes one.

    Attributes:
        space: parameters and exclusions. metric, direction, resource: see `halving`.
        rungs: of each bracket. total: how many runs there are at most.
        study: Optuna's, with what it was told, for its pictures.
    """

    def __init__(
        self,
        space: Space,
        metric: str,
        direction: str,
        resource: str,
        rungs: tuple[Rung, ...],
        brackets: int,
        seed: int,
        sampler: Any = None,
    ) -> None:
        self.space, self.metric, self.direction, self.resource = space, metric, direction, resource
        self.rungs, self.total = rungs, brackets * sum(rung.runs for rung in rungs)
        self._everything = list_all(space.parameters, space.exclude, _COUNTED)
        if self._everything is not None and rungs[0].runs > len(self._everything):
            raise ValueError(
                f"the space has {len(self._everything)} configurations, got n={rungs[0].runs}; "
                f"ask for at most {len(self._everything)}"
            )
        self.study = new_study(seed, direction, sampler)
        self._brackets, self._uniform = brackets, Random(seed).random
        self._seen: set[Any] = set()
        self._rung, self._numbers = 0, 0
        self._candidates: list[_Candidate] = []
        self._waiting: dict[int, int] = {}
        self._values: dict[int, tuple[int, float]] = {}
        self._best: tuple[float, float, int, Configuration] | None = None

    @property
    def best(self) -> Best | None:
        """The best run among those with the largest resource so far; None where no result was finite."""
        if self._best is None:
            return None
        _, loss, number, configuration = self._best
        return Best(number, dict(configuration), self._sign * loss)

    @property
    def _sign(self) -> int:
        return 1 if self.direction == "minimize" else -1

    def ask(self) -> list[tuple[int, Configuration]]:
        """The runs of the next rung: a number each, to tell the result by, and the configuration; empty at the end.

        Raises:
            ValueError: runs of the last rung have no result yet, or all that can be drawn is excluded.
        """
        if self._waiting:
            some = ", ".join(map(str, list(self._waiting)[:5]))
            raise ValueError(
                f"{len(self._waiting)} runs have no result yet, such as {some}; tell(number, metrics) all of them "
                "first, with metrics=None where a run failed"
            )
        if self._candidates:
            self._candidates = self._promoted()
            self._rung += 1
        if not self._candidates:
            self._rung = 0
            self._candidates = self._drawn()
        self._values = {}
        asked = []
        for place, candidate in enumerate(self._candidates):
            self._waiting[self._numbers] = place
            asked.append((self._numbers, self._full(candidate)))
            self._numbers += 1
        return asked

    def tell(self, number: int, metrics: Mapping[str, Any] | None) -> None:
        """What became of a run.

        Args:
            number: of the run, from `ask`. metrics: by name; None where it failed. Where 'diverged' is among them and
                true, the run ended early, and counts as failed.

        Raises:
            ValueError: a number that is not waited for, metrics without the one that ranks.
            TypeError: a metric that is no number.
        """
        if number not in self._waiting:
            known = "was told already" if 0 <= number < self._numbers else "was never asked for"
            raise ValueError(f"run {number} {known}; expected one of {sorted(self._waiting)[:10]}")
        value = float("nan")
        if metrics is not None:
            if self.metric not in metrics:
                raise ValueError(unknown("metric", self.metric, map(str, metrics)) + "; halving(metric=...) names it")
            value = metrics[self.metric]
            if value is None or metrics.get("diverged") is True:
                value = float("nan")
            if isinstance(value, bool | str) or not hasattr(value, "__float__"):
                raise TypeError(f"expected a number for {self.metric}, got {value!r}")
        self._values[self._waiting.pop(number)] = (number, float(value))

    def _full(self, candidate: _Candidate) -> Configuration:
        return {**candidate.configuration, self.resource: self.rungs[self._rung].resource}

    def _promoted(self) -> list[_Candidate]:
        """The candidates that go on, and the others told to Optuna; always in the order of their trials."""
        state = optuna().trial.TrialState
        is_last = self._rung + 1 == len(self.rungs)
        results = [self._values[place] for place in range(len(self._candidates))]
        ranked = sorted((self._sign * value, place) for place, (_, value) in enumerate(results) if isfinite(value))
        if ranked:
            loss, place = ranked[0]
            of = (-self.rungs[self._rung].resource, loss, results[place][0], self._full(self._candidates[place]))
            self._best = of if self._best is None else min(self._best, of, key=lambda each: each[:3])
        kept = [] if is_last else sorted(place for _, place in ranked[: self.rungs[self._rung + 1].runs])
        for place, (candidate, (_, value)) in enumerate(zip(self._candidates, results)):
            if not isfinite(value):
                self.study.tell(candidate.trial, state=state.FAIL)
                continue
            candidate.trial.report(value, self._rung)
            if is_last:
                self.study.tell(candidate.trial, value)
            elif place not in kept:
                self.study.tell(candidate.trial, state=state.PRUNED)
        return [self._candidates[place] for place in kept]

    def _drawn(self) -> list[_Candidate]:
        """The configurations of a new bracket, none of them run before; fewer where the space is used up."""
        if not self._brackets:
            return []
        self._brackets -= 1
        found: list[_Candidate] = []
        runs, misses = self.rungs[0].runs, 0
        # A sampler may draw the same for long; where all configurations are known, soon one of those left is taken.
        patience = runs if self._everything is not None else _MISSES * runs
        while len(found) < runs:
            if misses >= patience and not self._enqueue_unseen():
                break
            trial = self.study.ask()
            configuration = suggested(trial, self.space.parameters)
            key = identity(configuration)
            if key in self._seen or is_excluded(configuration, self.space.exclude):
                self.study.tell(trial, state=optuna().trial.TrialState.FAIL)
                misses += 1
                continue
            self._seen.add(key)
            found.append(_Candidate(trial, configuration))
        if not self._seen:
            raise ValueError(f"exclude leaves no configuration in {misses} draws; leave some of it out")
        return found

    def _enqueue_unseen(self) -> bool:
        """Have a configuration drawn next that was not drawn yet, where all of them are known."""
        left = [row for row in self._everything or () if identity(row) not in self._seen]
        if not left:
            return False
        row = left[int(self._uniform() * len(left))]
        self.study.enqueue_trial(encoded(row, self.space.parameters))
        return True
