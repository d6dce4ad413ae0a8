"""Layers of a converted model: their weights are packed bits, their products those of the wrapped layer.

Converting changes the class of a module, as wrapping does. Its weights become properties that decode; the plan of its
products says that weights come rounded and transformed. A converted model only computes: it has no gradients, and what
trains, explains or unwraps wrapped models refuses it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

import torch
from torch import nn

from ..products.torch_multiply import Products
from ..products.torch_operands import Spec
from ..recipes.operands import Operand
from ..recipes.plan import DIMENSIONS, KindPlan, Plan, plan_of
from ..wrapping.torch_functional import Functional
from ..wrapping.torch_modules import SLOW, Shielded, Wrapped
from .entries import StoredLayer
from .torch_packed import PackedWeight

BUFFERS = ("_packed_seed", "_packed_step")
"""Buffers of a converted layer that its entry in a file stands for."""
SCALES = {"_halfulp_history": "_packed_history", "_halfulp_sizes": "_packed_sizes"}
"""Those that files hold as tensors, by what they are in a wrapped layer: largest magnitudes and step sizes."""
OUTSIDE = -1


class _Refused:
    """What functions on wrapped models read first; reading it raises."""

    def __get__(self, layer: Any, cls: type) -> NoReturn:
        name = cls.__name__ if layer is None else layer._packed_name
        raise ValueError(
            f"{name}: the model was converted to packed bits by hu.convert, and only computes; use the model that it "
            "was made from, which hu.convert leaves as it is"
        )


class Settled(Wrapped):
    """A module of a converted model whose class is derived from its own.

    Attributes:
        _packed: what files say of it, or None. _packed_name: qualified.
        _packed_mixins, _packed_base, _packed_names: what its class is made of, see `_class`.
    """

    _halfulp = _Refused()  # pyright: ignore[reportAssignmentType]
    _packed: StoredLayer | None = None
    _packed_name: str
    _packed_mixins: tuple[type, ...]
    _packed_base: type
    _packed_names: tuple[str, ...]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._packed_names:
            raise AttributeError(
                f"{self._packed_name}: {name} is packed bits and cannot be set; convert the model again"
            )
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        own = super(Wrapped, self).extra_repr()  # pyright: ignore[reportAttributeAccessIssue]
        recipe = "" if self._packed is None else f"recipe={self._packed.recipe.name!r}"
        return ", ".join(part for part in (own, recipe) if part)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by its own class, since the derived one has no module to be found in."""
        _, _, *rest = super(Wrapped, self).__reduce_ex__(protocol)
        return (_rebuilt, (self._packed_mixins, self._packed_base, self._packed_names), *rest)


class Converted(Settled):
    """The part of a converted layer that is not the layer.

    Attributes:
        _packed_plan: a `Plan` as a plain tuple.
        _packed_calls: number of its next product while the model's forward runs, else `OUTSIDE`.
        _packed_seed: (2,) int64. _packed_step: () int64.
        _packed_history, _packed_sizes: as of a wrapped layer, or None.
    """

    _packed: StoredLayer  # pyright: ignore[reportIncompatibleVariableOverride]
    _packed_plan: tuple[Any, ...]
    _packed_calls = OUTSIDE
    _packed_seed: torch.Tensor
    _packed_step: torch.Tensor
    _packed_history: torch.Tensor | None
    _packed_sizes: torch.Tensor | None

    @property
    def _halfulp_name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._packed_name

    def _packed_products(self, args: tuple[Any, ...]) -> Products:
        given = [t for each in args for t in (each if isinstance(each, tuple | list) else (each,))]  # states are tuples
        if torch.is_grad_enabled() and any(isinstance(t, torch.Tensor) and t.requires_grad for t in given):
            raise ValueError(
                f"{self._packed_name}: a converted layer has no gradients, and its input requires one; call the model "
                "inside of torch.no_grad(), or train the model that it was made from and convert it again"
            )
        first = max(self._packed_calls, 0)
        return Products(
            self, self._packed_plan, self._packed_seed, self._packed_step, first, self._packed_history, None,
            self._packed_sizes,
        )  # fmt: skip

    def _packed_done(self, products: Products) -> None:
        if self._packed_calls >= 0:
            self._packed_calls = products.count


