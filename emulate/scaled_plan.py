"""What one call on a scaled format asks for, checked and free of any framework."""

from dataclasses import dataclass, replace
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple

from ..formats.catalogue import format as any_format
from ..formats.codebooks import ChannelCodebooks
from ..formats.complexes import ComplexFormat
from ..formats.listing import is_listed
from ..formats.registry import Format
from ..formats.residual import ResidualFormat
from ..formats.rounding import Rounding
from ..formats.scaled import ScaledFormat
from ..formats.suggest import unknown
from .codebook_tables import Codebook
from .layouts import LAYOUTS, Layout, fits
from .plan import STE, Plan, Randomness, dtype_name, layout_named, make_plan, rounding_named, spelled
from .scaled_tables import ScaledTable, Structure, TracedScaled, structure_of, tabulate_scaled, takes_amax
from .tables import Mode, TracedFormat, TracedRounding, mode_of

OVERFLOWS = ("saturate", "special")
"""What elements beyond the largest become in scaled formats."""


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPlan:
    """One quantization to a scaled format, all names resolved; compared by identity, as `Plan`.

    Args:
        fmt: the format, or its traced integers.
        name: what messages call it.
        structure: the program that runs; only saturating scales of the format's own can be shifts.
        rounding, scale_rounding: of elements, and of scales where it is not the format's.
        overflow: 'saturate' or 'special'.
        source: dtype of the input.
        layout: dtype the kernels compute in.
        target: dtype of the result.
        ste: 'clip' or 'identity'.
        pad: whether a last block may be ragged.
    """

    fmt: ScaledFormat | TracedScaled
    name: str
    structure: Structure
    rounding: Rounding | TracedRounding
    scale_rounding: Rounding | TracedRounding | None
    overflow: str
    source: Layout
    layout: Layout
    target: Layout
    ste: str
    pad: bool

    @property
    def table(self) -> ScaledTable:
        """The format as the kernels read it."""
        return self.fmt.table if isinstance(self.fmt, TracedScaled) else tabulate_scaled(self.fmt, self.layout)

    @property
    def mode(self) -> Mode:
        """The rounding of elements as the kernels read it."""
        return mode_of(self.rounding, self.layout.work_width)

    @property
    def random_scales(self) -> bool:
        """Whether scales draw random words."""
        return self.scale_rounding is not None and self.scale_rounding.stochastic

    @property
    def draws(self) -> bool:
        """Whether it reads random words."""
        return self.rounding.stochastic or self.random_scales


class Options(NamedTuple):
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
    return (_kept_plan if _is_key(fmt, options) else _plan)(fmt, source, options)


def _is_key(fmt: Any, options: "Options") -> bool:
    """Whether both can be looked up: names and formats, no arrays and no lists."""
    if not isinstance(fmt, str) and hasattr(fmt, "tolist"):
        return False
    if type(options.axis) not in (int, tuple, NoneType):  # 1 == 1.0 == True
        return False
    try:
        hash((fmt, options))
    except TypeError:
        return False
    return True


def _plan(fmt: Any, source: str, options: Options) -> Plan | ScaledPlan:
    if hasattr(fmt, "tolist"):
        fmt = spelled(fmt)
    resolved = fmt if isinstance(fmt, TracedFormat | TracedScaled) else any_format(fmt)
    if isinstance(resolved, ComplexFormat):
        raise TypeError(f"{resolved.name} is for complex numbers; pass a complex array or a pair (re, im)")
    if isinstance(resolved, ChannelCodebooks):
        raise TypeError(f"{resolved.name} has no scales, one codebook a channel")
    if isinstance(resolved, ResidualFormat):
        raise TypeError(f"{resolved.name} is a stack; its stages have codes: encode the parts of hu.decompose")
    if isinstance(resolved, ScaledFormat | TracedScaled):
        return make_scaled_plan(resolved, source, options)
    options.check_unscaled("a traced format" if isinstance(resolved, TracedFormat) else resolved.name)
    return make_plan(
        resolved, options.rounding, options.overflow, source, options.out_dtype, options.ste, options.codes
    )  # fmt: skip


