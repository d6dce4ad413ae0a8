"""Formats and roundings as the integers the kernels read: run-time data, so that one compiled kernel serves all.

A format becomes a `Grid` (floats and integers: spacing constant within a binade) or a `Codebook` (a list of
values), for one host dtype. A rounding becomes a `Mode`.
All are tuples of integers or integer arrays and need no framework; stacked
along a leading axis they are what `jax.vmap` maps over.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..formats.exact import default_overflow
from ..formats.floats import FloatFormat
from ..formats.integers import IntFormat
from ..formats.listing import is_listed
from ..formats.registry import Format
from ..formats.rounding import DETERMINISTIC, Rounding
from .codebook_tables import SPECIALS, Codebook, tabulate_listing
from .layouts import Layout

Int: TypeAlias = Any
"""A Python int, or an integer array where the format is traced."""


class Grid(NamedTuple):
    """A float or integer format over one host dtype. Fields ending in `_field` are host exponent fields.

    Above 2**min_field the spacing is 2**-mantissa_bits of the binade, below it is 2**quantum_field.
    `max_positive` and `max_negative` are host bits of magnitudes, 0 for an unsigned format's negatives.
    Flags are 0 or 1; a missing code is -1.
    """

    mantissa_bits: Int
    min_field: Int
    quantum_field: Int
    max_positive: Int
    max_negative: Int
    zero: Int
    negative_zero: Int
    infinity: Int
    clamps: Int
    saturates: Int
    code_bits: Int
    nan_code: Int
    infinity_code: Int
    twos_complement: Int


class Mode(NamedTuple):
    """A rounding mode, for one integer width.

    Fields:
        halves_even ... less_negative: the increment of `formats.rounding`; zeros for stochastic modes.
        inward_positive, inward_negative: whether finite numbers of that sign never overflow.
        row: which row of `Codebook.thresholds` it reads.
        keep, half, low_bits, take_odd, equal: what becomes of random words; see `numbers.prepare_words`.
    """

    halves_even: Int
    halves_odd: Int
    halves_negative: Int
    less_even: Int
    less_odd: Int
    less_negative: Int
    inward_positive: Int
    inward_negative: Int
    row: Int
    keep: Int
    half: Int
    low_bits: Int
    take_odd: Int
    equal: Int


@dataclass(frozen=True, slots=True)
class TracedFormat:
    """A format as data, which JAX may trace and map over; made by `hu.format_data`.

    Args:
        table: the kernel's integers, with a leading axis where several formats are stacked.
        layout: name of the float dtype they are for.
    """

    table: Grid | Codebook
    layout: str


@dataclass(frozen=True, slots=True)
class TracedRounding:
    """A rounding as data, which JAX may trace and map over; made by `hu.rounding_data`.

    Args:
        mode: the kernel's integers, with a leading axis where several roundings are stacked.
        width: bits of the integers they are for.
        stochastic: whether random words are read, which decides what is compiled.
    """

    mode: Mode
    width: int
    stochastic: bool

    name = spec = "traced"
    """What messages call it; not among the names for which there are faster ways."""


def stack_modes(modes: Sequence[Mode]) -> Mode:
    """One mode whose every field has a leading axis, for `vmap` over roundings."""
    return Mode(*(np.array(column) for column in zip(*modes)))


def mode_of(rounding: "Rounding | TracedRounding", width: int) -> Mode:
    """The kernel's integers for a rounding mode, for random words of `width` bits.

    Raises:
        ValueError: a traced rounding for integers of another width.
    """
    if not isinstance(rounding, TracedRounding):
        return _mode_of(rounding, width)
    if rounding.width != width:
        raise ValueError(
            f"this traced rounding was made for {rounding.width}-bit integers, and {width} are used; make it with "
            "hu.rounding_data(..., dtype='float64') for float64, with dtype='float32' otherwise"
        )
    return rounding.mode


@lru_cache(maxsize=256)
def _mode_of(rounding: Rounding, width: int) -> Mode:
    low_bits = 0 if rounding.bits is None else width - rounding.bits
    return Mode(
        *(astuple(rounding.increment) if rounding.increment else (0,) * 6),
        inward_positive=int(rounding.inward(negative=False)),
        inward_negative=int(rounding.inward(negative=True)),
        row=0 if rounding.stochastic else DETERMINISTIC.index(rounding),
        keep=-1 << low_bits,
        half=0 if rounding.variant == "A" else 1 << (low_bits - 1),
        low_bits=low_bits,
        take_odd=int(rounding.variant == "C"),
        equal=int(rounding.name == "stochastic_equal"),
    )


def tabulate(fmt: Format, layout: Layout, overflow: str | None = None) -> Grid | Codebook:
    """The kernel's integers for a format whose values fit the host dtype (see `layouts.require_fit`).

    Args:
        overflow: as in `formats.exact`; part of the table of a list of values, an argument of the kernels on grids.
    """
    if is_listed(fmt):
        return tabulate_listing(fmt, layout, overflow or default_overflow(fmt))
    return _grid(fmt, layout)


@lru_cache(maxsize=1024)
def _grid(fmt: Format, layout: Layout) -> Grid:
    if isinstance(fmt, FloatFormat):
        return _float_grid(fmt, layout)
    if isinstance(fmt, IntFormat):
        return _int_grid(fmt, layout)
    raise TypeError(f"{fmt.name}: expected a float or integer format")


def _bits(layout: Layout, value: Fraction) -> int:
    bits = layout.exactly(value)
    if bits is None:
        raise ValueError(f"{value} is no {layout.name}")
    return bits


def _code(code: int | None) -> int:
    return -1 if code is None else code


def _float_grid(fmt: FloatFormat, layout: Layout) -> Grid:
    return Grid(
        mantissa_bits=fmt.mantissa_bits,
        min_field=fmt.min_exponent + layout.bias,
        quantum_field=fmt.quantum_exponent + layout.bias,
        max_positive=_bits(layout, fmt.max),
        max_negative=_bits(layout, fmt.max) if fmt.signed else 0,
        zero=int(fmt.zero),
        negative_zero=int(fmt.has_negative_zero),
        infinity=int(fmt.specials.infinity),
        clamps=int(fmt.specials.clamps),
        saturates=int(default_overflow(fmt) == "saturate"),
        code_bits=fmt.bits,
        nan_code=_code(fmt.nan_code),
        infinity_code=_code(fmt.infinity_code),
        twos_complement=0,
    )


def _int_grid(fmt: IntFormat, layout: Layout) -> Grid:
    past_all = (layout.infinity >> layout.mantissa_bits) + 1  # every number lies below: one spacing everywhere
    return Grid(
        mantissa_bits=layout.mantissa_bits,
        min_field=past_all,
        quantum_field=fmt.exponent + layout.bias,
        max_positive=_bits(layout, fmt.max),
        max_negative=_bits(layout, fmt.min),
        zero=1,
        negative_zero=0,
        infinity=0,
        clamps=0,
        saturates=1,
        code_bits=fmt.bits,
        nan_code=-1,
        infinity_code=-1,
        twos_complement=1,
    )


def stack(tables: Sequence[Grid | Codebook]) -> Grid | Codebook:
    """One table whose every field has a leading axis, for `vmap` over formats.

    Codebooks of different lengths are padded with entries no number reaches.

    Raises:
        ValueError: grids and codebooks mixed; they run different programs.
    """
    if all(isinstance(table, Grid) for table in tables):
        return Grid(*(np.array(column) for column in zip(*tables)))
    books = [table for table in tables if isinstance(table, Codebook)]
    if len(books) < len(tables):
        raise ValueError("floats and integers cannot be stacked with codebooks; stack the two kinds apart")
    longest = max(len(book.keys) for book in books)
    columns = zip(Codebook._fields, zip(*books))
    return Codebook(*(np.stack([_pad(array, longest, name) for array in column]) for name, column in columns))


def _pad(array: np.ndarray, longest: int, name: str) -> np.ndarray:
    if name == "ends":
        return array
    tail = SPECIALS if name in ("values", "codes") else 0
    body, rest = array[..., : array.shape[-1] - tail], array[..., array.shape[-1] - tail :]
    missing = longest - (name in ("thresholds", "unit_field", "spacing", "low")) - body.shape[-1]
    if name in ("thresholds", "keys"):
        fill = np.full((*body.shape[:-1], missing), np.iinfo(array.dtype).max, array.dtype)
    else:
        fill = np.repeat(body[..., -1:], missing, axis=-1)
    return np.concatenate([body, fill, rest], axis=-1)
