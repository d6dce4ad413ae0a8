"""The command line of the benchmark."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from .computations import COMPUTATIONS
from .outcomes import Computation
from .report import record, save, summary, tables
from .run import QUICK, Settings, run
from .tasks import NUMPY, Task, available, matching
from .wrapping import Way, ways

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


def parsed_size(text: str) -> int:
    """2^20 or 1048576.

    Raises:
        ValueError: anything else, or no power of two of at least 64.
    """
    base, _, exponent = text.strip().partition("^")
    try:
        size = int(base) ** int(exponent or 1)
    except ValueError:
        raise ValueError(f"expected a size such as 2^20 or 1048576, got {text!r}") from None
    if size < 64 or size & (size - 1):
        raise ValueError(f"expected a power of two, at least 64, got {text!r}; try 2^20")
    return size


@app.command()
def main(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="About a minute: halfulp at 2^24, peers and JAX at 2^18, no memory or first calls."
        ),
    ] = False,
    rows: Annotated[
        str, typer.Option(help="Only tasks whose name has this part, or matches this pattern: 'mxfp4', 'E4M3*'.")
    ] = "",
    sizes: Annotated[
        str, typer.Option(help="Sizes in place of the rows' own, e.g. '2^10,2^20'; slow peers stop at their largest.")
    ] = "",
    peers: Annotated[bool, typer.Option(help="Time other libraries as well.")] = True,
    write_record: Annotated[
        bool, typer.Option("--record", help="Write the run into benchmarks/RESULTS.md, over this machine's last one.")
    ] = False,
    profile: Annotated[
        str, typer.Option(metavar="ROW", help="Instead say what bounds these tasks: arithmetic or memory.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for results.csv, results.json and roofline.png.")] = Path(
        "out/bench"
    ),
) -> None:
    """Time quantization in halfulp and in other libraries, in units of a copy of the same array.

    A row is one library doing one task. Each repetition times the copy and then the row, so that the drift of a
    shared machine cancels; the ratio is the median over repetitions. A peer that is not installed or fails is a
    row that says so, and so is one whose values differ from exact rounding.

        make bench                                    everything, some ten minutes
        python -m benchmarks --quick                  before and after a change
        python -m benchmarks --rows mxfp4 --no-peers  one family
        python -m benchmarks --rows gemm              matrix products with every operation rounded
        python -m benchmarks --rows training          steps of wrapped models
        python -m benchmarks --profile 'E4M3, up'     is it arithmetic or memory?
        python -m benchmarks --record                 keep the run in benchmarks/RESULTS.md

    The tasks are listed in benchmarks/tasks.py, the peers in benchmarks/peers.py.
    """
    logging.disable(logging.CRITICAL)  # torch.compile logs what the table says in one line
    try:
        tasks, computations = chosen(profile or rows)
        wanted = tuple(parsed_size(text) for text in sizes.split(",")) if sizes else ()
        if write_record and (quick or rows or sizes or not peers):
            raise ValueError("a record is of the whole benchmark; leave out --quick, --rows, --sizes and --no-peers")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if profile:
        _profile(tasks)
    else:
        settings = Settings(wanted, QUICK.budget, True) if quick else Settings(wanted)
        computations = computations if peers else []
        trainings = ways(quick) if peers and (not rows or rows == "training") else []
        _benchmark(tasks, computations, trainings, peers, settings, write_record, out)


def _profile(tasks: list[Task]) -> None:
    from .profile import bound_of
    from .rows import own_rows

    for row in own_rows(tasks):
        if row.library == NUMPY:
            typer.echo(bound_of(row).text)


def chosen(pattern: str) -> tuple[list[Task], list[Computation]]:
    """The tasks and computations whose names match; all of them for an empty pattern.

    Raises:
        ValueError: nothing matches.
    """
    if pattern == "training":
        return [], []
    if not pattern:
        return available(), list(COMPUTATIONS)
    computations = [c for c in COMPUTATIONS if pattern.lower() in c.name.lower()]
    return ([] if computations else matching(pattern)), computations


def _benchmark(
    tasks: list[Task],
    computations: list[Computation],
    trainings: list[Way],
    peers: bool,
    settings: Settings,
    write_record: bool,
    out: Path,
) -> None:
    from rich.console import Console

    from .roofline import draw
    from .rows import every_row

    report = run(every_row(tasks, peers) if tasks else [], settings, computations, trainings)
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(f"[bold]{report.machine}[/]; " + ", ".join(f"{k} {v}" for k, v in report.versions.items()))
    for table in tables(report):
        console.print(table)
    console.print(f"[bold]{summary(report)}[/]")
    paths = [*save(report, out), draw(report, out / "roofline.png")]
    if write_record:
        record(report)
        paths.append(Path("benchmarks/RESULTS.md"))
    typer.echo("wrote " + ", ".join(map(str, paths)))


if __name__ == "__main__":
    app()
