"""How an optimizer's step is stored: written once, over an array namespace.

A step of any optimizer is wrapped in two halves:

    begin    the gradient is rounded
    (the optimizer updates the master, or the weights where there is none, in float32)
    end      w = 3 tanh(w / 3), master and weights are rounded, e goes into the momentum, states are rounded

Each tensor and each role draws random words of its own, those of every step differ, and they are the same in every
framework.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...emulate.layouts import LAYOUTS, fits
from ...emulate.plan import dtype_name
from ...emulate.quantize import quantize, scales
from ...emulate.scaled_plan import Options, plan_for
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from ..recipes.seeds import seed_words
from .compensation import Momentum, compensated
from .namespace import Array, Arrays
from .oscillation import collected, counted, due, first_sums, frozen, moved_average, near_average, ramped
from .storage import SIGNED, STATES, Storage
from .stored import Stored

_WIDE = ("float32", "float64")
_FITS = 1 + 2.0**-20
"""Rounded to a scale's own precision, the largest element may ask for a scale that is an ulp above the one it is on."""


class Tensor(NamedTuple):
    """What is fixed of one tensor.

    Fields:
        storage: how it is kept. seed: the user's, or what gives two words, which may be traced, for a name.
        name: what tells its random words from those of other tensors.
    """

    storage: Storage
    seed: int | Callable[[str], Any]
    name: str

    def words(self, role: str) -> Any:
        """(2,) uint32 seed of what draws random numbers for one of its roles."""
        name = f"{self.name}.{role}"
        return _words(self.seed, name) if isinstance(self.seed, int) else self.seed(name)


class Held(NamedTuple):
    """What is kept of one tensor from step to step, besides the optimizer's own states.

    Fields:
        weights: what the model sees. memory: master, averages and sums by name.
    """

    weights: Array
    memory: dict[str, Array]

    @property
    def updated(self) -> Array:
        """What the optimizer updates: the master, or the weights."""
        return self.memory.get("master", self.weights)


@lru_cache(maxsize=4096)
def _words(seed: int, name: str) -> np.ndarray:
    return np.array(seed_words(seed, name), np.uint32)


def rounding_of(storage: Storage, role: str, of: Stored) -> str | None:
    """The rounding of a tensor by its role, where None is the format's own."""
    return of.rounding or ("stochastic" if role == storage.stochastic_by_default else None)


def _rounded(
    xp: Arrays,
    tensor: Tensor,
    role: str,
    of: Stored | None,
    x: Array,
    step: Any,
    rounding: str | None,
    scale: Any = None,
) -> Array:
    """An array in its format; step None for the nearest values."""
    if of is None or (of.keeps and dtype_name(x.dtype) == "float32"):
        return x
    if step is None and (rounding or "").startswith("stochastic"):
        rounding = None
    root = of.domain == "sqrt"
    fmt: Any = of.format
    found = quantize(
        xp.sqrt(x) if root else x, fmt, rounding=rounding, overflow=of.overflow,
        scale_rounding=of.scale_rounding, axis=of.axis, pad=isinstance(fmt, ScaledFormat), scale=scale,
        seed=tensor.words(role), step=0 if step is None else step,
    )  # fmt: skip
    found = xp.settled(found)
    return xp.product(found, found) if root else found


def _scales(of: Stored, x: Array) -> Any:
    fmt: Any = of.format
    return scales(x, fmt, axis=of.axis, pad=True) if of.is_scaled else None


def neighbours(xp: Arrays, of: Stored, x: Array) -> tuple[Array, Array]:
    """The values of a format next to each element, on the scales of the data: the largest below, the least above."""
    at = Tensor(Storage(), 0, ""), "neighbours"
    scale = _scales(of, x)
    lower, upper = (_rounded(xp, *at, of, x, 0, mode, scale) for mode in ("down", "up"))
    return lower, upper


