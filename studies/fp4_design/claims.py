"""The claims of the study of FP4's design space, with their rules."""

from typing import Any, NamedTuple

from ..claims import TRAINING, Claim
from ..rules import Between

PAPER = "arXiv:2509.17791"
TASKS = {"teacher_student": "Regression", "digits": "Digits"}
"""The tasks that every scale of the study trains; claims are about each of them."""
ESTIMATORS = {
    "dge": "DGE",
    "spline": "a spline",
    "piecewise_linear": "a piecewise linear step",
    "absmax": "the element-wise derivative of the absmax scale",
}
EQUAL = 0.02
"""A log ratio of losses, about 2%, up to which one recipe is as good as another."""
HALF = 0.5
"""Of float32's way from chance, in the log of the loss: a training that comes less far does not converge."""


class Conclusion(NamedTuple):
    """What is said of a task: claims of those that every scale trains, a table of all."""

    id: str
    statement: str
    rule: Between


CONCLUSIONS = (
    Conclusion("scales_lead", "how scales are represented explains more of the variance between recipes than the "
               "rounding of gradients or the transform (difference from the larger of these shares).",
               Between(low=0.0)),
    Conclusion("e4m3", "with E4M3 scales and no tensor scaling training does not converge (share of float32's way "
               "from chance).", Between(high=HALF)),
    Conclusion("e4m3_tensor", "nor with tensor scaling.", Between(high=HALF)),
    Conclusion("ue5m3", "UE5M3 scales with tensor scaling are better than E8M0 scales, both with stochastic gradients "
               "(log ratio of losses).", Between(high=0.0)),
    Conclusion("ue5m3_tensor", "UE5M3 scales need tensor scaling: the loss is larger without it (log ratio, "
               "stochastic gradients).", Between(low=0.0)),
    Conclusion("ue5m3_sr", "UE5M3 scales need stochastic rounding in the backward pass: the loss is larger with "
               "gradients rounded to nearest (log ratio, tensor scaling).", Between(low=0.0)),
    Conclusion("rht", "a random Hadamard transform lowers the loss (log ratio; UE5M3, tensor scaling, stochastic "
               "gradients).", Between(high=0.0)),
    Conclusion("combined", "transform, stochastic gradients and tensor scaling together lower the loss of UE5M3 (log "
               "ratio to none of the three).", Between(high=0.0)),
)  # fmt: skip


def _claim(id: str, statement: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, f"{PAPER}, conclusions; set-up ours", published, TRAINING, rule)


CLAIMS = (
    *(_claim(f"{of.id}_{task}", f"{shown}: {of.statement}", 0.0, of.rule)
      for task, shown in TASKS.items() for of in CONCLUSIONS),
    _claim("e4m3_small", "Digits, gradients 1024 times smaller, as those of larger batches are: with E4M3 scales and "
           "no tensor scaling training does not converge.", 0.0, Between(high=HALF)),
    _claim("e4m3_small_tensor", "Digits, gradients 1024 times smaller: nor with tensor scaling.", 0.0,
           Between(high=HALF)),
    *(_claim(f"ste_{name}", f"Regression: the straight-through estimator is as good as {shown}, each at its best "
             "learning rate (log ratio of its loss; UE5M3, stochastic gradients).", 0.0, Between(high=EQUAL))
      for name, shown in ESTIMATORS.items()),
    _claim("scales_lead_converging", "Scales lead also without those that do not converge, E4M3 without tensor "
           "scaling (all tasks).", 0.0, Between(low=0.0)),
    _claim("best_tradeoff", "UE5M3 with tensor scaling, stochastic gradients and a random transform is on the front of "
           "overhead and loss (its probability over resampled seeds; all tasks).", 1.0, Between(low=0.5)),
    _claim("best_loss", "And no other recipe of the core has a lower loss (log ratio to the best of the others by its "
           "mean; all tasks).", 0.0, Between(high=0.0)),
)  # fmt: skip
