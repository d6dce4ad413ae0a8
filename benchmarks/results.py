"""What the benchmark finds, as data, and what follows from it: ratios, targets, comparisons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .machine import cores
from .outcomes import STEPS, Outcome, Training, reached
from .rows import COPY, Row
from .tasks import LARGE, NUMPY, Disagreement
from .timing import Spread, ratios


@dataclass(frozen=True, slots=True)
class Result:
    """One row at one size.

    Args:
        row: what was timed.
        size: elements.
        seconds: of a call; None where it failed.
        ratio: time in copies of the same input.
        jax_ratio: time in JAX's own copies, of rows in JAX.
        differs: from the results of exact arithmetic; None where nothing was compared.
        memory: peak extra memory in shares of the input; None where it was not measured.
        first_call: seconds of the first call in a fresh process, compiled code on disk where there is any.
        cold_call: the same with nothing on disk.
        error: why there is no time.
        remark: what else went wrong.
    """

    row: Row
    size: int
    seconds: Spread | None = None
    ratio: Spread | None = None
    jax_ratio: Spread | None = None
    differs: Disagreement | None = None
    memory: float | None = None
    first_call: float | None = None
    cold_call: float | None = None
    error: str = ""
    remark: str = ""

    @property
    def gigabytes_per_second(self) -> float | None:
        """Bytes read and written, each once, by time."""
        if self.seconds is None:
            return None
        return self.row.task.bytes_per_element * self.size / self.seconds.median / 1e9

    @property
    def note(self) -> str:
        """What a reader should know: an error, values that differ, or what the row says of itself."""
        if self.error:
            return self.error
        return "; ".join(text for text in (_differs(self.differs), self.row.note, self.remark) if text)


def _differs(found: Disagreement | None) -> str:
    if found is None or not found.share:
        return ""
    share = f"{100 * found.share:.2g}%" if found.share < 0.99 else f"{100 * found.share:.0f}%"
    return f"differs in {share} of values, half of them by {found.relative:.1g} of each or less"


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of a call on 64 elements, or of an import, against what it is to be."""

    name: str
    seconds: Spread | None
    target: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what was found.

    Args:
        at_least: whether more is better.
    """

    name: str
    target: float
    found: float
    unit: str
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the found value is at most the target, or at least."""
        return self.found >= self.target if self.at_least else self.found <= self.target


@dataclass(frozen=True, slots=True)
class Comparison:
    """A halfulp row and the fastest peer at the same task, both at the largest size of the peer."""

    own: Result
    best: Result | None

    @property
    def faster(self) -> float | None:
        """How many times faster halfulp is, by the ratios to copies that were timed beside each."""
        if self.best is None or self.best.ratio is None or self.own.ratio is None:
            return None
        return self.best.ratio.median / self.own.ratio.median


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark."""

    machine: str
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)


def in_short(error: Exception) -> str:
    """An error in one line of a table."""
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"failed: {type(error).__name__}: {first}"[:120]


def timed(row: Row, size: int, seconds: dict[str, list[float]]) -> Result:
    """The result that samples make; `seconds` has the row's own under 'row', the copies' under their names."""
    own = seconds["row"]
    in_jax = {name: ratios(own, unit) for name, unit in seconds.items() if name not in ("row", COPY)}
    return Result(row, size, Spread.of(own), ratios(own, seconds[COPY]), next(iter(in_jax.values()), None))


def main_results(results: Sequence[Result]) -> list[Result]:
    """One result a row: that at its main size, or its largest where that was not timed."""
    largest: dict[tuple[str, str], Result] = {}
    for result in results:
        key, size = (result.row.library, result.row.task.name), result.size
        kept = largest.get(key)
        if kept is None or kept.size < size <= LARGE or kept.size > LARGE:
            largest[key] = result
    return list(largest.values())


def comparisons(results: Sequence[Result]) -> list[Comparison]:
    """Every halfulp row with the fastest peer: rows in JAX with peers in JAX, the others with the others.

    NumPy and torch share memory at no cost, so that a peer of one is open to users of the other.
    """
    done = [result for result in results if result.ratio]
    own = {(r.row.library, r.row.task.name, r.size): r for r in done if not r.row.peer}
    peers = [result for result in main_results(done) if result.row.peer]
    compared = []
    for main in main_results(done):
        row = main.row
        if row.peer or row.task.name == "copy":
            continue
        pairs = [
            Comparison(own.get((row.library, row.task.name, peer.size), main), peer)
            for peer in peers
            if (peer.row.task.name, peer.row.in_jax) == (row.task.name, row.in_jax)
        ]
        compared.append(min(pairs, key=lambda pair: pair.faster or math.inf, default=Comparison(main, None)))
    return compared


def geometric_mean(compared: Sequence[Comparison]) -> float | None:
    """Of how many times faster, over the rows that have a peer."""
    factors = [math.log(c.faster) for c in compared if c.faster]
    return math.exp(sum(factors) / len(factors)) if factors else None


def verdicts(report: Report) -> list[Verdict]:
    """Every target that was measured: ratios of NumPy rows at 2^24, latencies, the import."""
    found = [
        Verdict(result.row.task.name, result.row.task.target, result.ratio.median, "copies")
        for result in report.results
        if result.ratio and result.row.library == NUMPY and result.size == LARGE and result.row.task.target
    ]
    found += [
        Verdict(entry.name, entry.target, entry.seconds.median, "s")
        for entry in report.latencies
        if entry.target and entry.seconds
    ]
    found += [
        Verdict(f"{each.library}, {each.model}", STEPS, each.ratio.median, "steps")
        for each in report.trainings
        if each.ratio and each.model.startswith("MLP") and each.library.startswith("halfulp mxfp8")
    ]
    return found + [Verdict(*target, at_least=True) for target in reached(report.outcomes, cores())]
