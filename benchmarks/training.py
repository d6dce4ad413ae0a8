"""Runs a minute: a grid of trainings in one compiled program, against loops of eager PyTorch that emulate formats.

Every library trains the same network on scikit-learn's digits, with the same first parameters, batches, SGD with
momentum and cosine schedule, and rounds inputs, weights and gradients of each linear layer to a minifloat with a scale
a tensor, straight through. The grid is formats x seeds x learning rates; halfulp trains all of it a turn, each loop a
few runs of it, whose time is scaled to a minute. Libraries take turns. Seconds of the processor are counted
besides, which other programs on a shared machine disturb less.

    python -m benchmarks.training                some five minutes on two cores
    python -m benchmarks.training --record       and keep it in benchmarks/RESULTS.md
"""

import csv
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import halfulp as hu
import numpy as np
import typer

from .machine import machine_name, versions
from .report import RESULTS, recorded
from .results import in_short
from .timing import Spread
from .training_loops import (
    FLOAT8,
    Round,
    accuracy_of_loops,
    float8_layers,
    pychop_rounding,
    rounded_layers,
    torchao_rounding,
)

FORMATS = ("e2m1", "e2m3", "e3m2", "e3m3", "e4m2", "e4m3", "e5m1", "e5m2")
SEEDS, RATES = range(4), (0.03, 0.1, 0.2, 0.3)
TRAINING = hu.Training(steps=300, batch=96, width=32)
OWN = "halfulp, one program"
COLUMNS = (
    *("library", "runs a turn", "runs a minute", "halfulp is faster by", "CPU seconds a run", "halfulp takes fewer by"),
    *("accuracy", "note"),
)


class Library(NamedTuple):
    """One way to train the grid.

    Fields:
        name: of the table.
        prepare: makes what trains runs and gives their mean accuracy; its time is not counted.
        share: runs of the grid a turn; None for all of it.
        note: what a reader should know.
        rounding: how it rounds, by the name of a minifloat, and the name of halfulp's own that it should equal.
    """

    name: str
    prepare: Callable[[], Callable[[Sequence[hu.Run]], float]]
    share: int | None = None
    note: str = ""
    rounding: tuple[Callable[[str], Round], str] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a library's turns found.

    Args:
        name, note: of the library. runs: a turn. seconds, cpu_seconds: of each turn, the latter of all
            threads. accuracy: mean of all runs.
        differs: share of values it rounds otherwise than halfulp; None where that was not asked.
        error: why there is no time.
    """

    name: str
    note: str = ""
    runs: int = 0
    seconds: tuple[float, ...] = ()
    cpu_seconds: tuple[float, ...] = ()
    accuracy: float = float("nan")
    differs: float | None = None
    error: str = ""

    @property
    def per_minute(self) -> Spread | None:
        """Runs a minute."""
        return Spread.of([60 * self.runs / each for each in self.seconds]) if self.seconds else None

    @property
    def cpu_per_run(self) -> Spread | None:
        """Seconds of the processor a run."""
        return Spread.of([each / self.runs for each in self.cpu_seconds]) if self.cpu_seconds else None


def grid() -> list[hu.Run]:
    """Every format with every seed and rate; a few neighbours have several formats."""
    return [hu.Run(hu.uniform(name), seed, rate) for seed, rate, name in product(SEEDS, RATES, FORMATS)]


def with_compilation() -> Callable[[Sequence[hu.Run]], float]:
    """halfulp's trainer, which compiles its program each time."""
    task = hu.task("digits", model="mlp", size="s")
    return lambda runs: _accuracy(hu.train(task, runs, TRAINING))


def compiled() -> Callable[[Sequence[hu.Run]], float]:
    """halfulp's trainer, compiled before it is timed."""
    from halfulp.sim.training.jax_grid import Trainer

    trainer = Trainer(hu.task("digits", model="mlp", size="s"), TRAINING)
    trainer.train(grid()[: trainer.width])
    return lambda runs: _accuracy(trainer.train(runs))


