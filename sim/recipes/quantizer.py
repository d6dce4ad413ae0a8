"""One operand of one matrix product: how it is quantized, as data."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.rounding import rounding as named_rounding
from ...formats.scaled import Rule, ScaledFormat
from ...formats.suggest import unknown
from ...formats.transform import transform as named_transform

SOURCES = ("original", "quantized")
"""What a backward product quantizes: the tensor itself, or what the forward product made of it."""

GRADIENTS: dict[str, dict[str, float]] = {
    "default": {},
    "identity": {},
    "clip": {},
    "dge": {"power": 5.0, "limit": 3.0, "scale": 0.0},
    "spline": {"sharpness": 4.0, "scale": 0.0},
    "piecewise_linear": {"width": 0.5, "scale": 0.0},
    "absmax": {},
    "absmax_full": {},
    "lsq": {},
}
"""Gradient estimators of forward operands, with their parameters.

    default            clip for unscaled formats and static scales, identity where scales follow the data
    identity           straight through
    clip               straight through where the magnitude rounds to at most the largest value
    dge                the derivative of a smooth power of the offset between two values (arXiv:2501.17116)
    spline             a smooth step between values, of that sharpness (tanh)
    piecewise_linear   a ramp around each tie, as wide as that share of the step
    absmax             straight through, and the share of the scale's own derivative at the largest element
    absmax_full        the whole Jacobian of an absmax scale
    lsq                that of a learned step size (arXiv:1902.08153)

The smooth steps have the derivative of an absmax scale besides, where they are told `scale`: 0 for none, 1 for its
share at the largest element, as `absmax`, 2 for the whole Jacobian, as `absmax_full` (arXiv:2509.17791).
"""

SCALINGS: dict[str, dict[str, float]] = {
    "format": {},
    "delayed": {"history": 16.0, "margin": 0.0},
    "std": {"factor": 2.92247856},
    "eden": {"shrink": 0.93},
    "learned": {},
}
"""How scales are found, with their parameters.

    format    as the format says, from the data
    delayed   one scale from the largest magnitude of the last `history` steps, 2**margin above it (arXiv:2209.05433)
    std       a power of two near factor * standard deviation / largest element, of each block (arXiv:2505.14669)
    eden      round to nearest, then scales that keep the product unbiased, rounded at random (arXiv:2601.22813)
    learned   a step size that is trained (arXiv:1902.08153)
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """A named method with its parameters.

    Args:
        name: of `GRADIENTS` or `SCALINGS`.
        parameters: (name, number) pairs that are not the method's own.
    """

    name: str
    parameters: tuple[tuple[str, float], ...] = ()


def _choice(kind: str, given: Any, known: Mapping[str, Mapping[str, float]]) -> Choice:
    """A method by its name, a table {"name": ..., parameter: ...}, or itself; all parameters filled in.

    Raises:
        ValueError: an unknown name or parameter.
        TypeError: anything else, or a parameter that is no number.
    """
    table = {"name": given} if isinstance(given, str) else given
    if isinstance(table, Choice):
        table = {"name": table.name, **dict(table.parameters)}
    if not isinstance(table, Mapping) or "name" not in table:
        raise TypeError(f"{kind}: expected a name or a table with a name, got {given!r}")
    name, own = table["name"], {key: value for key, value in table.items() if key != "name"}
    if name not in known:
        raise ValueError(unknown(kind, str(name), known))
    for key, value in own.items():
        if key not in known[name]:
            raise ValueError(unknown(f"parameter of {kind} {name!r}", key, known[name]))
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{kind} {name!r}: expected a number for {key}, got {value!r}")
        if key == "scale" and value not in (0, 1, 2):
            raise ValueError(f"{kind} {name!r}: expected scale 0 (none), 1 (its share) or 2 (all of it), got {value}")
    return Choice(name, tuple((key, float(own.get(key, value))) for key, value in known[name].items()))


