"""How far a sweep is: a bar with the time left, the caller's own function, or nothing."""

import warnings
from collections.abc import Callable
from typing import Any

from .screen import printable

Report = Callable[[int, int], None]
"""Called with (finished runs, all runs) whenever that changes."""
_SHOWN = 5
"""Failures shown as they occur; the rest is counted."""


class Progress:
    """Shows a sweep on standard error; use it as a context manager.

    Args:
        progress: True for a bar, a function to call, or False for neither.
        title: what is swept.
    """

    def __init__(self, progress: bool | Report, title: str) -> None:
        self._progress, self._title = progress, title
        self._bar: Any = None
        self._line: Any = None
        self._failed: list[str] = []

    def __enter__(self) -> "Progress":
        if self._progress is not True:
            return self
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Show how many runs are finished; the bar appears with the first number, so that refusals stand alone."""
        if self._bar is not None:
            if self._line is None:
                self._bar.start()
                self._line = self._bar.add_task(self._title, total=total)
            self._bar.update(self._line, completed=done, total=total)
        elif callable(self._progress):
            self._progress(done, total)

    def say(self, text: str) -> None:
        """Show a message above the bar."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Show a message, as a warning where there is no bar."""
        if self._bar is not None:
            self.say(text)
        else:
            warnings.warn(printable(text), RuntimeWarning, stacklevel=4)

    def failed(self, config: dict[str, Any], error: str) -> None:
        """Show a run that failed."""
        self._failed.append(error)
        if len(self._failed) <= _SHOWN:
            settings = ", ".join(f"{name}={value}" for name, value in config.items())
            self.say(f"failed: {settings:.200}: {error:.500}")
        elif len(self._failed) == _SHOWN + 1:
            self.say("further failures are in the table, in the column 'error'")

    def summarize(self, runs: int) -> None:
        """Say how many runs failed, if any did."""
        if self._failed:
            kinds = dict.fromkeys(self._failed)
            more = f" and {len(kinds) - 1} other errors" if len(kinds) > 1 else ""
            self.warn(
                f"{len(self._failed)} of {runs} runs failed: {next(iter(kinds)):.200}{more}; the column 'error' has "
                "them all, and rerun_failed=True runs them again"
            )