def in_torch() -> Callable[[Sequence[hu.Run]], float]:
    """halfulp's wrapped modules, run by run."""
    task = hu.task("digits", model="mlp", size="s")
    return lambda runs: _accuracy(hu.train(task, runs, TRAINING, library="torch"))


def _accuracy(found: Sequence[Any]) -> float:
    return float(np.mean([each.metrics["accuracy"] for each in found]))


LIBRARIES = (
    Library(OWN, compiled, note="compiled before"),
    Library("halfulp, one program, compilation included", with_compilation),
    Library("halfulp, wrapped modules, eager", in_torch, 2),
    Library(
        "torchao's minifloats, eager", lambda: accuracy_of_loops(TRAINING, rounded_layers(torchao_rounding)), 2,
        rounding=(torchao_rounding, "{}_per_tensor"),
    ),
    Library(
        "torchao's Float8Linear, emulated", lambda: accuracy_of_loops(TRAINING, float8_layers), 1,
        f"{FLOAT8} in place of the formats",
    ),
    Library(
        "Pychop's torch backend, eager", lambda: accuracy_of_loops(TRAINING, rounded_layers(pychop_rounding)), 2,
        "keeps the top exponent for infinities and NaN", (pychop_rounding, "{}ieee_per_tensor"),
    ),
    Library("float32, nothing rounded, eager", lambda: accuracy_of_loops(TRAINING, lambda model, _: model), 2),
)  # fmt: skip
"""Every way to train, halfulp's first."""


def differs(rounding: Callable[[str], Round], own: str) -> float:
    """The share of standard normal numbers that a library rounds otherwise than halfulp, over all formats."""
    import torch

    t = torch.from_numpy(np.random.default_rng(0).standard_normal((96, 64), np.float32))
    return float(np.mean([(rounding(f)(t) != hu.quantize(t, own.format(f))).float().mean() for f in FORMATS]))


def part(runs: Sequence[hu.Run], share: int | None, turn: int) -> list[hu.Run]:
    """The runs of a turn: all of them, or the next ones, from the beginning again at the end."""
    if share is None:
        return list(runs)
    return [runs[(turn * share + k) % len(runs)] for k in range(share)]


def measure(libraries: Sequence[Library], turns: int) -> list[Measured]:
    """Time libraries in turn; a failure is a line of the table."""
    ready, failed = {}, {}
    for library in libraries:
        try:
            share = None if library.rounding is None else differs(*library.rounding)
            ready[library.name] = library.prepare(), share
        except Exception as error:  # whatever a peer raises is what the table is to say
            failed[library.name] = in_short(error)
    kept: dict[str, list[Turn]] = {library.name: [] for library in libraries}
    for turn in range(turns):
        for library in libraries:
            if library.name in failed:
                continue
            try:
                kept[library.name].append(Turn.of(ready[library.name][0], part(grid(), library.share, turn)))
            except Exception as error:  # as above
                failed[library.name] = in_short(error)
                continue
            typer.echo(f"turn {turn + 1}, {library.name}: {kept[library.name][-1].seconds:.1f} s")
    return [
        Measured(each.name, each.note, error=failed[each.name])
        if each.name in failed
        else _measured(each, kept[each.name], ready[each.name][1])
        for each in libraries
    ]


class Turn(NamedTuple):
    """What some runs took, and their mean accuracy."""

    runs: int
    seconds: float
    cpu_seconds: float
    accuracy: float

    @classmethod
    def of(cls, train: Callable[[Sequence[hu.Run]], float], runs: Sequence[hu.Run]) -> "Turn":
        """Train the runs."""
        began, cpu_began = time.perf_counter(), time.process_time()
        accuracy = train(runs)
        return cls(len(runs), time.perf_counter() - began, time.process_time() - cpu_began, accuracy)


