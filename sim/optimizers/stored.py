"""One kind of tensor that an optimizer keeps between steps: its format and how it is rounded, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.codebooks import CodebookFormat
from ...formats.complexes import ComplexFormat
from ...formats.floats import FloatFormat
from ...formats.rounding import rounding as named_rounding
from ...formats.scaled import ScaledFormat
from ...formats.scaled_registry import scaled
from ...formats.suggest import unknown
from ..recipes.quantizer import settings_of

DOMAINS = ("linear", "sqrt")
"""What is rounded: the number, or its square root, which is squared again; for second moments, which are >= 0."""

SCALES = ("data", "kept")
"""Scales follow the data every step, or are kept as long as values fit: from half of the range to all of it."""

OVERFLOWS = ("saturate", "propagate", "special")


def dynamic(signed: bool) -> CodebookFormat:
    """0, 1 and the middles of equal parts of seven decades, twice as many parts in each decade as in the one below.

    Source: arXiv:2110.02861, dynamic tree quantization, as its code has it.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        count = 2 ** (decade if signed else decade + 1)
        middles = [10.0 ** (decade - 6) * (0.1 + 0.9 * (k + 0.5) / count) for k in range(count)]
        values += [*middles, *(-value for value in middles)] if signed else middles
    ascending = tuple(float(value) for value in np.sort(np.array(values, np.float32)))
    name = "dynamic8" if signed else "dynamic8_unsigned"
    return CodebookFormat(name, ascending, ties="lower", source="arXiv:2110.02861")


@lru_cache(maxsize=1)
def state_formats() -> dict[str, ScaledFormat]:
    """The formats of optimizer states that have names only here, in blocks of 256 elements."""
    return {book.name: scaled(book, block="flat256") for book in (dynamic(True), dynamic(False))}


def format_of(name: Any) -> AnyFormat:
    """The format of that name, also 'dynamic8' and 'dynamic8_unsigned' for states.

    Raises:
        ValueError: an unknown name, with the nearest known ones.
    """
    own = state_formats()
    return own[name] if isinstance(name, str) and name in own else any_format(name)


@dataclass(frozen=True, slots=True)
class Stored:
    """How tensors of one kind are kept.

    Args:
        fmt: name of a format, also a scaled one, or 'dynamic8' and 'dynamic8_unsigned' (arXiv:2110.02861) for states.
        rounding: as in `halfulp.quantize`; None: to nearest, but 'stochastic' for what updates are added to, unless
            what is cut off is compensated.
        overflow: as in `halfulp.quantize`; None for the format's own.
        scale_rounding: of a scaled format, as in `halfulp.quantize`.
        axis: of a scaled format: the axis or axes of its blocks; None for the format's own.
        domain: one of `DOMAINS`.
        scales: of a scaled format, one of `SCALES`. Kept ones leave an element whose update is 0 as it is; scales that
            follow the data move a block's elements to another grid whenever its largest one changes.

    Raises:
        ValueError: an unknown name, or pieces that do not go together.
    """

    fmt: str
    rounding: str | None = None
    overflow: str | None = None
    scale_rounding: str | None = None
    axis: int | tuple[int, ...] | None = None
    domain: str = "linear"
    scales: str = "data"

    def __post_init__(self) -> None:
        found: Any = format_of(self.fmt)
        if isinstance(found, ComplexFormat):
            raise ValueError(
                f"{found.name}: optimizers keep real numbers; round the weights of a model with hu.quantize_"
            )
        if self.fmt not in state_formats():
            object.__setattr__(self, "fmt", _name(found))
        for name in ("rounding", "scale_rounding"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, named_rounding(getattr(self, name)).spec)
        if isinstance(self.axis, list):
            object.__setattr__(self, "axis", tuple(self.axis))
        axes = self.axis if isinstance(self.axis, tuple) else () if self.axis is None else (self.axis,)
        if any(not isinstance(axis, int) or isinstance(axis, bool) for axis in axes):
            raise ValueError(f"axis: expected an integer or several, got {self.axis!r}")
        for name, known in (("domain", DOMAINS), ("scales", SCALES)):
            if getattr(self, name) not in known:
                raise ValueError(unknown(name, str(getattr(self, name)), known))
        if self.overflow is not None and self.overflow not in OVERFLOWS:
            raise ValueError(unknown("overflow", str(self.overflow), OVERFLOWS))
        plain = not isinstance(found, ScaledFormat)
        idle = [name for name in ("scale_rounding", "axis") if getattr(self, name) is not None]
        if plain and (idle or self.scales == "kept"):
            raise ValueError(f"{self.fmt} has no scales; leave out {', '.join(idle) or 'scales'}")
        if self.scales == "kept" and (found.outer or found.zero_point or found.micro or found.epsilon):
            raise ValueError(
                f"{self.fmt}: scales are kept of formats with one plain scale a block; leave out scales='kept'"
            )

    @property
    def format(self) -> AnyFormat:
        """The format itself."""
        return format_of(self.fmt)

    @property
    def is_scaled(self) -> bool:
        """Whether elements share scales."""
        return isinstance(self.format, ScaledFormat)

    @property
    def keeps(self) -> bool:
        """Whether every float32 is a value of the format, so that nothing is rounded."""
        found = self.format
        return isinstance(found, FloatFormat) and found.name == "binary32"

    def bits(self, shape: tuple[int, ...]) -> float:
        """Storage bits of an element of an array of that shape, scales included."""
        found: Any = self.format
        return found.bits_per_element(shape) if hasattr(found, "bits_per_element") else float(found.bits)


def _name(found: Any) -> str:
    """The name by which `halfulp.format` finds a format again."""
    try:
        return found.name if any_format(found.name) == found else found.spec
    except (ValueError, TypeError):
        return found.spec


def stored(what: str, given: Any) -> Stored | None:
    """What was written down: a format, its name, a table of settings, a `Stored`, or None.

    Raises:
        ValueError: unknown names; the message begins with `what`.
        TypeError: none of these.
    """
    if given is None or isinstance(given, Stored):
        return given
    try:
        if isinstance(given, Mapping):
            names = [f.name for f in fields(Stored)]
            for key in given:
                if key not in names:
                    raise ValueError(unknown("setting", str(key), names))
            return Stored(**given)
        return Stored(given)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    except TypeError:
        raise TypeError(f"{what}: expected a format, its name or a table with 'fmt', got {given!r}") from None


def as_plain(given: Stored) -> Any:
    """Plain data: the format's name where nothing else is set, or a table."""
    found = {"fmt": given.fmt, **{key: value for key, value in settings_of(given).items() if key != "fmt"}}
    if isinstance(found.get("axis"), tuple):
        found["axis"] = list(found["axis"])
    return given.fmt if len(found) == 1 else found
