"""What is trained: the recipe and what is left out of it, rows of a sweep, and one run of it.

JAX is imported when a run is trained.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...emulate.quantize import quantize
from ...sim.models.leaves import flat
from ...sim.recipes.published import recipe
from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import Recipe
from ...sim.tasks.cifar import TRAIN, VALID
from ...sim.tasks.loading import task as any_task
from ...sim.training.training import Run, Training

CLIP, DECAY = 0.5, 5e-4
"""The norm that gradients are clipped to and the weight decay, as published."""
FIXED = "int4_narrow@-3"
"""Four bits with a step of 1/8 in every layer, up to +-7/8, in the place of a scale a layer."""
FOLDER, ADDRESS = "cifar-10-batches-bin", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def _variants() -> dict[str, tuple[Recipe, float | None]]:
    full = recipe("four_bit_cnn")
    no_tanh = full.with_(name="no_tanh", after_step=None)
    return {
        "float32": (recipe("identity"), CLIP),
        "four_bit": (full, CLIP),
        "no_tanh": (no_tanh, CLIP),
        "no_scale": (full.with_(name="no_scale", fprop_w=Quantizer(FIXED)), CLIP),
        "no_clip": (full, None),
        "plain": (no_tanh.with_(name="plain", fprop_w=Quantizer(FIXED)), None),
    }


VARIANTS = _variants()
"""Recipe and clip of each."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scale trains.

    Args:
        task, size: of `halfulp.task`; the model is the VGG.
        steps, batch, rate: of AdamW, half a cosine.
        seeds: how many. choosing: how many of them, the first, only choose (see `study.measured`).
    """

    task: str
    size: str
    steps: int
    batch: int
    rate: float
    seeds: int
    choosing: int = 0


SETTINGS = {
    "quick": Setting("digits", "s", 100, 64, 0.01, 16, choosing=8),
    "full": Setting("cifar10", "s", 3910, 128, 1e-3, 5),
}
"""Digits, at the better rate of float32 of .003 and .01; ten epochs of CIFAR-10, at the published rate and batch."""


def data_folder(data: Path | None) -> Path:
    """The folder of CIFAR-10's binary batches in the folder of optional data.

    Raises:
        FileNotFoundError: no folder was given, or it does not have them; the message says what to do.
    """
    need = f"{TRAIN[0]} to {TRAIN[-1]} and {VALID[0]}"
    how = f"download {ADDRESS}, unpack it, and pass {FOLDER}, or the folder it is in, as --data"
    if data is None:
        raise FileNotFoundError(f"the scale 'full' trains on CIFAR-10, which does not come with the project: {how}")
    folder = data / FOLDER if (data / FOLDER).is_dir() else data
    if missing := [name for name in (*TRAIN, *VALID) if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder}: expected the binary batches of CIFAR-10, {need}; missing: {', '.join(missing)}: {how}"
        )
    return folder


def fingerprint(folder: Path) -> str:
    """A digest of the batches in a folder: the same data are the same runs, wherever they lie."""
    found = sha256()
    for name in (*TRAIN, *VALID):
        found.update((folder / name).read_bytes())
    return found.hexdigest()[:16]


def rows(setting: Setting, data: str | None = None) -> Iterator[dict[str, Any]]:
    """Every variant with every seed, as plain data.

    Args:
        data: the `fingerprint` of what the user gives; None of data that come with the project. Where they lie is no
            part of a run: `TrainIn` says it.
    """
    given = {} if data is None else {"data": data}
    for variant, (of, clip) in VARIANTS.items():
        for seed in range(setting.seeds):
            yield {
                "variant": variant, "seed": seed, "task": setting.task, "size": setting.size, "steps": setting.steps,
                "batch": setting.batch, "rate": setting.rate, "clip": clip, "decay": DECAY,
                "weights": of.fprop_w.fmt or "float32", "after_step": of.after_step,
                "path": None, **given,
            }  # fmt: skip


def train_one(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train a row.

    Returns:
        accuracy in percent and loss on the validation data; diverged; most, the largest number of different weights of
        a layer, and fifteen, the share of layers that have exactly 15, None of float32.
    """
    trainer = _trainer(config["task"], config["size"], config["path"], config["steps"], config["batch"], config["clip"])
    of = VARIANTS[config["variant"]][0]
    run = Run(of, seed=config["seed"], learning_rate=config["rate"], weight_decay=config["decay"])
    (found,) = trainer.train([run], keep_parameters=True)
    counts = None if of.fprop_w.fmt is None else distinct(found.parameters, of.fprop_w.fmt)
    return {
        "accuracy": 100 * found.metrics["accuracy"],
        "loss": found.metrics["loss"],
        "diverged": found.diverged,
        "most": None if counts is None else max(counts.values()),
        "fifteen": None if counts is None else float(np.mean([count == 15 for count in counts.values()])),
    }


class TrainIn:
    """`train_one` with the user's data in a folder, which is no part of what a store tells runs apart by."""

    __wrapped__ = staticmethod(train_one)

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else str(folder)

    def __call__(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Train a row."""
        return train_one({**config, "path": self._path})


def distinct(parameters: Mapping[str, Any], fmt: str) -> dict[str, int]:
    """How many different values the weights of each layer have in a format."""
    weights = {name: np.asarray(value) for name, value in flat(parameters).items() if np.ndim(value) > 1}
    return {name: len(np.unique(quantize(value, fmt))) for name, value in weights.items()}


@cache
def _trainer(task: str, size: str, path: str | None, steps: int, batch: int, clip: float | None) -> Any:
    """The trainer of a task, with its compiled programs. Runs one by one cost no more than side by side here."""
    from ...sim.training.jax_grid import Trainer

    training = Training(steps, batch, optimizer="adamw", clip=clip, width=1)
    return Trainer(any_task(task, model="vgg", size=size, path=path), training)
