"""Results in one SQLite file: written when a run ends, read when a sweep resumes.

The driver alone writes, all runs that ended since it last looked in one transaction, so that a killed sweep has lost
only the runs that were under way. A row holds what it takes to repeat a run: its settings, code and versions.
"""

import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .frames import frame_of
from .records import FAILED, FINISHED, Planned, Row
from .values import Curves, dumps, encodable, loads

if TYPE_CHECKING:
    import pandas

_APPLICATION = 0x48554C50  # "HULP", what SQLite calls an application id
_SCHEMA = 2
_CREATE = (
    """CREATE TABLE runs (
        key TEXT PRIMARY KEY, base TEXT NOT NULL, sweep TEXT NOT NULL, status TEXT NOT NULL, identity TEXT NOT NULL,
        code TEXT NOT NULL, config TEXT NOT NULL, metrics TEXT NOT NULL, error TEXT, trace TEXT, versions TEXT NOT NULL,
        revision TEXT NOT NULL, host TEXT NOT NULL, started TEXT NOT NULL, finished TEXT NOT NULL,
        seconds REAL NOT NULL, attempts INTEGER NOT NULL
    )""",
    """CREATE TABLE curves (
        key TEXT NOT NULL REFERENCES runs (key), name TEXT NOT NULL, dtype TEXT NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (key, name)
    ) WITHOUT ROWID""",
)
_FIELDS = (
    "key", "base", "sweep", "status", "identity", "code", "config", "metrics", "error", "trace", "versions",
    "revision", "host", "started", "finished", "seconds", "attempts",
)  # fmt: skip
_ADD = f"""INSERT INTO runs ({", ".join(_FIELDS)}) VALUES ({", ".join("?" * len(_FIELDS))})
    ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _FIELDS[1:-1])},
    attempts = runs.attempts + excluded.attempts WHERE runs.status = '{FAILED}'"""  # what finished is never replaced


class StoreError(RuntimeError):
    """A store that cannot be read or written; the message says what to do."""


class Known(NamedTuple):
    """How a run in a store ended."""

    status: str
    metrics: dict[str, Any]


