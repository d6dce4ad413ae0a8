"""Optimizers with weights, gradients and states in formats: what is stored, and what comes of it."""

import math

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.sim.optimizers.compensation import Momentum, compensated
from halfulp.sim.optimizers.namespace import Plain
from halfulp.sim.optimizers.optimizers import low_precision
from halfulp.sim.optimizers.oscillation import Freezing, Ramping, frozen, near_average
from halfulp.sim.optimizers.storage import Storage
from halfulp.sim.optimizers.stored import Stored
from halfulp.sim.optimizers.update_rules import Tensor, end, first, neighbours
from halfulp.sim.recipes.published import recipe
from torch import nn

from .kept import INT8, parameter, sgd, steps
from .wrapped import normal
from .wrapped import one_thread as one_thread

NUMPY = Plain(np)


# --- what is stored -----------------------------------------------------------------------------------------------


def test_everything_lies_on_its_grid():
    p = parameter(8, 64)
    storage = Storage(
        weights="fp8_e4m3", gradients="fp8_e5m2", master="bf16",
        states={"exp_avg": "bf16", "exp_avg_sq": {"fmt": "fp8_e4m3_per_row", "domain": "sqrt"}},
    )  # fmt: skip
    optimizer = low_precision(torch.optim.AdamW([p], lr=0.01), storage)
    for k in range(3):
        p.grad = normal(8, 64, seed=k)
        optimizer.step()
        state, master = optimizer.state[p], optimizer._slots[p].work
        for value, fmt in ((p, "fp8_e4m3"), (master, "bf16"), (state["exp_avg"], "bf16")):
            assert torch.equal(hu.quantize(value.detach(), fmt), value)
        assert torch.equal(p, hu.quantize(master, "fp8_e4m3"))
        root = state["exp_avg_sq"].sqrt()
        assert (hu.quantize(root, "fp8_e4m3_per_row") - root).abs().max() <= 1e-6 * root.max()
        assert (state["exp_avg_sq"] >= 0).all()
    assert optimizer.bits() == pytest.approx((8, 16, 8, 16 + 8.5, 0))


def test_tenths_of_a_step_vanish_or_arrive():
    """100 updates of .1 steps: to nearest nothing moves; stochastically 10 on average, with deviation sqrt(100*.1*.9)."""
    moved = {}
    for rounding in ("nearest_even", "stochastic"):
        p = nn.Parameter(torch.zeros(100, 100))
        optimizer = low_precision(sgd(p, lr=1.0), weights={"fmt": "int8", "rounding": rounding})
        moved[rounding] = steps(optimizer, p, [torch.full((100, 100), -0.1)] * 100)
    assert not moved["nearest_even"].any()
    assert moved["stochastic"].mean() == pytest.approx(10, abs=4 * 3 / 100)
    assert moved["stochastic"].std() == pytest.approx(3, abs=0.1)


def test_kept_scales_do_not_drift():
    p = parameter(6, 100)
    optimizer = low_precision(sgd(p, lr=1.0), weights=INT8)
    before, scales = p.detach().clone(), optimizer._slots[p].memory["scales"].clone()
    assert torch.equal(steps(optimizer, p, [torch.zeros(6, 100)] * 50), before)
    one = torch.zeros(6, 100)
    one[0, 3] = -1e-3
    after = steps(optimizer, p, [one] * 20)
    assert torch.equal(after.flatten()[4:], before.flatten()[4:])
    assert torch.equal(optimizer._slots[p].memory["scales"], scales)


