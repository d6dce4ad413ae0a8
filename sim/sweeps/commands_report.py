"""`halfulp report`: one HTML file about the runs of a store."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report")(report)


def report(
    store: Annotated[Path, typer.Argument(help="A store that `halfulp sweep` wrote.")],
    out: Annotated[Path, typer.Option(help="The file; one that is there is replaced.")] = Path("out/report.html"),
    where: Annotated[
        list[str] | None, typer.Option("--where", help="A condition on the runs, as of `halfulp runs`; repeat for and.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page. [default: the store's name]")] = None,
    pictures: Annotated[bool, typer.Option(help="Whether to draw pictures.")] = True,
) -> None:
    """Write one HTML file about a sweep: a table to sort and filter, pictures, curves, and where the runs come from.

    The file needs a browser and nothing else: no network, no other file.

    Example: halfulp report out/sweep.sqlite --out out/report.html --where "diverged=false"
    """
    from .report import report as write

    written = write(store, out, where=where or [], title=title, pictures=pictures)
    typer.echo(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")
