"""Scaling Law for Quantization-Aware Training: the error of 4-bit weights and activations over size, data and blocks.

The law (arXiv:2505.14302): with N parameters, D tokens and G elements a scale,

    delta = k D^gamma_D (log2 G)^gamma_G / N^gamma_N
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas

from .claims import FORMULA, Claim, Measured
from .figures import COLOURS, MARKERS, canvas
from .rules import Between, Equal, Printed, Within
from .study import Context, Findings, Picture, Study

PAPER = "arXiv:2505.14302"


@dataclass(frozen=True, slots=True)
class Law:
    """One row of the fitted coefficients."""

    k: float
    gamma_N: float
    gamma_D: float
    gamma_G: float

    def error(self, parameters: Any, tokens: Any, block: Any) -> Any:
        """delta: the loss that quantization adds, in nats a token."""
        return self.k * tokens**self.gamma_D * np.log2(block) ** self.gamma_G / parameters**self.gamma_N


W4A4 = Law(0.1582, 0.2186, 0.0745, 0.7779)
W4A16 = Law(0.2522, 0.3589, 0.1610, 0.3533)
W16A4 = Law(0.1004, 0.1816, 0.0331, 0.9812)
LAWS = {"W4A4": W4A4, "W4A16": W4A16, "W16A4": W16A4}
SIZES = (74e6, 145e6, 297e6, 595e6)
_READ = "the ratio is quoted from runs, the law was fitted to all of them"


def ratio(per_parameter: float, parameters: float = 595e6, block: int = 32) -> float:
    """R: the error of 4-bit activations over that of 4-bit weights, at so many tokens a parameter."""
    tokens = per_parameter * parameters
    return float(W16A4.error(parameters, tokens, block) / W4A16.error(parameters, tokens, block))


_RECOMPUTED = f"{PAPER}; recomputed from its coefficients"


def _claim(id: str, statement: str, published: Any, rule: Any, source: str = PAPER) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    _claim("ratio_100", "At 100 tokens a parameter, 595M parameters and blocks of 32, activations cost 1.67 times as "
           "much as weights.", 1.67, Within(relative=0.03, why=_READ)),
    _claim("ratio_1000", "At 1000 tokens a parameter they cost 1.20 times as much.", 1.20,
           Within(relative=0.03, why=_READ)),
    _claim("ratio_100_recomputed", "By the law the first ratio is 1.646.", "1.646", Printed(), _RECOMPUTED),
    _claim("ratio_1000_recomputed", "By the law the second is 1.185 with 297M parameters and 1.226 with 595M.",
           ["1.185", "1.226"], Printed(), _RECOMPUTED),
    _claim("falls_with_size", "The error of W4A4 falls by 34 to 37% from 74M to 595M parameters (%).", 34.0,
           Between(33.5, 37.5)),
    _claim("rises_with_data", "The error of W4A4 rises by 19 to 22% with ten times the data (%).", 22.0,
           Between(18.5, 22.5)),
    _claim("weights_overtake", "With data, the error of weights grows faster than that of activations.", True, Equal()),
    _claim("activations_need_blocks", "The error of activations depends more on the block size than that of weights.",
           True, Equal()),
)  # fmt: skip


def _measured() -> dict[str, Measured]:
    fall = 1 - float(W4A4.error(595e6, 1e11, 32) / W4A4.error(74e6, 1e11, 32))
    rise = float(W4A4.error(595e6, 1e11, 32) / W4A4.error(595e6, 1e10, 32)) - 1
    at_1000 = ratio(1000)
    return {
        "ratio_100": Measured(ratio(100)),
        "ratio_1000": Measured(at_1000, note=f"{ratio(1000, parameters=74e6):.3f} at 74M parameters."),
        "ratio_100_recomputed": Measured(ratio(100)),
        "ratio_1000_recomputed": Measured([ratio(1000, parameters=size) for size in (297e6, 595e6)]),
        "falls_with_size": Measured(
            100 * fall, note="The law gives this for any data and block; 34% is not the law's."
        ),
        "rises_with_data": Measured(
            100 * rise, note="The law gives this for any size and block; 22% is not the law's."
        ),
        "weights_overtake": Measured(W4A16.gamma_D > W16A4.gamma_D),
        "activations_need_blocks": Measured(W16A4.gamma_G > W4A16.gamma_G),
    }


def _picture() -> Picture:
    figure, axes = canvas(columns=3, sharey=True)
    size, tokens, block = np.logspace(7.5, 9.5, 100), np.logspace(10, 13, 100), 2.0 ** np.arange(4, 9)
    for index, (name, law) in enumerate(LAWS.items()):
        axes[0].plot(size, law.error(size, 1e11, 32), color=COLOURS[index], label=name)
        axes[1].plot(tokens, law.error(595e6, tokens, 32), color=COLOURS[index])
        axes[2].plot(block, law.error(595e6, 1e11, block), color=COLOURS[index], marker=MARKERS[index])
    axes[0].set(
        xscale="log", xlabel="parameters", ylabel="added loss (nats a token)", title="100B tokens, blocks of 32"
    )
    axes[1].set(xscale="log", xlabel="tokens", title="595M parameters, blocks of 32")
    axes[2].set(xscale="log", xlabel="elements a scale", title="595M parameters, 100B tokens", xticks=block)
    axes[2].set_xticks([], minor=True)
    axes[2].set_xticklabels([f"{each:.0f}" for each in block])
    axes[0].legend()
    return Picture(figure, "The error of 4-bit weights, activations or both over size, data and block size.")


def run(context: Context) -> Findings:
    """Evaluate the law; a second at any scale."""
    context.report(0, 1, "the law")
    table = pandas.DataFrame(
        [(name, size, float(law.error(size, 100 * size, 32))) for name, law in LAWS.items() for size in SIZES],
        columns=["operands", "parameters", "error"],
    )
    return Findings(_measured(), {"errors": table}, {"law": _picture()})


STUDY = Study(
    "qat_law",
    "The scaling law of quantization-aware training",
    "How does the error of 4-bit training depend on size, data and block size, and which operand is to blame?",
    (PAPER,),
    CLAIMS,
    run,
)
