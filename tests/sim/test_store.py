"""The store: atomic, resumable, and clear about files it cannot use."""

import sqlite3

import pytest
from halfulp.sim.sweeps.store import Row, Store, StoreError, key_of


def row(k):
    return Row({"seed": k}, {"accuracy": k / 10}, {"halfulp": "0"})


def test_rows_come_back_in_order_and_are_kept_once(tmp_path):
    path = tmp_path / "deep" / "runs.sqlite"
    with Store(path) as store:
        store.add([row(2), row(1)])
        store.add([row(1), row(3)])
    with Store(path) as store:
        rows = store.rows()
        assert [r.config["seed"] for _, r in rows] == [2, 1, 3]
        assert rows[0] == (key_of({"seed": 2}), row(2))
        assert store.finished([key_of({"seed": k}) for k in (1, 9)]) == {key_of({"seed": 1})}


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    with Store(tmp_path / "runs.sqlite") as store:
        with pytest.raises(TypeError):
            store.add([row(1), Row({"seed": 2}, {"bad": object()}, {})])
        assert store.rows() == []


def test_in_memory():
    with Store(None) as store:
        store.add([row(1)])
        assert len(store.rows()) == 1


def test_keys_do_not_depend_on_the_order_of_fields():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at its header " * 10)
    with pytest.raises(StoreError, match=r"notes.txt is no store or is damaged .*; move it away or pass another store"):
        Store(path)


def test_a_damaged_store(tmp_path):
    path = tmp_path / "runs.sqlite"
    with Store(path) as store:
        store.add([row(k) for k in range(2000)])
    content = bytearray(path.read_bytes())
    content[8192:40000] = b"\xa5" * (40000 - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is no store or is damaged"):
        Store(path)


def test_a_database_of_another_program(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="is a database of another program; pass another store"):
        Store(path)


def test_a_store_of_another_version(tmp_path):
    path = tmp_path / "runs.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="has version 99, expected 1"):
        Store(path)


def test_a_locked_store(tmp_path):
    path = tmp_path / "runs.sqlite"
    Store(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(
            StoreError, match="database is locked; another process is writing to it; wait for it, or pass"
        ):
            Store(path, timeout=0.1)
    finally:
        other.close()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make the folder of .*; pass another store"):
        Store(tmp_path / "file" / "runs.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="check that its folder exists and can be written"):
        Store(tmp_path / "folder")


def test_a_full_disk(tmp_path):
    with Store(tmp_path / "runs.sqlite") as store:
        store._connection.execute("PRAGMA max_page_count = 5")
        with pytest.raises(StoreError, match="full; free space and run again; finished runs are kept"):
            store.add([row(k) for k in range(5000)])
        assert store.rows() == []
