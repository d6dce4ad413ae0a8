"""The design space of FP4 training: points of it, their recipes, and which are trained on which task."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from ...sim.recipes.published import recipe as published
from ...sim.recipes.quantizer import Quantizer
from ...sim.recipes.recipe import Recipe
from ...sim.training.training import Training

ELEMENT = "fp4_e2m1"
SCALES = {"e8m0": "E8M0", "fp8_e4m3": "E4M3", "ue5m3": "UE5M3", "fp8_e5m2": "E5M2", "binary32": "FP32"}
"""Formats of block scales, and how they are shown."""
FLOATS = tuple(name for name in SCALES if name != "e8m0")
"""Those with mantissas."""
ROUNDINGS = ("nearest", "gradients", "backward")
"""What is rounded stochastically: nothing, dY, all four operands of the backward products."""
TRANSFORMS = ("none", "hadamard16", "rht16")
"""Of both operands of the two backward products."""
ESTIMATORS: dict[str, Any] = {
    **{name: name for name in ("identity", "dge", "spline", "piecewise_linear", "absmax", "absmax_full")},
    "spline_absmax": {"name": "spline", "scale": 1},
    "piecewise_linear_absmax": {"name": "piecewise_linear", "scale": 1},
}
"""Gradients of the forward operands; absmax goes through the scale, element by element, absmax_full by its Jacobian."""
BRIEF = ("identity", "dge", "spline", "piecewise_linear", "absmax")
"""Those of every scale of the study."""
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Learning rates, in those of the setting, of which each estimator is given its best."""
SMALLER, LARGER = 2.0**-10, 2.0**10
"""Loss scales: gradients as small as those of a mean over 1024 times the batch, and the usual cure."""
REFERENCE, COARSE = "identity", "mxfp4"
"""Float32, and MXFP4 rounded to nearest: the ends of the scale of gains."""
NAMED = ("mxfp4_sr_rht", "nvfp4", "tetrajet", "quartet", "four_over_six", "fp4_all_the_way")
"""Published recipes that are placed on the same front; the first three on all tasks that are pooled."""


@dataclass(frozen=True, slots=True)
class Point:
    """A choice of everything. The defaults are the paper's best trade-off.

    Args:
        scale: format of block scales, one of `SCALES`.
        tensor: whether a float32 scale of the tensor brings block scales into the range of their format.
        rounding: one of `ROUNDINGS`. transform: one of `TRANSFORMS`. estimator: one of `ESTIMATORS`.
        block: elements of a scale.
        scale_rounding: of scales, 'nearest' or 'stochastic'; those of E8M0 are rounded down (OCP MX v1.0) in any case.
        loss_scale: what the loss is multiplied with before the backward pass, a power of two.
        rate: the learning rate over that of the setting.
    """

    scale: str = "ue5m3"
    tensor: bool = True
    rounding: str = "gradients"
    transform: str = "rht16"
    block: int = 16
    estimator: str = "identity"
    scale_rounding: str = "nearest"
    loss_scale: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def format(self) -> str:
        """The format of all operands."""
        tensor = ",outer=binary32" if self.tensor else ""
        return f"scaled({ELEMENT},scale={self.scale},block={self.block}{tensor})"

    @property
    def representation(self) -> str:
        """How scales are represented, in a word: 'E4M3' without tensor scaling, 'E4M3+T' with it."""
        return SCALES[self.scale] + ("+T" if self.tensor else "")

    @property
    def name(self) -> str:
        """Unique: what differs from the rest of the factorial follows its four factors."""
        parts = [self.representation, self.rounding, self.transform]
        defaults = Point()
        parts += [
            f"{name}={getattr(self, name):g}" if isinstance(getattr(self, name), float) else str(getattr(self, name))
            for name in ("block", "estimator", "loss_scale", "rate") if getattr(self, name) != getattr(defaults, name)
        ]  # fmt: skip
        return " ".join([*parts, "stochastic scales"] if self.scale_rounding != "nearest" else parts)

    @property
    def recipe(self) -> Recipe:
        """As a recipe; ragged blocks are allowed, since layers of tasks have few outputs."""
        scales = "stochastic" if self.scale_rounding == "stochastic" else None

        def made(random: bool, backward: bool) -> Quantizer:
            transform = self.transform if backward and self.transform != "none" else None
            gradient = "default" if backward else ESTIMATORS[self.estimator]
            rounding = "stochastic" if random else None
            return Quantizer(self.format, rounding, None, scales, "format", transform, "original", gradient)

        forward, others = made(False, False), made(self.rounding == "backward", True)
        gradients = made(self.rounding != "nearest", True)
        return Recipe(
            self.name, forward, forward, gradients, others, gradients, others, pad=True, source="arXiv:2509.17791"
        )


