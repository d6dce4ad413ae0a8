"""What a wrapped layer reads of its recipe, as plain tuples, and whether its shapes suit their blocks."""

from functools import lru_cache
from math import lcm
from typing import Any, NamedTuple

from .operands import Operand, operands_of
from .quantizer import KEEP
from .recipe import OPERANDS, Recipe

Specs = tuple[tuple[Any, ...], ...]

DIMENSIONS = {
    #            a                   b                   e
    "linear": ({-2: "m", -1: "k"}, {-2: "n", -1: "k"}, {-2: "m", -1: "n"}),
    "matmul": ({-2: "m", -1: "k"}, {-2: "k", -1: "n"}, {-2: "m", -1: "n"}),
    "convolution": ({0: "m", 1: "k"}, {0: "n", 1: "k"}, {0: "m", 1: "n"}),
    "transposed": ({0: "m", 1: "k"}, {0: "k", 1: "n"}, {0: "m", 1: "n"}),
}
"""Which axis of each tensor of a product is m (tokens, or a batch), k (inputs) and n (outputs)."""

_TENSORS = (0, 1, 2, 1, 2, 0)
"""Which of a, b and e each operand is."""
_CONTRACTED = ("k", "k", "n", "n", "m", "m")
_WORDS = {"m": "tokens", "k": "inputs", "n": "outputs"}


class KindPlan(NamedTuple):
    """What a kind of product reads.

    Args:
        specs: its six operands.
        whole: what lengths of m, k and n must be multiples of, also where blocks may be ragged: whole transforms, and
            whole blocks where scales or gradients are found by their statistics.
        blocks: (operand, axis, dimension, size, name) of what must divide an axis: an operand by its number, the name
            of a format or transform.
        ragged: whether the last block may be ragged.
    """

    specs: Specs
    whole: tuple[int, int, int]
    blocks: tuple[tuple[int, int, str, int, str], ...]
    ragged: bool


class Plan(NamedTuple):
    """What a wrapped layer reads; strings, numbers and tuples of them only, so that `torch.compile` reads it too.

    Args:
        linear, matmul, convolution, transposed: a `KindPlan` of each kind of product.
        rows: the operand that an embedding's weight is.
        around: the operand that enters and leaves a layer without products.
        unit: settings of an accumulator as (name, value) pairs, or none.
        bias, output: formats; empty for none.
        phase: the complex format of weights; empty for none.
        random: whether random numbers are drawn.
        must: whether a call without any product is an error.
    """

    linear: tuple[Any, ...]
    matmul: tuple[Any, ...]
    convolution: tuple[Any, ...]
    transposed: tuple[Any, ...]
    rows: tuple[Any, ...]
    around: tuple[Any, ...]
    unit: tuple[Any, ...]
    bias: str
    output: str
    phase: str
    random: bool
    must: bool


@lru_cache(maxsize=1024)
def plan_of(recipe: Recipe, must: bool = False) -> tuple[Any, ...]:
    """A `Plan` as a plain tuple, of the recipe in force; a schedule is not looked at."""
    real = recipe.with_(fprop_w=KEEP) if recipe.is_complex else recipe
    alone = [_alone(operand) for operand in operands_of(real, "linear")[:2]]
    found = Plan(
        **{kind: _kind_plan(real, kind) for kind in DIMENSIONS},
        rows=alone[1],
        around=alone[0],
        unit=tuple(sorted((recipe.accumulator or {}).items())),
        bias=recipe.bias or "",
        output=recipe.output or "",
        phase=(recipe.fprop_w.fmt or "") if recipe.is_complex else "",
        random=any(getattr(recipe, operand).stochastic for operand in OPERANDS),
        must=must,
    )
    return tuple(found)


def _alone(operand: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operand of no product: nothing cancels a transform or a prescale."""
    return tuple(Operand(*operand)._replace(transform="", prescale=1.0))


def _kind_plan(recipe: Recipe, kind: str) -> tuple[Any, ...]:
    specs = operands_of(recipe, kind)
    whole, blocks = {"m": 1, "k": 1, "n": 1}, []
    for index, of in enumerate(Operand(*spec) for spec in specs):
        if not of.fmt:
            continue
        size = transform_size(of.transform)
        sizes = [(axis, each, of.fmt) for axis, each in zip(of.along, of.sizes)] + [(of.axis, size, of.transform)]
        dimensions = DIMENSIONS[kind][_TENSORS[index]]
        blocks += [(index, axis, dimensions[axis], each, name) for axis, each, name in sizes if each > 1]
        by_statistics = of.scaling[0] in ("std", "eden") or of.through_scale > 0
        by_statistics = by_statistics or of.prescale != 1.0
        each = of.block if by_statistics and of.block > 0 else 1
        whole[_CONTRACTED[index]] = lcm(whole[_CONTRACTED[index]], size, each)
    return tuple(KindPlan(specs, (whole["m"], whole["k"], whole["n"]), tuple(blocks), recipe.pad))


def transform_size(transform: str) -> int:
    """Elements that a transform mixes; 1 without one."""
    digits = transform.removesuffix("_fixed").lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits else 1


def misfit(kind: KindPlan, m: int, k: int, n: int, groups: int, backward: tuple[bool, bool]) -> str:
    """What is wrong with the shapes of a product: blocks or transforms that do not divide the axes they run along.

    Args:
        m, k, n: tokens, inputs and outputs; k and n of all groups.
        groups: of a convolution.
        backward: whether the gradients of the first and of the second factor are wanted.

    Returns:
        The operand, the axis and what to change; empty where nothing is wrong.
    """
    lengths = {"m": m, "k": k, "n": n}
    wanted = (True, True, backward[0], backward[0], backward[1], backward[1])
    for index, axis, dimension, size, name in kind.blocks:
        if not wanted[index]:
            continue
        length = lengths[dimension]
        if groups > 1 and dimension != "m" and (length // groups) % size:
            return (
                f"{_where(index, axis, size, name)}, which would run across its groups of {length // groups} channels; "
                "leave the layer out"
            )
        if not kind.ragged and length % size:
            return (
                f"{_where(index, axis, size, name)}, and its {length} {_WORDS[dimension]} are no multiple of {size}; "
                "give the recipe pad=True (recipe.with_(pad=True)), or leave the layer out"
            )
    return ""


def _where(index: int, axis: int, size: int, name: str) -> str:
    return f"{OPERANDS[index]} has blocks of {size} elements ({name}) along axis {axis}"
