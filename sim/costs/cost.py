"""What formats cost: bits stored, bytes moved, bit operations, and the width of an exact accumulator.

Everything here is a pure function of formats and shapes. A product has m rows of a (m, k), k terms in each sum, and n
columns of b (k, n): m k n multiplications and additions, each pair of which is one *multiply-accumulate*.
"""

from collections.abc import Sequence
from math import ceil, gcd, log2, prod
from typing import Any, NamedTuple

from ...emulate.packing import stream_bits, stream_shapes
from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.codebooks import ChannelCodebooks
from ...formats.complexes import ComplexFormat
from ...formats.dyadic import power
from ...formats.floats import FloatFormat
from ...formats.integers import IntFormat
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from .factors import factors_of, span_of

BIT_OPERATIONS = {
    "product": "b_a * b_b for each multiply-accumulate (HAWQ-V3, arXiv:2011.10680)",
    "uniq": "b_a * b_b + b_a + b_b + log2 k for each, which counts the addition too (UNIQ, arXiv:1804.10969)",
}
"""How bit operations are counted."""
_WIDEST_GRID = 1 << 16


class Gemm(NamedTuple):
    """The product of a layer: what it multiplies, by size.

    Args:
        name: of the layer.
        m, k, n: rows, terms of each sum, and columns; of a convolution m counts the places of all images, k the
            channels of a group times the places of the kernel, and n the outputs of a group.
        times: how many such products there are: groups, heads, images.
        weight: shape of the weight as it is stored; None where both factors are activations.
        types: names of the layer's class and those it derives from, which rules may match.
    """

    name: str
    m: int
    k: int
    n: int
    times: int = 1
    weight: tuple[int, ...] | None = None
    types: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward product."""
        return self.m * self.k * self.n * self.times


def gemm(name: str, m: int, k: int, n: int, times: int = 1, *, weight: bool = True) -> Gemm:
    """A checked `Gemm`.

    Args:
        weight: whether the second factor is a stored weight, (n, k) for each of the products.

    Raises:
        ValueError: a size below 1.
        TypeError: a size that is no integer.

    Example:
        >>> gemm("mlp.up", 4096, 768, 3072).macs
        9663676416
    """
    for what, size in (("m", m), ("k", k), ("n", n), ("times", times)):
        _positive(f"{name}: {what}", size)
    return Gemm(name, m, k, n, times, (n * times, k) if weight else None)


class StoredBits(NamedTuple):
    """Bits of an array in memory.

    Args:
        elements: of the codes.
        scales: of scales of all levels, zero points, micro exponents and tables.
    """

    elements: int
    scales: int

    @property
    def total(self) -> int:
        """All bits."""
        return self.elements + self.scales


def stored_bits(
    fmt: "str | AnyFormat", shape: Sequence[int], axis: "int | tuple[int, ...] | None" = None, *, matrix: bool = False
) -> StoredBits:
    """Bits that an array takes in a format, as `halfulp.pack` counts them before each stream is filled to whole bytes.

    Args:
        fmt: a format or its name.
        shape: of the array; a last block may be ragged.
        axis: along which blocks run, as in `halfulp.quantize`; None for the format's own.
        matrix: of a complex format, that the array is a real matrix, stored as its two widely-linear complex parts of
            a quarter of its size each (arXiv:2508.05571).

    Raises:
        ValueError: an unknown format, a negative length, or an axis that goes with neither format nor shape.

    Example:
        >>> stored_bits("mxfp4", (128, 256))
        StoredBits(elements=131072, scales=8192)
    """
    found, lengths = any_format(fmt), tuple(shape)
    if any(length < 0 for length in lengths):
        raise ValueError(f"expected lengths of 0 and more, got shape {lengths}")
    if isinstance(found, ResidualFormat):
        stages = [
            stored_bits(stage, lengths, axis if isinstance(stage, ScaledFormat) else None) for stage in found.open
        ]
        return StoredBits(sum(each.elements for each in stages), sum(each.scales for each in stages))
    if isinstance(found, ChannelCodebooks):
        return StoredBits(found.bits * prod(lengths), 32 * sum(len(book.values) for book in found.books))
    if isinstance(found, ScaledFormat) and axis is not None:
        found = found.along(axis)
    times = 1
    if isinstance(found, ComplexFormat) and matrix:
        if len(lengths) != 2 or lengths[0] % 2 or lengths[1] % 2:
            raise ValueError(f"{found.name} takes a matrix of even numbers of rows and columns, got shape {lengths}")
        lengths, times = (lengths[0] // 2, lengths[1] // 2), 2
    widths, shapes = stream_bits(found, "float32"), stream_shapes(found, lengths)
    bits = {name: times * widths[name] * prod(shapes[name]) for name in shapes}
    return StoredBits(bits.pop("elements"), sum(bits.values()))


def weight_bits(fmt: "str | AnyFormat", shape: Sequence[int], along: tuple[int, ...] = ()) -> float:
    """Storage bits of an element of a weight, with its share of scales.

    Args:
        fmt: a format or its name. A complex one stores a real matrix as its two widely-linear parts.
        shape: of the weight.
        along: axes that blocks run along; the format's own where there are none, or the weight has fewer axes.

    Returns:
        nan for a complex format of what is no matrix of even numbers of rows and columns, which it does not take.

    Raises:
        ValueError: as `stored_bits`.

    Example:
        >>> weight_bits("mxfp4", (64, 256)), weight_bits("phase", (64, 256))
        (4.25, 1.0078125)
    """
    lengths = tuple(shape)
    if isinstance(any_format(fmt), ComplexFormat) and (len(lengths) != 2 or any(length % 2 for length in lengths)):
        return float("nan")
    axis = along if along and len(lengths) > max(along) else None
    return stored_bits(fmt, lengths, axis, matrix=True).total / max(prod(lengths), 1)


def bit_operations(a: "str | AnyFormat", b: "str | AnyFormat", m: int, k: int, n: int, rule: str = "product") -> float:
    """Bit operations of a product of formats, scales aside.

    Args:
        a, b: formats of the factors. Of a sum of formats every stage counts.
        m, k, n: as the module says.
        rule: one of `BIT_OPERATIONS`.

    Raises:
        ValueError: an unknown format or rule, or a size below 1.

    Example:
        >>> bit_operations("mxfp4", "int8_per_row", 1, 32, 1)
        1024.0
    """
    if rule not in BIT_OPERATIONS:
        raise ValueError(unknown("rule of bit operations", rule, BIT_OPERATIONS))
    macs = _macs(m, k, n)
    pairs = [(x.stored, y.stored) for x in factors_of(a) for y in factors_of(b)]
    each = sum(x * y + (x + y + log2(k) if rule == "uniq" else 0) for x, y in pairs)
    return float(macs * each)


def accumulator_bits(a: "str | AnyFormat", b: "str | AnyFormat", k: int, *, tight: bool = False) -> int:
    """Bits of a fixed-point accumulator that holds the sum of k products without error.

        integers of r bits        r_a + r_b + ceil(log2 k) + 1
        minifloats ExMy           2**e_a + m_a + 2**e_b + m_b + ceil(log2 k) - 1

    (arXiv:2311.12359; specials are not looked at.) Of anything else, and where `tight`, the fewest bits of two's
    complement that hold every such sum of the formats' own values.

    Args:
        a, b: formats of the factors. Of scaled formats, of the elements of a block, since scales are taken out of the
            sum: k is at most the longest run over which both scales stay the same.
        k: terms of each sum.
        tight: the fewest bits, also of integers and minifloats.

    Raises:
        ValueError: k below 1, or values without a common grid of at most 65536 steps of 2 (logarithmic formats).

    Example:
        >>> accumulator_bits("fp8_e4m3", "fp8_e4m3", 4608), accumulator_bits("int8", "int8", 4608)
        (50, 30)
        >>> accumulator_bits("mxfp4", "mxfp4", 4608), accumulator_bits("int8", "int8", 4608, tight=True)
        (14, 28)
    """
    first, second = any_format(a), any_format(b)
    terms = longest_run(first, second, k)
    x, y = _plain(first), _plain(second)
    growth = ceil(log2(terms))
    if not tight:
        if isinstance(x, IntFormat) and isinstance(y, IntFormat):
            return x.bits + y.bits + growth + 1
        if isinstance(x, FloatFormat) and isinstance(y, FloatFormat):
            spans = [(1 << each.exponent_bits) + each.mantissa_bits for each in (x, y)]
            return sum(spans) + growth - 1
    return _tight(x, y, terms)


def _tight(x: Any, y: Any, terms: int) -> int:
    """Bits of two's complement, or of an unsigned number where no product is negative."""
    (low_x, high_x, unit_x), (low_y, high_y, unit_y) = _grid(x), _grid(y)
    corners = [terms * p * q for p in (low_x, high_x) for q in (low_y, high_y)]
    low, high = (int(bound / (unit_x * unit_y)) for bound in (min(corners), max(corners)))
    return high.bit_length() if low >= 0 else max(high.bit_length(), (-low - 1).bit_length()) + 1


