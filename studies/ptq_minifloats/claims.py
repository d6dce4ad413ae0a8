"""The claims of the study of small formats after training, with their rules."""

from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between

PAPER = "arXiv:2311.12359"
MODELS = {"cnn": "Digits", "llama": "Bytes"}
"""Networks, and how statements call them."""
WON = (4, 5, 6, 7, 8)
"""Widths at which minifloats are published to win."""
METHODS = {
    "gptq": ("GPTQ", "arXiv:2210.17323", "weights alone"),
    "adaround": ("learned rounding", "arXiv:2004.10568", "weights alone"),
    "equalize": ("equalization of weights across layers", "arXiv:1906.04721", "weights alone"),
    "smooth": ("SmoothQuant", "arXiv:2211.10438", "weights and activations"),
    "bias": ("bias correction", "arXiv:1906.04721", "weights and activations"),
}
"""Name, source, and what is quantized where it is judged."""
APPLIES = {"cnn": ("gptq", "adaround", "smooth", "bias"), "llama": ("gptq", "adaround", "equalize", "smooth")}
"""Equalization is exact where no normalization stands between two layers; bias correction needs biases."""
COSTS = {"area": "area of the unit in our gate model", "accumulator": "width of the exact accumulator"}
QUALITIES = {"accuracy": "accuracy", "divergence": "divergence"}
OFTEN = 0.5
"""The least share that counts as the paper's 'often': our reading."""


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, TRAINING, rule)


def _method(model: str, name: str, fmt: str) -> Claim:
    shown, source, what = METHODS[name]
    if fmt == "e2m1":
        source = f"{PAPER}, applies methods for integers to minifloats; that each helps is our reading"
    return _claim(f"{name}_{fmt}_{model}", f"{MODELS[model]}: {shown} lowers the damage of {fmt.upper()} (log ratio of "
                  f"divergences to nearest rounding, {what}).", source, "better", Between(high=0.0))  # fmt: skip


def _of_model(model: str, shown: str) -> tuple[Claim, ...]:
    made = f"{PAPER}, conclusions; networks ours"
    return (
        *(_claim(f"wins_{bits}_{model}", f"{shown}: at {bits} bits the best minifloat has a lower loss than integers "
                 "(difference in nats; the layout is chosen on the other seeds).", made, "more accurate",
                 Between(high=0.0))
          for bits in WON),
        _claim(f"closer_{model}", f"{shown}: from 4 to 8 bits the best minifloat keeps predictions closer to the "
               "original's than integers do (log ratio of divergences, mean over widths).",
               f"{PAPER}, conclusions on accuracy; divergence and networks ours", "more accurate",
               Between(high=0.0)),
        *(_claim(f"integers_{cost}_{quality}_{model}", f"{shown}: counting the {what}, integers are often "
                 f"Pareto-optimal in {by} (share of INT3 to INT8 that no other format beats; 'often' is read as "
                 f"{OFTEN:g} or more).", made, "often", Between(low=OFTEN))
          for cost, what in COSTS.items() for quality, by in QUALITIES.items()),
        *(_method(model, name, fmt) for name in APPLIES[model] for fmt in ("e2m1", "int4")),
        _claim(f"smooth_int8_{model}", f"{shown}: SmoothQuant lowers the damage of INT8 (log ratio of divergences, "
               "weights and activations).", METHODS["smooth"][1], "better", Between(high=0.0)),
    )  # fmt: skip


CLAIMS = tuple(claim for model, shown in MODELS.items() for claim in _of_model(model, shown))
