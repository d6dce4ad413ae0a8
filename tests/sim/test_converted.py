"""Files of converted models and what else can be done with them: bytes, devices, compilation, errors."""

import copy

import halfulp as hu
import pytest
import torch
import torch._dynamo.testing
from halfulp.emulate.packing import Packed
from halfulp.sim.conversion.conversion import convert, load_model, model_bits, save_model
from halfulp.sim.wrapping.wrapping import advance_, dequantize_, explain, quantize_, state_dict
from torch import nn

from .converted import NOISY, Twice, meta, outputs, payload, same, trained
from .wrapped import MXFP4, Attention, Cnn, SelfAttention, mlp, normal
from .wrapped import one_thread as one_thread

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own


@pytest.mark.parametrize("rules", ["mxfp4", "nvfp4", "bitnet", "lsq", [("0", "mxfp6"), ("*", None)]])
def test_the_file_is_as_large_as_the_bits_counted(rules, tmp_path):
    torch.manual_seed(0)
    model = trained(mlp(), [normal(32, 64)], rules)
    table = model_bits(convert(model))
    save_model(convert(model), tmp_path / "m.safetensors")
    assert table["bytes"].sum() == payload(tmp_path / "m.safetensors")
    promised = explain(mlp(), rules).totals[2]
    assert promised == pytest.approx(table["bytes"][table.kind != "buffer"].sum(), abs=8)
    assert "elements in" in str(table)
    assert table.bits["0.weight"] == pytest.approx(explain(mlp(), rules).bits["0"], abs=0.01)


def test_numpy_reads_the_weights(tmp_path):
    """The same file, by `hu.load`: values that products read, and ordinary arrays."""
    torch.manual_seed(0)
    model = quantize_(mlp(), "nvfp4")
    path = save_model(convert(model), tmp_path / "m")
    want = hu.quantize(model[0].weight.detach(), "nvfp4_2d")
    found = hu.load(path)
    assert isinstance(found["0.weight"], Packed)
    assert found["0.weight"].fmt.name == "nvfp4_2d"
    assert hu.unpack(found["0.weight"]).tolist() == want.tolist()
    assert found["0.bias"].tolist() == model[0].bias.tolist()


@pytest.mark.slow
def test_jax_reads_the_weights(tmp_path):
    model = quantize_(mlp(), "nvfp4")
    found = hu.unpack(hu.load(save_model(convert(model), tmp_path / "m"), "jax")["2.weight"])
    assert found.tolist() == hu.quantize(model[2].weight.detach(), "nvfp4_2d").tolist()


def test_to_and_state_dict():
    """Bits stay bits; values go to the dtype that parameters go to."""
    torch.manual_seed(0)
    model, x = quantize_(mlp(), "mxfp4").eval(), normal(8, 64)
    small, kept = convert(model), convert(model, keep_decoded=True)
    bits = {key: value.clone() for key, value in small.state_dict().items() if value.dtype == torch.uint8}
    assert set(bits) == {f"{k}.weight.0.{part}" for k in (0, 2) for part in ("elements", "scales")}
    for each in (small, kept):
        half = copy.deepcopy(each).to(torch.bfloat16)
        assert outputs(half, x.bfloat16())[0].dtype == torch.bfloat16
        assert half[0].weight.dtype == torch.bfloat16
        assert all(torch.equal(half.state_dict()[key], value) for key, value in bits.items())
        assert torch.equal(half.float()[0].weight, small[0].weight)  # E2M1 times a power of two fits bfloat16
    torch.manual_seed(1)
    other = convert(quantize_(mlp(), "mxfp4"))
    assert not same(outputs(other, x), outputs(small, x))
    for each in (other, kept):
        each.load_state_dict(small.state_dict())
        assert same(outputs(each, x), outputs(small, x))


def test_loaded_bits_are_decoded_again():
    torch.manual_seed(0)
    first, second = (convert(quantize_(mlp(), "mxfp4", seed=k), keep_decoded=True) for k in range(2))
    second.load_state_dict(first.state_dict())
    assert same(outputs(second, normal(8, 64)), outputs(first, normal(8, 64)))


def test_autocast():
    """Converted inside of it, weights are those that the product of its dtype reads."""
    torch.manual_seed(0)
    model, x = quantize_(mlp(), "int4_qat").eval(), normal(8, 64)
    with torch.autocast("cpu", torch.bfloat16):
        small = convert(model)
        assert same(outputs(small, x), outputs(model, x))
    assert small[0].weight.dtype == torch.float32


