"""What number formats cost: widths of exact accumulators, areas of multiply-accumulate units, bits in memory.

Widths and bits are exact. Areas come from this library's gate-level model, which is no synthesis for an FPGA: where the
published numbers are lookup tables of one, the study asks whether the model ranks formats alike. Accuracy is the
least mean squared error of a format over its scale, by exact integration, for random weights and activations.

    product error = error of weights (Gaussian) + error of activations (Student's t, 5 degrees of freedom)

both relative to the variance, as for independent factors of a long sum, to first order.
"""

from collections.abc import Iterable
from math import ceil, log2
from typing import Any, NamedTuple

import numpy as np
import pandas

from ..emulate.packing import pack
from ..formats.catalogue import format as any_format
from ..formats.exact import numbers
from ..sim.costs.area import PUBLISHED, mac_area, minifloat_over_integer
from ..sim.costs.cost import accumulator_bits, stored_bits, weight_bits
from .claims import FORMULA, Claim, Measured
from .errors.densities import GAUSSIAN, STUDENT
from .errors.exact import best_scale, cells_of
from .figures import COLOURS, MARKERS, canvas
from .rules import Between, Equal, Printed, Within
from .study import Context, Findings, Picture, Study

MINIFLOATS = "arXiv:2311.12359"
DEPTH = 4608
"""Terms of a sum: a 3x3 convolution of 512 channels."""
WIDTHS = {"e2m1": "22", "e2m3": "26", "e3m2": "32", "e3m4": "36", "e4m3": "50", "e5m2": "80", "int4": "22",
          "int8": "30"}  # fmt: skip
"""Bits of the accumulator by format, as recomputed from the paper's formulas."""
BITS = range(3, 9)
STORED = {
    "nf4_dq": ("4.12695", "NF4 in blocks of 64, with 8-bit scales in groups of 256", "arXiv:2311.12023"),
    "mxfp4": ("4.25", "MXFP4", "OCP Microscaling Formats v1.0"),
    "mxfp6_e2m3": ("6.25", "MXFP6", "OCP Microscaling Formats v1.0"),
    "mxfp8_e4m3": ("8.25", "MXFP8", "OCP Microscaling Formats v1.0"),
    "nvfp4": ("4.5", "NVFP4, the scale of the tensor aside,", "arXiv:2509.25149"),
}
"""Bits an element: as printed, what it is, where."""
BLOCK_BYTES = {"mxfp4": 17, "mxfp6_e2m3": 25, "mxfp8_e4m3": 33}
SHAPE = (4096, 4096)
SMALL = 1e-5
"""Bits an element that scales of a whole tensor of this shape come to at most."""


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    *(_claim(f"accumulator_{name}", f"Sums of {DEPTH} products of {name.upper()} need {width} bits (recomputed).",
             MINIFLOATS, width, Printed()) for name, width in WIDTHS.items()),
    _claim("accumulators_suffice", "No sum overflows such an accumulator: at most as many bits are needed, for all "
           "minifloats and integers of 3 to 8 bits, and up to 65536 terms.", MINIFLOATS, True, Equal()),
    _claim("integers_exact", "Integers of N and M bits need ceil(a + log2(1 + 2**-a) + 1) bits, a = log2 K + N + M - "
           "2: no fewer serve (2 to 8 bits, up to 65536 terms).", "arXiv:2308.13504", True, Equal()),
    _claim("area_range", "Units of minifloats of 4 to 8 bits take 20 to 180% more area than integer ones of as many "
           "bits (share of the 20 minifloats inside).", f"{MINIFLOATS}, LUTs of an FPGA", 1.0, Between(low=1.0)),
    _claim("area_median", "The median of them does (more area, as a share).", f"{MINIFLOATS}, LUTs of an FPGA",
           PUBLISHED[0], Between(*PUBLISHED)),
    _claim("minifloats_win", "From 4 bits on the best minifloat is more accurate than integers of as many bits "
           "(Gaussian weights, Student-t activations, least product error).", MINIFLOATS, True, Equal()),
    _claim("integers_often_optimal", "Counting area, integers are often Pareto-optimal (share of INT3 to INT8 that no "
           "other format beats in area and product error).", MINIFLOATS, 0.5, Between(low=0.5)),
    *(_claim(f"stored_{name}", f"{what} takes {bits} bits an element.", source, bits, Printed())
      for name, (bits, what, source) in STORED.items()),
    _claim("double_quantization", "Quantizing the scales of NF4 saves 0.373 bits an element.",
           "arXiv:2305.14314", "0.373", Printed()),
    _claim("block_bytes", "A packed block of 32 takes 17 bytes in MXFP4, 25 in MXFP6, 33 in MXFP8.",
           "OCP Microscaling Formats v1.0", list(BLOCK_BYTES.values()), Equal()),
    _claim("ternary", "A ternary weight holds 1.58 bits.", "arXiv:2402.17764", "1.58", Printed()),
    _claim("phases", "A real matrix as phases of its two widely-linear parts takes 1 bit an element, scales aside.",
           "arXiv:2508.05571", 1.0, Within(absolute=0.01, why="scales of rows or tensors")),
)  # fmt: skip


