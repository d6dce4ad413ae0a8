"""Models as users have them: quantized in part, pruned, with leftovers of calls, in half precision."""

import pytest
import torch
from halfulp.sim.conversion.conversion import convert, load_model, model_bits, save_model
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.wrapping.wrapping import explain, quantize_
from torch import nn
from torch.nn.utils.prune import l1_unstructured

from .wrapped import MXFP4, mlp, normal, one_thread  # noqa: F401

NOISY = MXFP4.with_(fprop_x=Quantizer("mxfp4", rounding="stochastic"))


class Siamese(nn.Module):
    """One encoder, called twice."""

    def __init__(self):
        super().__init__()
        self.encoder = mlp()

    def forward(self, a, b):
        return self.encoder(a) - 2 * self.encoder(b)


@pytest.mark.parametrize("part", ["", "encoder"])
@torch.no_grad()
def test_random_activations_of_a_part(part, tmp_path):
    """What was wrapped as a model counts in each of its calls, inside of another model and by itself."""
    torch.manual_seed(0)
    model, x, y = Siamese(), normal(8, 64), normal(8, 64, seed=1)
    quantize_(model.get_submodule(part), NOISY, seed=3)
    model.eval()
    small = convert(model)
    again = load_model(save_model(small, tmp_path / "m"), Siamese())
    assert torch.equal(model(x, x), -model.encoder(x)) == (part == "encoder"), "noise of both calls"
    for each in (small, again):
        assert torch.equal(each(x, y), model(x, y))
        assert torch.equal(each.encoder(x), model.encoder(x))
    assert torch.equal(convert(model.encoder)(x), model.encoder(x))


class Keeping(nn.Module):
    """Keeps what it computed."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(64, 64), []

    def forward(self, x):
        self.last = [self.inner(x)]
        return self.last[0]


def pruned():
    model = mlp()
    l1_unstructured(model[0], "weight", 0.5)
    return model


def normed():
    model = mlp()
    torch.nn.utils.weight_norm(model[0])
    return model


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("make", [Keeping, pruned, normed])
def test_what_a_call_left_behind_is_copied_without_its_history(make, tmp_path):
    """Weights that a hook of a layer computes stay floats."""
    torch.manual_seed(0)
    model, x = quantize_(make(), MXFP4), normal(32, 64)
    model(x).sum().backward()
    model.eval()
    small = convert(model)
    again = load_model(save_model(small, tmp_path / "m"), make())
    with torch.no_grad():
        want = model(x)
        assert torch.equal(small(x), want)
        assert torch.equal(again(x), want)
    model(x).sum().backward()
    notes = [layer._packed.note for layer in small.modules() if isinstance(layer, nn.Linear)]
    kept = "" if make is Keeping else "its weight is no parameter, but computed from others"
    assert notes[0] == kept


def nested():
    down = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Dropout(), nn.Flatten(2))
    head = nn.ModuleDict({"parts": nn.ModuleList([nn.Linear(36, 64), nn.BatchNorm1d(32, affine=False)])})
    return nn.Sequential(down, *head["parts"], nn.Linear(64, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nested_models_in_other_dtypes(dtype, tmp_path):
    """From a skeleton on the meta device, to the dtypes of the file."""
    torch.manual_seed(0)
    rules = [("0.0", None), ("1", "nvfp4"), ("type:*Norm1d", "mxfp8"), ("*", "int4_qat")]
    model, x = nested().to(dtype), normal(32, 3, 8, 8).to(dtype)
    quantize_(model, [(at, of and recipe(of).with_(pad=True)) for at, of in rules])
    model(x)
    model.eval()
    with torch.device("meta"):
        skeleton = nested()
    again = load_model(save_model(convert(model), tmp_path / "m"), skeleton)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_complex_weights_are_counted_as_they_are_stored():
    """Two matrices of a quarter of the elements: one bit a real weight, and four scales of 32 bits."""
    found = explain(mlp(), "ifairy")
    assert found.bits["0"] == 1 + 4 * 32 / 64**2
    assert found.totals[2] == model_bits(convert(quantize_(mlp(), "ifairy")))["bytes"].sum()
