"""The networks that are quantized: trained in float32, kept in the study's folder, and the data they are judged on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from ...sim.models.leaves import flat
from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.checkpoints import fingerprint_of, load_checkpoint, save_checkpoint
from ...sim.training.trainer import train
from ...sim.training.training import Run, Training

Network = Mapping[str, np.ndarray]
"""Parameters by dotted name, float32."""
Batch = dict[str, np.ndarray]
"""'x', inputs as the task has them, and 'y', class numbers (samples, ...)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A network and how it is trained.

    Args:
        name: as claims have it. task: of `halfulp.task`. options: of the task.
        training: how. learning_rate: the peak, chosen in float32.
        calibration: training samples on which scales and methods are fitted. validation: samples that judge.
    """

    name: str
    task: str
    options: tuple[tuple[str, Any], ...]
    training: Training
    learning_rate: float
    calibration: int
    validation: int

    @property
    def key(self) -> str:
        """What decides the parameters of a seed."""
        how = {**self.training.as_dict(), "learning_rate": self.learning_rate}
        return dumps([fingerprint_of(task_of(self)), how], sort_keys=True)


_ADAM = Training(steps=300, batch=96, optimizer="adamw")
SETTINGS = {
    "cnn": Setting("cnn", "digits", (("model", "cnn"), ("size", "s")), _ADAM, 0.003, 256, 360),
    "llama": Setting("llama", "text", (("context", 64), ("size", "50k")),
                     Training(steps=300, batch=16, optimizer="adamw", clip=1.0, warmup=20), 0.003, 32, 96),
}  # fmt: skip
"""A convolutional network on digits, a language model on bytes; rates of the tasks' page."""


@cache
def task_of(setting: Setting) -> Task:
    """Its task."""
    options: Any = dict(setting.options)
    return any_task(setting.task, **options)


def trained(setting: Setting, seeds: int, folder: Path | None, report: Callable[[int, int], None]) -> list[Network]:
    """Networks of seeds 0, 1, ...; those that the folder has are read.

    Args:
        folder: gets a file a network; None keeps nothing.
        report: called with (finished steps, all steps).

    Raises:
        CheckpointError: a file that is damaged or of another training.
        RuntimeError: a training that diverged.
    """
    names = list(task_of(setting).description.leaves)
    paths = {seed: folder / f"{setting.name}_{seed}.npz" if folder else None for seed in range(seeds)}
    found = {seed: load_checkpoint(path, setting.key) if path else None for seed, path in paths.items()}
    kept = {seed: dict(zip(names, each[1])) for seed, each in found.items() if each is not None}
    missing = [seed for seed in paths if seed not in kept]
    if missing:
        runs = [Run(seed=seed, learning_rate=setting.learning_rate) for seed in missing]
        for each in train(task_of(setting), runs, setting.training, progress=report, keep_parameters=True):
            if each.diverged:
                raise RuntimeError(f"{setting.name}, seed {each.run.seed}: diverged at step {each.diverged_at}")
            values, seed = flat(each.parameters), each.run.seed
            kept[seed] = {name: np.asarray(values[name], np.float32) for name in names}
            path = paths[seed]
            if path is not None:
                save_checkpoint(path, setting.key, setting.training.steps, list(kept[seed].values()))
    return [kept[seed] for seed in range(seeds)]


def batches(setting: Setting) -> tuple[Batch, Batch]:
    """The calibration data, spread evenly over the training data, and the validation data."""
    task = task_of(setting)
    return _spread(task.train, setting.calibration), _spread(task.valid, setting.validation)


def _spread(part: Mapping[str, np.ndarray], count: int) -> Batch:
    size = len(next(iter(part.values())))
    rows = np.arange(min(count, size)) * size // min(count, size)
    if "tokens" not in part:
        return {"x": part["x"][rows], "y": part["y"][rows]}
    tokens = part["tokens"][rows].astype(np.int32)
    return {"x": tokens[:, :-1], "y": tokens[:, 1:]}
