"""The benchmark of grids of trainings, on made-up libraries: how fast anything is is not tested."""

import csv
from itertools import count

import pytest

from benchmarks import training_loops
from benchmarks.report import PREAMBLE, recorded
from benchmarks.training import FORMATS, OWN, Library, Measured, fewer, grid, measure, part, rows, save, text


@pytest.fixture
def found():
    return [
        Measured(OWN, "compiled before", 128, (10.0, 20.0, 40.0), (16.0, 16.0, 16.0), 0.95),
        Measured("loop", "", 4, (2.0, 2.0, 2.0), (2.0, 2.0, 1.0), 0.96, 0.0),
        Measured("lost", error="not installed: pychop"),
    ]


def test_the_grid_and_its_parts():
    runs = grid()
    assert len(runs) == 128 == len({(run.rules, run.seed, run.learning_rate) for run in runs})
    assert part(runs, None, 3) == runs
    assert part(runs, 3, 1) == runs[3:6]
    assert part(runs, 100, 1) == runs[100:] + runs[:72]
    assert len({run.rules[0].recipe.name for run in part(runs, 4, 0)}) == 4


def test_ratios_are_of_single_runs_within_a_turn(found):
    """The machine slowed down fourfold in the last turn."""
    assert found[0].per_minute.median == 60 * 128 / 20
    assert fewer(*found[:2], cpu=False).median == (2 / 4) / (20 / 128)
    assert fewer(*found[:2], cpu=True).median == (2 / 4) / (16 / 128)
    assert fewer(found[0], found[2], cpu=True) is None


def test_libraries_take_turns_and_failures_are_rows(monkeypatch):
    order, counted = [], count()

    def library(name, share, fails_at=None):
        def train(runs):
            order.append((name, len(runs)))
            if next(counted) == fails_at:
                raise TypeError("cannot\nfor many reasons")
            return 0.5

        return Library(name, lambda: train, share)

    def absent():
        import a_library_nobody_has  # noqa: F401

    libraries = [library("all", None), library("few", 3), library("breaks", 2, 5), Library("absent", absent, 1)]
    found = measure(libraries, 3)
    assert order == [("all", 128), ("few", 3), ("breaks", 2)] * 2 + [("all", 128), ("few", 3)]
    assert [(each.runs, len(each.seconds), each.accuracy) for each in found[:2]] == [(128, 3, 0.5), (3, 3, 0.5)]
    assert [each.error for each in found[2:]] == ["failed: TypeError: cannot", "not installed: a_library_nobody_has"]


def test_minifloats_are_found_by_any_of_their_names():
    names = [run.rules[0].recipe.name for run in grid()[: len(FORMATS)]]
    assert "fp4_e2m1" in names
    assert [training_loops._bits(name) for name in names] == [(int(name[1]), int(name[3])) for name in FORMATS]


def test_the_record(found, tmp_path):
    assert rows(found)[0] == (OWN, "128", "384 (288..576)", "", "0.125 (0.125..0.125)", "", "95.0%", "compiled before")
    assert rows(found)[1][2:] == ("120 (120..120)", "3.2 x", "0.5 (0.375..0.5)", "4 x", "96.0%", "the same values")
    assert rows(found)[2] == ("lost", "", "", "", "", "", "", "not installed: pychop")
    old = f"{PREAMBLE}\n## Abacus\n\nfast\n"
    both = recorded(old, "Grids of trainings: Abacus", text(found, 2))
    assert recorded(both, "Grids of trainings: Abacus", text(found, 2)) == both
    assert both.startswith(old)
    assert "128 runs. One run of the benchmark: 3 turns" in both
    save(found, tmp_path / "bench" / "training.csv")
    with (tmp_path / "bench" / "training.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["library"], row["turn"], row["seconds"]) for row in table][3:] == [
        ("loop", "0", "2.0"), ("loop", "1", "2.0"), ("loop", "2", "2.0"), ("lost", "0", ""),
    ]  # fmt: skip
