"""Optimizers in formats as torch optimizers: checkpoints, copies, schedulers, scalers, groups, dtypes, and training."""

import copy
import io
import math

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.sim.optimizers.optimizers import low_precision
from halfulp.sim.optimizers.oscillation import Ramping
from halfulp.sim.optimizers.storages import STORAGES
from halfulp.sim.optimizers.stored import Stored
from halfulp.sim.recipes.published import recipe
from torch import nn

from .wrapped import mlp, normal, one_thread  # noqa: F401


def parameter(*shape, seed=0, dtype=torch.float32):
    return nn.Parameter(normal(*shape, seed=seed).to(dtype))


def steps(optimizer, p, gradients):
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    return p.detach().clone()


ROOTS = {"fmt": "dynamic8_unsigned", "domain": "sqrt"}
TRAINED = {
    "bf16": {"storage": "bf16"},
    "int8": {"storage": "int8_weights", "min_size": 0},
    "ema": {"storage": "tetrajet_ema"},
    "ramping": {"storage": "tetrajet_ramping", "ramping": Ramping(window=2, divisor=1.0, factor=1)},
    "eco": {"weights": "int8_per_row", "compensation": "eco"},
}


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def trained(model, optimizer, first, last, scheduler=None):
    for k in range(first, last):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(normal(8, 16, seed=k)), normal(8, 4, seed=100 + k)).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [p.detach().clone() for p in model.parameters()]


def equal(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", TRAINED)
def test_a_resumed_run_equals_an_uninterrupted_one(name):
    def new():
        model = network()
        optimizer = low_precision(torch.optim.AdamW(model.parameters(), lr=0.01), seed=3, **TRAINED[name])
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)

    model, optimizer, scheduler = new()
    expected = trained(model, optimizer, 0, 8, scheduler)
    model, optimizer, scheduler = new()
    trained(model, optimizer, 0, 5, scheduler)
    saved = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()], saved)
    saved.seek(0)
    states = torch.load(saved, weights_only=True)
    model, optimizer, scheduler = new()
    for each, state in zip((model, optimizer, scheduler), states):
        each.load_state_dict(state)
    assert equal(trained(model, optimizer, 5, 8, scheduler), expected)
    assert optimizer.param_groups is optimizer.inner.param_groups
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_copies_go_their_own_way():
    model = network()
    optimizer = low_precision(torch.optim.AdamW(model.parameters(), lr=0.01), "tetrajet_ema")
    trained(model, optimizer, 0, 2)
    other, copied = copy.deepcopy((model, optimizer))
    expected = trained(model, optimizer, 2, 5)
    assert equal(trained(other, copied, 2, 5), expected)
    assert copied.param_groups[0]["params"][0] is next(other.parameters())


@pytest.mark.parametrize("how", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_kinds_of_inner_steps(how):
    """Up to the last bit of the inner step, which may move a weight to the value next to it."""
    model, other = network(), network()
    expected = trained(model, low_precision(torch.optim.Adam(model.parameters()), weights="bf16"), 0, 3)
    found = trained(other, low_precision(torch.optim.Adam(other.parameters(), **how), weights="bf16"), 0, 3)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=2**-7, atol=1e-6)


