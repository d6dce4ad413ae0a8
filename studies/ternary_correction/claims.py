"""The claims of the study of the gated low-rank path, with their rules."""

from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between, Within

PAPER = "arXiv:2602.05269"
TASKS = {"text": "Text", "digits": "Digits", "teacher_student": "Regression"}
ABLATED = ("digits", "teacher_student")
"""Tasks small enough to train every kind of gate and several ranks."""
FULL, BITNET, HGF = 0.8490, 1.0294, 0.9306
"""Published losses on TinyStories."""
LOWER, HIGHER = "lower", "higher"
"""What is claimed of tasks and variants that the paper has no numbers of."""
SHARE = Within(absolute=0.15, why="another model, data and length: the share differs between tasks by as much")
NEAR = Within(absolute=0.05, why="published as about .1; the width is a choice of this study")


def _claim(id: str, statement: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, f"{PAPER}; set-up ours", published, TRAINING, rule)


def _of_task(task: str, shown: str) -> tuple[Claim, ...]:
    text = task == "text"
    return (
        _claim(f"hgf_bitnet_{task}", f"{shown}: the gated path lowers the loss of ternary weights (difference).",
               round(HGF - BITNET, 4) if text else LOWER, Between(high=0.0)),
        _claim(f"float32_hgf_{task}", f"{shown}: full precision has a lower loss still (difference).",
               round(FULL - HGF, 4) if text else LOWER, Between(high=0.0)),
        _claim(f"share_{task}", f"{shown}: the path closes 54.8% of the gap, for at most 15% more memory.",
               0.548, SHARE),
        _claim(f"gate_{task}", f"{shown}: gates, which begin at .5, end near .1 (mean magnitude).", 0.1, NEAR),
    )  # fmt: skip


def _ablated(task: str, shown: str) -> tuple[Claim, ...]:
    return (
        _claim(f"gate_one_{task}", f"{shown}: a learned gate has a lower loss than none (difference).", LOWER,
               Between(high=0.0)),
        _claim(f"gate_fixed_{task}", f"{shown}: and than one that stays at its first value (difference).", LOWER,
               Between(high=0.0)),
        _claim(f"schedule_{task}", f"{shown}: warm-up, penalty and freezing lower the loss of a learned gate "
               "(difference).", LOWER, Between(high=0.0)),
        _claim(f"rank_{task}", f"{shown}: each doubling of the rank closes more of the gap (slope of the share).",
               HIGHER, Between(low=0.0)),
    )  # fmt: skip


CLAIMS = (
    *(claim for task, shown in TASKS.items() for claim in _of_task(task, shown)),
    *(claim for task in ABLATED for claim in _ablated(task, TASKS[task])),
)
