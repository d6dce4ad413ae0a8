"""Sweep files: what they say, and that everything wrong in one is said before anything runs."""

import re
import sys
from pathlib import Path

import halfulp as hu
import pytest
from halfulp.sim.sweeps.halving import Halving
from halfulp.sim.sweeps.sweep_file import read_sweep_file

TASK = """
task = "teacher_student"
[task_options]
size = "xs"
samples = 400
"""
SPACE = """
[space]
format = ["e2m1"]
"""
MODULE = """
import math

def train(config):
    return {"loss": math.sin(config["x"])}

def of_two(config, other):
    return {}

NUMBER = 3
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a sweep file, and a module with functions beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "functions_of_a_sweep.py").write_text(MODULE)
    (tmp_path / "broken_of_a_sweep.py").write_text("import no_such_module\n")

    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    yield write
    for name in ("functions_of_a_sweep", "broken_of_a_sweep"):
        sys.modules.pop(name, None)


def test_a_task(write, tmp_path):
    found = read_sweep_file(
        write("""
        name = "first"
        task = "teacher_student"
        store = "results/runs.sqlite"
        executor = "processes"
        workers = 2
        retries = 1
        rerun_failed = true
        exclude = [{format = "e2m0", learning_rate = {low = 0.05, high = 1}}]
        [task_options]
        size = "xs"
        samples = 400
        [training]
        batch = 32
        clip = "none"
        [space]
        format = ["e2m[0-1]", "int4"]
        learning_rate = {low = 0.01, high = 1.0, log = true, levels = 3}
        steps = [20, 40]
        optimizer = ["sgd", "adamw"]
        beta2 = {values = [0.95, 0.99], when = {optimizer = "adamw"}}
        loss_scale = ["none", "dynamic", 1024.0]
        """)
    )
    assert (found.name, found.task_or_function, found.function) == ("first", "teacher_student", None)
    assert found.task_options == {"size": "xs", "samples": 400}
    assert found.training == hu.Training(batch=32)
    assert found.store == tmp_path / "results" / "runs.sqlite"
    assert (found.executor, found.workers, found.retries, found.rerun_failed) == ("processes", 2, 1, True)
    rows = found.space.configurations()
    assert len(rows) == (3 * 3 - 2) * 2 * 3 * 3
    assert {row["loss_scale"] for row in rows} == {None, "dynamic", 1024.0}
    assert all(("beta2" in row) == (row["optimizer"] == "adamw") for row in rows)


def test_a_function_beside_the_file(write):
    found = read_sweep_file(
        write("""
        function = "functions_of_a_sweep:train"
        [space]
        x = {low = 0, high = 1}
        clip = "none"
        [design]
        kind = "sobol"
        n = 8
        seed = 3
        """)
    )
    assert found.name == "grid"
    assert found.function({"x": 0}) == {"loss": 0}
    assert (found.training, found.store, found.executor, found.retries) == (None, None, None, 0)
    rows = found.space.configurations()
    assert len(rows) == 8
    assert rows[0]["clip"] == "none"


def test_listed_runs(write):
    text = '[[runs]]\nrecipe = "mxfp8"\nclip = "none"\n[[runs]]\nformat = "int4"\nseed = 1\n'
    found = read_sweep_file(write(TASK + text))
    assert found.space.configurations() == [{"recipe": "mxfp8", "clip": None}, {"format": "int4", "seed": 1}]


def test_halving(write):
    text = (
        SPACE + 'learning_rate = {low = 0.01, high = 1.0, log = true}\n[design]\nkind = "halving"\nlow = 5\nhigh = 45\n'
    )
    found = read_sweep_file(write(TASK + text + 'metric = "test_r2"\ndirection = "maximize"\n'))
    assert isinstance(found.space, Halving)
    assert [tuple(rung) for rung in found.space.rungs] == [(5, 9), (15, 3), (45, 1)]
    assert found.space.metric == "test_r2"


def test_data_beside_the_file(write, tmp_path):
    import numpy as np

    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    np.savez(tmp_path / "own.npz", x=x, y=x.sum(axis=1))
    found = read_sweep_file(write('task = "diabetes"\n[task_options]\npath = "own.npz"\n' + SPACE))
    assert found.task_options == {"path": str(tmp_path / "own.npz")}


def test_the_files_of_the_documentation(write):
    """What docs/spaces.md shows can be run."""
    page = (Path(hu.__file__).parent / "docs" / "spaces.md").read_text()
    whole, listed = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(read_sweep_file(write(whole)).space) < 15 * 4 * 3 * 3 / 4
    assert read_sweep_file(write(listed)).space.configurations()[1]["clip"] is None


OF_FUNCTION = 'function = "functions_of_a_sweep:train"\n'
REFUSED = {
    "malformed": ("task = \n", r"grid.toml: Invalid value \(at line 1, column 8\)"),
    "twice": ("retries = 1\nretries = 2\n", r"\(at line 2, column 12\)"),
    "unknown key": ('taks = "digits"\n', "unknown key 'taks'; did you mean 'task'"),
    "type of a key": ("task = 3\n", "expected text for task, got 3"),
    "truth for an integer": ('task = "digits"\nretries = true\n', "expected an integer for retries, got True"),
    "task and function": ('task = "digits"\n' + OF_FUNCTION, "expected a task or a function, got both"),
    "neither": (SPACE, "expected a task or a function, got neither"),
    "unknown task": ('task = "digit"\n' + SPACE, "unknown task 'digit'; did you mean 'digits'"),
    "unknown option": (TASK + "noize = 1\n" + SPACE, r"\[task_options\]: unknown option .* 'noize'; did you mean 'noise'"),
    "unknown size": (TASK.replace('"xs"', '"xx"') + SPACE, r"\[task_options\]: unknown size of mlp 'xx'"),
    "name in options": (TASK + 'name = "x"\n' + SPACE, "the name of the task is the key task"),
    "missing data": ('task = "digits"\n[task_options]\npath = "no.npz"\n' + SPACE, r"no data at .*no.npz; paths are rel"),
    "path of a number": ('task = "digits"\n[task_options]\npath = 1\n' + SPACE, "expected text for path, got 1"),
    "nothing": (TASK, "nothing to run; list values in"),
    "empty space": (TASK + "[space]\n", "nothing to run"),
    "empty values": (TASK + "[space]\nformat = []\n", r"\[space\]: format has no values"),
    "empty runs": ("runs = []\n" + TASK, r"\[\[runs\]\]: the list of configurations is empty"),
    "runs and space": (TASK + SPACE + '[[runs]]\nformat = "int4"\n', r"expected \[\[runs\]\] or \[space\], got both"),
    "runs and design": (TASK + '[design]\nkind = "grid"\n[[runs]]\nformat = "int4"\n', r"\[\[runs\]\] or \[design\]"),
    "unknown parameter": (TASK + SPACE + "learning_rat = [1.0]\n",
                          r"unknown parameter 'learning_rat' .* \"learning_rate\"; it can sweep format, .*steps"),
    "unknown format": (TASK + '[space]\nformat = ["fp8_e4m4"]\n', r"\[space\]: unknown format 'fp8_e4m4'; did you mean"),
    "unknown recipe": (TASK + '[space]\nrecipe = ["mxfp9"]\n', r"\[space\]: unknown recipe 'mxfp9'; did you mean"),
    "unknown rounding": (TASK + SPACE + 'rounding = ["nearst_even"]\n', "unknown rounding 'nearst_even'; did you mean"),
    "type of a value": (TASK + SPACE + 'steps = ["20"]\n', "steps: expected an integer, got '20'"),
    "seed": (TASK + SPACE + "seed = [-1]\n", "expected a seed from 0"),
    "learning rate": (TASK + SPACE + "learning_rate = [0.0]\n", "expected a positive learning rate, got 0.0"),
    "range of a value": (TASK + SPACE + "learning_rate = {low = 1.0, high = 0.5}\n", "learning_rate: expected low < high"),
    "date": (TASK + SPACE + "seed = [2020-01-01]\n", r"seed\[0\]: expected text, numbers"),
    "format and recipe": (TASK + SPACE + 'recipe = ["mxfp8"]\n', "configuration .*: expected a format or a recipe"),
    "impossible together": (TASK + SPACE + "steps = [10, 20]\nwarmup = [0, 15]\n",
                            "configuration .*'steps': 10.*: expected a warm-up shorter than the 10 steps, got 15"),
    "unknown setting": (TASK + "[training]\nstpes = 3\n" + SPACE, r"\[training\]: unknown setting .* did you mean 'steps'"),
    "type of a setting": (TASK + "[training]\nsteps = true\n" + SPACE, "steps: expected an integer, got True"),
    "none for a setting": (TASK + '[training]\nsteps = "none"\n' + SPACE, "steps: expected an integer, got 'none'"),
    "setting out of range": (TASK + "[training]\nclip = -1.0\n" + SPACE, r"\[training\]: expected clip > 0"),
    "version": (TASK + "[training]\nversion = 1\n" + SPACE, "unknown setting of a training 'version'"),
    "swept and set": (TASK + "[training]\nsteps = 20\n" + SPACE + "steps = [10]\n", r"steps is in \[training\] as well"),
    "batch": (TASK + "[training]\nbatch = 1000\n" + SPACE, r"\[training\]: teacher_student has 360 samples"),
    "exclude nothing": ('exclude = [{format = "e2m2"}]\n' + TASK + SPACE, 'format is never "e2m2"; closest: "e2m1"'),
    "exclude all": ('exclude = [{format = "e2m1"}]\n' + TASK + SPACE, "exclude leaves no configuration"),
    "exclude no table": ("exclude = [3]\n" + TASK + SPACE, "expected exclude="),
    "unknown design": (TASK + SPACE + '[design]\nkind = "girds"\n', r"\[design\]: unknown design 'girds'; did you mean 'gr"),
    "key of a design": (TASK + SPACE + "[design]\nm = 3\n", r"\[design\]: unknown key 'm'"),
    "n missing": (TASK + SPACE + '[design]\nkind = "random"\n', "design 'random' needs n"),
    "n too large": (TASK + SPACE + '[design]\nkind = "random"\nn = 2\n', "the space has 1 configurations, got n=2"),
    "a range in a grid": (TASK + "[space]\nlearning_rate = {low = 0.1, high = 1.0}\n", "continuous range"),
    "halving without bounds": (TASK + SPACE + '[design]\nkind = "halving"\nlow = 3\n', "halving needs high"),
    "halving unknown": (TASK + '[space]\nformat = ["e2m1", "x"]\n[design]\nkind = "halving"\nlow = 3\nhigh = 6\nn = 1\n',
                        "unknown format 'x'"),
    "halving too small": (TASK + SPACE + '[design]\nkind = "halving"\nlow = 3\nhigh = 9\n', "the space has 1 config"),
    "executor": ('executor = "dask:localhost"\n' + TASK + SPACE, "expected 'processes' or 'dask://HOST:PORT' for exec"),
    "workers": ("workers = 0\n" + TASK + SPACE, "expected workers >= 1, got 0"),
    "retries": ("retries = -1\n" + TASK + SPACE, "expected retries >= 0, got -1"),
    "workers of dask": ('workers = 2\nexecutor = "dask://host:80"\n' + TASK + SPACE, "workers is for executor = 'proc"),
    "store": ('store = "."\n' + TASK + SPACE, "expected a file for store, .* is a folder"),
    "function": ('function = "train"\n' + SPACE, "expected function = 'package.module:train', got 'train'"),
    "module": ('function = "no_such_module_at_all:train"\n' + SPACE, "cannot import 'no_such_module_at_all'"),
    "module of a module": ('function = "broken_of_a_sweep:train"\n' + SPACE, "ModuleNotFoundError: .*no_such_module"),
    "name": ('function = "functions_of_a_sweep:trian"\n' + SPACE, "unknown function .* 'trian'; did you mean 'train'"),
    "no function": ('function = "functions_of_a_sweep:NUMBER"\n' + SPACE, "functions_of_a_sweep:NUMBER is 3"),
    "two arguments": ('function = "functions_of_a_sweep:of_two"\n' + SPACE, "to take one configuration, a dict"),
    "training of a function": (OF_FUNCTION + "[training]\nsteps = 3\n" + SPACE, r"\[training\] is for built-in tasks"),
    "options of a function": (OF_FUNCTION + "[task_options]\nsize = 3\n" + SPACE, r"\[task_options\] is for built-in"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(write, case):
    text, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^.*grid.toml: .*{message.removeprefix('grid.toml: ')}"):
        read_sweep_file(write(text))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a sweep file, .*no.toml is not there"):
        read_sweep_file(tmp_path / "no.toml")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_sweep_file(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bytes.toml: .*utf-8"):
        read_sweep_file(tmp_path / "bytes.toml")