def _grid(fmt: Any) -> tuple[Any, Any, Any]:
    """The smallest and the largest value of a format, and a number of which every value is a multiple."""
    of = span_of(fmt)
    if of is None or of.top - of.quantum > _WIDEST_GRID:
        raise ValueError(f"{fmt.name}: its values have no common grid, so that no fixed-point accumulator is exact")
    return fmt.min, fmt.max, power(of.quantum)


def _plain(fmt: Any) -> Any:
    """The unscaled format of the numbers that are added."""
    if isinstance(fmt, ScaledFormat):
        return fmt.element
    if isinstance(fmt, ResidualFormat | ComplexFormat | ChannelCodebooks):
        raise ValueError(
            f"{fmt.name} has no numbers of one grid; ask for a stage, a table or int2 (the units of complex formats)"
        )
    return fmt


def longest_run(a: "str | AnyFormat", b: "str | AnyFormat", k: int) -> int:
    """The most terms of a sum of k over which the scales of both factors stay the same."""
    _positive("k", k)
    pair = any_format(a), any_format(b)
    sizes = [
        fmt.blocks.sizes[-1] for fmt in pair if isinstance(fmt, ScaledFormat) and fmt.blocks.sizes and fmt.blocks.rest
    ]
    sizes = [size for size in sizes if size]
    return min(k, gcd(*sizes)) if sizes else k


def product_bytes(
    a: "str | AnyFormat", b: "str | AnyFormat", m: int, k: int, n: int, out: "str | AnyFormat" = "bfloat16"
) -> float:
    """Bytes that a product reads and writes at least: both factors once, with their scales, and the result.

    Args:
        a, b: formats of the factors, (m, k) and (n, k), whose blocks run along k.
        out: format of the result (m, n).

    Example:
        >>> product_bytes("mxfp8", "mxfp8", 1, 64, 2, "binary32")
        206.0
    """
    _macs(m, k, n)
    bits = stored_bits(a, (m, k)).total + stored_bits(b, (n, k), matrix=True).total + stored_bits(out, (m, n)).total
    return bits / 8


def _macs(m: int, k: int, n: int) -> int:
    for what, size in (("m", m), ("k", k), ("n", n)):
        _positive(what, size)
    return m * k * n


def _positive(what: str, size: Any) -> None:
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"{what}: expected an integer, got {size!r}")
    if size < 1:
        raise ValueError(f"{what}: expected 1 or more, got {size}")
