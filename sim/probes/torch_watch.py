"""One sampled step of a probe in torch: which layers are called in it, and which formats are asked about."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ..products.torch_products import Kind, states_of
from ..recipes.operands import operands_of
from ..recipes.plan import plan_of
from ..recipes.recipe import Recipe
from .records import Ledger
from .torch_measuring import Measured, Place, Sample, Setting, aside


class Watch:
    """One sampled step: what is recorded, and the sums that wait to be read off their device.

    A copy of a watched model is not watched: copies of this are None.
    """

    def __init__(
        self, sample: Sample, what_if: tuple[Recipe, ...], products: bool, matches: Callable[[str], bool]
    ) -> None:
        self.sample, self.what_if, self.products, self.matches = sample, what_if, products, matches

    def __deepcopy__(self, memo: Any) -> None:
        return None

    def __reduce__(self) -> Any:
        return _nothing, ()

    def called(self, layer: Any) -> "Call | None":
        """The record of one call of a wrapped layer; None of one that is not watched."""
        name = layer._halfulp_name
        return Call(self, name, layer, layer._halfulp_recipe.name) if self.matches(name) else None

    def drain(self, ledger: Ledger) -> None:
        """Read the sums off their devices, in one transfer, into the ledger."""
        for layer, name in dict.fromkeys(self.sample.places):
            ledger.called(layer, name)
        pending, self.sample.pending = self.sample.pending, []
        devices = {t.device for _, found, _ in pending for t in found or () if isinstance(t, torch.Tensor)}
        host = {device: _numbers(pending, device) for device in devices}
        for key, found, note in pending:
            ledger.add(key, None if found is None else _read(found, host), note)


def _nothing() -> None:
    """What a pickled watch comes back as."""


def _numbers(pending: Any, device: torch.device) -> Iterator[Any]:
    """The numbers of all sums on a device, in their order."""
    tensors = [t for _, found, _ in pending for t in found or () if isinstance(t, torch.Tensor) and t.device == device]
    flat = torch.cat([t.reshape(-1).to(torch.float32 if device.type == "mps" else torch.float64) for t in tensors])
    return iter(flat.cpu().split([t.numel() for t in tensors]))


def _read(found: Any, host: dict[torch.device, Iterator[Any]]) -> Any:
    read = [next(host[t.device]).numpy() if isinstance(t, torch.Tensor) else t for t in found]
    return type(found)(*(t if t is None or isinstance(t, int) or t.size > 1 else t[0] for t in read))


def is_mapped() -> bool:
    """Whether `torch.func` is at work, inside of which no number can be read."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]


class Call:
    """One call of a layer.

    Args:
        name: of the layer. module: itself, for the names of its products. recipe: in use; empty for none.
    """

    def __init__(self, watch: Watch, name: str, module: Any, recipe: str) -> None:
        self.watch, self.name, self.module, self.recipe = watch, name, module, recipe
        self.counts: dict[int, int] = {}
        self.recomputes = torch._C._current_graph_task_id() != -1  # activation checkpointing, inside of backward

    def product(
        self,
        found: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        kind: Kind,
        slot: int,
        using: Any,
        given: Any = None,
    ) -> None:
        """Record a product that was computed, and its backward products when they are.

        Args:
            found: what it gave; its gradient is E. a, b: as `quantized_product` takes them.
            using: what it was quantized with, (specs, seed, step, sizes, largest, unit, call); no specs for nothing.
            given: (weight, what it became, format) of a complex format.
        """
        where = Place(self.name, self._name(slot, b), self.module.training)
        if not (a.numel() and b.numel()) or is_mapped():
            return
        measured = Measured(self.watch.sample, where, a, b, kind, tuple(self._settings(using, kind[0])))
        if not self.recomputes:
            self.watch.sample.places.append((where.layer, where.product))
            with aside(a):
                if given is not None and given[2]:
                    measured.complex_weight(*given)
                measured.forward(found)
        if found.requires_grad:
            found.register_hook(measured.backward(a, b))

    def values(self, t: torch.Tensor, spec: Any, slot: int, side: int, using: Any) -> None:
        """Record a tensor that was rounded outside of any product: rows of embeddings, what enters and leaves norms."""
        if self.recomputes or not t.numel() or is_mapped():
            return
        seed, step, state, call = using
        name = "" if side else ("input", "output")[min(slot, 1)]
        settings = [Setting(self.recipe, True, (spec,) * 6, seed, step, call, (state,) * 6, (), False)]
        for recipe in self.watch.what_if:
            specs = tuple(plan_of(recipe)[4 if side else 5] for _ in range(6))
            settings.append(Setting(recipe.name, False, specs, seed, step, call, (None,) * 6, (), False))
        where = Place(self.name, name, self.module.training)
        self.watch.sample.places.append((where.layer, where.product))
        with aside(t):
            Measured(self.watch.sample, where, t, t, ("linear",), tuple(settings)).operands((side,))

    def _settings(self, using: Any, kind: str) -> Iterator[Setting]:
        specs, seed, step, sizes, largest, unit, call = using
        if specs is not None:
            states = states_of(specs, sizes, largest)
            yield Setting(self.recipe, True, specs, seed, step, call, states, unit, True)
        for recipe in self.watch.what_if:
            now = recipe.at(self.watch.sample.step)
            unit = tuple(sorted((now.accumulator or {}).items()))
            specs, results = operands_of(now, kind), self.watch.products
            yield Setting(recipe.name, False, specs, seed, step, call, (None,) * 6, unit, results)

    def _name(self, slot: int, b: torch.Tensor) -> str:
        """What a product of the layer is called; empty where there is only one."""
        count = self.counts[slot] = self.counts.get(slot, -1) + 1
        if isinstance(self.module, nn.MultiheadAttention):
            joined = slot == 0 and b.shape[0] == 3 * self.module.embed_dim
            return "qkv" if joined else ("query", "key", "value", "scores", "values", "output")[slot]
        if isinstance(self.module, nn.RNNBase | nn.RNNCellBase):
            layer = f" {slot // 3}" if isinstance(self.module, nn.RNNBase) else ""
            return ("x", "h", "projection")[slot % 3] + layer
        if slot >= 3:  # scaled_dot_product_attention in a forward of the user's
            return ("scores", "values")[slot - 3] + (f" {count}" if count else "")
        single = hasattr(self.module, "weight") and isinstance(self.module.weight, torch.Tensor)
        return "" if single and not count else str(count)
