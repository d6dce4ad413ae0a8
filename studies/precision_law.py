"""Scaling Laws for Precision: effective parameters, the cost of quantizing after training, the best precision.

The law (arXiv:2411.04330): with N parameters, D tokens and P bits of weights, activations and cache,

    L = A N_eff^-alpha + B D^-beta + E + delta_PTQ
    N_eff = N prod over w, a, kv of (1 - exp(-P / gamma))
    delta_PTQ = C_T D^gamma_D / N^gamma_N exp(-P_post / gamma_post)

The exponentials were fitted with an offset, 1 - exp(-P / gamma + n), which the printed law leaves out. What follows is
computed with and without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from scipy.optimize import minimize_scalar

from .claims import FORMULA, Claim, Measured
from .figures import COLOURS, COLUMN, MARKERS, canvas
from .rules import Between, Equal, Printed
from .study import Context, Findings, Picture, Study

PAPER = "arXiv:2411.04330"
_FINE = {"xatol": 1e-10}


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How one kind of tensor depends on its precision: gamma, and the offset that was fitted with it."""

    gamma: float
    offset: float

    def share(self, bits: Any, offset: bool) -> Any:
        """The share of parameters that stays effective at so many bits."""
        return 1 - np.exp(-np.asarray(bits, float) / self.gamma + (self.offset if offset else 0.0))


WEIGHTS, ACTIVATIONS, CACHE = Sensitivity(2.6745, 0.3037), Sensitivity(2.2102, 1.4072), Sensitivity(0.9578, 2.4185)
"""As fitted, with their offsets."""


@dataclass(frozen=True, slots=True)
class Law:
    """The fitted coefficients (arXiv:2411.04330)."""

    A: float = 4.299e3
    alpha: float = 0.4965
    B: float = 1.806e4
    beta: float = 0.4965
    E: float = 2.7648
    C_T: float = 0.0598
    gamma_D: float = 0.5068
    gamma_N: float = 0.3439
    gamma_post: float = 0.5907

    def damage(self, parameters: Any, tokens: Any, bits: Any) -> Any:
        """delta_PTQ: what quantizing the weights after training costs, in nats a token."""
        return self.C_T * tokens**self.gamma_D / parameters**self.gamma_N * np.exp(-bits / self.gamma_post)

    def loss(self, parameters: Any, tokens: Any, share: Any = 1.0) -> Any:
        """The law without quantization after training, in nats a token."""
        return self.A * (parameters * share) ** -self.alpha + self.B * tokens**-self.beta + self.E

    def critical_tokens(self, parameters: float, bits: float) -> float:
        """Tokens beyond which the model that is quantized after training gets worse: the root of dL/dD."""
        right = self.beta * self.B * parameters**self.gamma_N * np.exp(bits / self.gamma_post)
        return float((right / (self.gamma_D * self.C_T)) ** (1 / (self.gamma_D + self.beta)))

    def critical_by_search(self, parameters: float, bits: float) -> float:
        """The same, by a minimization that knows only the law."""

        def loss(x: float) -> float:
            return self.loss(parameters, 10.0**x) + self.damage(parameters, 10.0**x, bits)

        found: Any = minimize_scalar(loss, bounds=(6, 20), method="bounded", options=_FINE)
        return 10.0**found.x


LAW = Law()
CRITICAL = {3: "5.45e10", 4: "2.95e11", 5: "1.59e12", 8: "2.51e14"}
"""Bits: critical tokens at 1B parameters."""


def separate(bits: Any, offset: bool) -> Any:
    """The effective share with weights, activations and cache of the same bits, each with its own sensitivity."""
    return WEIGHTS.share(bits, offset) * ACTIVATIONS.share(bits, offset) * CACHE.share(bits, offset)


def averaged(bits: Any, offset: bool) -> Any:
    """The effective share with one sensitivity for all three, the mean of theirs."""
    each = (WEIGHTS, ACTIVATIONS, CACHE)
    mean = Sensitivity(sum(s.gamma for s in each) / 3, sum(s.offset for s in each) / 3)
    return mean.share(bits, offset) ** 3


def best_bits(share: Callable[[Any, bool], Any], offset: bool) -> float:
    """P* of training: the precision at which compute, C = 6/16 N D P, buys the lowest loss.

    Fewer bits leave compute for more parameters, of which fewer are effective: what counts is share(P) / P, whatever
    the compute. With offsets the shares turn negative at a few bits, where the law says nothing.
    """
    bits = np.linspace(0.05, 16, 4000)
    parts = np.stack([each.share(bits, offset) for each in (WEIGHTS, ACTIVATIONS, CACHE)])
    start = int(np.argmax(np.where((parts > 0).all(axis=0), share(bits, offset) / bits, -np.inf)))
    found: Any = minimize_scalar(
        lambda p: -float(share(p, offset)) / p,
        bounds=(bits[start - 1], bits[start + 1]),
        method="bounded",
        options=_FINE,
    )
    return float(found.x)


_RECOMPUTED = f"{PAPER}; recomputed from its coefficients"