_KNOWN: dict[str, tuple[Any, ...]] = {
    "scale": tuple(SCALES),
    "rounding": ROUNDINGS,
    "transform": TRANSFORMS,
    "estimator": tuple(ESTIMATORS),
    "scale_rounding": ("nearest", "stochastic"),
}
FACTORS = tuple(each.name for each in fields(Point))
"""The names of what was chosen."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task of the study and how it is trained.

    Args:
        options: of `halfulp.task`. training: steps, batch, optimizer.
        learning_rate: of rates about a factor of 3 apart the one below that at which float32 is best, chosen before
            anything was quantized.
        chance: the loss, in the unit of the task, of a model that has learnt nothing but the mean of the targets.
    """

    task: str
    options: tuple[tuple[str, Any], ...]
    training: Training
    learning_rate: float
    chance: float


def factorial(**levels: Iterable[Any]) -> list[Point]:
    """Every combination of some levels; what is not named is at its default.

    Example:
        >>> [point.representation for point in factorial(scale=["fp8_e4m3"], tensor=[False, True])]
        ['E4M3', 'E4M3+T']
    """
    chosen = {name: list(values) for name, values in levels.items()}
    return [Point(**dict(zip(chosen, values))) for values in product(*chosen.values())]


def core(
    blocks: Iterable[int] = (16,), transforms: Iterable[str] = ("none", "rht16"), loss_scales: Iterable[float] = (1.0,)
) -> list[Point]:
    """A balanced factorial of representations, roundings, transforms, blocks and loss scales.

    E8M0 scales, whose range needs none, get no scale of the tensor.
    """
    common = {
        "rounding": ROUNDINGS, "transform": list(transforms), "block": list(blocks), "loss_scale": list(loss_scales)
    }  # fmt: skip
    powers = factorial(scale=["e8m0"], tensor=[False], **common)
    return [*powers, *factorial(scale=FLOATS, tensor=[False, True], **common)]


def fraction() -> list[Point]:
    """Of the core: all representations without a transform, those with a scale of the tensor also with one.

    Rounded to nearest and with stochastic gradients.
    """

    def some(transform: str, tensor: bool) -> list[Point]:
        return factorial(scale=FLOATS, tensor=[tensor], rounding=ROUNDINGS[:2], transform=[transform])

    powers = factorial(scale=["e8m0"], tensor=[False], rounding=ROUNDINGS[:2], transform=["none"])
    return [*powers, *some("none", False), *some("none", True), *some("rht16", True)]


def estimators(base: Point, names: Iterable[str]) -> list[Point]:
    """A point with each gradient estimator at each of `RATES`."""
    return [replace(base, estimator=name, rate=rate) for name in names for rate in RATES]


def random_scales(points: Iterable[Point]) -> list[Point]:
    """Points with scales rounded stochastically; those of E8M0 are rounded down, and are left out."""
    return [replace(p, scale_rounding="stochastic") for p in points if p.scale != "e8m0"]


def rows(points: Iterable[Point], setting: Setting, seeds: int, named: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Configurations of a sweep: every point and recipe with every seed."""
    recipes = {point.name: (point.recipe, point.loss_scale, point.rate) for point in points}
    recipes |= {name: (published(name).with_(pad=True), 1.0, 1.0) for name in named}
    recipes[REFERENCE] = (published(REFERENCE), 1.0, 1.0)
    for recipe, loss_scale, rate in recipes.values():
        for seed in range(seeds):
            row = {"recipe": recipe, "seed": seed, "learning_rate": rate * setting.learning_rate}
            yield row if loss_scale == 1 else {**row, "loss_scale": loss_scale}
