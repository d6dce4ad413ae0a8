"""A configuration of a task: what it means to the trainer, what tables show of it, and what cannot be."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from types import NoneType
from typing import Any, get_args

from ...emulate.layouts import FLOAT32, fits
from ...emulate.scaled_plan import work_layout
from ...formats.catalogue import format as any_format
from ...formats.codebooks import CodebookFormat
from ...formats.complexes import ComplexFormat
from ...formats.floats import FloatFormat
from ...formats.integers import IntFormat
from ...formats.registry import Format
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from ...formats.tapered import TaperedFormat
from ..recipes.published import uniform
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import Rule, rules_of
from ..training.keeping import check_compensation
from ..training.training import Run, Training

OF_RUNS = ("format", "recipe", "rounding", "storage", "seed", "learning_rate", "weight_decay")
"""What each run of a grid may have of its own."""
OF_TRAINING = tuple(each.name for each in fields(Training) if each.name != "version")
"""What may be swept beside it; runs that differ in one of these have compiled programs of their own."""
_KINDS = {
    FloatFormat: "float",
    IntFormat: "integer",
    CodebookFormat: "codebook",
    TaperedFormat: "tapered",
    ScaledFormat: "scaled",
    ResidualFormat: "residual",
}
KINDS: dict[str, tuple[Any, ...]] = {
    **{each.name: get_args(each.type) or (each.type,) for each in fields(Training) if each.name in OF_TRAINING},
    **dict.fromkeys(("learning_rate", "weight_decay"), (float,)),
    **dict.fromkeys(("format", "recipe"), (str,)),
    "rounding": (str, NoneType),
    "storage": (str, dict, NoneType),
    "seed": (int,),
}
"""The types of what can be swept with a built-in task, and of the fields of its training."""
MAY_BE_NONE = tuple(name for name, kinds in KINDS.items() if NoneType in kinds)
"""Those that None turns off."""
_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false", dict: "a table", NoneType: "None"}


@dataclass(frozen=True, slots=True)
class Member:
    """A configuration as what the trainer takes, and as what tables show."""

    run: Run
    training: Training
    shown: dict[str, Any]


def check_kind(name: str, value: Any) -> None:
    """Raise a TypeError where a value is of no type that this field or parameter has."""
    kinds = KINDS.get(name, (type(value),))
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        expected = " or ".join(_WORDS.get(kind, str(kind)) for kind in kinds)
        raise TypeError(f"{name}: expected {expected}, got {value!r}")


def member_of(config: Mapping[str, Any], base: Training) -> Member:
    """What a configuration means.

    Args:
        config: any of `OF_RUNS`, of which format and recipe exclude each other, and fields of `Training`. A storage is
            a name or a table, as `Run` takes it. A recipe is one, its name, or rules, as `Run` takes them.
        base: the training of what it does not say.

    Raises:
        ValueError: other names, format and recipe at once, values that are out of range or do not go together,
            formats that float32 does not hold. TypeError: settings of the wrong type.
    """
    for name in config:
        if name not in (*OF_RUNS, *OF_TRAINING):
            raise ValueError(unknown("parameter of a task", str(name), (*OF_RUNS, *OF_TRAINING)))
        if name in OF_TRAINING or name == "storage":
            check_kind(name, config[name])
    rules, facts = _rules(config)
    for each in (stage for rule in rules for stage in (rule.recipe, *(later for _, later in rule.recipe.schedule))):
        for name in {getattr(each, operand).fmt for operand in OPERANDS} - {None}:
            _require_float32(name)
    run = Run(
        rules,
        config.get("seed", 0),
        _number(config, "learning_rate", 0.1),
        _number(config, "weight_decay", 0.0),
        config.get("storage"),
    )
    swept = {name: config[name] for name in OF_TRAINING if name in config}
    training = replace(base, **swept)
    check_compensation(run.storage, training.optimizer, training.momentum)
    own = {name: config[name] for name in ("storage",) if name in config}
    own |= {"weight_decay": run.weight_decay} if "weight_decay" in config else {}
    usual = asdict(Training())
    shown = {name: value for name, value in asdict(training).items() if name in OF_TRAINING and (
        name in swept or name == "steps" or value != usual[name])}  # fmt: skip
    return Member(run, training, {**facts, "seed": run.seed, "learning_rate": run.learning_rate, **own, **shown})


@cache
def _require_float32(name: str) -> None:
    """Raise a ValueError where elements or scales of a format are beyond float32, in which tasks train."""
    fmt: Any = any_format(name)
    if isinstance(fmt, ScaledFormat):
        within = work_layout(fmt, FLOAT32) is FLOAT32
    else:
        within = not isinstance(fmt, Format) or isinstance(fmt, ComplexFormat) or fits(fmt, FLOAT32)
    if not within:
        raise ValueError(
            f"values of {name} do not fit float32, in which tasks train; sweep a format within float32, or a function "
            "of yours that computes in float64"
        )


def _number(config: Mapping[str, Any], name: str, usual: float) -> float:
    value = config.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number for {name}, got {value!r}")
    return float(value)


def _rules(config: Mapping[str, Any]) -> tuple[tuple[Rule, ...], dict[str, Any]]:
    """The rules of a configuration, one unless its recipe is rules, and what tables say of them."""
    if "format" in config and "recipe" in config:
        raise ValueError(
            f"expected a format or a recipe, got format={config['format']!r} and recipe={config['recipe']!r}; leave "
            "one out, or give each its own configurations"
        )
    if "format" in config:
        found, facts = rules_of(uniform(config["format"])), format_facts(config["format"])
    else:
        found = rules_of(config.get("recipe", "identity"))
        facts = {"recipe": _shown(found)}
    if config.get("rounding") is None:
        return found, facts if "rounding" not in config else {**facts, "rounding": None}
    rounded = tuple(replace(rule, recipe=_rounded(rule.recipe, config["rounding"])) for rule in found)
    return rounded, {**facts, "rounding": config["rounding"]}


def _shown(rules: tuple[Rule, ...]) -> str:
    """The name of the recipe of all layers, or rules such as 'head: identity, *: mxfp8'."""
    if len(rules) == 1 and rules[0].pattern == "*":
        return rules[0].recipe.name
    return ", ".join(f"{rule.pattern}: {rule.recipe.name}" for rule in rules)


def _rounded(recipe: Recipe, rounding: str) -> Recipe:
    """A recipe with another rounding of elements, of every operand that is rounded to a format of its own."""
    changed = {name: getattr(recipe, name) for name in OPERANDS if getattr(recipe, name).fmt is not None}
    return recipe.with_(
        name=f"{recipe.name}, {rounding}",
        **{name: replace(of, rounding=rounding) for name, of in changed.items()},
        schedule=tuple((step, _rounded(later, rounding)) for step, later in recipe.schedule),
    )


def format_facts(fmt: Any) -> dict[str, Any]:
    """What tables say of a format: its name, kind ('float', 'integer', 'codebook', 'tapered', 'scaled', ...) and bits.

    Bits of a format with scales are those of an element with its share of the scales of a block.
    """
    found: Any = any_format(fmt)
    is_float = isinstance(found, FloatFormat)
    shares = isinstance(found, ScaledFormat | ResidualFormat)
    return {
        "format": found.name,
        "kind": _KINDS.get(type(found), "other"),
        "bits": found.bits_per_element() if shares else found.bits,
        "exponent_bits": found.exponent_bits if is_float else None,
        "mantissa_bits": found.mantissa_bits if is_float else None,
    }
