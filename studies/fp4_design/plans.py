"""What is trained at each scale of the study: tasks with their training, points, published recipes and seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...sim.sweeps.designs import Design
from ...sim.sweeps.space import Space
from ...sim.sweeps.sweep import sweep
from ...sim.training.training import Training
from ..study import FULL, QUICK
from ..sweeping import all_finished
from . import designs
from .analysis import Table, scored
from .designs import COARSE, LARGER, NAMED, REFERENCE, SMALLER, Point, Setting

SIMPLE = Point(tensor=False, transform="none")
"""Where estimators are compared: each is a program of its own, and a transform doubles the time of compiling it."""
_SGD = Training(steps=300, batch=64)
_ADAM = Training(steps=300, batch=64, optimizer="adamw", clip=1.0, warmup=20)
SETTINGS = {
    "teacher_student": Setting(
        "teacher_student", (("noise", 0.3), ("size", "xs"), ("samples", 5120)), _SGD, 0.03, 1.09
    ),
    "digits": Setting("digits", (("size", "xs"),), _SGD, 0.1, 2.303),
    "diabetes": Setting("diabetes", (("size", "xs"),), replace(_SGD, steps=200), 0.003, 1.0),
    "diffusion": Setting("diffusion", (("model", "mlp_denoiser"), ("size", "xs")), _ADAM, 0.003, 1.0),
    "text": Setting(
        "text", (("context", 32), ("size", "13k"), ("valid_samples", 256)), replace(_ADAM, batch=16, steps=200), 0.003,
        5.545,
    ),
}  # fmt: skip
"""Regression with noise, digits, patients, denoising, bytes. Chance: the variance of targets, the log of classes."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is trained on a task: points, published recipes beside float32, seeds."""

    points: tuple[Point, ...]
    named: tuple[str, ...] = (COARSE,)
    seeds: int = 5

    @property
    def trainings(self) -> int:
        """How many."""
        return len({point.name for point in self.points} | {*self.named, REFERENCE}) * self.seeds


def _plan(scale: str) -> dict[str, Part]:
    """The parts of a scale by task.

    At `full` the factorial with blocks and loss scales is whole on digits, that with loss scales on regression, where
    estimators and stochastic scales are too; patients have the core. Programs of the denoiser and the language model
    take minutes to compile, so that they have a fraction of it.
    """
    core, both = designs.core(), designs.core(loss_scales=(1.0, SMALLER))
    if scale == QUICK:
        return {
            "teacher_student": Part((*core, *designs.estimators(SIMPLE, designs.BRIEF))),
            "digits": Part(tuple(both)),
        }
    factorial = designs.core((16, 32), loss_scales=(1.0, SMALLER))
    special = (
        *designs.estimators(SIMPLE, designs.ESTIMATORS),
        *designs.random_scales(p for p in designs.core(transforms=["none"]) if not p.tensor),
    )
    fraction = Part(tuple(designs.fraction()))
    return {
        "digits": Part((*factorial, *designs.core(loss_scales=[LARGER])), (COARSE, *NAMED), 8),
        "teacher_student": Part((*both, *special), (COARSE, *NAMED[:3]), 8),
        "diabetes": Part(tuple(core), (COARSE, *NAMED[:3]), 8),
        "diffusion": fraction,
        "text": fraction,
    }


PLANS = {scale: _plan(scale) for scale in (QUICK, FULL)}


def trained(
    task: str, part: Part, store: Path | None, report: Callable[[int, int], None], training: Training | None = None
) -> Table:
    """Train what a part says of a task, as far as the store does not have it: `scored` runs."""
    setting = SETTINGS[task] if training is None else replace(SETTINGS[task], training=training)
    rows = tuple(designs.rows(part.points, setting, part.seeds, part.named))
    # the rows hold recipes, which are no plain data that `space` would take
    space = Space((), Design("list"), rows=rows)
    options = dict(setting.options)
    runs = sweep(
        task, space, training=setting.training, task_options=options, store=store, name="fp4_design", progress=report
    )
    all_finished(runs, f"trainings of {task}")
    return scored(runs, part.points, setting)
