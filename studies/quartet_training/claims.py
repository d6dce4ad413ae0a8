"""The claims of the study of Quartet's roundings in training, with their rules."""

from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between

PAPER = "arXiv:2505.14669v4"
TASKS = ("teacher_student", "text")
"""The tasks that every scale of the study trains; claims are about each of them."""
LOWER, HIGHER = Between(high=0.0), Between(low=0.0)
"""Of log ratios of losses: the first is better, or worse."""
_RUNS = "mean of its published losses at 30M parameters, 25 to 400 tokens a parameter"
"""Those of table 3. The losses have 800 as well: backward, nearest rounding is behind there (log ratio +.0004)."""
_BELOW = "below 0"
"""A published order without a number."""


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, f"{PAPER}, {source}; set-up ours", published, TRAINING, rule)


def _of_task(task: str, shown: str, forward: str, grows: float, costs: float) -> tuple[Claim, ...]:
    """The claims of a task.

    Args:
        forward: the forward pass whose cost is followed. grows, costs: what was published of it.
    """
    return (
        _claim(f"forward_nearest_{task}", f"{shown}: a forward pass to nearest has a lower loss than a stochastic one "
               "(log ratio, mean over lengths; published eff_N .59 and .42).", f"table 2; {_RUNS}", -0.0226, LOWER),
        _claim(f"forward_grows_{task}", f"{shown}: what a forward pass {forward} costs against float32 grows with the "
               "data (change of the log ratio with each doubling).", _RUNS, grows, HIGHER),
        _claim(f"backward_short_{task}", f"{shown}: a backward pass to nearest has a lower loss than a stochastic one "
               "with the least data (log ratio; published at 25 tokens a parameter).", f"erratum; {_RUNS}", -0.0027,
               LOWER),
        _claim(f"backward_long_{task}", f"{shown}: and with the most data (log ratio; published at 400 tokens a "
               "parameter; at 800 it is behind, by .0004).", f"erratum; {_RUNS}", -0.0006, LOWER),
        _claim(f"backward_lead_shrinks_{task}", f"{shown}: backward, nearest rounding has a lead that shrinks with the "
               "data (log ratio of stochastic to nearest with the least data; change of that of nearest to stochastic "
               "with each doubling, .0006 with the losses at 800).", f"erratum; {_RUNS}", (0.0027, 0.0005), HIGHER),
        _claim(f"forward_matters_{task}", f"{shown}: a forward pass {forward} costs more than a stochastic backward "
               "pass (log ratio of their losses, mean over lengths).", _RUNS, costs, HIGHER),
    )  # fmt: skip


CLAIMS = (
    *_of_task("teacher_student", "Regression", "by QuEST", 0.0031, 0.0213),
    *_of_task("text", "Bytes", "to nearest", 0.0049, 0.0250),
    _claim("forward_quest", "Regression: a forward pass by QuEST has a lower loss than nearest rounding with absmax "
           "scales (log ratio, mean over lengths; published eff_N .64 and .59).", f"table 2; {_RUNS}", -0.0036, LOWER),
    _claim("quartet_float32", "Regression: Quartet's loss is above that of float32 (log ratio, mean over lengths).",
           _RUNS, 0.0285, HIGHER),
    _claim("quartet_nearest", "Regression: Quartet has a lower loss than MXFP4 rounded to nearest in both passes (log "
           "ratio, mean over lengths).", "conclusions", _BELOW, LOWER),
    _claim("quartet_luq", "Regression: Quartet has a lower loss than LUQ with INT4 forward (log ratio, mean over "
           "lengths; published at 25 to 400 tokens a parameter).", "table 3", -0.0751, LOWER),
    _claim("luq_int4", "Regression: LUQ with INT4 forward has a lower loss than with FP4 (log ratio, mean over "
           "lengths; published likewise).", "table 3", -0.3039, LOWER),
)  # fmt: skip
