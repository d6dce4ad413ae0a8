"""Numerical algorithms in low precision: refinement, sums, the heat equation, polar factors, accumulators.

Limits and rates that rounding error analysis proves or experiments published, measured on this library's emulation.
The experiments are in `methods_refinement`, `methods_sums`, `methods_heat` and `methods_polar`.
"""

from typing import Any

import numpy as np
import pandas

from ...emulate import analysis
from ...emulate.units.accumulator import Accumulator
from ..claims import Measured
from ..study import Context, Findings, Study
from .claims import CLAIMS, EXPRESS
from .heat import growth as heat_growth
from .heat import heat
from .pictures import pictures
from .polar import SAFETY, all_rounded, interval, polar_express
from .refinement import FULL_ACCURACY, GEOMETRIC, ONE_SMALL, Precisions, Solved, limits, rate, solved
from .results import CELLS, DEPTHS, FORMATS, KAPPAS, RESIDUALS, WIDER, Results
from .statistics import mean, slope
from .sums import DATA, LENGTHS, UNITS, fp8_errors, growth, harmonic, int8_sum, stochastic_harmonic

_GMRES = Precisions("fp16", method="gmres")
_EIGHT = Precisions("fp8_e4m3", method="gmres", scaling="two_sided")
_SWEEP = {
    "LU, fp16": (Precisions("fp16"), range(1, 11)),
    "LU, bf16": (Precisions("bf16"), range(1, 11)),
    "GMRES, fp16": (_GMRES, range(1, 11)),
    "GMRES, E4M3": (_EIGHT, range(1, 11)),
    "GMRES, fp16, all else fp64": (Precisions("fp16", "fp64", "fp64", "gmres"), range(1, 17, 3)),
}
"""What the picture of refinement shows, with log10 of the condition numbers."""


def _refinement(context: Context, results: Results) -> dict[str, Measured]:
    systems, few = (8, 5) if context.quick else (60, 20)
    found = {GEOMETRIC: limits(FORMATS, 32, systems), ONE_SMALL: limits(FORMATS, 32, systems, ONE_SMALL)}
    for mode, limiting in found.items():
        results.limits |= {(mode, fmt): mean(column) for fmt, column in zip(FORMATS, limiting.T)}
    for name, (precisions, kappas) in _SWEEP.items():
        results.sweep[name] = [(float(kappa), solved(precisions, 24, kappa, 0)) for kappa in kappas]
    wider = list(WIDER)
    one_small = rate(WIDER, found[ONE_SMALL][:, -len(wider) :])
    at_limit = [solved(Precisions("fp16"), 32, 4.0, seed).forward <= FULL_ACCURACY for seed in range(12)]
    all_solved = [k for k in (6, 7, 8, 9) if all(_full(solved(_GMRES, 24, k, seed)) for seed in range(few))]
    # u**(-1/2) / u_f of binary32 and E4M3.
    eight = [solved(_EIGHT, 24, float(np.log10(2.0**12 * 2.0**4)), seed) for seed in range(few)]
    steps = np.mean([each.steps for each in eight])
    return {
        "lu_limit": results.limits[GEOMETRIC, "fp16"].measured(
            f"{results.limits[ONE_SMALL, 'fp16'].value:.2f} where one singular value is small (mode 2)."
        ),
        "lu_at_limit": Measured(
            all(at_limit), note=f"{sum(at_limit)} of 12: the condition is kappa u_f < 1, and 1/u of fp16 is 2048."
        ),
        "lu_rate": rate(FORMATS, found[GEOMETRIC]).measured(
            "With singular values in geometric progression the elements, and their rounding errors, shrink beside the "
            "norm as kappa grows; where only one is small and factors have 8 bits or more the power is "
            f"{one_small.value:.2f} [{one_small.low:.2f}, {one_small.high:.2f}]."
        ),
        "gmres_limit": Measured(
            max(all_solved, default=0),
            note="Some matrices are solved far beyond: rounded to binary32 they are no longer that ill-conditioned.",
        ),
        "gmres_fp8": Measured(
            all(_full(each) for each in eight),
            note=f"In {steps:.0f} steps of GMRES in all for 24 unknowns: factors of 8 bits precondition little.",
        ),
        **_accuracy(systems, results),
    }