class Store:
    """An open store; use it as a context manager.

    Args:
        path: the file, made with its folder where missing; None keeps results in memory.
        timeout: seconds to wait for another process that is writing.
        read_only: open a store that is there, to read it; its place need not be writable.

    Raises:
        StoreError: a file that is no store or is damaged, which is left as it is; a store of another version, one that
            another process keeps locked, a place that cannot be written.
    """

    def __init__(self, path: str | Path | None, timeout: float = 30.0, *, read_only: bool = False) -> None:
        self.path, self._timeout = None if path is None else Path(path), timeout
        if self.path is not None:
            self._check_place(self.path, read_only)
        with self._explained():
            if self.path is not None and self.path.exists() and self.path.stat().st_size:
                self._check_content(self.path)
            self._connection = self._read_only(self.path) if read_only and self.path else self._writable()

    def _check_place(self, path: Path, read_only: bool) -> None:
        if path.is_dir():
            raise StoreError(f"{path} is a folder; pass a file in it, such as {path / 'runs.sqlite'}")
        if read_only:
            if not path.exists():
                raise StoreError(f"no store at {path}; halfulp sweep makes one")
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder of {path}: {error.strerror}; pass another store") from error

    def _check_content(self, path: Path) -> None:
        """Look at a file without writing: what is refused stays as it is."""
        connection = self._read_only(path)
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
            if _is_empty(connection):
                return
            if application != _APPLICATION:
                raise StoreError(f"{path} is a database of another program; pass another store")
            if schema != _SCHEMA:
                other = "an older" if schema < _SCHEMA else "a newer"
                raise StoreError(
                    f"{path} was written by {other} halfulp (version {schema} of stores, expected {_SCHEMA}); pass "
                    "another store"
                )
            check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if check != "ok":
                raise sqlite3.DatabaseError(check)
        finally:
            connection.close()

    def _read_only(self, path: Path) -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = self._connect(uri)
        try:
            connection.execute("PRAGMA user_version")
        except sqlite3.DatabaseError as error:
            connection.close()
            if type(error) is not sqlite3.OperationalError or path.with_name(path.name + "-wal").exists():
                raise
            connection = self._connect(uri + "&immutable=1")  # a folder where no index of the log can be made
        return connection

    def _connect(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, timeout=self._timeout, isolation_level=None, uri=True)

    def _writable(self) -> sqlite3.Connection:
        connection = self._connect(":memory:" if self.path is None else f"{self.path.absolute().as_uri()}?mode=rwc")
        self._log_ahead(connection)
        # A commit is in the operating system's hands: a kill loses nothing, a power cut at most the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        if _is_empty(connection):
            with _transaction(connection):
                if _is_empty(connection):  # still so, now that nobody else may write
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
                    for statement in _CREATE:
                        connection.execute(statement)
        return connection

    def _log_ahead(self, connection: sqlite3.Connection) -> None:
        """Turn the write-ahead log on; SQLite does not wait here for others that do the same at this moment."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as errors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                advice = "another process is writing to it; wait for it, or pass another store"
            elif "full" in text or "I/O" in text:
                advice = "free space and run again; finished runs are kept"
            else:
                advice = "check that its folder exists and can be written, or pass another store"
            raise StoreError(f"{self.path}: {text}; {advice}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.path} is no store or is damaged ({error}); move it away or pass another store"
            ) from error

    def add(self, rows: Iterable[Row]) -> None:
        """Write runs that ended, all or none. What finished stays as it is; what failed is replaced."""
        listed = list(rows)
        values = [_values(row) for row in listed]
        curves = [
            (row.planned.key, encodable(name), str(curve.dtype), zlib.compress(np.ascontiguousarray(curve).tobytes()))
            for row in listed
            for name, curve in row.curves.items()
        ]
        with self._explained(), _transaction(self._connection):
            known = "SELECT count(*) FROM runs WHERE key = ? AND status = ?"
            kept = {each[0] for each in values if self._connection.execute(known, (each[0], FINISHED)).fetchone()[0]}
            self._connection.executemany(_ADD, values)
            # what another sweep finished meanwhile keeps its own curves and gets none of these
            new = [each for each in curves if each[0] not in kept]
            self._connection.executemany("INSERT OR IGNORE INTO curves VALUES (?, ?, ?, ?)", new)

    def known(self, keys: Collection[str]) -> dict[str, Known]:
        """How those runs ended that are in the store, by key."""
        wanted = set(keys)
        found = self._fetch("SELECT key, status, metrics FROM runs")
        return {key: Known(status, loads(metrics)) for key, status, metrics in found if key in wanted}

    def statuses(self, keys: Collection[str]) -> dict[str, str]:
        """'finished' or 'failed' of those runs that are in the store, by key."""
        wanted = set(keys)
        return {key: status for key, status in self._fetch("SELECT key, status FROM runs") if key in wanted}

    def of_other_code(self, planned: Collection[Planned]) -> Counter[tuple[tuple[str, str], ...]]:
        """How many finished runs are the same but for their code, by that code as sorted (name, version) pairs."""
        bases, keys = {each.base for each in planned}, {each.key for each in planned}
        found = self._fetch(f"SELECT key, base, code FROM runs WHERE status = '{FINISHED}'")
        return Counter(
            tuple(sorted(loads(code).items())) for key, base, code in found if base in bases and key not in keys
        )

    def rows(self, keys: Collection[str] | None = None, curves: bool = True) -> list[Row]:
        """Every run, or those of some keys, in the order of writing."""
        wanted = None if keys is None else set(keys)
        found = self._fetch(f"SELECT {', '.join(_FIELDS)} FROM runs ORDER BY rowid")
        chosen: list[dict[str, Any]] = [
            dict(zip(_FIELDS, values)) for values in found if wanted is None or values[0] in wanted
        ]
        drawn = self.curves([each["key"] for each in chosen]) if curves else {}
        return [_row(each, drawn.get(each["key"], {})) for each in chosen]

    def curves(self, keys: Collection[str] | None = None) -> dict[str, Curves]:
        """(n,) numbers by name of curve, by key of run; None for all runs."""
        wanted = None if keys is None else set(keys)
        found: dict[str, Curves] = {}
        with self._explained():
            for key, name, dtype, data in self._connection.execute("SELECT key, name, dtype, data FROM curves"):
                if wanted is None or key in wanted:
                    found.setdefault(key, {})[name] = np.frombuffer(zlib.decompress(data), dtype)
        return found

    def frame(
        self,
        where: Mapping[str, Any] | None = None,
        sweep: str | None = None,
        curves: bool = False,
        keys: Collection[str] | None = None,
    ) -> "pandas.DataFrame":
        """The runs as a table.

        Args:
            where: by column, the value that rows have, or a list of values one of which they have.
            sweep: name of a sweep; None for all.
            curves: whether to read curves too, a column each, with an array in each row.
            keys: which runs, in which order; None for all, in the order of writing.

        Returns:
            A row per run: key, sweep, status ('finished' or 'failed'), the names of configurations and those of
            metrics, then seconds, finished, attempts, halfulp, revision, error. A name that is taken gets the prefix
            'config.', 'metric.' or 'curve.'.

        Raises:
            ValueError: an unknown column in `where`, or a sweep that is not there.
            StoreError: a store that cannot be read.
        """
        fields = "key, sweep, status, config, metrics, seconds, finished, attempts, versions, revision, error"
        found = self._fetch(f"SELECT {fields} FROM runs ORDER BY rowid")
        return frame_of(found, where, sweep, keys, self.curves if curves else None)

    def _fetch(self, statement: str) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(statement).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, also where what is inside is interrupted."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _values(row: Row) -> tuple[Any, ...]:
    of = row.planned
    settings = (dumps(of.identity), dumps(of.code), dumps(of.config), dumps(row.metrics))
    failure = (encodable(row.error), encodable(row.trace))
    when = (row.started, row.finished, row.seconds, row.attempts)
    about = (dumps(row.versions), row.revision, row.host)
    return of.key, of.base, encodable(row.sweep), row.status, *settings, *failure, *about, *when


def _row(of: Mapping[str, Any], curves: Curves) -> Row:
    planned = Planned(*(loads(of[name]) for name in ("identity", "code", "config")))
    same = ("sweep", "error", "trace", "revision", "host", "started", "finished", "seconds", "attempts")
    read = {name: loads(of[name]) for name in ("metrics", "versions")}
    return Row(planned, curves=curves, **read, **{name: of[name] for name in same})