def test_kept_scales_follow_where_values_do_not_fit():
    p = nn.Parameter(torch.linspace(-1, 1, 256).reshape(1, 256))
    optimizer = low_precision(sgd(p, lr=1.0), weights=INT8)

    def scale():
        return optimizer._slots[p].memory["scales"].item() * 127

    grown, shrunk = torch.zeros(1, 256), torch.zeros(1, 256)
    grown[0, -1] = -1.0
    steps(optimizer, p, [grown])
    assert scale() == pytest.approx(2)
    assert p.max().item() == pytest.approx(2)
    shrunk[0, -1] = 1.2  # to .8, but others are at 1: half of the range
    steps(optimizer, p, [shrunk])
    assert scale() == pytest.approx(2, rel=0.02) or scale() == pytest.approx(1, rel=0.02)
    steps(optimizer, p, [0.9 * p.detach()])
    assert scale() == pytest.approx(p.detach().abs().max().item(), rel=0.02)
    steps(optimizer, p, [p.detach().clone()])
    assert not p.any()
    assert scale() > 0


def test_tanh_after_the_step():
    """w <- 3 tanh(w / 3), 39100 times: w0 / sqrt(1 + 2 w0**2 t / 27)."""
    tensor = Tensor(Storage(after_step="tanh:3", min_ndim=0), 0, "0")
    held = first(NUMPY, tensor, np.array([0.3]))
    for k in range(39100):
        held, _ = end(NUMPY, tensor, held, held.updated, {}, k)
    assert held.weights[0] == pytest.approx(0.018546, abs=1e-6)
    assert held.weights[0] == pytest.approx(0.3 / math.sqrt(1 + 2 * 0.09 * 39100 / 27), rel=1e-4)


def test_tanh_is_of_what_the_optimizer_updates():
    p, vector = parameter(2, 2, scale=5), nn.Parameter(torch.full((2,), 5.0))
    optimizer = low_precision(torch.optim.SGD([p, vector], lr=0.0), "four_bit_cnn")
    master = optimizer._slots[p].work.clone()
    p.grad = vector.grad = None
    p.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert torch.equal(optimizer._slots[p].work, torch.tanh(master / 3) * 3)
    assert torch.equal(p, hu.quantize(optimizer._slots[p].work, "int4_per_tensor"))
    assert vector.tolist() == [5, 5]


# --- compensation -------------------------------------------------------------------------------------------------


def quadratic(seed=0, count=1000, length=700, average=200, **kept):
    """Half the mean squared distance from the minimum of the average of the last iterates of SGD on a noisy quadratic.

    Minima uniform in (-1, 1), from 0 on; noise of deviation .3 on each gradient; learning rate .02 and momentum
    m' = m / 2 + g / 2. The published numbers come without their set-up; this one gives all of them within a quarter.
    """
    generator = torch.Generator().manual_seed(seed)
    minimum = torch.rand(1, count, generator=generator) * 2 - 1
    p, total = nn.Parameter(torch.zeros(1, count)), torch.zeros(1, count)
    how = kept.pop("how", {"lr": 0.02, "momentum": 0.5, "dampening": 0.5})
    optimizer = kept.pop("kind", torch.optim.SGD)([p], **how)
    optimizer = low_precision(optimizer, seed=seed, **kept) if kept else optimizer
    for k in range(length):
        p.grad = p.detach() - minimum + 0.3 * torch.randn(1, count, generator=generator)
        optimizer.step()
        if k >= length - average:
            total += p.detach() / average
    return float(((total - minimum) ** 2).mean() / 2)


NEAREST, STOCHASTIC = ({"fmt": "int16@-4", "rounding": rounding} for rounding in ("nearest_even", "stochastic"))


ECO = {"compensation": "eco"}


