"""A recipe as plain tuples, which compilers can read: what each operand of a product needs, by name and number."""

from functools import lru_cache
from typing import Any, NamedTuple

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.scaled import ScaledFormat
from .quantizer import GRADIENTS, Quantizer
from .recipe import OPERANDS, Recipe

TILES = {"convolution": (0, 1), "transposed": (0, 1)}
"""The axes of blocks in two dimensions where these are not the last two: channels, rather than places of a kernel."""

AXES: dict[str, tuple[int, int, int, int, int, int]] = {
    #            fprop x, w   dgrad e, w   wgrad e, x
    "linear": (-1, -1, -1, -2, -2, -2),  # x (..., m, k), w (n, k)
    "matmul": (-1, -2, -1, -1, -2, -2),  # a (..., m, k), b (..., k, n)
    "convolution": (1, 1, 1, 0, 0, 0),  # x (n, c, ...), w (o, c, ...); wgrad along the batch
    "transposed": (1, 0, 1, 1, 0, 0),  # x (n, c, ...), w (c, o, ...)
}
"""The axis of each operand along which its product is contracted; of convolutions one of several."""


class Operand(NamedTuple):
    """What a framework needs to quantize one operand; strings, numbers and tuples of them only.

    Args:
        fmt: name of the format; empty for none.
        rounding, overflow, scale_rounding: as in `halfulp.quantize`; empty for the default.
        scaling, gradient: name and parameters in the order of the tables in `quantizer`.
        transform: name, or empty.
        quantized: whether a backward operand is taken from what the forward product made.
        prescale, outliers: as in `Quantizer`.
        axis: of the contraction.
        along: the axes along which blocks of the format run; none where they have no axes.
        block: elements of a block along the axis; 0 for the whole axis, -1 where blocks are not along it alone.
        largest: the largest element of the format.
        follows: whether scales follow the data.
        stream: of random words.
        pad: whether blocks may be ragged.
        element: name of the format of elements, where scales are given to it; else empty.
        sizes: elements of a block along each of those axes; 0 for a whole axis.
    """

    fmt: str
    rounding: str
    overflow: str
    scale_rounding: str
    scaling: tuple[Any, ...]
    gradient: tuple[Any, ...]
    transform: str
    quantized: bool
    prescale: float
    outliers: float
    axis: int
    along: tuple[int, ...]
    block: int
    largest: float
    follows: bool
    stream: int
    pad: bool
    sizes: tuple[int, ...]
    element: str

    @property
    def through_scale(self) -> int:
        """What of the derivative of an absmax scale the gradient has: 0 nothing, 1 its share, 2 the whole Jacobian."""
        name, *parameters = self.gradient or ("",)
        known = {"absmax": 1, "absmax_full": 2}
        return int(parameters[-1]) if "scale" in GRADIENTS.get(name, ()) else known.get(name, 0)


@lru_cache(maxsize=1024)
def operands_of(recipe: Recipe, kind: str) -> tuple[tuple[Any, ...], ...]:
    """The six operands of a recipe in a kind of product, as plain tuples in the order of `OPERANDS`."""
    return tuple(
        tuple(_operand(getattr(recipe, name), axis, stream, recipe.pad, TILES.get(kind, (-2, -1))))
        for stream, (name, axis) in enumerate(zip(OPERANDS, AXES[kind]))
    )


def _operand(of: Quantizer, axis: int, stream: int, pad: bool, tile: tuple[int, int]) -> Operand:
    fmt: Any = None if of.fmt is None else any_format(of.fmt)
    along, sizes, follows, element = (), (), False, fmt
    if isinstance(fmt, ScaledFormat):
        if fmt.blocks.rest == 1:
            sizes = fmt.blocks.sizes if not fmt.blocks.flat else ()
            along = {0: (), 1: (axis,), 2: tile}.get(len(sizes), fmt.blocks.axes)
        follows, element = fmt.rule.statistic != "static", fmt.element
    largest = 0.0 if element is None or isinstance(element, ComplexFormat) else float(max(element.max, -element.min))
    return Operand(
        of.fmt or "",
        of.rounding or "",
        of.overflow or "",
        of.scale_rounding or "",
        (of.scaling.name, *(value for _, value in of.scaling.parameters)),
        (of.gradient.name, *(value for _, value in of.gradient.parameters)),
        of.transform or "",
        of.source == "quantized",
        of.prescale,
        of.outliers,
        axis,
        along,
        sizes[0] if len(sizes) == 1 else -1,
        largest,
        follows,
        stream + 1,
        pad,
        sizes,
        "" if element is None or element is fmt else element.spec,
    )