def test_schedulers_closures_and_scalers():
    model = network()
    optimizer = low_precision(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), weights="bf16", min_ndim=0)
    assert isinstance(optimizer, torch.optim.Optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x, scaler = normal(8, 16), torch.amp.GradScaler("cpu", init_scale=256.0)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    before = optimizer.step(closure).item()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == optimizer.inner.param_groups[0]["lr"] == 0.05
    optimizer.zero_grad()
    scaler.scale(model(x).square().mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.step(closure).item() < before
    kept = [p.detach().clone() for p in model.parameters()]
    optimizer.zero_grad()
    scaler.scale(model(x).square().mean() * math.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert equal(kept, model.parameters())
    assert scaler.get_scale() == 128
    assert all(torch.equal(hu.quantize(p.detach(), "bf16"), p) for p in model.parameters())
    assert "LowPrecisionOptimizer" in repr(optimizer)


def test_groups_have_storages_of_their_own():
    a, b, c = parameter(4, 32), parameter(4, 32, seed=1), parameter(4, 32, seed=2)
    left = b.detach().clone()
    groups = [{"params": [a], "storage": "tetrajet_ema"}, {"params": [b], "storage": None, "lr": 0.5}]
    optimizer = low_precision(torch.optim.SGD(groups, lr=0.1), weights="bf16")
    optimizer.add_param_group({"params": [c]})
    assert torch.equal(b, left)
    assert torch.equal(c, hu.quantize(c.detach(), "bf16"))
    assert torch.equal(a, hu.quantize(optimizer._slots[a].work, Stored(STORAGES["tetrajet_ema"].weights.fmt).fmt))
    for p in (a, b, c):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(b, left - 0.5)
    again = low_precision(
        torch.optim.SGD([{"params": [parameter(4, 32)], "storage": "bf16"}, {"params": [b]}, {"params": [c]}], lr=0.1)
    )
    with pytest.raises(ValueError, match="another storage or seed"):
        again.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="got a plain one"):
        optimizer.load_state_dict(torch.optim.SGD([a, b, c], lr=0.1).state_dict())


def test_narrow_and_wide_parameters():
    narrow, wide = parameter(4, 32, dtype=torch.bfloat16), parameter(4, 32, dtype=torch.float64)
    optimizer = low_precision(torch.optim.AdamW([narrow, wide], lr=0.01), weights="bf16", states={"*": "bf16"})
    for k in range(3):
        narrow.grad, wide.grad = normal(4, 32, seed=k).bfloat16(), normal(4, 32, seed=k).double()
        optimizer.step()
    assert (narrow.dtype, wide.dtype) == (torch.bfloat16, torch.float64)
    assert optimizer.state[narrow]["exp_avg"].dtype == torch.float32
    assert torch.equal(wide, hu.quantize(wide.detach(), "bf16"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[narrow]["exp_avg"].dtype == torch.float32
    master = low_precision(torch.optim.SGD([narrow], lr=0.01), weights="mxfp4", master="binary32")
    narrow.grad = torch.ones_like(narrow)
    master.step()
    assert torch.equal(narrow, hu.quantize(master._slots[narrow].work, "mxfp4").bfloat16())
    float64 = low_precision(torch.optim.SGD([wide], lr=0.01), weights="bf16", master="binary32")
    wide.grad = torch.ones_like(wide)
    float64.step()
    assert torch.equal(float64._slots[wide].work, float64._slots[wide].work.float().double())


def test_parameters_without_a_gradient_stay():
    a, b = parameter(4, 32), parameter(4, 32, seed=1)
    optimizer = low_precision(torch.optim.SGD([a, b], lr=0.1), weights="bf16")
    before = b.detach().clone()
    steps(optimizer, a, [torch.ones(4, 32)])
    assert torch.equal(b, before)
    optimizer.zero_grad(set_to_none=False)
    assert not a.grad.any()


def test_wrapped_after_its_first_steps():
    p = parameter(4, 32)
    inner = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    steps(inner, p, [torch.ones(4, 32)])
    optimizer = low_precision(inner, weights="mxfp4", master="binary32")
    steps(optimizer, p, [torch.zeros(4, 32)])
    assert torch.equal(optimizer.state[p]["momentum_buffer"], torch.full((4, 32), 0.9))


def test_narrow_parameters_wrapped_after_their_first_steps():
    """Their states become float32, as those of the copies that the optimizer works on."""
    p = parameter(4, 32, dtype=torch.bfloat16)
    inner = torch.optim.AdamW([p], lr=0.01)
    steps(inner, p, [torch.ones_like(p)])
    before = inner.state[p]["exp_avg"].float()
    optimizer = low_precision(inner, weights="bf16")
    assert torch.equal(optimizer.state[p]["exp_avg"], before)
    steps(optimizer, p, [torch.ones_like(p)])
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], 0.9 * before + 0.1)


@pytest.mark.parametrize("kept", [{"weights": "bf16"}, {"weights": "mxfp4", "master": "binary32"}])
def test_narrow_models_resume(kept):
    def new():
        model = network().bfloat16()
        return model, low_precision(torch.optim.AdamW(model.parameters(), lr=0.01), **kept)

    def run(model, optimizer, first, last):
        for k in range(first, last):
            for p in model.parameters():
                p.grad = normal(*p.shape, seed=k).bfloat16()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()]

    model, optimizer = new()
    expected = run(model, optimizer, 0, 6)
    model, optimizer = new()
    run(model, optimizer, 0, 3)
    states = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    model, optimizer = new()
    optimizer.load_state_dict(states[1])
    model.load_state_dict(states[0])
    assert equal(run(model, optimizer, 3, 6), expected)


def test_groups_added_later_are_checked_by_the_optimizer():
    matrix, vector = parameter(4, 4), parameter(4)
    optimizer = low_precision(hu.muon([matrix]), "bf16", seed=np.int64(3))
    with pytest.raises(ValueError, match="give vectors to AdamW"):
        optimizer.add_param_group({"params": [vector]})
    assert len(optimizer.param_groups) == len(optimizer.inner.param_groups) == 1
    optimizer.add_param_group({"params": [parameter(4, 4, seed=1)], "lr": 0.5})
    assert [group["lr"] for group in optimizer.inner.param_groups] == [0.02, 0.5]


def test_models_with_quantized_products():
    """Weights that are on the grid already stay there in the forward product."""
    model = mlp()
    hu.quantize_(model, recipe("tetrajet").with_(pad=True))
    optimizer = low_precision(torch.optim.AdamW(model.parameters(), lr=0.01), "tetrajet_ema")
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (model(normal(32, 64)) - normal(32, 64, seed=1)).square().mean()
        loss.backward()
        optimizer.step()
        hu.advance_(model)
        losses.append(loss.item())
    weight = model[0].weight.detach()
    assert torch.equal(hu.quantize(weight, STORAGES["tetrajet_ema"].weights.fmt), weight)
    assert losses[-1] < losses[0]


def digits(seed, **kept):
    """Test accuracy in percent of a small network after 200 steps."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = torch.tensor(data.data[order] / 16, dtype=torch.float32), torch.tensor(data.target[order])
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    optimizer = low_precision(optimizer, seed=seed, **kept) if kept else optimizer
    for k in range(200):
        rows = torch.randint(0, 1400, (128,), generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return 100 * (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()


def test_digits_in_bf16_alone():
    """Weights, gradients and states in bfloat16, put back stochastically, come within a point of float32."""
    assert digits(0, storage="bf16") > digits(0) - 1


PUBLISHED = {
    "bf16": ({"storage": "bf16"}, 0.5),
    "8-bit states": ({"storage": "adam8bit"}, 0.5),
    "FP8-LM": ({"storage": "fp8_lm"}, 1),
    "INT8 weights": ({"storage": "int8_weights", "states": {"exp_avg": "dynamic8", "exp_avg_sq": ROOTS}}, 1),
    "INT4 weights": ({"weights": "int4_per_row"}, 1),
    "Q-EMA": ({"storage": "tetrajet_ema"}, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_five_seeds_of_digits(name):
    kept, points = PUBLISHED[name]
    found, plain = (np.mean([digits(seed, **how) for seed in range(5)]) for how in (kept, {}))
    assert found > plain - points
