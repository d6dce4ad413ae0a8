"""Sensitivity of layers: measures by hand, second-order ones against exact ones, torch and JAX alike."""

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.sim.allocation import sensitivity as front
from halfulp.sim.allocation.allocate import allocate
from halfulp.sim.allocation.sensitivity import sensitivity
from halfulp.sim.allocation.torch_curvature import fisher_diagonal, hutchinson, signs_like
from halfulp.sim.allocation.torch_weights import layers_of
from torch import nn
from torch.nn import functional

from .wrapped import mlp, normal, one_thread  # noqa: F401


def squared(model, batch):
    return (model(batch) ** 2).mean()


def crossed(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1])


class Quadratic(nn.Module):
    """w^T A w / 2 of a weight, whose Hessian is A."""

    def __init__(self, a):
        super().__init__()
        self.inner = nn.Linear(a.shape[0] // 4, 4, bias=False)
        self.register_buffer("a", a)

    def forward(self, x):
        w = self.inner.weight.reshape(-1)
        return 0.5 * w @ self.a @ w + 0 * self.inner(x).sum()


def test_the_trace_of_a_quadratic():
    diagonal = torch.diag(torch.arange(1.0, 33.0))
    model = Quadratic(diagonal)
    layers = list(layers_of(model).values())
    trace, error = hutchinson(model, lambda m, x: m(x), [torch.zeros(2, 8)], layers, 4, seed=0)["inner"]
    assert trace == pytest.approx(528)
    assert error == pytest.approx(0, abs=1e-4), "signs give the trace of a diagonal matrix each time"
    a = normal(32, 32)
    model = Quadratic(a + a.T)
    found = {
        n: hutchinson(model, lambda m, x: m(x), [torch.zeros(2, 8)], layers_of(model).values(), n, 1)["inner"]
        for n in (16, 400)
    }
    exact = float(2 * a.trace())
    off = (a + a.T).fill_diagonal_(0)
    deviation = float((2 * off.square().sum()).sqrt())
    for count, (trace, error) in found.items():
        assert abs(trace - exact) < 4 * error
        assert error == pytest.approx(deviation / count**0.5, rel=0.6 if count == 16 else 0.1)


def test_traces_of_several_layers_are_those_of_their_blocks():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), normal(16, 3).double()
    names = [name for name, _ in model.named_parameters()]

    def loss_of(*values):
        return (torch.func.functional_call(model, dict(zip(names, values)), x) ** 2).mean()

    hessian = torch.autograd.functional.hessian(loss_of, tuple(p.detach() for p in model.parameters()))
    found = hutchinson(model, squared, [x[:8], x[8:]], list(layers_of(model).values()), 300, seed=0)
    for k, name in ((0, "0"), (2, "2")):
        size = next(p.numel() for n, p in model.named_parameters() if n == names[k])
        exact = float(hessian[k][k].reshape(size, size).trace())
        trace, error = found[name]
        assert abs(trace - exact) < 4 * error


def test_fisher_of_logistic_regression():
    """g = (p - y) x^T for one example, so that F is the mean of (p - y)**2 x**2."""
    x, y = normal(40, 8), torch.arange(40) % 3
    model = nn.Linear(8, 3)
    shares = functional.one_hot(y, 3) - model(x).softmax(-1)
    expected = torch.einsum("bo,bi->oi", shares.square(), x.square()).detach() / 40
    layers = list(layers_of(model).values())
    found = fisher_diagonal(model, crossed, [(x[:30], y[:30]), (x[30:], y[30:])], layers, "examples")["model"]["weight"]
    assert torch.allclose(found.float(), expected, rtol=1e-4)
    batch = fisher_diagonal(model, crossed, [(x, y)], layers, "batches")["model"]["weight"]
    loss = crossed(model, (x, y))
    (g,) = torch.autograd.grad(loss, [model.weight])
    assert torch.allclose(batch.float(), g.square())
    with pytest.raises(ValueError, match="pass fisher='batches'"):
        fisher_diagonal(model, crossed, [(x, y[:3])], layers, "examples")


