"""What the tasks reach: the page says what the file of runs holds, and every task learns."""

import importlib.util
from math import log
from pathlib import Path
from types import SimpleNamespace

import halfulp as hu
import numpy as np
import pytest
import typer

DOCS = Path(__file__).parent.parent / "docs"


def make_tasks():
    spec = importlib.util.spec_from_file_location("make_tasks", DOCS / "make_tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TASKS = make_tasks()
GROUPS = TASKS.groups(TASKS.read())


def test_the_page_is_current():
    assert (DOCS / "tasks.md").read_text() == TASKS.page(TASKS.read()), "run make tasks"


def test_every_task_was_trained_in_every_recipe_with_every_seed():
    here = [setting for setting in TASKS.SETTINGS if setting.task != "cifar10"]
    assert {(setting.key, recipe) for setting in here for recipe in TASKS.RECIPES} <= set(GROUPS)
    known = {setting.key: setting for setting in TASKS.SETTINGS}
    for (key, _), of in GROUPS.items():
        assert len(of) == 2, "the loss and a metric"
        for found in of.values():
            assert [record.seed for record in found] == [str(seed) for seed in TASKS.SEEDS]
            assert {record.diverged_at for record in found} == {""}
            how = {(record.learning_rate, record.steps, record.batch) for record in found}
            assert how == {tuple(str(getattr(known[key], name)) for name in ("learning_rate", "steps", "batch"))}


@pytest.mark.parametrize("key", GROUPS, ids=lambda key: " ".join(filter(None, (*key[0], key[1]))))
def test_every_task_learns(key):
    """The whole interval is better than what knowing nothing of the inputs reaches."""
    for metric, found in GROUPS[key].items():
        mean, half = TASKS.interval([float(record.value) for record in found])
        baseline = float(found[0].baseline)
        assert mean - half > baseline if metric in ("accuracy", "r2") else mean + half < baseline, metric


def test_intervals_are_student_t():
    mean, half = TASKS.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    assert half == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)  # the 97.5% quantile with 4 degrees of freedom
    assert TASKS.interval([2.0, 2.0]) == (2, 0)
    with pytest.raises(ValueError, match="two seeds or more, got 1"):
        TASKS.interval([1.0])


def test_baselines():
    digits = TASKS.baselines(hu.task("digits"))
    assert digits["loss"] == pytest.approx(log(10), abs=0.01)
    assert 0.05 < digits["accuracy"] < 0.15
    diabetes = TASKS.baselines(hu.task("diabetes"))
    assert abs(diabetes["r2"]) < 0.01
    tokens = np.arange(4, dtype=np.uint8).repeat(250)[None]
    text = SimpleNamespace(
        metric="bits_per_byte", train={"tokens": tokens}, valid={"tokens": tokens[:, ::100]}, bytes_per_token=2.0,
        description=SimpleNamespace(vocabulary=4),
    )  # fmt: skip
    assert TASKS.baselines(text)["bits_per_byte"] == pytest.approx(1, abs=0.01), "two bits a token of two bytes"


def test_some_tasks_again(tmp_path, monkeypatch):
    """Rows of the others stay."""
    old = TASKS.read()
    monkeypatch.setattr(TASKS, "DATA", tmp_path / "data" / "tasks.csv")
    monkeypatch.setattr(TASKS, "PAGE", tmp_path / "tasks.md")
    TASKS.PAGE.write_text(f"before\n{TASKS.BEGIN}\nold\n{TASKS.END}\nafter\n")
    TASKS.DATA.parent.mkdir()
    TASKS.write(old)
    worse = [record._replace(value="0.9") for record in old if record.task == "diabetes"]
    monkeypatch.setattr(TASKS, "records", lambda setting, path: worse)
    TASKS.main(["diabetes"])
    assert TASKS.read() == [worse.pop(0) if record.task == "diabetes" else record for record in old]
    page = TASKS.PAGE.read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "0.9000 ± 0.0000" in page


def test_tasks_are_chosen_by_name():
    def models(*names, cifar10=None):
        return [f"{setting.task}/{setting.model}" for setting in TASKS.chosen(names, cifar10)]

    assert models() == [f"{each.task}/{each.model}" for each in TASKS.SETTINGS if each.task != "cifar10"]
    assert models("diabetes", "digits/vit") == ["digits/vit", "diabetes/mlp"]
    assert models("cifar10", cifar10=Path()) == ["cifar10/cnn"]
    with pytest.raises(typer.BadParameter, match=r"unknown tasks \['digit'\]; they are \['cifar10'"):
        models("digit")
    with pytest.raises(typer.BadParameter, match="give --cifar10 the folder"):
        models("cifar10")
