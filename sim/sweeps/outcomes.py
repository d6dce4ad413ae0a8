"""What comes back from where a run ran. Workers import this, so it brings no framework."""

import socket
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .provenance import versions
from .values import Curves

_TAIL = 4000
"""Characters kept of a traceback."""


class Outcome(NamedTuple):
    """How one run ended.

    Args:
        metrics, curves: what came out; empty where it failed.
        error: the error in one line, or None. trace: the end of its traceback.
        started, finished: seconds since 1970. seconds: what it took; a share of the time of runs side by side.
        host: where. versions: of the packages there.
    """

    metrics: dict[str, Any]
    curves: Curves
    error: str | None
    trace: str | None
    started: float
    finished: float
    seconds: float
    host: str
    versions: dict[str, str]


def line_of(error: BaseException) -> str:
    """An error in one line, with the one that was its reason."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if error.__cause__ is None else f"{line} (from {line_of(error.__cause__)})"


def failure(error: BaseException, started: float, finished: float, seconds: float = 0.0) -> Outcome:
    """The outcome of a run that an error ended."""
    trace = "".join(traceback.format_exception(error))[-_TAIL:]
    return Outcome({}, {}, line_of(error), trace, started, finished, seconds, socket.gethostname(), versions())


def outcomes_of(run: Callable[[], Sequence[tuple[dict[str, Any], Curves]]], count: int) -> list[Outcome]:
    """Run something and measure it; an error is the outcome of each of its runs.

    Args:
        run: gives metrics and curves of each run.
        count: how many runs it stands for; each gets its share of the time.
    """
    started, clock = time.time(), time.perf_counter()
    try:
        results = run()
    except (Exception, SystemExit) as error:  # what a user's function raises is a result; an interrupt is not
        took = time.perf_counter() - clock
        return [failure(error, started, started + took, took / count)] * count
    took = time.perf_counter() - clock
    about = (None, None, started, started + took, took / count, socket.gethostname(), versions())
    return [Outcome(metrics, curves, *about) for metrics, curves in results]
