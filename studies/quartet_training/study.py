"""Which roundings of Quartet's passes in FP4 are best: forward and backward passes apart, and whole recipes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from ...sim.sweeps.sweep import sweep
from ...sim.tasks.loading import task as any_task
from ..claims import Measured
from ..precision_training.plans import check_of_seeds_and_lengths
from ..study import FULL, QUICK, Context, Findings, Study
from ..sweeping import all_finished, of_data
from .analysis import Table, by_length, growth, mean_ratio, shrinking_lead
from .claims import CLAIMS, PAPER, TASKS
from .pictures import differences_picture, gap_picture
from .recipes import REFERENCE, together


@dataclass(frozen=True, slots=True)
class Part:
    """What is trained on a task.

    Args:
        options: of `halfulp.task`. parameters: of the model, those that the law counts.
        recipes: by name. lengths: in steps, ascending.
        training: settings of `Training` beside the steps. rate: the peak learning rate, chosen in float32.
        seeds: how many. forward: the recipe whose cost is followed over the data.
        kept: patterns of layers that stay in float32.

    Raises:
        ValueError: lengths that are not ascending, or none; fewer than two seeds.
    """

    options: dict[str, Any]
    parameters: int
    recipes: tuple[str, ...]
    lengths: tuple[int, ...]
    training: dict[str, Any]
    rate: float
    seeds: int
    forward: str
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_of_seeds_and_lengths(self.seeds, self.lengths)

    @property
    def runs(self) -> int:
        """How many trainings it is."""
        return len(self.recipes) * len(self.lengths) * self.seeds

    def ratio(self, steps: int) -> float:
        """Tokens, or samples of a task without, to a parameter."""
        return steps * self.training["batch"] * self.options.get("context", 1) / self.parameters

    def configs(self, task: str) -> list[dict[str, Any]]:
        """What `jax_trainings.trainings` takes, a program each."""
        common = {"task": task, "options": self.options, "lengths": list(self.lengths), "rate": self.rate}
        more = {"seeds": self.seeds, "training": self.training, "kept": list(self.kept)}
        return [{**common, **more, "recipes": list(names)} for names in together(self.recipes)]


_PASSES = (REFERENCE, "forward_nearest", "forward_stochastic", "backward_nearest", "backward_stochastic")
_WHOLE = ("quartet", "mxfp4", "luq_int4", "luq_fp4")
_SGD = {"batch": 64}
_ADAM = {"batch": 8, "optimizer": "adamw", "clip": 1.0, "warmup": 10}
_REGRESSION = {"size": "xs", "noise": 0.3, "samples": 65536}
_BYTES = {"context": 64, "valid_samples": 128}
PLANS: dict[str, dict[str, Part]] = {
    QUICK: {
        "teacher_student": Part(
            _REGRESSION, 1089, (*_PASSES, "forward_quest", *_WHOLE), (75, 300, 1200), {**_SGD, "width": 12}, 0.03, 12,
            "forward_quest"
        ),
        "text": Part({**_BYTES, "size": "13k"}, 13408, _PASSES, (64, 256), {**_ADAM, "width": 6}, 0.003, 6,
                     "forward_nearest", ("head",)),
    },
    FULL: {
        "teacher_student": Part(
            _REGRESSION, 1089, (*_PASSES, "forward_quest", "forward_mean", *_WHOLE), (75, 300, 1200, 4800), _SGD, 0.03,
            32, "forward_quest"
        ),
        "text": Part({**_BYTES, "size": "50k", "valid_samples": 512}, 53440,
                     (*_PASSES, "forward_quest", "forward_mean", *_WHOLE), (256, 1024, 4096), _ADAM, 0.003, 10,
                     "forward_nearest", ("head",)),
    },
}  # fmt: skip
"""By scale and task. QuEST compiles for long, on bytes for minutes, so that `quick` has it in regression only."""


def trained(task: str, part: Part, store: Path | None, report: Any = False) -> Table:
    """Train what a part says, as far as the store does not have it.

    Args:
        store: a file of results, or None. report: called with (finished programs, all of them).

    Returns:
        A row per training: task, recipe, steps, seed, ratio (see `Part.ratio`), loss.

    Raises:
        RuntimeError: trainings that failed, or diverged.
    """
    from .jax_trainings import trainings

    configs = of_data(part.configs(task), any_task(task, **part.options))
    found: Table = sweep(trainings, configs, store=store, name="quartet_training", progress=report)
    all_finished(found, f"programs of {task}")
    rows = [
        (task, recipe, steps, seed, part.ratio(steps), float(row[f"{recipe} {steps} {seed}"]))
        for (_, row), names in zip(found.iterrows(), together(part.recipes))
        for recipe in names
        for steps in part.lengths
        for seed in range(part.seeds)
    ]
    table: Table = pandas.DataFrame(rows, columns=["task", "recipe", "steps", "seed", "ratio", "loss"])
    if table["loss"].isna().any():
        lost = table[table["loss"].isna()].iloc[0]
        raise RuntimeError(f"{lost['recipe']} diverged on {task} after {lost['steps']} steps; take a lower rate")
    return table


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', hours at 'full', resumable program by program."""
    plan = PLANS[context.scale if context.scale in PLANS else FULL]
    total, done, runs = sum(len(part.configs(task)) for task, part in plan.items()), 0, []
    for task, part in plan.items():

        def report(finished: int, _: int, task: str = task, before: int = done) -> None:
            context.report(before + finished, total, f"training {task}")

        runs.append(trained(task, part, context.store(), report))
        done += len(part.configs(task))
    table = pandas.concat(runs, ignore_index=True)
    found = measured(table, plan)
    means = table.groupby(["task", "recipe", "steps", "ratio"], sort=False)["loss"].agg(["mean", "std", "size"])
    pictures = {"orders": differences_picture(table), "gap": gap_picture(table)}
    tables = {"by_recipe": means.reset_index(), "by_length": by_length(table, SHOWN_BY_LENGTH)}
    return Findings(found, tables, pictures, table)