def _full(found: Solved) -> bool:
    return found.forward <= FULL_ACCURACY


def _accuracy(systems: int, results: Results) -> dict[str, Measured]:
    """How errors depend on the condition number where refinement converges."""
    for name, fmt in RESIDUALS.items():
        results.residual[name] = [[solved(fmt, 32, kappa, seed) for seed in range(systems)] for kappa in KAPPAS]
    every = {name: [each for row in rows for each in row] for name, rows in results.residual.items()}
    rates = {
        name: slope(10.0 ** np.array(KAPPAS), np.array([each.forward for each in found]).reshape(len(KAPPAS), -1))
        for name, found in every.items()
    }
    return {
        "working_residual": rates["fp32"].measured(),
        "double_residual": rates["fp64"].measured(),
        "backward_error": Measured(max(each.backward for found in every.values() for each in found) * 2**24),
    }


def _sums(context: Context, results: Results) -> dict[str, Measured]:
    rows = 64 if context.quick else 512
    for data in DATA:
        for rounding in ("nearest_even", "stochastic"):
            results.growth[data, rounding] = growth(data, rounding, rows)
    bounds = [analysis.gamma_tilde(n, "fp16", "stochastic") for n in LENGTHS]
    above = {key: (errors > np.array(bounds)[:, None]).any() for key, (errors, _) in results.growth.items()}
    to_nearest = [analysis.gamma_tilde(n, "fp16") for n in LENGTHS]
    constant = results.growth["constant", "nearest_even"][0]
    stopped = {fmt: harmonic(fmt, most) for fmt, most in (("bf16", 200), ("fp16", 1000), ("fp32", 2_100_000))}
    rates = {key: estimate.measured() for key, (_, estimate) in results.growth.items()}
    return {
        **{f"harmonic_{fmt}": Measured([found.value, found.terms]) for fmt, found in stopped.items()},
        "stochastic_mean": stochastic_harmonic(4096, 400 if context.quick else 4000).measured(),
        "nearest_constant": rates["constant", "nearest_even"],
        "nearest_centred": rates["centred", "nearest_even"],
        "stochastic_constant": rates["constant", "stochastic"],
        "stochastic_uniform": rates["uniform", "stochastic"],
        "stochastic_bound": Measured(not any(above[data, "stochastic"] for data in DATA)),
        "nearest_exceeds": Measured(bool((constant > np.array(to_nearest)[:, None]).any())),
    }


def _heat(context: Context, results: Results) -> dict[str, Measured]:
    cells = CELLS if context.quick else (*CELLS, 128)
    results.heat["nearest_even"] = [heat(k, "fp16") for k in cells]
    results.heat["stochastic"] = [heat(k, "fp16", "stochastic", 96 if context.quick else 384) for k in cells]
    nearest, stochastic = results.heat["nearest_even"], results.heat["stochastic"]
    fine = 2 if context.quick else 1
    exact = heat_growth(nearest).value
    stops, far = (float(each) for each in (nearest[CELLS.index(64)].stagnates_after, nearest[CELLS.index(64)].error[0]))
    return {
        "heat_stagnates": Measured(
            stops < 0.99, note=f"dx = 1/64: nothing moves after {stops:.0%} of the steps, at an error of {far:.2f}."
        ),
        "heat_nearest": Measured(exact, note=f"From dx = 1/16 to 1/{cells[-1]}; errors that reach the solution's size "
                                 "saturate."),
        "heat_stochastic": heat_growth(stochastic).measured(),
        "heat_moves": Measured(all(each.stagnates_after > 0.999 for each in stochastic[-fine:])),
    }  # fmt: skip


