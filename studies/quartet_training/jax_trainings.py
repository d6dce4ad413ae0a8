"""Train recipes of one program for several lengths, as a function of plain data whose results a store keeps."""

from functools import cache
from typing import Any

from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.training import Run, Training
from ..precision_training.jax_lengths import trained_for
from .recipes import RECIPES


@cache
def _task(name: str, options: tuple[tuple[str, Any], ...]) -> Task:
    return any_task(name, **dict(options))


def trainings(config: dict[str, Any]) -> dict[str, float]:
    """The losses of some trainings on validation data; those of a seed have the same first parameters and data.

    Args:
        config: task and its options; recipes, by name; kept, patterns of layers that stay in float32; lengths, in
            steps; seeds, how many; rate, the peak learning rate; training, the rest of `Training`.

    Returns:
        By 'RECIPE STEPS SEED', in nats or squares of the deviation of targets; NaN of those that diverged.
    """
    how = Training(**config["training"])
    labels = [(name, seed) for name in config["recipes"] for seed in range(config["seeds"])]
    kept = [(pattern, None) for pattern in config["kept"]]
    runs = [Run((*kept, ("*", RECIPES[name])), seed=seed, learning_rate=config["rate"]) for name, seed in labels]
    task = _task(config["task"], tuple(sorted(config["options"].items())))
    found = trained_for(task, how, config["lengths"], runs)
    return {
        f"{recipe} {steps} {seed}": float("nan") if trained.diverged else trained.metrics["loss"]
        for steps, all_of_it in found.items()
        for (recipe, seed), trained in zip(labels, all_of_it)
    }