class ConvertedProducts(Converted):
    """A layer whose products are quantized."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        products = self._packed_products((*args, *kwargs.values()))
        first = products.count
        if self._packed.projections:
            self._check_projections(*args, **kwargs)
        weights = self._packed_weights()
        for weight in weights:
            weight.hold()
        try:
            with Functional(products):
                found = super().forward(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            for weight in weights:
                weight.release()
        if products.plan.must and products.count == first:
            products.fail(f"the forward of this {self._packed.kind} called nothing that is quantized")
        self._packed_done(products)
        return found

    def _packed_weights(self) -> list[PackedWeight]:
        """Of itself and of the modules that it reads weights of."""
        names = self._packed.weights
        owners = [self, *(self._modules[owner] for owner in _owners(names))]  # pyright: ignore[reportAttributeAccessIssue]
        return [owner._modules[leaf] for owner in owners for leaf in getattr(owner, "_packed_names", ())]

    def _check_projections(self, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> None:
        """Raise where a tensor's scale is that of all three projections, and they are used apart, or the reverse."""
        together = query is key and key is value
        if together == (self._packed.projections == "together"):
            return
        how = "of one tensor" if together else "of several tensors (cross-attention)"
        turn = "without" if together else "with"
        raise ValueError(
            f"{self._packed_name}: this attention is {how}, and its projections were packed for the other kind, which "
            f"has other scales; convert the model again {turn} cross_attention=[{self._packed_name!r}]"
        )


