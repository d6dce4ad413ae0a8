"""Trains every task with five seeds and writes what they reach into docs/tasks.md; `make tasks` runs it.

Each run is some rows of docs/data/tasks.csv, and the table between the marks of the page is made from that file alone,
so that a test can tell whether it is current. Twenty minutes on two cores.

    python docs/make_tasks.py                       all but CIFAR-10
    python docs/make_tasks.py text digits/vit       some again; rows of the others are kept
    python docs/make_tasks.py cifar10 --cifar10 DIR with CIFAR-10's binary version in DIR
"""

import csv
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import halfulp as hu
import numpy as np
import typer
from scipy.special import stdtrit

HERE = Path(__file__).parent
PAGE, DATA = HERE / "tasks.md", HERE / "data" / "tasks.csv"
BEGIN, END = "<!-- begin: made by docs/make_tasks.py -->", "<!-- end -->"

SEEDS = range(5)
CONFIDENCE = 0.95
RECIPES: Mapping[str, Any] = {"float32": "identity", "fp8_e4m3": hu.uniform("fp8_e4m3")}
"""What every task is trained in, by name; `uniform` rounds all six operands of a product, one scale a tensor."""
DRAWN = 360
"""Images drawn for the Frechet distance, as many as there are for validation."""


Key = tuple[str, str, str, str]
"""Task, model, size, options."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task and how it is trained, with AdamW and half a cosine.

    Args:
        task, model, size, options: of `halfulp.task`.
        learning_rate, steps, batch: of `halfulp.Run` and `halfulp.Training`.
    """

    task: str
    model: str
    size: str
    learning_rate: float
    steps: int
    batch: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What its records are found by."""
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return self.task, self.model, self.size, options


SETTINGS = (
    Setting("digits", "mlp", "s", 0.01, 300, 96),
    Setting("digits", "cnn", "s", 0.003, 300, 96),
    Setting("digits", "vgg", "s", 0.003, 300, 96),
    Setting("digits", "vit", "s", 0.003, 300, 96),
    Setting("cifar10", "cnn", "s", 0.003, 1000, 128),
    Setting("diabetes", "mlp", "xs", 0.003, 200, 32),
    Setting("teacher_student", "mlp", "s", 0.003, 1000, 96),
    Setting("diffusion", "mlp_denoiser", "s", 0.002, 1500, 128),
    Setting("diffusion", "unet", "s", 0.002, 200, 128),
    Setting("text", "llama", "50k", 0.003, 300, 16),
    Setting("text", "llama", "50k", 0.003, 300, 16, {"vocabulary": 1024}),
)


class Record(NamedTuple):
    """One measure of one run, a row of the file.

    Fields:
        task, model, size, options, recipe, seed: which run.
        metric, value: what was measured on the validation data after the last step.
        baseline: what knowing nothing of the inputs reaches; see `baselines`.
        diverged_at: the step that ended the run, or nothing.
        learning_rate, steps, batch, tokens: how it was trained; tokens a sample.
        parameters, source: of the task. python, halfulp, jax, machine: what trained it.
    """

    task: str
    model: str
    size: str
    options: str
    recipe: str
    seed: str
    metric: str
    value: str
    baseline: str
    diverged_at: str
    learning_rate: str
    steps: str
    batch: str
    tokens: str
    parameters: str
    source: str
    python: str
    halfulp: str
    jax: str
    machine: str

    @property
    def key(self) -> Key:
        """Of its setting."""
        return self.task, self.model, self.size, self.options


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of Student's t interval of `CONFIDENCE` for it: normal runs, deviation unknown.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"expected the values of two seeds or more, got {len(values)}")
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return float(np.mean(values)), quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _of_classes(task: Any) -> dict[str, float]:
    counts = np.bincount(task.train["y"])
    shares = np.log(counts[task.valid["y"]] / counts.sum())
    return {"loss": float(-shares.mean()), "accuracy": float((task.valid["y"] == counts.argmax()).mean())}


def _of_numbers(task: Any) -> dict[str, float]:
    y = task.valid["y"].astype(float)
    loss = float(np.mean((y - task.train["y"].astype(float).mean()) ** 2))
    return {"loss": loss, "r2": 1 - loss / float(y.var())}


def _of_noise(task: Any) -> dict[str, float]:
    from halfulp.sim.tasks.diffusion import frechet_distance

    noise = np.random.default_rng(0).uniform(-1, 1, (DRAWN, *task.train["x"].shape[1:]))
    return {"loss": 1.0, "frechet_distance": frechet_distance(noise, task.train["x"])}


def _of_tokens(task: Any) -> dict[str, float]:
    """Plus one of each token, so that none has a share of 0."""
    train, valid = task.train["tokens"][:, 1:].ravel(), task.valid["tokens"][:, 1:].ravel()
    counts = np.bincount(train, minlength=task.description.vocabulary) + 1
    loss = float(-np.log(counts[valid] / counts.sum()).mean())
    return {"loss": loss, "bits_per_byte": loss / math.log(2) / task.bytes_per_token}


BASELINES: Mapping[str, Callable[[Any], dict[str, float]]] = {
    "accuracy": _of_classes, "r2": _of_numbers, "loss": _of_noise, "bits_per_byte": _of_tokens,
}  # fmt: skip


def baselines(task: Any) -> dict[str, float]:
    """What the best constant answer reaches, by metric.

    The shares of the classes and the commonest one, the mean of the training targets, no noise at all and uniform
    noise for images, the shares of the tokens: all from the training data.
    """
    return BASELINES[task.metric](task)


def measured(task: Any, trained: Any) -> dict[str, float]:
    """The measures of a run: those of the task, and the Frechet distance of images drawn in float32."""
    if task.name != "diffusion":
        return {name: trained.metrics[name] for name in ("loss", task.metric)}
    from halfulp.sim.tasks.diffusion import frechet_distance, sample

    images = sample(task, trained.parameters, trained.run.seed, DRAWN)
    return {"loss": trained.metrics["loss"], "frechet_distance": frechet_distance(images, task.train["x"])}


def records(setting: Setting, path: Path | None = None) -> list[Record]:
    """Train a task in every recipe with every seed; a recipe's seeds go side by side in one program."""
    task = hu.task(setting.task, model=setting.model, size=setting.size, path=path, **setting.options)
    training = hu.Training(steps=setting.steps, batch=setting.batch, optimizer="adamw", width=len(SEEDS))
    runs = [hu.Run(rules, seed, setting.learning_rate) for rules in RECIPES.values() for seed in SEEDS]
    found = hu.train(task, runs, training, keep_parameters=task.name == "diffusion")
    known, names = baselines(task), [name for name in RECIPES for _ in SEEDS]
    how = (setting.learning_rate, setting.steps, setting.batch, task.tokens_per_sample, task.parameters)
    source = task.source if path is None else task.source.replace(str(path), path.name)
    where = (source, platform.python_version(), version("halfulp"), version("jax"), platform.machine())
    rows = [
        (
            *setting.key, name, trained.run.seed, metric, value, known[metric],
            "" if trained.diverged_at is None else trained.diverged_at, *how, *where,
        )
        for name, trained in zip(names, found)
        for metric, value in measured(task, trained).items()
    ]  # fmt: skip
    return [Record(*map(str, row)) for row in rows]


