"""Named accelerators by their published peaks, and how long a product takes at least: the roofline.

Peaks are dense, in 10**12 operations a second, a multiplication and an addition counting two; structured sparsity is
left out. Time is max(operations / peak, bytes / bandwidth) (S. Williams, A. Waterman and D. Patterson, Roofline, CACM
52(4), 2009): a bound from below that no kernel reaches, not a forecast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.dyadic import power
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from .cost import product_bytes
from .factors import DECODED, factors_of, span_of

UNITS: Mapping[str, tuple[str, ...]] = {
    "int4": ("int4", "uint4"),
    "fp4": ("fp4_e2m1",),
    "fp6": ("fp6_e3m2", "fp6_e2m3", "fp4_e2m1"),
    "int8": ("int8", "uint8"),
    "fp8": ("fp8_e4m3", "fp8_e5m2"),
    "fp8_fnuz": ("fp8_e4m3fnuz", "fp8_e5m2fnuz"),
    "bf16": ("bfloat16",),
    "fp16": ("binary16",),
    "tf32": ("tf32",),
    "fp32": ("binary32",),
}
"""What elements each kind of matrix unit multiplies; the two factors may be different ones of a row. Where a unit takes
no unsigned integers, they lose an offset first, which sums of the other factor undo."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A chip.

    Args:
        name: by which it is found.
        peaks: 10**12 dense operations a second, by unit; `UNITS` says what each multiplies.
        bandwidth: of its memory, 10**12 bytes a second.
        memory: 10**9 bytes, as published; some vendors mean 2**30.
        vector: 10**12 operations a second of ordinary binary32 arithmetic, or None where it is not published.
        source: the vendor's document that publishes the numbers.

    Raises:
        ValueError: an unknown unit, none, or a number that is not positive.
    """

    name: str
    peaks: Mapping[str, float]
    bandwidth: float
    memory: float
    vector: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for unit in self.peaks:
            if unit not in UNITS:
                raise ValueError(unknown("unit", unit, UNITS))
        numbers = [*self.peaks.values(), self.bandwidth, self.memory, 1.0 if self.vector is None else self.vector]
        if not self.peaks or not all(0 < number < float("inf") for number in numbers):
            raise ValueError(f"{self.name}: expected units with positive peaks, and a positive bandwidth and memory")


_A100 = {"tf32": 156.0, "bf16": 312.0, "fp16": 312.0, "int8": 624.0, "int4": 1248.0, "fp32": 19.5}
_H100 = {"tf32": 494.7, "bf16": 989.4, "fp16": 989.4, "fp8": 1978.9, "int8": 1978.9, "fp32": 66.9}
_B200 = {"tf32": 1100.0, "bf16": 2250.0, "fp16": 2250.0, "fp8": 4500.0, "fp6": 4500.0, "int8": 4500.0, "fp4": 9000.0,
         "fp32": 75.0}  # fmt: skip
_MI300X = {"tf32": 653.7, "bf16": 1307.4, "fp16": 1307.4, "fp8_fnuz": 2614.9, "int8": 2614.9, "fp32": 163.4}
_MI355X = {"bf16": 2516.6, "fp16": 2516.6, "fp8": 5033.2, "int8": 5033.2, "fp6": 10066.3, "fp4": 10066.3, "fp32": 157.3}

ACCELERATORS: dict[str, Accelerator] = {
    chip.name: chip
    for chip in (
        Accelerator("a100", _A100, 2.039, 80.0, 19.5, "NVIDIA A100 Tensor Core GPU datasheet, 80GB SXM"),
        Accelerator(
            "h100", _H100, 3.35, 80.0, 66.9, "NVIDIA H100 Tensor Core GPU Architecture white paper and datasheet, SXM5"
        ),
        Accelerator("h200", _H100, 4.8, 141.0, 66.9, "NVIDIA H200 Tensor Core GPU datasheet, SXM; units of the H100"),
        Accelerator(
            "b200", _B200, 7.7, 180.0, 75.0, "NVIDIA Blackwell datasheet, one GPU of an HGX B200, sparse peaks halved"
        ),
        Accelerator("mi300x", _MI300X, 5.3, 192.0, 163.4, "AMD Instinct MI300X data sheet"),
        Accelerator(
            "mi355x", _MI355X, 8.0, 288.0, 157.3, "AMD Instinct MI355X product page; more digits by cores and clock"
        ),
        Accelerator("tpu_v4", {"bf16": 275.0, "int8": 275.0}, 1.2, 32.0, None, "Google Cloud documentation, TPU v4"),
        Accelerator(
            "tpu_v5e", {"bf16": 197.0, "int8": 393.0}, 0.819, 16.0, None, "Google Cloud documentation, TPU v5e"
        ),
        Accelerator("tpu_v5p", {"bf16": 459.0}, 2.765, 95.0, None, "Google Cloud documentation, TPU v5p"),
        Accelerator(
            "tpu_v6e",
            {"bf16": 918.0, "int8": 1836.0},
            1.638,
            32.0,
            None,
            "Google Cloud documentation, TPU v6e; bandwidth: TPU7x",
        ),
        Accelerator(
            "tpu7x", {"bf16": 2307.0, "fp8": 4614.0}, 7.38, 192.0, None, "Google Cloud documentation, TPU7x (Ironwood)"
        ),
    )
}
"""Accelerators by name. Numbers were compared in November 2026, Google's with its pages, NVIDIA's and AMD's with copies
of their tables by others. AMD rounds those of the MI355X to two digits; more follow from 1024 matrix cores at 2.4 GHz
with 512 multiply-adds of bfloat16 a clock, twice as many in 8 bits and four times in FP6 and FP4."""


def accelerator(name: "str | Accelerator") -> Accelerator:
    """The accelerator of that name; one of your own is returned as it is.

    Raises:
        ValueError: an unknown name, with the nearest known ones.
        TypeError: neither a name nor an `Accelerator`.
    """
    if isinstance(name, Accelerator):
        return name
    if not isinstance(name, str):
        raise TypeError(f"expected the name of an accelerator or an Accelerator, got {type(name).__name__}")
    if name.lower() not in ACCELERATORS:
        raise ValueError(unknown("accelerator", name, ACCELERATORS))
    return ACCELERATORS[name.lower()]


def list_accelerators() -> Any:
    """The known accelerators, a pandas DataFrame: peak of each unit, bandwidth, memory, vector peak, source."""
    import pandas

    rows = [
        {"name": chip.name, **chip.peaks, "bandwidth": chip.bandwidth, "memory": chip.memory, "vector": chip.vector,
         "source": chip.source}
        for chip in ACCELERATORS.values()
    ]  # fmt: skip
    columns = ["name", *UNITS, "bandwidth", "memory", "vector", "source"]
    return pandas.DataFrame(rows, columns=columns).set_index("name")


def unit_for(chip: "str | Accelerator", a: "str | AnyFormat", b: "str | AnyFormat") -> str:
    """The fastest unit of a chip that multiplies elements of both formats exactly.

    An element goes to a unit whose format holds each of its values, times a power of two, which is taken out of the
    sum: INT4 to int8, E2M1 to int8 and fp8, both to bf16. Values kept in tables and tapered formats with more
    than 8 significant bits are decoded to bfloat16 first, as kernels for NF4 do.

    Raises:
        ValueError: an unknown name, or a factor that none of the chip's units holds.

    Example:
        >>> unit_for("h100", "mxfp4", "mxfp8"), unit_for("b200", "mxfp4", "nvfp4"), unit_for("a100", "nf4", "bf16")
        ('fp8', 'fp4', 'bf16')
    """
    found = accelerator(chip)
    able = [unit for unit in found.peaks if all(_takes(unit, each) for each in (a, b))]
    whole = all(factor.integer for each in (a, b) for factor in factors_of(each))
    if not able:
        raise ValueError(
            f"{found.name} has no unit for {any_format(a).name} times {any_format(b).name}; it has "
            f"{', '.join(found.peaks)}"
        )
    return max(able, key=lambda unit: (found.peaks[unit], unit.startswith("int") == whole))


class Time(NamedTuple):
    """The least time of a product.

    Args:
        seconds: the larger of the two below.
        compute, memory: seconds of operations and of bytes.
        unit: that multiplies.
        intensity: operations a byte.
    """

    seconds: float
    compute: float
    memory: float
    unit: str
    intensity: float


def roofline(
    chip: "str | Accelerator",
    a: "str | AnyFormat",
    b: "str | AnyFormat",
    m: int,
    k: int,
    n: int,
    *,
    out: "str | AnyFormat" = "bfloat16",
    unit: str | None = None,
    efficiency: float = 1.0,
) -> Time:
    """The least time of a product of formats on a chip.

    Args:
        chip: an accelerator or its name.
        a, b, m, k, n, out: as in `product_bytes`.
        unit: that multiplies; None for `unit_for`.
        efficiency: share of both peaks that kernels reach.

    Raises:
        ValueError: an unknown name, a unit the chip has not, a size below 1, an efficiency out of (0, 1].

    Example:
        >>> token, batch = (roofline("b200", "mxfp4", "mxfp4", m, 8192, 8192) for m in (1, 8192))
        >>> token.seconds == token.memory, batch.seconds == batch.compute, batch.unit
        (True, True, 'fp4')
    """
    found = accelerator(chip)
    unit = unit_for(found, a, b) if unit is None else unit
    if unit not in found.peaks:
        raise ValueError(unknown(f"unit of {found.name}", unit, found.peaks))
    if not 0 < efficiency <= 1:
        raise ValueError(f"expected an efficiency above 0 and up to 1, got {efficiency}")
    products = len(factors_of(a)) * len(factors_of(b))
    moved, operations = product_bytes(a, b, m, k, n, out), 2.0 * m * k * n * products
    compute = operations / (found.peaks[unit] * 1e12 * efficiency)
    memory = moved / (found.bandwidth * 1e12 * efficiency)
    return Time(max(compute, memory), compute, memory, unit, operations / moved)


def _takes(unit: str, fmt: Any) -> bool:
    """Whether one of a unit's formats holds every value of the elements of another."""
    return all(any(_holds(any_format(own), element) for own in UNITS[unit]) for element in _elements(any_format(fmt)))


def _elements(fmt: Any) -> list[Any]:
    """What is multiplied, in place of long values of tables what they are decoded to."""
    if isinstance(fmt, ResidualFormat):
        return [element for stage in fmt.open for element in _elements(stage)]
    if isinstance(fmt, ComplexFormat):
        return [any_format("int2")]
    found = [fmt.element] if isinstance(fmt, ScaledFormat) else list(getattr(fmt, "books", None) or (fmt,))
    decoded = [factor.name == DECODED for each in found for factor in factors_of(each)]
    return [any_format(DECODED) if long else each for each, long in zip(found, decoded)]


def _holds(own: Any, element: Any) -> bool:
    """Whether a format holds all values of an element times a power of two: significant bits, quantum and range."""
    mine, its = span_of(own), span_of(element)
    if mine is None or its is None:
        return False
    shifts = {0, mine.quantum - its.quantum, mine.top - its.top}
    return its.precision <= mine.precision and any(
        mine.quantum <= its.quantum + shift
        and own.max >= element.max * power(shift)
        and own.min <= element.min * power(shift)
        for shift in shifts
    )
