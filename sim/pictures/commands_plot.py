"""`halfulp plot`: pictures of a store."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture(StrEnum):
    """What can be drawn of any store."""

    HEAT_MAP = "heat_map"
    ACCURACY_BY_BITS = "accuracy_by_bits"
    PARETO = "pareto"
    DIVERGENCE = "divergence"


class Suffix(StrEnum):
    """Kinds of files."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


class Width(StrEnum):
    """Of a paper."""

    COLUMN = "column"
    PAGE = "page"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="plot")(plot)


def plot(
    store: Annotated[Path, typer.Argument(help="A store that `halfulp sweep` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder the pictures go to.")] = Path("out"),
    where: Annotated[
        list[str] | None, typer.Option("--where", help="A condition on the runs, as of `halfulp runs`; repeat for and.")
    ] = None,
    picture: Annotated[
        list[Picture] | None,
        typer.Option("--picture", "-p", help="Which; repeat for more. [default: heat_map and accuracy_by_bits]"),
    ] = None,
    metric: Annotated[str, typer.Option(help="Column that heat_map and pareto show.")] = "test_accuracy",
    cost: Annotated[str, typer.Option(help="Column across in pareto.")] = "bits",
    log: Annotated[bool, typer.Option("--log", help="Logarithmic metrics; of accuracies the error is.")] = False,
    width: Annotated[Width | None, typer.Option(help="3.3 or 6.9 inches. [default: what suits each]")] = None,
    suffix: Annotated[Suffix, typer.Option("--type", help="Kind of the files.")] = Suffix.PNG,
    dpi: Annotated[int, typer.Option(min=50, max=1200, help="Dots an inch of PNG files.")] = 200,
) -> None:
    """Draw a sweep: heat maps, metrics against costs, divergence; runs that failed are left out.

    Example: halfulp plot out/sweep.sqlite --out out/pictures -p pareto --metric test_loss --type pdf
    """
    from ..sweeps.plots import settings_apart
    from ..sweeps.reading import failed_of, read_runs
    from .saving import save_figure

    runs: Any = read_runs(store, where or [])
    runs = runs[~failed_of(runs)].reset_index(drop=True)
    if runs.empty:
        such = f" with {' and '.join(where)}" if where else ""
        raise ValueError(f"{store} has no finished runs{such}; halfulp runs {store} lists what it has")
    apart = settings_apart(runs)
    if apart:
        typer.echo(
            f"runs of one format differ in {', '.join(apart)} and are drawn as one; --where '{apart[0]}=...' chooses",
            err=True,
        )
    for each in picture or [Picture.HEAT_MAP, Picture.ACCURACY_BY_BITS]:
        figure = _drawing(each, metric, cost, log, width)(runs)
        typer.echo(f"wrote {save_figure(figure, out / f'{each}.{suffix}', dpi=dpi)}")


def _drawing(picture: Picture, metric: str, cost: str, log: bool, width: Width | None) -> "Callable[[Any], Figure]":
    from ..sweeps import plots
    from .heat_map import plot_divergence, plot_heat_map
    from .pareto import plot_pareto

    size = str(width or Width.COLUMN)
    if picture == Picture.DIVERGENCE:
        return lambda runs: plot_divergence(runs, width=size)
    if picture == Picture.PARETO:
        return lambda runs: plot_pareto(runs, cost, metric, log="y" if log else "", width=size)
    if picture == Picture.ACCURACY_BY_BITS:
        return lambda runs: plots.accuracy_by_bits(runs, width=str(width or Width.PAGE))
    if metric == "test_accuracy":
        return lambda runs: plots.heat_map(runs, width=size)
    return lambda runs: plot_heat_map(runs, metric, log=log, width=size)
