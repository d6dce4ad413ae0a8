"""Could a matrix unit compute the products of a recipe? A scale that varies along the contraction must change between
blocks of it only, or it cannot be taken out of the sum:

    sum_k a[m, k] b[n, k]  =  sum over blocks of s_a[m, block] s_b[n, block] sum over k in block of p[m, k] q[n, k]
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

from ...formats.blocks import Blocks
from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.listing import is_listed
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat
from .published import recipe as any_recipe
from .quantizer import Quantizer
from .recipe import PRODUCTS, Recipe

_NAMES = ("fprop", "dgrad", "wgrad")
_AXES = {"fprop_x": -1, "fprop_w": -1, "dgrad_e": -1, "dgrad_w": -2, "wgrad_e": -2, "wgrad_x": -2}
"""The contracted axis of each operand, all in two dimensions: x (tokens, inputs), w (outputs, inputs), e alike."""
_FORWARD = {"dgrad_w": "fprop_w", "wgrad_x": "fprop_x"}

TENSOR, ROWS, ELEMENTS, FLAT = 0, -1, -2, -3
"""How a scale varies along the contraction, where it does not in blocks of so many elements: it is one for the tensor,
one for each row, another for each element, or not by rows at all."""
_WORDS = {TENSOR: "one scale", ROWS: "a scale for each row", ELEMENTS: "a scale for each element of the contraction"}


@dataclass(frozen=True, slots=True)
class ProductCheck:
    """What one product takes.

    Args:
        name: 'fprop', 'dgrad' or 'wgrad', with the step of a schedule.
        realizable: whether a matrix unit can compute it.
        precision: 'low' where both factors have formats; 'high' where one has none, so that the other is decoded first.
        scales: how the scales of both factors vary along the contraction, in words.
        problems: why not, and what would help.
        needs: what it takes besides products and sums of elements.
    """

    name: str
    realizable: bool
    precision: str
    scales: tuple[str, str]
    problems: tuple[str, ...]
    needs: tuple[str, ...]

    def __str__(self) -> str:
        head = f"{self.name}: {'realizable' if self.realizable else 'not realizable'} in {self.precision} precision"
        lines = [f"  scales: {self.scales[0]}; {self.scales[1]}"] if self.precision == "low" else []
        return "\n".join(
            [head, *lines, *(f"  problem: {p}" for p in self.problems), *(f"  needs {n}" for n in self.needs)]
        )


@dataclass(frozen=True, slots=True)
class Realizability:
    """What the products of a recipe take.

    Args:
        recipe: its name.
        products: fprop, dgrad and wgrad, of each recipe of its schedule too.
    """

    recipe: str
    products: tuple[ProductCheck, ...]

    @property
    def realizable(self) -> bool:
        """Whether all products are."""
        return all(product.realizable for product in self.products)

    def __str__(self) -> str:
        return "\n".join([f"{self.recipe}", *map(str, self.products)])


def check_realizable(recipe: "str | Recipe") -> Realizability:
    """Whether a matrix unit could implement a recipe's scaling, product by product, and what it would need.

    Args:
        recipe: a recipe or its name.

    Raises:
        ValueError, TypeError: no recipe, or an unknown name.

    Example:
        >>> print(check_realizable("mxfp4").products[0])
        fprop: realizable in low precision
          scales: a scale for each 32 elements; a scale for each 32 elements
          needs sums of 32 products, each multiplied by both scales before it is added
    """
    found = any_recipe(recipe)
    each = [("", found), *((f" from step {step}", later) for step, later in found.schedule)]
    checks = [_product(f"{name}{when}", of, k) for when, of in each for k, name in enumerate(_NAMES)]
    return Realizability(found.name, tuple(checks))


def _product(name: str, recipe: Recipe, k: int) -> ProductCheck:
    operands = [_operand(recipe, operand) for operand in PRODUCTS[k]]
    needs: list[str] = []
    for operand, (quantizer, fmt, _) in zip(PRODUCTS[k], operands):
        needs += _needs(operand, quantizer, fmt)
    prescale = operands[0][0].prescale * operands[1][0].prescale
    if prescale != 1.0:
        needs.append(f"the result times {1 / prescale:.6g}, once")
    layouts = [layout for _, _, layout in operands]
    scales = (_words(layouts[0]), _words(layouts[1]))
    if any(fmt is None for _, fmt, _ in operands):
        kept = [operand for operand, (_, fmt, _) in zip(PRODUCTS[k], operands) if fmt is not None]
        needs += [f"{operand} decoded to the dtype of the other factor" for operand in kept]
        return ProductCheck(name, True, "high", scales, (), tuple(dict.fromkeys(needs)))
    problems = [
        _problem(operand, recipe, layout) for operand, layout in zip(PRODUCTS[k], layouts) if layout in (ELEMENTS, FLAT)
    ]
    sizes = sorted(layout for layout in layouts if layout > 0)
    if sizes and not problems:
        if sizes[-1] % sizes[0]:
            problems.append(
                f"blocks of {sizes[0]} and {sizes[-1]} elements end at different places; give both factors one size, "
                f"or add {gcd(*sizes)} products at a time"
            )
        else:
            scale = "both scales" if len(sizes) == 2 else "the scale"
            needs.append(f"sums of {sizes[0]} products, each multiplied by {scale} before it is added")
    elif not problems and ROWS in layouts:
        needs.append("the result multiplied by the scales of its row and column, once")
    return ProductCheck(name, not problems, "low", scales, tuple(problems), tuple(dict.fromkeys(needs)))


def _operand(recipe: Recipe, name: str) -> tuple[Quantizer, Any, int]:
    """The quantizer that matters, its format, and how its scale varies along the contraction of this product."""
    own: Quantizer = getattr(recipe, name)
    if own.fmt is not None or own.source == "original":
        return own, None if own.fmt is None else any_format(own.fmt), _layout(own.fmt, _AXES[name], True)
    forward: Quantizer = getattr(recipe, _FORWARD[name]) if name in _FORWARD else own
    fmt = None if forward.fmt is None else any_format(forward.fmt)
    return forward, fmt, _layout(forward.fmt, _AXES[name], False)


def _layout(fmt: str | None, axis: int, along: bool) -> int:
    """How scales vary along an axis: `TENSOR`, `ROWS`, ..., or the size of blocks.

    Args:
        along: whether blocks of one axis run along it; otherwise across it.
    """
    resolved: Any = None if fmt is None else any_format(fmt)
    blocks = getattr(resolved, "blocks", None)
    if not isinstance(blocks, Blocks):
        return TENSOR
    if blocks.flat:
        return FLAT
    sizes = {a if a < 0 else a - 2: size for a, size in zip(blocks.axes, blocks.sizes)}
    if blocks.rest == 0:
        return TENSOR if not sizes else ELEMENTS if axis in sizes else ROWS
    if len(sizes) == 1:
        (size,) = sizes.values()
        return (size or ROWS) if along else ELEMENTS
    size = sizes.get(axis, 1)
    return ELEMENTS if size == 1 else size or ROWS


def _words(layout: int) -> str:
    return _WORDS.get(layout, f"a scale for each {layout} elements" if layout > 0 else "blocks of the flattened tensor")


def _problem(operand: str, recipe: Recipe, layout: int) -> str:
    if layout == FLAT:
        return (
            f"{operand} has blocks of the flattened tensor, which do not follow the contraction; use blocks of an axis"
        )
    quantizer: Quantizer = getattr(recipe, operand)
    if quantizer.fmt is None:
        return (
            f"{operand} is taken as {_FORWARD[operand]} left it, with scales that vary along this contraction; "
            "quantize it again along it, or give it one scale or square blocks"
        )
    return f"{operand} has a scale for each element of the contraction; scale along the other axis, or by blocks"


def _needs(operand: str, of: Quantizer, fmt: Any) -> list[str]:
    """What an operand takes besides its scales."""
    found = []
    if of.source == "quantized" and of.active and operand in _FORWARD:
        found.append(f"{operand} from the values of {_FORWARD[operand]}, quantized again along this contraction")
    if of.transform:
        signs = "random signs" if of.transform.startswith("rht") else "no signs"
        found.append(f"a Hadamard transform of {operand} along the contraction ({of.transform}, {signs})")
    if of.outliers:
        found.append(f"a sparse product of the outliers of {operand}, {2 * of.outliers:.3g} of its elements")
    if of.scaling.name == "eden":
        found.append(f"scales of {operand} that are corrected after its elements were rounded")
    if isinstance(fmt, ComplexFormat):
        found.append(f"four real sums for the complex products with {operand}, without multiplications")
    if isinstance(fmt, ResidualFormat):
        found.append(f"one product for each stage of {operand} ({fmt.name})")
    if isinstance(fmt, ScaledFormat):
        if fmt.zero_point:
            found.append(f"sums of the other factor over the elements that share a zero point of {operand}")
        if fmt.outer is not None:
            found.append(f"the result times the outer scale of {operand}, once")
        if fmt.micro:
            found.append(f"elements of {operand} shifted by the exponents of their sub-blocks of {fmt.micro[-1]}")
        if is_listed(fmt.element):
            found.append(f"elements of {operand} looked up in a table ({fmt.element.name})")
    return found
