"""Every supported layer: it computes what torch's layer does, with quantized operands, in train and eval mode."""

import copy

import halfulp as hu
import pytest
import torch
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from halfulp.sim.wrapping.wrapping import dequantize_, explain, quantize_, quantized_functions
from torch import nn
from torch.nn import functional

from .wrapped import EXACT, LAYERS, MXFP4, Attention, Cnn, Conv1D, layer, mlp, normal, one_thread, step_of, tensors  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own


def same(found, want):
    assert len(found) == len(want)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(found, want))


def close(found, want):
    assert len(found) == len(want)
    pairs = [(a, b) for a, b in zip(found, want) if b is not None]
    return all(torch.allclose(a, b, rtol=1e-4, atol=2e-6) for a, b in pairs)


@pytest.mark.parametrize("name", LAYERS)
def test_it_computes_what_torch_s_layer_does(name):
    """Gradients too: with operands in float32, which leaves them as they are."""
    model, inputs = layer(name)
    wrapped = quantize_(copy.deepcopy(model), EXACT)
    for train in (True, False):
        found, want = (step_of(each.train(train), inputs) for each in (wrapped, model))
        assert close(found, want)


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_change_and_all_parameters_move(name):
    model, inputs = layer(name)
    wrapped = quantize_(copy.deepcopy(model), MXFP4)
    assert list(wrapped.state_dict()) == list(model.state_dict())
    assert [n for n, _ in wrapped.named_parameters()] == [n for n, _ in model.named_parameters()]
    for train in (True, False):
        with torch.no_grad():
            found, want = (tensors(each.train(train)(*inputs)) for each in (wrapped, model))
        assert not torch.equal(found[0], want[0])
    start = {n: p.detach().clone() for n, p in wrapped.named_parameters()}
    step_of(wrapped.train(), inputs)
    torch.optim.SGD(wrapped.parameters(), 0.5).step()
    still = [n for n, p in wrapped.named_parameters() if torch.equal(p, start[n])]
    assert still == []
    model.load_state_dict(wrapped.state_dict())
    wrapped.load_state_dict(model.state_dict())
    dequantize_(wrapped)
    assert type(wrapped) is type(model)
    assert same(step_of(wrapped, inputs), step_of(model, inputs))
    assert [n for n, _ in wrapped.named_buffers()] == [n for n, _ in model.named_buffers()]


@pytest.mark.parametrize("name", LAYERS)
def test_the_identity_changes_no_bit(name):
    model, inputs = layer(name)
    want = step_of(model, inputs)
    wrapped = quantize_(copy.deepcopy(model), "identity")
    assert type(wrapped) is type(model)
    assert same(step_of(wrapped, inputs), want)


@pytest.mark.parametrize("train", [True, False])
def test_transformers_take_no_fast_path(train):
    """Nor nested tensors; in eval mode torch's encoder would call none of its modules."""
    torch.manual_seed(0)
    inner = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(inner, 2, enable_nested_tensor=True).train(train)
    x, padding = normal(3, 4, 8), torch.arange(4) >= torch.tensor([[4], [3], [2]])
    rules = [("*.linear1", MXFP4), ("*.self_attn", EXACT)]
    exact, wrapped = (quantize_(copy.deepcopy(model), each) for each in (EXACT, rules))
    with torch.no_grad():
        want = exact(x, src_key_padding_mask=padding)
        assert not torch.equal(wrapped(x, src_key_padding_mask=padding)[~padding], want[~padding])
        if train:
            assert torch.allclose(model(x, src_key_padding_mask=padding)[~padding], want[~padding], atol=1e-5)
    dequantize_(wrapped)
    assert type(wrapped.layers[0]) is nn.TransformerEncoderLayer
    assert type(wrapped) is nn.TransformerEncoder
    assert wrapped.use_nested_tensor


def test_dropout_between_recurrent_layers():
    torch.manual_seed(0)
    model = nn.LSTM(3, 4, 2, dropout=0.5)
    wrapped = quantize_(copy.deepcopy(model), EXACT)
    x = normal(5, 2, 3)
    first, second = wrapped(x)[0], wrapped(x)[0]
    assert not torch.equal(first, second)
    assert torch.allclose(wrapped.eval()(x)[0], model.eval()(x)[0], atol=1e-6)