def test_noisy_quadratic():
    """The grid is 1/16. Published: 1.6e-4, .192, 9.5e-4, 1.8e-4, 2.1e-4."""
    master = quadratic()
    nearest, stochastic = (quadratic(weights=of) for of in (NEAREST, STOCHASTIC))
    eco_nearest, eco_stochastic = (quadratic(weights=of, **ECO) for of in (NEAREST, STOCHASTIC))
    assert master == pytest.approx(1.6e-4, rel=0.35)
    assert nearest == pytest.approx(0.192, rel=0.35)
    assert stochastic == pytest.approx(9.5e-4, rel=0.35)
    assert eco_nearest == pytest.approx(1.8e-4, rel=0.35)
    assert eco_stochastic == pytest.approx(2.1e-4, rel=0.35)
    # the factor is the same for m' = b m + g, with a learning rate 1 - b times as large
    plain = quadratic(weights=NEAREST, how={"lr": 0.01, "momentum": 0.5}, **ECO)
    assert plain == pytest.approx(eco_nearest, rel=0.1)


def test_compensation_of_adam_and_nesterov():
    """Less than rounding to nearest loses, by far, and less than stochastic rounding adds."""
    for kind, how in (
        (torch.optim.Adam, {"lr": 0.01, "betas": (0.5, 0.9)}),
        (torch.optim.SGD, {"lr": 0.01, "momentum": 0.5, "nesterov": True}),
    ):
        lost, noisy, kept = (
            quadratic(weights=of, kind=kind, how=how, count=200, length=500, average=100, **extra)
            for of, extra in ((NEAREST, {}), (STOCHASTIC, {}), (NEAREST, ECO))
        )
        assert kept < noisy / 2 < lost / 20


def test_compensation_brings_back_what_was_lost():
    """Were all losses equal, each step would move by what SGD does and the loss of the step before."""
    m, e = np.array([0.5, -1.0]), np.array([0.01, 0.02])
    found = compensated(NUMPY, Momentum(0.1, 0.9), m, e, None)
    assert found == pytest.approx(m + (1 / 0.1) * (1 - 1 / 0.9) * e)
    looked_ahead = compensated(NUMPY, Momentum(0.1, 0.9, nesterov=True), m, e, None)
    assert looked_ahead - m == pytest.approx((found - m) / 0.9)
    v = np.array([4.0, 0.25])
    adam = compensated(NUMPY, Momentum(0.1, 0.9, second=(0.99, 1e-8, 3.0)), m, e, v)
    assert adam == pytest.approx(m + (found - m) * (1 - 0.9**3) * (np.sqrt(v / (1 - 0.99**3)) + 1e-8))


def test_compensation_rests_at_a_learning_rate_of_zero():
    p = parameter(2, 2)
    optimizer = low_precision(sgd(p, lr=0.0, momentum=0.9), weights="int4_per_row", **ECO)
    before = p.detach().clone()
    assert torch.equal(steps(optimizer, p, [torch.ones(2, 2)]), before)
    assert torch.equal(optimizer.state[p]["momentum_buffer"], torch.ones(2, 2))


# --- oscillation --------------------------------------------------------------------------------------------------


def test_neighbours_of_many_formats():
    x = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    for name in (
        "mxfp4",
        "nvfp4",
        "nvfp4_2d",
        "int8_per_row",
        "statsq",
        "nf4_block64",
        "fp8_e4m3",
        "int4_per_row_asym",
    ):
        of = Stored(recipe(name).fprop_w.fmt if name == "statsq" else name)
        lower, upper = neighbours(NUMPY, of, x)
        nearest = hu.quantize(x, of.fmt)
        assert ((nearest == lower) | (nearest == upper)).all(), name
        inside = (lower <= x) & (x <= upper)
        assert inside.mean() > 0.7
        assert (np.abs(x - nearest) <= np.minimum(np.abs(x - lower), np.abs(upper - x)) + 1e-6)[inside].all(), name


def test_the_value_nearer_to_the_average():
    average, lower, upper = (np.array(v, np.float32) for v in ([0.1, 0.9, 0.5, 7.0, np.nan], [0] * 5, [1] * 5))
    nearest = np.array([1, 0, 1, 0, 0], np.float32)
    assert near_average(NUMPY, average, lower, upper, nearest).tolist() == [0, 1, 1, 1, 0]


