"""What a recipe adds to the matrix products of a layer: operations, random bits, bytes, energy and time.

The three products of a linear layer, Y (m, n) = X (m, k) W^T, each have m k n multiply-accumulates; the operands are
X (m, k), W (n, k) and E (m, n). For an operand of N elements in B blocks are counted

    elementwise     scaling 1 and rounding 1 an element (rounding alone without scales), twice for each further scale
                    that is tried; 1 for stochastic rounding, signs, a prescale, and each of clamp and rest of outliers;
                    2 a scale for its fit and rounding; 1 to 6 for gradient estimators (`operand_cost.ESTIMATORS`)
    reductions      1 an element for a largest magnitude, mean or quantile (a selection in linear time), 2 for a
                    deviation, or a minimum and maximum, 1 for each scale that is tried, 2 for MS-EDEN's inner products
    transform       log2(size) additions an element; its division is part of the scale's
    random bits     32 an element or scale that is rounded at random, or as many as the rounding says; `size` for signs
    bytes           reads of the source, twice where a scale of the whole tensor must be known first; writes of codes

and for a product

    rescale         m n for each run over which scales stay the same, 1 for their product and 1 to apply it, and m n
                    where a prescale is undone
    sparse macs     of outliers, which multiply in full precision

An operand that serves two products is counted once: the same deterministic quantizer, whose blocks are the same
transposed (one scale a tensor, or square tiles).
"""

from typing import Any, NamedTuple

from ...formats.catalogue import format as any_format
from ...formats.scaled import ScaledFormat
from ..recipes.operands import Operand, operands_of
from ..recipes.published import RECIPES
from ..recipes.published import recipe as any_recipe
from ..recipes.realizable import check_realizable
from ..recipes.recipe import OPERANDS, PRODUCTS, Recipe
from .accelerators import Accelerator, accelerator, roofline, unit_for
from .cost import gemm
from .energy import add_energy, memory_energy, multiply_energy, product_energy, random_energy
from .operand_cost import OperandCost, effective, operand_cost

_CONTRACTED = ("k", "k", "n", "n", "m", "m")
_RESULTS = ("mn", "mk", "nk")


class ProductCost(NamedTuple):
    """What one product costs.

    Args:
        name: 'fprop', 'dgrad' or 'wgrad'.
        macs: multiply-accumulates. sparse_macs: those of outliers, in full precision.
        rescale: operations that apply scales to sums.
        formats: of its factors, in which it multiplies.
        picojoules: of its multiply-accumulates, factors and result.
        seconds: the least time on the accelerator; nan without one.
        unit: that multiplies; empty without an accelerator.
    """

    name: str
    macs: float
    sparse_macs: float
    rescale: float
    formats: tuple[str, str]
    picojoules: float
    seconds: float
    unit: str


class RecipeCost(NamedTuple):
    """What a recipe costs in a layer.

    Args:
        recipe: its name. m, k, n: of the forward product.
        operands, products: their costs.
        picojoules: of all, with quantization.
        seconds: of all; nan without an accelerator.
        quantizing_seconds: the part of it that quantizes.
    """

    recipe: str
    m: int
    k: int
    n: int
    operands: tuple[OperandCost, ...]
    products: tuple[ProductCost, ...]
    picojoules: float
    seconds: float
    quantizing_seconds: float

    @property
    def macs(self) -> float:
        """Multiply-accumulates of the three products."""
        return sum(each.macs for each in self.products)

    @property
    def operations(self) -> float:
        """Operations beside them."""
        return sum(each.operations for each in self.operands) + sum(each.rescale for each in self.products)

    @property
    def overhead(self) -> float:
        """Operations beside the products, for each multiply-accumulate; outliers' count two each."""
        return (self.operations + 2 * sum(each.sparse_macs for each in self.products)) / self.macs

    def table(self) -> Any:
        """The operands, a pandas DataFrame, with the sums in its last row."""
        import pandas

        numbers = [name for name in OperandCost._fields if name not in ("operand", "shape", "shared")]
        sums = {name: sum(getattr(each, name) for each in self.operands) for name in numbers}
        rows = [*(each._asdict() for each in self.operands), {"operand": "all", "shape": None, **sums, "shared": None}]
        return pandas.DataFrame(rows).set_index("operand")


