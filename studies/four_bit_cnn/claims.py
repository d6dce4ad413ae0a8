"""The claims of the study of the four-bit network, with their rules."""

from typing import Any

from ..claims import TRAINING, Claim
from ..rules import Between, Equal

PAPER = "arXiv:2603.13931"
ABLATED = {
    "no_tanh": ("without 3 tanh(w / 3) after every step", 87.3),
    "no_scale": ("with one fixed step for all layers", 84.1),
    "no_clip": ("without clipping gradients", 82.5),
    "plain": ("with none of the three", 79.2),
}
"""What is left out, and the published accuracy on CIFAR-10."""
FOUR_BIT, FLOAT32 = 92.34, 92.5
"""Published accuracies on CIFAR-10."""
EQUAL = 0.5
"""Points of accuracy up to which four bits count as as good as float32, a choice of this study."""


def _claim(id: str, statement: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, f"{PAPER}; set-up ours", published, TRAINING, rule)


CLAIMS = (
    _claim("as_float32", "Four-bit weights are as accurate as float32, within half a point, a threshold of "
           "ours (difference in points).",
           round(FOUR_BIT - FLOAT32, 2), Between(-EQUAL, EQUAL)),
    *(_claim(f"{name}_accuracy", f"{shown[0].upper()}{shown[1:]} the accuracy is lower (difference in points).",
             round(accuracy - FOUR_BIT, 2), Between(high=0.0)) for name, (shown, accuracy) in ABLATED.items()),
    *(_claim(f"{name}_loss", f"{shown[0].upper()}{shown[1:]} the loss is higher (log ratio; the published accuracy is "
             "lower).", "higher", Between(low=0.0)) for name, (shown, _) in ABLATED.items()),
    _claim("plain_worst", "None of the three is worse than leaving out the one that costs most (difference in "
           "points).", round(79.2 - 82.5, 2), Between(high=0.0)),
    _claim("at_most_fifteen", "No layer has more than 15 different weights, in any run.", True, Equal()),
    _claim("exactly_fifteen", "Every layer has exactly 15 (share of layers).", 1.0, Between(low=1.0)),
)  # fmt: skip
