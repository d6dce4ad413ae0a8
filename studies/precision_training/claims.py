"""The claims of the study of precision in training and after it, with their rules."""

from math import exp
from typing import Any

from ..claims import TRAINING, Claim
from ..precision_law import LAW, WEIGHTS
from ..rules import Between, Within

PAPER = "arXiv:2411.04330"
SIZES = ("13k", "50k")
"""Sizes of which every scale trains several lengths."""
GROWS, FALLS = Between(low=0.0), Between(high=0.0)
_HALF = Within(relative=0.5, why="half of it: the law was fitted to models a thousand times as large")


_BELOW, _ABOVE = "below 0", "above 0"
"""Published orders without a number."""
_TO_2 = "extrapolation of its law to 2 bits, not published: it was fitted for 3 to 12"


def _claim(id: str, statement: str, published: Any, rule: Any, source: str = "its law") -> Claim:
    return Claim(id, statement, f"{PAPER}, {source}; set-up ours", published, TRAINING, rule)


CLAIMS = (
    *(_claim(f"grows_{size}_int{bits}", f"The damage of rounding the weights of {size} parameters to {bits} bits grows "
             "with the data (power of the tokens in its mean).", LAW.gamma_D, GROWS)
      for size in SIZES for bits in (3, 4)),
    _claim("power_of_data", "It grows as the published power of the data (mean of those sizes, 3 bits).",
           LAW.gamma_D, _HALF),
    *(_claim(f"shrinks_int{bits}", f"With the same data the damage of {bits} bits shrinks with size (power of the "
             "parameters in its mean).", -LAW.gamma_N, FALLS)
      for bits in (3, 4)),
    _claim("falls_from_3_to_4", "The damage falls from 3 to 4 bits (change of the log of its mean over models).",
           -1 / LAW.gamma_post, FALLS),
    _claim("rate_from_3_to_4", "It falls at the published rate.", -1 / LAW.gamma_post, _HALF),
    _claim("exponential_to_2", "The exponential goes on to 2 bits, which the law was not fitted to: the damage falls "
           "by the same factor from 2 to 3 bits as from 3 to 4 (difference of the logs of these factors; within .5 is "
           "our allowance).", 0.0, Between(-0.5, 0.5), _TO_2),
    _claim("more_data_helps", "Far below the critical data size, which the law puts at 1.8 billion tokens for 3 bits "
           "and 50k parameters, more data help: the last doubling lowers the loss of the rounded model (nats, 50k, 3 "
           "bits).", _BELOW, FALLS),
    _claim("trained_loss", "Training with fewer bits of weights ends at a higher loss: it falls with each bit from 3 "
           "to 6 (slope, nats a bit).", _BELOW, FALLS),
    _claim("effective_share", "Training with 3 bits leaves fewer parameters effective (share, by the size of the "
           "float32 model of that loss; published without the offset of the fit).", 1 - exp(-3 / WEIGHTS.gamma),
           Between(high=1.0)),
    _claim("sensitivity", "Over 3 to 6 bits the share goes as 1 - exp(-bits / gamma) with the published gamma of "
           "weights.", WEIGHTS.gamma, _HALF),
    _claim("robust", "A model trained with 4 bits suffers less from rounding to 3 afterwards than one trained in "
           "float32 (log ratio of damages).", _BELOW, FALLS),
    _claim("robust_to_2", "A model trained with 3 bits suffers less from rounding to 2 afterwards than one trained in "
           "float32 (log ratio of damages).", _BELOW, FALLS, _TO_2),
    _claim("robust_by_bits", "The more bits it is trained with, the more it suffers (slope of the log of the damage of "
           "3 bits over 4, 5 and 6 bits of training).", _ABOVE, GROWS),
)  # fmt: skip