def read() -> list[Record]:
    """The records of the file; none where there is no file."""
    if not DATA.exists():
        return []
    with DATA.open(newline="") as file:
        return [Record(**row) for row in csv.DictReader(file)]


def write(found: Sequence[Record]) -> None:
    """Write the file, in the order of `SETTINGS`."""
    order = [setting.key for setting in SETTINGS]
    DATA.parent.mkdir(exist_ok=True)
    with DATA.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Record._fields)
        ordered = sorted(found, key=lambda record: order.index(record.key))
        rows.writerows(ordered)


def _number(mean: float, half: float, percent: bool) -> str:
    """Mean and half interval, to two digits of the latter."""
    mean, half = (100 * mean, 100 * half) if percent else (mean, half)
    digits = max(0, 1 - math.floor(math.log10(half))) if 0 < half < math.inf else 4
    return f"{mean:.{digits}f} ± {half:.{digits}f}" + "%" * percent


def groups(found: Sequence[Record]) -> dict[tuple[Key, str], dict[str, list[Record]]]:
    """Records by setting and recipe, and then by metric."""
    by: dict[tuple[Key, str], dict[str, list[Record]]] = {}
    for record in found:
        by.setdefault((record.key, record.recipe), {}).setdefault(record.metric, []).append(record)
    return by


