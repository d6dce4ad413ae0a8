"""How evenly trained weights use the four phases."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...emulate.complexes import to_widely_linear
from ...emulate.quantize import quantize
from ...sim.models.leaves import flat
from .storage import coded


def phase_entropy(z: np.ndarray) -> float:
    """Bits of the distribution of the codes 1, i, -1, -i of complex numbers; 2 where each has a quarter."""
    values: Any = quantize(z, "phase")
    shares = np.array([np.mean(values.real > 0), np.mean(values.imag > 0), np.mean(values.real < 0),
                       np.mean(values.imag < 0)])  # fmt: skip
    kept = shares[shares > 0]
    return float(-(kept * np.log2(kept)).sum())


def mean_entropy(parameters: Mapping[str, Any], description: Any) -> float:
    """The mean over the complex matrices, two a layer, of the first stage."""
    weights = flat(parameters)
    matrices = [z for layer in coded(description.leaves) for z in to_widely_linear(weights[f"{layer}.weight"])]
    return float(np.mean([phase_entropy(z) for z in matrices]))
