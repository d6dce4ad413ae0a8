"""What a run of a study leaves: one JSON file that the scorecard reads, tables as CSV, pictures.

The file holds the hash of the claims that were in force, so that no run is judged by rules that were made after it,
and a digest of the studies' sources, so that a changed study runs anew.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .claims import Measured
from .study import Findings, Study, rows

RESULT = "result.json"
_PACKAGES = ("halfulp", "numpy", "scipy", "numba", "jax", "torch")
SHIPPED = Path(__file__).parent / "records"
"""Results of long runs that come with the project: NAME.SCALE.json."""


class RecordError(RuntimeError):
    """A stored result that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """A stored run of a study.

    Args:
        study, scale: what was run.
        claims: hash of the claims that were in force.
        sources: digest of the studies' code.
        versions: of packages.
        finished: UTC, ISO 8601.
        seconds: of wall time; of a run that went on where it had stopped, those of its last piece.
        measured: by claim.
    """

    study: str
    scale: str
    claims: str
    sources: str
    versions: Mapping[str, str]
    finished: str
    seconds: float
    measured: Mapping[str, Measured]


def recorded(study: Study, scale: str, findings: Findings, seconds: float) -> Record:
    """What is kept of a run that just ended."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Record(study.name, scale, study.hash, sources(), _versions(), now, round(seconds, 1), findings.measured)


@cache
def sources() -> str:
    """A digest of the studies' code and data."""
    folder = Path(__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".csv"))
    return sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[:16]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(record: Record, study: Study, findings: Findings, folder: Path) -> None:
    """Write a run into a folder; the record last, so that a killed run leaves none.

    Args:
        record, study, findings: the run.
        folder: made where missing.
    """
    import pandas
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    pandas.DataFrame(rows(study, findings.measured)).to_csv(folder / "claims.csv", index=False)
    if findings.runs is not None:
        findings.runs.to_csv(folder / "runs.csv", index=False)
    for name, table in findings.tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    for name, picture in findings.pictures.items():
        FigureCanvasAgg(picture.figure)
        picture.figure.savefig(folder / f"{name}.png", dpi=200)
        picture.figure.savefig(folder / f"{name}.svg")
    captions = {name: picture.caption for name, picture in findings.pictures.items()}
    _write(folder / "captions.json", captions)
    write(record, folder / RESULT)


def write(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    _write(path, asdict(record))


def _write(path: Path, value: Any) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1, default=_number) + "\n")
    os.replace(part, path)


def _number(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"expected numbers, text, yes or no among what a study measured, got {value!r}")


def read(path: Path, study: Study) -> Record:
    """A record, if its claims are those of today.

    Raises:
        RecordError: a file that cannot be read, another study's, or claims that changed since.
    """
    try:
        found = json.loads(path.read_text())
        record = Record(**{**found, "measured": {name: Measured(**each) for name, each in found["measured"].items()}})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is no result of a study or is damaged ({error}); delete it and run again") from error
    if record.study != study.name:
        raise RecordError(f"{path} is of study {record.study!r}, expected {study.name!r}; delete it and run again")
    if record.claims != study.hash:
        raise RecordError(
            f"{path}: the claims of {study.name!r} changed since this run of {record.finished} "
            f"({record.claims} then, {study.hash} now); run 'halfulp study {study.name} --scale {record.scale}' again"
        )
    return record


def captions(folder: Path) -> dict[str, str]:
    """The captions of a run's pictures, by their names."""
    path = folder / "captions.json"
    return json.loads(path.read_text()) if path.exists() else {}
