"""Products of layers that are not quantized, as a probe sees them: computed a second time, beside the model's own.

The model's own functions give the model's own results, to the bit. Beside each that multiplies, its quantized version
runs on the same tensors with nothing quantized, so that the products inside of attention and recurrent layers are seen
one by one; and when the gradients of the results come, they go through that version too.
"""

import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from ..products.torch_multiply import Products
from ..products.torch_products import Kind, product
from ..recipes.plan import plan_of
from ..recipes.recipe import Recipe
from ..recipes.seeds import seed_words
from ..wrapping.torch_functional import HANDLERS, Handler
from ..wrapping.torch_modules import Wrapped
from .torch_watch import Call, Watch, is_mapped

_PLAN = plan_of(Recipe())
_NOT_PRODUCTS = (functional.embedding, torch.Tensor.unflatten)


class _UnobservedError(Exception):
    """A call that has no quantized version: it is not recorded."""


class Beside(Products):
    """Products with nothing quantized, told to a call that records them."""

    def __init__(self, call: Call, step: int, device: torch.device) -> None:
        words = torch.tensor(seed_words(0, call.name), device=device)
        super().__init__(call, _PLAN, words, torch.tensor(step, device=device), watch=call)

    def _product(self, a: torch.Tensor, b: torch.Tensor, kind: Kind, slot: int) -> torch.Tensor:
        shape = a.shape
        rows = a.reshape(-1, shape[-1]) if kind[0] == "linear" else a
        found = product(rows, b, kind, ())
        self.watch.product(found, rows, b, kind, slot, (None, self.seed, self.step, None, None, (), 0))
        return found.reshape(*shape[:-1], -1) if kind[0] == "linear" else found

    def fail(self, message: str) -> NoReturn:
        """A call of which there is no quantized version."""
        raise _UnobservedError(message)


class Observing(TorchFunctionMode):
    """While it is active, products of layers that are not wrapped are recorded.

    Args:
        watch: the sampled step. root: the model, whose modules are asked for their names by hooks.
    """

    def __init__(self, watch: Watch, root: nn.Module) -> None:
        super().__init__()
        self.watch = watch
        self.calls = [Call(watch, type(root).__name__, root, "")]
        self.handles = [handle for name, module in root.named_modules() if name for handle in self._hooks(name, module)]

    def _hooks(self, name: str, module: nn.Module) -> Iterable[Any]:
        def begin(*_: Any) -> None:
            self.calls.append(Call(self.watch, name, module, ""))

        def end(*_: Any) -> None:
            if self.calls[-1].module is module:  # else a hook failed before this one's beginning
                self.calls.pop()

        return module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        handler, call = HANDLERS.get(func), self.calls[-1]
        watched = handler is not None and func not in _NOT_PRODUCTS and self.watch.matches(call.name)
        if not watched or handler is None or isinstance(call.module, Wrapped) or is_mapped():
            return func(*args, **kwargs)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        device = tensors[0].device
        before = _random_state(device)
        found = func(*args, **kwargs)
        if all(t.device == device for t in tensors) and all(t.is_floating_point() for t in tensors[:2]):
            self._beside(handler, call, found, args, kwargs, before, device)
        return found

    def _beside(
        self, handler: Handler, call: Call, found: Any, args: Any, kwargs: Any, before: Any, device: torch.device
    ) -> None:
        """Compute the products of a call again, and when its gradients come theirs."""
        leaves: dict[int, torch.Tensor] = {}
        args, kwargs = tree_map(lambda t: _leaf(t, leaves), (args, kwargs))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.set_rng_state(before[0])  # the same dropout
            if len(before) > 1:
                torch.cuda.set_rng_state(before[1], device)
            try:
                again = handler(Beside(call, self.watch.sample.step, device), *args, **kwargs)
            except _UnobservedError:
                return
        pairs = [
            (t, own)
            for t, own in zip(tree_leaves(found), tree_leaves(again))
            if isinstance(t, torch.Tensor) and t.requires_grad and own.requires_grad and t.shape == own.shape
        ]
        if pairs:
            _follow(pairs, [t for t in leaves.values() if t.requires_grad])


def _random_state(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Of the CPU, and of a GPU."""
    host = torch.get_rng_state()
    return (host, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (host,)


def _leaf(t: Any, leaves: dict[int, torch.Tensor]) -> Any:
    """A tensor cut off from what computed it; the same one for the same tensor."""
    if not isinstance(t, torch.Tensor):
        return t
    if id(t) not in leaves:
        freed = "torch.distributed.fsdp._fully_shard" in sys.modules  # FSDP2 frees the memory of gathered weights
        leaves[id(t)] = (t.detach().clone() if freed else t.detach()).requires_grad_(t.requires_grad)
    return leaves[id(t)]


def _follow(pairs: list[tuple[torch.Tensor, torch.Tensor]], leaves: list[torch.Tensor]) -> None:
    """Once the gradients of the first of each pair are there, take them through the second."""
    versions = [t._version for t in leaves]
    results = [own for _, own in pairs]

    def hook(gradients: Any) -> None:
        given = [(own, g.detach()) for own, g in zip(results, gradients) if g is not None]
        results.clear()  # nothing is kept, so that a second backward pass is not recorded
        if given and [t._version for t in leaves] == versions:
            torch.autograd.grad([own for own, _ in given], leaves, [g for _, g in given], allow_unused=True)
        leaves.clear()

    torch.autograd.graph.register_multi_grad_hook([t for t, _ in pairs], hook)
