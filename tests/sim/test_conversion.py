"""Converted models: the bits are what products read, outputs stay, and say what is wrong."""

import copy
import pickle

import halfulp as hu
import pytest
import torch
import torch._dynamo.testing
from halfulp.emulate.packing import unpack
from halfulp.sim.conversion.conversion import convert, load_model, model_bits, save_model
from halfulp.sim.conversion.torch_packed import values_of
from halfulp.sim.recipes.published import RECIPES, recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.wrapping.wrapping import advance_, quantize_
from torch import nn

from .converted import NOISY, Twice, entries, meta, outputs, payload, same, trained, ways
from .wrapped import LAYERS, MXFP4, Attention, SelfAttention, layer, mlp, normal
from .wrapped import one_thread as one_thread

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "identity"])
def test_every_recipe(name, tmp_path):
    """Outputs bit for bit, from bits and from a file; also where blocks and transforms do not divide the sizes."""
    torch.manual_seed(0)

    def make():
        return nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 64, bias=False))

    x = [normal(32, 40)]
    model = trained(make(), x, recipe(name).with_(pad=True), seed=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = convert(model)
    want = outputs(model, *x)
    assert same(outputs(small, *x), want)
    assert ways(small) == {"mxfp4_sr_rht": set(), "ifairy": {"complex"}}.get(name, {"bits"})
    assert not any(p.requires_grad for p in small.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = load_model(save_model(small, tmp_path / "m.safetensors"), meta(make))
    assert same(outputs(again, *x), want)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name, tmp_path):
    """With a scale a tensor too, which projections of attention share or do not share."""
    cross = ["*"] if name == "attention_unbatched" else []
    for rules in (MXFP4, recipe("fp8_delayed")):
        model, inputs = layer(name)
        model = trained(model, inputs, rules)
        small = convert(model, cross_attention=cross)
        want = outputs(model, *inputs)
        assert same(outputs(small, *inputs), want)
        assert ways(small) <= {"bits", "rows"}
        assert all(
            weight in entries(small)[at].weights for at in entries(small) for weight in entries(small)[at].weights
        )
        again = load_model(save_model(small, tmp_path / "m"), meta(lambda: layer(name)[0]))
        assert same(outputs(again, *inputs), want)
        assert same(outputs(pickle.loads(pickle.dumps(again)), *inputs), want)


OTHERS = {
    "prescale": (Quantizer("mxfp4", prescale=0.75), "bits"),
    "std of nvfp4": (Quantizer("nvfp4", scaling="std"), "bits"),
    "delayed nvfp4": (Quantizer("nvfp4", scaling="delayed"), "bits"),
    "learned, a scale a row": (Quantizer("int4_per_row", scaling="learned"), "bits"),
    "stochastic": (Quantizer("mxfp4", rounding="stochastic"), "bits"),
    "stochastic scales": (Quantizer("mxfp4", scale_rounding="stochastic"), "bits"),
    "zero points": (Quantizer("int4_per_row_asym"), "bits"),
    "nested": (Quantizer("hif4"), "bits"),
    "codebook": (Quantizer("nf4_dq"), "bits"),
    "flat": (Quantizer("scaled(int5,block=flat8)"), "bits"),
    "no scales": (Quantizer("posit8"), "bits"),
    "32 bits": (Quantizer("binary32"), "bits"),
    "phase": (Quantizer("phase_t2"), "complex"),
    "24 bits": (Quantizer("fp24"), "values"),
    "outliers": (Quantizer("mxfp4", outliers=0.02), "values"),
    "eden": (Quantizer("nvfp4", scaling="eden", transform="rht128"), "values"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_published_recipe_has(name):
    of, way = OTHERS[name]
    x = Quantizer("int8_per_token", transform=of.transform) if of.transform else Quantizer()
    few = name in ("32 bits", "24 bits", "eden")  # of which bfloat16 does not hold the values, or that take long
    for dtype in (torch.float32,) if few else (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        inputs = [normal(8, 64).to(dtype)]
        model = trained(nn.Sequential(nn.Linear(64, 48)).to(dtype), inputs, Recipe(fprop_w=of, fprop_x=x, pad=True))
        if of.scaling.name == "delayed":
            with torch.no_grad():
                model[0].weight[0, 0] = 3 * model[0].weight.abs().max()  # beyond what its history knows: it saturates
        small = convert(model)
        assert same(outputs(small, *inputs), outputs(model, *inputs))
        assert ways(small) == {way}
        assert bool(entries(small)["0"].note) == (way == "values")


@pytest.mark.parametrize(
    "fmt",
    ["mxfp4", "nvfp4", "nvfp4_2d", "fp8_e4m3_per_tensor", "int4_per_row", "bitnet", "nf4_block64", "bfp8", "mxint8"],
)
def test_decoding_by_floats_is_decoding(fmt):
    """Elements times scales, ragged blocks and small dtypes too, to the bits of `unpack`."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for shape in ((16, 64), (19, 50), (3, 64, 5)):
            x = normal(*shape).mul(normal(*shape, seed=1).exp()).to(dtype)
            packed = hu.pack(x, fmt, axis=1 if len(shape) == 3 and hu.format(fmt).blocks.rest == 1 and "2d" not in fmt and "row" not in fmt and "flat" not in hu.format(fmt).blocks.spec else None, pad=True)  # fmt: skip
            assert torch.equal(values_of(packed), unpack(packed)), (dtype, shape)


def test_random_activations():
    """Each product of a call, and each call of a layer, draws what the wrapped model draws; every step another one."""
    for make, x in ((Twice, normal(32, 64)), (lambda: SelfAttention(32, 2), normal(3, 4, 32))):
        torch.manual_seed(0)
        model = quantize_(make(), NOISY, seed=5).eval()
        found = []
        for _ in range(2):
            small, want = convert(model), outputs(model, x)
            assert same(outputs(small, x), want)
            assert same(outputs(copy.deepcopy(small), x), want)
            found.append(want[0])
            advance_(model)
        assert not torch.equal(*found)


def test_random_weights():
    """Those of a layer that multiplies once are frozen; others stay floats, and draw in each product."""
    rules = recipe("mxfp4").with_(fprop_w=Quantizer("mxfp4", rounding="stochastic"), pad=True)
    model, x = quantize_(SelfAttention(32, 2), rules).eval(), normal(3, 4, 32)
    small = convert(model)
    assert entries(small)["inner"].note == "its weights are rounded at random, anew in each of its products"
    assert same(outputs(small, x), outputs(model, x))
    twice = quantize_(Twice(), rules).eval()
    want = outputs(twice, normal(32, 64))
    assert same(outputs(convert(twice), normal(32, 64)), want)


class Tied(nn.Module):
    """An embedding and a head of one weight."""

    def __init__(self):
        super().__init__()
        self.wte, self.body, self.head = nn.Embedding(16, 32), mlp(32), nn.Linear(32, 16, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, rows):
        return self.head(self.body(self.wte(rows)))


def test_tied_weights(tmp_path):
    """One packed array where both layers read the same of it, two where they do not, a float where one is left alone."""
    rows = torch.arange(16)
    for rules, count in ((MXFP4, 1), ([("head", "mxfp8"), ("*", "mxfp4")], 2), ([("wte", None), ("*", "mxfp4")], 1)):
        torch.manual_seed(0)
        model = quantize_(Tied(), rules).eval()
        small = convert(model)
        table = model_bits(small)
        assert sum(name in ("wte.weight", "head.weight") for name in table.index[table.kind == "packed"]) == count
        again = load_model(save_model(small, tmp_path / "m"), meta(Tied))
        for each in (small, again):
            assert same(outputs(each, rows), outputs(model, rows))
            assert (each.wte._modules.get("weight") is each.head._modules["weight"]) == (rules is MXFP4)
    assert isinstance(small.wte.weight, nn.Parameter)
    assert small.wte.weight is not model.wte.weight


def test_attention_of_one_tensor_or_several():
    """A scale for all three projections is not that of each: the wrong call is refused, and the right one known."""
    torch.manual_seed(0)
    model, x, y = quantize_(nn.MultiheadAttention(32, 2), "fp8").eval(), normal(4, 2, 32), normal(6, 2, 32, seed=1)
    together, apart = convert(model), convert(model, cross_attention=["*"])
    assert same(outputs(together, x, x, x), outputs(model, x, x, x))
    assert same(outputs(apart, x, y, y), outputs(model, x, y, y))
    with pytest.raises(ValueError, match=r"packed for the other kind.*with cross_attention=\['MultiheadAttention'\]"):
        outputs(together, x, y, y)
    with pytest.raises(ValueError, match="this attention is of one tensor.*without cross_attention="):
        apart(query=x, key=x, value=x)
    blocks = convert(quantize_(nn.MultiheadAttention(32, 2), MXFP4))
    outputs(blocks, x, x, x)
    outputs(blocks, x, y, y)
    decoder = quantize_(nn.TransformerDecoderLayer(32, 2, 64), "fp8").eval()
    assert same(outputs(convert(decoder), x, y), outputs(decoder, x, y))
    with pytest.raises(ValueError, match="'cross' matches no quantized MultiheadAttention; there are ''"):
        convert(model, cross_attention=["cross"])
    with pytest.raises(TypeError, match=r"expected a list of names, got 'cross'; write \['cross'\]"):
        convert(model, cross_attention="cross")


class Doubled(nn.Linear):
    """A forward of its own."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight) * 2 + self.bias


def test_layers_whose_weights_stay_floats(tmp_path):
    """And norms, functions of modules of one's own, what is left alone in them, and layers outside of the rules."""

    def make():
        torch.manual_seed(0)
        parts = (nn.Linear(32, 32), Doubled(32, 32), nn.LayerNorm(32), Attention(), nn.GELU(), Attention())
        model = nn.Sequential(*parts, nn.Linear(32, 32))
        torch.nn.utils.parametrizations.weight_norm(model[0])
        return model

    rules = [("6", None), ("5.qkv", None), ("type:Attention", MXFP4), ("type:LayerNorm", "mxfp8"), ("*", "mxfp4")]
    x = normal(2, 8, 32)
    model = quantize_(make(), rules).eval()
    small = convert(model)
    want = outputs(model, x)
    assert same(outputs(small, x), want)
    found = entries(small)
    assert found["0"].note == "its weight is no parameter, but computed from others"
    assert found["1"].note == "a forward of its own, which may use weights in any way"
    assert found["2"].role == "around"
    assert found["5.qkv"].role == "shielded"
    assert set(found["5.out"].weights) == {"weight"}
    assert "6" not in found
    again = load_model(save_model(small, tmp_path / "m"), make())
    assert same(outputs(again, x), want)
    bounded = quantize_(nn.Embedding(7, 32, max_norm=1.0), "mxfp4").eval()
    kept = convert(bounded)
    assert entries(kept)[""].note == "max_norm changes its rows in each call"
    assert same(outputs(kept, torch.arange(7)), outputs(bounded, torch.arange(7)))


@pytest.mark.parametrize("keep", [False, True])
def test_transformers_of_torch_take_no_fast_path(keep, tmp_path):
    torch.manual_seed(0)

    def make():
        inner = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        return nn.TransformerEncoder(inner, 2, enable_nested_tensor=True)

    model = quantize_(make(), [("*.linear1", MXFP4), ("*.self_attn", MXFP4)]).eval()
    x, padding = normal(3, 4, 8), torch.arange(4) >= torch.tensor([[4], [3], [2]])
    small = convert(model, keep_decoded=keep)
    again = load_model(save_model(small, tmp_path / "m"), make(), keep_decoded=keep)
    with torch.no_grad():
        want = model(x, src_key_padding_mask=padding)
        assert torch.equal(small(x, src_key_padding_mask=padding), want)
        assert torch.equal(again(x, src_key_padding_mask=padding), want)
        assert torch.equal(pickle.loads(pickle.dumps(small))(x, src_key_padding_mask=padding), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_of_transformers(dtype, tmp_path):
    """Identical logits from GPT-2, whose head is its embedding, and file and table of one size."""
    import transformers

    config = transformers.GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2)
    torch.manual_seed(0)
    model = quantize_(transformers.GPT2LMHeadModel(config).to(dtype), [("*.wpe", None), ("*", MXFP4)]).eval()
    rows = torch.arange(32).reshape(1, 32)
    with torch.no_grad():
        want = model(rows).logits
        small = convert(model)
        assert torch.equal(small(rows).logits, want)
        again = load_model(save_model(small, tmp_path / "m"), meta(lambda: transformers.GPT2LMHeadModel(config)))
        assert torch.equal(again(rows).logits, want)
    assert again.lm_head._modules["weight"] is again.transformer.wte._modules["weight"]
    assert model_bits(small)["bytes"].sum() == payload(tmp_path / "m")


def test_buffers_come_along(tmp_path):
    """Running statistics, and what a module computes for itself: masks, once for all layers, also of a meta skeleton."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(32, 32)
            self.register_buffer("mask", torch.arange(32) % 3, persistent=False)

        def forward(self, x):
            return self.inner(x) * self.mask

    def make():
        return nn.Sequential(Masked(), nn.BatchNorm1d(32), Masked())

    torch.manual_seed(0)
    model, x = quantize_(make(), "mxfp4"), normal(32, 32)
    model(x)
    model.eval()
    small = convert(model)
    again = load_model(save_model(small, tmp_path / "m"), meta(make))
    assert same(outputs(again, x), outputs(model, x))
    table = model_bits(again)
    assert table.kind["0.mask"] == "derived"
    assert "2.mask" not in table.index
    assert table.kind["1.running_mean"] == "buffer"
    assert table["bytes"].sum() == payload(tmp_path / "m")
