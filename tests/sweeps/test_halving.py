"""Successive halving: the rungs, who goes on, and that only the seed and the results decide."""

import math
import sys
from itertools import pairwise
from random import Random

import pytest
from halfulp.sim.sweeps.halving import halving
from halfulp.sim.sweeps.parameters import between, given
from halfulp.sim.sweeps.space import space

RATES = {"rate": between(1e-3, 1, log=True), "o": ["sgd", "muon"], "k": given([0.9, None, [1]], when={"o": "muon"})}


def bowl(config):
    return {"loss": math.log(config["rate"] / 0.03) ** 2 + 1 / config["steps"] + (config["o"] == "sgd")}


def run(search, metrics=bowl, shuffle=None):
    """All rungs, as (configuration, metrics) by number; results come in the order of the shuffle."""
    rungs = []
    while asked := search.ask():
        rungs.append(asked)
        order = list(asked)
        if shuffle is not None:
            Random(shuffle).shuffle(order)
        for number, config in order:
            search.tell(number, metrics(config))
    return rungs


def ranked(**options):
    return halving(RATES, metric="loss", low=10, high=270, **options)


def test_the_best_of_each_rung_go_on():
    search = ranked(seed=1)
    rungs = run(search)
    assert [(len(rung), {config["steps"] for _, config in rung}) for rung in rungs] == [
        (27, {10}), (9, {30}), (3, {90}), (1, {270}),
    ]  # fmt: skip
    assert [number for rung in rungs for number, _ in rung] == list(range(40))
    assert search.total == 40
    for rung, following in pairwise(rungs):
        best = sorted(rung, key=lambda each: bowl(each[1])["loss"])[: len(following)]
        assert [{**config, "steps": 0} for _, config in sorted(best)] == [
            {**config, "steps": 0} for _, config in following
        ]
    assert search.best == (39, rungs[-1][0][1], bowl(rungs[-1][0][1])["loss"])
    assert all(("k" in config) == (config["o"] == "muon") for _, config in rungs[0])
    assert search.ask() == []


def test_results_may_come_in_any_order():
    once, again = ranked(seed=2, brackets=2), ranked(seed=2, brackets=2)
    assert run(once) == run(again, shuffle=5)
    assert once.best == again.best
    assert run(ranked(seed=3))[0] != run(ranked(seed=2))[0]


def test_later_brackets_learn_and_repeat_nothing():
    search = ranked(seed=0, brackets=3)
    firsts = [rung for rung in run(search) if rung[0][1]["steps"] == 10]
    configs = [str(config) for rung in firsts for _, config in rung]
    assert len(configs) == len(set(configs)) == 81
    means = [sum(bowl(config)["loss"] for _, config in rung) / 27 for rung in firsts]
    assert means[2] < means[0] / 2


def test_failed_and_diverged_runs_rank_last():
    search = halving({"x": [0, 1, 2, 3, 4, 5]}, metric="loss", low=1, high=4, factor=2, n=6)
    results = {0: None, 1: {"loss": math.nan}, 2: {"loss": -math.inf}, 3: {"loss": 9.0}, 4: {"loss": None},
               5: {"loss": 0.0, "diverged": True}}  # fmt: skip
    rungs = run(search, lambda config: results[config["x"]])
    assert [[config for _, config in rung] for rung in rungs[1:]] == [[{"x": 3, "steps": 2}], [{"x": 3, "steps": 4}]]
    assert search.best.value == 9.0
    assert [trial.state.name for trial in search.study.trials].count("COMPLETE") == 1

    nothing = halving({"x": [0, 1]}, metric="loss", low=1, high=2, factor=2, n=2, brackets=2)
    assert len(run(nothing, lambda config: None)) == 1
    assert nothing.best is None


def test_equal_results_go_by_number():
    rungs = run(halving({"x": between(0, 1)}, metric="loss", low=1, high=4, factor=2), lambda config: {"loss": 1})
    assert [config["x"] for _, config in rungs[1]] == [config["x"] for _, config in rungs[0][:2]]


