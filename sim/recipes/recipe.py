"""Recipes: how every matrix product of a model is quantized, forward and backward, as data.

A linear layer Y = X W^T does three matrix products, and each has two operands:

    fprop   Y  = X   W^T     fprop_x, fprop_w      contracted over inputs
    dgrad   dX = E   W       dgrad_e, dgrad_w      contracted over outputs       E = dY
    wgrad   dW = E^T X       wgrad_e, wgrad_x      contracted over tokens

Blocks of scales and transforms run along the contraction. Nothing here knows a framework; a recipe becomes TOML or
JSON and comes back equal.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.suggest import unknown
from .quantizer import KEEP, Quantizer, as_table, settings_of

OPERANDS = ("fprop_x", "fprop_w", "dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x")
"""The operands of the three products of a layer."""

PRODUCTS = (("fprop_x", "fprop_w"), ("dgrad_e", "dgrad_w"), ("wgrad_e", "wgrad_x"))
"""The operands by product."""

AFTER_STEP = ("tanh",)
"""What may be done to weights after every optimizer step: 'tanh:3' puts 3 * tanh(w / 3) in place of w."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a layer is quantized.

    Args:
        name: what reports call it.
        fprop_x, fprop_w, dgrad_e, dgrad_w, wgrad_e, wgrad_x: the quantizers of the six operands. Biases and sums over
            a batch stay as they are.
        accumulator: settings of `halfulp.Accumulator` for all three products, such as {"fmt": "fp16"} or
            {"fmt": "e8m13ieee", "order": "blocked", "chunk": 128}; None for the library's own matrix product.
        bias, output: formats to which biases and outputs are rounded, or None.
        master: format of the master weights that the optimizer updates; None for the model's own dtype.
        optimizer_state: format of the optimizer's states; None likewise.
        after_step: 'tanh:3' for 3 * tanh(w / 3) after every optimizer step (arXiv:2603.13931), or None.
        pad: whether blocks at the end of a contraction may be ragged; otherwise their size must divide it.
        schedule: (step, recipe) pairs, ascending: from that step on the recipe is another one.
        source: where the recipe was read.

    Raises:
        ValueError: unknown names; transforms of two operands of a product that do not cancel; steps that do not ascend.
    """

    name: str = field(default="recipe", compare=False)
    fprop_x: Quantizer = KEEP
    fprop_w: Quantizer = KEEP
    dgrad_e: Quantizer = KEEP
    dgrad_w: Quantizer = KEEP
    wgrad_e: Quantizer = KEEP
    wgrad_x: Quantizer = KEEP
    accumulator: Mapping[str, Any] | None = None
    bias: str | None = None
    output: str | None = None
    master: str | None = None
    optimizer_state: str | None = None
    after_step: str | None = None
    pad: bool = False
    schedule: tuple[tuple[int, "Recipe"], ...] = ()
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for first, second in PRODUCTS:
            _check_transforms(self.name, first, getattr(self, first), second, getattr(self, second))
        for name in ("bias", "output", "master", "optimizer_state"):
            if getattr(self, name) is not None:
                any_format(getattr(self, name))
        if self.accumulator is not None:
            object.__setattr__(self, "accumulator", _Table(_accumulator(self.accumulator)))
        _after_step(self.after_step)
        steps = [step for step, _ in self.schedule]
        if steps != sorted(set(steps)) or any(step < 1 for step in steps):
            raise ValueError(f"{self.name}: expected ascending steps from 1 on in the schedule, got {steps}")
        if any(later.schedule for _, later in self.schedule):
            raise ValueError(f"{self.name}: recipes of a schedule have no schedule of their own; list all steps in one")

    def __repr__(self) -> str:
        parts = [f"{name}={_shown(value)}" for name, value in settings_of(self).items() if name != "source"]
        return f"Recipe({', '.join(parts)})"

    @property
    def active(self) -> bool:
        """Whether it changes anything a layer computes, at any step."""
        own = any(getattr(self, name).active for name in OPERANDS)
        return own or bool(self.accumulator or self.bias or self.output) or any(r.active for _, r in self.schedule)

    @property
    def stochastic(self) -> bool:
        """Whether any operand draws random numbers."""
        return any(getattr(self, name).stochastic for name in OPERANDS) or any(r.stochastic for _, r in self.schedule)

    @property
    def is_complex(self) -> bool:
        """Whether weights are complex numbers, so that layers need their widely-linear view."""
        return self.fprop_w.fmt is not None and isinstance(any_format(self.fprop_w.fmt), ComplexFormat)

    @property
    def weight_limit(self) -> float | None:
        """The limit L of L tanh(w / L), which weights become after every optimizer step; None for no such step."""
        bound = _after_step(self.after_step)
        return None if bound is None else bound[1]

    def at(self, step: int) -> "Recipe":
        """The recipe in force at a step."""
        found = self
        for first, later in self.schedule:
            found = later if step >= first else found
        return found

    def with_(self, **changes: Any) -> "Recipe":
        """The recipe with other settings: `recipe.with_(fprop_x=Quantizer("mxfp8"), pad=True)`."""
        known = {f.name for f in fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(unknown("setting", name, known))
        return replace(self, **changes)

    def diff(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """The settings in which two recipes differ, by dotted name: {'fprop_x.fmt': ('mxfp4', 'nvfp4')}."""
        mine, theirs = _flat(to_table(self)), _flat(to_table(other))
        names = [name for name in {**mine, **theirs} if name not in ("name", "source")]
        return {name: (mine.get(name), theirs.get(name)) for name in names if mine.get(name) != theirs.get(name)}

    def to_json(self) -> str:
        """The recipe as JSON, which `from_json` reads."""
        return json.dumps(to_table(self), indent=2)

    @staticmethod
    def from_json(text: str) -> "Recipe":
        """The recipe that `to_json` wrote.

        Raises:
            ValueError: text that is no JSON, unknown settings, or settings that do not go together.
        """
        return from_table(json.loads(text))

    def to_toml(self) -> str:
        """The recipe as TOML, which `from_toml` reads."""
        return "\n".join(_toml(to_table(self))).strip() + "\n"

    @staticmethod
    def from_toml(text: str) -> "Recipe":
        """The recipe that `to_toml` wrote.

        Raises:
            ValueError: text that is no TOML, unknown settings, or settings that do not go together.
        """
        return from_table(tomllib.loads(text))


class _Table(dict[str, Any]):
    """Settings that can be hashed, and are not changed."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(sorted(self.items())))


