"""The steps of a benchmark run, and running them under a progress bar."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .arrays import array_of, jax_copy, two_thread_copy
from .computations import COMPUTATIONS, outcome
from .fresh import import_seconds, in_fresh_process, peak_growth
from .latency import ENTRIES, latency
from .machine import machine_name, versions
from .outcomes import Computation
from .results import Latency, Report, Result, in_short, timed
from .rows import COPY, JAX_COPY, Row, beside_peers
from .tasks import NUMPY, disagreement
from .timing import Call, Spread, in_turn
from .wrapping import Way, training

COLD = ("E4M3", "E4M3, stochastic", "MXFP4")
"""Tasks whose first call is also timed with nothing compiled: a deterministic, a random and a fused kernel."""

IMPORT_TARGET = 0.3


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure.

    Args:
        sizes: in place of the rows' own.
        budget: seconds of repetitions a row.
        quick: peers and JAX at 2^18 at most and no peer compiled, no small sizes, no memory, no first calls.
    """

    sizes: tuple[int, ...] = ()
    budget: float = 0.6
    quick: bool = False


QUICK = Settings(budget=0.2, quick=True)
_QUICK_LARGEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work, and about how many seconds it takes, for the progress bar."""

    label: str
    seconds: float
    act: Callable[[], None]


def selected(rows: Sequence[Row], settings: Settings) -> list[Row]:
    """The rows of a run, their sizes limited where it is quick."""
    if not settings.quick:
        return beside_peers(rows)
    kept = [replace(row, swept=False) for row in rows if not row.compiled]
    return beside_peers([_limited(row) if row.peer or row.in_jax else row for row in kept])


def _limited(row: Row) -> Row:
    return replace(row, largest=min(row.largest, _QUICK_LARGEST))


def measure(row: Row, size: int, settings: Settings) -> Result:
    """A row at one size: its time, and whether it is right; a failure is a result that says so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _measure(row, size, settings)
    except Exception as error:  # whatever a peer raises is what the table is to say
        return Result(row, size, error=in_short(error))


def _measure(row: Row, size: int, settings: Settings) -> Result:
    x = array_of(size, row.task.dtype)
    calls: dict[str, Call] = {COPY: two_thread_copy(x)}
    if row.in_jax and row.library != JAX_COPY:
        calls[JAX_COPY] = jax_copy(x)
    calls["row"] = row.call(size)
    result = timed(row, size, in_turn(calls, settings.budget))
    if row.read is None or size > row.main_size:
        return result
    result = replace(result, differs=disagreement(row.task, x, row.read(calls["row"]())))
    growth = None if settings.quick else peak_growth(calls["row"])
    return result if growth is None else replace(result, memory=growth / x.nbytes)


def with_fresh_process(result: Result) -> Result:
    """The result with its memory and first calls, from processes of their own; a remark where one fails.

    Only a process that does nothing else shows these well, at some seconds each; the peers' memory is that of a
    call in the process that timed them.
    """
    row = result.row
    if result.error:
        return result
    try:
        found = in_fresh_process(row.library, row.task.name, result.size)
        cold = None
        if row.library == NUMPY and row.task.name in COLD:
            with tempfile.TemporaryDirectory() as empty:
                cold = in_fresh_process(row.library, row.task.name, result.size, cache=empty)["first"]
    except RuntimeError as error:
        return replace(result, remark=f"in a fresh process {in_short(error)}")
    return replace(result, memory=found["memory"], first_call=found["first"], cold_call=cold)


def steps(
    rows: Sequence[Row],
    settings: Settings,
    report: Report,
    computations: Sequence[Computation] = (),
    trainings: Sequence[Way] = (),
) -> Iterator[Step]:
    """All the work of a run; each step adds what it finds to the report."""
    for row in selected(rows, settings):
        for size in row.sizes(settings.sizes):
            yield _row_step(row, size, settings, report)
    for computation in computations:
        for way in COMPUTATIONS[computation]:
            yield Step(
                f"{computation.name}: {way.library}, {way.size:,}",
                3 * settings.budget,
                lambda pair=(computation, way): report.outcomes.append(outcome(*pair, settings.budget)),
            )
    for way in trainings:
        yield Step(
            f"{way[0]}: {way[1]}",
            4 * settings.budget + 30 * way[3],
            lambda way=way: report.trainings.append(training(*way, settings.budget)),
        )
    yield Step("import halfulp", 3, lambda: report.latencies.append(_import(2 if settings.quick else 5)))
    x = array_of(64, "float32")
    for entry in ENTRIES:
        yield Step(
            f"{entry.name}, 64 elements",
            1,
            lambda entry=entry: report.latencies.append(latency(entry, x, settings.budget / 3)),
        )


def _row_step(row: Row, size: int, settings: Settings, report: Report) -> Step:
    fresh = not (settings.quick or row.peer or row.read is None) and size == row.main_size

    def act() -> None:
        result = measure(row, size, settings)
        report.results.append(with_fresh_process(result) if fresh else result)

    seconds = 2 * settings.budget + 3 * fresh + 8 * row.compiled + 20 * (fresh and row.task.name in COLD)
    return Step(f"{row.task.name}: {row.library}, {size:,}", seconds, act)


def _import(repeats: int) -> Latency:
    """The best of several: what slows an import down is always something else."""
    best = min(import_seconds() for _ in range(repeats))
    return Latency("import halfulp", Spread(best, best, best), IMPORT_TARGET)


def run(
    rows: Sequence[Row],
    settings: Settings,
    computations: Sequence[Computation] = (),
    trainings: Sequence[Way] = (),
) -> Report:
    """Run the benchmark under a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    report = Report(machine_name(), versions())
    todo = list(steps(rows, settings, report, computations, trainings))
    columns = (BarColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("", total=sum(step.seconds for step in todo))
        for step in todo:
            progress.update(bar, description=step.label)
            step.act()
            progress.advance(bar, step.seconds)
    return report
