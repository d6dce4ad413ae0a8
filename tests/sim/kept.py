"""Parameters and torch optimizers for the tests of optimizers in low precision."""

import torch
from torch import nn

from .wrapped import normal

INT8 = {"fmt": "scaled(int8_narrow,block=flat256)", "rounding": "stochastic", "scales": "kept"}


def parameter(*shape, scale=1.0, seed=0, dtype=torch.float32):
    return nn.Parameter((scale * normal(*shape, seed=seed)).to(dtype))


def sgd(p, **how):
    return torch.optim.SGD([p], **{"lr": 0.1, **how})


def steps(optimizer, p, gradients):
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    return p.detach().clone()
