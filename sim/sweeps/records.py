"""What a store keeps of a run."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

from .values import Curves, dumps

FINISHED, FAILED = "finished", "failed"


def digest(value: Any) -> str:
    """SHA-256 of plain values as canonical JSON, in hexadecimal."""
    return sha256(dumps(value, canonical=True).encode()).hexdigest()


def timestamp(seconds: float) -> str:
    """A point in time, in seconds since 1970, as ISO 8601 text in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Planned:
    """A run before it is run.

    Args:
        identity: everything that decides the result, but for the code.
        code: what decides it too: versions, and the hash of a function's source.
        config: what tables show.
    """

    identity: dict[str, Any]
    code: dict[str, str]
    config: dict[str, Any]

    @cached_property
    def base(self) -> str:
        """The hash of `identity`: equal for the same run of another version."""
        return digest(self.identity)

    @cached_property
    def key(self) -> str:
        """The key of the run."""
        return digest([self.base, self.code])


@dataclass(frozen=True, slots=True)
class Row:
    """One run that ended.

    Args:
        planned: what was run.
        sweep: name of the sweep.
        metrics: what came out; {} of a failed run.
        curves: (n,) numbers by name.
        error: of a failed run, the error in one line; None of a finished one. trace: the end of its traceback.
        versions: of the packages that ran it.
        revision: Git commit of the code that was swept, with '-dirty' where files had changed; '' outside of Git.
        host: where it ran.
        started, finished: ISO 8601 in UTC. seconds: what it took; a share where runs train side by side.
        attempts: how often it was run.
    """

    planned: Planned
    sweep: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    error: str | None = None
    trace: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    revision: str = ""
    host: str = ""
    started: str = ""
    finished: str = ""
    seconds: float = 0.0
    attempts: int = 1

    @property
    def status(self) -> str:
        """'finished' or 'failed'."""
        return FINISHED if self.error is None else FAILED
