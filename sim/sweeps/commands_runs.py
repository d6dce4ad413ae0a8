"""`halfulp runs`: list, filter, show, compare and export the runs of a store."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas

    from .records import Row


class Action(StrEnum):
    """What to do with the runs."""

    LIST = "list"
    SHOW = "show"
    COMPARE = "compare"
    EXPORT = "export"


_SHOWN = 40
"""Rows of a table on the screen."""
_COMPARED = ("mean", "estimate", "low", "high", "n", "wilcoxon_holm", "verdict", "note")
"""Columns of a comparison on the screen, after the one that is compared; --columns and --csv have more."""
_IN_MARKDOWN = ("mean", "estimate", "n", "wilcoxon_holm", "verdict")
"""The interval stands beside the estimate."""
_COMPARING, _PRINTING = "Of compare", "What is printed"


_Store = Annotated[Path, typer.Argument(help="A store that `halfulp sweep` wrote.")]
_Action = Annotated[Action, typer.Argument(help="What to do with the runs.")]
_Target = Annotated[
    str | None, typer.Argument(help="Of show: a run's key, or how it begins. Of export: a .csv or .parquet file.")
]
_Where = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="A condition, COLUMN OPERATOR VALUE; repeat for and.")
]
_Columns = Annotated[str | None, typer.Option(help="Columns in their order, with commas between.")]
_Sort = Annotated[str | None, typer.Option(help="Column to sort by; -COLUMN from the largest down.")]
_Limit = Annotated[
    int | None, typer.Option(min=0, help="Rows at most, 0 for all. [default: 40 on the screen, else all]")
]
_Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values.", rich_help_panel=_PRINTING)]
_Markdown = Annotated[bool, typer.Option("--markdown", help="A table for Markdown.", rich_help_panel=_PRINTING)]
_By = Annotated[
    str | None, typer.Option(help="Column whose values are compared. [default: format]", rich_help_panel=_COMPARING)
]
_Metric = Annotated[
    str | None, typer.Option(help="Column they are compared in, such as test_loss.", rich_help_panel=_COMPARING)
]
_Baseline = Annotated[
    str | None, typer.Option(help="Value to compare with. [default: binary32]", rich_help_panel=_COMPARING)
]
_Pairs = Annotated[
    str | None,
    typer.Option(help="Columns that a pair of runs shares. [default: seed,learning_rate]", rich_help_panel=_COMPARING),
]
_Diverged = Annotated[
    str | None,
    typer.Option(help="Runs that diverged: drop, worst or error. [default: error]", rich_help_panel=_COMPARING),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="runs")(runs)


def runs(
    store: _Store,
    action: _Action = Action.LIST,
    target: _Target = None,
    where: _Where = None,
    columns: _Columns = None,
    sort: _Sort = None,
    limit: _Limit = None,
    csv: _Csv = False,
    markdown: _Markdown = False,
    by: _By = None,
    metric: _Metric = None,
    baseline: _Baseline = None,
    pairs: _Pairs = None,
    diverged: _Diverged = None,
) -> None:
    """List the runs of a store, show or compare some, or export them.

    Conditions: = and != for values, < <= > >= for numbers, ~ and !~ for patterns with * ? [45]; `error!=` keeps
    runs that have an error. Quote them: < and > mean something to a shell.

    Examples:

    halfulp runs out/sweep.sqlite --where "format~e[45]m*" --where "test_loss<0.5" --sort test_loss

    halfulp runs out/sweep.sqlite show 3f9a

    halfulp runs out/sweep.sqlite compare --by format --metric test_loss

    halfulp runs out/sweep.sqlite export runs.parquet --where "status=finished"
    """
    from .reading import read_runs

    comparing = {"by": by, "metric": metric, "baseline": baseline, "pairs": pairs, "diverged": diverged}
    _check(action, target, csv and markdown, comparing)
    if action is Action.SHOW:
        _show(store, str(target))
        return
    table = read_runs(store, where or [])
    if action is Action.EXPORT:
        _export(_chosen(table, columns, sort, limit), str(target))
        return
    few = action is Action.COMPARE and columns is None
    if action is Action.COMPARE:
        table = _compared(table, by or "format", str(metric), baseline, pairs, diverged or "error")
    if csv or markdown:
        shown = _chosen(table, columns, sort, limit)
        names = [by or "format", *_IN_MARKDOWN] if few else list(shown.columns)
        typer.echo(shown.to_csv(index=False) if csv else _markdown(shown, names), nl=False)
        return
    most = _SHOWN if limit is None and action is Action.LIST else limit
    shown = _chosen(table, ",".join([by or "format", *_COMPARED]) if few else columns, sort, most)
    comparing_some = action is Action.COMPARE
    _print(shown, table, columns is not None or comparing_some, "row" if comparing_some else "run")


def _check(action: Action, target: str | None, both: bool, comparing: dict[str, str | None]) -> None:
    if both:
        raise ValueError("expected --csv or --markdown, got both; leave one out")
    wanted = {Action.SHOW: "the key of a run, or how it begins", Action.EXPORT: "a file, such as runs.csv"}.get(action)
    if wanted and not target:
        raise ValueError(
            f"{action} needs {wanted}: halfulp runs STORE {action} {'KEY' if action == 'show' else 'runs.csv'}"
        )
    if target and not wanted:
        raise ValueError(f"{action} takes nothing more, got {target!r}; to filter, write --where {target!r}")
    given = [f"--{name}" for name, value in comparing.items() if value is not None]
    if given and action is not Action.COMPARE:
        raise ValueError(f"{given[0]} is of compare, not of {action}: halfulp runs STORE compare {given[0]} ...")
    if action is Action.COMPARE and comparing["metric"] is None:
        raise ValueError("compare needs a metric: halfulp runs STORE compare --metric test_loss")


def _chosen(table: "pandas.DataFrame", columns: str | None, sort: str | None, limit: int | None) -> Any:
    """Rows and columns that were asked for; empty cells sort last."""
    from .filters import require_columns, sort_runs

    found: Any = table
    if sort:
        found = sort_runs(found, sort.removeprefix("-"), descending=sort.startswith("-"))
    if columns is not None:
        found = found[require_columns(found, _names(columns))]
    return found.head(limit) if limit else found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _compared(runs: Any, by: str, metric: str, baseline: str | None, pairs: str | None, diverged: str) -> Any:
    from .filters import as_text, require_columns
    from .pairs import compare
    from .reading import failed_of

    require_columns(runs, [by, metric])
    finished = runs[~failed_of(runs)].reset_index(drop=True)
    levels = {as_text(level): level for level in finished[by].tolist()}
    wanted = "binary32" if baseline is None else baseline
    if wanted not in levels:
        listed = ", ".join(list(levels)[:20]) or "none"
        raise ValueError(f"no finished run has {by} {wanted!r}; pass --baseline with one of: {listed}")
    present = [name for name in ("seed", "learning_rate") if name in finished and name != by]
    return compare(finished, metric, by, levels[wanted], _names(pairs) if pairs else present, diverged=diverged)


def _print(shown: Any, table: Any, every: bool, what: str) -> None:
    """A table as wide as the screen; what is the same in all rows, and what does not fit, stands below."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .screen import plan_table, printable, width_of
    from .values import counted

    console = Console()
    plan = plan_table(shown, table, None if every else console.width)
    if every:
        console = Console(width=max(console.width, sum(width_of(*column) for column in plan.columns.items())))
    printed = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, cells in plan.columns.items():
        printed.add_column(escape(printable(name)), justify="right" if cells.numbers else "left", no_wrap=True)
    for texts in zip(*(cells.texts for cells in plan.columns.values())):
        printed.add_row(*map(escape, texts))
    if len(shown):
        console.print(printed)
    rows = ("" if len(shown) == len(table) else f"{len(shown):,} of ") + counted(len(table), what)
    more = "" if len(shown) == len(table) else "; --limit 0 prints all"
    for line in (rows + more, *plan.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _export(runs: Any, path: str) -> None:
    from .export import export_runs
    from .values import counted

    typer.echo(f"wrote {counted(len(runs), 'run')} to {export_runs(runs, path)}")


def _markdown(shown: Any, columns: list[str]) -> str:
    """For Markdown, numbers to five digits; characters that no reader should act on are escaped."""
    from .screen import printable
    from .tables import table_markdown

    text = table_markdown(shown, columns, digits=5)
    return "\n".join(map(printable, text.rstrip("\n").split("\n"))) + "\n"


def _show(store: Path, key: str) -> None:
    from .reading import read_run
    from .screen import facts_of, printable

    row: Row = read_run(store, key)
    for title, facts in facts_of(row).items():
        typer.echo(f"\n{title}" if title else "", nl=bool(title))
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            first, *more = value.split("\n")
            typer.echo(f"  {printable(name):{width}}  {printable(first)}")
            for line in more:
                typer.echo(f"  {'':{width}}  {printable(line)}")
