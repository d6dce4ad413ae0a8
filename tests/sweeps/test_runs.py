"""Reading a store: conditions, tables, comparisons, files for other programs."""

import io
import sys
import time

import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps.export import export_runs
from halfulp.sim.sweeps.reading import read_run, read_runs
from halfulp.sim.sweeps.screen import printable
from halfulp.sim.sweeps.store import Store, StoreError

from .example_runs import HOSTILE, command, example_rows, row, stored


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("runs") / "runs.sqlite", example_rows(240, steps=30))


@pytest.fixture
def table():
    return pandas.DataFrame(
        {
            "format": ["e4m3", "E5M2", "int8", "none", None],
            "seed": [0, 1, 2, 2**62 + 1, 4],
            "loss": [0.5, np.nan, np.inf, -1e-9, 0.1],
            "diverged": [True, False, None, False, True],
            "mixed": ["2", 2, [1, 2], None, 2.5],
        }
    )


def test_list(store):
    text = command("runs", store, "--where", "sweep=first", "--limit", "5").output
    lines = text.splitlines()
    assert lines[1].split()[:5] == ["key", "format", "seed", "learning_rate", "test_accuracy"]
    assert "5 of 120 runs; --limit 0 prints all" in text
    assert "the same in all: sweep=first, status=finished, task=digits, diverged=false, attempts=1" in text
    assert max(map(len, lines[:8])) <= 80
    assert "…" not in "".join(lines[:8])
    assert "240 runs\n" in command("runs", store, "--limit", "0").output


def test_list_sorts_and_chooses_columns(store):
    text = command("runs", store, "--sort", "-test_loss", "--columns", "format, test_loss,revision", "--csv").output
    found = pandas.read_csv(io.StringIO(text))
    assert list(found) == ["format", "test_loss", "revision"]
    assert len(found) == 240
    losses = found["test_loss"].dropna().to_numpy()
    assert (np.diff(losses) <= 0).all()
    assert found["test_loss"][len(losses) :].isna().all()
    expected = read_runs(store)["test_loss"]
    assert set(losses) == set(expected.dropna())  # every bit of every number


def test_wide_tables_are_not_cut(store):
    text = command("runs", store, "--columns", "key,revision,finished,format,error", "--limit", "2").output
    assert read_runs(store)["key"][0] in text
    assert "…" not in text


def test_markdown(tmp_path):
    rows = [row(0, {"name": "a|b\n*c*"}, {"loss": 0.5})]
    path = stored(tmp_path / "runs.sqlite", rows)
    lines = command("runs", path, "--markdown", "--columns", "name,loss").output.splitlines()
    assert [line.replace(" ", "") for line in lines] == ["|name|loss|", "|:-----------|-----:|", "|a\\|b\\*c\\*|0.5|"]


def test_hostile_texts_on_a_screen(tmp_path):
    path = stored(tmp_path / "runs.sqlite", [row(k, {"text": text}, {}) for k, text in enumerate(HOSTILE.values())])
    for arguments in (["--columns", "text"], [], ["--markdown"], ["show", read_runs(path)["key"][5]]):
        text = command("runs", path, *arguments).output
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert printable("a\x1b[31m\u202e") == "a\\x1b[31m\\u202e"


def test_show(store):
    key = read_runs(store, "status=finished")["key"][3]
    text = command("runs", store, "show", key[:12]).output
    assert key in text
    assert "learning_rate  0.03" in text
    assert "2.05 to 1.1632, 30 values" in text
    assert "jax      0.10" in text
    failed = command("runs", store, "show", read_runs(store, "error!=")["key"][0]).output
    assert "ValueError: out of range" in failed
    assert "Traceback" in failed
    assert "metrics" not in failed


def test_show_of_no_run_or_many(store):
    with pytest.raises(ValueError, match="none of the 240 runs has the key 'xyz'"):
        read_run(store, "xyz")
    first = max("0123456789abcdef", key=lambda c: sum(key[0] == c for key in read_runs(store)["key"]))
    with pytest.raises(ValueError, match=f"runs have keys that begin with '{first}': .*; pass more of it"):
        read_run(store, first)