def _polar(context: Context) -> dict[str, Measured]:
    seeds = 5 if context.quick else 20
    found = polar_express(1e-3, 8)[:7] * SAFETY
    measured = {"express_coefficients": Measured([float(each) for each in found.reshape(-1)])}
    low, high = all_rounded(128, 0)
    note = f"Where sums inside of products are rounded to bfloat16, too: [{low:.4f}, {high:.4f}]."
    for name, method in (("express_ends", "polar_express"), ("muon_ends", "muon")):
        least, largest = interval(method, 128, seeds)
        lows, highs = [least.low, largest.low], [least.high, largest.high]
        measured[name] = Measured([least.value, largest.value], lows, highs, seeds, note)
        note = ""
    return measured


def _accumulators(context: Context, results: Results) -> dict[str, Measured]:
    runs = 5 if context.quick else 20
    for name, unit in UNITS.items():
        results.fp8[name] = np.array([[fp8_errors(unit, n, seed) for seed in range(runs)] for n in DEPTHS])
    largest = {name: errors.max(axis=(2, 3)) for name, errors in results.fp8.items()}
    wider = {bits: fp8_errors(_aligned(bits), 4096, 0).max() for bits in (14, 15)}
    note = "With " + ", ".join(f"{bits} bits below the leading one {error:.1%}" for bits, error in wider.items())
    promoted = slope(DEPTHS, results.fp8["E8M13, cut, fp32 every 128"].reshape(len(DEPTHS), -1))
    extreme = slope(DEPTHS, largest["E8M13, cut, fp32 every 128"]).value
    unit = mean(largest["13 bits, aligned"][-1])
    nearest = largest["E8M13, to nearest"][-1].mean()
    return {
        "tensor_core": unit.measured(f"{note}; 13 bits rounded to nearest {nearest:.1%}. The paper names neither the "
                                     "matrices nor the measure."),
        "promotion": promoted.measured(f"Of the largest of 1024 errors, which nears the mean, {extreme:.2f}."),
        "int8": Measured([int8_sum(131071), int8_sum(131072)]),
    }  # fmt: skip


def _aligned(bits: int) -> Any:
    return Accumulator("fp32", order="aligned", chunk=32, aligned_bits=bits)


def _tables(results: Results) -> dict[str, pandas.DataFrame]:
    rows = [(name, kappa, *_fields(each)) for name, found in results.sweep.items() for kappa, each in found]
    limiting = [(mode, fmt, FORMATS[fmt], *found) for (mode, fmt), found in results.limits.items()]
    rates = [(*key, *estimate) for key, (_, estimate) in results.growth.items()]
    fp8 = [
        (name, n, error.max(axis=(1, 2)).mean())
        for name, found in results.fp8.items()
        for n, error in zip(DEPTHS, found)
    ]
    estimate = ["value", "low", "high", "count"]
    return {
        "refinement": pandas.DataFrame(rows, columns=["method", "log10_kappa", "forward", "backward", "steps"]),
        "limits": pandas.DataFrame(limiting, columns=["mode", "factors", "bits", *estimate]),
        "growth": pandas.DataFrame(rates, columns=["data", "rounding", *estimate]),
        "fp8": pandas.DataFrame(fp8, columns=["accumulator", "length", "largest_relative_error"]),
    }


def _fields(found: Solved) -> tuple[float, float, int]:
    return found.forward, found.backward, found.steps


def run(context: Context) -> Findings:
    """Run the experiments; under a minute at the quick scale."""
    results, measured = Results(), {}
    parts = {"refinement": _refinement, "sums": _sums, "heat equation": _heat, "accumulators": _accumulators}
    for index, (what, part) in enumerate(parts.items()):
        context.report(index, len(parts) + 1, what)
        measured |= part(context, results)
    context.report(len(parts), len(parts) + 1, "polar factors")
    measured |= _polar(context)
    return Findings(measured, _tables(results), pictures(results))


STUDY = Study(
    "numerical_methods",
    "Numerical algorithms in low precision",
    "How far do refinement, sums, time stepping and orthogonalization go in low precision?",
    ("Carson and Higham 2018", "Connolly, Higham and Mary 2021", "arXiv:2010.16225", EXPRESS, "arXiv:2412.19437"),
    CLAIMS,
    run,
    scales=("quick", "full"),
)
