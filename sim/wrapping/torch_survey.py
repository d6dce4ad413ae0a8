"""What each module of a model would get from rules: the one place that decides it, for wrapping and for explaining."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..recipes.published import recipe as any_recipe
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import Entry, Match, Rule, around_of, resolved
from . import torch_attention, torch_recurrent
from .torch_modules import Quantized, QuantizedAround, Shielded, layers_of

PRODUCTS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.Embedding, nn.MultiheadAttention, nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell,
)  # fmt: skip
"""Layers that multiply; a Conv1D of Hugging Face's transformers too, by its name."""
CONVOLUTIONS = PRODUCTS[1:7]

AROUND = ("Norm", "Softmax", "GELU", "SiLU", "ReLU", "Tanh", "Sigmoid", "Activation")
"""Ends of the names of layers without products, whose input and output are quantized where a rule names them."""

IDENTITY = any_recipe("identity")
_FILTERED = "filter_fn leaves it alone"
_KEPT = ("torch.", "halfulp.sim.wrapping.", "halfulp.sim.conversion.")
"""Beginnings of the modules of classes whose forward is not the user's."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a module gets.

    Args:
        name: qualified. module: itself.
        recipe: its recipe; the identity where no rule matches.
        mixin: how it is wrapped, or None where it is left alone.
        slots: its scales, one for each of its products; None where their number is not known.
        note: what to know about it.
    """

    name: str
    module: Any
    recipe: Recipe
    mixin: Any
    slots: int | None
    note: str


def survey(
    model: nn.Module, rules: Sequence[Rule], filter_fn: Callable[[nn.Module, str], bool] | None = None
) -> list[Row]:
    """What every module of a model gets.

    Raises:
        ValueError: a model that is wrapped already; a rule without effect, or that names what cannot be quantized; one
            module under two names with two recipes; a recipe that a layer cannot have.
    """
    _check_new(model)
    named = [(name, module) for name, module in model.named_modules(remove_duplicate=False)]
    entries = [Entry(name, _types(module)) for name, module in named]
    matches = resolved(rules, entries)
    inside = {projection_of(name) for name, module in named if isinstance(module, nn.MultiheadAttention)}
    rows: dict[int, Row] = {}
    for (name, module), match in zip(named, matches):
        row = _row(name, module, match, rules, name in inside)
        if row.mixin is not None and filter_fn is not None and not filter_fn(module, name):
            row = Row(name, module, IDENTITY, None, None, _FILTERED)
        if id(module) in rows and rows[id(module)].recipe != row.recipe:
            other = rows[id(module)].name
            raise ValueError(
                f"{other} and {name} are one module, but rules give it two recipes; write one rule for both"
            )
        rows.setdefault(id(module), row)
    found = list(rows.values())
    _check_effect(found, matches, [name for name, _ in named], rules, filter_fn is not None)
    for row in found:
        if row.mixin is not None:
            _check_row(row)
    return _shielded(found)


def _row(name: str, module: nn.Module, match: Match | None, rules: Sequence[Rule], inside: bool) -> Row:
    if match is None:
        return Row(name, module, IDENTITY, None, None, "no rule matches")
    rule = rules[match.rule]
    if rule.idle:
        return Row(name, module, rule.recipe, None, None, "left alone")
    if inside:
        return Row(name, module, rule.recipe, None, None, "not called as a module; as the MultiheadAttention")
    if isinstance(module, PRODUCTS) or _is_transformers_conv1d(module):
        note = "" if _own_forward(module) else "a forward of its own, whose products are quantized"
        return Row(name, module, rule.recipe, Quantized, _slots(module), note)
    if match.named and not _has_children(module) and type(module).__name__.rstrip("123d").endswith(AROUND):
        return Row(name, module, rule.recipe, QuantizedAround, 2, "input and output, by fprop_x")
    if match.named and not _forward_of(module).__module__.startswith(_KEPT):
        return Row(name, module, rule.recipe, Quantized, None, "products that its forward calls")
    return Row(name, module, rule.recipe, None, None, "" if _has_children(module) else "no products")


def projection_of(name: str) -> str:
    """The name of the output projection of a MultiheadAttention, which reads its parameters and does not call it."""
    return f"{name}.out_proj" if name else "out_proj"


def kind_of(module: nn.Module) -> str:
    """The kind of product that a layer's weight is a factor of."""
    if isinstance(module, CONVOLUTIONS):
        return "transposed" if isinstance(module, CONVOLUTIONS[3:]) else "convolution"
    return "matmul" if _is_transformers_conv1d(module) else "linear"


def _types(module: nn.Module) -> tuple[str, ...]:
    return tuple(each.__name__ for each in type(module).__mro__ if each not in (nn.Module, object))


def _has_children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _is_transformers_conv1d(module: Any) -> bool:
    """x W + b with W (inputs, outputs), as in GPT-2."""
    known = any(each.__name__ == "Conv1D" for each in type(module).__mro__)
    return known and hasattr(module, "nf") and getattr(module, "weight", None) is not None


