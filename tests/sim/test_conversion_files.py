"""Files of converted models that are damaged, of another architecture, or cannot be written: each with its message."""

import json

import halfulp as hu
import pytest
import safetensors
import safetensors.numpy
import torch
from halfulp.sim.conversion import torch_loading
from halfulp.sim.conversion.conversion import convert, load_model, save_model
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe
from halfulp.sim.wrapping.wrapping import quantize_
from torch import nn

from .wrapped import MXFP4, mlp, normal, one_thread  # noqa: F401


def meta(make):
    with torch.device("meta"):
        return make()


def test_a_file_that_is_there_stays_whole_when_writing_fails(tmp_path, monkeypatch):
    path = save_model(convert(quantize_(mlp(), "mxfp4")), tmp_path / "deep" / "m")
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(convert(quantize_(mlp(), "mxfp8")), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["m"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    return save_model(convert(quantize_(mlp(), "mxfp4")), tmp_path_factory.mktemp("saved") / "m.safetensors")


def untouched(skeleton):
    return [type(m) for m in skeleton] == [nn.Linear, nn.GELU, nn.Linear] and all(
        p.requires_grad for p in skeleton.parameters()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: mlp(32),
            r"0.weight is \(32, 32\) in the skeleton and \(64, 64\) in the file, 0.bias is .* and 1 more",
        ),
        (lambda: nn.Sequential(nn.Linear(64, 64)), "the skeleton has no 2; build the model that was converted"),
        (
            lambda: nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Conv1d(64, 64, 1)),
            "2 is a Conv1d in the skeleton and a Linear in the file",
        ),
        (lambda: nn.Sequential(*mlp(), nn.Linear(3, 3)), "the file has no 3.weight, 3.bias"),
        (
            lambda: nn.Sequential(nn.Linear(64, 64, bias=False), nn.GELU(), nn.Linear(64, 64)),
            "the skeleton has no 0.bias",
        ),
        (lambda: nn.Sequential(nn.LazyLinear(64), nn.GELU(), nn.Linear(64, 64)), "0 is a LazyLinear in the skeleton"),
    ],
)
def test_skeletons_of_another_architecture(saved, make, message):
    with pytest.raises(hu.FileError, match=f"is of another architecture: .*{message}"):
        load_model(saved, make())


def test_skeletons_that_are_refused(saved):
    with pytest.raises(ValueError, match="the skeleton is quantized or converted already; build a plain one"):
        load_model(saved, quantize_(mlp(), "mxfp4"))
    with pytest.raises(TypeError, match="expected a torch.nn.Module as skeleton, got NoneType"):
        load_model(saved, None)
    skeleton = mlp()
    skeleton[0].forward = lambda x: x
    with pytest.raises(ValueError, match="0: the forward of this Linear was replaced on the object"):
        load_model(saved, skeleton)

    class Masked(nn.Sequential):
        def __init__(self):
            super().__init__(*mlp())
            self.register_buffer("mask", torch.ones(3), persistent=False)

    with pytest.raises(hu.FileError, match="it has no numbers for mask, which the skeleton has on the meta device"):
        load_model(saved, meta(Masked))


