"""MS-EDEN of random tensors, there and back: the library has it for tensors of torch."""

import numpy as np
import torch

from ...emulate.transforms import hadamard
from ...sim.products.torch_operands import quantized, rotated
from ...sim.recipes.operands import operands_of
from ...sim.recipes.published import recipe
from .samples import generator


def shortening(seed: int, side: int = 256) -> float:
    """1 - <q, x> / |x|^2 of a Gaussian (side, side) tensor and its values, back from the basis of the transform."""
    spec = operands_of(recipe("quartet2"), "linear")[2]
    words, step = torch.tensor([seed, 0]), torch.tensor(0)
    x = torch.from_numpy(generator(seed, 4).standard_normal((side, side)).astype("float32"))
    values, _ = quantized(rotated(x, spec, words, step), spec, words, step)
    back = hadamard(values, spec[6], axis=-1, seed=words, step=step, inverse=True)
    return 1 - float((back.double() * x.double()).sum() / (x.double() ** 2).sum())


def nvfp4_eden(x: np.ndarray, seed: int) -> np.ndarray:
    """NVFP4 values of (rows, columns) float32 by MS-EDEN, without the rotation, which Gaussian data do not need."""
    spec = operands_of(recipe("quartet2"), "linear")[2]
    values, _ = quantized(torch.from_numpy(x), spec, torch.tensor([seed, 0]), torch.tensor(0))
    return values.numpy()