def minifloats(bits: int) -> list[str]:
    """ExMy of so many bits, with two exponent bits and more."""
    return [f"e{e}m{bits - 1 - e}" for e in range(2, bits)]


def every(bits: Iterable[int] = BITS) -> list[str]:
    """All formats of these widths, integers first in each."""
    return [name for width in bits for name in (f"int{width}", *minifloats(width))]


def integer_accumulator(n: int, m: int, k: int) -> int:
    """Bits for the sum of k products of signed integers (arXiv:2308.13504)."""
    a = log2(k) + n + m - 2
    return ceil(a + log2(1 + 2**-a) + 1)


class Cost(NamedTuple):
    """A format's unit and what it computes.

    Args:
        format: its name. bits: its width.
        accumulator: bits of the exact accumulator. area: of the unit, in NAND2 equivalents.
        weights, activations: least mean squared errors over the variance.
    """

    format: str
    bits: int
    accumulator: int
    area: float
    weights: float
    activations: float

    @property
    def error(self) -> float:
        """Of products."""
        return self.weights + self.activations

    @property
    def integer(self) -> bool:
        """Whether it is one."""
        return self.format.startswith("int")


def cost(name: str, depth: int = DEPTH) -> Cost:
    """Of a format for both factors."""
    fmt = any_format(name)
    cells = cells_of(fmt)
    errors = [best_scale(cells, density)[1] for density in (GAUSSIAN, STUDENT)]
    return Cost(name, fmt.bits, accumulator_bits(name, name, depth), mac_area(name, name, depth).total, *errors)


def pareto(costs: Iterable[Cost]) -> list[Cost]:
    """Those that no other one equals in area and error and beats in one of them, by area."""
    best, found = np.inf, []
    for each in sorted(costs, key=lambda each: (each.area, each.error)):
        if each.error < best:
            best = each.error
            found.append(each)
    return found


def with_premium(costs: Iterable[Cost], least: float = PUBLISHED[0]) -> list[Cost]:
    """Costs as if no minifloat took less than so much more area than the integer of its width."""
    found = list(costs)
    integers = {each.bits: each.area for each in found if each.integer}
    return [
        each if each.integer else each._replace(area=max(each.area, (1 + least) * integers[each.bits]))
        for each in found
    ]


def _accumulators() -> dict[str, Measured]:
    depths = (1, 2, 9, 100, 128, 1024, DEPTH, 65536)
    enough = all(accumulator_bits(f, f, k, tight=True) <= accumulator_bits(f, f, k) for f in every() for k in depths)
    pairs = [(n, m, k) for n in range(2, 9) for m in range(2, 9) for k in depths]
    exact = all(integer_accumulator(n, m, k) == accumulator_bits(f"int{n}", f"int{m}", k, tight=True)
                for n, m, k in pairs)  # fmt: skip
    tight = {name: accumulator_bits(name, name, DEPTH, tight=True) for name in WIDTHS}
    return {
        **{f"accumulator_{name}": Measured(accumulator_bits(name, name, DEPTH), note=f"The fewest bits are {fewest}.")
           for name, fewest in tight.items()},
        "accumulators_suffice": Measured(enough),
        "integers_exact": Measured(exact),
    }  # fmt: skip


def _areas(costs: list[Cost]) -> dict[str, Measured]:
    over = {name: share for bits in BITS if bits > 3 for name, share in minifloat_over_integer(bits, DEPTH).items()}
    low, high = PUBLISHED
    cheap = [name.upper() for name, share in over.items() if share < low]
    dear = [name.upper() for name, share in over.items() if share > high]
    inside = len(over) - len(cheap) - len(dear)
    best = {bits: min((each for each in costs if each.bits == bits), key=lambda each: each.error) for bits in BITS}
    kept, dearer = (sum(each.integer for each in pareto(some)) for some in (costs, with_premium(costs)))
    note = (
        f"{inside} of {len(over)}. In gates {', '.join(cheap)} stay below, since a smaller multiplier pays for the "
        f"shifter; {', '.join(dear)} are above, since the exact accumulator grows with 2**E."
    )
    return {
        "area_range": Measured(inside / len(over), note=note),
        "area_median": Measured(float(np.median(list(over.values())))),
        "minifloats_win": Measured(
            not any(best[bits].integer for bits in BITS if bits > 3),
            note="Best: " + ", ".join(f"{bits} bits {each.format.upper()}" for bits, each in best.items()) + ".",
        ),
        "integers_often_optimal": Measured(
            kept / len(BITS),
            note=f"On the front: {', '.join(each.format.upper() for each in pareto(costs))}. If every minifloat took "
            f"at least 20% more area, as published, {dearer} of {len(BITS)} integers would be.",
        ),
    }


