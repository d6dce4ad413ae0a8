"""What is trained: tasks with their settings, rows of a sweep, and one run of it.

JAX is imported when a run is trained.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...sim.sweeps.sweep import sweep
from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.checkpoints import fingerprint_of
from ...sim.training.training import Training
from ..sweeping import all_finished
from .storage import LEFT_ALONE, all_bits, as_large, bits_of

SHAPES, STORAGE = "shapes", "storage"
"""What a run has in common with the ternary one: the shapes of its layers, or the bits of its parameters."""
VARIANTS = {
    "float32": ("float32", SHAPES),
    "ternary": ("ternary", SHAPES),
    "binary": ("binary", SHAPES),
    "phase": ("phase", SHAPES),
    "phase_t2": ("phase_t2", SHAPES),
    "phase_wide": ("phase", STORAGE),
}
"""The code and the size of what is compared."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task of the study and how it is trained.

    Args:
        options: of `halfulp.task`. training: steps, batch, optimizer.
        rates: learning rates, the same for all; of several each variant is judged at its best.
        seeds: how many. choosing: how many of them, the first, only choose the learning rate; the others are judged.
    """

    options: tuple[tuple[str, Any], ...]
    training: Training
    rates: tuple[float, ...]
    seeds: int
    choosing: int = 0


_ADAM: dict[str, Any] = {"optimizer": "adamw"}
_TEXT = (("size", "50k"), ("context", 64), ("valid_samples", 256))
SETTINGS = {
    "text": Setting(_TEXT, Training(250, 16, **_ADAM, clip=1.0, warmup=20), (0.003,), 5),
    "digits": Setting(
        (("model", "mlp"), ("size", "s")), Training(300, 64, **_ADAM), (0.01, 0.03, 0.1), 24, choosing=10
    ),
    "teacher_student": Setting((("size", "s"),), Training(800, 96, **_ADAM), (0.01, 0.03, 0.1), 16, choosing=6),
}
"""Bytes of source code, digits, and regression on the outputs of a random network. On text the rate is the
better one of .003 and .01 for float32, in 400 steps."""
DRAWN = ("teacher_student",)
"""Tasks whose data the package draws, so that they may change with it: what is stored names them by a digest."""


def rows(task: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """Every variant with every rate and seed, as plain data."""
    how = setting.training
    for variant, (code, same) in VARIANTS.items():
        of_run = {"task": task, "variant": variant}
        if task in DRAWN or same == STORAGE:  # data or widths that a store could not tell from others otherwise
            sized = sized_task(task, setting.options, code if same == STORAGE else None)
            of_run["fingerprint"] = fingerprint_of(sized)
        for rate in setting.rates:
            for seed in range(setting.seeds):
                yield {
                    **of_run, "rate": rate, "seed": seed, "steps": how.steps,
                    "batch": how.batch, "clip": how.clip, "warmup": how.warmup, "options": dict(setting.options),
                }  # fmt: skip


def train_one(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train a row.

    Returns:
        Means over the validation data by name, 'loss' among them; diverged; bits of the coded weights; of phases the
        mean entropy of the codes of a matrix, in bits.
    """
    from .jax_codes import CODES

    code, same = VARIANTS[config["variant"]]
    bench = _bench(
        config["task"], tuple(config["options"].items()), code if same == STORAGE else None,
        Training(config["steps"], config["batch"], **_ADAM, clip=config["clip"], warmup=config["warmup"]),
    )  # fmt: skip
    ended = bench.run(config["seed"], config["rate"], {"code": CODES.index(code)})
    found = {**ended.metrics, "diverged": ended.diverged, "bits": bits_of(bench.task.description, code)}
    if code.startswith("phase"):
        from .entropy import mean_entropy

        found["entropy"] = mean_entropy(ended.parameters, bench.task.description)
    return found


@cache
def sized_task(task: str, options: tuple[tuple[str, Any], ...], widened: str | None) -> Task:
    """A task; where a code is named, with the model that takes as many bits in it as the task's own in ternary."""
    found = any_task(task, **dict(options))
    if widened is None:
        return found
    from .jax_bench import resized

    return resized(found, as_large(found.description, widened, all_bits(found.description, "ternary")))


def storage_of(task: str, setting: Setting) -> dict[str, float]:
    """Bits of the whole model of each variant."""
    return {
        variant: all_bits(sized_task(task, setting.options, code if same == STORAGE else None).description, code)
        for variant, (code, same) in VARIANTS.items()
    }


@cache
def _bench(task: str, options: tuple[tuple[str, Any], ...], widened: str | None, training: Training) -> Any:
    """The program of a `sized_task`."""
    from .jax_bench import Bench
    from .jax_codes import coded_product, with_products

    def seen(parameters: Any, choice: Any, step: Any) -> Any:
        def made(name: str, layer: Any) -> Any:
            return None if name in LEFT_ALONE else coded_product(choice["code"], layer["weight"])

        return with_products(parameters, made)

    return Bench(sized_task(task, options, widened), training, seen)


def trained(
    function: Callable[[Mapping[str, Any]], dict[str, Any]],
    rows: list[dict[str, Any]],
    store: Path | None,
    name: str,
    report: Callable[[int, int], None],
) -> Any:
    """Train rows as far as the store does not have them: a DataFrame with a row each.

    Raises:
        RuntimeError: a run that failed.
    """
    runs: Any = sweep(function, rows, store=store, name=name, progress=report)
    all_finished(runs, "trainings")
    return runs
