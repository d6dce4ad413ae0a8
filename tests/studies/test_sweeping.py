"""Sweeps of studies are complete, and of the data they say."""

import pandas
import pytest
from halfulp.sim.tasks.loading import task
from halfulp.studies.sweeping import all_finished, of_data


def test_failed_runs_are_named():
    runs = pandas.DataFrame({"status": ["finished", "failed", "failed"], "error": [None, "no memory", "later"]})
    with pytest.raises(RuntimeError, match="2 trainings of digits failed, the first with: no memory"):
        all_finished(runs, "trainings of digits")
    whole = runs[:1]
    assert all_finished(whole, "trainings") is whole


def test_configurations_tell_data_and_models_apart():
    """The same configuration with another teacher's data, or another model, is another row of a store."""
    tasks = [task("teacher_student", size=size, data_seed=seed) for size, seed in (("xs", 0), ("xs", 1), ("s", 0))]
    found = [of_data([{"rate": 0.1}, {"rate": 0.2}], each) for each in tasks]
    assert [[config["rate"] for config in each] for each in found] == [[0.1, 0.2]] * 3
    assert len({each[0]["data"] for each in found}) == 3
    assert found[0] == of_data([{"rate": 0.1}, {"rate": 0.2}], task("teacher_student", size="xs"))
