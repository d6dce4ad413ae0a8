"""Results in one SQLite file: written when a run ends, read when a sweep resumes.

The driver alone writes, each batch of finished runs in one transaction, so that a killed sweep has lost
only the runs that were under way. A row holds what it takes to repeat it: settings and versions.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

_APPLICATION = 0x48554C50  # "HULP", what SQLite calls an application id
_SCHEMA = 1
_CREATE = """
CREATE TABLE runs (
    key TEXT PRIMARY KEY,
    config TEXT NOT NULL,
    metrics TEXT NOT NULL,
    versions TEXT NOT NULL,
    finished TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
)
"""


class StoreError(RuntimeError):
    """A store that cannot be read or written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finished run.

    Args:
        config: everything that decides the result; its hash is the run's key.
        metrics: what came out.
        versions: of the packages that ran it.
    """

    config: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]


def key_of(config: dict[str, Any]) -> str:
    """The key of a run: SHA-256 of its configuration as canonical JSON."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


class Store:
    """An open store; use it as a context manager.

    Args:
        path: the file, made with its folder where missing; None keeps results in memory.
        timeout: seconds to wait for another process that is writing.

    Raises:
        StoreError: a file that is no store or is damaged, a store of another version, one that another
            process keeps locked, a place that cannot be written.
    """

    def __init__(self, path: str | Path | None, timeout: float = 10.0) -> None:
        self.path = path
        if path is not None:
            self._make_folder(Path(path))
        with self._explained():
            self._connection = sqlite3.connect(path or ":memory:", timeout=timeout)
            self._prepare()

    def _make_folder(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder of {path}: {error.strerror}; pass another store") from error

    def _prepare(self) -> None:
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
                connection.execute(_CREATE)
                return
            if application != _APPLICATION:
                raise StoreError(f"{self.path} is a database of another program; pass another store")
            if schema != _SCHEMA:
                raise StoreError(f"{self.path} has version {schema}, expected {_SCHEMA}; pass another store")
            check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if check != "ok":
                raise sqlite3.DatabaseError(check)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as errors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                advice = "another process is writing to it; wait for it, or pass another store"
            elif "full" in text:
                advice = "free space and run again; finished runs are kept"
            else:
                advice = "check that its folder exists and can be written, or pass another store"
            raise StoreError(f"{self.path}: {text}; {advice}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.path} is no store or is damaged ({error}); move it away or pass another store"
            ) from error

    def finished(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose runs are in the store."""
        with self._explained():
            known = {row[0] for row in self._connection.execute("SELECT key FROM runs")}
        return known.intersection(keys)

    def add(self, rows: Iterable[Row]) -> None:
        """Write finished runs, all or none; a key that is there already stays as it is."""
        values = [(key_of(r.config), *(json.dumps(part) for part in (r.config, r.metrics, r.versions))) for r in rows]
        with self._explained(), self._connection as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO runs (key, config, metrics, versions) VALUES (?, ?, ?, ?)", values
            )

    def rows(self) -> list[tuple[str, Row]]:
        """Every finished run with its key, in the order of writing."""
        with self._explained():
            found = self._connection.execute(
                "SELECT key, config, metrics, versions FROM runs ORDER BY rowid"
            ).fetchall()
        return [(key, Row(*(json.loads(part) for part in parts))) for key, *parts in found]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
