"""Layers of every supported kind with inputs, and models, for the tests of wrapping."""

import pytest
import torch
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from torch import nn
from torch.nn import functional

EXACT = Recipe("exact", **dict.fromkeys(OPERANDS, Quantizer("binary32")))
"""Quantizes everything, to float32: wrapped layers multiply themselves, and results are those of torch's layers."""
MXFP4 = recipe("mxfp4").with_(pad=True)
SR = recipe("mxfp4_sr_rht").with_(pad=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products wait for each other's threads most of the time where several tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Conv1D(nn.Module):
    """The layer of Hugging Face's GPT-2: x W + b with a weight (inputs, outputs)."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.nf, self.nx = outputs, inputs
        self.weight = nn.Parameter(0.1 * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, self.nx), self.weight).view(*x.shape[:-1], self.nf)


class SelfAttention(nn.Module):
    """A MultiheadAttention of one input, with what else it is called with."""

    def __init__(self, *args, need_weights=False, mask=False, padding=False, average=True, **how):
        super().__init__()
        self.inner = nn.MultiheadAttention(*args, **how)
        self.need_weights, self.mask, self.padding, self.average = need_weights, mask, padding, average

    def forward(self, x):
        batch, length = (x.shape[0], x.shape[1]) if self.inner.batch_first else (x.shape[1], x.shape[0])
        mask = torch.ones(length, length).triu(1).bool() if self.mask else None
        padding = (torch.arange(length) >= length - 1).expand(batch, length) if self.padding else None
        return self.inner(x, x, x, padding, self.need_weights, mask, self.average)


class Cell(nn.Module):
    """An LSTMCell whose state comes as two tensors."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTMCell(3, 4)

    def forward(self, x, h, c):
        return self.inner(x, (h, c))


class Attention(nn.Module):
    """A block that calls functions: @, einsum, scaled_dot_product_attention."""

    def __init__(self, width=32, heads=2):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        values = torch.einsum("bhqk,bhkd->bhqd", (q @ k.mT / 4).softmax(-1), v)
        attended = functional.scaled_dot_product_attention(q, k, values, is_causal=True)
        return x + self.out(attended.transpose(1, 2).flatten(2))


class Cnn(nn.Module):
    """A network of two convolutions, a norm and a linear layer, for images (n, 3, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm, self.head = nn.BatchNorm2d(16), nn.Linear(512, 10)

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x)).relu()).relu().flatten(1))


def mlp(width=64):
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


def _cross(**how):
    return nn.MultiheadAttention(8, 2, kdim=6, vdim=5, **how)


LAYERS = {
    "linear": (lambda: nn.Linear(8, 6), [(2, 5, 8)]),
    "linear_vector": (lambda: nn.Linear(8, 6, bias=False), [(8,)]),
    "conv1d_same": (lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=2), [(2, 4, 9)]),
    "conv1d_unbatched": (lambda: nn.Conv1d(4, 6, 3), [(4, 9)]),
    "conv2d_groups": (lambda: nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=2), [(2, 64, 5, 4)]),
    "conv2d_circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), [(2, 4, 7, 6)]),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3, bias=False, padding="valid"), [(2, 4, 4, 4, 4)]),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), [(2, 4, 5)]),
    "transposed2d": (lambda: nn.ConvTranspose2d(64, 64, 3, groups=2, padding=1), [(2, 64, 4, 3)]),
    "transposed3d": (lambda: nn.ConvTranspose3d(4, 6, 2), [(2, 4, 3, 3, 3)]),
    "embedding": (lambda: nn.Embedding(5, 6, padding_idx=2), None),
    "conv1d_of_transformers": (lambda: Conv1D(6, 8), [(2, 5, 8)]),
    "rnn": (lambda: nn.RNN(3, 4, 2), [(5, 2, 3)]),
    "rnn_relu": (lambda: nn.RNN(3, 4, nonlinearity="relu", bias=False), [(5, 2, 3), (1, 2, 4)]),
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True), [(5, 2, 3)]),
    "lstm_projected": (lambda: nn.LSTM(3, 4, 2, proj_size=2), [(5, 3)]),
    "gru": (lambda: nn.GRU(3, 4, bidirectional=True), [(5, 2, 3), (2, 2, 4)]),
    "rnn_cell": (lambda: nn.RNNCell(3, 4), [(3,), (4,)]),
    "lstm_cell": (Cell, [(2, 3), (2, 4), (2, 4)]),
    "gru_cell": (lambda: nn.GRUCell(3, 4), [(2, 3), (2, 4)]),
    "attention": (lambda: SelfAttention(8, 2, need_weights=True), [(3, 4, 8)]),
    "attention_masked": (lambda: SelfAttention(8, 2, batch_first=True, mask=True, padding=True), [(3, 4, 8)]),
    "attention_extended": (
        lambda: SelfAttention(
            8, 2, add_bias_kv=True, add_zero_attn=True, mask=True, padding=True, need_weights=True, average=False
        ),
        [(3, 4, 8)],
    ),
    "attention_cross": (_cross, [(3, 4, 8), (5, 4, 6), (5, 4, 5)]),
    "attention_unbatched": (lambda: nn.MultiheadAttention(8, 2, bias=False), [(3, 8), (5, 8), (5, 8)]),
    "encoder_layer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), [(3, 4, 8)]),
}
"""By name what makes a layer, and the shapes of its inputs."""


def layer(name):
    """A layer and its inputs."""
    make, shapes = LAYERS[name]
    torch.manual_seed(0)
    built = make()
    if shapes is None:
        return built, [torch.tensor([[0, 1, 4], [3, 2, 0]])]
    return built, [normal(*shape, seed=k) for k, shape in enumerate(shapes)]


def tensors(found):
    """All tensors of a result."""
    return [t for t in torch.utils._pytree.tree_leaves(found) if isinstance(t, torch.Tensor)]


def step_of(model, inputs):
    """Outputs, and gradients of inputs and parameters, of a loss in which every output element counts differently."""
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    model.zero_grad()
    found = tensors(model(*leaves))
    sum((t * normal(*t.shape, seed=9)).sum() for t in found).backward()
    grads = [x.grad for x in leaves if x.grad is not None] + [p.grad for p in model.parameters()]
    return [t.detach() for t in found] + [None if g is None else g.clone() for g in grads]
