"""The store: atomic, resumable, and clear about files it cannot use."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps.records import Planned, Row
from halfulp.sim.sweeps.store import Store, StoreError

CODE = {"halfulp": "0"}
NAN = float("nan")


def planned(k, **code):
    return Planned({"seed": k}, {**CODE, **code}, {"seed": k})


def row(k, **settings):
    metrics = settings.pop("metrics", {"accuracy": k / 10})
    return Row(planned(k, **settings.pop("code", {})), "s", metrics, versions={"halfulp": "0"}, **settings)


def seeds(store):
    return [each.planned.config["seed"] for each in store.rows()]


def test_rows_come_back_in_order_and_are_kept_once(tmp_path):
    path = tmp_path / "deep" / "runs.sqlite"
    full = row(
        2, curves={"loss": np.array([1, NAN], np.float32)}, revision="abc-dirty", host="h", started="a", finished="b",
        seconds=0.5, attempts=2,
    )  # fmt: skip
    with Store(path) as store:
        store.add([full, row(1)])
        store.add([row(1, metrics={"accuracy": 9}), row(3)])
    with Store(path) as store:
        assert seeds(store) == [2, 1, 3]
        found = store.rows()[0]
        np.testing.assert_array_equal(found.curves["loss"], full.curves["loss"])
        assert found.curves["loss"].dtype == np.float32
        assert (found.planned, found.metrics, found.host, found.attempts) == (full.planned, full.metrics, "h", 2)
        assert store.rows([planned(1).key])[0].metrics == {"accuracy": 0.1}
        assert store.statuses([planned(k).key for k in (1, 9)]) == {planned(1).key: "finished"}


def test_what_failed_is_replaced_and_what_finished_is_not(tmp_path):
    with Store(tmp_path / "runs.sqlite") as store:
        store.add([row(1, metrics={}, error="ValueError: no", trace="...")])
        assert store.statuses([planned(1).key]) == {planned(1).key: "failed"}
        store.add([row(1, attempts=2)])
        store.add([row(1, metrics={}, error="late")])
        (found,) = store.rows()
        assert (found.status, found.metrics, found.attempts, found.error) == ("finished", {"accuracy": 0.1}, 3, None)


def test_numbers_that_json_has_not_come_back(tmp_path):
    values = {"nan": NAN, "inf": float("inf"), "minus": -float("inf"), "zero": -0.0, "big": 2**70, "none": None}
    with Store(tmp_path / "runs.sqlite") as store:
        store.add([row(1, metrics=values)])
        found = store.rows()[0].metrics
        assert repr(found) == repr(values)
        text = sqlite3.connect(tmp_path / "runs.sqlite").execute("SELECT metrics FROM runs").fetchone()[0]
        json.loads(text, parse_constant=pytest.fail)  # JSON that every reader takes
        assert np.isnan(store.frame()["nan"][0])


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    with Store(tmp_path / "runs.sqlite") as store:
        with pytest.raises(TypeError):
            store.add([row(1), row(2, metrics={"bad": object()})])
        assert store.rows() == []


def test_in_memory():
    with Store(None) as store:
        store.add([row(1)])
        assert len(store.rows()) == 1


def test_keys_do_not_depend_on_the_order_of_fields_but_on_the_code():
    a, b = Planned({"a": 1, "b": 2}, CODE, {}), Planned({"b": 2, "a": 1}, CODE, {})
    assert (a.key, a.base) == (b.key, b.base)
    other = Planned({"a": 1, "b": 2}, {"halfulp": "1"}, {})
    assert other.base == a.base
    assert other.key != a.key


def test_runs_of_other_code_are_counted():
    with Store(None) as store:
        store.add(
            [row(k) for k in range(3)] + [row(0, code={"halfulp": "9"}), row(1, code={"halfulp": "9"}, error="x")]
        )
        new = [planned(k, halfulp="1") for k in range(2)]
        assert store.of_other_code(new) == {(("halfulp", "0"),): 2, (("halfulp", "9"),): 1}
        assert not store.of_other_code([planned(7)])


def test_the_table(tmp_path):
    rows = [
        Row(Planned({"k": k}, CODE, {"x": k, "loss": "l2", "status": "on"}), "ab"[k % 2], {"loss": k / 2, "y": k > 1},
            {"loss": np.arange(k)}, versions={"halfulp": "0.1"}, seconds=2.0) for k in range(4)
    ]  # fmt: skip
    with Store(tmp_path / "runs.sqlite") as store:
        store.add(rows)
        table = store.frame()
        assert list(table.columns) == [
            *("key", "sweep", "status", "x", "config.loss", "config.status", "metric.loss", "y"),
            *("seconds", "finished", "attempts", "halfulp", "revision", "error"),
        ]
        assert table["metric.loss"].tolist() == [0, 0.5, 1, 1.5]
        assert set(table["halfulp"]) == {"0.1"}
        assert store.frame(sweep="b")["x"].tolist() == [1, 3]
        assert store.frame({"x": [3, 0], "y": False})["x"].tolist() == [0]
        drawn = store.frame(curves=True)
        assert [len(curve) for curve in drawn["curve.loss"]] == [0, 1, 2, 3]
        keys = [rows[k].planned.key for k in (2, 0, 2)]
        assert store.frame(keys=keys)["x"].tolist() == [2, 0]
        with pytest.raises(ValueError, match="unknown column 'z'"):
            store.frame({"z": 1})
        with pytest.raises(ValueError, match="unknown sweep 'c'; known: a, b"):
            store.frame(sweep="c")


def test_the_table_of_an_empty_store():
    with Store(None) as store:
        table = store.frame()
        assert len(table) == 0
        assert list(table.columns)[:3] == ["key", "sweep", "status"]
        assert isinstance(table, pandas.DataFrame)


@pytest.mark.slow
def test_a_hundred_thousand_runs_are_listed_in_seconds(tmp_path):
    config = {"task": "digits", "format": "e4m3", "kind": "float", "bits": 8, "learning_rate": 0.1, "steps": 300}
    metrics = {"test_accuracy": 0.9, "test_loss": 0.3, "train_loss": NAN, "diverged": False}
    with Store(tmp_path / "runs.sqlite") as store:
        store.add(Row(Planned({"k": k}, CODE, {**config, "seed": k}), "s", metrics) for k in range(100_000))
        started = time.perf_counter()
        assert len(store.frame({"bits": 8})) == 100_000
        assert time.perf_counter() - started < 5


def test_a_store_is_read_where_nothing_can_be_written(tmp_path):
    path = tmp_path / "place" / "runs?#%.sqlite"
    with Store(path) as store:
        store.add([row(1)])
        with Store(path, read_only=True) as reader:  # while another process writes
            assert seeds(reader) == [1]
            with pytest.raises(StoreError, match="readonly"):
                reader.add([row(2)])
    assert os.listdir(path.parent) == [path.name]
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with Store(path, read_only=True) as reader:
            assert seeds(reader) == [1]
    finally:
        path.parent.chmod(0o755)
    with pytest.raises(StoreError, match="no store at .*halfulp sweep makes one"):
        Store(tmp_path / "none.sqlite", read_only=True)


def refused(path, message):
    """A file that is refused stays as it is."""
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        Store(path)
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir() if other.name.startswith(path.name)] == [path.name]


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at its header " * 10)
    refused(path, r"notes.txt is no store or is damaged .*; move it away or pass another store")


def test_a_damaged_store(tmp_path):
    path = tmp_path / "runs.sqlite"
    with Store(path) as store:
        store.add([row(k) for k in range(2000)])
    content = bytearray(path.read_bytes())
    content[12288:80000] = b"\xa5" * (80000 - 12288)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is no store or is damaged"):
        Store(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program(tmp_path):
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    refused(path, "is a database of another program; pass another store")


@pytest.mark.parametrize(("version", "age"), [(99, "a newer"), (1, "an older")])
def test_a_store_of_another_version(tmp_path, version, age):
    path = tmp_path / "runs.sqlite"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(
        StoreError, match=rf"by {age} halfulp \(version {version} of stores, expected 2\); pass another"
    ):
        Store(path)


def test_a_locked_store(tmp_path):
    path = tmp_path / "runs.sqlite"
    with Store(path, timeout=0.1) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(StoreError, match="locked; another process is writing to it; wait for it, or pass"):
                store.add([row(1)])
        finally:
            other.close()
        store.add([row(1)])
        assert seeds(store) == [1]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make the folder of .*; pass another store"):
        Store(tmp_path / "file" / "runs.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=r"is a folder; pass a file in it, such as .*folder/runs.sqlite"):
        Store(tmp_path / "folder")


def test_a_full_disk(tmp_path):
    with Store(tmp_path / "runs.sqlite") as store:
        store.add([row(0)])
        store._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(StoreError, match="full; free space and run again; finished runs are kept"):
            store.add([row(k) for k in range(5000)])
        assert seeds(store) == [0]


def test_a_disk_that_fills_under_the_log(tmp_path):
    path = tmp_path / "runs.sqlite"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store(path) as store:
        store.add([row(0)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        try:
            with pytest.raises(StoreError, match="free space and run again; finished runs are kept"):
                store.add([row(k) for k in range(5000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Store(path) as store:
        assert seeds(store) == [0]
        store.add([row(1)])
        assert seeds(store) == [0, 1]


def test_several_processes_write_to_one_store(tmp_path):
    """Both are kept, what is the same once; the file is made by whoever comes first."""
    path = tmp_path / "runs.sqlite"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from halfulp.sim.sweeps.store import Store\n"
        "from halfulp.sim.sweeps.records import Planned, Row\n"
        "first = int(sys.argv[3])\n"
        "with Store(sys.argv[2]) as store:\n"
        "    for k in range(first, first + 60):\n"
        "        store.add([Row(Planned({'k': k}, {}, {'seed': k}))])\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(path), str(first)]) for first in (0, 40)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    with Store(path) as store:
        assert sorted(seeds(store)) == list(range(100))