def _storage() -> dict[str, Measured]:
    """Bits and bytes, of stored codes and scales."""
    per_element = {name: stored_bits(name, SHAPE).total / (SHAPE[0] * SHAPE[1]) for name in (*STORED, "nf4_block64")}
    block = np.linspace(-1, 1, 32, dtype=np.float32)
    packed = [int(pack(block, name).nbytes) for name in BLOCK_BYTES]
    tensor_scale = 32 / (SHAPE[0] * SHAPE[1])
    return {
        **{f"stored_{name}": Measured(per_element[name]) for name in STORED},
        "double_quantization": Measured(per_element["nf4_block64"] - per_element["nf4_dq"]),
        "stored_nvfp4": Measured(per_element["nvfp4"] - tensor_scale),
        "block_bytes": Measured(packed),
        "ternary": Measured(log2(len(numbers(any_format("ternary")))), note="Stored in 2 bits here."),
        "phases": Measured(weight_bits("phase", SHAPE)),
    }


def _area_picture(costs: list[Cost]) -> Picture:
    figure, (left, right) = canvas(columns=2, height=3.0)
    front = pareto(costs)
    right.plot([each.area for each in front], [each.error for each in front], color="0.6", lw=1, zorder=0)
    for exponent in (0, *range(2, 8)):
        chosen = [each for each in costs if _exponent(each) == exponent]
        style = {"color": COLOURS[exponent - 1 if exponent else 0], "marker": MARKERS[exponent - 1 if exponent else 0]}
        label = f"E{exponent}" if exponent else "integer"
        left.plot([each.bits for each in chosen], [each.area for each in chosen], label=label, **style)
        right.plot([each.area for each in chosen], [each.error for each in chosen], ls="", **style)
    ticks = (250, 500, 1000, 2000, 4000)
    left.set(xlabel="bits", ylabel="area of the unit (NAND2)", yscale="log", xticks=list(BITS))
    right.set(xlabel="area of the unit (NAND2)", ylabel="product error / variance", xscale="log", yscale="log")
    right.set(xlim=(170, 5800), ylim=(2e-4, 0.2))
    for axis in (left.yaxis, right.xaxis):
        axis.set_ticks(ticks, labels=[str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    left.legend(loc="upper left", ncols=2)
    for each in front:
        # Neighbours on the front have two exponent bits or three: labels on two sides do not meet.
        place, side = ((6, 2), "left") if each.format.startswith("e3") else ((-5, -6), "right")
        right.annotate(
            each.format.upper(), (each.area, each.error), place, textcoords="offset points", fontsize=6, ha=side
        )
    caption = (
        "Multiply-accumulate units with exact accumulators for 4608 products. Left: area by bits. Right: area against "
        "error; the line joins what is Pareto-optimal."
    )
    return Picture(figure, caption)


def _exponent(each: Cost) -> int:
    return 0 if each.integer else int(each.format[1])


def _accumulator_picture() -> Picture:
    figure, axes = canvas(width=4.2, height=3.0)
    exponents, mantissas = range(2, 6), range(8)
    widths = np.array([[accumulator_bits(f"e{e}m{m}", f"e{e}m{m}", DEPTH) for m in mantissas] for e in exponents])
    image = axes.imshow(widths, cmap="viridis", vmin=16, vmax=96, aspect="auto")
    for (row, column), width in np.ndenumerate(widths):
        axes.text(
            column, row, str(width), ha="center", va="center", fontsize=7, color="white" if width < 60 else "black"
        )
    axes.set(xticks=range(len(mantissas)), xticklabels=[str(m) for m in mantissas], xlabel="mantissa bits",
             yticks=range(len(exponents)), yticklabels=[str(e) for e in exponents], ylabel="exponent bits")  # fmt: skip
    axes.grid(False)
    figure.colorbar(image, ax=axes, label="bits of the accumulator")
    return Picture(figure, f"Bits of an exact accumulator for {DEPTH} products of two minifloats.")


def run(context: Context) -> Findings:
    """Compute all of it; some seconds at any scale."""
    context.report(0, 2, "areas and errors")
    costs = [cost(name) for name in every()]
    table = pandas.DataFrame(costs, columns=list(Cost._fields))
    context.report(1, 2, "accumulators and storage")
    measured = {**_accumulators(), **_areas(costs), **_storage()}
    pictures = {"area": _area_picture(costs), "accumulators": _accumulator_picture()}
    return Findings(measured, {"costs": table.assign(error=[each.error for each in costs])}, pictures)


STUDY = Study(
    "hardware_cost",
    "What number formats cost in hardware and memory",
    "Which accumulators, which area and how many bits do low-precision formats need?",
    (MINIFLOATS, "arXiv:2308.13504", "arXiv:2311.12023", "arXiv:2305.14314", "arXiv:2402.17764", "arXiv:2508.05571"),
    CLAIMS,
    run,
)