def _claim(id: str, statement: str, published: Any, rule: Any, source: str = PAPER) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    *(_claim(f"critical_data_p{bits}", f"Quantizing a model of 1B parameters to {bits} bits after training, more data "
             f"than {tokens} tokens make it worse.", tokens, Printed())
      for bits, tokens in CRITICAL.items()),
    _claim("critical_data_is_minimum", "The closed form of the critical data size is where the loss is least (largest "
           "relative difference).", 0.0, Between(high=1e-3)),
    _claim("damage_grows_with_data", "The damage of quantizing after training grows with data, and falls with size and "
           "with bits.", True, Equal()),
    _claim("best_bits_fitted", "The compute-optimal precision of training is 7 to 8 bits (the law as it was fitted, "
           "with offsets; separate sensitivities, and averaged ones).", [7.0, 7.0], Between(7.0, 8.0)),
    _claim("best_bits_printed", "The compute-optimal precision of training is 7 to 8 bits (the law as it is printed, "
           "without offsets; separate sensitivities, and averaged ones).", [7.0, 7.0],
           Between(7.0, 8.0)),
    _claim("best_bits_fitted_recomputed", "With offsets it is 7.00 bits with separate sensitivities and 7.64 with "
           "averaged ones.", ["7.00", "7.64"], Printed(), _RECOMPUTED),
    _claim("best_bits_printed_recomputed", "Without offsets it is 3.71 bits with averaged sensitivities.", "3.71",
           Printed(), _RECOMPUTED),
)  # fmt: skip


def _damage_is_monotone() -> bool:
    sizes, tokens, bits = np.logspace(7, 11, 20), np.logspace(9, 14, 20), np.linspace(2, 12, 20)
    grid = LAW.damage(sizes[:, None, None], tokens[:, None], bits)
    return bool((np.diff(grid, axis=0) < 0).all() and (np.diff(grid, axis=1) > 0).all() and (np.diff(grid) < 0).all())


def _measured() -> dict[str, Measured]:
    critical = {bits: LAW.critical_tokens(1e9, bits) for bits in CRITICAL}
    fitted, printed = ([best_bits(share, offset) for share in (separate, averaged)] for offset in (True, False))
    return {
        **{f"critical_data_p{bits}": Measured(tokens) for bits, tokens in critical.items()},
        "critical_data_is_minimum": Measured(
            max(abs(LAW.critical_by_search(1e9, bits) / tokens - 1) for bits, tokens in critical.items())
        ),
        "damage_grows_with_data": Measured(_damage_is_monotone()),
        "best_bits_fitted": Measured(fitted),
        "best_bits_fitted_recomputed": Measured(fitted),
        "best_bits_printed_recomputed": Measured(printed[1], note=f"{printed[0]:.2f} with separate ones."),
        "best_bits_printed": Measured(
            printed, note="The printed law leaves out the offsets that the exponentials were fitted with."
        ),
    }


def _damage_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    tokens = np.logspace(9, 15, 300)
    for index, bits in enumerate(CRITICAL):
        loss = LAW.loss(1e9, tokens) + LAW.damage(1e9, tokens, bits)
        axes.plot(tokens, loss, color=COLOURS[index], label=f"{bits} bits")
        least = LAW.critical_tokens(1e9, bits)
        top = LAW.loss(1e9, least) + LAW.damage(1e9, least, bits)
        axes.plot(least, top, MARKERS[index], color=COLOURS[index], ms=6)
    axes.plot(tokens, LAW.loss(1e9, tokens), color="0.2", ls="--", label="not quantized")
    axes.set(xscale="log", xlabel="tokens", ylabel="loss (nats a token)", ylim=(2.8, 4.6))
    axes.legend(title="1B parameters, quantized to", loc="upper left")
    return Picture(figure, "Loss after quantizing a trained model; the marker is the critical data size.")


def _bits_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    bits = np.linspace(0.5, 16, 500)
    kinds = [(share, offset) for offset in (True, False) for share in (separate, averaged)]
    for index, (share, offset) in enumerate(kinds):
        worth = share(bits, offset) / bits
        valid = bits > (3.2 if offset else 0)
        label = f"{'fitted' if offset else 'printed'}, {share.__name__}"
        axes.plot(bits[valid], worth[valid], color=COLOURS[index], ls="-" if offset else "--", label=label)
        best = best_bits(share, offset)
        axes.plot(best, float(share(best, offset)) / best, MARKERS[index], color=COLOURS[index], ms=6)
    axes.set(xlabel="bits of weights, activations and cache", ylabel="effective share per bit", ylim=(0, 0.19))
    axes.legend(title="law as")
    return Picture(figure, "What a bit of precision buys: the compute-optimal precision is at the maximum.")


def run(context: Context) -> Findings:
    """Check the closed forms; a second or two at any scale."""
    context.report(0, 1, "closed forms and minimizations")
    table = pandas.DataFrame(
        [
            (share.__name__, offset, best_bits(share, offset))
            for share in (separate, averaged)
            for offset in (True, False)
        ],
        columns=["sensitivities", "offsets", "best_bits"],
    )
    return Findings(_measured(), {"best_bits": table}, {"damage": _damage_picture(), "best_bits": _bits_picture()})


STUDY = Study(
    "precision_law",
    "Scaling laws for precision",
    "When does more data harm a model that is quantized after training, and in which precision should one train?",
    (PAPER,),
    CLAIMS,
    run,
)
