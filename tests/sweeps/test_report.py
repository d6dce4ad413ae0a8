"""The report as a file: what it holds is what the runs were, and hostile texts stay texts."""

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps.reading import read_runs
from halfulp.sim.sweeps.report import report
from halfulp.sim.sweeps.report_data import LONGEST_TEXT, MOST_POINTS, page_data, script_json
from halfulp.sim.sweeps.store import StoreError

from .example_runs import HOSTILE, command, example_rows, row, stored

PICTURES = (
    "test accuracy over exponent and mantissa bits, each format at its best learning rate",
    "test accuracy over bits, each format at its best learning rate",
    "runs that diverged, by learning rate and format",
)
WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("report") / "runs.sqlite", example_rows(240, steps=30))


@pytest.fixture(scope="module")
def page(store):
    return report(store, store.with_name("report.html")).read_text("utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def cells_of(column):
    """A column's cells as the page's script sees them."""
    numbers = column["kind"] == "number"
    values = np.frombuffer(b64decode(column["values"]), "<f8").tolist() if numbers else column["values"]
    codes = np.frombuffer(b64decode(column["codes"]), WIDTHS[column["width"]])
    return [[*values, None][code] for code in codes]


def test_the_page_holds_every_cell(store, page):
    runs, data = read_runs(store), data_of(page)
    assert data["rows"] == len(runs)
    assert [column["name"] for column in data["columns"]] == list(runs)
    for column in data["columns"]:
        name = column["name"]
        expected = [None if cell is None or cell != cell else cell for cell in runs[name].tolist()]
        if name == "key":
            expected = [key[:12] for key in expected]
        elif name == "diverged":
            expected = [None if cell is None else str(cell).lower() for cell in expected]
        assert cells_of(column) == expected, name


def test_columns_say_what_they_are(page):
    columns = {column["name"]: column for column in data_of(page)["columns"]}
    assert columns["task"]["constant"]
    assert not columns["task"]["shown"]
    assert columns["format"]["shown"]
    assert not columns["finished"]["shown"]
    assert columns["test_loss"]["empty"]
    assert not columns["learning_rate"]["empty"]
    assert columns["format"]["values"][:2] == ["e1m0", "e1m1"]
    assert columns["format"]["values"][-2:] == ["int15", "int16"]  # in natural order
    assert [name for name, column in columns.items() if column["label"]] == ["format", "bits", "seed", "learning_rate"]


def test_curves(store, page):
    data = data_of(page)["curves"]
    runs = read_runs(store, curves=True)
    curves = next(runs[name] for name in runs if isinstance(runs[name][0], np.ndarray))
    assert data["names"] == ["loss"]
    assert data["log"] is True
    assert data["rows"] == [k for k in range(240) if k % 50 != 13]
    for k, stored_curve in zip(data["rows"], data["runs"]):
        assert np.frombuffer(b64decode(stored_curve["loss"]["y"]), "<f4").tolist() == curves[k].tolist()


def test_curves_of_a_table(store, page, tmp_path):
    found = data_of(report(read_runs(store, curves=True), tmp_path / "report.html", pictures=False).read_text())
    assert found["curves"] == data_of(page)["curves"]
    assert found["columns"] == data_of(page)["columns"]


def test_long_curves_are_thinned_and_keep_their_peaks():
    values = np.sin(np.arange(100_000) / 5000)
    values[12_345], values[77_777], values[50_000:50_010] = 9, -9, np.nan
    data = page_data(pandas.DataFrame({"seed": [0]}), {0: {"loss": values}})["curves"]
    x = np.frombuffer(b64decode(data["runs"][0]["loss"]["x"]), "<u4")
    y = np.frombuffer(b64decode(data["runs"][0]["loss"]["y"]), "<f4")
    assert len(x) <= 1.25 * MOST_POINTS
    assert (np.diff(x.astype(int)) > 0).all()
    assert (x[0], x[-1]) == (0, 99_999)
    assert y.tolist()[list(x).index(12_345)] == 9
    assert y.tolist()[list(x).index(77_777)] == -9
    assert np.isnan(y).any()
    assert data["log"] is False
    assert "thinned" in data["note"]


def test_odd_curves():
    curves = {0: {"loss": np.array([np.inf, 1e300, np.nan]), "none": np.array([])}}
    data = page_data(pandas.DataFrame({"seed": [0]}), curves)["curves"]
    y = np.frombuffer(b64decode(data["runs"][0]["loss"]["y"]), "<f4")
    assert y[0] == np.inf
    assert np.isfinite(y[1])
    assert np.isnan(y[2])
    assert data["runs"][0]["none"]["y"] == ""


def test_odd_columns():
    table = pandas.DataFrame(
        {
            "big": [2**62 + 1, 2**62],
            "nothing": [None, None],
            "nan": [np.nan, np.inf],
            "list": [[1, 2], {"a": 1}],
            "date": pandas.to_datetime(["2026-01-02", "2026-01-01"]),
            "long": ["x" * 10_000, "y"],
            "flag": [True, False],
        }
    )
    columns = {column["name"]: cells_of(column) for column in page_data(table, {})["columns"]}
    assert columns["big"] == [str(2**62 + 1), str(2**62)]  # no float64 has them both
    assert columns["nothing"] == [None, None]
    assert columns["nan"] == [None, np.inf]
    assert columns["list"] == ["[1, 2]", '{"a": 1}']
    assert columns["date"] == ["2026-01-02T00:00:00", "2026-01-01T00:00:00"]
    assert columns["long"][0] == "x" * LONGEST_TEXT + "… (10000 characters)"
    assert columns["flag"] == ["true", "false"]


class Outline(HTMLParser):
    """Tags, and addresses in attributes."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]


def test_hostile_texts_are_data(tmp_path):
    rows = [row(k, {name: text, "text": text}, {}, error=text) for k, (name, text) in enumerate(HOSTILE.items())]
    store = stored(tmp_path / "a<b>&'\"$title.sqlite", rows)
    page = report(store, tmp_path / "report.html", title="</title><script>alert(1)</script>").read_text("utf-8")
    outline = Outline()
    outline.feed(page)
    assert outline.tags.count("script") == 2
    assert outline.tags.count("img") == 0
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", page)
    assert "a<b>" not in page
    assert "a<b>&'\"$title.sqlite" in unescape(page)
    columns = {column["name"]: column for column in data_of(page)["columns"]}
    shown = cells_of(columns["text"])
    assert [text[:LONGEST_TEXT] for text in shown] == [text[:LONGEST_TEXT] for text in HOSTILE.values()]
    assert set(HOSTILE) <= set(columns)


def test_script_json():
    data = {"</script>": ["<!--", "\u2028\u2029", "&", "\ud800", 'a"b\\']}
    text = script_json(data)
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == data
    with pytest.raises(ValueError, match="Out of range float"):
        script_json(float("nan"))


def test_the_page_needs_no_other_file(page):
    outline = Outline()
    outline.feed(page)
    assert outline.addresses
    assert all(address.startswith("data:image/") for address in outline.addresses)
    assert "link" not in outline.tags
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", re.sub(r'src="data:[^"]*"', "", page))


def test_the_policy_names_what_is_there(page):
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(content) == 1
        assert f"{tag}-src 'sha256-{b64encode(sha256(content[0].encode()).digest()).decode()}'" in policy


def test_provenance_and_counts(store, page):
    text = unescape(re.sub(r"<[^>]+>", " ", page.partition('<script type="application/json"')[0]))
    text = " ".join(text.split())
    for fact in ("store runs.sqlite (", "runs 240 failed 5 diverged 12", "revisions 0123456789abcdef", "made by halfulp 0.5.0", "packages jax 0.10",
                 "finished 2026-01-01T00:00:00.000Z to 2026-01-01T00:03:59.000Z", "time of all runs 2 min 28 s"):  # fmt: skip
        assert fact in text
    assert "40 formats" in text


def test_pictures_are_those_the_columns_allow(store, page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == [f"digits: {caption}" for caption in PICTURES]
    assert "<figure>" not in report(store, store.with_name("plain.html"), pictures=False).read_text()
    of_function = pandas.DataFrame({"width": [1, 2], "loss": [0.1, 0.2]})
    assert "<figure>" not in report(of_function, store.with_name("function.html")).read_text()
    nothing_narrow = read_runs(store, "format=int16")
    assert len(data_of(report(nothing_narrow, store.with_name("int16.html")).read_text())["columns"]) > 10


def test_conditions(store, tmp_path):
    page = report(store, tmp_path / "some.html", where=["format~e4*", "diverged=false"]).read_text()
    assert data_of(page)["rows"] == len(read_runs(store, ["format~e4*", "diverged=false"])) > 0
    assert "<dt>only runs with</dt><dd>format~e4*\ndiverged=false</dd>" in page


def test_stores_without_runs(tmp_path):
    page = report(stored(tmp_path / "empty.sqlite", []), tmp_path / "empty.html").read_text()
    assert data_of(page)["rows"] == 0
    failures = stored(tmp_path / "failed.sqlite", [row(k, {"format": "e4m3"}, {}, error=f"E: {k}") for k in range(3)])
    page = report(failures, tmp_path / "failed.html").read_text()
    assert '<li class="bad"><b>3</b><span>failed</span></li>' in page
    assert data_of(page)["curves"] is None


def test_command(store, tmp_path):
    result = command("report", store, "--out", tmp_path / "new" / "report.html", "--no-pictures", "--title", "Mine")
    assert result.output.startswith("wrote ")
    assert "<title>Mine</title>" in (tmp_path / "new" / "report.html").read_text()


def test_what_cannot_be_reported(store, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected a file ending in \.html, got 'runs\.sqlite'; pass 'runs\.html'"):
        report(store, "runs.sqlite")
    with pytest.raises(TypeError, match="expected the path of a store or a pandas DataFrame of runs, got list"):
        report([], tmp_path / "report.html")
    with pytest.raises(StoreError, match="no store at"):
        report(tmp_path / "none.sqlite", tmp_path / "report.html")
    (tmp_path / "text.sqlite").write_text("no database, " * 100)
    with pytest.raises(StoreError, match="no store or is damaged"):
        report(tmp_path / "text.sqlite", tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.sqlite"]


def test_a_report_is_replaced_as_a_whole(store, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("before")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        report(store, out, pictures=False)
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
