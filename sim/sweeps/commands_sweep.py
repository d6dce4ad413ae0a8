"""`halfulp sweep`: a task in a grid of formats, or what a sweep file says."""

from pathlib import Path
from typing import Annotated, Any

import typer

_FORMATS = ["e[1-5]m[0-4]", "int[2-8]", "ternary", "binary32"]
_STORE = Path("out/sweep.sqlite")


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(sweep)


def sweep(
    task: Annotated[str, typer.Argument(help="A sweep file (.toml), or the name of a task to train.")] = "digits",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="A format or a range, e.g. 'e[1-5]m[0-4]'; repeat for more."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds (default: 3).")] = None,
    rates: Annotated[
        list[float] | None, typer.Option("--lr", help="A peak learning rate; repeat for more (default: 0.1).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of a run (default: 300).")] = None,
    store: Annotated[
        Path | None,
        typer.Option(help=f"SQLite file that keeps finished runs, from which a sweep goes on (default: {_STORE})."),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where runs run: 'processes' or 'dask://HOST:PORT' (default: this process).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="How many processes (default: one a core).")] = None,
    retries: Annotated[int | None, typer.Option(help="How often a run that failed is tried again.")] = None,
    rerun_failed: Annotated[
        bool, typer.Option("--rerun-failed", help="Run again what failed in an earlier sweep.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a small network in every format, with every seed and learning rate; or run a sweep file.

    Weights, activations and gradients are rounded to the format, each tensor scaled so that its largest
    magnitude meets the format's largest value. 'binary32' is the unquantized reference.

    Runs are stored as they end. After Ctrl-C or a crash the same command goes on where it stopped.

    Example: halfulp sweep digits -f 'e[1-5]m[0-4]' -f 'int[2-8]' -f binary32 --seeds 3

    Example: halfulp sweep experiment.toml --workers 4 --retries 1

    Example: halfulp sweep experiment.toml --executor dask://cluster:8786
    """  # fmt: skip
    from .sweep import sweep as run_sweep
    from .values import counted

    how: dict[str, Any] = {"executor": executor, "workers": workers, "retries": retries}
    how |= {"rerun_failed": rerun_failed or None, "store": store}
    grid: dict[str, Any] = {"--format": formats, "--seeds": seeds, "--lr": rates, "--steps": steps}
    of_file = task.endswith(".toml")
    subject, options = _of_file(task, grid) if of_file else _of_task(task, grid)
    options |= {name: value for name, value in how.items() if value is not None}
    options["store"] = options.get("store") or _STORE
    runs = run_sweep(subject, progress=not quiet, **options)
    _print_summary(runs)
    typer.echo(f"{counted(len(runs), 'run')} in {options['store']}; halfulp plot {options['store']} draws them")


def _of_task(task: str, grid: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from ..training.training import Training

    training = Training() if grid["--steps"] is None else Training(steps=grid["--steps"])
    usual: dict[str, Any] = {"formats": grid["--format"] or _FORMATS, "learning_rates": grid["--lr"] or None}
    return task, {**usual, "seeds": 3 if grid["--seeds"] is None else grid["--seeds"], "training": training}


def _of_file(path: str, grid: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from .sweep_file import read_sweep_file

    for name, value in grid.items():
        if value is not None and value != []:
            raise ValueError(f"{path} says what to run; put what {name} is to be into it")
    found = read_sweep_file(path)
    options: dict[str, Any] = {"space": found.space, "name": found.name, "retries": found.retries}
    options |= {"rerun_failed": found.rerun_failed, "store": found.store}
    options |= {"executor": found.executor, "workers": found.workers}
    if found.function is None:
        options |= {"training": found.training, "task_options": dict(found.task_options)}
    return found.task_or_function, options


def _print_summary(runs: Any) -> None:
    """Accuracy by format where the runs have that, otherwise how runs ended."""
    from .task_runs import COLUMNS
    from .values import counted

    if not set(COLUMNS) <= set(runs.columns):
        counts = runs["status"].value_counts()
        typer.echo(", ".join(f"{counted(count, 'run')} {status}" for status, count in counts.items()))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .plots import settings_apart, summarize
    from .screen import printable

    table = Table(title="test accuracy at the best learning rate, mean and standard deviation over seeds")
    finished = runs[runs["status"] == "finished"]
    words = ("format", *settings_apart(finished))
    for column in (*words, "bits", "accuracy (%)", "learning rate", "diverged"):
        table.add_column(column, justify="left" if column in words else "right")
    summary: Any = summarize(finished).sort_values(["bits", "accuracy"])
    for row in summary.to_dict("records"):
        accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['spread']:.1f}"
        texts = (escape(printable(row[name])) for name in words)
        diverged = f"{row['diverged']} of {row['seeds']}"
        table.add_row(*texts, f"{row['bits']:g}", accuracy, f"{row['learning_rate']:g}", diverged)
    Console().print(table)