def test_maximize_and_a_resource_of_your_own():
    search = halving(
        {"x": [1, 2, 3, 4]}, metric="accuracy", direction="maximize", resource="share", low=0.25, high=1.0, factor=2
    )
    assert search.rungs == ((0.25, 4), (0.5, 2), (1.0, 1))
    run(search, lambda config: {"accuracy": config["x"] * config["share"]})
    assert search.best[1:] == ({"x": 4, "share": 1.0}, 4.0)


@pytest.mark.parametrize(
    ("low", "high", "factor", "n", "rungs"),
    [
        (10, 300, 3, None, [(11, 27), (33, 9), (100, 3), (300, 1)]),
        (1, 5, 2, 9, [(1, 9), (2, 4), (5, 2)]),
        (1, 1000, 10, 5, [(1, 5), (10, 1), (100, 1), (1000, 1)]),
        (4, 5, 3, 2, [(5, 2)]),
    ],
)
def test_rungs(low, high, factor, n, rungs):
    assert [*halving({"x": between(0, 1)}, low=low, high=high, factor=factor, n=n).rungs] == rungs


def test_a_finite_space_is_used_up_and_exclusions_hold():
    parameters = {"x": list(range(10)), "y": list(range(10))}
    search = halving(
        parameters, metric="loss", low=1, high=2, factor=2, n=60, brackets=2, exclude=[{"x": [0, 1], "y": 0}]
    )
    rungs = run(search, lambda config: {"loss": config["x"]})
    first, second = ({(config["x"], config["y"]) for _, config in rung} for rung in (rungs[0], rungs[2]))
    assert (len(first), len(second)) == (60, 38)
    assert not first & second
    assert not {(0, 0), (1, 0)} & (first | second)
    whole = space(parameters, design="random", n=1, exclude=[{"x": 0}])
    assert len(run(halving(whole, metric="loss", low=1, high=2, factor=2, n=90), lambda config: {"loss": 1})[0]) == 90


def test_any_sampler_of_optuna():
    import optuna

    search = halving(RATES, metric="loss", low=1, high=3, sampler=optuna.samplers.RandomSampler(seed=1))
    assert len(run(search)) == 2


def test_asking_and_telling_wrongly():
    search = halving({"x": [1, 2]}, metric="loss", low=1, high=2, factor=2)
    search.ask()
    with pytest.raises(ValueError, match="2 runs have no result yet, such as 0, 1; tell"):
        search.ask()
    with pytest.raises(ValueError, match="unknown metric 'loss'; did you mean 'loss_'"):
        search.tell(0, {"loss_": 1})
    with pytest.raises(TypeError, match="expected a number for loss, got 'low'"):
        search.tell(0, {"loss": "low"})
    search.tell(0, {"loss": 1})
    with pytest.raises(ValueError, match=r"run 0 was told already; expected one of \[1\]"):
        search.tell(0, {"loss": 1})
    with pytest.raises(ValueError, match="run 7 was never asked for"):
        search.tell(7, {"loss": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 3, "high": 2}, "expected low < high"),
        ({"low": 0}, "expected a positive number for low, got 0"),
        ({"factor": 1}, "expected an integer >= 2 for factor, got 1"),
        ({"n": 0}, "expected an integer >= 1 for n"),
        ({"n": 3}, "the space has 2 configurations, got n=3"),
        ({"brackets": True}, "expected an integer >= 1 for brackets"),
        ({"direction": "min"}, "unknown direction 'min'"),
        ({"resource": "x"}, "x is what halving grows"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        halving({"x": [1, 2]}, **{"low": 1, "high": 2, **options})


def test_everything_excluded():
    search = halving({"x": between(0, 1)}, low=1, high=2, factor=2, exclude=[{"x": between(0, 1)}])
    with pytest.raises(ValueError, match="exclude leaves no configuration in 200 draws"):
        search.ask()


def test_what_is_no_space():
    with pytest.raises(TypeError, match="expected parameters by name, or a space, got list"):
        halving([{"x": 1}], low=1, high=2)
    with pytest.raises(ValueError, match="halving draws its configurations itself"):
        halving(space([{"x": 1}]), low=1, high=2)
    with pytest.raises(ValueError, match="a space has its exclusions already"):
        halving(space({"x": [1, 2]}), low=1, high=2, exclude=[{"x": 1}])


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'halfulp\[search\]'"):
        halving({"x": [1]}, low=1, high=2)