def recipe_cost(
    recipe: "str | Recipe",
    m: int,
    k: int,
    n: int,
    *,
    dtype: str = "bfloat16",
    chip: "str | Accelerator | None" = None,
    memory: str = "dram",
) -> RecipeCost:
    """What a recipe costs in a training step of a linear layer.

    Args:
        recipe: a recipe or its name; of one with a schedule that of its first step.
        m, k, n: tokens, inputs and outputs.
        dtype: format of tensors that are not quantized, and of results.
        chip: an accelerator or its name for times; None for none. Products that a matrix unit cannot scale, or with one
            factor that is not quantized, are computed in `dtype`.
        memory: level of `energy.MEMORY` for bytes.

    Raises:
        ValueError: an unknown name, a size below 1.
        TypeError: a size that is no integer.

    Operations beside products are priced as binary32 additions of 0.9 pJ, sparse products in full precision as a
    multiplication and an addition of it, random bits as Philox4x32-10.

    Example:
        >>> found = recipe_cost("nvfp4", 4096, 4096, 4096)
        >>> round(found.overhead, 3), round(recipe_cost("fp8", 4096, 4096, 4096).overhead, 3)
        (0.127, 0.001)
    """
    found = any_recipe(recipe)
    gemm(found.name, m, k, n)
    sizes = {"m": m, "k": k, "n": n}
    specs = [Operand(*spec) for spec in operands_of(found, "linear")]
    operands = tuple(operand_cost(found, index, specs, sizes, dtype) for index in range(len(OPERANDS)))
    products = tuple(_product(found, index, specs, sizes, dtype, chip, memory) for index in range(len(PRODUCTS)))
    quantizing = float("nan")
    if chip is not None:
        on = accelerator(chip)
        moved = sum(each.bytes_read + each.bytes_written for each in operands) / (on.bandwidth * 1e12)
        rate = on.vector or on.peaks[min(on.peaks, key=lambda unit: on.peaks[unit])]
        quantizing = max(moved, sum(each.operations for each in operands) / (rate * 1e12))
    energy = sum(each.picojoules for each in products) + sum(_operand_energy(each, memory) for each in operands)
    seconds = quantizing + sum(each.seconds for each in products)
    return RecipeCost(found.name, m, k, n, operands, products, energy, seconds, quantizing)


def recipe_costs(m: int, k: int, n: int, **how: Any) -> Any:
    """`recipe_cost` of every published recipe: a pandas DataFrame with one row each.

    Columns: operations beside the products by kind (elementwise, reductions, transform, rescale), random_bits, bytes
    moved by quantization, sparse_macs, overhead (operations for each multiply-accumulate), picojoules and seconds over
    those of the recipe 'identity' (energy, time; the latter with `chip`).

    Args:
        m, k, n, how: as in `recipe_cost`.
    """
    import pandas

    plain = recipe_cost("identity", m, k, n, **how)
    rows = [_summary(recipe_cost(name, m, k, n, **how), plain) for name in RECIPES]
    return pandas.DataFrame(rows).set_index("recipe")


def _summary(found: RecipeCost, plain: RecipeCost) -> dict[str, Any]:
    def total(name: str) -> float:
        return sum(getattr(each, name) for each in found.operands)

    return {
        "recipe": found.recipe,
        **{name: total(name) for name in ("elementwise", "reductions", "transform", "random_bits")},
        "rescale": sum(each.rescale for each in found.products),
        "bytes": total("bytes_read") + total("bytes_written"),
        "sparse_macs": sum(each.sparse_macs for each in found.products),
        "overhead": found.overhead,
        "energy": found.picojoules / plain.picojoules,
        "time": found.seconds / plain.seconds,
    }


def _product(
    recipe: Recipe, index: int, specs: list[Operand], sizes: dict[str, int], dtype: str, chip: Any, memory: str
) -> ProductCost:
    pair = [effective(specs, 2 * index + side) for side in (0, 1)]
    terms, (rows, columns) = sizes[_CONTRACTED[2 * index]], (sizes[axis] for axis in _RESULTS[index])
    check = check_realizable(recipe).products[index]
    low = check.realizable and all(each.fmt for each in pair)
    computed = (pair[0].fmt, pair[1].fmt) if low else (dtype, dtype)
    macs = float(rows * columns * terms)
    sparse = sum(2 * each.outliers for each in (specs[2 * index], specs[2 * index + 1])) * macs
    runs = max((_runs(each, terms) for each in pair), default=0.0) if low else 0.0
    prescale = specs[2 * index].prescale * specs[2 * index + 1].prescale
    rescale = rows * columns * (2 * runs + (prescale != 1.0))
    accumulator = (recipe.accumulator or {}).get("fmt")
    accumulator = "binary32" if accumulator == "kulisch" else accumulator
    first, second, result = *computed, recipe.output or dtype
    energy = product_energy(first, second, rows, terms, columns, out=result, accumulator=accumulator, memory=memory)
    energy += rescale * add_energy(24, integer=False)
    energy += sparse * (multiply_energy(24, 24, integer=False) + add_energy(24, integer=False))
    seconds, unit = float("nan"), ""
    if chip is not None:
        time = roofline(chip, first, second, rows, terms, columns, out=result)
        dense = accelerator(chip).peaks[unit_for(chip, dtype, dtype)]
        seconds, unit = time.seconds + 2 * sparse / (dense * 1e12), time.unit
    return ProductCost(check.name, macs, sparse, rescale, computed, energy, seconds, unit)


def _runs(spec: Operand, terms: int) -> float:
    """Runs of a contraction over which a scale stays the same; 0 without scales."""
    fmt: Any = any_format(spec.fmt)
    if not isinstance(fmt, ScaledFormat):
        return 0.0
    size = spec.sizes[-1] if spec.sizes else 0
    return float(-(-terms // size)) if size else 1.0


def _operand_energy(of: OperandCost, memory: str) -> float:
    moved = memory_energy(8 * (of.bytes_read + of.bytes_written), memory)
    return of.operations * add_energy(24, integer=False) + random_energy(of.random_bits) + moved
