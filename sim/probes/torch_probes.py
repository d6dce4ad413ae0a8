"""When a probe records in torch: it samples steps, and costs the others one look at the step counter."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..recipes.recipe import Recipe
from ..wrapping.torch_modules import layers_of
from ..wrapping.torch_wrapping import inner
from .records import Ledger
from .torch_measuring import Sample
from .torch_observing import Observing
from .torch_watch import Watch

_MARK = "_halfulp_probe"


class Hook:
    """What a probe hangs on a model. A copy of the model is not watched: copies of this do nothing."""

    def __init__(self, call: Callable[[], None] | None = None) -> None:
        self.call = call

    def __call__(self, *_: Any) -> None:
        if self.call is not None and not torch.compiler.is_compiling():
            self.call()

    def __deepcopy__(self, memo: Any) -> "Hook":
        return Hook()

    def __reduce__(self) -> Any:
        return Hook, ()


class Sampler:
    """What is recorded when.

    Args:
        model: the model, as it is called. every: steps from one sample to the next.
        what_if: recipes that are not in use. tensors: names of `records.TENSORS`. products: whether those are
            multiplied. limit: elements that stand for a tensor, or None. matches: whether a layer of a name is watched.
        ledger: where the sums go.

    Raises:
        TypeError: no model.
        ValueError: a model that is watched already, or in which there is nothing to watch.
    """

    def __init__(
        self, model: Any, every: int, what_if: tuple[Recipe, ...], tensors: frozenset[str], products: bool,
        limit: int | None, matches: Callable[[str], bool], ledger: Ledger,
    ) -> None:  # fmt: skip
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
        self.model, self.root, self.ledger = model, inner(model), ledger
        self.every, self.what_if, self.tensors, self.products, self.matches = every, what_if, tensors, products, matches
        self.limit = limit
        self._check()
        self.layers: list[Any] = list(layers_of(self.root).values())
        self.step: int | None = None
        self.count = -1
        self.counts_itself = False
        self.watch: Watch | None = None
        self.evaluated = False
        self.mode: Observing | None = None
        self.stance: Any = None
        self.seen = (0, -1)
        self._attach()

    def _check(self) -> None:
        if isinstance(getattr(self.root, _MARK, None), Hook) and getattr(self.root, _MARK).call is not None:
            raise ValueError("the model is watched already; close that probe first: probe.close()")
        wrapped = layers_of(self.root)
        if not wrapped and not self.what_if:
            raise ValueError(
                "nothing to watch: the model is not quantized, and what_if names no formats; call hu.quantize_(model, "
                "recipe) first, or name formats: hu.watch(model, what_if=['nvfp4'])"
            )
        names = [layer._halfulp_name for layer in wrapped.values()]
        names += [name or type(m).__name__ for name, m in self.root.named_modules()] if self.what_if else []
        if not any(map(self.matches, names)):
            raise ValueError(f"nothing to watch: layers= matches none of {', '.join(names[:20])}")

    def _attach(self) -> None:
        before, after = Hook(self.before), Hook(self.after)
        setattr(self.root, _MARK, before)
        self.compiled = self.model._compiled_call_impl
        self.handles: list[Any] = []
        if self.compiled is not None:  # model.compile(): its hooks are compiled too
            compiled = self.compiled

            def call(*args: Any, **kwargs: Any) -> Any:
                before()
                try:
                    return compiled(*args, **kwargs)
                finally:
                    after()

            self.model._compiled_call_impl = call
        else:
            self.handles = [
                self.model.register_forward_pre_hook(before),
                self.model.register_forward_hook(after, always_call=True),
            ]

    def close(self) -> None:
        """Take everything off the model."""
        self._leave()
        self._end()
        for handle in self.handles:
            handle.remove()
        if self.compiled is not None:
            self.model._compiled_call_impl = self.compiled
        self.root.__dict__.pop(_MARK, None)

    def before(self) -> None:
        """Before a forward pass of the model."""
        self._leave()
        training = self.root.training
        if not self.counts_itself:
            self._go_to(self._now(training))
        if self.watch is None or (not training and self.evaluated and not self.counts_itself):
            self._release()
            return
        self.evaluated = self.evaluated or not training
        self._arm(self.watch)
        if self.what_if:
            self.mode = Observing(self.watch, self.root)
            self.mode.__enter__()

    def after(self) -> None:
        """After it, also where it failed."""
        self._leave()

    def advance(self) -> None:
        """The user's own count of steps: a new one begins."""
        self._leave()
        self.counts_itself = True
        self._go_to(self._now(True))
        if self.watch is not None:
            self._arm(self.watch)

    def _now(self, training: bool) -> int:
        """The number of the step: that of the layers, or how often the model was called to train."""
        if self.layers and getattr(self.layers[0], "_halfulp", None) is None:
            self.layers = list(layers_of(self.root).values())
        if self.layers:
            counter = self.layers[0]._halfulp_step
            if self.seen != (id(counter), counter._version):  # a counter on a device is waited for
                self.seen, self.count = (id(counter), counter._version), int(counter)
            return self.count
        self.count = max(self.count + training, 0)
        return self.count

    def _go_to(self, step: int) -> None:
        if step == self.step:
            return
        self._end()
        self.step, self.evaluated = step, False
        if step % self.every == 0:
            self.layers = list(layers_of(self.root).values())
            self.watch = Watch(Sample(step, self.tensors, self.limit), self.what_if, self.products, self.matches)

    def _arm(self, watch: Watch) -> None:
        for layer in self.layers:
            layer._halfulp_watch = watch
        if self.stance is None and "torch._dynamo" in sys.modules:  # otherwise nothing is compiled
            self.stance = torch.compiler.set_stance("force_eager")

    def _leave(self) -> None:
        """Undo what holds for one forward pass only."""
        mode, self.mode = self.mode, None
        if mode is not None:
            mode.__exit__(None, None, None)
        if self.counts_itself and self.watch is not None:
            return
        self._restore()

    def _restore(self) -> None:
        """The compiler is back, and finds layers as they were; others may still be called in a backward pass."""
        stance, self.stance = self.stance, None
        if stance is not None:
            stance.__exit__(None, None, None)
            if self.model is not self.root or any(m._compiled_call_impl is not None for m in self.root.modules()):
                self._release()

    def _release(self) -> None:
        for layer in self.layers:
            layer.__dict__.pop("_halfulp_watch", None)

    def _end(self) -> None:
        """The sampled step is over."""
        self._restore()
        self._release()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.drain(self.ledger)

    def drain(self) -> None:
        """Everything recorded so far into the ledger."""
        if self.watch is not None:
            self.watch.drain(self.ledger)