def _measured(library: Library, turns: Sequence[Turn], share: float | None) -> Measured:
    seconds, cpu = (tuple(getattr(turn, name) for turn in turns) for name in ("seconds", "cpu_seconds"))
    accuracy = float(np.mean([turn.accuracy for turn in turns]))
    return Measured(library.name, library.note, turns[0].runs, seconds, cpu, accuracy, share)


def fewer(own: Measured, other: Measured, *, cpu: bool) -> Spread | None:
    """By how much halfulp takes less time for a run, turn by turn; by the clock or of the processor."""
    mine, theirs = ((each.cpu_seconds if cpu else each.seconds) for each in (own, other))
    if not mine or not theirs:
        return None
    return Spread.of([(b / other.runs) / (a / own.runs) for a, b in zip(mine, theirs)])


def rows(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The rows of the table."""

    def cells(each: Measured) -> tuple[str, ...]:
        by = [None if each.name == OWN else fewer(found[0], each, cpu=cpu) for cpu in (False, True)]
        clock, cpu = ("" if one is None else f"{one.median:.3g} x" for one in by)
        note = "; ".join(filter(None, (each.error, _differs(each.differs), each.note)))
        accuracy = "" if each.error else f"{100 * each.accuracy:.1f}%"
        runs = str(each.runs or "")
        return each.name, runs, _spread(each.per_minute), clock, _spread(each.cpu_per_run), cpu, accuracy, note

    return [cells(each) for each in found]


def _spread(found: Spread | None) -> str:
    return "" if found is None else f"{found.median:.3g} ({found.low:.3g}..{found.high:.3g})"


def _differs(share: float | None) -> str:
    return "" if share is None else "the same values" if share == 0 else f"differs in {100 * share:.2g}% of values"


def text(found: Sequence[Measured], threads: int) -> str:
    """The section of the record."""
    turns = max((len(each.seconds) for each in found), default=0)
    lines = ["| " + " | ".join(row) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows(found))]
    intro = (
        f"The digits' network of two hidden layers of 64, {TRAINING.steps} steps of {TRAINING.batch} images, "
        f"{len(FORMATS)} minifloats x {len(SEEDS)} seeds x {len(RATES)} learning rates, {len(grid())} runs. One run of "
        f"the benchmark: {turns} turns of every library one after the other, median and quartiles; loops train the "
        f"runs of a turn one by one, torch with {threads} thread{'s' * (threads > 1)}, and their time is scaled to a "
        "minute. CPU seconds are those of all threads, and depend less on what else the machine does. *Accuracy* is "
        "the mean of the runs timed."
    )
    stamp = f"{date.today().isoformat()}; " + ", ".join(f"{name} {number}" for name, number in versions().items())
    return "\n".join([stamp, "", intro, "", *lines])


def save(found: Sequence[Measured], path: Path) -> None:
    """Every turn as a row of a table of plain values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("library", "turn", "runs", "seconds", "cpu_seconds", "accuracy", "differs", "error", "note")
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(names)
        for each in found:
            about = (each.accuracy, each.differs, each.error, each.note)
            for turn, seconds in enumerate(zip(each.seconds, each.cpu_seconds) if each.seconds else [(None, None)]):
                table.writerow((each.name, turn, each.runs, *seconds, *about))


def main(
    turns: Annotated[int, typer.Option(min=1, help="How many times each library has its turn.")] = 5,
    write_record: Annotated[bool, typer.Option("--record", help="Write the table into benchmarks/RESULTS.md.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Of torch; on layers this small a second one only spins.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for training.csv.")] = Path("out/bench"),
) -> None:
    """Time a grid of trainings in halfulp, and runs of it in eager loops that emulate formats with other libraries."""
    logging.disable(logging.CRITICAL)  # torchao logs what it did not find
    import torch

    torch.set_num_threads(threads)
    found = measure(LIBRARIES, turns)
    typer.echo(text(found, threads))
    save(found, out / "training.csv")
    if write_record:
        RESULTS.write_text(recorded(RESULTS.read_text(), f"Grids of trainings: {machine_name()}", text(found, threads)))


if __name__ == "__main__":
    typer.run(main)