def test_attention_with_dropout_and_its_own_rules():
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = normal(3, 4, 8)
    wrapped = quantize_(model, EXACT)
    assert not torch.equal(wrapped(x, x, x)[0], wrapped(x, x, x)[0])
    with pytest.raises(ValueError, match="is_causal is a hint about attn_mask"):
        wrapped(x, x, x, is_causal=True)
    dequantize_(model)
    with pytest.raises(ValueError, match=r"rule 1 'out_proj' matched nothing that can be quantized: out_proj"):
        quantize_(model, [("out_proj", EXACT)])


CALLS = {
    "matmul": (torch.matmul, (2, 1, 3, 4), (6, 4, 5)),
    "at": (lambda a, b: a @ b, (3, 4), (4, 5)),
    "vectors": (torch.matmul, (4,), (4,)),
    "vector_matrix": (torch.matmul, (4,), (2, 4, 5)),
    "matrix_vector": (torch.Tensor.mv, (3, 4), (4,)),
    "tokens_matrix": (torch.matmul, (2, 3, 4), (4, 5)),
    "mm": (torch.mm, (3, 4), (4, 5)),
    "bmm": (torch.bmm, (2, 3, 4), (2, 4, 5)),
    "addmm": (lambda a, b: torch.addmm(torch.ones(5), a, b, beta=2, alpha=0.5), (3, 4), (4, 5)),
    "baddbmm": (lambda a, b: torch.ones(2, 3, 5).baddbmm(a, b, beta=0.5), (2, 3, 4), (2, 4, 5)),
    "linear": (functional.linear, (2, 3, 4), (5, 4)),
    "conv": (lambda a, b: functional.conv2d(a, b, stride=2), (2, 3, 6, 5), (4, 3, 3, 3)),
    "attention": (lambda a, b: functional.scaled_dot_product_attention(a, b, b, scale=0.3), (2, 4, 5, 6), (2, 4, 7, 6)),
    "grouped": (lambda a, b: functional.scaled_dot_product_attention(a, b, b, enable_gqa=True), (2, 4, 5, 6), (2, 2, 7, 6)),
    "causal": (lambda a, b: functional.scaled_dot_product_attention(a, b, b, is_causal=True), (2, 4, 5, 6), (2, 4, 5, 6)),
    "masked": (lambda a, b: functional.scaled_dot_product_attention(a, b, b, torch.arange(35).reshape(5, 7) > 9), (2, 5, 6), (2, 7, 6)),
    **{
        f"einsum {equation}": (lambda a, b, equation=equation: torch.einsum(equation, a, b), a, b)
        for equation, a, b in (
            ("ij,jk", (3, 4), (4, 5)), ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)), ("...ij,jk->...ki", (2, 6, 3, 4), (4, 5)),
            ("bij,bjk->kbi", (1, 3, 4), (2, 4, 5)), ("abc,cd->bd", (2, 3, 4), (4, 5)), ("i,i->", (4,), (4,)),
            ("bij,ijk->bk", (2, 3, 4), (3, 4, 5)), ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
            ("...ij,...jk", (2, 3, 4), (4, 5)),
        )
    },
    "einsum of lists": (lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [2, 0]), (3, 4), (4, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions(name):
    """Torch's own function with operands in float32, gradients too; another result with operands in MXFP4."""
    call, *shapes = CALLS[name]
    found = []
    for given in (None, EXACT, MXFP4):
        a, b = (normal(*shape, seed=k).requires_grad_() for k, shape in enumerate(shapes))
        if given is None:
            y = call(a, b)
        else:
            with quantized_functions(given):
                y = call(a, b)
        (y * normal(*y.shape, seed=9)).sum().backward()
        found.append([y.detach(), a.grad, b.grad])
    assert close(found[1], found[0])
    assert not torch.equal(found[2][0], found[0][0])


def test_functions_that_are_left_alone():
    with quantized_functions(MXFP4):
        a, b = normal(3), normal(4)
        assert torch.equal(torch.einsum("i,j->ij", a, b), a[:, None] * b)  # no sum, no product of matrices
        assert torch.equal(torch.einsum("ij->ji", normal(3, 4)), normal(3, 4).T)
        assert torch.equal(
            torch.arange(4).reshape(2, 2) @ torch.eye(2, dtype=torch.int64), torch.arange(4).reshape(2, 2)
        )
    with quantized_functions("identity"):
        assert torch.equal(normal(3, 4) @ normal(4, 5), torch.matmul(normal(3, 4), normal(4, 5)))


def test_functions_that_are_refused():
    a = normal(4, 4)
    for call, error, message in (
        (lambda: torch.tensordot(a, a), ValueError, "quantized_functions: torch.tensordot has no quantized version"),
        (lambda: torch.matmul(a, a, out=torch.empty(4, 4)), ValueError, "quantized products take no out="),
        (lambda: torch.einsum("ij,jk,kl->il", a, a, a), ValueError, "expected two operands, got 3"),
        (lambda: torch.einsum("ii,ij->j", a, a), ValueError, "a letter occurs twice"),
        (lambda: torch.einsum("ijk,jk->i", a, a), ValueError, "does not go with a tensor of 2 axes"),
        (lambda: a.to(torch.complex64) @ a.to(torch.complex64), ValueError, "expected real factors"),
        (lambda: functional.conv1d(a[None], a[None], stride=2, padding="same"), ValueError, "goes with stride 1"),
    ):
        with quantized_functions(MXFP4), pytest.raises(error, match=message):
            call()
    for name in ("fp8_delayed", "lsq"):
        with pytest.raises(ValueError, match="scales from step to step, which layers do"):
            quantized_functions(name)


def test_functions_of_a_module_that_a_rule_names():
    """Its own calls, and those of modules inside of it, but not where an earlier rule says otherwise."""
    torch.manual_seed(0)
    model, x = nn.Sequential(Attention(), Attention()), normal(2, 6, 32)
    layers_only = quantize_(copy.deepcopy(model), MXFP4)
    named = quantize_(copy.deepcopy(model), [("type:Attention", MXFP4)])
    assert type(named[0]).__name__ == "QuantizedAttention"
    assert type(layers_only[0]) is Attention
    assert not torch.equal(layers_only(x), named(x))
    exact = quantize_(copy.deepcopy(model), [("type:Attention", EXACT)])
    assert torch.allclose(exact(x), model(x), atol=1e-5)
    kept = quantize_(copy.deepcopy(model), [("*.qkv", "identity"), ("type:Attention", MXFP4)])
    inputs = []
    kept[0].qkv.register_forward_hook(lambda module, args, output: inputs.append((args[0], output)))
    kept(x)
    assert torch.equal(inputs[0][1], model[0].qkv(inputs[0][0]))
    assert same(step_of(dequantize_(kept), [x]), step_of(model, [x]))


class Plain(nn.Module):
    def forward(self, x):
        return x * 2


def test_a_module_without_products_cannot_be_named():
    model = nn.Sequential(nn.Linear(8, 8), Plain(), nn.Dropout())
    with pytest.raises(
        ValueError, match=r"rule 2 '2' matched nothing that can be quantized: 2 \(Dropout\); supported are Linear"
    ):
        quantize_(model, [("0", MXFP4), ("2", MXFP4)])  # fmt: skip
    quantize_(model, [("0", MXFP4), ("type:Plain", MXFP4)])
    with pytest.raises(ValueError, match="1: a rule names this Plain, but its forward called nothing"):
        model(normal(2, 8))


def test_norms_and_activations_on_request():
    """Their input and output are rounded by the quantizer of fprop_x; gradients pass."""
    model = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU(), nn.Softmax(-1))
    x = normal(4, 32)
    plain = copy.deepcopy(model)
    quantize_(model, [("type:LayerNorm", "mxfp8"), ("2", "mxfp4"), ("type:Softmax", "mxfp8")])
    assert [type(m).__name__ for m in model] == ["Linear", "QuantizedLayerNorm", "QuantizedGELU", "QuantizedSoftmax"]
    want = plain[0](x)
    for m, fmt in zip(plain[1:], ("mxfp8_e4m3", "mxfp4", "mxfp8_e4m3")):
        want = hu.quantize(m(hu.quantize(want, fmt)), fmt)
    assert torch.equal(model(x), want)
    model(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    everything = quantize_(copy.deepcopy(plain), "mxfp8")
    assert [type(m).__name__ for m in everything] == ["QuantizedLinear", "LayerNorm", "GELU", "Softmax"]


def test_layers_with_a_forward_of_their_own():
    class Doubled(nn.Linear):
        def forward(self, x):
            return functional.linear(x, self.weight) * 2 + self.bias

    torch.manual_seed(0)
    model, x = nn.Sequential(Doubled(32, 32)), normal(4, 32)
    exact = quantize_(copy.deepcopy(model), EXACT)
    assert torch.allclose(exact(x), model(x), atol=1e-5)
    wrapped = quantize_(copy.deepcopy(model), MXFP4)
    want = hu.quantize(x, "mxfp4") @ hu.quantize(model[0].weight.detach(), "mxfp4").T * 2 + model[0].bias
    assert torch.equal(wrapped(x), want)
    with pytest.raises(ValueError, match="how many products this Doubled has is not known"):
        quantize_(model, "fp8_delayed")


def test_embeddings_take_rounded_rows():
    model = nn.Embedding(7, 32)
    weight = model.weight.detach().clone()
    quantize_(model, "mxfp4")
    rows = torch.tensor([1, 3, 3])
    assert torch.equal(model(rows), hu.quantize(weight, "mxfp4")[rows])
    model(rows).sum().backward()
    assert model.weight.grad.sum(1).tolist() == [0, 32, 0, 64, 0, 0, 0]
    bounded = nn.Embedding(7, 32, max_norm=1.0, sparse=True)
    quantize_(bounded, "mxfp8")
    assert bounded(rows).norm(dim=1).max() < 1.1
    bounded(rows).sum().backward()
    assert bounded.weight.grad.is_sparse


def test_a_cnn_in_every_recipe_that_it_can_have():
    """Square blocks and blocks of channels, ragged ones, and scales of rows, all in convolutions."""
    torch.manual_seed(0)
    model, x = Cnn(), normal(4, 3, 8, 8)
    want = model(x)
    for name in (
        "fp8_delayed",
        "fp8_rowwise",
        "fp8_blocks",
        "nvfp4",
        "quartet",
        "occ",
        "int4_qat",
        "four_bit_cnn",
        "lsq",
        "statsq",
    ):
        wrapped = quantize_(copy.deepcopy(model), recipe(name).with_(pad=True))
        found = step_of(wrapped, [x])
        assert functional.cosine_similarity(found[0].flatten(), want.flatten(), 0) > 0.9, name
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in found[1:]), name
    with pytest.raises(
        ValueError, match=r"first: fprop_x has blocks of 32 elements \(mxfp4\) along axis 1, and its 3 inputs"
    ):
        quantize_(copy.deepcopy(model), "mxfp4")(x)
    grouped = quantize_(nn.Conv1d(64, 64, 3, groups=4), "mxfp4")
    with pytest.raises(
        ValueError, match="Conv1d: fprop_x has blocks of 32 elements .* run across its groups of 16 channels"
    ):
        grouped(normal(2, 64, 8))


