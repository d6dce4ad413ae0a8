"""What one call asks for, checked and free of any framework."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..formats.exact import OVERFLOWS, default_overflow
from ..formats.integers import IntFormat
from ..formats.listing import is_listed
from ..formats.registry import Format
from ..formats.registry import plain_format as named_format
from ..formats.rounding import Rounding
from ..formats.rounding import rounding as named_rounding
from ..formats.suggest import unknown
from ..formats.tapered import TaperedFormat
from .layouts import LAYOUTS, Layout, fits, require_fit
from .tables import Codebook, Grid, Mode, TracedFormat, TracedRounding, mode_of, tabulate

STE = ("clip", "identity")
"""Gradient estimators of `quantize`: straight through inside the range, or everywhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One quantization, all names resolved; compared by identity, so that what follows from it can be kept.

    Args:
        fmt: the format, or its traced integers.
        source: dtype of the input.
        layout: dtype the kernel computes in; holds the input and the format's values.
        target: dtype of the result.
        overflow: None only where the format is traced and its own default decides.
    """

    fmt: Format | TracedFormat
    rounding: Rounding | TracedRounding
    overflow: str | None
    source: Layout
    layout: Layout
    target: Layout
    ste: str = "clip"

    @property
    def table(self) -> Grid | Codebook:
        """The integers the kernels read."""
        if isinstance(self.fmt, TracedFormat):
            return self.fmt.table
        return tabulate(self.fmt, self.layout, self.overflow)

    @property
    def mode(self) -> Mode:
        """The rounding as the kernels read it."""
        return mode_of(self.rounding, self.layout.work_width)

    @property
    def draws(self) -> bool:
        """Whether it reads random words."""
        return self.rounding.stochastic


class Randomness(NamedTuple):
    """Where the random bits of a call come from, as the user gave it; see `philox`."""

    seed: Any = None
    step: Any = 0
    stream: Any = 0
    offset: Any = 0


def spelled(name: Any) -> str:
    """The format's name that a tensor of characters holds; `traced.format_data` makes it.

    Raises:
        TypeError: any other tensor or array.
    """
    try:
        return bytes(name.tolist()).rstrip(b"\0").decode("ascii")
    except (TypeError, ValueError):
        raise TypeError(
            "fmt: expected a format, its name, or what hu.format_data(fmt, library='torch') makes, "
            f"got {type(name).__name__} of {getattr(name, 'dtype', 'no dtype')}"
        ) from None


def make_plan(
    fmt: Any,
    rounding: Any,
    overflow: str | None,
    source: str,
    out_dtype: Any,
    ste: str | None = None,
    codes: bool = False,
) -> Plan:
    """Resolve names and check that the pieces go together.

    Args:
        source: dtype name of the input.
        out_dtype: any framework's float dtype or its name; None for the input's.
        codes: the result is codes, so that the values need not fit the target dtype.

    Raises:
        ValueError, TypeError: as the functions of `quantize` say.
    """
    mode = rounding_named("nearest_even" if rounding is None else rounding)
    ste = ste or "clip"
    if ste not in STE:
        raise ValueError(unknown("ste", str(ste), STE))
    from_layout = layout_named(source, "x")
    target = from_layout if out_dtype is None else layout_named(dtype_name(out_dtype), "out_dtype")
    if isinstance(fmt, TracedFormat):
        _check_overflow(fmt, overflow)
        return _traced_plan(fmt, mode, overflow, from_layout, target, ste, codes)
    resolved = named_format(fmt)
    _check_overflow(resolved, overflow)
    if not codes:
        require_fit(resolved, target)
    overflow = overflow or default_overflow(resolved)
    return Plan(resolved, mode, overflow, from_layout, compute_layout(resolved, from_layout), target, ste)


def rounding_named(given: Any) -> Rounding | TracedRounding:
    """The rounding of that name, or itself; also one as data."""
    return given if isinstance(given, TracedRounding) else named_rounding(given)


def layout_named(name: str, what: str) -> Layout:
    """The host dtype of that name; `what` is the argument to blame."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    raise TypeError(f"{what}: expected float16, bfloat16, float32 or float64, got {name}; convert it with astype or to")


def dtype_name(dtype: Any) -> str:
    """The plain name of a NumPy, ml_dtypes, torch or JAX dtype, or of a string."""
    if isinstance(dtype, str):
        return dtype
    if type(dtype).__module__.partition(".")[0] == "torch":
        return str(dtype).removeprefix("torch.")
    import numpy as np

    try:
        return np.dtype(dtype).name
    except TypeError:
        raise TypeError(f"expected a dtype or its name, got {dtype!r}") from None


def _check_overflow(fmt: Format | TracedFormat, overflow: str | None) -> None:
    if overflow is None:
        return
    if overflow not in OVERFLOWS:
        raise ValueError(unknown("overflow", str(overflow), OVERFLOWS))
    if isinstance(fmt, TracedFormat):
        table_only, integer, name = isinstance(fmt.table, Codebook), False, "a traced format"
    else:
        table_only = is_listed(fmt) and not (isinstance(fmt, TaperedFormat) and fmt.infinity_code)
        integer, name = isinstance(fmt, IntFormat) and not fmt.narrow, fmt.name
    if table_only and overflow != "saturate":
        raise ValueError(f"{name} only saturates, got overflow={overflow!r}; leave overflow out")
    if overflow == "wrap" and not integer:
        raise ValueError(f"only integers over their full range wrap, got {name}; use overflow='saturate'")


def compute_layout(fmt: Format, source: Layout) -> Layout:
    """The narrowest dtype that holds the input's numbers and the format's values.

    Raises:
        ValueError: the format's values are beyond float64.
    """
    wider = {"float16": ("float32", "float64"), "bfloat16": ("float32", "float64"), "float32": ("float64",)}
    for name in (source.name, *wider.get(source.name, ())):
        if fits(fmt, LAYOUTS[name]):
            return LAYOUTS[name]
    raise ValueError(f"values of {fmt.name} are beyond float64; use halfulp.formats.exact")


def _traced_plan(
    fmt: TracedFormat,
    mode: Rounding | TracedRounding,
    overflow: str | None,
    source: Layout,
    target: Layout,
    ste: str,
    codes: bool,
) -> Plan:
    if codes:
        raise TypeError("encode needs a format that is not traced; pass its name")
    if not source.name == target.name == fmt.layout:
        raise ValueError(
            f"this traced format was made for {fmt.layout}, got {source.name} to {target.name}; "
            f"make it with hu.format_data(..., dtype={source.name!r})"
        )
    return Plan(fmt, mode, overflow, source, source, target, ste)
