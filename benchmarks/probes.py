"""What watching costs: sampled training steps, and the others, in steps of the same model that is not watched."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import halfulp as hu
from halfulp.sim.probes.probes import watch

from .results import in_short
from .timing import Spread, in_turn, ratios
from .wrapping import step_of

EVERY = 50
"""Steps from one sample to the next that the target is for."""
OVERHEAD = 10.0
"""Percent that watching may add to training."""
WIDTH, ROWS = 1024, 128
RECIPES = ("mxfp8", "nvfp4")
WHAT_IF: tuple[tuple[str, ...], ...] = ((), ("nvfp4", "mxfp6_e2m3", "int8"))


@dataclass(frozen=True, slots=True)
class Watching:
    """One recipe, watched.

    Args:
        recipe: what the model is quantized with; empty for a model that is not.
        what_if: formats that are not in use.
        seconds: of a step that is not watched.
        sampled, other: steps with a probe, sampled and not, in steps without.
        error: why there is no time.
    """

    recipe: str
    what_if: tuple[str, ...]
    seconds: Spread | None = None
    sampled: Spread | None = None
    other: Spread | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        asked = f", what if {', '.join(self.what_if)}" if self.what_if else ""
        return f"MLP, 3 x {WIDTH}, {ROWS} rows, {self.recipe or 'not quantized'}{asked}"

    @property
    def overhead(self) -> float | None:
        """Percent that watching adds to training, one step of `EVERY` sampled; others where they are surely longer."""
        if self.sampled is None or self.other is None:
            return None
        other = self.other.median if self.other.low > 1 else 1.0
        return 100 * ((self.sampled.median + (EVERY - 1) * other) / EVERY - 1)


def _perceptron(recipe: str) -> Any:
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()] * 2
    model = torch.nn.Sequential(*map(copy.deepcopy, layers), torch.nn.Linear(WIDTH, WIDTH))
    return hu.quantize_(model, recipe) if recipe else model


def watching(recipe: str, what_if: tuple[str, ...], budget: float) -> Watching:
    """Time one recipe; a failure is a line of the table."""
    import torch

    try:
        x = torch.randn(ROWS, WIDTH)
        models = [_perceptron(recipe) for _ in range(3)]
        plain, sampled, other = (step_of(model, x) for model in models)
        with (
            watch(models[1], every=1, what_if=what_if),
            watch(models[2], every=1 << 40, what_if=what_if or "mxfp4") as idle,
        ):
            _past_the_first(models[2], idle, x)
            seconds = in_turn({"plain": plain, "sampled": sampled, "other": other}, budget, least=5)
    except Exception as error:
        return Watching(recipe, what_if, error=in_short(error))
    shares = [ratios(seconds[name], seconds["plain"]) for name in ("sampled", "other")]
    return Watching(recipe, what_if, Spread.of(seconds["plain"]), *shares)


def _past_the_first(model: Any, probe: Any, x: Any) -> None:
    """Leave step 0, which is sampled."""
    hu.advance_(model)
    model(x)
    model(x)
    if probe.rows():
        raise RuntimeError("expected no sampled step")


def run(budget: float = 10.0) -> Iterator[Watching]:
    """Every recipe and choice of formats."""
    return (watching(recipe, what_if, budget) for recipe in RECIPES for what_if in WHAT_IF)


def main() -> None:
    """Print what each costs."""
    for row in run():
        if row.sampled is None or row.other is None or row.seconds is None:
            print(f"{row.name}: {row.error}")
            continue
        print(
            f"{row.name}: {1e3 * row.seconds.median:.1f} ms a step; sampled {row.sampled.median:.2f} "
            f"({row.sampled.low:.2f}..{row.sampled.high:.2f}) steps, others {row.other.median:.3f}; "
            f"{row.overhead:.1f}% at one step of {EVERY} (target {OVERHEAD:.0f}%)",
            flush=True,
        )


if __name__ == "__main__":
    main()
