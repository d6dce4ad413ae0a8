"""Steps of models that are watched, beside the same ones that are not."""

import torch
from halfulp.sim.probes.probes import watch
from halfulp.sim.wrapping.wrapping import advance_, quantize_

from .wrapped import normal, tensors

PLAIN = None


def trained(model, inputs, steps=3, watching=None, backward=True):
    """Everything a few steps leave behind, and the probe."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    probe, found = watching(model) if watching else None, []
    for k in range(steps):
        torch.manual_seed(k)
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
        optimizer.zero_grad()
        ys = tensors(model(*leaves))
        if backward:
            sum((y * normal(*y.shape, seed=9)).sum() for y in ys).backward()
            optimizer.step()
        advance_(model)
        found += [y.detach() for y in ys] + [x.grad for x in leaves if x.grad is not None]
    found += [p.detach().clone() for p in model.parameters()] + [torch.rand(3)]
    if probe is not None:
        probe.close()
    return found, probe


def both(make, rules, inputs, what_if=("mxfp4",), **how):
    """The table of a watched run, whose results are those of one that is not."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(make() if rules is None else quantize_(make(), rules))
    plain, _ = trained(models[0], inputs)
    found, probe = trained(models[1], inputs, watching=lambda m: watch(m, every=2, what_if=what_if, **how))
    assert len(plain) == len(found)
    assert all(torch.equal(a, b) for a, b in zip(plain, found))
    return probe.frame()