_kept_plan = lru_cache(maxsize=1024)(_plan)
"""Plans of earlier calls: for a small array finding the plan takes longer than rounding."""


def check_amax(plan: Plan | ScaledPlan) -> None:
    """Raise unless a given largest magnitude decides about a scale."""
    if isinstance(plan, ScaledPlan) and takes_amax(plan.structure):
        return
    name = plan.name if isinstance(plan, ScaledPlan) else getattr(plan.fmt, "name", "a traced format")
    raise ValueError(f"{name} has no scale for the whole tensor, so amax= says nothing; leave it out")


def check_randomness(plan: Plan | ScaledPlan, randomness: Randomness) -> None:
    """Raise for a stochastic mode without a seed, and for a negative offset."""
    modes = [plan.rounding, plan.scale_rounding] if isinstance(plan, ScaledPlan) else [plan.rounding]
    for mode in modes:
        if mode is not None and mode.stochastic and randomness.seed is None:
            raise ValueError(f"rounding {mode.name!r} needs a seed; pass seed=0, and step= to vary it")
    if isinstance(randomness.offset, int) and randomness.offset < 0:
        raise ValueError(f"expected offset >= 0, got {randomness.offset}")


def make_scaled_plan(fmt: ScaledFormat | TracedScaled, source: str, options: Options) -> ScaledPlan:
    """As `plan_for`, of a scaled format."""
    if options.axis is not None and isinstance(fmt, ScaledFormat):
        fmt = fmt.along(options.axis)
    traced = isinstance(fmt, TracedScaled)
    name, structure = ("the traced format", fmt.structure) if traced else (fmt.name, structure_of(fmt))
    if options.axis is not None and traced:
        axes = (options.axis,) if isinstance(options.axis, int) else tuple(options.axis)
        structure = replace(structure, blocks=structure.blocks.along(axes))
    dynamic = structure.statistic != "static" and not options.given
    mode = rounding_named(fmt.rounding if options.rounding is None else options.rounding)
    scale_mode = None if options.scale_rounding is None else rounding_named(options.scale_rounding)
    if scale_mode is not None and (structure.zero_point or not dynamic):
        reason = "a zero point" if structure.zero_point else "scales that are given"
        raise ValueError(f"{name}: scale_rounding does not go with {reason}; leave it out")
    overflow = options.overflow or "saturate"
    if overflow not in OVERFLOWS:
        raise ValueError(f"{name}: elements saturate, or overflow='special' makes Inf or NaN of them; got {overflow!r}")
    if overflow == "special" and _listed_element(fmt):
        raise ValueError(f"{name}: elements that are a list of values only saturate; leave overflow out")
    ste = options.ste or ("identity" if dynamic else "clip")
    if ste not in STE:
        raise ValueError(unknown("ste", str(ste), STE))
    shifts = structure.shifts and overflow == "saturate" and not options.given
    from_layout = layout_named(source, "x")
    target = from_layout if options.out_dtype is None else layout_named(dtype_name(options.out_dtype), "out_dtype")
    layout = _traced_layout(fmt, from_layout) if isinstance(fmt, TracedScaled) else work_layout(fmt, from_layout)
    return ScaledPlan(
        fmt, name, replace(structure, shifts=shifts), mode, scale_mode, overflow, from_layout, layout, target, ste,
        bool(options.pad),
    )  # fmt: skip


def _listed_element(fmt: ScaledFormat | TracedScaled) -> bool:
    return isinstance(fmt.table.element, Codebook) if isinstance(fmt, TracedScaled) else is_listed(fmt.element)


def untraced(plan: ScaledPlan) -> ScaledFormat:
    """The format of a plan that cannot do with traced integers.

    Raises:
        TypeError: a traced format.
    """
    if isinstance(plan.fmt, TracedScaled):
        raise TypeError("codes need a format that is not traced; pass its name")
    return plan.fmt


def _traced_layout(fmt: TracedScaled, source: Layout) -> Layout:
    layout = LAYOUTS[fmt.layout]
    if (source.width == 64) != (layout.width == 64):
        raise ValueError(
            f"this traced format was made for {layout.name}, got {source.name}; "
            f"make it with hu.format_data(..., dtype={source.name!r})"
        )
    return layout


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
