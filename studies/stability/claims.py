"""The claims of the study of stability, with their rules, which were written before anything was run at a scale."""

from typing import Any

from ..claims import FORMULA, TRAINING, Claim
from ..rules import Between, Equal
from .boxes import BOXES

PAPER, PROXY_PAPER = "arXiv:2405.18710", "arXiv:2506.20752"
TASKS = {"digits": "Digits", "text": "Language"}
"""Tasks of the map and how they are shown."""
EIGHT_BITS = ("E4M3", "E5M2")
BLOCKS = {"digits": ("MXFP8", "MXFP4", "NVFP4"), "text": ("MXFP8", "MXFP4")}
"""Block-scaled recipes that every scale of the study trains on a task."""
SOME = 0.01
"""Of a share of runs, a spike, a decade, a log or a rank: what is less counts as no effect."""
MORE, LESS = Between(low=SOME), Between(high=-SOME)
HALF = 0.5
"""Of the way from a uniform guess: a training that comes less far is broken."""
AS_MANY = 0.5
"""Spikes of a run more than float32 has, up to which an instability counts as gone."""


def _claim(id: str, statement: str, published: Any, rule: Any, paper: str = PAPER, kind: str = TRAINING) -> Claim:
    return Claim(id, statement, f"{paper}, conclusions; set-up ours", published, kind, rule)


def _of_map(task: str, shown: str) -> tuple[Claim, ...]:
    return (
        _claim(f"bf16_{task}", f"{shown}: with E8M7 operands a larger share of runs diverges than in float32 "
               "(difference over all rates).", 0.1, MORE),
        _claim(f"spikes_{task}", f"{shown}: at high rates fewer mantissa bits bring more spikes (slope of spikes of a "
               "run over mantissa bits).", 0.0, LESS),
        _claim(f"e7m7_{task}", f"{shown}: E7M7, one exponent bit less, breaks unscaled training (share of E8M7's way "
               "from a uniform guess).", 0.0, Between(high=HALF)),
        *(_claim(f"{name.lower()}_range_{task}", f"{shown}: unscaled {name} narrows the range of usable learning rates "
                 "(decades, difference from E8M7).", 0.0, LESS) for name in EIGHT_BITS),
        *(_claim(f"{name.lower()}_range_{task}", f"{shown}: so does {name}.", 0.0, LESS, PROXY_PAPER)
          for name in BLOCKS[task]),
        *(_claim(f"{name.lower()}_diverges_{task}", f"{shown}: with {name} a larger share of runs diverges than with "
                 "E8M7 (difference over all rates).", 0.0, MORE, PROXY_PAPER) for name in BLOCKS[task]),
        *(_claim(f"sharp_{box}_{task}", f"{shown}: before a run spikes or diverges its sharpness in a {box} box is "
                 "higher than that of runs which do not (share of these below, less one half).", 0.0, MORE)
          for box in BOXES),
        *(_claim(f"rise_{box}_{task}", f"{shown}: and it has risen more (difference of logs).", 0.0, MORE)
          for box in BOXES),
    )  # fmt: skip


CLAIMS = (
    *(claim for task, shown in TASKS.items() for claim in _of_map(task, shown)),
    _claim("clamping", "An MX block of E4M3 whose weights lie between .875 and 1 becomes constant: all are cut off at "
           ".875.", True, Equal(), PROXY_PAPER, FORMULA),
    _claim("proxy_clamped", "Student and teacher: at the paper's learning rate more than half of the affine weights of "
           "norms end up in blocks that are cut off there (share, trained with norms in MX).", HALF, Between(low=HALF),
           PROXY_PAPER),
    _claim("proxy_loss", "Student and teacher: MXFP8 with norms in MX raises the final loss (log ratio to float32).",
           0.0, MORE, PROXY_PAPER),
    _claim("proxy_spikes", "And brings spikes (spikes of a run more than in float32).", 0.0, MORE,
           PROXY_PAPER),
    _claim("cure_loss", "Leaving the norms' affine weights alone lowers the loss again (log ratio, without to with).",
           0.0, LESS, PROXY_PAPER),
    _claim("cure_spikes", "And instability vanishes: half a spike of a run more than in float32 at most.", 0.0,
           Between(high=AS_MANY), PROXY_PAPER),
)  # fmt: skip
