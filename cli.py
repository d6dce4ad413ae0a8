"""The `halfulp` command."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .studies import commands as studies_commands

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Numeric formats: look at them, sweep them, plot what they do."
)


studies_commands.register(app)


def main() -> None:
    """Run the command; errors of the library are one line, not a traceback."""
    from .sim.sweeps.store import StoreError

    try:
        app()
    except (ValueError, TypeError, StoreError, ModuleNotFoundError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; finished runs are in the store, run the same command again to go on")


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


@app.command()
def sweep(
    task: Annotated[str, typer.Argument(help="What to train: digits.")] = "digits",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="A format or a range, e.g. 'e[1-5]m[0-4]'; repeat for more."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    rates: Annotated[
        list[float] | None, typer.Option("--lr", help="A peak learning rate; repeat for more. [default: 0.1]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps of a run.")] = 300,
    store: Annotated[
        Path, typer.Option(help="SQLite file that keeps finished runs; an interrupted sweep goes on from it.")
    ] = Path("out/sweep.sqlite"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a small network in every format, with every seed and learning rate.

    Weights, activations and gradients are rounded to the format, each tensor scaled so that its largest
    magnitude meets the format's largest value. 'binary32' is the unquantized reference.

    Example: halfulp sweep digits -f 'e[1-5]m[0-4]' -f 'int[2-8]' -f binary32 --seeds 3
    """  # fmt: skip
    from .sim.sweeps.sweep import sweep as run_sweep
    from .sim.training.training import Training

    runs = run_sweep(
        task,
        formats=formats or ["e[1-5]m[0-4]", "int[2-8]", "ternary", "binary32"],
        seeds=seeds,
        learning_rates=rates or [0.1],
        training=Training(steps=steps),
        store=store,
        progress=not quiet,
    )
    _print_summary(runs)
    typer.echo(f"{len(runs)} runs in {store}; halfulp plot {store} draws them")


def _print_summary(runs) -> None:
    from rich.console import Console
    from rich.table import Table

    from .sim.sweeps.plots import summarize

    table = Table(title="test accuracy at the best learning rate, mean and standard deviation over seeds")
    for column in ("format", "bits", "accuracy (%)", "learning rate", "diverged"):
        table.add_column(column, justify="left" if column == "format" else "right")
    summary: Any = summarize(runs).sort_values(["bits", "accuracy"])
    for row in summary.itertuples():
        accuracy = f"{100 * row.accuracy:.1f} ± {100 * row.spread:.1f}"
        table.add_row(row.format, str(row.bits), accuracy, f"{row.learning_rate:g}", f"{row.diverged} of {row.seeds}")
    Console().print(table)


@app.command()
def plot(
    store: Annotated[Path, typer.Argument(help="A store that `halfulp sweep` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder the pictures go to.")] = Path("out"),
) -> None:
    """Draw a sweep: heat map over exponent and mantissa bits, and accuracy over bits.

    Example: halfulp plot out/sweep.sqlite --out out/pictures
    """
    from .sim.sweeps.plots import accuracy_by_bits, heat_map, save
    from .sim.sweeps.store import Store
    from .sim.sweeps.sweep import frame

    if not store.exists():
        raise ValueError(f"no store at {store}; halfulp sweep makes one")
    with Store(store) as results:
        runs = frame(results)
    if runs.empty:
        raise ValueError(f"{store} has no finished runs; halfulp sweep adds some")
    for name, figure in (("heat_map.png", heat_map(runs)), ("accuracy_by_bits.png", accuracy_by_bits(runs))):
        typer.echo(f"wrote {save(figure, out / name)}")