def test_tiles_of_convolution_weights_are_tiles_of_channels():
    """Not of the places of a kernel, which are the last axes."""
    model = nn.Conv2d(32, 32, 3, bias=False)
    weight = model.weight.detach().clone()
    x = normal(32, 32, 4, 4)
    quantize_(model, Recipe(fprop_w=Quantizer("nvfp4_2d")))
    want = hu.quantize(weight.permute(2, 3, 0, 1).contiguous(), "nvfp4_2d").permute(2, 3, 0, 1)
    assert torch.equal(model(x), functional.conv2d(x, want.contiguous()))


def test_biases_and_outputs_have_formats():
    model = nn.Linear(8, 6)
    x, bias = normal(4, 8), model.bias.detach().clone()
    product = functional.linear(x, model.weight.detach())
    quantize_(model, Recipe(fprop_x=Quantizer("binary32"), bias="fp8_e4m3", output="bf16"))
    assert torch.equal(model(x), hu.quantize(product + hu.quantize(bias, "fp8_e4m3"), "bf16"))


def test_complex_weights_through_the_widely_linear_view():
    model = nn.Linear(8, 6)
    weight, bias, x = model.weight.detach().clone(), model.bias.detach().clone(), normal(4, 8)
    quantize_(model, "ifairy")
    u, w = (hu.quantize(part, "phase") for part in hu.to_widely_linear(weight))
    real = hu.from_widely_linear(u, w)
    assert len(set(u.flatten().tolist())) <= 4
    assert torch.equal(model(x), hu.quantize(x, "int8_per_token") @ real.T + bias)
    leaf = x.clone().requires_grad_()
    model(leaf).backward(torch.ones(4, 6))
    assert torch.equal(leaf.grad, torch.ones(4, 6) @ real)
    assert torch.equal(model.weight.grad, torch.ones(6, 4) @ hu.quantize(x, "int8_per_token"))


