"""Names and values that mean something to JSON, pandas, SQLite or a terminal are kept as they are."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.sim.sweeps.progress import Progress
from halfulp.sim.sweeps.records import Planned, Row
from halfulp.sim.sweeps.store import Store
from halfulp.sim.sweeps.values import dumps, loads

NAN = float("nan")


@pytest.mark.parametrize(
    "value",
    [
        {"$float": "abc"},
        {"$float": "1.5"},
        {"$float": ["nan"]},
        {"$float": {"$float": [1, {"$float": None}]}},
        {"$float": 1, "other": "$float"},
        ["$float", {"a": {"$float": "inf"}}],
    ],
)
def test_tables_that_look_like_marks_come_back(value):
    assert loads(dumps(value)) == value
    both = loads(dumps([value, -float("inf"), {"$float": NAN}]))
    assert both[:2] == [value, -float("inf")]
    assert np.isnan(both[2]["$float"])
    assert dumps(value, canonical=True) != dumps(1.5)


def test_such_tables_are_swept(tmp_path):
    space = [{"x": {"$float": "abc"}}, {"x": {"$float": "1.5"}}]
    runs = hu.sweep(lambda config: {"y": config["x"]["$float"]}, space, store=tmp_path / "s.sqlite", progress=False)
    assert runs["x"].tolist() == [each["x"] for each in space]
    assert runs["y"].tolist() == ["abc", "1.5"]


def test_text_that_is_no_text(tmp_path):
    """Names of files may hold bytes that are no UTF-8; Python shows them as lone surrogates."""

    def train(config):
        if config["x"] == "bad\udc80":
            raise ValueError(f"no file {config['x']}")
        return {"y\udc81": 1.0, "curve\udc82": [1, 2], "name": config["x"]}

    space = {"x": ["bad\udc80", "good\udc83", "\N{GRINNING FACE}"]}
    with pytest.warns(RuntimeWarning, match=r"1 of 3 runs failed: ValueError: no file bad\\udc80"):
        runs = hu.sweep(train, space, store=tmp_path / "s.sqlite", progress=False)
    assert runs["x"].tolist() == ["bad\\udc80", "good\\udc83", "\N{GRINNING FACE}"]
    assert runs["error"].tolist()[0] == "ValueError: no file bad\\udc80"
    assert runs["y\\udc81"].tolist()[1:] == [1.0, 1.0]
    with Store(tmp_path / "s.sqlite") as store:
        assert [row.planned.config["x"] for row in store.rows()] == space["x"]  # so that runs keep their keys
        assert store.frame(curves=True)["curve\\udc82"][1].tolist() == [1, 2]
    again = hu.sweep(train, space, store=tmp_path / "s.sqlite", progress=False)
    assert again["attempts"].tolist() == [1, 1, 1]
    assert hu.report(tmp_path / "s.sqlite", tmp_path / "r.html", pictures=False).exists()


def test_names_that_are_taken_twice_lose_nothing():
    config = {"key": 1, "config.key": 2, "y": 3, "metric.y": 4, "config.y": 5}
    runs = hu.sweep(lambda config: {"y": 6, "error": 7}, [config], progress=False)
    shown = {"config.config.key": 1, "config.key": 2, "config.config.y": 3, "metric.y": 4, "config.y": 5}
    shown |= {"metric.metric.y": 6, "metric.error": 7}
    assert runs[list(shown)].iloc[0].to_dict() == shown
    assert len(runs["key"][0]) == 64


def test_curves_of_a_run_are_those_of_its_metrics():
    """Where two sweeps finish one run, the second adds nothing to the first."""
    planned = Planned({"x": 1}, {}, {"x": 1})
    with Store(None) as store:
        store.add([Row(planned, metrics={"y": 1}, curves={"a": np.array([1.0])})])
        store.add([Row(planned, metrics={"y": 2}, curves={"a": np.array([2.0]), "b": np.array([2.0])})])
        (row,) = store.rows()
    assert row.metrics == {"y": 1}
    assert {name: curve.tolist() for name, curve in row.curves.items()} == {"a": [1.0]}


def test_messages_do_not_steer_the_terminal(capsys):
    with Progress(True, "title") as shown:
        shown.update(0, 1)
        shown.failed({"x": "\x1b[2J"}, "ValueError: \x1b]0;title\x07")
    text = capsys.readouterr().err
    assert r"x=\x1b[2J: ValueError: \x1b]0;title\x07" in text.replace("\n", "")