BACKWARD = ("backward_nearest", "backward_stochastic")
SHOWN_BY_LENGTH = (
    *((name, REFERENCE) for name in BACKWARD),
    BACKWARD,
    ("forward_nearest", REFERENCE),
    ("forward_stochastic", REFERENCE),
    ("forward_quest", "forward_nearest"),
    ("quartet", "forward_quest"),
)
"""Pairs of recipes in the table of log ratios by length."""


def measured(table: Table, plan: dict[str, Part]) -> dict[str, Measured]:
    """What each claim is judged by."""
    found = {}
    for task in TASKS:
        found |= {f"{name}_{task}": value for name, value in _of_task(table, task, plan[task].forward).items()}
    task = "teacher_student"
    return {
        **found,
        "forward_quest": mean_ratio(table, task, "forward_quest", "forward_nearest"),
        "quartet_float32": mean_ratio(table, task, "quartet", REFERENCE),
        "quartet_nearest": mean_ratio(table, task, "quartet", "mxfp4"),
        "quartet_luq": mean_ratio(table, task, "quartet", "luq_int4"),
        "luq_int4": mean_ratio(table, task, "luq_int4", "luq_fp4"),
    }


def _of_task(table: Table, task: str, forward: str) -> dict[str, Measured]:
    """The measurements of one task, by the beginning of the claim's id."""
    return {
        "forward_nearest": mean_ratio(table, task, "forward_nearest", "forward_stochastic"),
        "forward_grows": growth(table, task, forward, REFERENCE),
        "backward_short": mean_ratio(table, task, *BACKWARD, length=0),
        "backward_long": mean_ratio(table, task, *BACKWARD, length=-1),
        "backward_lead_shrinks": shrinking_lead(table, task, *BACKWARD),
        "forward_matters": mean_ratio(table, task, forward, "backward_stochastic"),
    }


STUDY = Study(
    "quartet_training",
    "Quartet's roundings in training",
    "Which rounding is best for a forward pass in FP4, and which for a backward pass?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
