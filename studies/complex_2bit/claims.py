"""The claims of the study of complex weights, with their rules."""

from math import log
from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between

PAPER, FOLLOWER = "arXiv:2508.05571", "Fairy2i"
TASKS = {"text": "Text", "digits": "Digits", "teacher_student": "Regression"}
EVEN = 1.98
"""Bits of entropy from which four codes count as evenly used, a threshold of this study; 2 is exact."""


LOWER = "lower"
"""What was published of tasks and metrics that no paper has numbers of."""


def _ratio(first: float, second: float) -> float:
    """The log of a ratio of published perplexities: a difference of losses in nats."""
    return round(log(first / second), 4)


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, f"{source}; set-up ours", published, TRAINING, rule)


_700M, _7B = f"{PAPER}, perplexities of 700M parameters", f"{FOLLOWER}, LLaMA-2-7B on C4"
_LOWER = Between(high=0.0)


def _of_task(task: str, shown: str) -> tuple[Claim, ...]:
    """Of text differences of losses in nats, which are log ratios of perplexities; of others log ratios of losses."""
    text = task == "text"
    unit = "nats" if text else "log ratio"

    def ratio(first: float, second: float) -> Any:
        return _ratio(first, second) if text else LOWER

    return (
        _claim(f"bitnet_storage_{task}", f"{shown}: phases lose less than ternary weights in a model of as "
               f"many bits ({unit}).",
               _700M, ratio(11.14, 11.51), _LOWER),
        _claim(f"bitnet_shapes_{task}", f"{shown}: and than ternary weights of equal shapes ({unit}).",
               _700M, ratio(11.14, 11.51), _LOWER),
        _claim(f"binary_{task}", f"{shown}: and than binary weights, of equal shapes and bits ({unit}).",
               _7B, ratio(11.03, 11.75), _LOWER),
        _claim(f"float32_{task}", f"{shown}: and than weights in full precision ({unit}).",
               _700M, ratio(11.14, 12.33), _LOWER),
        _claim(f"stages_{task}", f"{shown}: a second stage lowers the loss ({unit}).",
               _7B, ratio(7.85, 11.03), _LOWER),
        _claim(f"stages_bitnet_{task}", f"{shown}: with two stages phases lose less than ternary weights ({unit}).",
               _7B, ratio(7.85, 11.06), _LOWER),
        _claim(f"codes_{task}", f"{shown}: all four codes are used, and evenly: the entropy of codes has at least "
               f"{EVEN} of 2 bits, a threshold of ours.", PAPER, 2.0, Between(low=EVEN)),
    )  # fmt: skip


CLAIMS = (
    *(claim for task, shown in TASKS.items() for claim in _of_task(task, shown)),
    _claim("stages_float32", "Text: with two stages phases stay within the published distance from full precision "
           "(nats).", _7B, _ratio(7.85, 6.63), Between(high=_ratio(7.85, 6.63))),
)  # fmt: skip