def to_table(of: Recipe) -> dict[str, Any]:
    """Plain data: the settings that are not at their default."""
    found: dict[str, Any] = {"name": of.name, **settings_of(of)}
    for name in OPERANDS:
        if name in found:
            found[name] = as_table(found[name])
    if "accumulator" in found:
        found["accumulator"] = dict(found["accumulator"])
    if "schedule" in found:
        found["schedule"] = [{"step": step, "recipe": to_table(later)} for step, later in of.schedule]
    return found


def from_table(table: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data.

    Raises:
        ValueError: unknown settings, with the nearest known ones.
        TypeError: a value of the wrong type.
    """
    _known(table, Recipe, "setting of a recipe")
    found = dict(table)
    for name in OPERANDS:
        if name in found:
            found[name] = _quantizer(name, found[name])
    if "schedule" in found:
        found["schedule"] = tuple((int(entry["step"]), from_table(entry["recipe"])) for entry in found["schedule"])
    return Recipe(**found)


def _quantizer(name: str, table: Any) -> Quantizer:
    if isinstance(table, str):
        return Quantizer(table)
    if not isinstance(table, Mapping):
        raise TypeError(f"{name}: expected a format or a table of settings, got {table!r}")
    _known(table, Quantizer, f"setting of {name}")
    return Quantizer(**table)


def _known(table: Mapping[str, Any], kind: type, what: str) -> None:
    names = [f.name for f in fields(kind)]
    for key in table:
        if key not in names:
            raise ValueError(unknown(what, key, names))


def _check_transforms(recipe: str, first: str, a: Quantizer, second: str, b: Quantizer) -> None:
    """Operands of a product are transformed alike, so that the transforms cancel in it."""
    if a.transform != b.transform:
        raise ValueError(
            f"{recipe}: {first} has transform {a.transform!r} and {second} {b.transform!r}, which do not cancel in "
            "their product; give both the same"
        )


def _accumulator(given: Mapping[str, Any]) -> dict[str, Any]:
    from ...emulate.units.accumulator import Accumulator

    if not isinstance(given, Mapping):
        raise TypeError(f"accumulator: expected a table such as {{'fmt': 'fp16'}}, got {given!r}")
    _known(given, Accumulator, "setting of the accumulator")
    Accumulator(**given)
    return dict(given)


def _after_step(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    name, _, number = text.partition(":")
    if name not in AFTER_STEP or not number.replace(".", "", 1).isdigit() or not float(number) > 0:
        raise ValueError(f"after_step: expected such as 'tanh:3', got {text!r}")
    return name, float(number)


def _shown(value: Any) -> str:
    if isinstance(value, Quantizer):
        parts = [f"{key}={item!r}" if key != "fmt" else repr(item) for key, item in as_table(value).items()]
        return f"Quantizer({', '.join(parts)})"
    return repr(value)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _toml(table: Mapping[str, Any], path: Sequence[str] = (), array: bool = False) -> list[str]:
    """Lines of TOML: plain values first, then tables, then arrays of tables."""
    lines = ["", f"[[{'.'.join(path)}]]" if array else f"[{'.'.join(path)}]"] if path else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, Mapping | list)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _toml(value, (*path, key))
        elif isinstance(value, list):
            for entry in value:
                lines += _toml(entry, (*path, key), array=True)
    return lines