def _own_forward(module: nn.Module) -> bool:
    """Whether its forward is that of torch's class."""
    return any(type(module).forward is each.forward for each in PRODUCTS) or _is_transformers_conv1d(module)


def _forward_of(module: nn.Module) -> type:
    """The class whose forward a module has."""
    return next(each for each in type(module).__mro__ if "forward" in each.__dict__)


def _slots(module: Any) -> int | None:
    if not _own_forward(module):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return torch_attention.SLOTS
    if isinstance(module, nn.RNNBase):
        return torch_recurrent.SLOTS * module.num_layers * (2 if module.bidirectional else 1)
    return 2 if isinstance(module, nn.RNNCellBase) else 1


def _check_new(model: nn.Module) -> None:
    wrapped = layers_of(model)
    if wrapped:
        name, layer = next(iter(wrapped.items()))
        raise ValueError(
            f"the model is quantized already ({name or 'itself'} by {layer._halfulp_recipe.name!r}); call "
            "hu.dequantize_(model) first, and give all rules in one call"
        )


def _check_effect(
    rows: list[Row], matches: list[Match | None], names: list[str], rules: Sequence[Rule], filtered: bool
) -> None:
    """Raise for a rule that changes nothing."""
    by_name = {row.name: row for row in rows}
    kept = False
    for k, rule in enumerate(rules):
        mine = [by_name[name] for name, match in zip(names, matches) if match and match.rule == k and name in by_name]
        if rule.idle:
            continue
        if any(row.mixin is not None for row in mine):
            kept = True
            continue
        if filtered and any(row.note == _FILTERED for row in mine):
            continue
        kinds = ", ".join(dict.fromkeys(f"{row.name or 'the model'} ({type(row.module).__name__})" for row in mine[:5]))
        raise ValueError(
            f"rule {k + 1} {rule.pattern!r} matched nothing that can be quantized: {kinds}; supported are "
            f"{', '.join(each.__name__ for each in PRODUCTS)}, norms and activations that a rule names, and modules of "
            "your own that a rule names, whose forward multiplies"
        )
    if not kept and filtered:
        raise ValueError("filter_fn left nothing to quantize; it takes (module, name) and returns whether to")


def _check_row(row: Row) -> None:
    """Raise for a recipe that a layer cannot have."""
    module, kind = row.module, type(row.module).__name__
    lazy = isinstance(module, LazyModuleMixin)
    problem = ""
    if "forward" in module.__dict__:
        problem = f"the forward of this {kind} was replaced on the object; quantize it before that"
    elif lazy and module.has_uninitialized_params():  # pyright: ignore[reportAttributeAccessIssue]
        problem = f"this {kind} has no sizes yet; run the model once before hu.quantize_"
    elif any(p.is_meta for p in row.module.parameters(recurse=False)):
        problem = "its parameters are on the meta device; materialize the model before hu.quantize_"
    for recipe in (row.recipe, *(later for _, later in row.recipe.schedule)):
        problem = problem or _problem(row, recipe, kind)
    if problem:
        raise ValueError(f"{row.name or kind}: {problem}")


def _problem(row: Row, recipe: Recipe, kind: str) -> str:
    """Why a layer cannot have a recipe, and what to do; empty if it can."""
    leave = f"leave it out by a rule ({row.name or f'type:{kind}'!r}, 'identity')"
    module = row.module
    if recipe.is_complex and not (
        isinstance(module, nn.Linear) and module.in_features % 2 == 0 and module.out_features % 2 == 0
    ):
        return (
            f"{recipe.name} has complex weights, and this {kind} has no widely-linear view; that takes a Linear with "
            f"even numbers of inputs and outputs; {leave}, or give the recipe to 'type:Linear'"
        )
    if recipe.accumulator and isinstance(module, CONVOLUTIONS):
        return (
            f"the emulated matrix unit of {recipe.name} multiplies matrices, and this is a {kind}; {leave}, or give it "
            "a recipe without accumulator"
        )
    operands: list[Quantizer] = [getattr(recipe, name) for name in OPERANDS]
    kept = [of.scaling.name for of in operands if of.scaling.name in ("delayed", "learned")]
    if kept and row.slots is None:
        return (
            f"{recipe.name} keeps {kept[0]} scales for each product, and how many products this {kind} has is not "
            f"known; {leave}, or give it a recipe whose scales follow the data"
        )
    return ""


def _shielded(rows: list[Row]) -> list[Row]:
    """Rows in which modules that are left alone inside of others whose functions are quantized are protected."""
    outer = {
        row.name: row for row in rows if row.mixin is Quantized and row.slots is None and _has_children(row.module)
    }
    found = []
    for row in rows:
        around = [outer[name] for name in around_of(row.name) if name in outer]
        other = around and row.mixin is None and row.recipe is not around[-1].recipe
        found.append(Row(row.name, row.module, row.recipe, Shielded, None, row.note) if other else row)
    return found