def test_an_emulated_matrix_unit():
    """Forward and both backward products add in its format and order."""
    unit = {"fmt": "fp16", "order": "pairwise"}
    model, x = nn.Linear(16, 8, bias=False), normal(4, 16)
    weight = model.weight.detach().clone()
    quantize_(model, EXACT.with_(accumulator=unit))
    leaf = x.clone().requires_grad_()
    y = model(leaf)
    e = normal(4, 8, seed=1)
    y.backward(e)
    assert torch.equal(y, hu.matmul(x, weight.T, accumulator=hu.Accumulator(**unit)))
    assert torch.equal(leaf.grad, hu.matmul(e, weight, accumulator=hu.Accumulator(**unit)))
    assert torch.equal(model.weight.grad, hu.matmul(e.T, x, accumulator=hu.Accumulator(**unit)))
    assert not torch.equal(y, x @ weight.T)
    with pytest.raises(ValueError, match="multiplies matrices, and this is a Conv2d"):
        quantize_(Cnn(), EXACT.with_(accumulator=unit))
    with quantized_functions(EXACT.with_(accumulator=unit)), pytest.raises(ValueError, match="not convolutions"):
        functional.conv1d(normal(1, 2, 5), normal(3, 2, 2))


def test_packed_sequences_are_refused():
    model = quantize_(nn.LSTM(3, 4), MXFP4)
    packed = nn.utils.rnn.pack_sequence([normal(5, 3), normal(3, 3)])
    with pytest.raises(ValueError, match="LSTM: a PackedSequence is not quantized; pass a padded tensor"):
        model(packed)


