"""The same training in torch and in JAX: bit for bit where products are exact, within 1% on the digits."""

from itertools import pairwise

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.sim.recipes.published import recipe

from ..support.training import digits
from .wrapped import one_thread  # noqa: F401

RNG = np.random.default_rng(7)
SIZES = (64, 64, 64)
WEIGHTS = {str(2 * k): RNG.integers(-4, 5, (n, m)).astype(np.float32) / 4 for k, (m, n) in enumerate(pairwise(SIZES))}
X = RNG.integers(-3, 4, (64, 64)).astype(np.float32)
TARGET = RNG.integers(-1, 2, (64, 64)).astype(np.float32)
DYADIC = ("mxfp8", "mxfp6", "mxfp4", "tetrajet")
"""Recipes with scales that are powers of two for all operands, so that products are exact sums; the last one draws."""
QUICK = ("mxfp8", "lsq")


def torch_model(weights, biases=None):
    layers = []
    for name, w in weights.items():
        layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=biases is not None)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w))
            if biases is not None:
                layer.bias.copy_(torch.from_numpy(biases[name]))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def forward(params, x):
    for k, layer in enumerate(params.values()):
        x = x if k == 0 else jax.nn.relu(x)
        x = x @ layer["weight"].T + layer.get("bias", 0)
    return x


@pytest.mark.parametrize("name", DYADIC)
def test_exact_products_train_to_the_last_bit(name):
    """A linear loss of integers; the weights move by powers of two times the gradient, three steps."""
    model = torch_model(WEIGHTS)
    hu.quantize_(model, name, seed=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0**-10)
    losses = []
    for _ in range(3):
        loss = (model(torch.from_numpy(X)) * torch.from_numpy(TARGET)).sum() / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hu.advance_(model)
        losses.append(loss.item())
    q = hu.quantized(lambda params, x: (forward(params, x) * TARGET).sum() / 64, name)
    step = jax.jit(jax.value_and_grad(lambda p, k: q(p, X, seed=5, step=k)))
    params = {name: {"weight": jnp.asarray(w)} for name, w in WEIGHTS.items()}
    for k in range(3):
        loss, gradient = step(params, k)
        assert float(loss) == losses[k], k
        params = jax.tree.map(lambda p, g: p - 2.0**-10 * g, params, gradient)
    for own, other in zip(params.values(), model.parameters()):
        assert np.array_equal(own["weight"], other.detach().numpy())


def digits_losses_torch(name, weights, biases, rows):
    x, y, *_ = digits()
    model = torch_model(weights, biases)
    hu.quantize_(model, [("4", None), ("*", recipe(name))], seed=3)
    optimizer = torch.optim.SGD([*model.parameters(), *hu.extra_parameters(model)], lr=0.1)
    losses = []
    for chosen in rows:
        loss = torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hu.advance_(model)
        losses.append(loss.item())
    return losses


def digits_losses_jax(name, weights, biases, rows):
    x, y, *_ = (jnp.asarray(part.numpy()) for part in digits())
    params = {k: {"weight": jnp.asarray(weights[k]), "bias": jnp.asarray(biases[k])} for k in weights}

    def loss_of(params, x, y):
        scores = jax.nn.log_softmax(forward(params, x))
        return -jnp.mean(jnp.take_along_axis(scores, y[:, None], 1))

    q = hu.quantized(loss_of, [("4", None), ("*", recipe(name))])
    state = q.init(params, x[rows[0]], y[rows[0]], seed=3)

    @jax.jit
    def step(params, state, chosen, k):
        call = lambda params, state: q(params, x[chosen], y[chosen], seed=3, step=k, state=state)  # noqa: E731
        loss, (gradient, of_state) = jax.value_and_grad(call, (0, 1))(params, state)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        if recipe(name).after_step == "tanh:3":  # the optimizer's in JAX, `advance_`'s in torch
            bent = {k: {**params[k], "weight": 3 * jnp.tanh(params[k]["weight"] / 3)} for k in ("0", "2")}
            params = {**params, **bent}
        return loss, params, q.advance(state, of_state, 0.1)

    losses = []
    for k, chosen in enumerate(rows):
        loss, params, state = step(params, state, chosen, k)
        losses.append(float(loss))
    return losses


def after_20_steps(name):
    rng = np.random.default_rng(1)
    sizes = (64, 128, 128, 10)
    pairs = list(pairwise(sizes))
    weights = {str(2 * k): (rng.standard_normal((n, m)) / m**0.5).astype(np.float32) for k, (m, n) in enumerate(pairs)}
    biases = {name: np.zeros(len(w), np.float32) for name, w in weights.items()}
    rows = rng.integers(0, 1437, (20, 128))
    return digits_losses_torch(name, weights, biases, rows), digits_losses_jax(name, weights, biases, rows)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in hu.list_recipes()]
)
def test_digits_agree_within_a_percent_after_20_steps(name):
    ours, others = after_20_steps(name)
    assert ours[-1] < 0.98 * ours[0]
    assert abs(ours[0] - others[0]) < 1e-3 * ours[0]
    assert abs(ours[-1] - others[-1]) < 0.01 * ours[-1]