def kept_scales(xp: Arrays, of: Stored, x: Array, before: Array) -> Array:
    """Scales that stay while the values of their block fit: while the data ask for half of it to all of it."""
    ideal = xp.settled(_scales(of, x).decode)
    fits = ((ideal <= xp.product(before, _FITS)) & (2 * ideal >= before)) | (ideal == 0)
    return xp.where(fits, before, ideal)


def first(xp: Arrays, tensor: Tensor, weights: Array) -> Held:
    """What is kept before the first step: master and weights rounded to nearest, averages at the master."""
    storage = tensor.storage
    memory: dict[str, Array] = {}
    updated = weights
    if storage.master is not None:
        updated = memory["master"] = _rounded(
            xp, tensor, "master", storage.master, weights, None, rounding_of(storage, "master", storage.master)
        )
    if storage.ema is not None:
        memory["ema"] = updated
    if storage.ramping is not None:
        memory |= first_sums(xp.where(updated == updated, 0.0, updated * 0))
    of = storage.weights
    if of is not None and of.scales == "kept":
        memory["scales"] = _scales(of, updated).decode
    return Held(_put_back(xp, tensor, updated, memory, None), memory)


def begin(xp: Arrays, tensor: Tensor, gradient: Array, held: Held, step: Any) -> tuple[Array, Held]:
    """The gradient that the optimizer takes, and what is kept."""
    of = tensor.storage.gradients
    found = _rounded(xp, tensor, "gradients", of, gradient, step, None if of is None else of.rounding)
    if tensor.storage.ramping is None:
        return found, held
    found, memory = collected(xp, held.memory, found, step)
    return found, Held(held.weights, memory)


def end(
    xp: Arrays, tensor: Tensor, held: Held, after: Array, states: Mapping[str, tuple[Array, Array]], step: Any,
    momentum: Momentum | None = None,
) -> tuple[Held, dict[str, Array]]:  # fmt: skip
    """What is kept after a step, and the optimizer's states.

    Args:
        held: what was kept before it.
        after: what the optimizer made of `held.updated`.
        states: by name before and after the step; those before are read where ramping needs them.
        step: its number, from 0 on; it may be traced.
        momentum: what ECO needs to know.
    """
    storage, before, memory = tensor.storage, held.updated, dict(held.memory)
    kept = {name: after_ for name, (_, after_) in states.items()}
    if storage.ramping is not None:
        after = ramped(xp, memory, before, after, step)
        turn = due(memory, step)
        kept = {name: xp.where(turn, new, old) for name, (old, new) in states.items()}
    if storage.limit is not None:
        after = xp.product(xp.tanh(after / storage.limit), storage.limit)
    if storage.freezing is not None:
        stays = frozen(xp, storage.freezing, before, *neighbours(xp, storage.weights, before), step)
        after = xp.where(stays, before, after)
    updated = after
    if storage.master is not None:
        rounding = rounding_of(storage, "master", storage.master)
        updated = memory["master"] = _rounded(xp, tensor, "master", storage.master, after, step, rounding)
    if storage.ema is not None:
        memory["ema"] = moved_average(xp, storage.ema, memory["ema"], updated)
    if "scales" in memory:
        memory["scales"] = kept_scales(xp, storage.weights, updated, memory["scales"])
    weights = _put_back(xp, tensor, updated, memory, step, held.weights)
    if momentum is not None:
        name = "exp_avg" if momentum.second else "momentum"
        kept[name] = compensated(xp, momentum, kept[name], updated - weights, kept.get("exp_avg_sq"))
    for name, value in kept.items():
        of = storage.state(name)
        kept[name] = _rounded(xp, tensor, f"state.{name}", of, value, step, None if of is None else of.rounding)
    if storage.ramping is not None:
        moves = xp.absolute(updated - before), xp.absolute(weights - held.weights)
        memory = counted(xp, storage.ramping, memory, *moves, step)
    return Held(weights, memory), kept


