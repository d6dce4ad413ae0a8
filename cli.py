"""The `halfulp` command."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .sim.pictures import commands_plot
from .sim.sweeps import commands_report, commands_runs, commands_sweep
from .studies import commands as studies_commands

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Numeric formats: look at them, sweep them, plot what they do."
)


def main() -> None:
    """Run the command; errors of the library are one line, not a traceback."""
    from .sim.sweeps.executors import SweepError
    from .sim.sweeps.store import StoreError
    from .studies.records import RecordError

    try:
        app()
    except (ValueError, TypeError, StoreError, SweepError, RecordError, ModuleNotFoundError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt as stop:
        _fail(str(stop) or "stopped; finished runs are in the store, run the same command again to go on")


def _fail(message: str) -> NoReturn:
    typer.echo(f"halfulp: {message}", err=True)
    raise SystemExit(1)


@app.command()
def formats(
    scaled: Annotated[
        bool, typer.Option("--scaled", help="Formats whose elements share scales, and complex ones.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, every column.")] = False,
) -> None:
    """List the named formats and their facts.

    Any minifloat (e3m2, ue4m3, e5m2ieee, binary6p3uf), integer (int5, uint8, int8@-4), power-of-two table
    (pow2_5, apot_6), posit, takum or logarithm (posit10, takum_log12, lns8f4) can be used by name as well, and
    so can any of them with a scale per tensor, row, column or channel (e3m2_per_row, int4_per_tensor_asym).
    """
    from rich.console import Console

    from .formats.catalogue import list_formats, list_scaled_formats

    table: Any = list_scaled_formats() if scaled else list_formats()
    if csv:
        typer.echo(table.to_csv(), nl=False)
        return
    Console().print(_scaled_table(table) if scaled else _unscaled_table(table))


def _empty_table(title: str, caption: str, columns: list[str], left: set[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        shown.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return shown


def _unscaled_table(table: Any) -> Any:
    columns = ["name", "bits", "max", "min\nnormal", "min\nsubnormal", "range\n(dB)", "specials"]
    caption = "halfulp show NAME draws one; --scaled lists those with scales; --csv prints every column"
    shown = _empty_table("named formats", caption, columns, {"name", "specials"})
    for name, row in table.iterrows():
        numbers = (row["max"], row["min_normal"], row["min_subnormal"])
        texts = ["" if value != value or value is None else f"{value:.4g}" for value in numbers]
        decibels = row["dynamic_range_db"]
        range_text = "" if decibels != decibels else f"{decibels:.0f}"
        shown.add_row(str(name), str(row["bits"]), *texts, range_text, row["specials"])
    return shown


def _scaled_table(table: Any) -> Any:
    columns = ["name", "bits", "element", "scale", "block", "rule"]
    caption = "bits: of an element with its share of the scales; --csv prints every column"
    shown = _empty_table("named scaled formats", caption, columns, set(columns) - {"bits"})
    for name, row in table.iterrows():
        texts = (row["element"], row["scale"], row["block"], _short_rule(row["rule"]))
        shown.add_row(str(name), f"{row['bits_per_element']:.3g}", *texts)
    return shown


def _short_rule(rule: str) -> str:
    """A rule in one word: what is not the default."""
    words = [word.partition(":")[0] for word in rule.replace(", zero point", "+min-max").split("+")]
    return words[-1] if words[-1] != "nearest" else words[0]


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A format: fp8_e4m3, e3m2, int4, posit8, nf4, mxfp4, bcq2, ...")],
    png: Annotated[Path | None, typer.Option(help="Also draw the number line into this PNG file.")] = None,
) -> None:
    """Show one format: its facts and its number line; of a scaled format that of its elements.

    Example: halfulp show fp4_e2m1 --png out/fp4.png
    """
    from .formats.catalogue import format as named_format
    from .formats.complexes import ComplexFormat
    from .formats.residual import ResidualFormat
    from .formats.show import fact_lines, number_line, text_line

    fmt = named_format(name)
    numbers = getattr(fmt, "element", fmt)
    lineless = isinstance(numbers, ComplexFormat | ResidualFormat)
    if lineless and png is not None:
        what = "complex values" if isinstance(numbers, ComplexFormat) else "sums of several formats"
        raise ValueError(f"{fmt.name} has {what}, which no number line shows; leave --png out")
    typer.echo(f"{fmt.name}\n")
    for fact, value in fact_lines(fmt):
        typer.echo(f"  {fact:16} {value}")
    if lineless:
        return
    if numbers.bits <= 12:
        typer.echo("\n" + text_line(numbers))
    if png is not None:
        from .sim.sweeps.plots import save

        typer.echo(f"\nwrote {save(number_line(numbers), png)}")


for commands in (commands_sweep, commands_runs, commands_plot, commands_report, studies_commands):
    commands.register(app)