MODELS = {
    "twice": (Twice, NOISY, (32, 64)),
    "mlp": (mlp, "nvfp4", (32, 64)),
    "complex": (lambda: nn.Sequential(nn.Linear(64, 64)), "ifairy", (32, 64)),
    "attention": (lambda: SelfAttention(32, 2, batch_first=True, mask=True), MXFP4, (2, 6, 32)),
    "functions": (Attention, [("type:Attention", MXFP4)], (2, 8, 32)),
    "convolutions": (lambda: nn.Sequential(nn.Conv1d(32, 32, 3), nn.ConvTranspose1d(32, 32, 3)), "ufp4", (32, 32, 8)),
}


@pytest.mark.parametrize("name", [*MODELS][:1] + [pytest.param(name, marks=pytest.mark.slow) for name in [*MODELS][1:]])
def test_compiled_is_eager(name):
    """In one graph, with bits that are decoded in it or before; nothing is compiled anew."""
    make, rules, shape = MODELS[name]
    torch.manual_seed(0)
    model, x = quantize_(make(), rules).eval(), normal(*shape)
    want = outputs(model, x)
    for keep in (False, True):
        torch._dynamo.reset()
        frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(convert(model, keep_decoded=keep), fullgraph=True, backend=frames)
        assert same(outputs(compiled, x), want)
        assert same(outputs(compiled, x), want)
        assert frames.frame_count == 1


def test_it_only_computes():
    model, x = quantize_(mlp(), "mxfp4"), normal(8, 64)
    small = convert(torch.compile(model, backend="eager"))
    assert not small.training
    for call in (
        lambda: quantize_(small, "mxfp4"), lambda: explain(small, "mxfp4"), lambda: advance_(small),
        lambda: dequantize_(small), lambda: state_dict(small), lambda: quantize_(nn.Sequential(small), "mxfp4"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="the model was converted to packed bits by hu.convert, and only computes"):
            call()
    with pytest.raises(ValueError, match="0: a converted layer has no gradients, and its input requires one"):
        small(x.requires_grad_())
    assert same(outputs(small, x), outputs(model, x))
    cell = convert(quantize_(nn.LSTMCell(32, 32), "mxfp4"))
    with pytest.raises(ValueError, match="LSTMCell: a converted layer has no gradients"):
        cell(normal(2, 32), (normal(2, 32).requires_grad_(), normal(2, 32)))
    assert "recipe='mxfp4'" in repr(small)
    assert "(64, 64), 4.25 bits an element" in repr(small)
    with pytest.raises(AttributeError, match="0: weight is packed bits and cannot be set"):
        small[0].weight = nn.Parameter(torch.zeros(64, 64))


def test_what_cannot_be_converted(tmp_path):
    plain = mlp()
    wrapped = quantize_(mlp(), "mxfp4")
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got dict"):
        convert({})
    with pytest.raises(ValueError, match="is not quantized; call hu.quantize_"):
        convert(plain)
    with pytest.raises(ValueError, match="is converted already"):
        convert(convert(wrapped))
    with pytest.raises(ValueError, match="is not converted; hu.convert it first"):
        save_model(wrapped, tmp_path / "m")
    with pytest.raises(ValueError, match="is not converted; quantize it with hu.quantize_"):
        model_bits(plain)
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got str"):
        save_model("model", tmp_path / "m")
    with pytest.raises(ValueError, match=r"weight: .*its step size was never set; call the model once on data"):
        convert(quantize_(mlp(), "lsq"))
    with torch.no_grad():
        wrapped[2].weight[3, 4] = torch.nan
    with pytest.raises(ValueError, match="2.weight: some numbers are not finite; hu.check_finite says"):
        convert(wrapped)
    with pytest.raises(ValueError, match=r"0.weight: .* its 50 inputs are no multiple of 32; give the recipe pad=True"):
        convert(quantize_(nn.Sequential(nn.Linear(50, 64)), "mxfp4"))
    with pytest.raises(ValueError, match="0.weight is on the meta device and has no numbers"):
        convert(quantize_(mlp(), "mxfp4").to("meta"))


def test_a_cnn(tmp_path):
    torch.manual_seed(0)
    model, x = trained(Cnn(), [normal(4, 3, 8, 8)], MXFP4), normal(4, 3, 8, 8)
    again = load_model(save_model(convert(model), tmp_path / "m"), meta(Cnn))
    assert same(outputs(again, x), outputs(model, x))
