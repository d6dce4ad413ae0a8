"""The commands `halfulp study` and `halfulp scorecard`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .study import QUICK, SCALES

_COLOURS = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
_OUT = Path("out/studies")
_Scale = Annotated[str, typer.Option(help=f"How much to run: {', '.join(SCALES)}.")]
_Out = Annotated[Path, typer.Option(help="Folder of runs, tables and pictures.")]
_Data = Annotated[Path | None, typer.Option(help="Folder of optional data; a study that wants it says what.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(study)
    app.command()(scorecard)


def study(
    name: Annotated[str, typer.Argument(help="A study; without it they are listed.")] = "",
    scale: _Scale = QUICK,
    out: _Out = _OUT,
    data: _Data = None,
) -> None:
    """Run one study: check published claims, write tables and pictures.

    \b
    halfulp study                       list them
    halfulp study fp_scaling_law        run one; results go to out/studies/fp_scaling_law/quick
    halfulp study quartet --scale full  more starts, resamples and seeds
    """
    from rich.console import Console

    from .catalogue import list_studies
    from .catalogue import study as study_by_name
    from .running import folder_of, run_study
    from .study import rows

    console = Console()
    if not name:
        for each in list_studies():
            console.print(f"[bold]{each}[/]: {study_by_name(each).question}", highlight=False)
        return
    found = study_by_name(name)
    console.print(f"[bold]{found.title}.[/] {found.question}", highlight=False)
    if found.scale(scale) != scale:
        console.print(f"it has no scale {scale!r}, and runs at {found.scale(scale)!r}", highlight=False)
    with _progress(console) as progress:
        bar = progress.add_task(found.name, total=None)

        def report(done: int, total: int, what: str) -> None:
            progress.update(bar, completed=done, total=total, description=what)

        findings = run_study(name, scale, out, data, report)
    console.print(_claims_table(rows(found, findings.measured)))
    console.print(f"tables and pictures: {folder_of(found, found.scale(scale), out)}", highlight=False, soft_wrap=True)


def scorecard(
    names: Annotated[list[str] | None, typer.Argument(help="Studies; all where none are named.")] = None,
    scale: _Scale = QUICK,
    out: _Out = _OUT,
    data: _Data = None,
    workers: Annotated[int, typer.Option(min=1, help="Studies that run at a time.")] = 2,
    again: Annotated[bool, typer.Option("--again", help="Run those that are stored or shipped, too.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the claims as CSV.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page with the claims and the pictures.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the claims as a Markdown page.")] = None,
) -> None:
    """Run every study and print each claim: published, measured, verdict.

    Studies whose run is stored under --out are not repeated, nor those that train for long and come with their
    results: --again runs all of them. The exit code is 1 where a study failed; a claim that
    is not reproduced is a result, not a failure.
    """
    from rich.console import Console

    from .records import Record
    from .scorecard import scorecard as gather

    console = Console()
    with _progress(console) as progress:
        bar = progress.add_task("studies", total=len(names) if names else _count())

        def report(name: str, result: Record | Exception) -> None:
            ended = f"{result.scale}, {result.finished}" if isinstance(result, Record) else "[red]failed[/]"
            progress.console.print(f"{name}: {ended}", highlight=False)
            progress.advance(bar)

        card = gather(names, scale=scale, out=out, workers=workers, again=again, data=data, report=report)
    frame = card.frame()
    console.print(_claims_table(frame.to_dict("records")))
    console.print(_counts_table(card.counts()))
    console.print(f"{len(frame)} claims from {len(card.papers())} papers", highlight=False)
    _write(card, out, csv, html, markdown)
    for name, error in card.failures.items():
        typer.echo(f"halfulp: study {name} failed: {type(error).__name__}: {error}", err=True)
    if card.failures:
        raise typer.Exit(1)


def _count() -> int:
    from .catalogue import list_studies

    return len(list_studies())


def _write(card: Any, out: Path, csv: Path | None, html: Path | None, markdown: Path | None) -> None:
    from .pages import html_page, markdown_page

    for path, make in (
        (csv, lambda: card.frame().to_csv(index=False)),
        (html, lambda: html_page(card, out)),
        (markdown, lambda: markdown_page(card)),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(make(), encoding="utf-8")
            typer.echo(f"wrote {path}")


def _progress(console: Any) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _claims_table(rows: list[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("claim", "published", "measured", "interval", "kind", "verdict"):
        table.add_column(name, overflow="fold")
    study = None
    for row in rows:
        if row["study"] != study:
            study = row["study"]
            table.add_row(f"[bold]{study}[/]", end_section=False)
        shown = [escape(_short(row[name])) for name in ("claim", "published", "measured", "interval", "kind")]
        table.add_row(*shown, f"[{_COLOURS[row['verdict']]}]{row['verdict']}[/]")
    return table


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _counts_table(counts: Any) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="claims by kind and verdict")
    for name in ("kind", *counts.columns):
        table.add_column(str(name), justify="left" if name == "kind" else "right")
    for kind, row in counts.iterrows():
        table.add_row(str(kind), *(str(n) for n in row))
    return table