def test_ema_holds_on_to_a_value():
    """A master that jumps over the middle of 0 and 1 takes its average along slowly, and the weight follows that."""
    p = nn.Parameter(torch.full((1, 1), 0.4))
    plain, calm = ([], [])
    for ema, seen in ((None, plain), (0.9, calm)):
        p = nn.Parameter(torch.full((1, 1), 0.4))
        optimizer = low_precision(sgd(p, lr=1.0), weights="int4", master="binary32", ema=ema)
        for k in range(12):
            p.grad = torch.full((1, 1), -0.2 if k % 2 == 0 else 0.2)  # .6, .4, .6, ...
            optimizer.step()
            seen.append(p.item())
    assert plain == [1, 0] * 6
    assert calm == [0] * 12
    average = 0.4
    for k in range(12):
        average = 0.9 * average + 0.1 * (0.6 if k % 2 == 0 else 0.4)
    assert optimizer._slots[p].memory["ema"].item() == pytest.approx(average)


def test_ramping():
    """In a window of 4 the first element's weight jumps 4 times while its master moves by 4 * .125: R = 8."""
    p = nn.Parameter(torch.tensor([[0.4375, 0.0]]))
    storage = Storage(weights="int4", master="binary32", ramping=Ramping(window=4, divisor=4, factor=1))
    optimizer = low_precision(sgd(p, lr=1.0), storage)
    slot, masters = optimizer._slots[p], []
    for k in range(10):
        p.grad = torch.tensor([[0.125 * (-1) ** (k + 1), -0.125]])
        optimizer.step()
        masters.append(slot.work.tolist()[0])
        if k == 3:
            assert slot.memory["ramping_period"].tolist() == [[3, 1]]
    first = [m[0] for m in masters]
    assert first[:4] == [0.5625, 0.4375, 0.5625, 0.4375]
    # its next update is the 6th, by the sum of two gradients, 0; so R = 0, and the 9th step has what was left over
    assert first[4:9] == [0.4375] * 4 + [0.5625]
    assert [m[1] for m in masters] == [0.125 * (k + 1) for k in range(10)]
    assert slot.memory["ramping_period"].tolist() == [[1, 1]]


def test_ramping_takes_back_states():
    p = nn.Parameter(torch.tensor([[0.4375, 0.0]]))
    storage = Storage(weights="int4", master="binary32", ramping=Ramping(window=4, divisor=4, factor=1, limit=2))
    optimizer = low_precision(sgd(p, lr=1.0, momentum=0.0001), storage)
    for k in range(4):
        p.grad = torch.tensor([[0.125 * (-1) ** (k + 1), 0.125]])
        optimizer.step()
    assert optimizer._slots[p].memory["ramping_period"].tolist() == [[2, 1]]
    before = optimizer.state[p]["momentum_buffer"].clone()
    p.grad = torch.ones(1, 2)
    optimizer.step()
    after = optimizer.state[p]["momentum_buffer"]
    assert after[0, 0] == before[0, 0]
    assert after[0, 1] != before[0, 1]


def test_freezing():
    """Only what is within .005 steps of the middle of two values moves; on int4 the middles are half-integers."""
    start = torch.tensor([[0.5, 0.504, 0.506, 0.25, 1.0, 9.0, -1.4965]])
    p = nn.Parameter(start.clone())
    optimizer = low_precision(sgd(p, lr=1.0), weights="int4", master="binary32", freezing=Freezing(start=1))
    p.grad = torch.full_like(p, -0.25)
    optimizer.step()
    assert torch.equal(optimizer._slots[p].work, start + 0.25)
    optimizer._slots[p].work.copy_(start)
    optimizer.step()
    moved = (optimizer._slots[p].work != start)[0].tolist()
    assert moved == [True, True, False, False, False, False, True]
    assert not frozen(NUMPY, Freezing(start=5), np.ones(2), np.zeros(2), np.ones(2), 4).any()
