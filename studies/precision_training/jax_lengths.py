"""Train the same runs for several lengths with one compiled program."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

from ...sim.tasks.task import Task
from ...sim.training.jax_grid import Trainer
from ...sim.training.training import Run, Trained, Training

Report = Callable[[int, int], None]
"""Called with (finished steps of all runs, all steps)."""


def trained_for(
    task: Task, training: Training, lengths: Sequence[int], runs: Sequence[Run], report: Report | None = None
) -> dict[int, list[Trained]]:
    """Runs of each length, every one with its whole schedule; with their parameters.

    How long a training is enters its program only through the rates of its steps, which are data; a program stops at
    the steps it was made for. So the longest training makes the programs, and the shorter ones take them; its calls are
    no longer than the shortest training, since a program is compiled for the length of its longest call.

    Args:
        task, training: what is trained and how; its steps are those of `lengths`.
        lengths: steps of each training; different ones.
        runs: the same for every length.
        report: of all lengths together.

    Returns:
        What became of the runs, in their order, by length.

    Raises:
        ValueError: no lengths, or two alike.
    """
    if not lengths or len(set(lengths)) != len(lengths):
        raise ValueError(f"expected different numbers of steps, got {tuple(lengths)}")
    ordered = sorted(lengths, reverse=True)
    training = replace(training, checkpoint_every=min(training.checkpoint_every, ordered[-1]))
    longest = Trainer(task, replace(training, steps=ordered[0]))
    found, done, total = {}, 0, sum(lengths) * len(runs)
    for steps in ordered:

        def tell(finished: int, _: int, before: int = done) -> None:
            if report is not None:
                report(before + finished, total)

        trainer = copy(longest)  # which shares the programs
        trainer.training = replace(training, steps=steps)
        found[steps] = trainer.train(runs, report=tell, keep_parameters=True)
        done += steps * len(runs)
    return {steps: found[steps] for steps in lengths}