def rewritten(path, target, change):
    """A copy of a file with other metadata or tensors."""
    with safetensors.safe_open(str(path), "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata, arrays)
    safetensors.numpy.save_file(arrays, str(target), metadata={key: json.dumps(each) for key, each in metadata.items()})
    return target


def described(*keys, value):
    """Another value in the description of the model."""

    def change(metadata, arrays):
        table = metadata["halfulp"]["model"]
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value

    return change


def dropped(name):
    def change(metadata, arrays):
        for key in [key for key in arrays if key.startswith(name)]:
            del arrays[key]
        metadata["halfulp"]["packed"].pop(name, None)

    return change


def plain_weight(metadata, arrays):
    dropped("0.weight")(metadata, arrays)
    arrays["0.weight"] = normal(64, 64).numpy()


def packed_bias(metadata, arrays):
    dropped("0.bias")(metadata, arrays)
    packed = hu.pack(normal(64).numpy(), "fp8_e4m3")
    metadata["halfulp"]["packed"]["0.bias"] = {"format": packed.fmt.spec, "shape": [64], "dtype": "float32"}
    arrays["0.bias.elements"] = packed.streams["elements"]


def other_shape(metadata, arrays):
    metadata["halfulp"]["packed"]["0.weight"]["shape"] = [32, 128]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (described("version", value=9), "version 9 of halfulp .*, expected 1; update halfulp"),
        (described("layers", value=5), "its entries make no sense"),
        (described("layers", "0", "role", value="judge"), "layer '0': unknown role 'judge'"),
        (described("layers", "0", "recipe", value="7"), "its entries make no sense .*7"),
        (described("layers", "0", "step", value=-1), "layer '0': expected a seed of two words and a step below"),
        (described("layers", "0", "weights", "weight", "way", value="zip"), "got 'zip'"),
        (described("layers", "0", "weights", "weight", "dtype", value="nn"), "of 'nn'"),
        (described("layers", "0", "weights", "weight", "shape", value=[-1]), r"expected a shape, got \[-1\]"),
        (
            described("recipes", "0", value={"name": "mine", "fprop": "mxfp4"}),
            "recipe 'mine': unknown setting of a recipe 'fprop'",
        ),
        (
            described("recipes", "0", value={"name": "mine", "fprop_w": "mxfp44"}),
            "recipe 'mine': .*unknown format 'mxfp44'",
        ),
        (described("shared", value={"0.bias": "9.bias"}), "'0.bias' is the same as '9.bias', which is missing"),
        (described("counting", value=["9"]), "is of another architecture: the skeleton has no 9"),
        (dropped("0.bias"), "is of another architecture: the file has no 0.bias"),
        (dropped("0.weight"), "'0.weight' is missing"),
        (plain_weight, "'0.weight' is stored as bits, and its arrays are not of that kind"),
        (packed_bias, "0.bias should be ordinary arrays, and are packed"),
        (other_shape, r"'0.weight' should have shape \(64, 64\), got \(32, 128\)"),
    ],
)
def test_files_that_do_not_match_themselves(saved, change, message, tmp_path):
    path, skeleton = rewritten(saved, tmp_path / "m", change), mlp()
    with pytest.raises(hu.FileError, match=message):
        load_model(path, skeleton)
    assert untouched(skeleton)


def test_other_files(saved, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(hu.FileError, match="is no safetensors file or is damaged"):
        load_model(path, mlp())
    hu.save(path, {"w": hu.pack(normal(4, 32), "mxfp4")})
    with pytest.raises(hu.FileError, match="holds arrays and no model; read it with hu.load"):
        load_model(path, mlp())
    with pytest.raises(FileNotFoundError, match="no file at"):
        load_model(tmp_path / "none", mlp())


def test_the_same_model_makes_the_same_file(saved, tmp_path):
    """Also after it was read."""
    again = load_model(saved, mlp())
    assert {save_model(again, tmp_path / str(k)).read_bytes() for k in range(8)} == {saved.read_bytes()}


@pytest.mark.parametrize("rules", [MXFP4, Recipe(fprop_w=Quantizer("mxfp4", outliers=0.02), pad=True)])
def test_a_model_in_another_dtype_is_saved_in_it(rules, tmp_path):
    """Codes stay; files say the dtype that their values have by now."""

    def make():
        return nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)

    torch.manual_seed(0)
    small, x = convert(quantize_(make(), rules)).to(torch.bfloat16), normal(2, 4, 32).bfloat16()
    again = load_model(save_model(small, tmp_path / "m"), meta(make))
    with torch.no_grad():
        assert torch.equal(again(x), small(x))
    assert again.linear1.weight.dtype == again.self_attn.in_proj_weight.dtype == torch.bfloat16


def test_what_cannot_be_written(tmp_path):
    small = convert(quantize_(mlp(), "mxfp4"))
    small.register_buffer("wide", torch.zeros(3, dtype=torch.complex128))
    with pytest.raises(TypeError, match="wide: safetensors holds no complex128 through NumPy"):
        save_model(small, tmp_path / "m")
    small.wide = torch.zeros(3, device="meta")
    with pytest.raises(ValueError, match="wide is on the meta device and has no numbers; load them before"):
        save_model(small, tmp_path / "m")
    masked = quantize_(mlp(), "mxfp4")
    masked.register_buffer("mask", torch.ones(3, device="meta"), persistent=False)
    with pytest.raises(ValueError, match="mask is on the meta device and has no numbers; load the model before"):
        convert(masked)
    assert not list(tmp_path.iterdir())


def test_skeletons_on_another_device(tmp_path, monkeypatch):
    """Weights that are values stay parameters, and one where layers share them; 'meta' is a device that all have."""

    def make():
        model = mlp()
        model[2].weight = model[0].weight
        return model

    monkeypatch.setattr(torch_loading, "_device", lambda t: torch.device("meta"))
    for rules in (Recipe(fprop_w=Quantizer("mxfp4", outliers=0.02)), "mxfp4"):
        again = load_model(save_model(convert(quantize_(make(), rules)), tmp_path / "m"), make())
        assert all(t.is_meta for t in (*again.parameters(), *again.buffers()))
        held = [{**layer._parameters, **layer._modules}["weight"] for layer in (again[0], again[2])]
        assert held[0] is held[1]
        assert isinstance(held[0], nn.Module if rules == "mxfp4" else nn.Parameter)
