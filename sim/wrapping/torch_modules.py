"""What a wrapped layer is: an object of a class derived from its own, with the same parameters, names and hooks.

Wrapping changes the class of a module in place, and adds attributes and buffers whose names begin with `_halfulp`, none
of which is in its `state_dict`.
"""

from functools import cache
from typing import Any

import torch
from torch import nn

from ..products.torch_multiply import Products
from ..recipes.plan import Plan, plan_of
from ..recipes.recipe import Recipe
from .torch_calls import OUTSIDE, first_product
from .torch_functional import Functional

BUFFERS = ("_halfulp_seed", "_halfulp_step", "_halfulp_history", "_halfulp_seen", "_halfulp_sizes")


class Wrapped:
    """The part of a wrapped layer that is not the layer.

    Attributes:
        _halfulp: what its forward reads of the recipe in force, a `Plan` as a plain tuple, which the compiler compares
            at once; None where the layer is its own again.
        _halfulp_name: qualified, for messages. _halfulp_must: whether a call without products is an error.
        _halfulp_recipe: its recipe, with its schedule.
        _halfulp_calls, _halfulp_repeats, _halfulp_prints: see `torch_calls`.
        _halfulp_seed: (2,) int64 words, of the user's seed and the layer's name. _halfulp_step: () int64.
        _halfulp_history: (slots, 6, steps) largest magnitudes of earlier steps, or None.
        _halfulp_seen: (slots, 6) those of this step, or None.
        _halfulp_sizes: (slots, 2) step sizes that are trained, or None.
        _halfulp_watch: a `torch_watch.Watch` in steps that a probe records; None in all others.
    """

    _halfulp: tuple[Any, ...] | None = None
    _halfulp_name: str
    _halfulp_must = False
    _halfulp_recipe: Recipe
    _halfulp_base: type
    _halfulp_calls = OUTSIDE
    _halfulp_repeats = False
    _halfulp_prints: list[Any]
    _halfulp_seed: torch.Tensor
    _halfulp_step: torch.Tensor
    _halfulp_history: torch.Tensor | None
    _halfulp_seen: torch.Tensor | None
    _halfulp_sizes: torch.Tensor | None
    _halfulp_watch: Any = None
    training: bool

    def _halfulp_products(self, args: tuple[Any, ...]) -> Products:
        """The products of one call."""
        plan: Any = self._halfulp
        first = first_product(self, args) if Plan(*plan).random else 0
        seen = self._halfulp_seen if self.training else None
        watch = None if self._halfulp_watch is None else self._halfulp_watch.called(self)
        return Products(
            self, plan, self._halfulp_seed, self._halfulp_step, first, self._halfulp_history, seen,
            self._halfulp_sizes, watch,
        )  # fmt: skip

    def _halfulp_done(self, products: Products) -> None:
        if self._halfulp_calls >= 0:
            self._halfulp_calls = products.count

    def extra_repr(self) -> str:
        own = super().extra_repr()  # pyright: ignore[reportAttributeAccessIssue]
        name = f"recipe={self._halfulp_recipe.name!r}" if self._halfulp is not None else ""
        return ", ".join(part for part in (own, name) if part)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As a module's; step sizes stay the same leaf, as parameters do, so that optimizers keep them."""
        sizes = self._buffers.get("_halfulp_sizes")  # pyright: ignore[reportAttributeAccessIssue]
        super()._apply(fn, recurse)  # pyright: ignore[reportAttributeAccessIssue]
        if sizes is not None:
            with torch.no_grad():
                sizes.data = self._buffers["_halfulp_sizes"].detach()  # pyright: ignore[reportAttributeAccessIssue]
                sizes.grad = None if sizes.grad is None else fn(sizes.grad)
            self._buffers["_halfulp_sizes"] = sizes  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by its own class, since the derived one has no module to be found in."""
        _, _, *rest = super().__reduce_ex__(protocol)
        return (_rebuilt, (_mixin_of(type(self)), self._halfulp_base), *rest)


class Quantized(Wrapped):
    """A layer whose products are quantized."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._halfulp is None:
            return super().forward(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        products = self._halfulp_products((*args, *kwargs.values()))
        first = products.count
        with Functional(products):
            found = super().forward(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if products.plan.must and products.count == first:
            products.fail(
                f"a rule names this {self._halfulp_base.__name__}, but its forward called nothing that can be "
                "quantized (torch.matmul, torch.einsum, F.linear, scaled_dot_product_attention, ...); take it out of "
                "the rules"
            )
        self._halfulp_done(products)
        return found


class QuantizedAround(Wrapped):
    """A layer without products, whose input and output are quantized."""

    def forward(self, input: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._halfulp is None:
            return super().forward(input, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        products = self._halfulp_products((input,))
        entering = products.values(input, products.plan.around, 0, 0)
        leaving = super().forward(entering, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        found = products.values(leaving, products.plan.around, 1, 0)
        self._halfulp_done(products)
        return found


class Shielded(Wrapped):
    """A layer that is left alone inside of a module whose functions are quantized."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with Functional(None):
            return super().forward(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


class SlowLayer(Wrapped):
    """A `TransformerEncoderLayer` that always calls its modules: this attribute is read for the fast path only."""

    activation_relu_or_gelu = property(lambda self: 0, lambda self, value: None)


class SlowEncoder(Wrapped):
    """A `TransformerEncoder` that makes no nested tensors, which only the fast path of its layers takes."""

    use_nested_tensor = property(lambda self: False, lambda self, value: None)


SLOW = {nn.TransformerEncoderLayer: SlowLayer, nn.TransformerEncoder: SlowEncoder}


@cache
def wrapped_class(mixin: type, base: type) -> type:
    """The class of wrapped modules of a class."""
    name = f"{mixin.__name__}{base.__name__}" if issubclass(mixin, Quantized | QuantizedAround) else base.__name__
    name = name.replace("Around", "")
    return type(name, (mixin, base), {"_halfulp_base": base, "__doc__": base.__doc__})


def _mixin_of(cls: type) -> type:
    return next(each for each in cls.__mro__ if each in (Quantized, QuantizedAround, Shielded, SlowLayer, SlowEncoder))


def _rebuilt(mixin: type, base: type) -> Any:
    """What pickle calls, before it restores the state."""
    return object.__new__(wrapped_class(mixin, base))


def wrap(module: Any, mixin: type) -> None:
    """Change the class of a module; one that is wrapped and was sharded since keeps the class it has."""
    if not isinstance(module, mixin):
        module.__class__ = wrapped_class(mixin, type(module))


def unwrap(module: Any) -> None:
    """Undo `wrap`. A class that was put on top since, as FSDP2 does, stays, and computes what it did before."""
    for name in [name for name in module.__dict__ if name.startswith("_halfulp")]:
        del module.__dict__[name]
    for name in BUFFERS:
        if name in module._buffers:
            delattr(module, name)
    if "_halfulp_base" in type(module).__dict__:
        module.__class__ = type(module)._halfulp_base


def in_force(layer: Any, step: int) -> None:
    """Set the plan of the recipe that is in force at a step."""
    layer._halfulp = plan_of(layer._halfulp_recipe.at(step), layer._halfulp_must)


def layers_of(model: nn.Module) -> dict[str, Any]:
    """The quantized layers of a model, by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Wrapped) and m._halfulp is not None}
