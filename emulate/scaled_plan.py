"""What one call on a scaled format asks for, checked and free of any framework."""

from dataclasses import dataclass, replace
from typing import Any

from ..formats.catalogue import format as any_format
from ..formats.complexes import ComplexFormat
from ..formats.registry import Format
from ..formats.rounding import Rounding
from ..formats.rounding import rounding as named_rounding
from ..formats.scaled import ScaledFormat
from ..formats.suggest import unknown
from .layouts import LAYOUTS, Layout, fits
from .plan import STE, Plan, dtype_name, layout_named, make_plan
from .scaled_tables import ScaledTable, Structure, structure_of, tabulate_scaled
from .tables import Mode, TracedFormat, mode_of

OVERFLOWS = ("saturate", "special")
"""What elements beyond the largest become in scaled formats."""


@dataclass(frozen=True, slots=True)
class ScaledPlan:
    """One quantization to a scaled format, all names resolved.

    Args:
        fmt: the format.
        rounding, scale_rounding: of elements, and of scales where it is not the format's.
        overflow: 'saturate' or 'special'.
        source: dtype of the input.
        layout: dtype the kernels compute in.
        target: dtype of the result.
        ste: 'clip' or 'identity'.
        pad: whether a last block may be ragged.
        given: whether the call brings its scales.
    """

    fmt: ScaledFormat
    rounding: Rounding
    scale_rounding: Rounding | None
    overflow: str
    source: Layout
    layout: Layout
    target: Layout
    ste: str
    pad: bool
    given: bool = False

    @property
    def structure(self) -> Structure:
        """The program that runs; only saturating scales of the format's own can be shifts."""
        found = structure_of(self.fmt)
        shifts = found.shifts and self.overflow == "saturate" and not self.given
        return found if shifts == found.shifts else replace(found, shifts=shifts)

    @property
    def table(self) -> ScaledTable:
        """The format as the kernels read it."""
        return tabulate_scaled(self.fmt, self.layout)

    @property
    def mode(self) -> Mode:
        """The rounding of elements as the kernels read it."""
        return mode_of(self.rounding, self.layout.work_width)

    @property
    def random_scales(self) -> bool:
        """Whether scales draw random words."""
        return self.scale_rounding is not None and self.scale_rounding.stochastic


@dataclass(frozen=True, slots=True)
class Options:
    """What a call says besides its format, as the user typed it; see `quantize.quantize`."""

    rounding: Any = None
    scale_rounding: Any = None
    overflow: str | None = None
    out_dtype: Any = None
    ste: str | None = None
    axis: Any = None
    pad: bool = False
    given: bool = False
    codes: bool = False

    def check_unscaled(self, name: str) -> None:
        """Raise for options that only scaled formats have."""
        named = {"scale_rounding": self.scale_rounding, "axis": self.axis, "pad": self.pad, "scale": self.given}
        extra = [key for key, value in named.items() if value is not None and value is not False]
        if extra:
            raise ValueError(f"{name} has no scales, so {' and '.join(extra)} say nothing; leave them out")


def plan_for(fmt: Any, source: str, options: Options) -> Plan | ScaledPlan:
    """Resolve names and check that the pieces go together.

    Args:
        fmt: an unscaled, traced or scaled format, or a name.
        source: dtype name of the input.

    Raises:
        ValueError, TypeError: as the functions of `quantize` say.
    """
    resolved = fmt if isinstance(fmt, TracedFormat) else any_format(fmt)
    if isinstance(resolved, ComplexFormat):
        raise TypeError(f"{resolved.name} is for complex numbers; pass a complex array or a pair (re, im)")
    if isinstance(resolved, ScaledFormat):
        return make_scaled_plan(resolved, source, options)
    options.check_unscaled("a traced format" if isinstance(resolved, TracedFormat) else resolved.name)
    return make_plan(
        resolved, options.rounding, options.overflow, source, options.out_dtype, options.ste, options.codes
    )  # fmt: skip


def make_scaled_plan(fmt: ScaledFormat, source: str, options: Options) -> ScaledPlan:
    """As `plan_for`, of a scaled format."""
    if options.axis is not None:
        fmt = fmt.along(options.axis)
    mode = named_rounding(fmt.rounding if options.rounding is None else options.rounding)
    scale_mode = None if options.scale_rounding is None else named_rounding(options.scale_rounding)
    if scale_mode is not None and (fmt.zero_point or not fmt.dynamic or options.given):
        reason = "a zero point" if fmt.zero_point else "scales that are given"
        raise ValueError(f"{fmt.name}: scale_rounding does not go with {reason}; leave it out")
    overflow = options.overflow or "saturate"
    if overflow not in OVERFLOWS:
        raise ValueError(
            f"{fmt.name}: elements saturate, or overflow='special' makes Inf or NaN of them; got {overflow!r}"
        )
    ste = options.ste or ("identity" if fmt.dynamic and not options.given else "clip")
    if ste not in STE:
        raise ValueError(unknown("ste", str(ste), STE))
    from_layout = layout_named(source, "x")
    target = from_layout if options.out_dtype is None else layout_named(dtype_name(options.out_dtype), "out_dtype")
    layout = work_layout(fmt, from_layout)
    return ScaledPlan(
        fmt, mode, scale_mode, overflow, from_layout, layout, target, ste, bool(options.pad), options.given
    )  # fmt: skip


def work_layout(fmt: ScaledFormat, source: Layout) -> Layout:
    """float32, or float64 for float64 input and for formats whose elements or scales need it.

    Raises:
        ValueError: elements or scales beyond float64.
    """
    parts: list[Format] = [fmt.element, fmt.scale, *([fmt.outer.scale] if fmt.outer else [])]
    for layout in (LAYOUTS["float32"], LAYOUTS["float64"]):
        if layout.width >= source.width and all(fits(part, layout) for part in parts):
            return layout
    raise ValueError(f"{fmt.name}: elements or scales are beyond float64; use narrower formats")
