"""MS-EDEN as training has it: one operand of a backward product of the recipe `quartet2`."""

import numpy as np
import torch

from ..sim.products.torch_operands import quantized
from ..sim.recipes.operands import operands_of
from ..sim.recipes.published import recipe


def nvfp4_eden(x: np.ndarray, seed: int) -> np.ndarray:
    """NVFP4 values of (rows, columns) float32, without the rotation, which Gaussian data do not need."""
    spec = operands_of(recipe("quartet2"), "linear")[2]
    values, _ = quantized(torch.from_numpy(x), spec, torch.tensor([seed, 0]), torch.tensor(0))
    return values.numpy()
