"""Train models and round their weights afterwards, as a function of plain data whose results a store keeps."""

from functools import cache
from typing import Any

from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.training import Run, Training
from .jax_damage import Losses
from .jax_lengths import trained_for
from .weights import rules_of_bits


@cache
def _task(options: tuple[tuple[str, Any], ...]) -> Task:
    return any_task("text", **dict(options))


def models(config: dict[str, Any]) -> dict[str, float]:
    """Losses of trained models before and after their weights are rounded to fewer bits.

    Args:
        config: options of the text; bits that models are trained with, None for float32; post, bits that the weights
            are rounded to afterwards; lengths, in steps; seeds, how many; rate, the peak learning rate; training, the
            rest of `Training`.

    Returns:
        By 'BITS STEPS SEED' the loss in nats a token in the precision of training, and by 'BITS STEPS SEED POST' that
        with rounded weights. BITS is "None" for float32. All losses are of the same validation tokens.

    Raises:
        RuntimeError: a training that diverged.
    """
    task, how = _task(tuple(sorted(config["options"].items()))), Training(**config["training"])
    labels = [(bits, seed) for bits in config["bits"] for seed in range(config["seeds"])]
    runs = [Run(rules_of_bits(bits), seed=seed, learning_rate=config["rate"]) for bits, seed in labels]
    losses, found = Losses(task, config["post"]), {}
    for steps, each in trained_for(task, how, config["lengths"], runs).items():
        for (bits, seed), trained in zip(labels, each):
            name = f"{bits} {steps} {seed}"
            if trained.diverged:
                raise RuntimeError(f"training {name} diverged at step {trained.diverged_at}; take a lower rate")
            found[name] = trained.metrics["loss"]
            after = zip(config["post"], losses(trained.parameters))
            found |= {f"{name} {post}": float(loss) for post, loss in after}
    return found
