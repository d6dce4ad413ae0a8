"""Networks trained with the published recipes on real data come near those trained in float32."""

import math

import pytest
from halfulp.sim.recipes.published import RECIPES

from ..support.training import bits_per_byte, digits_accuracy

TWO_BITS, EIGHT_BITS = (
    ("bitnet", "binary", "ifairy"),
    ("fp8", "fp8_delayed", "fp8_rowwise", "fp8_blocks", "mxfp8", "int8"),
)
SEEDS = range(5)


def points_below(name):
    """How far the accuracy may lie below that of float32, in points, by the bits of weights."""
    return 1 if name in EIGHT_BITS else 6 if name in TWO_BITS else 3


@pytest.mark.parametrize("name", ["mxfp8", "nvfp4"])
def test_digits(name):
    assert digits_accuracy(name, 0, steps=80) > digits_accuracy(None, 0, steps=80) - points_below(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "identity"])
def test_five_seeds_of_digits(name):
    found, float32 = (sum(digits_accuracy(each, seed) for seed in SEEDS) / len(SEEDS) for each in (name, None))
    assert found > float32 - points_below(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "quartet", "bitnet", "ifairy"])
def test_a_transformer_learns_text(name):
    """It does not diverge, and ends near float32: within a tenth, a fifth for weights of two bits and fewer."""
    float32 = bits_per_byte(None)
    found = bits_per_byte(name)
    assert math.isfinite(found)
    assert found < float32 * (1.2 if name in TWO_BITS else 1.1)
