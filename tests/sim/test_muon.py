"""Polar Express and Muon: singular values, libraries, formats, and what the optimizers do with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from halfulp.emulate.quantize import quantize
from halfulp.sim.optimizers.optimizers import low_precision, muon
from halfulp.sim.optimizers.orthogonal import adjustment, coefficients, orthogonalize

from .wrapped import normal, one_thread  # noqa: F401

PUBLISHED = [
    (8.2872, -23.5959, 17.3004), (4.1071, -2.9478, 0.5448), (3.9487, -2.9089, 0.5518), (3.3184, -2.4885, 0.5100),
    (2.3007, -1.6689, 0.4188), (1.8913, -1.2680, 0.3768), (1.875, -1.25, 0.375),
]  # fmt: skip
"""Polar Express, before singular values are divided by 1.01."""


def conditioned(m=128, n=128, condition=100.0, seed=1):
    """A matrix whose singular values are spaced evenly in their logarithm."""
    random = np.random.default_rng(seed)
    u, v = (np.linalg.qr(random.standard_normal((k, k)))[0] for k in (m, n))
    k = min(m, n)
    return ((u[:, :k] * np.geomspace(1, 1 / condition, k)) @ v[:, :k].T).astype(np.float32)


def ends(x):
    """The least and the largest singular value."""
    values = np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)
    return values.min(), values.max()


def test_coefficients_are_the_published_ones():
    rows = np.array(coefficients("polar_express", 9))
    assert rows[:7] * [1.01, 1.01**3, 1.01**5] == pytest.approx(np.array(PUBLISHED), abs=2e-4)
    assert rows[7] == pytest.approx(PUBLISHED[-1], abs=1e-6)
    assert (rows[8] == rows[7]).all()


def test_singular_values_in_bf16():
    """Condition 100, six steps, every operation rounded. Published: [.9925, 1.0073], and Muon's own [.675, 1.140]."""
    g = conditioned()
    assert ends(orthogonalize(g, 6, "bf16")) == pytest.approx((0.9925, 1.0073), abs=1e-3)
    assert ends(orthogonalize(g, 6, "bf16", method="newton_schulz")) == pytest.approx((0.675, 1.140), abs=3e-3)
    assert ends(orthogonalize(g, 8)) == pytest.approx((1, 1), abs=1e-5)


@pytest.mark.parametrize("fmt", [None, "bf16"])
def test_libraries_agree(fmt):
    """Sums of products differ in their last bits, which bfloat16 mostly rounds away."""
    g = np.random.default_rng(0).standard_normal((40, 24)).astype(np.float32)
    expected = orthogonalize(g, 5, fmt)
    by_jax = jax.jit(lambda x: orthogonalize(x, 5, fmt))(jnp.asarray(g))
    for found in (by_jax, orthogonalize(torch.tensor(g), 5, fmt)):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5 if fmt is None else 2**-6)
    if fmt is not None:
        assert np.array_equal(quantize(expected, fmt), expected)


def test_stacks_and_dtypes():
    g = np.random.default_rng(0).standard_normal((3, 24, 40)).astype(np.float32)
    np.testing.assert_allclose(np.stack([orthogonalize(m) for m in g]), orthogonalize(g), atol=1e-5)
    narrow = torch.tensor(g).bfloat16()
    found = orthogonalize(narrow, 5, "bf16")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.float(), orthogonalize(narrow.float(), 5, "bf16"))


def test_adjustments():
    assert adjustment("original", 4, 1) == 2
    assert adjustment("original", 1, 4) == 1
    assert adjustment("match_rms_adamw", 9, 4) == pytest.approx(0.6)
    assert adjustment("none", 9, 4) == 1


