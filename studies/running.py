"""Run studies: one here, or all of them in processes of their own."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..sim.sweeps.executors import become_worker
from .catalogue import study as study_by_name
from .figures import styled
from .records import RESULT, SHIPPED, Record, RecordError, read, recorded, save, sources
from .study import QUICK, SCALES, Context, Findings, Study

OUT = Path("out/studies")
"""Where runs are kept unless another folder is named."""
Report = Callable[[int, int, str], None]


def _silent(done: int, total: int, what: str) -> None:
    """No report."""


def run_study(
    name: str,
    scale: str = QUICK,
    out: str | Path | None = OUT,
    data: str | Path | None = None,
    report: Report = _silent,
) -> Findings:
    """Run a study and keep what it found.

    Args:
        name: of `list_studies`.
        scale: 'quick' (minutes on two cores), 'full' or 'gpu'; a study without the one asked for runs at the
            largest below it.
        out: folder that gets NAME/SCALE with claims.csv, runs.csv, tables and pictures; None writes nothing.
        data: folder of optional data.
        report: called with (done, all, what).

    Returns:
        The findings: `measured` by claim, `tables`, `pictures`, `runs`.

    Raises:
        ValueError: an unknown study or scale.
        FileNotFoundError: optional data that a claim needs and that is not there; the message says where it goes.

    Examples:
        >>> found = run_study("precision_law", out=None)
        >>> round(found.measured["critical_data_p4"].value / 1e9)
        295
    """
    study = study_by_name(name)
    scale = study.scale(scale)
    folder = folder_of(study, scale, Path(out)) if out is not None else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with styled():
        findings = study.checked(study.run(Context(scale, folder, Path(data) if data is not None else None, report)))
        if folder is not None:
            save(recorded(study, scale, findings, time.perf_counter() - started), study, findings, folder)
    return findings


def folder_of(study: Study, scale: str, out: Path) -> Path:
    """Where a run of a study is kept."""
    return out / study.name / scale


def stored(study: Study, scale: str, out: Path) -> Record | None:
    """The record of a run that need not be repeated; None where there is none.

    One of this code in the folder; else one that is shipped, of the largest scale from the one asked for on: studies
    that train for long come with their results.

    Raises:
        RecordError: a record that is damaged, or whose claims changed since.
    """
    path = folder_of(study, scale, out) / RESULT
    if path.exists():
        record = read(path, study)
        if record.sources == sources():
            return record
    for larger in reversed(SCALES[SCALES.index(scale) :]):
        shipped = SHIPPED / f"{study.name}.{larger}.json"
        if shipped.exists():
            return read(shipped, study)
    return None


def run_all(
    names: Sequence[str], scale: str, out: Path, workers: int, again: bool = False, data: Path | None = None
) -> Iterator[tuple[str, Record | Exception]]:
    """Run studies that have no stored run, each in a process of its own.

    Args:
        names: of studies. scale: as in `run_study`. out: the folder. data: optional data.
        workers: how many at a time.
        again: also those that are stored.

    Yields:
        The name and the record of each as it ends, or the error that ended it.
    """
    todo = []
    for name in names:
        study = study_by_name(name)
        try:
            record = None if again else stored(study, study.scale(scale), out)
        except RecordError as error:
            yield name, error
            continue
        if record is None:
            todo.append(name)
        else:
            yield name, record
    if not todo:
        return
    # Numba and JAX do not survive a fork.
    options: dict[str, Any] = {
        "mp_context": get_context("spawn"),
        "max_tasks_per_child": 1,
        "initializer": become_worker,
    }
    with ProcessPoolExecutor(min(workers, len(todo)), **options) as pool:
        running = {pool.submit(_run, name, scale, out, data): name for name in todo}
        for future in as_completed(running):
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield running[future], error if error is not None else future.result()


def _run(name: str, scale: str, out: Path, data: Path | None) -> Record:
    run_study(name, scale, out, data)
    study = study_by_name(name)
    return read(folder_of(study, study.scale(scale), out) / RESULT, study)
