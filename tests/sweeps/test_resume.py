"""Sweeps that are killed or interrupted go on, and end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import halfulp as hu
import pandas
import pytest
from halfulp.sim.sweeps.executors import uninterrupted
from halfulp.sim.sweeps.store import Store

HERE = str(Path(__file__).parent)
KILLS, RUNS = 20, 80


def settled(table):
    return table.drop(columns=["seconds", "finished", "revision"])


def by_run(table):
    return settled(table).sort_values("key", ignore_index=True)


def test_a_sweep_killed_at_random_moments_equals_one_that_was_not(tmp_path):
    """SIGKILL, 20 times, to a process that forks from one with everything imported; then one that runs to the end.

    Each is killed a random while after it has begun one to three runs more than the one before.
    """
    program = f"""
        import os, random, signal, sys, time
        sys.path.insert(0, {HERE!r})
        import experiment, halfulp as hu
        folder = {str(tmp_path / "runs")!r}
        space = {{"x": list(range({RUNS})), "folder": [folder], "seconds": [0.004]}}
        moments = random.Random(0)
        for _ in range({KILLS}):
            begun = len(os.listdir(folder)) + moments.randint(1, 3)
            child = os.fork()
            if not child:
                hu.sweep(experiment.slow, space, store={str(tmp_path / "s.sqlite")!r}, progress=False)
                os._exit(0)
            while len(os.listdir(folder)) < begun:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.008))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    """
    (tmp_path / "runs").mkdir()
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120)
    with Store(tmp_path / "s.sqlite") as store:
        before = len(store.rows())
    assert before > KILLS / 2
    sys.path.insert(0, HERE)
    try:
        import experiment
    finally:
        sys.path.remove(HERE)
    space = {"x": list(range(RUNS)), "folder": [str(tmp_path / "runs")], "seconds": [0.004]}
    seen = []
    resumed = hu.sweep(
        experiment.slow, space, store=tmp_path / "s.sqlite", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (before, RUNS)
    assert seen[-1] == (RUNS, RUNS)
    assert set(resumed["attempts"]) == {1}
    pandas.testing.assert_frame_equal(settled(resumed), settled(hu.sweep(experiment.slow, space, progress=False)))
    with Store(tmp_path / "s.sqlite") as store:
        pandas.testing.assert_frame_equal(by_run(store.frame()), by_run(resumed))


def test_worker_processes_end_with_a_driver_that_is_killed(tmp_path):
    space = [{"x": x, "folder": str(tmp_path), "seconds": 0.2} for x in range(50)]
    program = f"""
        import sys
        sys.path.insert(0, {HERE!r})
        import experiment, halfulp as hu
        hu.sweep(experiment.slow, {space!r}, store={str(tmp_path / "s.sqlite")!r}, workers=2, progress=False)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    try:
        wait_until(lambda: len(pids(tmp_path)) == 2)
    finally:
        process.kill()
        process.wait()
    workers = pids(tmp_path)
    assert len(workers) == 2
    wait_until(lambda: not any(is_running(pid) for pid in workers))
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store.rows()) < 50


def stored(path):
    """How many runs are in a store."""
    if not path.exists():
        return 0
    with Store(path) as store:
        return len(store.frame())


def pids(folder):
    """The processes that have run something."""
    return {int(text) for path in folder.glob("[0-9]*") if (text := path.read_text())}


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.02)


def is_running(pid):
    """Whether a process runs; one that has ended but nobody waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_trainings_killed_at_random_moments_equal_those_that_were_not(tmp_path):
    """The same with real trainings, each in a new process that is killed a while after one more chunk was stored."""
    space = {"recipe": ["identity"], "seed": list(range(60))}
    options = {"training": hu.Training(steps=2000, width=2), "task_options": {"size": "xs"}}
    program = f"""
        import halfulp as hu
        hu.sweep("digits", {space!r}, store={str(tmp_path / "s.sqlite")!r}, progress=False,
                 training=hu.Training(steps=2000, width=2), task_options={options["task_options"]!r})
    """
    moments = random.Random(1)
    for _ in range(KILLS):
        before = stored(tmp_path / "s.sqlite")
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
        try:
            wait_until(lambda before=before: stored(tmp_path / "s.sqlite") > before, 120)
            time.sleep(moments.uniform(0, 0.2))
            assert process.poll() is None, "the sweep ended before it was killed"
        finally:
            process.kill()
            process.wait()
    resumed = hu.sweep("digits", space, store=tmp_path / "s.sqlite", progress=False, **options)
    whole = hu.sweep("digits", space, progress=False, **options)
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store.rows()) == 60
    pandas.testing.assert_frame_equal(settled(resumed), settled(whole))


def test_an_interrupt_keeps_what_finished_and_says_how_to_go_on(tmp_path):
    mark = str(tmp_path / "mark")

    def train(config):
        if config["x"] == 3 and not os.path.exists(mark):
            raise KeyboardInterrupt
        return {"y": config["x"]}

    path = tmp_path / "s.sqlite"
    with pytest.raises(KeyboardInterrupt, match=r"stopped; 3 of 5 runs are finished \(in .*s.sqlite\); the same call"):
        hu.sweep(train, {"x": range(5)}, store=path, progress=False)
    with pytest.raises(KeyboardInterrupt, match="pass store= to keep them"):
        hu.sweep(train, {"x": range(5)}, progress=False)
    Path(mark).touch()
    seen = []
    hu.sweep(train, {"x": range(5)}, store=path, progress=lambda done, total: seen.append(done))
    assert seen == [3, 4, 5]


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background, which ignores it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_waits_until_a_process_has_started(heard):
    """One that is interrupted as it starts would be waited for at the end of the program, for ever."""
    steps = []

    def start():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_waits_a_moment_for_processes(tmp_path):
    """Runs under way that end in time are kept; those that do not are ended, and the workers with them."""
    space = [{"x": x, "folder": str(tmp_path), "seconds": 0.5 if x < 2 else 60} for x in range(6)]
    program = f"""
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which programs in the background ignore
        sys.path.insert(0, {HERE!r})
        import experiment, halfulp as hu
        from halfulp.sim.sweeps import driver
        driver.GRACE = 3.0
        hu.sweep(experiment.slow, {space!r}, store={str(tmp_path / "s.sqlite")!r}, workers=2, progress=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "stopping: 3 s for" in shown
    assert "KeyboardInterrupt: stopped; 2 of 6 runs are finished (in" in shown
    assert not any(is_running(pid) for pid in pids(tmp_path))
    with Store(tmp_path / "s.sqlite") as store:
        assert sorted(row.metrics["y"] for row in store.rows()) == [0, 1]


def test_two_sweeps_into_one_store_at_once(tmp_path):
    """What both run is kept once, and each table is whole."""
    program = f"""
        import sys
        sys.path.insert(0, {HERE!r})
        import experiment, halfulp as hu
        first = int(sys.argv[1])
        space = [{{"x": x, "folder": {str(tmp_path)!r}, "seconds": 0.01}} for x in range(first, first + 20)]
        runs = hu.sweep(experiment.slow, space, store={str(tmp_path / "s.sqlite")!r}, progress=False)
        assert runs["y"].tolist() == [x * x for x in range(first, first + 20)]
    """
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(first)]) for first in (0, 10)]
    assert [process.wait(60) for process in both] == [0, 0]
    with Store(tmp_path / "s.sqlite") as store:
        table = store.frame()
    assert sorted(table["x"]) == list(range(30))
    assert os.listdir(tmp_path).count("s.sqlite") == 1
