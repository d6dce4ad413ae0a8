"""Runs as a file for other programs: CSV, or Parquet."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...formats.suggest import unknown
from .filters import as_text

if TYPE_CHECKING:
    import pandas


def export_runs(runs: "pandas.DataFrame", path: str | Path) -> Path:
    """Write runs as CSV or Parquet, by the suffix of the path, its folder made where missing.

    Numbers keep every bit. Lists and mappings become JSON texts, and so does, in Parquet, which has one type a column,
    every cell of a column that mixes texts and numbers. CSV has no flags and no empty texts: they are read back as the
    words True and False, and as missing.

    Args:
        runs: a row a run.
        path: ending in .csv or .parquet; a file that is there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: another suffix.
        ModuleNotFoundError: Parquet without pyarrow.
        OSError: a place that cannot be written.
    """
    path = Path(path)
    writers: dict[str, Callable[[Any, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{unknown('suffix', path.suffix, writers)}; the path was {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[path.suffix.lower()](runs, path)
    return path


def _write_csv(runs: Any, path: Path) -> None:
    runs.assign(**{name: runs[name].map(_flat) for name in _objects(runs)}).to_csv(path, index=False)


def _objects(runs: Any) -> list[str]:
    return [name for name in runs.columns if runs[name].dtype == object]


def _flat(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, str | int | float) else as_text(cell)


def _write_parquet(runs: Any, path: Path) -> None:
    try:
        arrow: Any = import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Parquet is written by pyarrow; pip install pyarrow, or export to .csv") from error
    runs = runs.assign(**{name: runs[name].map(_flat) for name in _objects(runs)})
    for name in _objects(runs):
        try:
            arrow.array(runs[name], from_pandas=True)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError):
            runs[name] = runs[name].map(lambda cell: None if cell is None else as_text(cell))
    runs.to_parquet(path, index=False)
