"""Runs of studies: what is kept, what is not repeated, what is refused; and the scorecard made of them."""

import json
from dataclasses import asdict, replace

import pytest
from halfulp.cli import app
from halfulp.studies import catalogue, records, running
from halfulp.studies.catalogue import list_studies, study
from halfulp.studies.claims import Measured
from halfulp.studies.pages import html_page, markdown_page
from halfulp.studies.records import SHIPPED, RecordError, read, write
from halfulp.studies.running import run_all, run_study, stored
from halfulp.studies.scorecard import Scorecard, counts_of, scorecard
from halfulp.studies.study import Findings
from typer.testing import CliRunner

NAME = "qat_law"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("studies")
    run_study(NAME, out=out)
    return out


def test_a_run_leaves_its_files(ran):
    folder = ran / NAME / "quick"
    names = {path.name for path in folder.iterdir()}
    assert {"result.json", "claims.csv", "captions.json", "errors.csv", "law.png", "law.svg"} <= names
    assert (folder / "law.png").read_bytes()[:4] == b"\x89PNG"
    assert not [name for name in names if name.endswith(".part")]


def test_a_stored_run_is_not_repeated(ran, monkeypatch):
    monkeypatch.setattr(running, "ProcessPoolExecutor", None)
    [(name, record)] = run_all([NAME], "quick", ran, 1)
    assert name == NAME
    assert record.measured["ratio_100"].value == pytest.approx(1.6464, abs=1e-3)


def test_changed_code_runs_anew(ran, monkeypatch):
    assert stored(study(NAME), "quick", ran) is not None
    monkeypatch.setattr(running, "sources", lambda: "of other code")
    assert stored(study(NAME), "quick", ran) is None


def test_a_shipped_run_of_a_larger_scale_counts(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SHIPPED", tmp_path)
    record = read(ran / NAME / "quick" / "result.json", study(NAME))
    for scale in ("quick", "full"):
        write(replace(record, scale=scale), tmp_path / f"{NAME}.{scale}.json")
    found = [stored(study(NAME), scale, tmp_path / "none") for scale in ("quick", "full", "gpu")]
    assert [each and each.scale for each in found] == ["full", "full", None]
    assert stored(study(NAME), "quick", ran) == record


def test_changed_claims_fail(ran):
    found = study(NAME)
    changed = replace(found, claims=(replace(found.claims[0], published=1.68), *found.claims[1:]))
    with pytest.raises(RecordError, match="claims of 'qat_law' changed since this run.*halfulp study qat_law"):
        stored(changed, "quick", ran)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"study": "qat_law"}'])
def test_damaged_results_are_refused(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(RecordError, match="damaged"):
        read(path, study(NAME))


def test_anothers_result_is_refused(ran, tmp_path):
    record = read(ran / NAME / "quick" / "result.json", study(NAME))
    write(replace(record, study="quartet"), tmp_path / "result.json")
    with pytest.raises(RecordError, match="of study 'quartet'"):
        read(tmp_path / "result.json", study(NAME))


def test_nan_and_intervals_come_back(ran, tmp_path):
    record = read(ran / NAME / "quick" / "result.json", study(NAME))
    measured = {"ratio_100": Measured(1.6, 1.5, 1.7, 5, "so"), "ratio_1000": Measured(float("nan"))}
    write(replace(record, measured=measured), tmp_path / "result.json")
    found = read(tmp_path / "result.json", study(NAME)).measured
    assert asdict(found["ratio_100"]) == asdict(measured["ratio_100"])
    assert found["ratio_1000"].value != found["ratio_1000"].value


def test_findings_answer_every_claim():
    found = study(NAME)
    with pytest.raises(ValueError, match="nothing was measured for: .*falls_with_size.*no claim is called: more"):
        found.checked(Findings({"more": Measured(1.0)}))


def test_unknown_names_and_scales():
    with pytest.raises(ValueError, match="did you mean 'qat_law'"):
        run_study("qat_laws")
    with pytest.raises(ValueError, match="quick, full, gpu"):
        run_study(NAME, scale="huge", out=None)
    with pytest.raises(ValueError, match="one worker"):
        scorecard([NAME], workers=0)


def test_a_study_that_fails_leaves_the_others(ran, tmp_path, monkeypatch):
    (tmp_path / "precision_law" / "quick").mkdir(parents=True)
    (tmp_path / "precision_law" / "quick" / "result.json").write_text("{")
    (tmp_path / NAME).symlink_to(ran / NAME)
    card = scorecard([NAME, "precision_law"], out=tmp_path)
    assert list(card.records) == [NAME]
    assert isinstance(card.failures["precision_law"], RecordError)
    assert set(card.frame()["study"]) == {NAME}
    assert "precision_law failed" in html_page(card, tmp_path)


def test_counts_keep_the_kinds_apart(ran):
    frame = scorecard([NAME], out=ran).frame()
    counts = counts_of(frame)
    assert list(counts.index) == ["formula", "refit", "training", "all"]
    assert counts.loc["formula", "all"] == counts.loc["all", "all"] == len(frame)
    assert counts.loc["training", "all"] == 0


def test_the_command(ran, tmp_path):
    pages = {kind: tmp_path / f"card.{kind}" for kind in ("csv", "html", "markdown")}
    options = [option for kind, path in pages.items() for option in (f"--{kind}", str(path))]
    result = CliRunner().invoke(app, ["scorecard", NAME, "--out", str(ran), *options])
    assert result.exit_code == 0, result.output
    assert "8 claims from 1 papers" in result.output
    page = pages["html"].read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert pages["csv"].read_text().count("\n") >= 8
    assert pages["markdown"].read_text().startswith("# Scorecard")


def test_the_command_says_which_scale_it_runs_at(tmp_path):
    result = CliRunner().invoke(app, ["study", NAME, "--scale", "gpu", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "it has no scale 'gpu', and runs at 'quick'" in result.output


def test_the_command_lists_studies():
    result = CliRunner().invoke(app, ["study"])
    assert result.exit_code == 0
    assert all(name in result.output for name in list_studies())


def test_pages_show_hostile_text_as_text(ran):
    card = scorecard([NAME], out=ran)
    record = card.records[NAME]
    hostile = "<script>alert(1)</script> | $x$\nnew"
    measured = {**record.measured, "ratio_100": Measured(1.6464, note=hostile)}
    card = Scorecard({NAME: replace(record, measured=measured)}, {})
    assert "<script>" not in html_page(card, ran)
    rows = [line for line in markdown_page(card).splitlines() if "alert" in line]
    assert len(rows) == 1
    assert "\\|" in rows[0]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_records_have_the_claims_of_today(path):
    record = read(path, study(path.stem.rpartition(".")[0]))
    assert set(record.measured) == {claim.id for claim in study(record.study).claims}


@pytest.mark.parametrize("name", catalogue.STUDIES)
def test_every_study_is_whole(name):
    found = study(name)
    assert found.name == name
    assert all(paper for paper in found.papers)
    assert len({claim.statement for claim in found.claims}) == len(found.claims)
    assert json.dumps(records.sources())
