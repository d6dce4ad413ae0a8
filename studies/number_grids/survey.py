"""Every small format on three kinds of random numbers, under every rule of scales: mean squared errors, exactly."""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas

from ...formats.registry import plain_format
from ...formats.scaled_registry import scaled
from ..errors.densities import GAUSSIAN, LAPLACE, STUDENT
from ..errors.exact import Rounded, best_scale, blocked, cells_of, static

MINIFLOATS = tuple(f"e{e}m{m}" for e in range(1, 8) for m in range(8 - e) if e + m >= 2)
"""Of 3 to 8 bits, without codes for infinities and NaN."""
INTEGERS = ("binary", "ternary", "int2_midrise", *(f"int{bits}_narrow" for bits in range(3, 9)))
OTHERS = ("nf2", "nf4", "af4", "pow2_4", "apot_4", "posit6", "posit8", "takum8", "hifloat8", "fp8_e4m3", "fp8_e5m2")
FORMATS = (*INTEGERS, *MINIFLOATS, *OTHERS)
DENSITIES = (GAUSSIAN, LAPLACE, STUDENT)
PHASES = 4
CENTRE = 8.0
"""E4M3 scales of the survey lie around 16, in the middle of their range, as an outer scale would have them."""


class Rule(NamedTuple):
    """How scales are found.

    Args:
        name: in tables. options: of `scaled`; None for the one scale of least error.
    """

    name: str
    options: dict[str, Any] | None


RULES = (
    Rule("best", None),
    Rule("absmax 16", {"block": 16}),
    Rule("absmax 32", {"block": 32}),
    Rule("absmax 128", {"block": 128}),
    Rule("e8m0 floor 32", {"block": 32, "scale": "e8m0", "rule": "floor"}),
    Rule("e8m0 ceil 32", {"block": 32, "scale": "e8m0", "rule": "tetrajet"}),
    Rule("e4m3 16", {"block": 16, "scale": "ue4m3"}),
)
"""One scale for all numbers; exact, power-of-two and E4M3 scales of blocks. 'ceil' is the smallest that never
saturates."""


def error_of(name: str, density: Any, rule: Rule, stochastic: bool) -> Rounded:
    """A format under a rule; powers of two as a mean over standard deviations from 1 to 2, others at one."""
    if rule.options is None:
        cells, goal = cells_of(plain_format(name)), float(scaled(name).goal)
        return static(cells, density, best_scale(cells, density, stochastic, goal)[0], stochastic)
    fmt = scaled(name, **rule.options)
    deviations = 2.0 ** (np.arange(PHASES) / PHASES) if fmt.rule.power_of_two else [CENTRE * float(fmt.goal)]
    each = [blocked(fmt, density, deviation=float(s), stochastic=stochastic) for s in deviations]
    return Rounded(*(float(part) for part in np.mean(each, axis=0)))


def survey(report: Callable[[int, int, str], None]) -> pandas.DataFrame:
    """A row for each format, density, rule and rounding."""
    cases = list(product(FORMATS, DENSITIES, RULES, (False, True)))
    rows = []
    for done, (name, density, rule, stochastic) in enumerate(cases):
        if done % 200 == 0:
            report(done, len(cases), name)
        found = error_of(name, density, rule, stochastic)
        fmt = plain_format(name)
        rounding = "stochastic" if stochastic else "nearest"
        rows.append((name, fmt.bits, density.name, rule.name, rounding, found.error, found.decibels, found.shrinkage))
    columns = ["format", "bits", "data", "scales", "rounding", "mse", "sqnr_db", "shrinkage"]
    return pandas.DataFrame(rows, columns=columns)
