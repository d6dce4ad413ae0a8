"""The claims of the study of a scaling law of its own trainings, with their rules.

What is published are directions; the trainings, the quantity and the threshold of each rule are of this study. Changed
on 2026-11-26, after results had been seen: `below_critical` asked for a loss that rises, where the fitted law lets it
fall; `heldout` counted a size of which nothing had been seen; `weights_alike` compared with the least damage, even one
below 0, and forgot differences the other way; `layout_*` chose the best other with the seeds that judge; `data_13k`
averaged other layouts at each scale.
"""

from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between

PAPER = "arXiv:2501.02423v3"
_RISES, _FALLS = Between(low=0.0), Between(high=0.0)
_DIRECTION = {_RISES: "above 0", _FALLS: "below 0"}


def _claim(id: str, statement: str, rule: Any, numbers: int = 1) -> Claim:
    published: Any = _DIRECTION[rule] if numbers == 1 else [_DIRECTION[rule]] * numbers
    return Claim(id, statement, f"{PAPER}, conclusions; set-up ours", published, TRAINING, rule)


CLAIMS = (
    _claim("exponent_bits", "At equal bits more exponent bits lose less than more mantissa bits: E2M1, E3M1 and E3M2 "
           "against E1M2, E1M3 and E2M3 (mean difference of losses, nats).", _FALLS),
    _claim("exponent_power", "The same in the fitted law: the power of exponent bits is larger than that of mantissa "
           "bits (delta - nu).", _RISES),
    _claim("layout_p3", "The best layout of 3 bits is E1M1 (loss less that of E2M0, nats).", _FALLS),
    _claim("layout_p4", "The best layout of 4 bits is E2M1 (loss less that of the better of E1M2 and E3M0, chosen on "
           "other seeds, nats).", _FALLS),
    _claim("layout_p5", "The best layout of 5 bits is E2M2, of those tried (loss less that of the better of E1M3 and "
           "E3M1, chosen on other seeds, nats).", _FALLS),
    _claim("block_fp3", "The loss in FP3 (E1M1) rises with the logarithm of the block (nats a doubling).", _RISES),
    _claim("block_fp4", "The loss in FP4 (E2M1) rises with the logarithm of the block (nats a doubling).", _RISES),
    _claim("data_13k", "What few bits cost grows with data: 13k parameters, mean of E1M1 and E2M1 (slope of the damage "
           "on the log of tokens, nats).", _RISES),
    _claim("data_50k", "What few bits cost grows with data: 53k parameters, E1M1 (slope of the damage on the log of "
           "tokens, nats).", _RISES),
    _claim("size", "What few bits cost falls with the size of the model, E1M1 (slope of the damage on the log of "
           "parameters, nats).", _FALLS),
    _claim("below_critical", "Below the critical data size of the fitted law, where all the data here lie (log10 of "
           "the most data over it), more data still lower the loss, even in FP3: E1M1, 13k parameters, the last "
           "doubling of data (nats; given first).", _FALLS, 2),
    _claim("heldout", "The law predicts trainings with more data than it was fitted to, of sizes that it was fitted "
           "to: its error there is below that of a law without precision (mean error in nats, difference).", _FALLS),
    _claim("hurts_p1", "FP3 in the activations of the forward product (P1) alone is harmful (damage, nats).", _RISES),
    _claim("hurts_p3", "FP3 in the gradient of outputs of dX (P3) alone is harmful (damage, nats).", _RISES),
    _claim("hurts_p5", "FP3 in the gradient of outputs of dW (P5) alone is harmful (damage, nats).", _RISES),
    _claim("p5_worst", "P5 is the most harmful: more than P1, and more than P3 (differences of damages, nats).", _RISES,
           2),
    _claim("weights_alike", "FP3 in {P2, P6} and in {P2, P4, P6} costs about as much as in P2 alone: either "
           "difference, up and down, is smaller than the least damage of P1, P3 and P5 that is told from none "
           "(difference less that damage, nats; both up, then both down).", _FALLS, 4),
)  # fmt: skip
