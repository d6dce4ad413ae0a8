"""Models and what is asked of their conversions, for the tests of those."""

import struct

import torch
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.wrapping.wrapping import advance_, quantize_
from torch import nn

from .wrapped import MXFP4, tensors

NOISY = MXFP4.with_(fprop_x=Quantizer("mxfp4", rounding="stochastic"))


def outputs(model, *inputs):
    with torch.no_grad():
        return tensors(model(*inputs))


def same(found, want):
    return len(found) == len(want) and all(torch.equal(a, b) for a, b in zip(found, want))


def entries(model):
    """What files would say of each layer."""
    return {name: m._packed for name, m in model.named_modules() if getattr(m, "_packed", None) is not None}


def ways(model):
    return {weight.way for entry in entries(model).values() for weight in entry.weights.values()}


def meta(make):
    with torch.device("meta"):
        return make()


def trained(model, x, rules, seed=0):
    """A wrapped model one step on, so that histories, step sizes and random signs are those of a run."""
    quantize_(model, rules, seed=seed)
    sum(t.sum() for t in tensors(model(*x))).backward()
    advance_(model)
    return model.eval()


def payload(path):
    """Bytes of the tensors of a file."""
    data = path.read_bytes()
    return len(data) - 8 - struct.unpack("<Q", data[:8])[0]


class Twice(nn.Module):
    """One layer, twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 64)

    def forward(self, x):
        return self.inner(self.inner(x).relu())
