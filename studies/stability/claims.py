"""The claims of the study of stability, with their rules.

Thresholds and set-ups are this study's; what is published is in words where the papers have no number for it.
"""

from typing import Any

from ..claims import FORMULA, TRAINING, Claim
from ..rules import Between, Equal
from .boxes import BOXES

PAPER, PROXY_PAPER = "arXiv:2405.18710", "arXiv:2506.20752"
TASKS = {"digits": "Digits", "text": "Language"}
"""Tasks of the map and how they are shown."""
EIGHT_BITS = ("E4M3", "E5M2")
SOME = 0.01
"""Of a share of runs, a spike, a decade or a log: what is less counts as no effect."""
MORE, LESS = Between(low=SOME), Between(high=-SOME)
HALF = 0.5
"""Of the way from a uniform guess: a training that comes less far is broken."""
AS_MANY = 0.5
"""Spikes of a run more than float32 has, up to which an instability counts as gone."""
PROXY_RATES = {"paper": "at the paper's rate of .001", "high": "at a rate of .064"}
"""Learning rates of the proxy, from the lowest on, and how they are shown."""


def _claim(id: str, statement: str, published: Any, rule: Any, paper: str = PAPER, kind: str = TRAINING) -> Claim:
    return Claim(id, statement, f"{paper}, conclusions; set-up ours", published, kind, rule)


def _of_map(task: str, shown: str) -> tuple[Claim, ...]:
    return (
        _claim(f"bf16_{task}", f"{shown}: with E8M7 operands a larger share of runs ends no better than without inputs "
               "than in float32 (difference over all rates, also those at which none or all do).", 0.1, MORE),
        _claim(f"spikes_{task}", f"{shown}: at high rates fewer mantissa bits bring more spikes (slope of spikes of a "
               "run over mantissa bits, at rates above float32's best).", "more", LESS),
        _claim(f"e7m7_{task}", f"{shown}: E7M7, one exponent bit less, breaks unscaled training (share of E8M7's way "
               "from a uniform guess, at float32's best rate).", "breaks", Between(high=HALF)),
        *(_claim(f"{name.lower()}_range_{task}", f"{shown}: unscaled {name} narrows the range of usable learning rates "
                 "(decades, difference from E8M7).", "narrower", LESS) for name in EIGHT_BITS),
        *(_claim(f"rise_{box}_{task}", f"{shown}: before a run spikes or turns its sharpness in a {box} box has risen "
                 "more than that of runs of its seed and rate which do not (difference of logs).", "rises", MORE)
          for box in BOXES),
    )  # fmt: skip


def _of_proxy(rate: str, shown: str) -> tuple[Claim, ...]:
    return (
        _claim(f"proxy_loss_{rate}", f"Student and teacher, {shown}: MXFP8 with norms in MX raises the final loss (log "
               "ratio to float32).", "unstable", MORE, PROXY_PAPER),
        _claim(f"proxy_spikes_{rate}", f"Student and teacher, {shown}: it brings spikes (spikes of a run more than in "
               "float32).", "unstable", MORE, PROXY_PAPER),
        _claim(f"cure_loss_{rate}", f"Student and teacher, {shown}: leaving the norms' affine weights alone lowers the "
               "loss again (log ratio, without to with).", "stable", LESS, PROXY_PAPER),
    )  # fmt: skip


CLAIMS = (
    *(claim for task, shown in TASKS.items() for claim in _of_map(task, shown)),
    _claim("clamping", "An MX block of E4M3 whose weights lie between .875 and 1 becomes constant: all are cut off at "
           ".875.", True, Equal(), PROXY_PAPER, FORMULA),
    _claim("proxy_clamped", "Student and teacher: at the paper's learning rate more than half (a threshold of ours) of "
           "the affine weights of norms end up in blocks that are cut off there (share, trained with norms in MX).",
           "clamped", Between(low=HALF), PROXY_PAPER),
    *(claim for rate, shown in PROXY_RATES.items() for claim in _of_proxy(rate, shown)),
    _claim("cure_spikes_high", "Student and teacher, at a rate of .064: without norms in MX instability vanishes "
           "(spikes of a run more than in float32, half a one at most).", "vanishes", Between(high=AS_MANY),
           PROXY_PAPER),
)  # fmt: skip
