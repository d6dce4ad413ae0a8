"""Writes the pictures of docs/pictures.md from small trainings on the digits: a few minutes on two cores.

Finished runs are kept in out/pictures, so that a second call only draws.
"""

from pathlib import Path
from typing import Any

import halfulp as hu
import numpy as np
from halfulp.sim.pictures.curves import plot_curves
from halfulp.sim.pictures.effects import plot_effects, plot_interaction
from halfulp.sim.pictures.heat_map import plot_divergence, plot_heat_map
from halfulp.sim.pictures.number_lines import plot_number_lines
from halfulp.sim.pictures.pareto import plot_pareto
from halfulp.sim.pictures.saving import save_figure
from halfulp.sim.pictures.scales import plot_scales
from halfulp.sim.sweeps.effects import effects

PICTURES = Path(__file__).parent / "images" / "pictures"
KEPT = Path(__file__).parents[1] / "out" / "pictures"
DPI = 200
FORMATS = ["e[1-5]m[0-4]", "int[2-8]", "ternary", "nf4", "posit8", "posit6", "binary32"]
IN_CURVES = ("binary32", "fp8_e4m3", "fp4_e2m1", "int4", "ternary")


def swept() -> Any:
    """Runs of 37 formats, three seeds and four learning rates."""
    KEPT.mkdir(parents=True, exist_ok=True)
    how = hu.Training(steps=120, diverged_above=3.0)
    rates = (0.03, 0.1, 0.3, 1.0)
    return hu.sweep(
        "digits", formats=FORMATS, seeds=3, learning_rates=rates, training=how, store=KEPT / "digits.sqlite"
    )


def trained() -> list[hu.Trained]:
    """Three runs in each of some formats."""
    recipes = [hu.uniform(name) for name in IN_CURVES]
    runs = [hu.Run(recipe, seed=seed, learning_rate=0.3) for recipe in recipes for seed in range(3)]
    return hu.train("digits", runs, hu.Training(steps=200, diverged_above=4.0))


def draw(runs: Any, results: list[hu.Trained]) -> None:
    """All pictures."""
    floats = runs[runs["exponent_bits"].between(2, 5) & runs["mantissa_bits"].between(1, 4)]
    floats = floats[(floats["learning_rate"] == 0.1)].assign(percent=lambda table: 100 * table["test_accuracy"])
    floats = floats.astype({"exponent_bits": int, "mantissa_bits": int})
    found = effects(floats, "percent", ["exponent_bits", "mantissa_bits"], interactions=1)
    some = runs[runs["format"].str.contains("m[12]|int[3-6]")]
    rng = np.random.default_rng(0)
    rows = np.exp(rng.standard_normal((256, 1), np.float32))  # rows of different sizes, as weights have
    weights = 0.02 * rows * rng.standard_normal((256, 256), np.float32)
    four = ["fp4_e2m1", "fp4_e1m2", "fp4_e3m0", "int4", "nf4", "pow2_4"]
    eight = ["fp8_e4m3", "fp8_e5m2", "fp8_e3m4", "posit8", "hifloat8", "int8"]
    figures = {
        "heat_map": plot_heat_map(runs),
        "heat_map_log": plot_heat_map(
            runs, "test_loss", names=True, log=True, labels={"test_loss": "test loss (nats)"}
        ),
        "divergence": plot_divergence(some),
        "pareto": plot_pareto(runs, log="y"),
        "pareto_page": plot_pareto(runs, log="y", named="all", width="page", height=3.6),
        "curves": plot_curves(results, smooth=10),
        "scales": plot_scales(weights, ["mxfp4", "nvfp4", "int8_per_row"]),
        "number_lines": plot_number_lines(four, relative=True),
        "number_lines_log": plot_number_lines(eight, "log2"),
        "effects": plot_effects(found, label="effect on test accuracy (%)"),
        "interaction": plot_interaction(floats, "test_accuracy", "mantissa_bits", "exponent_bits"),
    }
    for name, figure in figures.items():
        print(save_figure(figure, PICTURES / f"{name}.png", dpi=DPI))


if __name__ == "__main__":
    draw(swept(), trained())
