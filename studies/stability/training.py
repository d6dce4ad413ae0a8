"""Train what a scale asks for, as far as its store does not have it: a row per run, with its curves."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas

from ...sim.sweeps.designs import Design
from ...sim.sweeps.space import Space
from ...sim.sweeps.store import Store
from ...sim.sweeps.sweep import sweep
from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.training import Training
from ..sweeping import all_finished
from .arithmetics import FLOAT32, arithmetic, with_smaller_gradients
from .curves import LEARNT, SPIKE, TURN, entropy, final_loss, onset, spike_steps
from .settings import Part, Proxy, Setting

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
Report = Callable[[int, int], None]
CURED, CLAMPED = "MX without norms", "MX with norms"
ARMS = {FLOAT32: (FLOAT32, False), CURED: ("MXFP8", False), CLAMPED: ("MXFP8", True)}
"""Of the proxy: the arithmetic of matrices, and whether norms are quantized."""


def rows_of(part: Part, setting: Setting) -> Iterator[dict[str, Any]]:
    """Configurations of a sweep: each arithmetic with each rate and seed; those with smaller gradients at the best."""
    chosen = [(arithmetic(name), rate) for name in part.names for rate in setting.rates]
    chosen += [(with_smaller_gradients(name, k), setting.best) for name, binades in part.smaller for k in binades]
    for recipe, rate in chosen:
        for seed in range(part.seeds):
            yield {"recipe": recipe, "seed": seed, "learning_rate": rate, "weight_decay": setting.weight_decay}


def task_of(setting: Setting) -> Task:
    """The task of a setting, which measures sharpness where it is evaluated."""
    from .jax_watched import smaller, watched

    found = any_task(setting.task, **dict(setting.options))  # type: ignore[arg-type]
    return watched(found if setting.width is None else smaller(found, setting.width))


def level_of(task: Task) -> float:
    """The entropy of the targets to train on."""
    return entropy(task.train["tokens"][:, 1:] if "tokens" in task.train else task.train["y"])


def map_runs(part: Part, setting: Setting, store: Path | None, report: Report) -> Table:
    """The runs of a part: `described`, with the curves of evaluations."""
    task = task_of(setting)
    found = trained(task, list(rows_of(part, setting)), setting.training, store, report)
    return described(found, setting.task, level_of(task), setting.chance)


def proxy_runs(proxy: Proxy, store: Path | None, report: Report) -> Table:
    """The runs of the proxy with and without MX, norms included or left out: `described`."""
    from .jax_proxy import proxy as made

    parts, done = [], 0
    each = len(proxy.rates) * proxy.seeds
    for arm, (name, norms) in ARMS.items():
        rows = [
            {"recipe": arithmetic(name).with_(name=arm), "seed": seed, "learning_rate": rate}
            for rate in proxy.rates
            for seed in range(proxy.seeds)
        ]
        task = made(proxy.width, proxy.depth, proxy.samples, proxy.noise, norms)

        def told(finished: int, _: int, before: int = done) -> None:
            report(before + finished, len(ARMS) * each)

        parts.append(described(trained(task, rows, proxy.training, store, told), "proxy", 1.0, 1.0))
        done += each
    return pandas.concat(parts, ignore_index=True)


def trained(
    task: Task, rows: Iterable[dict[str, Any]], training: Training, store: Path | None, report: Report
) -> Table:
    """Run configurations; a row per run in their order, with a column for each curve.

    Raises:
        RuntimeError: runs that failed.
    """
    if store is None:
        with TemporaryDirectory() as folder:
            return trained(task, rows, training, Path(folder) / "runs.db", report)
    # the rows hold recipes, which are no plain data that `space` would take
    space = Space((), Design("list"), rows=tuple(rows))
    found = sweep(task, space, training=training, store=store, name=f"stability, {task.name}", progress=report)
    all_finished(found, f"trainings of {task.name}")
    with Store(store, read_only=True) as kept:
        return kept.frame(keys=found["key"].tolist(), curves=True)


def described(runs: Table, task: str, level: float, chance: float) -> Table:
    """What the curves of runs say.

    Args:
        runs: with columns recipe, seed, learning_rate and curves loss, evaluated.*.
        level: the loss of a model that does not look at its inputs. chance: that of a uniform guess.

    Returns:
        A row per run: task, arithmetic, seed, rate, final (the mean of the last losses), plateau (that as a share of
        the level), diverged (whether that share is above `LEARNT`, or not finite), spikes, event (the step of the first
        spike; of runs without that diverged after they had learnt something, from which the running median fell no
        more; -1 of others), and the arrays loss and evaluated.*.
    """
    losses = [each.astype(float) for each in runs["loss"]]
    found: Table = pandas.DataFrame({"task": task, "arithmetic": runs["recipe"], "seed": runs["seed"]})
    found["rate"] = runs["learning_rate"]
    found["final"] = [final_loss(loss) for loss in losses]
    found["plateau"] = found["final"] / level
    found["diverged"] = found["plateau"] > LEARNT
    spikes = [spike_steps(loss, SPIKE * chance) for loss in losses]
    found["spikes"] = [len(steps) for steps in spikes]
    turns = [onset(loss) for loss in losses]
    lowest = np.array([median for _, median in turns])
    turned = found["diverged"] & (lowest <= LEARNT * level) & (found["final"] > lowest + TURN * chance)
    found["event"] = [
        int(steps[0]) if len(steps) else step if has else -1 for steps, (step, _), has in zip(spikes, turns, turned)
    ]
    found["loss"] = losses
    evaluated = [name for name in runs.columns if name.startswith("evaluated.")]
    return found.assign(**{name: list(runs[name]) for name in evaluated})