class ConvertedAround(Converted):
    """A layer without products, whose input and output are quantized."""

    def forward(self, input: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        products = self._packed_products((input,))
        entering = products.values(input, products.plan.around, 0, 0)
        leaving = super().forward(entering, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        found = products.values(leaving, products.plan.around, 1, 0)
        self._packed_done(products)
        return found


MIXINS: dict[str, tuple[type, ...]] = {
    "products": (ConvertedProducts,),
    "around": (ConvertedAround,),
    "shielded": (Settled, Shielded),
}


def _owners(names: Any) -> list[str]:
    """The modules inside of a layer whose weights it reads."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names if "." in name))


def _weight(name: str) -> property:
    return property(lambda self: self._modules[name].values(), doc="What products read, decoded.")


def _flat_weights(module: Any) -> list[Any]:
    return [getattr(module, name, None) for name in module._flat_weights_names]


@cache
def _class(mixins: tuple[type, ...], base: type, names: tuple[str, ...]) -> type:
    """The class of converted modules of a class, some of whose parameters are packed."""
    body: dict[str, Any] = {name: _weight(name) for name in names}
    if issubclass(base, nn.RNNBase):  # which keeps its parameters in a list besides
        body |= {"_flat_weights": property(_flat_weights, lambda *_: None), "flatten_parameters": lambda self: None}
    body |= {"_packed_mixins": mixins, "_packed_base": base, "_packed_names": names}
    body |= {"_halfulp_base": _Refused(), "__doc__": base.__doc__}
    return type(f"Packed{base.__name__}" if names else base.__name__, (*mixins, base), body)


def _rebuilt(mixins: tuple[type, ...], base: type, names: tuple[str, ...]) -> Any:
    """What pickle calls, before it restores the state."""
    return object.__new__(_class(mixins, base, names))


def stored_plan(layer: StoredLayer, attention: bool) -> tuple[Any, ...]:
    """The plan of a layer whose weights come as products read them, as a plain tuple.

    Args:
        attention: whether it is a MultiheadAttention, whose weights are in linear products only.
    """
    plan = Plan(*plan_of(layer.recipe, layer.must))
    if not layer.weights:
        return tuple(plan)
    changes: dict[str, Any] = {"phase": "", "rows": _idle(plan.rows)}
    for name in ("linear",) if attention else DIMENSIONS:
        of = KindPlan(*getattr(plan, name))
        changes[name] = tuple(of._replace(specs=(of.specs[0], _idle(of.specs[1]), *of.specs[2:])))
    return tuple(plan._replace(**changes))


def _idle(spec: Spec) -> Spec:
    """An operand that is taken as it is; products are still divided by its prescale."""
    return tuple(Operand(*spec)._replace(fmt="", rounding="", scaling=("format",), transform="", outliers=0.0))


def become(
    module: Any, name: str, layer: StoredLayer, weights: Mapping[str, PackedWeight | nn.Parameter], device: torch.device
) -> None:
    """Make a plain module a converted layer.

    Args:
        weights: packed ones, and values, by name from the module on.
        device: of its seed and step.
    """
    for owner in ["", *_owners(weights)]:
        holder = module.get_submodule(owner)
        own = {leaf.rpartition(".")[2]: w for leaf, w in weights.items() if leaf.rpartition(".")[0] == owner}
        for leaf, weight in own.items():
            del holder._parameters[leaf]
            if isinstance(weight, PackedWeight):
                holder._modules[leaf] = weight
            else:
                holder._parameters[leaf] = weight
        packed = tuple(leaf for leaf, weight in own.items() if isinstance(weight, PackedWeight))
        inside = ".".join(part for part in (name, owner) if part)
        _turn(holder, inside, (Settled,) if owner else MIXINS[layer.role], packed)
    module.__dict__.pop("_flat_weights", None)
    module._packed = layer
    if layer.role == "shielded":
        return
    module._packed_plan = stored_plan(layer, isinstance(module, nn.MultiheadAttention))
    state = (torch.tensor(layer.seed, dtype=torch.int64), torch.tensor(layer.step, dtype=torch.int64))
    for buffer, value in zip(BUFFERS, state):
        module.register_buffer(buffer, value.to(device))


def _turn(module: Any, name: str, mixins: tuple[type, ...], packed: tuple[str, ...] = ()) -> None:
    """Change the class of a module."""
    base = type(module)
    if isinstance(module, Settled):
        mixins, base, packed = (*mixins, *module._packed_mixins), module._packed_base, module._packed_names
    elif not issubclass(mixins[0], Settled):
        mixins = (Settled, *mixins)
    module.__class__ = _class(mixins, base, packed)
    module._packed_name = name or base.__name__


def finish(root: nn.Module, counting: Sequence[str]) -> None:
    """What a converted model needs besides its layers: no fast paths around them, and counts of calls.

    Args:
        counting: the modules that were wrapped as models, whose layers count their products in each of their calls.
    """
    for name, module in list(root.named_modules()):
        for kind, mixin in SLOW.items():
            if isinstance(module, kind) and any(isinstance(each, Settled) for each in module.modules()):
                _turn(module, name, (mixin,))
    for model in map(root.get_submodule, counting):
        random = [layer for layer in converted_of(model).values() if Plan(*layer._packed_plan).random]
        if random:
            model._packed_random = random  # pyright: ignore[reportArgumentType]
            model.register_forward_pre_hook(_begin)
            model.register_forward_hook(_end)


def _begin(model: Any, *_: Any) -> None:
    """A hook before the model's forward: its layers count their products from 0, so that each draws other words."""
    for layer in model._packed_random:
        layer._packed_calls = 0


def _end(model: Any, *_: Any) -> None:
    """A hook after the model's forward."""
    for layer in model._packed_random:
        layer._packed_calls = OUTSIDE


def converted_of(model: nn.Module) -> dict[str, Any]:
    """The converted layers of a model, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Converted)}
