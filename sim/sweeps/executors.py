"""Where runs run: in this process, in spawned ones, on Dask, or on any executor."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from .outcomes import line_of

PROCESSES = "processes"
DASK = "dask://"
_AHEAD = 1024
"""Jobs handed to an executor whose size is not known, so that a cluster stays busy and memory does not grow."""
PATIENCE = 10.0
"""Seconds for a Dask scheduler to answer."""
_PAUSE = 0.1
"""Seconds between looks at futures that cannot be waited for."""
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
    "VECLIB_MAXIMUM_THREADS",
)


class SweepError(RuntimeError):
    """A sweep that cannot go on: its workers are gone or differ. Finished runs are in the store."""


class Workers(Protocol):
    """What the driver hands jobs to.

    Attributes:
        remote: whether jobs leave this process, so that they are pickled.
        ahead: how many jobs may be under way.
    """

    remote: bool
    ahead: int

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A future of a call."""
        ...

    def rebuild(self) -> None:
        """Start anew after workers died; raises SweepError where that is not possible."""
        ...

    def stop(self) -> None:
        """End at once; what is under way is lost."""
        ...


@contextmanager
def open_workers(executor: Any = None, workers: int | None = None) -> Iterator[Workers]:
    """Workers of an executor by name, or of one.

    Args:
        executor: None for this process, 'processes', 'dask://HOST:PORT', a Dask client, or what has `submit` as
            `concurrent.futures.Executor` does.
        workers: how many processes; None for one a core that this process may use.

    Raises:
        ValueError: an unknown name, or a number of workers where it says nothing.
        TypeError: what has no `submit`.
        SweepError: a scheduler that does not answer, or processes that end as they start.
        ModuleNotFoundError: Dask is missing.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ValueError(f"expected a number of worker processes >= 1, got {workers!r}")
    if executor is None and workers is None:
        yield InProcess()
    elif executor is None or executor == PROCESSES:
        pool = Processes(workers or _cores())
        try:
            yield pool
        except BaseException:
            pool.stop()
            raise
        pool.close()
    elif workers is not None:
        raise ValueError(f"workers={workers} is for executor='processes'; {executor!r:.60} has workers of its own")
    else:
        with _given(executor) as found:
            yield found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _given(executor: Any) -> Iterator[Workers]:
    """Workers of an executor, of a Dask client or its address; what was opened here is closed."""
    if isinstance(executor, str):
        if not executor.startswith(DASK):
            raise ValueError(f"expected 'processes', 'dask://HOST:PORT' or an executor, got executor={executor!r}")
        with _dask_client(executor) as client:
            yield Dask(client)
    elif hasattr(executor, "get_executor"):
        yield Dask(executor)
    elif hasattr(executor, "submit"):
        yield Given(executor)
    else:
        raise TypeError(f"expected an executor with a method submit, got {executor!r:.80}; pass 'processes'")


@contextmanager
def _dask_client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing; pip install 'halfulp[dask]'") from error
    place = address.removeprefix(DASK)
    try:
        client = Client(place if "://" in place else f"tcp://{place}", timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SweepError(f"no Dask scheduler at {place}: {line_of(error)}; start one with: dask scheduler") from error
    with client:
        yield client


class InProcess:
    """One job after another in this process."""

    remote, ahead = False, 1

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """The future of a call that is made at once; an interrupt goes through."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def rebuild(self) -> None:
        """Nothing dies here."""

    def stop(self) -> None:
        """Nothing is under way."""


class Processes:
    """Spawned processes, since Numba, JAX and CUDA do not survive a fork; one thread each.

    Args:
        count: how many.

    Raises:
        SweepError: processes that end as they start.
    """

    remote = True

    def __init__(self, count: int) -> None:
        self._count, self.ahead = count, count + 1
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(self._count, multiprocessing.get_context("spawn"), initializer=become_worker)
        try:
            with uninterrupted():
                first = pool.submit(int)
            first.result()
        except BrokenExecutor as error:
            raise SweepError(
                "the worker processes ended as they started; a script calls hu.sweep inside of "
                "if __name__ == '__main__': and what it imports must be importable there (see the messages above)"
            ) from error
        return pool

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """The future of a call in a process."""
        with uninterrupted():
            return self._pool.submit(call, *arguments)

    def rebuild(self) -> None:
        """Start new processes in place of those that are left."""
        self.stop()
        self._pool = self._started()

    def stop(self) -> None:
        """End the processes."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()

    def close(self) -> None:
        """Let the processes end."""
        self._pool.shutdown()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C for afterwards: a process that is interrupted as it starts is known to nobody and waited for."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    received: list[tuple[Any, ...]] = []
    previous = signal.signal(signal.SIGINT, lambda *signalled: received.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received and callable(previous):
            previous(*received[0])


class Given:
    """A caller's executor, which stays the caller's to close.

    Args:
        executor: what has `submit`, whose futures have `done` and `result`.
    """

    remote, ahead = True, _AHEAD

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The executor's future."""
        return self._executor.submit(call, *arguments)

    def rebuild(self) -> None:
        """Refuse: only who made the executor can make another."""
        raise SweepError(
            f"workers of {type(self._executor).__name__} died and it takes no more jobs; finished runs are kept: call "
            "again with a new one, or with executor='processes', which starts new processes by itself"
        )

    def stop(self) -> None:
        """Leave it as it is; the driver cancels what has not begun."""


class Dask(Given):
    """A Dask cluster, which runs anew what a worker had that died, a few times.

    Args:
        client: the caller's.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client.get_executor(pure=False))

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """The executor's future; the scheduler, which reads what it passes on, need not import what is in the bytes."""
        from cloudpickle import dumps

        return self._executor.submit(call_packed, dumps((call, arguments)))


def call_packed(packed: bytes) -> Any:
    """Make a call that came as bytes."""
    call, arguments = pickle.loads(packed)
    return call(*arguments)


def become_worker() -> None:
    """Leave Ctrl-C to the driver, end with it, and take one thread, since there is a process for every core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # for what is loaded from here on
    with suppress(ModuleNotFoundError):  # for what is loaded already, such as NumPy's BLAS
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    for name in ("torch", "numba"):
        if (library := sys.modules.get(name)) is not None:
            library.set_num_threads(1)


def _end_with_driver() -> None:
    """A driver that is killed cannot end its processes, and they would wait for jobs for ever."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def wait_for_any(futures: Collection[Any], timeout: float | None = None) -> set[Any]:
    """Those of the futures that are done, at least one unless time runs out.

    Futures of other kinds than Python's, such as submitit's jobs, are looked at from time to time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if all(isinstance(future, Future) for future in futures):
            done = wait(futures, timeout=1.0 if left is None else min(left, 1.0), return_when=FIRST_COMPLETED).done
        else:
            done = {future for future in futures if future.done()}
            if not done:
                time.sleep(_PAUSE)
        if done or left == 0.0:
            return set(done)


def sends_names(executor: Any, workers: int | None) -> bool:
    """Whether functions reach workers by their name, so that these must be able to import them.

    Dask and submitit send whole functions, threads need not.
    """
    if executor is None:
        return workers is not None
    by_name = executor == PROCESSES or isinstance(executor, ProcessPoolExecutor)
    return by_name or type(executor).__module__.startswith("mpi4py")
