"""Seconds of training a language model in JAX whose products are quantized, against float32.

The model is that of `hu.task("text")`, a step takes 16 sequences of 128 tokens, and what is timed is a `Trainer`: its
first training, which compiles, then more of them, recipes in turn. Seconds of the processor are counted besides, which
other programs on a shared machine disturb less.

    python -m benchmarks.language                                 some ten minutes on two cores
    python -m benchmarks.language --size 100k --recipe mxfp8      one of them
"""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import halfulp as hu
import typer
from rich.console import Console
from rich.table import Table

from .machine import machine_name, versions

FLOAT32 = "identity"
"""The recipe that others are compared with: nothing is quantized."""
RECIPES = ("mxfp8", "mxfp4", "nvfp4", "int8", "quartet")
_BATCH, _VALID, _MILLION = 16, 2, 1e6


class Seconds(NamedTuple):
    """On the clock, and of the processor, all threads together."""

    clock: float
    processor: float


class Row(NamedTuple):
    """What a recipe takes.

    Fields:
        recipe: its name. compile_s, compile_cpu_s: until the first step. step_s, step_cpu_s: of a step.
        ratio, cpu_ratio: a step's, to float32. minutes: of a million tokens, on the clock and compiled before.
    """

    recipe: str
    compile_s: float
    compile_cpu_s: float
    step_s: float
    step_cpu_s: float
    ratio: float
    cpu_ratio: float
    minutes: float


@dataclass(slots=True)
class Timed:
    """A recipe, what trains some steps in it, and what each turn took; the first one compiled."""

    recipe: str
    train: Callable[[], Any]
    turns: list[Seconds] = field(default_factory=list)

    def turn(self) -> None:
        """Train once more."""
        clock, processor = time.perf_counter(), time.process_time()
        self.train()
        self.turns.append(Seconds(time.perf_counter() - clock, time.process_time() - processor))

    @property
    def fastest(self) -> Seconds:
        """The later turns that were disturbed least, by either measure."""
        return Seconds(*map(min, zip(*self.turns[1:])))


def timed(task: Any, recipe: str, steps: int) -> Timed:
    """A training of a task in a recipe, none of it compiled yet."""
    from halfulp.sim.training.jax_grid import Trainer

    few = replace(task, valid={name: array[:_VALID] for name, array in task.valid.items()})
    how = hu.Training(steps=steps, batch=_BATCH, optimizer="adamw", beta2=0.95, clip=1.0, width=1)
    trainer, run = Trainer(few, how), hu.Run(recipe, learning_rate=3e-3)
    return Timed(recipe, lambda: trainer.train([run]))


def rows_of(found: list[Timed], steps: int, tokens: int) -> list[Row]:
    """The table, in which the first training is that in float32.

    Args:
        tokens: of a step.
    """
    base, rows = found[0].fastest, []
    for each in found:
        first, best = each.turns[0], each.fastest
        rows.append(
            Row(
                "float32" if each.recipe == FLOAT32 else each.recipe,
                first.clock - best.clock,
                first.processor - best.processor,
                best.clock / steps,
                best.processor / steps,
                best.clock / base.clock,
                best.processor / base.processor,
                best.clock / steps * _MILLION / tokens / 60,
            )
        )
    return rows


def table_of(rows: list[Row], title: str) -> Table:
    """Rows for a terminal."""
    table = Table(title=title)
    for name in ("recipe", "compile, s", "of CPU", "step, s", "of CPU", "x float32", "of CPU", "min / 1M tokens"):
        table.add_column(name, justify="left" if name == "recipe" else "right")
    for row in rows:
        table.add_row(row.recipe, *(f"{number:.3g}" for number in row[1:]))
    return table


def save(rows: list[Row], path: Path) -> None:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def main(
    size: Annotated[str, typer.Option(help="Of the model; 1m has about a million parameters.")] = "1m",
    recipe: Annotated[list[str] | None, typer.Option(help="Beside float32; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(help="Of a turn.", min=1)] = 5,
    turns: Annotated[int, typer.Option(help="Of each recipe, the fastest of which counts.", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("out/bench/language.csv"),
) -> None:
    """Time a language model in float32 and in recipes."""
    task = hu.task("text", size=size)
    console, found = Console(), [timed(task, name, steps) for name in (FLOAT32, *(recipe or RECIPES))]
    for each in found:
        each.turn()
        console.print(f"{each.recipe}: compiled and trained in {each.turns[0].clock:.1f} s")
    for _ in range(turns):
        for each in found:
            each.turn()
    rows = rows_of(found, steps, _BATCH * (task.train["tokens"].shape[1] - 1))
    console.print(table_of(rows, f"{task.parameters} parameters, {machine_name()}, {versions()['jax']}"))
    save(rows, out)


if __name__ == "__main__":
    typer.run(main)