def test_explain():
    torch.manual_seed(0)
    model = nn.Sequential(mlp(), nn.LayerNorm(64), nn.Linear(64, 64, bias=False))
    model[2].weight = model[0][0].weight
    rules = [("2", "identity"), ("0.2", "mxfp8"), ("*", "nvfp4")]
    found = explain(model, rules)
    assert [type(m) for m in model[0]] == [nn.Linear, nn.GELU, nn.Linear]
    assert list(found.index) == ["0.0", "0.2", "1", "2"]
    assert list(found.recipe) == ["nvfp4", "mxfp8", "", ""]
    assert list(found.weight) == ["nvfp4_2d", "mxfp8_e4m3", "", ""]
    assert found.bits["0.2"] == 8.25
    assert found.bits["0.0"] == pytest.approx(4 + 8 / 256 + 32 / 4096)
    assert found.bits["2"] == 32
    assert found.parameters["0.0"] == 64 * 65
    assert found.bytes_before["0.0"] == 4 * 64 * 65
    assert found.bytes_after["0.2"] == 64 * 64 * 33 // 32 + 4 * 64
    assert found.compression["2"] == 1
    assert found.note["2"] == "left alone; shares parameters with 0.0"
    assert found.note["1"] == "no products"
    total = 64 * 64 * 2 + 64 * 4
    assert f"{total} parameters, {4 * total} bytes before" in str(found)
    convolution = explain(nn.Sequential(nn.Conv2d(32, 64, 3), nn.ConvTranspose1d(64, 8, 5), Conv1D(6, 32)), "mxfp4")
    assert list(convolution.bits) == [4.25, 4.25, 4.25]  # blocks of channels
    attention = explain(nn.MultiheadAttention(32, 2), "mxfp4")
    assert list(attention.bits) == [4.25, 4.25]
    assert attention.note["out_proj"] == "not called as a module; as the MultiheadAttention"
    with pytest.raises(ValueError, match="matched no module"):
        explain(model, [("head", "mxfp4")])


@pytest.mark.parametrize("name", OPERANDS)
def test_one_operand_alone(name):
    """A recipe that quantizes one operand changes the results of its product, and no other."""
    torch.manual_seed(0)
    model, x = nn.Linear(32, 32), normal(32, 32)
    want = step_of(model, [x])
    found = step_of(quantize_(copy.deepcopy(model), Recipe(**{name: Quantizer("mxfp4")})), [x])
    changed = [not torch.allclose(a, b, atol=1e-5) for a, b in zip(found, want)]
    product = {"fprop": [True, False, False, False], "dgrad": [False, True, False, False], "wgrad": [False, False, True, False]}  # fmt: skip
    assert changed == product[name[:5]]
