"""What is trained: tasks with their settings, variants, rows of a sweep, and one run of it.

JAX is imported when a run is trained.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from ...sim.models.leaves import flat
from ...sim.tasks.loading import task as any_task
from ...sim.tasks.task import Task
from ...sim.training.checkpoints import fingerprint_of
from ...sim.training.training import Training
from ..complex_2bit.storage import widened
from ..complex_2bit.trainings import DRAWN
from .memory import share

ALLOWED = 0.15
"""Of the model's memory, what the low-rank path may add: the upper end of what was published."""
FIRST_GATE, PENALTY = 0.5, 1e-3
"""Where gates begin, far from where they were found to end, and what is added to the loss for each unit of one."""
WARMUP, FREEZE = 0.1, 0.75
"""Shares of the steps: until the first gates keep their first value, from the second on they are frozen."""
GATES = {
    "learned": (FIRST_GATE, WARMUP, FREEZE, PENALTY),
    "free": (FIRST_GATE, 0.0, 1.0, 0.0),
    "fixed": (FIRST_GATE, 1.0, 1.0, 0.0),
    "one": (1.0, 1.0, 1.0, 0.0),
}
"""First value, shares of the steps from which to which it moves, penalty: learned by the schedule, learned without one,
kept at its first value, and no gate at all."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task of the study and how it is trained.

    Args:
        options: of `halfulp.task`. training: steps, batch, optimizer.
        rates: learning rates, the same for all; of several each variant is judged at its best.
        seeds: how many. hidden: widths of the hidden layers, in place of the task's own.
        choosing: how many of them, the first, only choose the learning rate; the others are judged.
        gates: kinds of gates, of `GATES`, at the rank that is allowed. ranks: others, with learned gates.
    """

    options: tuple[tuple[str, Any], ...]
    training: Training
    rates: tuple[float, ...]
    seeds: int
    hidden: int | None = None
    gates: tuple[str, ...] = tuple(GATES)
    ranks: tuple[int, ...] = ()
    choosing: int = 0

    @property
    def widest(self) -> int:
        """For how many ranks there is room: more cost time, fewer than any that is trained are none."""
        return max((*self.ranks, 4))


_TEXT = (("size", "50k"), ("context", 64), ("valid_samples", 256))
SETTINGS = {
    "text": Setting(
        _TEXT, Training(250, 16, optimizer="adamw", clip=1.0, warmup=20), (0.003,), 5, gates=("learned",)
    ),
    "digits": Setting(
        (("model", "mlp"), ("size", "m")), Training(300, 64, optimizer="adamw"), (0.03,), 8, ranks=(1, 4, 16)
    ),
    "teacher_student": Setting(
        (("size", "s"),), Training(800, 96, optimizer="adamw"), (0.01, 0.03), 14, hidden=192, ranks=(4, 16),
        choosing=6,
    ),
}  # fmt: skip
"""Bytes of source code, digits, and regression on the outputs of a random network. Where one rate is named, it is that
of .003, .01 and .03 (text: of two) at which float32 is best; on digits ternary weights are best there as well, on
regression not."""


@cache
def task_of(name: str) -> Task:
    """The task of a setting, with its width."""
    setting = SETTINGS[name]
    found = any_task(name, **dict(setting.options))
    if setting.hidden is None:
        return found
    from ..complex_2bit.jax_bench import resized

    return resized(found, widened(found.description, setting.hidden))


def rank_of(description: Any) -> int:
    """The largest rank of the paths that adds at most the allowed share of memory.

    Raises:
        ValueError: even a rank of 1 adds more.
    """
    if share(description, 1) > ALLOWED:
        raise ValueError(f"a rank of 1 adds {share(description, 1):.1%} of the memory, above {ALLOWED:.0%}; widen it")
    rank = 1
    while share(description, rank + 1) <= ALLOWED:
        rank += 1
    return rank


def variants(setting: Setting, rank: int) -> dict[str, tuple[str, int, str]]:
    """Code, rank and gates by name."""
    return {
        "float32": ("float32", 0, "fixed"),
        "ternary": ("ternary", 0, "fixed"),
        **{f"hgf_{gate}": ("ternary", rank, gate) for gate in setting.gates},
        **{f"rank_{other}": ("ternary", other, "learned") for other in setting.ranks if other != rank},
    }


def rows(name: str, setting: Setting, rank: int) -> Iterator[dict[str, Any]]:
    """Every variant with every seed, as plain data."""
    how = setting.training
    drawn = {"fingerprint": fingerprint_of(task_of(name))} if name in DRAWN else {}
    for variant, (code, each, gates) in variants(setting, rank).items():
        for rate, seed in product(setting.rates, range(setting.seeds)):
            yield {
                "task": name, "variant": variant, "code": code, "rank": each, "widest": setting.widest,
                "gates": gates, "schedule": list(GATES[gates]), "rate": rate, "seed": seed,
                "steps": how.steps, "batch": how.batch, "clip": how.clip, "warmup": how.warmup,
                "model": [*map(str, setting.options), str(setting.hidden)], **drawn,
            }  # fmt: skip


def train_one(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train a row.

    Returns:
        Means over the validation data by name, 'loss' among them; diverged; the mean and the smallest and largest
        magnitude of gates; what the paths add to the memory.
    """
    from .jax_gated import Schedule, train_gated

    how = Training(config["steps"], config["batch"], optimizer="adamw", clip=config["clip"], warmup=config["warmup"])
    bench = _bench(config["task"], how)
    gate, begin, end, penalty = config["schedule"]
    schedule = Schedule(round(begin * how.steps), round(end * how.steps), penalty)
    ended = train_gated(
        bench, config["seed"], config["rate"], config["code"], config["rank"], config["widest"], gate, schedule
    )
    gates = [abs(float(each)) for each in flat(ended.parameters["gates"]).values()]
    return {
        **ended.metrics,
        "diverged": ended.diverged,
        "gate": sum(gates) / len(gates),
        "gate_low": min(gates),
        "gate_high": max(gates),
        "memory": share(bench.task.description, config["rank"]) if config["rank"] else 0.0,
    }


@cache
def _bench(name: str, training: Training) -> Any:
    from .jax_gated import gated_bench

    return gated_bench(task_of(name), training)
