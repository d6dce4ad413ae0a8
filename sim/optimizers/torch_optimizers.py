"""torch optimizers whose weights, gradients and states are kept in formats; see `update_rules` for what is computed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from .compensation import Momentum
from .namespace import Plain
from .storage import ALIASES, Bits, Storage
from .storages import storage as storage_of
from .update_rules import Held, Tensor, begin, check_fit, check_states, end, first, nothing_covered

TORCH = Plain(torch)
KEY = "halfulp"
"""Under which a state dict has what the wrapped optimizer does not know of."""
_WIDE = (torch.float32, torch.float64)


@dataclass(slots=True, eq=False)
class Slot:
    """One parameter that is kept in formats.

    Args:
        parameter: the model's. group: the number of its group. tensor: what is fixed of it.
        work: what the wrapped optimizer updates, in float32 or float64: the master; without one the parameter itself,
            or a copy of one of 16 bits.
        memory: as in `Held`; its master is `work`.
    """

    parameter: torch.Tensor
    group: int
    tensor: Tensor
    work: torch.Tensor
    memory: dict[str, torch.Tensor]

    def held(self) -> Held:
        """What is kept, with the master in it."""
        weights = self.parameter.detach().to(self.work.dtype)
        return Held(weights, {**self.memory, **({"master": self.work} if self.has_master else {})})

    @property
    def has_master(self) -> bool:
        """Whether `work` is a master."""
        return self.tensor.storage.master is not None

    def keep(self, held: Held) -> None:
        """Write what is kept into the tensors there are."""
        self.parameter.copy_(held.weights)
        if self.work is not self.parameter:
            self.work.copy_(held.updated)
        self.memory = {name: value for name, value in held.memory.items() if name != "master"}


class LowPrecisionOptimizer(Optimizer):
    """A torch optimizer with its weights, gradients and states in formats; made by `halfulp.low_precision`.

    Its parameter groups are those of the optimizer it wraps, `inner`, which works on float32 copies where it has to.
    """

    def __init__(
        self, inner: Optimizer, storage: Storage, seed: int, names: Mapping[torch.Tensor, str] | None = None
    ) -> None:
        self._names = dict(names or {})
        self.inner, self._seed, self._default, self._steps = inner, seed, storage, 0
        self._slots: dict[torch.Tensor, Slot] = {}
        self._storages: list[Storage] = []
        self._named = 0
        groups = inner.param_groups
        super().__init__(groups, inner.defaults)
        self.param_groups = groups
        if not self._slots:
            raise ValueError(nothing_covered(storage, [tuple(p.shape) for group in groups for p in group["params"]]))

    @property
    def state(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The states of the wrapped optimizer, by the model's parameters."""
        working = {id(slot.work): slot.parameter for slot in self._slots.values()}
        return {working.get(id(key), key): value for key, value in self.inner.state.items()}

    @state.setter
    def state(self, value: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base class sets its own, which stays empty."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; 'storage' in the group is its own storage: a name, a `Storage`, a table or None."""
        given = param_group.pop("storage", self._default) if isinstance(param_group, dict) else None
        if self.param_groups is self.inner.param_groups:
            self.inner.add_param_group(param_group)  # with the defaults and checks of its own
        else:
            super().add_param_group(param_group)
        self._storages.append(storage_of(given))
        for parameter in param_group["params"]:
            if self._storages[-1].covers(tuple(parameter.shape)):
                self._slots[parameter] = self._slot(parameter, len(self._storages) - 1, self._named)
            self._named += 1

    @torch.no_grad()
    def _slot(self, parameter: torch.Tensor, group: int, number: int) -> Slot:
        storage = self._storages[group]
        if not parameter.is_floating_point():
            raise TypeError(
                f"tensor {number}: expected real numbers, got {parameter.dtype}; leave it out with a group of its own"
            )
        tensor = Tensor(storage, self._seed, self._names.get(parameter, str(number)))
        wide = parameter.dtype if parameter.dtype in _WIDE else torch.float32
        check_fit(tensor, *(str(dtype).removeprefix("torch.") for dtype in (parameter.dtype, wide)))
        held = first(TORCH, tensor, parameter.detach().to(wide, copy=True))
        apart = storage.master is not None or wide != parameter.dtype
        slot = Slot(parameter, group, tensor, held.updated.clone() if apart else parameter, {})
        slot.keep(held)
        if apart and parameter in self.inner.state:  # wrapped after its first steps
            old = self.inner.state.pop(parameter).items()
            narrow = wide != parameter.dtype
            self.inner.state[slot.work] = {
                name: value.to(wide) if narrow and getattr(value, "dtype", None) == parameter.dtype else value
                for name, value in old
            }
        return slot

    @contextmanager
    def _working(self) -> Iterator[None]:
        """The wrapped optimizer with the tensors it works on in its groups."""
        models = [group["params"] for group in self.inner.param_groups]
        for group, parameters in zip(self.inner.param_groups, models):
            group["params"] = [self._slots[p].work if p in self._slots else p for p in parameters]
        try:
            yield
        finally:
            for group, parameters in zip(self.inner.param_groups, models):
                group["params"] = parameters

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of the wrapped optimizer; see `halfulp.low_precision`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [slot for slot in self._slots.values() if slot.parameter.grad is not None]
        started = [self._begin(slot) for slot in moving]
        with self._working():
            self.inner.step()
        for slot, (held, before) in zip(moving, started):
            self._end(slot, held, before)
        self._steps += 1
        return loss

    def _begin(self, slot: Slot) -> tuple[Held, dict[str, torch.Tensor]]:
        """What was kept before the step, and states that ramping may take back; the gradient is in place after it."""
        gradient: Any = slot.parameter.grad
        if gradient.is_sparse:
            raise TypeError(f"tensor {slot.tensor.name} has a sparse gradient; use Embedding(sparse=False)")
        if slot.work is not slot.parameter and not slot.has_master:
            slot.work.copy_(slot.parameter)
        found, held = begin(TORCH, slot.tensor, gradient.to(slot.work.dtype), slot.held(), self._steps)
        if slot.work is not slot.parameter:
            slot.work.grad = found
        elif found is not gradient:
            gradient.copy_(found)
        held = Held(held.weights.clone(), {**held.memory, **({"master": slot.work.clone()} if slot.has_master else {})})
        ramping = slot.tensor.storage.ramping is not None
        return held, {name: value.clone() for name, value in self._states_of(slot.work).items()} if ramping else {}

    def _end(self, slot: Slot, held: Held, before: dict[str, torch.Tensor]) -> None:
        states = self._states_of(slot.work)
        check_states(slot.tensor.storage, states, f"this {type(self.inner).__name__}")
        pairs = {name: (before.get(name, torch.zeros_like(value)), value) for name, value in states.items()}
        momentum = None if slot.tensor.storage.compensation is None else self._momentum(slot)
        held, kept = end(TORCH, slot.tensor, held, slot.work.detach(), pairs, self._steps, momentum)
        for name, value in states.items():
            value.copy_(kept[name])
        slot.keep(held)
        if slot.work is not slot.parameter:
            slot.work.grad = None

    def _states_of(self, work: torch.Tensor) -> dict[str, torch.Tensor]:
        """The optimizer's states of a tensor that have its shape, by the names used here."""
        return {
            str(ALIASES.get(name, name)): value
            for name, value in self.inner.state.get(work, {}).items()
            if isinstance(value, torch.Tensor) and value.shape == work.shape and name != "step"
        }

    def _momentum(self, slot: Slot) -> Momentum:
        """What ECO needs to know of a parameter's optimizer."""
        found = momentum_of(self.inner, self.param_groups[slot.group])
        if found.second is not None:
            count = float(self.inner.state[slot.work]["step"])
            found = found._replace(second=(*found.second[:2], count))
        return found

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As in torch."""
        super().zero_grad(set_to_none)
        for slot in self._slots.values():
            if slot.work is not slot.parameter:
                slot.work.grad = None

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with what is kept besides under 'halfulp': tensors, numbers and strings, for `torch.save`."""
        with self._working():
            found = self.inner.state_dict()
        numbers = {id(p): k for k, p in enumerate(p for group in self.param_groups for p in group["params"])}
        tensors = {
            numbers[id(slot.parameter)]: {**slot.memory, **({"master": slot.work.detach()} if slot.has_master else {})}
            for slot in self._slots.values()
        }
        storages = [storage.to_table() for storage in self._storages]
        return {**found, KEY: {"steps": self._steps, "seed": self._seed, "storages": storages, "tensors": tensors}}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put back what `state_dict` returned; load the model's own state as well.

        Raises:
            ValueError: the state of an optimizer that was not wrapped, or was with other settings.
        """
        own = state_dict.get(KEY)
        if own is None:
            raise ValueError("expected the state_dict of a wrapped optimizer, got a plain one; load it before you wrap")
        if own["seed"] != self._seed or [Storage.from_table(table) for table in own["storages"]] != self._storages:
            raise ValueError("the state was saved with another storage or seed; wrap the optimizer as it was then")
        with self._working():
            self.inner.load_state_dict({key: value for key, value in state_dict.items() if key != KEY})
        self.param_groups = self.inner.param_groups
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, tensors in own["tensors"].items():
            slot = self._slots[parameters[int(number)]]
            found = {name: value.to(slot.work.device, copy=True) for name, value in tensors.items()}
            if slot.has_master:
                slot.work.copy_(found.pop("master"))
            slot.memory = found
        self._steps = int(own["steps"])

    def bits(self) -> Bits:
        """Storage bits a parameter, the mean over all of them; states are those there are by now."""
        totals, count = [0.0] * len(Bits._fields), 0
        for group, storage in zip(self.param_groups, self._storages):
            for p in group["params"]:
                slot = self._slots.get(p)
                names = tuple(self._states_of(p if slot is None else slot.work))
                found = storage.bits(tuple(p.shape), names, 8 * p.element_size())
                totals = [total + part * p.numel() for total, part in zip(totals, found)]
                count += p.numel()
        return Bits(*(total / count for total in totals))

    def __getstate__(self) -> dict[str, Any]:
        """All there is but hooks, as of any torch optimizer."""
        names = ("inner", "_seed", "_default", "_steps", "_slots", "_storages", "_named", "_names", "defaults")
        return {name: getattr(self, name) for name in (*names, "param_groups")}


def momentum_of(inner: Optimizer, group: Mapping[str, Any]) -> Momentum:
    """What ECO needs to know of an optimizer and one of its groups.

    Raises:
        ValueError: not SGD with momentum, Adam or AdamW.
    """
    if isinstance(inner, SGD) and group["momentum"]:
        return Momentum(float(group["lr"]), float(group["momentum"]), bool(group["nesterov"]))
    if isinstance(inner, Adam | AdamW) and not group["amsgrad"] and group["betas"][0]:
        b1, b2 = (float(b) for b in group["betas"])
        return Momentum(float(group["lr"]), b1, second=(b2, float(group["eps"]), 1.0))
    kind = type(inner).__name__
    detail = " with amsgrad" if group.get("amsgrad") else " without momentum" if isinstance(inner, SGD | Adam) else ""
    raise ValueError(
        f"compensation 'eco' is for SGD with momentum, Adam and AdamW, got {kind}{detail}; use one of these, or give "
        "weights rounding='stochastic' instead"
    )


def low_precision(
    inner: Optimizer, storage: Storage, seed: int, names: Mapping[torch.Tensor, str] | None = None
) -> LowPrecisionOptimizer:
    """See `optimizers.low_precision`.

    Args:
        names: of parameters, from which their random words come, in the place of their positions.
    """
    if isinstance(inner, LowPrecisionOptimizer):
        raise ValueError("the optimizer is wrapped already; wrap its .inner, made anew, with the storage you want")
    if isinstance(inner, torch.optim.LBFGS):
        raise ValueError("LBFGS calls its closure between updates, on weights that are not stored yet; use another one")
    found = LowPrecisionOptimizer(inner, storage, seed, names)
    for group, own in zip(found.param_groups, found._storages):
        if own.compensation:
            momentum_of(inner, group)
    return found
