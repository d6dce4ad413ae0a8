"""Under `torch.compile(fullgraph=True)`: the same bits as eager, forward and backward, and nothing compiled anew."""

import copy

import pytest
import torch
import torch._dynamo.testing
from halfulp.sim.recipes.published import recipe
from halfulp.sim.wrapping.wrapping import advance_, quantize_, quantized_functions, state_dict
from torch import nn

from .wrapped import MXFP4, Attention, SelfAttention, layer, mlp, normal, one_thread  # noqa: F401


class Small(nn.Module):
    """One layer, twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 64)

    def forward(self, x):
        return self.inner(self.inner(x).relu())


MODELS = {
    "mlp": (mlp, [("0", "nvfp4"), ("2", "fp8_delayed")], (32, 64)),
    "twice": (Small, "mxfp4_sr_rht", (64, 64)),
    "linear": (lambda: nn.Linear(64, 64), "ifairy", (32, 64)),
    "functions": (Attention, [("type:Attention", recipe("tetrajet").with_(pad=True))], (2, 8, 32)),
    "attention": (lambda: SelfAttention(32, 2, batch_first=True, mask=True), MXFP4, (2, 6, 32)),
    "convolutions": (lambda: nn.Sequential(nn.Conv1d(32, 32, 3), nn.ConvTranspose1d(32, 32, 3)), [("0", "lsq"), ("1", "nvfp4")], (32, 32, 8)),
}  # fmt: skip


def step(model, x):
    """Outputs and gradients of one step, and the next step begun."""
    model.zero_grad()
    y = model(x)
    y = y[0] if isinstance(y, tuple) else y
    y.square().sum().backward()
    advance_(model)
    return [y.detach(), *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("name", MODELS)
def test_compiled_is_eager(name):
    """Over four steps, with random numbers, histories and trained step sizes, and in eval mode."""
    make, rules, shape = MODELS[name]
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = quantize_(make(), rules)
    twin = copy.deepcopy(model)
    frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(twin, fullgraph=True, backend=frames)
    for k in range(4):
        with torch._dynamo.config.patch(error_on_recompile=k > 0):
            found = step(compiled, normal(*shape, seed=k))
        want = step(model, normal(*shape, seed=k))
        assert all(torch.equal(a, b) for a, b in zip(found, want)), k
    assert frames.frame_count == 1
    assert all(torch.equal(a, b) for a, b in zip(state_dict(compiled).values(), state_dict(model).values()))
    if name in ("mlp", "twice"):
        with torch.no_grad():
            assert torch.equal(compiled.eval()(normal(*shape)), model.eval()(normal(*shape)))


def test_blocks_that_are_compiled_one_by_one_share_their_code():
    """Names and seeds of layers are no constants of it."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = quantize_(nn.Sequential(*(mlp() for _ in range(3))), "nvfp4")
    twin = copy.deepcopy(model)
    frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    for block in twin:
        block.compile(fullgraph=True, backend=frames)
    x = normal(32, 64).requires_grad_()
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(step(twin, x), step(model, x)))
    assert frames.frame_count == 1


def test_functions_under_the_compiler():
    torch._dynamo.reset()

    def call(a, b):
        return torch.einsum("ij,kj->ik", a, b) @ b

    a, b = normal(32, 64), normal(32, 64, seed=1)
    found = []
    for f in (call, torch.compile(call, backend="aot_eager", fullgraph=True)):
        with quantized_functions("nvfp4", seed=3, step=4):
            found.append(f(a, b))
    assert torch.equal(*found)
    assert not torch.equal(found[0], call(a, b))


def test_errors_under_the_compiler_name_the_layer():
    torch._dynamo.reset()
    model = quantize_(nn.Sequential(nn.Linear(50, 64)), "mxfp4")
    with pytest.raises(Exception, match="0: fprop_x has blocks of 32 elements"):
        torch.compile(model, fullgraph=True, backend="aot_eager")(normal(32, 50))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "functions"])
def test_inductor(name):
    """With generated code: results agree as closely as its sums and functions do with those of eager."""
    make, rules, shape = MODELS[name]
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = quantize_(make(), rules)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True)
    for k in range(3):
        with torch._dynamo.config.patch(error_on_recompile=k > 0):
            found = step(compiled, normal(*shape, seed=k))
        for a, b in zip(found, step(model, normal(*shape, seed=k))):
            assert nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99


@pytest.mark.slow
def test_recurrent_layers_run_under_the_compiler():
    """In one piece where torch traces its own recurrent layers."""
    torch._dynamo.reset()
    model, inputs = layer("lstm")
    quantize_(model, MXFP4)
    with torch._dynamo.config.patch(allow_rnn=True):
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(*inputs)
    assert torch.equal(found[0], model(*inputs)[0])