@dataclass(frozen=True, slots=True)
class Quantizer:
    """All there is to say about one operand.

    Args:
        fmt: name of a format, also a scaled or complex one; None leaves the operand as it is, or as `source` has it.
        rounding: of elements, as in `halfulp.quantize`; None is the format's own.
        overflow: as in `halfulp.quantize`.
        scale_rounding: of scales, as in `halfulp.quantize`.
        scaling: how scales are found, one of `SCALINGS`, or a table with a name and parameters.
        transform: 'hadamard32', 'rht16' (new signs every step), 'rht16_fixed' and the like, along the contraction;
            None for none. Both operands of a product must have the same.
        source: of backward operands, one of `SOURCES`.
        gradient: of forward operands, one of `GRADIENTS`, or a table with a name and parameters.
        prescale: what elements are multiplied with once their scale is found, and the product divided by, such as 3/4,
            so that elements between 6 and 8 scales are not cut off (arXiv:2502.20586). For MX formats.
        outliers: share of elements on each side, such as .01, that are clamped to their quantile before quantization;
            what was cut off is added as a sparse operand of its own in full precision (arXiv:2501.17116). 0 for none.

    Raises:
        ValueError: an unknown name, pieces that do not go together.
        TypeError: a value of the wrong type.
    """

    fmt: str | None = None
    rounding: str | None = None
    overflow: str | None = None
    scale_rounding: str | None = None
    scaling: Any = "format"
    transform: str | None = None
    source: str = "original"
    gradient: Any = "default"
    prescale: float = 1.0
    outliers: float = 0.0

    def __post_init__(self) -> None:
        if self.fmt is not None:
            object.__setattr__(self, "fmt", _spec_of(self.fmt))
        for name in ("rounding", "scale_rounding"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, named_rounding(getattr(self, name)).spec)
        if self.transform is not None:
            object.__setattr__(self, "transform", named_transform(self.transform).spec)
        object.__setattr__(self, "scaling", _choice("scaling", self.scaling, SCALINGS))
        object.__setattr__(self, "gradient", _choice("gradient", self.gradient, GRADIENTS))
        if self.source not in SOURCES:
            raise ValueError(unknown("source", str(self.source), SOURCES))
        if not 0 < self.prescale < float("inf"):
            raise ValueError(f"expected a positive prescale such as 0.75, got {self.prescale}")
        if self.prescale != 1 and not _has_floor_scales(self.fmt):
            raise ValueError("prescale goes with block scales of OCP's rule, as mxfp4 has them; leave it out")
        _check_scaling(self.scaling.name, self.fmt)
        if not 0 <= self.outliers < 0.5:
            raise ValueError(f"expected a share of outliers from 0 to 0.5, such as 0.01, got {self.outliers}")
        idle = [name for name in settings_of(self) if name != "source"]
        if self.fmt is None and idle:
            raise ValueError(f"a quantizer without a format does nothing; leave out {', '.join(idle)}")

    @property
    def active(self) -> bool:
        """Whether it changes its operand."""
        return self.fmt is not None

    @property
    def stochastic(self) -> bool:
        """Whether it draws random numbers: roundings, scales or signs."""
        random = [mode for mode in (self.rounding, self.scale_rounding) if mode and mode.startswith("stochastic")]
        return bool(random) or self.scaling.name == "eden" or (self.transform or "").startswith("rht")


def _has_floor_scales(name: str | None) -> bool:
    fmt = None if name is None else any_format(name)
    return (
        isinstance(fmt, ScaledFormat) and fmt.rule == Rule("floor") and fmt.outer is None and len(fmt.blocks.axes) == 1
    )


def _check_scaling(name: str, spec: str | None) -> None:
    """Raise where scales are found by statistics of blocks along the contraction, and the format has none such."""
    if name not in ("std", "eden") or spec is None:
        return
    fmt: Any = any_format(spec)
    if not isinstance(fmt, ScaledFormat) or fmt.blocks.flat or fmt.blocks.rest != 1 or len(fmt.blocks.sizes) != 1:
        raise ValueError(
            f"scaling {name!r} is for formats with blocks along one axis, as {'mxfp4' if name == 'std' else 'nvfp4'} "
            f"and fp4_e2m1_per_row have them, got {fmt.name}; take one of these, or leave scaling out"
        )
    if name == "eden" and fmt.element != any_format("fp4_e2m1"):
        raise ValueError(f"scaling 'eden' is for elements of fp4_e2m1, as nvfp4 has them, got {fmt.name}; take nvfp4")


def settings_of(of: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default, by name."""
    defaults = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(of)}
    if isinstance(of, Quantizer):
        defaults |= {
            "scaling": _choice("scaling", "format", SCALINGS),
            "gradient": _choice("gradient", "default", GRADIENTS),
        }
    return {name: getattr(of, name) for name, default in defaults.items() if getattr(of, name) != default}


def _spec_of(fmt: Any) -> str:
    """The name by which `halfulp.format` finds a format again."""
    found: Any = any_format(fmt)
    again = any_format(found.name) if _known(found.name) else None
    return found.name if again == found else found.spec


def _known(name: str) -> bool:
    try:
        any_format(name)
    except (ValueError, TypeError):
        return False
    return True


def as_table(of: Quantizer) -> dict[str, Any]:
    """Plain data: the settings that are not at their default; methods by name, or tables where they have parameters."""
    found = settings_of(of)
    for name, known in (("scaling", SCALINGS), ("gradient", GRADIENTS)):
        if name in found:
            choice = found[name]
            own = {key: value for key, value in choice.parameters if value != known[choice.name][key]}
            found[name] = {"name": choice.name, **own} if own else choice.name
    return found


KEEP = Quantizer()
"""Leaves an operand as it is."""
