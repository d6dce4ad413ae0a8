"""Where runs run: the same table everywhere, and workers that die."""

import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import halfulp as hu
import pandas
import pytest
from halfulp.sim.sweeps import driver
from halfulp.sim.sweeps.executors import SweepError, open_workers, wait_for_any
from halfulp.sim.sweeps.store import Store

SHOWN = ["key", "sweep", "status", "x"]


@pytest.fixture(scope="module")
def experiment():
    """A module that processes can import, by the path they are given."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    yield __import__("experiment")
    sys.path.remove(folder)


def settled(table):
    """A table without what differs from one time to another."""
    return table.drop(columns=["seconds", "finished", "attempts"])


def run(function, space, **options):
    return hu.sweep(function, space, **{"progress": False, **options})


def test_the_same_table_in_process_in_processes_and_in_threads(experiment, tmp_path):
    space = {"x": list(range(7)), "z": ["a", None]}
    here = run(experiment.square, space, store=tmp_path / "a.sqlite")
    there = run(experiment.square, space, store=tmp_path / "b.sqlite", executor="processes", workers=2)
    with ThreadPoolExecutor(2) as pool:
        beside = run(experiment.square, space, executor=pool)
    assert list(here["x"]) == [x for x in range(7) for _ in range(2)]
    assert here["loss"].tolist() == [(x - 3) ** 2 / 7 for x in range(7) for _ in range(2)]
    assert set(here["revision"]) == set(there["revision"])
    pandas.testing.assert_frame_equal(settled(there), settled(here))
    pandas.testing.assert_frame_equal(settled(beside).drop(columns="revision"), settled(here).drop(columns="revision"))
    with Store(tmp_path / "a.sqlite") as a, Store(tmp_path / "b.sqlite") as b:
        curves = [store.frame(curves=True)["curve"].map(list).map(repr).tolist() for store in (a, b)]
        assert sorted(curves[0]) == sorted(curves[1])
        versions = a.rows()[0].versions
    assert versions["halfulp"] == hu.__version__
    assert set(versions) >= {"python", "numpy", "jax", "torch"}


def test_a_worker_that_dies_takes_no_other_run_with_it(experiment, tmp_path):
    space = [{"x": x, "folder": str(tmp_path)} for x in range(7)]
    with pytest.warns(RuntimeWarning, match="1 of 7 runs failed: SweepError: the worker process died"):
        found = run(experiment.crash, space, executor="processes", workers=2)
    assert found["status"].tolist() == ["failed" if x == 3 else "finished" for x in range(7)]
    assert found["y"].dropna().tolist() == [0, 1, 2, 4, 5, 6]
    assert "killed, ran out of memory, or crashed" in found["error"][3]


def test_failures_are_tried_again_and_kept(experiment, tmp_path, capsys):
    space = [{"x": x, "folder": str(tmp_path)} for x in range(3)]
    store = tmp_path / "s.sqlite"
    with pytest.warns(RuntimeWarning, match=r"1 of 3 runs failed: ValueError: no ones, please; .* rerun_failed=True"):
        found = run(experiment.moody, space, store=store, retries=2)
    assert found["status"].tolist() == ["finished", "failed", "finished"]
    assert found["attempts"].tolist() == [1, 3, 3]
    assert found["error"][1] == "ValueError: no ones, please"
    with Store(store) as results:
        assert "in moody" in results.rows([found["key"][1]])[0].trace
    again = run(experiment.moody, space, store=store, progress=True)
    assert again["attempts"].tolist() == [1, 3, 3]
    assert "1 run failed before; rerun_failed=True runs what failed again" in capsys.readouterr().err
    again = run(experiment.moody, space, store=store, rerun_failed=True, progress=True)
    shown = capsys.readouterr().err
    assert "failed: x=1, folder=" in shown
    assert again["attempts"].tolist() == [1, 4, 3]


def test_processes_take_one_thread_each(experiment):
    found = run(experiment.threads, {"x": [0]}, workers=1)
    assert found[["most", "omp"]].to_numpy().tolist() == [[1, "1"]]


@pytest.mark.slow
@pytest.mark.parametrize("space", [{"recipe": ["identity"]}, {"format": ["e2m1", "int4"]}])
def test_a_task_in_processes(space):
    """The programs run elsewhere, and the bits are the same."""
    options = {"seeds": 2, "training": hu.Training(steps=2, batch=16, width=2)}
    options |= {"task_options": {"size": "xs"}, "progress": False}
    here = hu.sweep("digits", space, **options)
    there = hu.sweep("digits", space, workers=1, **options)
    pandas.testing.assert_frame_equal(settled(there), settled(here))


def test_a_task_elsewhere_is_made_there():
    with pytest.raises(ValueError, match="pass its name, 'digits', and what hu.task takes as task_options="):
        hu.sweep(hu.task("digits"), formats=["e2m1"], workers=1)


@contextmanager
def cluster(workers):
    """A Dask scheduler and worker processes: (address, processes)."""
    dask = [sys.executable, "-m", "distributed.cli."]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    start = [*dask[:2], dask[2] + "dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen(start, **quiet)
    started = [scheduler]
    try:
        line = ""
        while "Scheduler at:" not in line:
            line = scheduler.stderr.readline()
        address = line.split()[-1].removeprefix("tcp://")
        start = [*dask[:2], dask[2] + "dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        started += [
            subprocess.Popen(start, **{**quiet, "stderr": subprocess.DEVNULL}, cwd=Path(__file__).parent)
            for _ in range(workers)
        ]
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()
        scheduler.stderr.close()


def test_dask_gives_the_same_table_though_a_worker_is_killed(experiment, tmp_path):
    space = [{"x": x, "folder": str(tmp_path), "seconds": 0.1} for x in range(12)]
    here = run(experiment.slow, [{**each, "seconds": 0.1} for each in space], store=tmp_path / "a.sqlite")
    for path in tmp_path.glob("[0-9]*"):
        path.unlink()
    killed = []

    def kill(done, total):
        if done >= 2 and not killed:
            pids = {int(path.read_text()) for path in tmp_path.glob("[0-9]*")} & {each.pid for each in processes[1:]}
            killed.append(max(pids))
            next(each for each in processes if each.pid == killed[0]).send_signal(signal.SIGKILL)

    with cluster(2) as (address, processes):
        there = run(experiment.slow, space, store=tmp_path / "b.sqlite", executor=f"dask://{address}", progress=kill)
    assert killed
    pandas.testing.assert_frame_equal(settled(there), settled(here))


@pytest.mark.slow
def test_a_run_that_takes_dask_workers_with_it_fails(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    space = [{"x": 3, "folder": str(tmp_path)}]
    with cluster(1) as (address, _), pytest.warns(RuntimeWarning, match="1 of 1 runs failed: KilledWorker"):
        found = run(experiment.crash, space, executor=f"dask://{address}")
    assert found["status"].tolist() == ["failed"]


class Stuck:
    """Workers whose jobs never end."""

    remote, ahead, stopped = True, 2, 0

    def submit(self, call, *arguments):
        future = Future()
        future.set_running_or_notify_cancel()
        return future

    def rebuild(self):
        raise AssertionError

    def stop(self):
        self.stopped += 1


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_waits_and_another_one_does_not(monkeypatch, interrupts):
    left = [KeyboardInterrupt] * interrupts
    monkeypatch.setattr(driver, "GRACE", 0.3)

    def wait(futures, timeout=None):
        if left:
            raise left.pop()
        return wait_for_any(futures, timeout)

    monkeypatch.setattr(driver, "wait_for_any", wait)
    workers, said, started = Stuck(), [], time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        driver.Driver(workers, 0, lambda ended: None, said.append).run(driver.Job((k,), int) for k in range(9))
    assert workers.stopped == 1
    assert said == ["stopping: 0.3 s for 2 jobs under way; Ctrl-C again stops at once"]
    assert interrupts == 2 or time.monotonic() - started >= 0.3
    assert not left


def test_bad_executors(experiment):
    for options, error, message in (
        ({"executor": "proceses"}, ValueError, "expected 'processes', 'dask://HOST:PORT' or an executor, got"),
        ({"executor": 3.5}, TypeError, "expected an executor with a method submit, got 3.5; pass 'processes'"),
        ({"workers": 0}, ValueError, "expected a number of worker processes >= 1, got 0"),
        ({"workers": 2, "executor": "dask://a:1"}, ValueError, "workers=2 is for executor='processes'"),
        ({"retries": -1}, ValueError, "expected retries >= 0, got -1"),
    ):
        with pytest.raises(error, match=message):
            run(experiment.square, {"x": [0]}, **options)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_no_scheduler(monkeypatch):
    monkeypatch.setattr("halfulp.sim.sweeps.executors.PATIENCE", 0.5)
    message = r"no Dask scheduler at 127.0.0.1:9: .*; start one with: dask scheduler"
    with pytest.raises(SweepError, match=message), open_workers("dask://127.0.0.1:9"):
        pass


def test_functions_that_processes_cannot_import():
    def local(config):
        return {}

    with pytest.raises(TypeError, match=r"local of .* has none they could import; put it at the top of a module"):
        run(local, {"x": [0]}, executor="processes")
    typed = {"__name__": "__main__"}
    exec("def train(config):\n    return {}", typed)
    with pytest.raises(TypeError, match="cannot import train, which was typed into this session; save it to a file"):
        run(typed["train"], {"x": [0]}, workers=2)
    assert run(partial(local), {"x": [0]})["status"].tolist() == ["finished"]
    with pytest.raises(TypeError, match=r"expected a function or a functools.partial of one, got <class 'int'>"):
        run(int, {"x": [0]})


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import halfulp as hu\ndef train(config):\n    return {'y': 1}\n"
        "print(hu.sweep(train, {'x': [0]}, workers=1, progress=False))\n"
    )
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "SweepError: the worker processes ended as they started; a script calls hu.sweep inside of" in answer.stderr


def test_a_broken_executor_of_the_caller(experiment, tmp_path):
    space = [{"x": x, "folder": str(tmp_path)} for x in (0, 1, 3)]
    message = r"workers of ProcessPoolExecutor died .*; finished runs are kept: call"
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pool, pytest.raises(SweepError, match=message):
        run(experiment.crash, space, store=tmp_path / "s.sqlite", executor=pool)
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store.rows()) == 2


def test_futures_of_other_kinds_are_looked_at():
    class Cluster:
        """As submitit's: submit, and jobs with done and result."""

        def submit(self, call, *arguments):
            return Later(call, arguments)

    class Later:
        def __init__(self, call, arguments):
            self._call, self._arguments, self._ready = call, arguments, time.monotonic() + 0.05

        def done(self):
            return time.monotonic() > self._ready

        def result(self):
            return self._call(*self._arguments)

    found = run(lambda config: {"y": -config["x"]}, {"x": [1, 2, 3]}, executor=Cluster())
    assert found["y"].tolist() == [-1, -2, -3]
    assert wait_for_any([Later(int, ())], timeout=0) == set()


def test_workers_of_another_version_are_refused(experiment, monkeypatch):
    from halfulp.sim.sweeps import outcomes

    monkeypatch.setattr(outcomes, "versions", lambda: {"halfulp": "9.9"})
    with pytest.raises(SweepError, match=r"has halfulp 9.9, this process .*; install the same everywhere"):
        run(experiment.square, {"x": [0]})