def test_measures_by_hand():
    torch.manual_seed(0)
    model, x = mlp(32), normal(12, 32)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    model[2].weight.requires_grad_(False)
    model.train()
    table = sensitivity(model, squared, [x], ["mxfp4", "identity"], probes=3, fisher="batches", chip="h100")
    assert list(table.index) == [(layer, name) for layer in ("0", "2") for name in ("mxfp4", "identity")]
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert model.training
    assert not model[2].weight.requires_grad
    assert type(model[0]) is nn.Linear
    measures = [name for name in front.METRICS if name != "loss"]
    assert table.xs("identity", level="format")[[*measures, "loss"]].eq(0).all().all()
    row = table.loc[("2", "mxfp4")]
    w, bias = model[2].weight.detach(), model[2].bias.detach()
    q = hu.quantize(w, "mxfp4")
    inputs = model[1](model[0](x)).detach()
    y, changed = inputs @ w.T + bias, inputs @ q.T + bias
    error = float(((changed - y) ** 2).sum() / (y**2).sum())
    assert row["weight_error"] == pytest.approx(float(((q - w) ** 2).sum() / (w**2).sum()), rel=1e-5)
    assert row["layer_error"] == pytest.approx(error, rel=1e-4)
    assert row["output_error"] == pytest.approx(error, rel=1e-4)
    assert row["loss"] == pytest.approx(float((changed**2).mean() - (y**2).mean()), rel=1e-3)
    assert row["hessian"] == pytest.approx(row["trace"] / 1024 * float(((q - w) ** 2).sum()), rel=1e-4)
    assert row["bits"] == 1024 * 4.25
    assert row["bitops"] == 12 * 1024 * 4 * 32
    assert table.loc[("2", "identity"), "bits"] == 1024 * 32
    assert 0 < row["seconds"] < table.loc[("2", "identity"), "seconds"]


def test_weight_divergence_by_hand():
    model, x = nn.Sequential(nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False)), normal(6, 32)
    table = sensitivity(
        model, squared, [x], [hu.recipe("mxfp8").with_(pad=True)], metrics=["weight_divergence"], layers=["0"]
    )
    grads = []
    for wrapped in (False, True):
        if wrapped:
            hu.quantize_(model, [("0", hu.recipe("mxfp8").with_(pad=True))])
        model.zero_grad()
        squared(model, x).backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    hu.dequantize_(model)
    expected = sum(float((b - a).norm() / p.detach().norm()) for a, b, p in zip(*grads, model.parameters()))
    assert table.loc[("0", "mxfp8"), "weight_divergence"] == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_layers_of_every_kind_and_what_allocations_become():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.5, batch_first=True)
    transformed = hu.recipe("quartet").with_(pad=True)
    table = sensitivity(
        block,
        squared,
        [normal(2, 4, 32)],
        ["ternary", "mxfp4", "int8_per_row", transformed],
        metrics=["layer_error", "weight_error"],
    )
    assert set(table.index.get_level_values(0)) == {"self_attn", "linear1", "linear2"}
    assert table.loc[("self_attn", "mxfp4"), "parameters"] == 4 * 32 * 32, "with the output projection"
    errors = table["layer_error"].unstack()
    assert (errors["int8_per_row"] < errors["mxfp4"]).all()
    found = allocate(table.drop("quartet", level="format"), average=5, sensitivity="layer_error")
    rules = found.rules()
    hu.quantize_(block, rules)
    assert torch.isfinite(block(normal(2, 4, 32))).all()
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(128, 4))
    table = sensitivity(
        cnn, squared, [normal(2, 3, 6, 6)], ["mxfp4", "int4_per_tensor"], metrics=["weight_error", "loss"]
    )
    assert table.loc[("0", "mxfp4"), "bits"] == 216 * 4 + 8 * 9 * 8, "blocks of 32 along 3 channels, one scale each"
    words = nn.Sequential(nn.Embedding(10, 32), nn.Linear(32, 4))
    table = sensitivity(words, squared, [torch.arange(10)], ["mxfp4"], metrics="weight_error")
    assert table.loc[("0", "mxfp4"), ["bitops"]].item() == 0, "rows are looked up"


def test_seeds_and_random_roundings():
    model, x = mlp(32), normal(4, 32)
    sr = hu.recipe("mxfp4").with_(name="sr", fprop_w=hu.Quantizer("mxfp4", rounding="stochastic"))
    found = [sensitivity(model, squared, [x], [sr], metrics=["weight_error", "loss"], seed=seed) for seed in (0, 0, 1)]
    assert found[0].equals(found[1])
    assert not found[0].equals(found[2])


