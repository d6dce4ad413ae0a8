"""What an optimizer keeps in which format, and how it puts weights back, as data.

Nothing here knows a framework; a storage becomes TOML or JSON and comes back equal. What its settings mean is in
`update_rules`.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from ...formats.suggest import unknown
from ..recipes.quantizer import settings_of
from ..recipes.recipe import Recipe
from .oscillation import Freezing, Ramping, method_of
from .stored import Stored, as_plain, stored

TENSORS = ("weights", "master", "gradients")
"""What a storage keeps, besides states."""

COMPENSATIONS = ("eco",)
"""Where the part of an update goes that rounding cuts off: 'eco', into the momentum."""

ALIASES = {"momentum_buffer": "momentum", "trace": "momentum", "mu": "exp_avg", "nu": "exp_avg_sq"}
"""Names that torch and optax give to states, and the one used here."""

SIGNED = ("momentum", "exp_avg")
"""States that have no square root."""

STATES = ("momentum", "exp_avg", "exp_avg_sq", "*")
"""States that can be named: of SGD and Muon, of Adam, or 'momentum', 'exp_avg' and the like of other optimizers; and
'*' for all that are not named."""


class Bits(NamedTuple):
    """Storage bits a parameter.

    Args:
        weights, master, gradients, states: of what the optimizer and the model keep, scales included.
        helpers: of what methods need besides: moving averages, sums of gradients.
    """

    weights: float
    master: float
    gradients: float
    states: float
    helpers: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


@dataclass(frozen=True, slots=True)
class Storage:
    """What an optimizer keeps in which format.

    With a master the optimizer updates that, and the model sees it rounded to the weights' format. Without one the sum
    of weight and update is rounded and put back: stochastically by default, since rounding to nearest loses every
    update below half a step, and training stalls. Formats are names, or tables with the settings of `Stored`.

    Args:
        name: what reports call it.
        weights: of what the model sees; None leaves it as it is.
        master: of what the optimizer updates; None for no other copy than the weights.
        gradients: of gradients, rounded when a step begins.
        states: by name, see `STATES`.
        compensation: 'eco' puts what rounding the weights cuts off into the momentum, for SGD with momentum, Adam and
            AdamW without a master; None loses it.
        ema: decay of a moving average of the master, such as .998: of the two values next to a master weight the one
            nearer to its average is taken (Q-EMA); None takes the nearest.
        ramping: a `Ramping` or its table, or None.
        freezing: a `Freezing` or its table, or None.
        after_step: 'tanh:3' for w = 3 tanh(w / 3) after every step, as in a `Recipe`; of what the optimizer updates.
        min_ndim, min_size: tensors with fewer axes or elements are left alone altogether.
        source: where it was read.

    Raises:
        ValueError: unknown names, or settings that do not go together.
        TypeError: a value of the wrong type.
    """

    name: str = field(default="storage", compare=False)
    weights: Any = None
    master: Any = None
    gradients: Any = None
    states: Any = field(default_factory=dict)
    compensation: str | None = None
    ema: float | None = None
    ramping: Any = None
    freezing: Any = None
    after_step: str | None = None
    min_ndim: int = 2
    min_size: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in TENSORS:
            object.__setattr__(self, name, stored(name, getattr(self, name)))
        object.__setattr__(self, "states", _States(_states(self.states)))
        for name, kind in (("ramping", Ramping), ("freezing", Freezing)):
            object.__setattr__(self, name, method_of(name, kind, getattr(self, name)))
        if self.compensation is not None and self.compensation not in COMPENSATIONS:
            raise ValueError(unknown("compensation", str(self.compensation), COMPENSATIONS))
        if self.ema is not None and not (isinstance(self.ema, int | float) and 0 < self.ema < 1):
            raise ValueError(f"ema: expected a decay between 0 and 1, such as 0.998, got {self.ema!r}")
        for name in ("min_ndim", "min_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name}: expected an integer of 0 or more, got {value!r}")
        Recipe(after_step=self.after_step)  # raises where it is not known
        self._check()

    def _check(self) -> None:
        """Raise for settings that do not go together."""
        needs_both = [name for name in ("ema", "ramping", "freezing") if getattr(self, name) is not None]
        if needs_both and (self.weights is None or self.master is None):
            raise ValueError(
                f"{needs_both[0]} compares weights in a format with their master; give both, e.g. weights='mxfp4', "
                "master='binary32'"
            )
        if self.compensation and (self.weights is None or self.master is not None):
            raise ValueError(
                "compensation replaces a master; give weights a format, as in weights='int4_per_row', and no master"
            )
        for name in TENSORS:
            of = getattr(self, name)
            if of is not None and of.domain != "linear":
                raise ValueError(f"{name}: domain 'sqrt' is for states that are not negative; leave it out")
            if of is not None and of.scales == "kept" and not (name == "weights" and self.master is None):
                raise ValueError(f"{name}: scales='kept' is for weights without a master; leave it out")
        for name, of in self.states.items():
            if of.domain == "sqrt" and name in SIGNED:
                raise ValueError(
                    f"state {name!r} has negative numbers; domain 'sqrt' is for second moments, leave it out"
                )
            if of.scales == "kept":
                raise ValueError(f"state {name!r}: scales='kept' is for weights without a master; leave it out")

    @property
    def updated(self) -> str:
        """What updates are added to: 'master' or 'weights'."""
        return "weights" if self.master is None else "master"

    @property
    def stochastic_by_default(self) -> str | None:
        """The tensor that is rounded stochastically where it names no rounding."""
        return None if self.compensation else self.updated

    @property
    def limit(self) -> float | None:
        """c of w = c tanh(w / c) after a step, or None."""
        return Recipe(after_step=self.after_step).weight_limit

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape is kept in these formats, rather than left alone."""
        size = 1
        for length in shape:
            size *= length
        return len(shape) >= self.min_ndim and size >= max(self.min_size, 1)

    def state(self, name: str) -> Stored | None:
        """How the state of that name, torch's or optax's, is kept; 'momentum#2' is another one of the same name."""
        name = name.partition("#")[0]
        return self.states.get(ALIASES.get(name, name), self.states.get("*"))

    def bits(
        self, shape: tuple[int, ...], states: tuple[str, ...] = ("exp_avg", "exp_avg_sq"), width: int = 32
    ) -> Bits:
        """Storage bits a parameter, for a tensor of that shape.

        Args:
            states: what the optimizer keeps: 'exp_avg' and 'exp_avg_sq' are Adam's, 'momentum' is SGD's.
            width: bits of the tensors that are left alone.

        Example:
            >>> Storage(weights="bf16", gradients="bf16", states={"*": "bf16"}).bits((64, 64)).total
            64.0
            >>> Storage(weights="mxfp4", master="binary32").bits((64, 64))
            Bits(weights=4.25, master=32.0, gradients=32.0, states=64.0, helpers=0.0)
        """
        if not self.covers(shape):
            return Bits(float(width), 0.0, float(width), float(width * len(states)), 0.0)

        def of(kept: Stored | None, absent: float = width) -> float:
            return float(absent if kept is None else kept.bits(shape))

        helpers = 32.0 * (self.ema is not None) + (3 * 32.0 + 2 * 16.0) * (self.ramping is not None)
        total = sum((of(self.state(name)) for name in states), 0.0)
        return Bits(of(self.weights), of(self.master, 0.0), of(self.gradients), total, helpers)

    def with_(self, **changes: Any) -> "Storage":
        """The storage with other settings: `storage.with_(weights="bf16", min_ndim=0)`."""
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(unknown("setting", name, known))
        return replace(self, **changes)

    def to_table(self) -> dict[str, Any]:
        """Plain data: the settings that are not at their default."""
        found: dict[str, Any] = {"name": self.name, **settings_of(self)}
        for name in TENSORS:
            if name in found:
                found[name] = as_plain(found[name])
        if "states" in found:
            found["states"] = {name: as_plain(of) for name, of in self.states.items()}
        for name in ("ramping", "freezing"):
            if name in found:
                found[name] = settings_of(found[name])
        return found

    def to_json(self) -> str:
        """The storage as JSON, which `from_json` reads."""
        return json.dumps(self.to_table(), indent=2)

    def to_toml(self) -> str:
        """The storage as TOML, which `from_toml` reads."""
        return "\n".join(_toml(self.to_table())).strip() + "\n"

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> "Storage":
        """The storage that `to_table` wrote.

        Raises:
            ValueError: unknown settings, with the nearest known ones.
        """
        known = [f.name for f in fields(Storage)]
        for key in table:
            if key not in known:
                raise ValueError(unknown("setting of a storage", key, known))
        return Storage(**table)

    @staticmethod
    def from_json(text: str) -> "Storage":
        """The storage that `to_json` wrote."""
        return Storage.from_table(json.loads(text))

    @staticmethod
    def from_toml(text: str) -> "Storage":
        """The storage that `to_toml` wrote."""
        return Storage.from_table(tomllib.loads(text))

    @staticmethod
    def from_recipe(recipe: Recipe) -> "Storage":
        """What a recipe says of its optimizer: `master`, `optimizer_state` and `after_step`.

        The parameters of a model that `hu.quantize_` wrapped are its master weights: its products round them. So the
        recipe's master becomes the format of the weights here, with no other copy. `hu.advance_` applies `after_step`
        too: leave it out of the recipe that wraps the model, `recipe.with_(after_step=None)`.
        """
        return Storage(
            recipe.name,
            weights=recipe.master,
            states={} if recipe.optimizer_state is None else {"*": recipe.optimizer_state},
            after_step=recipe.after_step,
            source=recipe.source,
        )


class _States(dict[str, Stored]):
    """Formats by the names of states, which can be hashed and are not changed."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(sorted(self.items(), key=lambda item: item[0])))


def _states(given: Any) -> dict[str, Stored]:
    if not isinstance(given, Mapping):
        raise TypeError(f"states: expected a table such as {{'exp_avg': 'bf16', '*': 'binary32'}}, got {given!r}")
    found = {}
    for name, of in given.items():
        key = ALIASES.get(name, name)
        if key in found:
            raise ValueError(f"states: {name!r} and another name both mean {key!r}; keep one")
        kept = stored(f"state {name!r}", of)
        if kept is not None:
            found[key] = kept
    return found


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Lines of TOML: plain values first, then tables."""
    lines = ["", f"[{'.'.join(map(_key, path))}]"] if path else []
    lines += [f"{_key(key)} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        lines += _toml(value, (*path, key)) if isinstance(value, Mapping) else []
    return lines


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)