def test_compare(store):
    arguments = (
        "compare",
        "--metric",
        "test_loss",
        "--baseline",
        "e5m4",
        "--diverged",
        "drop",
        "--where",
        "format~e[45]m[14]",
    )
    text = command("runs", store, *arguments).output
    assert "e4m4" in text
    assert "verdict" in text
    lines = command("runs", store, *arguments, "--markdown").output.splitlines()
    assert lines[0].split()[1:6:2] == ["format", "mean", "estimate"]
    assert " ± " in lines[2] or " [" in lines[2]
    found = pandas.read_csv(io.StringIO(command("runs", store, *arguments, "--csv", "--by", "format").output))
    runs = read_runs(store, "status=finished")
    pair = {
        name: runs[runs["format"] == name].set_index(["seed", "learning_rate"])["test_loss"]
        for name in ("e4m1", "e5m4")
    }
    difference = (pair["e4m1"] - pair["e5m4"]).dropna().mean()
    assert found.set_index("format")["estimate"]["e4m1"] == pytest.approx(difference, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "compare needs a metric"),
        (["compare", "--metric", "test_los"], "did you mean 'test_loss'"),
        (
            ["compare", "--metric", "test_loss"],
            "no finished run has format 'binary32'; pass --baseline with one of: e1m0",
        ),
        (["show"], "show needs the key of a run"),
        (["export"], "export needs a file"),
        (["list", "format=e4m3"], "list takes nothing more, got 'format=e4m3'; to filter, write --where 'format=e4m3'"),
        (["--by", "seed"], "--by is of compare, not of list"),
        (["--csv", "--markdown"], "expected --csv or --markdown, got both"),
        (["--columns", "key,formt"], "did you mean 'format'"),
        (["export", "runs.xlsx"], "unknown suffix '.xlsx'; known: .csv, .parquet"),
    ],
)
def test_errors_of_the_command(store, arguments, message):
    result = command("runs", store, *arguments)
    assert result.exit_code == 1
    assert message in str(result.exception)


def test_export(store, tmp_path):
    runs = read_runs(store)
    arguments = ("-w", "format~e4*", "--columns", "format,seed", "--limit", "12")
    text = command("runs", store, "export", tmp_path / "new" / "some.csv", *arguments).output
    assert text.startswith("wrote 12 runs to ")
    assert pandas.read_csv(tmp_path / "new" / "some.csv").shape == (12, 2)
    read = pandas.read_csv(export_runs(runs, tmp_path / "runs.csv"))
    pandas.testing.assert_frame_equal(read, runs, check_dtype=False, check_exact=True)
    read = pandas.read_parquet(export_runs(runs, tmp_path / "runs.parquet"))
    pandas.testing.assert_frame_equal(read, runs, check_exact=True)


def test_export_of_mixed_columns(table, tmp_path):
    read = pandas.read_parquet(export_runs(table, tmp_path / "runs.parquet"))
    assert read["mixed"].tolist()[:3] == ["2", "2", "[1, 2]"]
    assert read["seed"][3] == 2**62 + 1
    assert read["diverged"].tolist() == [True, False, None, False, True]
    assert pandas.read_csv(export_runs(table, tmp_path / "runs.csv"))["mixed"][2] == "[1, 2]"


def test_export_without_pyarrow(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow, or export to .csv"):
        export_runs(table, tmp_path / "runs.parquet")


def test_stores_without_runs(tmp_path):
    empty = stored(tmp_path / "empty.sqlite", [])
    assert command("runs", empty).output == "0 runs\n"
    assert command("runs", empty, "--csv").output.startswith("key,sweep,status")
    assert read_runs(empty, "status=failed").empty
    failures = stored(tmp_path / "failed.sqlite", [row(k, {"seed": k}, {}, error=f"E: {k}") for k in range(3)])
    assert command("runs", failures, "--columns", "seed,error").output.count("E: ") == 3
    assert "no finished run has seed" in str(
        command("runs", failures, "compare", "--metric", "seconds", "--by", "seed", "--baseline", "0").exception
    )


def test_reading_while_a_sweep_writes(tmp_path):
    rows = example_rows(20)
    path = stored(tmp_path / "runs.sqlite", rows[:5])
    with Store(path) as writing:
        writing.add(rows[5:10])
        assert len(read_runs(path)) == 10
        writing.add(rows[10:])
        assert "20 runs" in command("runs", path).output


def test_what_is_no_store(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database, " * 100)
    for path, message in ((tmp_path / "text.sqlite", "no store or is damaged"), (tmp_path, "is a folder")):
        with pytest.raises(StoreError, match=message):
            read_runs(path)
    with pytest.raises(StoreError, match="no store at"):
        read_runs(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    assert (tmp_path / "text.sqlite").read_text() == "no database, " * 100


@pytest.mark.slow
def test_a_hundred_thousand_runs(tmp_path):
    path = stored(tmp_path / "runs.sqlite", example_rows(100_000))
    for arguments in (
        ["runs", path],
        ["runs", path, "-w", "format~e[45]*", "-w", "test_loss<0.3", "--sort", "-test_loss"],
        ["runs", path, "export", tmp_path / "runs.parquet"],
        ["report", path, "--out", tmp_path / "report.html"],
    ):
        start = time.process_time()
        assert command(*arguments).exit_code == 0
        assert time.process_time() - start < 5
