"""Scaling Laws for Floating Point Quantization Training: optimal layouts, critical data sizes, optimal precisions.

The law (arXiv:2501.02423v3) with N parameters, D tokens, E exponent and M mantissa bits, B elements a scale:

    L = n/N^a + d/D^b + eps + D^b/N^a * log2(B) / (g (E+.5)^delta (M+.5)^nu)

All else follows from it. Each closed form is checked against a minimization that knows only the law.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from scipy.optimize import minimize, minimize_scalar

from .claims import FORMULA, Claim, Measured
from .figures import COLOURS, COLUMN, MARKERS, canvas
from .rules import Between, Equal, Printed
from .study import Context, Findings, Picture, Study

PAPER = "arXiv:2501.02423v3"
BLOCK = 7.0
"""log2 of the 128 elements that share a scale in the paper's predictions."""
TRILLION = 1e12
COMPUTE_SHARE = 6 / 16
"""C = 6/16 N D P: six operations a parameter and token, of P bits relative to 16."""


@dataclass(frozen=True, slots=True)
class Law:
    """The fitted coefficients (arXiv:2501.02423v3).

    Args:
        n, a: of the parameters. d, b: of the tokens. eps: what remains.
        g, delta, nu: of the precision; delta is the power of exponent bits, nu of mantissa bits.
    """

    n: float = 69.2343
    a: float = 0.2368
    d: float = 68973.0621
    b: float = 0.5162
    eps: float = 1.9061
    g: float = 11334.5197
    delta: float = 3.1926
    nu: float = 2.9543

    def resolution(self, exponent_bits: Any, mantissa_bits: Any) -> Any:
        """g (E+.5)^delta (M+.5)^nu; the larger, the less rounding costs."""
        return self.g * (exponent_bits + 0.5) ** self.delta * (mantissa_bits + 0.5) ** self.nu

    def loss(self, parameters: Any, tokens: Any, resolution: Any, log2_block: Any = BLOCK) -> Any:
        """The law, in nats a token; broadcasts."""
        rounding = tokens**self.b / parameters**self.a * log2_block / resolution
        return self.n / parameters**self.a + self.d / tokens**self.b + self.eps + rounding

    @property
    def power(self) -> float:
        """Of the total bits P in the best resolution: delta + nu."""
        return self.delta + self.nu

    @property
    def g_rho(self) -> float:
        """The best resolution of P bits is g_rho P^(delta+nu): the split of P at fixed sum that maximizes it."""
        return self.g * self.delta**self.delta * self.nu**self.nu / self.power**self.power

    def best_resolution(self, bits: Any) -> Any:
        """Of P bits in all, the sign included, split in the best way, fractions allowed."""
        return self.g_rho * bits**self.power

    def best_layout(self, bits: int) -> tuple[int, int]:
        """The exponent and mantissa bits of P - 1 that lose least: every split is tried."""
        return max(((e, bits - 1 - e) for e in range(bits)), key=lambda layout: self.resolution(*layout))

    def best_split(self, bits: Any) -> tuple[Any, Any]:
        """The exponent and mantissa bits that lose least, fractions allowed."""
        return self.delta * bits / self.power - 0.5, self.nu * bits / self.power - 0.5

    def critical_tokens(
        self, parameters: float, exponent_bits: int, mantissa_bits: int, log2_block: float = BLOCK
    ) -> float:
        """Tokens beyond which more data raise the loss: the root of dL/dD."""
        resolution = self.resolution(exponent_bits, mantissa_bits)
        return (self.d * resolution * parameters**self.a / log2_block) ** (1 / (2 * self.b))

    @property
    def g_data(self) -> float:
        """The coefficient of the best precision at fixed data."""
        return (self.power - self.a) / (self.n * self.a * self.g_rho)

    def bits_at_fixed_data(self, tokens: Any) -> Any:
        """The best P for D tokens, where a wider format leaves compute for fewer parameters; any compute."""
        return (self.g_data * tokens**self.b * BLOCK) ** (1 / self.power)

    def bits_at_fixed_size(self, parameters: float, compute: Any) -> Any:
        """The best P for N parameters and C operations, where a wider format leaves compute for fewer tokens."""
        g_size = (self.b + self.power) / (self.d * self.b * self.g_rho)
        right = g_size * (compute / COMPUTE_SHARE) ** (2 * self.b) * parameters ** -(self.a + 2 * self.b) * BLOCK
        return right ** (1 / (self.power + 2 * self.b))

    def bits_at_compute(self, compute: Any) -> Any:
        """The best P for C operations, with the best N and D."""
        share = (self.power - self.a) / (self.power + self.b) * self.d * self.b / (self.n * self.a)
        exponent = (self.a + self.b) / self.b
        right = (self.g_data * BLOCK) ** exponent * share * (compute / COMPUTE_SHARE) ** self.a
        return right ** (1 / (self.power * exponent + self.a))


