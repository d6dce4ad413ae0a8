"""What is quantized at each scale."""

from dataclasses import dataclass
from itertools import product

from ..study import FULL, QUICK
from .claims import APPLIES
from .formats import ALL, LAYOUTS
from .quantizing import REPAIRS, ROUNDINGS, Case

INTEGERS = {bits: f"int{bits}" for bits in LAYOUTS}


@dataclass(frozen=True, slots=True)
class Plan:
    """A scale.

    Args:
        seeds: networks of each kind.
        methods: formats for which methods are tried, for weights alone and for weights and activations.
        lonely: whether weights and activations are also quantized alone, in all formats.
    """

    seeds: int
    methods: tuple[str, ...]
    lonely: bool = True


_TRIED = ("int3", "e2m0", "int4", "e2m1")
PLANS = {QUICK: Plan(8, _TRIED), FULL: Plan(24, _TRIED)}


def cases(plan: Plan, model: str) -> list[Case]:
    """Of a network, each once; the first is the original."""
    lonely = [Case(name, None) for name in ALL] + [Case(None, name) for name in ALL] if plan.lonely else []
    found = [Case(None, None), *(Case(name, name) for name in ALL), *lonely, *grid()]
    found += [Case(name, name, repairs=("smooth",)) for name in ("int8", LAYOUTS[8])]
    for fmt in plan.methods:
        found += [*_alone(fmt, model), *_together(fmt, model)]
    return list(dict.fromkeys(found))


def grid() -> list[Case]:
    """Weights x activations of 3 to 8 bits, integers and one layout a width."""
    return [Case(w, a) for family in (INTEGERS, LAYOUTS) for w, a in product(family.values(), repeat=2)]


def _alone(fmt: str, model: str) -> list[Case]:
    """Methods for weights alone, and nearest rounding."""
    applied = APPLIES[model]
    rounded = [Case(fmt, None, name) for name in ROUNDINGS]
    return rounded + [Case(fmt, None, repairs=(name,)) for name in ("equalize",) if name in applied]


def _together(fmt: str, model: str) -> list[Case]:
    """Methods with activations in the same format: each alone, and all that apply with learned rounding."""
    applied = tuple(name for name in REPAIRS if name in APPLIES[model])
    each = [Case(fmt, fmt, name) for name in ROUNDINGS] + [Case(fmt, fmt, repairs=(name,)) for name in applied]
    return [*each, Case(fmt, fmt, "adaround", applied)]