def _put_back(
    xp: Arrays, tensor: Tensor, updated: Array, memory: Mapping[str, Array], step: Any, old: Array | None = None
) -> Array:
    """The weights of what the optimizer updated."""
    of = tensor.storage.weights
    if of is None:
        return updated
    rounding, scale = rounding_of(tensor.storage, "weights", of), memory.get("scales")
    if "ema" in memory:
        nearest = _rounded(xp, tensor, "weights", of, updated, None, of.rounding)
        return near_average(xp, memory["ema"], *neighbours(xp, of, updated), nearest)
    found = _rounded(xp, tensor, "weights", of, updated, step, rounding, scale)
    if scale is None or old is None:
        return found
    # q * D / D is not always q in float32: what is not updated, and still on the grid, is left alone
    on_grid = _rounded(xp, tensor, "weights", of, old, None, None, scale) == old
    return xp.where((updated == old) & on_grid, old, found)


def check_fit(tensor: Tensor, dtype: str, wide: str) -> None:
    """Raise where a tensor cannot be kept in its formats.

    Args:
        dtype: of the parameter. wide: of what the optimizer computes with.

    Raises:
        ValueError: values that the dtype does not hold, or options that do not go with a format.
    """
    storage = tensor.storage
    for role in ("weights", "master", "gradients"):
        of: Stored | None = getattr(storage, role)
        if of is None:
            continue
        exact = role == storage.updated == "weights"
        held = exact or role == "gradients" or (role == "weights" and not of.is_scaled)
        target = dtype if held else wide
        fmt: Any = of.format
        what = f"{role} of tensor {tensor.name}"
        if not of.is_scaled and not fits(fmt, LAYOUTS[target]):
            raise ValueError(
                f"{what}: values of {fmt.name} do not fit {target}; keep the parameter in float32 or float64"
            )
        if exact and of.is_scaled and dtype != wide:
            raise ValueError(
                f"{what}: an element times its scale does not fit {dtype}; keep the parameter in {wide}, or pass "
                "master='binary32'"
            )
        try:
            plan_for(fmt, target, Options(of.rounding, of.scale_rounding, of.overflow, axis=of.axis, pad=of.is_scaled))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None


def check_state(tensor: Tensor, name: str, dtype: str) -> None:
    """Raise where a state that an optimizer keeps in a dtype of its own cannot be kept in its format.

    Raises:
        ValueError: values that the dtype does not hold.
    """
    of = tensor.storage.state(name)
    if of is None or dtype in _WIDE:
        return
    fmt: Any = of.format
    if of.is_scaled or of.domain == "sqrt" or not fits(fmt, LAYOUTS[dtype]):
        raise ValueError(
            f"state {name!r} of tensor {tensor.name}: values of {fmt.name} do not fit {dtype}, in which the optimizer "
            "keeps it; leave out its dtype for states"
        )


def check_states(storage: Storage, names: Collection[str], what: str) -> None:
    """Raise where a storage names states that there are not; one of SGD's and Adam's may be missing beside another.

    Raises:
        ValueError: with the names there are; also where one would be rounded as a square root that has none.
    """
    for name in SIGNED:
        of = storage.state(name)
        if name in names and of is not None and of.domain == "sqrt":
            raise ValueError(
                f"state {name!r} of {what} has negative numbers; domain 'sqrt' is for second moments: name it, or name "
                f"{name!r} as well"
            )
    named = [name for name in storage.states if name != "*"]
    common = any(name in names for name in named)
    for name in named:
        if name not in names and not (common and name in STATES):
            known = ", ".join(sorted(names)) or "none"
            raise ValueError(f"{unknown('state', name, names)}; states of {what}: {known}")


def nothing_covered(storage: Storage, shapes: Iterable[tuple[int, ...]]) -> str:
    """What to say where a storage leaves all parameters alone."""
    found = sorted({tuple(shape) for shape in shapes})
    return (
        f"no parameter has the {storage.min_ndim} axes and {max(storage.min_size, 1)} elements that the storage asks "
        f"for, shapes are {found[:5]}; pass min_ndim=0, min_size=0 for all"
    )
