"""Train many runs of a task at once. JAX is imported when this is called."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ...formats.suggest import unknown
from ..tasks.task import Task
from .training import Run, Trained, Training

LIBRARIES = ("jax", "torch")
"""What may train."""


def train(
    task: "str | Task",
    runs: Iterable[Run] | Run,
    training: Training | None = None,
    *,
    checkpoints: str | Path | None = None,
    any_version: bool = False,
    progress: Callable[[int, int], None] | None = None,
    keep_parameters: bool = False,
    library: str = "jax",
    device: str = "cpu",
) -> list[Trained]:
    """Train a task in many recipes, seeds and learning rates, side by side in few compiled programs.

    Runs whose recipes have one shape share a program: formats, roundings, whether tensors are scaled, whether operands
    are transformed, learning rates and seeds are data to it. Formats in which weights and the optimizer's states are
    kept are part of the program. A run does not depend on its neighbours.

    Args:
        task: of `halfulp.task`, or its name.
        runs: `Run`s, of any recipes.
        training: steps, batch, optimizer and the like; see `Training`.
        checkpoints: a folder for checkpoints. A training that was stopped goes on from there, and equals one that was
            not, bit for bit.
        any_version: whether it goes on from checkpoints of other versions of halfulp, JAX and optax, whose bits may
            differ; they are refused otherwise.
        progress: called with (finished steps of all runs, all steps).
        keep_parameters: whether results hold the trained parameters.
        library: 'jax', or 'torch', where runs go one after another through `halfulp.quantize_`: for cross-checks, and
            for GPUs. The same data, first parameters, schedule and random words; losses agree as far as sums do.
        device: of torch; JAX trains on its default device.

    Returns:
        What became of each run, in the order given: metrics on validation data, curves, evaluations, the step at which
        it diverged.

    Raises:
        TypeError: runs that are no `Run`s.
        ValueError: an unknown task, no runs, a batch larger than the data, rules that do not suit the model.
        CheckpointError: checkpoints that cannot be read or written.
        ModuleNotFoundError: JAX or optax is missing.

    Example:
        >>> from ..tasks.loading import task
        >>> runs = [Run("identity", seed=seed, learning_rate=0.1) for seed in (0, 1)]
        >>> found = train(task("digits", size="xs"), runs, Training(steps=100, width=2))
        >>> [each.metrics["accuracy"] > 0.9 for each in found]
        [True, True]
    """
    if library not in LIBRARIES:
        raise ValueError(unknown("library", str(library), LIBRARIES))
    if isinstance(task, str):
        from ..tasks.loading import task as any_task

        task = any_task(task)
    how, chosen = training or Training(), [runs] if isinstance(runs, Run) else list(runs)
    for run in chosen:
        if not isinstance(run, Run):
            raise TypeError(f"expected runs, got {run!r}; write Run({run!r})")
    if library == "torch":
        from .torch_training import train

        if checkpoints is not None:
            raise ValueError("checkpoints are for library='jax'; leave them out")
        return train(task, chosen, how, device, progress, keep_parameters)
    if device != "cpu":
        raise ValueError(f"device={device!r} is for library='torch'; JAX trains on its own default device")
    try:
        from .jax_grid import Trainer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing; pip install 'halfulp[sim]'") from error
    return Trainer(task, how, checkpoints, any_version).train(chosen, report=progress, keep_parameters=keep_parameters)