def _cells(of: Sequence[Record]) -> tuple[str, str]:
    """A metric's interval and baseline."""
    metric, percent = of[0].metric, of[0].metric == "accuracy"
    units = {"loss": "", "frechet_distance": "distance ", "bits_per_byte": "bits a byte "}
    baseline = round((100 if percent else 1) * float(of[0].baseline), 2) + 0.0  # no -0.00
    found = _number(*interval([float(record.value) for record in of]), percent)
    return units.get(metric, f"{metric} ") + found, f"{baseline:.{1 if percent else 2}f}" + "%" * percent


def table(found: Sequence[Record]) -> str:
    """What stands between the marks of the page."""
    lines = [
        "| task, model, size | steps x batch, rate | trained in | loss | of a constant | metric | of a constant |",
        "|---|---|---|---|---|---|---|",
    ]
    for ((*parts, options), recipe), of in groups(found).items():
        first = next(iter(of.values()))[0]
        tokens = "" if first.tokens == "1" else f" x {first.tokens} tokens"
        how = f"{first.steps} x {first.batch}{tokens}, {first.learning_rate}"
        loss, (metric,) = _cells(of["loss"]), [_cells(each) for key, each in of.items() if key != "loss"]
        name = ", ".join([*(f"`{part}`" for part in parts), *[options] * bool(options)])
        lines.append("| " + " | ".join((name, how, recipe, *loss, *metric)) + " |")
    versions = sorted({f"Python {r.python}, halfulp {r.halfulp}, jax {r.jax}, {r.machine}" for r in found})
    return "\n".join([BEGIN, "", *lines, "", f"{'; '.join(versions)}.", "", END])


def page(found: Sequence[Record]) -> str:
    """The page with the table of the records."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + table(found) + rest.split(END, 1)[1]


def chosen(names: Sequence[str], cifar10: Path | None) -> list[Setting]:
    """The settings of tasks, or of 'task/model'; all for no names, and CIFAR-10 where its data is.

    Raises:
        BadParameter: an unknown name, or CIFAR-10 without its data.
    """
    named = [(setting, {setting.task, f"{setting.task}/{setting.model}"}) for setting in SETTINGS]
    known = set().union(*(own for _, own in named))
    if wrong := set(names) - known:
        raise typer.BadParameter(f"unknown tasks {sorted(wrong)}; they are {sorted(known)}")
    found = [setting for setting, own in named if own & set(names or known)]
    if names and cifar10 is None and any(setting.task == "cifar10" for setting in found):
        raise typer.BadParameter("cifar10 comes without data; give --cifar10 the folder of its binary version")
    return [setting for setting in found if cifar10 is not None or setting.task != "cifar10"]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Tasks, or task/model, to train; all by default.")] = None,
    cifar10: Annotated[Path | None, typer.Option(help="Folder of CIFAR-10's binary version.")] = None,
) -> None:
    """Train, write the file, and put its table into the page."""
    for setting in chosen(names or (), cifar10):
        began = time.perf_counter()
        found = records(setting, cifar10 if setting.task == "cifar10" else None)
        write([record for record in read() if record.key != setting.key] + found)
        print(f"{', '.join(filter(None, setting.key))}: {time.perf_counter() - began:.0f} s", flush=True)
    PAGE.write_text(page(read()))


if __name__ == "__main__":
    typer.run(main)