def test_torch_muon_is_that_of_torch():
    """With the constant coefficients and float32, up to the rounding of torch's products, which are in bfloat16."""
    a, b = (torch.nn.Parameter(normal(16, 24)) for _ in range(2))
    mine = muon([a], lr=0.1, method="newton_schulz", weight_decay=0.1, fmt=None)
    theirs = torch.optim.Muon([b], lr=0.1, weight_decay=0.1, momentum=0.95)
    for k in range(3):
        a.grad, b.grad = (normal(16, 24, seed=k) for _ in range(2))
        mine.step()
        theirs.step()
    torch.testing.assert_close(a, b, rtol=0, atol=0.02)
    assert (a - normal(16, 24)).abs().max() > 0.05


def test_torch_and_optax_do_the_same():
    """A parameter of optax is that of torch, transposed; convolutions are matrices of outputs in torch."""
    w = torch.nn.Parameter(normal(16, 24))
    optimizer, tx = muon([w], lr=0.1, weight_decay=0.5, fmt=None), muon(lr=0.1, weight_decay=0.5, fmt=None)
    params = jnp.asarray(normal(16, 24).numpy().T)
    state, update = tx.init(params), jax.jit(tx.update)
    for k in range(3):
        g = normal(16, 24, seed=k)
        w.grad = g
        optimizer.step()
        updates, state = update(jnp.asarray(g.numpy().T), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(np.asarray(params).T, w.detach().numpy(), atol=1e-5)
    kernel = torch.nn.Parameter(normal(8, 4, 3, 3))
    before, kernel.grad = kernel.detach().clone(), normal(8, 4, 3, 3, seed=1)
    muon([kernel], lr=1.0, adjust="none", momentum=0.0, fmt=None, steps=8).step()
    assert ends((before - kernel.detach()).flatten(1)) == pytest.approx((1, 1), abs=1e-3)


def test_muon_learns_with_everything_in_bf16():
    """A matrix from noisy products: the loss falls far, in a format throughout, closures and all."""
    target, w = normal(16, 16), torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = low_precision(muon([w], lr=0.2), "bf16")
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 100)

    def closure():
        optimizer.zero_grad()
        loss = (normal(64, 16, seed=schedule.last_epoch) @ (w - target)).square().mean()
        loss.backward()
        return loss

    first = optimizer.step(closure).item()
    for _ in range(100):
        last = optimizer.step(closure).item()
        schedule.step()
    assert last < first / 100
    assert torch.equal(quantize(w.detach(), "bf16"), w)
    assert torch.equal(quantize(optimizer.state[w]["momentum_buffer"], "bf16"), optimizer.state[w]["momentum_buffer"])


def test_hyperparameters_in_the_state():
    """Settings have names in the signature, which optax.inject_hyperparams reads."""
    inject = optax.inject_hyperparams(muon, static_args="steps")
    params = jnp.asarray(normal(4, 8).numpy())
    found, expected = (
        tx.update(params, tx.init(params), params)[0] for tx in (inject(lr=0.1, fmt=None), muon(lr=0.1, fmt=None))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_errors():
    matrix, vector = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    for call, message in {
        lambda: muon([vector]): "give vectors to AdamW",
        lambda: muon().init({"b": jnp.ones(2)}): "give vectors to optax.adamw",
        lambda: muon([matrix], method="newton"): "unknown method 'newton'",
        lambda: muon(adjust="rms"): "unknown adjustment 'rms'",
        lambda: muon([matrix], fmt="bf61"): "unknown format 'bf61'",
        lambda: muon([matrix], steps=0): "expected one step or more",
        lambda: muon([matrix], momentum=1.0): "expected momentum >= 0 and < 1, got 1.0",
        lambda: muon(momentum=1.5): "expected momentum >= 0 and < 1, got 1.5",
        lambda: muon([matrix], lr=-0.1): "expected lr >= 0, got -0.1",
        lambda: muon(weight_decay=-1.0): "expected weight_decay >= 0, got -1.0",
        lambda: orthogonalize(np.ones(3)): "expected a matrix, got an array of shape (3,)",
    }.items():
        with pytest.raises(ValueError) as error:  # noqa: PT011
            call()
        assert message in str(error.value)
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="no sparse gradients"):
        muon(table.parameters()).step()