LAW = Law()
LAYOUTS = ("E0M0", "E1M0", "E1M1", "E2M1", "E2M2", "E3M2", "E3M3", "E4M3", "E4M4", "E5M4", "E5M5", "E6M5", "E6M6",
           "E7M6", "E7M7", "E8M7")  # fmt: skip
CRITICAL = {"bf16": (8, 7), "e4m3": (4, 3), "e2m1": (2, 1)}
FIXED_DATA = (0.1, 1.0, 10.0, 100.0)
JOINT = (1e21, 1e24, 1e27, 1e31)
_SAME = Between(high=1e-3)
_FINE = {"xatol": 1e-10}


_RECOMPUTED = f"{PAPER}; recomputed from its coefficients"


def _claim(id: str, statement: str, published: Any, rule: Any, source: str = PAPER) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    _claim("layouts", "The best integer layouts of FP1 to FP16.", list(LAYOUTS), Equal()),
    _claim("best_split", "The closed form of the best split of bits, E = delta P / (delta + nu) - 1/2, is where the "
           "law's rounding is least (largest difference in bits, FP4 to FP16).", 0.0, _SAME),
    _claim("g_rho", "The best resolution of P bits is g_rho P^(delta + nu) with g_rho = 160.697.", "160.697", Printed(),
           _RECOMPUTED),
    _claim("g_data", "The coefficient of the best precision at fixed data is g_D = 2.24328e-3.", "2.24328e-3",
           Printed(), _RECOMPUTED),
    _claim("exponent_over_mantissa", "Exponent bits matter slightly more than mantissa bits: delta > nu, by under a "
           "tenth.", True, Equal()),
    _claim("critical_data_bf16", "A model of 1B parameters in BF16 has a critical data size of 1730T tokens (scales of "
           "128 elements).", "1730", Printed()),
    _claim("critical_data_e4m3", "In FP8 E4M3 it is 27T tokens.", "27", Printed()),
    _claim("critical_data_e2m1", "In FP4 E2M1 it is 0.4T tokens.", "0.4", Printed()),
    _claim("critical_data_is_minimum", "The closed form of the critical data size is where the law's loss is least "
           "(largest relative difference).", 0.0, _SAME),
    _claim("bits_fixed_data", "From .1T to 100T tokens the best precision lies between 4 and 8 bits.",
           [4.0, 4.0, 8.0, 8.0], Between(4.0, 8.0)),
    _claim("bits_fixed_data_recomputed", "At .1T, 1T, 10T and 100T tokens it is 4.27, 5.18, 6.28 and 7.62 bits (scales "
           "of 128 elements).", ["4.27", "5.18", "6.28", "7.62"], Printed(), _RECOMPUTED),
    _claim("bits_fixed_data_is_minimum", "The best precision at fixed data does not depend on compute, and is where "
           "the loss is least (largest difference in bits).", 0.0, _SAME),
    _claim("bits_fixed_size_is_minimum", "The closed form of the best precision at fixed size is where the loss is "
           "least (largest difference in bits).", 0.0, _SAME),
    _claim("bits_joint", "From 1e21 to 1e31 operations the best precision lies between 4 and 8 bits.",
           [4.0, 4.0, 8.0, 8.0], Between(4.0, 8.0)),
    _claim("bits_joint_recomputed", "At 1e21, 1e24, 1e27 and 1e31 operations it is 4.19, 5.01, 5.98 and 7.58 bits "
           "(scales of 128 elements).", ["4.19", "5.01", "5.98", "7.58"], Printed(), _RECOMPUTED),
    _claim("bits_joint_is_minimum", "The closed form of the jointly best precision is where the loss is least "
           "(largest difference in bits).", 0.0, _SAME),
)  # fmt: skip


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function is least between bounds, found without its derivative."""
    found: Any = minimize_scalar(function, bounds=(low, high), method="bounded", options=_FINE)
    return float(found.x)


def least_bits(loss: Callable[[float], float]) -> float:
    """The bits, up to a thousand, at which a function is least."""
    return float(np.exp(_least(lambda x: loss(np.exp(x)), 0.0, np.log(1e3))))


def _critical_by_search(parameters: float, layout: tuple[int, int]) -> float:
    resolution = LAW.resolution(*layout)
    return 10.0 ** _least(lambda x: LAW.loss(parameters, 10.0**x, resolution), 6, 24)


def _joint_by_search(compute: float) -> float:
    """The best P of all (N, D, P) that cost the compute, from two starts."""

    def loss(x: np.ndarray) -> float:
        bits, parameters = np.exp(x[0]), np.exp(x[1])
        tokens = compute / (COMPUTE_SHARE * parameters * bits)
        return float(LAW.loss(parameters, tokens, LAW.best_resolution(bits)))

    starts = [[np.log(6.0), share * np.log(compute)] for share in (0.4, 0.5)]
    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    return float(np.exp(min(found, key=lambda each: each.fun).x[0]))


def _at_fixed_data(tokens: float, compute: float) -> float:
    share = compute / (COMPUTE_SHARE * tokens)
    return least_bits(lambda bits: LAW.loss(share / bits, tokens, LAW.best_resolution(bits)))


def _at_fixed_size(parameters: float, compute: float) -> float:
    share = compute / (COMPUTE_SHARE * parameters)
    return least_bits(lambda bits: LAW.loss(parameters, share / bits, LAW.best_resolution(bits)))


def _split_by_search(bits: int) -> float:
    """The exponent bits of P - 1, fractions allowed, at which rounding costs least."""
    return _least(lambda e: -float(np.log(LAW.resolution(e, bits - 1 - e))), 0, bits - 1)


def _measured() -> dict[str, Measured]:
    layouts = [LAW.best_layout(bits) for bits in range(1, 17)]
    critical = {name: LAW.critical_tokens(1e9, *layout) for name, layout in CRITICAL.items()}
    fixed = [float(LAW.bits_at_fixed_data(t * TRILLION)) for t in FIXED_DATA]
    joint = [float(LAW.bits_at_compute(c)) for c in JOINT]
    searched = [abs(_at_fixed_data(t * TRILLION, c) - p) for t, p in zip(FIXED_DATA, fixed) for c in (1e22, 1e26)]
    sizes = [(n, c) for n in (1e8, 1e9, 1e11) for c in (1e20, 1e23, 1e26)]
    return {
        "layouts": Measured([f"E{e}M{m}" for e, m in layouts]),
        "best_split": Measured(max(abs(_split_by_search(p) - LAW.best_split(p)[0]) for p in range(4, 17))),
        "g_rho": Measured(LAW.g_rho),
        "g_data": Measured(LAW.g_data),
        "exponent_over_mantissa": Measured(
            1 < LAW.delta / LAW.nu < 1.1, note=f"delta {LAW.delta}, nu {LAW.nu}; ratio {LAW.delta / LAW.nu:.3f}."
        ),
        **{f"critical_data_{name}": Measured(tokens / TRILLION) for name, tokens in critical.items()},
        "critical_data_is_minimum": Measured(
            max(abs(_critical_by_search(1e9, CRITICAL[name]) / tokens - 1) for name, tokens in critical.items())
        ),
        "bits_fixed_data": Measured(fixed, note=f"At {', '.join(f'{t:g}T' for t in FIXED_DATA)} tokens."),
        "bits_fixed_data_recomputed": Measured(fixed),
        "bits_fixed_data_is_minimum": Measured(max(searched)),
        "bits_fixed_size_is_minimum": Measured(
            max(abs(_at_fixed_size(*each) - float(LAW.bits_at_fixed_size(*each))) for each in sizes)
        ),
        "bits_joint": Measured(joint, note=f"At {', '.join(f'{c:.0e}' for c in JOINT)} operations."),
        "bits_joint_recomputed": Measured(joint),
        "bits_joint_is_minimum": Measured(max(abs(_joint_by_search(c) - p) for c, p in zip(JOINT, joint))),
    }


def _layout_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    bits = np.linspace(1, 16, 200)
    for index, (split, name) in enumerate(zip(LAW.best_split(bits), ("exponent", "mantissa"))):
        axes.plot(bits, split, color=COLOURS[index], lw=1)
        whole = [LAW.best_layout(p)[index] for p in range(1, 17)]
        axes.plot(range(1, 17), whole, MARKERS[index], color=COLOURS[index], label=f"{name} bits")
    axes.set(xlabel="bits of the format, sign included", ylabel="bits", xticks=range(2, 17, 2))
    axes.legend(loc="upper left")
    return Picture(figure, "The best split of a format's bits: whole bits (markers) and the closed form (lines).")


def _critical_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    tokens = np.logspace(10, 16, 300)
    for index, (name, layout) in enumerate(CRITICAL.items()):
        axes.plot(tokens, LAW.loss(1e9, tokens, LAW.resolution(*layout)), color=COLOURS[index], label=name.upper())
        least = LAW.critical_tokens(1e9, *layout)
        axes.plot(least, LAW.loss(1e9, least, LAW.resolution(*layout)), MARKERS[index], color=COLOURS[index], ms=6)
    axes.set(xscale="log", xlabel="tokens", ylabel="loss (nats a token)", ylim=(2.2, 3.4))
    axes.legend(title="1B parameters", loc="upper right", bbox_to_anchor=(1.0, 0.75))
    return Picture(figure, "Loss against data at 1B parameters; the marker is the critical data size.")


def _precision_picture() -> Picture:
    figure, (left, middle, right) = canvas(columns=3, sharey=True)
    tokens = np.logspace(10, 15, 100)
    left.plot(tokens, LAW.bits_at_fixed_data(tokens), color=COLOURS[0])
    left.plot(10.0 ** np.arange(10, 16), [_at_fixed_data(10.0**k, 1e24) for k in range(10, 16)], "o", color=COLOURS[1])
    left.set(xscale="log", xlabel="tokens", ylabel="best precision (bits)", title="fixed data")
    compute = np.logspace(20, 30, 100)
    for index, parameters in enumerate((1e9, 1e11)):
        label = f"{parameters / 1e9:g}B parameters"
        middle.plot(compute, LAW.bits_at_fixed_size(parameters, compute), color=COLOURS[2 * index], label=label)
        found = [_at_fixed_size(parameters, 10.0**k) for k in range(20, 31, 2)]
        middle.plot(10.0 ** np.arange(20, 31, 2), found, "o", color=COLOURS[1])
    middle.set(xscale="log", xlabel="operations", title="fixed size", ylim=(2, 17))
    middle.legend(loc="lower right")
    right.plot(compute, LAW.bits_at_compute(compute), color=COLOURS[0], label="closed form")
    found = [_joint_by_search(10.0**k) for k in range(20, 31, 2)]
    right.plot(10.0 ** np.arange(20, 31, 2), found, "o", color=COLOURS[1], label="minimization")
    right.set(xscale="log", xlabel="operations", title="size, data and precision")
    right.legend(loc="upper left")
    return Picture(figure, "The best precision under a budget: closed forms (lines) and minimizations (dots).")


def run(context: Context) -> Findings:
    """Check the closed forms; a second or two at any scale."""
    context.report(0, 1, "closed forms and minimizations")
    table = pandas.DataFrame(
        [(bits, *LAW.best_layout(bits), float(LAW.best_resolution(bits))) for bits in range(1, 17)],
        columns=["bits", "exponent_bits", "mantissa_bits", "best_resolution"],
    )
    pictures = {
        "layouts": _layout_picture(),
        "critical_data": _critical_picture(),
        "optimal_precision": _precision_picture(),
    }
    return Findings(_measured(), {"layouts": table}, pictures)


STUDY = Study(
    "fp_scaling_law",
    "Scaling laws of floating-point training",
    "Which formats, how much data and which precision does the law of training in floating point ask for?",
    (PAPER,),
    CLAIMS,
    run,
)
