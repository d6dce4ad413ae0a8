"""Runs jobs on workers: keeps them busy, tries again, and outlives workers that die."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass, replace
from typing import Any

from .executors import SweepError, Workers, wait_for_any
from .outcomes import Outcome, failure, line_of
from .values import counted

GRACE = 5.0
"""Seconds that runs under way have to finish after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does at a time: one run, or several that train side by side.

    Args:
        numbers: of its runs.
        call: gives an outcome for each of them. arguments: of the call.
        attempt: which this is, from 1.
    """

    numbers: tuple[int, ...]
    call: Callable[..., list[Outcome]]
    arguments: tuple[Any, ...] = ()
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """A job after its last attempt."""

    job: Job
    outcomes: list[Outcome]


Settle = Callable[[list[Ended]], None]
"""Called in the driver with the jobs that ended, to store them; the same ones may come again after an interrupt."""
Say = Callable[[str], None]
"""Called with what the user should see."""


class Driver:
    """Hands jobs to workers until all have ended.

    A job that fails is tried again, up to `retries` times. Where workers die, nobody knows which of the jobs under way
    was the reason: each is then run alone, and one that is alone when workers die again has failed.

    Args:
        workers: of `open_workers`.
        retries: attempts after the first.
        settle: stores what ended.
        say: shows messages.
    """

    def __init__(self, workers: Workers, retries: int, settle: Settle, say: Say) -> None:
        self._workers, self._retries, self._settle, self._say = workers, retries, settle, say
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._flight: dict[Any, Job] = {}

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when what could be saved is.
            SweepError: workers that are gone and cannot be had anew.
        """
        queue = iter(jobs)
        try:
            while self._submit(queue):
                self._collect(wait_for_any(self._flight))
        except KeyboardInterrupt:
            self._wind_down()
            raise
        except BaseException:
            self._cancel()
            self._workers.stop()
            raise

    def _submit(self, queue: Iterator[Job]) -> bool:
        """Hand out as many jobs as may be under way; whether any is."""
        while len(self._flight) < (1 if self._suspects else self._workers.ahead):
            if self._suspects and self._flight:
                break
            job = self._next(queue)
            if job is None:
                break
            try:
                self._flight[self._workers.submit(job.call, *job.arguments)] = job
            except BrokenExecutor:
                self._again.appendleft(job)
                self._recover()
        return bool(self._flight)

    def _next(self, queue: Iterator[Job]) -> Job | None:
        for waiting in (self._suspects, self._again):
            if waiting:
                return waiting.popleft()
        return next(queue, None)

    def _collect(self, done: Iterable[Any]) -> None:
        """Settle futures that are done; they are under way until then, so that an interrupt loses none."""
        ended, trouble = self._read(done)
        self._settle([each for each in ended if not self._goes_on(each)])
        for each in ended:
            if self._goes_on(each):
                self._retry(each.job, str(each.outcomes[0].error))
        finished = {id(each.job) for each in ended}
        self._flight = {future: job for future, job in self._flight.items() if id(job) not in finished}
        if isinstance(trouble, CancelledError):
            raise SweepError(
                "the executor cancelled runs, or its scheduler is gone; finished runs are kept: call again to go on"
            ) from trouble
        if trouble is not None:
            self._recover()

    def _goes_on(self, ended: Ended) -> bool:
        return ended.job.attempt <= self._retries and any(each.error is not None for each in ended.outcomes)

    def _retry(self, job: Job, error: str, alone: bool = False) -> None:
        self._say(f"attempt {job.attempt} of {self._retries + 1} failed, trying again: {error}")
        (self._suspects if alone else self._again).append(replace(job, attempt=job.attempt + 1))

    def _read(self, done: Iterable[Any]) -> tuple[list[Ended], BaseException | None]:
        """What ended, and what befell the workers, if anything did."""
        ended, trouble = [], None
        for future in done:
            job = self._flight[future]
            try:
                ended.append(Ended(job, future.result()))
            except (BrokenExecutor, CancelledError) as error:
                trouble = error
            except Exception as error:  # a worker that was killed too often, or what cannot be sent
                ended.append(Ended(job, [_ended_by(error)] * len(job.numbers)))
        return ended, trouble

    def _recover(self) -> None:
        """Start new workers; jobs that were under way run again, one at a time."""
        while any(not future.done() for future in self._flight):  # those of a broken executor soon are
            wait_for_any([future for future in self._flight if not future.done()])
        whole = [future for future in self._flight if not isinstance(future.exception(), BrokenExecutor)]
        if whole:
            self._collect(whole)
        lost, self._flight = list(self._flight.values()), {}
        self._say(f"worker processes died with {counted(len(lost), 'job')} under way; starting new ones")
        self._workers.rebuild()
        if len(lost) == 1:
            self._blame(lost[0])
        else:
            self._suspects.extend(lost)

    def _blame(self, job: Job) -> None:
        """What was alone when workers died has failed."""
        died = SweepError("the worker process died: it was killed, ran out of memory, or crashed")
        if job.attempt <= self._retries:
            self._retry(job, line_of(died), alone=True)
        else:
            self._settle([Ended(job, [_ended_by(died)] * len(job.numbers))])

    def _wind_down(self) -> None:
        """After Ctrl-C: take back what has not begun, wait a moment for the rest, and end the workers."""
        try:
            self._cancel()
            running = len(self._flight)
            if running:
                self._say(f"stopping: {GRACE:g} s for {counted(running, 'job')} under way; Ctrl-C again stops at once")
            deadline = time.monotonic() + GRACE
            while self._flight and time.monotonic() < deadline:
                self._collect(wait_for_any(self._flight, deadline - time.monotonic()))
        except (KeyboardInterrupt, SweepError):
            pass  # at once, then
        finally:
            self._workers.stop()

    def _cancel(self) -> None:
        """Take back what has not begun."""
        self._flight = {future: job for future, job in self._flight.items() if future.done() or not future.cancel()}


def _ended_by(error: BaseException) -> Outcome:
    """The outcome of a run that came to nothing elsewhere."""
    now = time.time()
    return failure(error, now, now)