def test_torch_and_jax_agree():
    import jax
    import jax.numpy as jnp
    from halfulp.sim.allocation import jax_sensitivity

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 16, bias=False), nn.Tanh()), normal(12, 32)
    params = {"0": jnp.asarray(model[0].weight.detach().T.numpy())}

    def loss(p, batch):
        return (jnp.tanh(batch @ p["0"]) ** 2).mean()

    ours = sensitivity(model, squared, [x], ["int4_per_row", "identity"], probes=32)
    theirs = sensitivity(params, loss, [jnp.asarray(x.numpy())], ["int4_per_row", "identity"], probes=32)
    same = ["weight_error", "fisher", "loss", "weight_divergence", "parameters", "bits"]
    np.testing.assert_allclose(theirs[same], ours[same], rtol=2e-3, atol=1e-7)
    apart = (theirs["trace"] - ours["trace"]).abs()
    assert (apart < 4 * (theirs["trace_error"] + ours["trace_error"])).all(), "weights are transposed, and so are signs"
    assert (
        jax_sensitivity.signs_like(jnp.zeros((3, 5)), 7, 2, 1) == signs_like(torch.zeros(3, 5), 7, 2, 1).numpy()
    ).all()
    fisher = jax.jit(lambda p, b: jax_sensitivity.fisher_diagonal(loss, p, b))(params, jnp.asarray(x.numpy()))
    assert fisher["0"].shape == (32, 16)
    with pytest.raises(ValueError, match="in JAX candidates are formats of weights"):
        sensitivity(params, loss, [jnp.asarray(x.numpy())], [hu.recipe("mxfp8")])
    with pytest.raises(ValueError, match="leave chip out"):
        sensitivity(params, loss, [jnp.asarray(x.numpy())], ["int8"], chip="h100")
    with pytest.raises(ValueError, match="unknown metric 'layer_error'"):
        sensitivity(params, loss, [jnp.asarray(x.numpy())], ["int8"], metrics=["layer_error"])
    with pytest.raises(ValueError, match="found none"):
        sensitivity({"bias": jnp.zeros(3)}, loss, [x], ["int8"])


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"formats": "mxfp4"}, TypeError, r"expected a list of candidates such as \['mxfp4'"),
        ({"formats": []}, ValueError, "expected one candidate or more"),
        ({"formats": ["mxfp5"]}, ValueError, "unknown format 'mxfp5'"),
        ({"formats": ["mxfp4", "mxfp4"]}, ValueError, "two candidates are called 'mxfp4'; rename a recipe"),
        ({"batches": []}, ValueError, "expected one batch or more"),
        ({"metrics": ["los"]}, ValueError, "unknown metric 'los'; did you mean 'loss'"),
        ({"metrics": []}, ValueError, "expected one metric or more"),
        ({"layers": ["1"]}, ValueError, "unknown layer '1'"),
        ({"layers": "0"}, TypeError, "expected a list of layers such as"),
        ({"fisher": "tokens"}, ValueError, "unknown fisher 'tokens'"),
        ({"probes": 1}, ValueError, "two probes or more"),
        ({"loss": lambda model, x: model(x)}, TypeError, r"return a scalar tensor, got \(4, 32\)"),
        ({"loss": lambda model, x: 1.0}, TypeError, "return a scalar tensor, got float"),
        ({"loss": lambda model, x: model(x).sum() * float("nan")}, ValueError, "the loss is nan"),
        ({"formats": [hu.recipe("mxfp4_sr_rht").with_(fprop_w=hu.Quantizer("nvfp4_2d"))], "model": nn.Linear(32, 10)}, ValueError,
         r"model: a weight of shape \(10, 32\) is no whole number of blocks of 16.*pad=True"),
        ({"model": nn.ReLU()}, ValueError, "matched nothing that can be quantized"),
        ({"model": nn.utils.parametrizations.weight_norm(nn.Linear(32, 32))}, ValueError, "expected a model with layers"),
        ({"model": lambda x: x}, ValueError, "expected a pytree with float arrays"),
    ],
)  # fmt: skip
def test_errors(how, kind, message):
    given = {"model": mlp(32), "loss": squared, "batches": [normal(4, 32)], "formats": ["mxfp4"]} | how
    with pytest.raises(kind, match=message):
        sensitivity(**given)


def test_a_quantized_model_is_refused():
    model = hu.quantize_(mlp(32), "mxfp8")
    with pytest.raises(ValueError, match="quantized already"):
        sensitivity(model, squared, [normal(4, 32)], ["mxfp4"])
