"""Recipes as data: what they refuse, how they read, that they come back, and the ingredients of the published ones."""

import json
import pickle

import halfulp as hu
import pytest
from halfulp.sim.recipes.operands import AXES, Operand, operands_of
from halfulp.sim.recipes.published import RECIPES, list_recipes, recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe

NAMES = [
    "fp8",
    "fp8_delayed",
    "fp8_rowwise",
    "fp8_blocks",
    "mxfp8",
    "mxfp6",
    "mxfp4",
    "nvfp4",
    "mxfp4_sr_rht",
    "quartet",
    "quartet2",
    "tetrajet",
    "four_over_six",
    "ufp4",
    "fp4_all_the_way",
    "occ",
    "int8",
    "int4_qat",
    "bitnet",
    "binary",
    "ifairy",
    "four_bit_cnn",
    "lsq",
    "statsq",
]


@pytest.mark.parametrize("name", RECIPES)
def test_they_come_back(name):
    found = RECIPES[name]
    assert found == Recipe.from_json(found.to_json()) == Recipe.from_toml(found.to_toml())
    assert found == pickle.loads(pickle.dumps(found))
    assert hash(found) == hash(Recipe.from_json(found.to_json()))
    assert found.source
    assert eval(repr(found), {"Recipe": Recipe, "Quantizer": Quantizer}) == found


def test_every_published_recipe_is_there():
    assert set(NAMES) <= set(RECIPES)
    assert list_recipes()["nvfp4"] == "arXiv:2509.25149 (NVIDIA)"


def test_schedules_accumulators_and_methods_come_back():
    found = recipe("quartet").with_(
        accumulator={"fmt": "e8m13ieee", "order": "blocked", "chunk": 128},
        schedule=((100, recipe("mxfp8")), (200, recipe("identity"))),
        fprop_w=Quantizer("mxfp4", scaling={"name": "std", "factor": 3}, transform="hadamard32", gradient="dge"),
        pad=True,
    )
    assert found == Recipe.from_toml(found.to_toml()) == Recipe.from_json(found.to_json())
    assert json.loads(found.to_json())["fprop_w"]["scaling"] == {"name": "std", "factor": 3.0}
    assert [found.at(step).name for step in (0, 99, 100, 199, 200)] == [
        "quartet",
        "quartet",
        "mxfp8",
        "mxfp8",
        "identity",
    ]
    assert "chunk = 128" in found.to_toml()


def test_diff():
    assert recipe("nvfp4").diff(recipe("nvfp4").with_(name="other")) == {}
    changed = recipe("nvfp4").with_(dgrad_e=Quantizer("nvfp4"), pad=True)
    assert recipe("nvfp4").diff(changed) == {"dgrad_e.rounding": ("stochastic", None), "pad": (None, True)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recipe("quartett"), "did you mean 'quartet'"),
        (lambda: Quantizer("mxfp5"), "did you mean"),
        (lambda: Quantizer("mxfp4", rounding="near"), "unknown rounding"),
        (lambda: Quantizer("mxfp4", transform="rht33"), "power of two"),
        (lambda: Quantizer("mxfp4", scaling="delay"), "did you mean 'delayed'"),
        (lambda: Quantizer("mxfp4", scaling={"name": "delayed", "histori": 3}), "did you mean 'history'"),
        (lambda: Quantizer("mxfp4", gradient="dgee"), "did you mean 'dge'"),
        (lambda: Quantizer("mxfp4", gradient={"name": "dge", "scale": 3}), "expected scale 0 .* got 3"),
        (lambda: Quantizer("mxfp4", source="originl"), "did you mean 'original'"),
        (lambda: Quantizer("mxfp4", prescale=0), "positive prescale"),
        (lambda: Quantizer("nvfp4", prescale=0.75), "leave it out"),
        (lambda: Quantizer("mxfp4", outliers=0.5), "share of outliers"),
        (lambda: Quantizer("fp4_e2m1", scaling="std"), "blocks along one axis, as mxfp4 and fp4_e2m1_per_row"),
        (lambda: Quantizer("nvfp4_16x16", scaling="std"), "along one axis, .* got nvfp4_2d; take one of these"),
        (lambda: Quantizer("nf4_block64", scaling="eden"), "along one axis, as nvfp4"),
        (lambda: Quantizer("mxfp8_e4m3", scaling="eden"), "elements of fp4_e2m1, as nvfp4 has them, got mxfp8_e4m3"),
        (lambda: Quantizer(rounding="up"), "leave out rounding"),
        (lambda: Recipe(fprop_x=Quantizer("mxfp4", transform="rht32"), fprop_w=Quantizer("mxfp4")), "do not cancel"),
        (lambda: Recipe(schedule=((2, RECIPES["fp8"]), (1, RECIPES["fp8"]))), "ascending steps"),
        (lambda: Recipe(schedule=((2, Recipe(schedule=((1, RECIPES["fp8"]),))),)), "no schedule of their own"),
        (lambda: Recipe(output="fp17"), "did you mean"),
        (lambda: Recipe(after_step="tanh"), "'tanh:3'"),
        (lambda: Recipe(accumulator={"fmt": "fp16", "ordr": "sequential"}), "did you mean 'order'"),
        (lambda: recipe("fp8").with_(fprop_y=Quantizer()), "did you mean 'fprop_x' or 'fprop_w'"),
        (lambda: Recipe.from_json('{"fprop_x": {"format": "fp16"}}'), "unknown setting of fprop_x"),
        (lambda: Recipe.from_toml("fprop_x = "), "Invalid value"),
        (lambda: Recipe.from_json("{"), "Expecting property name"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_has_the_wrong_type():
    for make, message in (
        (lambda: recipe(3), "name of a recipe"),
        (lambda: Quantizer("mxfp4", scaling=3), "expected a name or a table"),
        (lambda: Quantizer("mxfp4", scaling={"name": "delayed", "history": "long"}), "expected a number for history"),
        (lambda: Recipe(accumulator="fp16"), "expected a table"),
        (lambda: Recipe.from_json('{"fprop_x": 3}'), "expected a format or a table"),
    ):
        with pytest.raises(TypeError, match=message):
            make()


def spec(name, kind="linear"):
    return dict(zip(OPERANDS, (Operand(*each) for each in operands_of(recipe(name), kind))))


def test_operands_are_plain_data_along_the_contraction():
    for kind, axes in AXES.items():
        found = operands_of(recipe("nvfp4"), kind)
        assert [Operand(*each).axis for each in found] == list(axes)
        assert len({Operand(*each).stream for each in found}) == 6
        plain = (str, int, float, bool, tuple)
        assert all(isinstance(value, plain) for each in found for value in each)


def test_ingredients():
    """Of each recipe what its paper says; see the sources in `recipes`."""
    nvidia = recipe("nvfp4")
    assert {name for name in OPERANDS if getattr(nvidia, name).rounding} == {"dgrad_e", "wgrad_e"}
    assert {name for name in OPERANDS if getattr(nvidia, name).transform} == {"wgrad_e", "wgrad_x"}
    assert hu.format(nvidia.fprop_w.fmt).blocks.sizes == (16, 16)
    assert nvidia.fprop_w == nvidia.dgrad_w
    tseng = recipe("mxfp4_sr_rht")
    assert not tseng.fprop_x.active
    assert {getattr(tseng, name).prescale for name in OPERANDS[2:]} == {0.75}
    assert {getattr(tseng, name).transform for name in OPERANDS[2:]} == {"rht64"}
    quartet = recipe("quartet")
    assert (quartet.fprop_x.scaling.name, quartet.fprop_x.gradient.name) == ("std", "clip")
    assert dict(quartet.fprop_x.scaling.parameters) == {"factor": 2.92247856}
    assert (quartet.dgrad_w.source, quartet.wgrad_x.source, quartet.dgrad_e.source) == (
        "quantized",
        "quantized",
        "original",
    )
    assert {getattr(recipe("quartet2"), name).scaling.name for name in OPERANDS[2:]} == {"eden"}
    assert recipe("quartet2").fprop_x.fmt == "four_over_six"
    tetrajet = hu.format(recipe("tetrajet").fprop_x.fmt)
    assert (tetrajet.rule.fit, tetrajet.block_size) == ("tetrajet", 32)
    assert {name for name in OPERANDS if getattr(recipe("tetrajet"), name).rounding} == set(OPERANDS[2:])
    assert hu.format(recipe("fp8").dgrad_e.fmt).element.name == "fp8_e5m2"
    assert recipe("fp8_delayed").fprop_x.scaling.parameters == (("history", 16.0), ("margin", 0.0))
    blocks = recipe("fp8_blocks")
    assert hu.format(blocks.fprop_w.fmt).blocks.sizes == (128, 128)
    assert hu.format(blocks.fprop_x.fmt).blocks.sizes == (128,)
    assert hu.format(recipe("bitnet").fprop_w.fmt).element.name == "ternary"
    assert recipe("ifairy").is_complex
    assert recipe("four_bit_cnn").after_step == "tanh:3"
    assert recipe("occ").fprop_x.outliers == 0.01
    assert recipe("occ").fprop_w.gradient.parameters == (("power", 5.0), ("limit", 3.0), ("scale", 0.0))
    assert {getattr(recipe("ufp4"), name).transform for name in OPERANDS} == {"rht16"}
    assert {name for name in OPERANDS if getattr(recipe("ufp4"), name).rounding} == {"dgrad_e", "wgrad_e"}
    for name in ("bitnet", "binary", "int4_qat", "lsq", "statsq", "occ", "four_bit_cnn", "ifairy"):
        qat = recipe(name)
        assert not any(getattr(qat, operand).active for operand in OPERANDS[2:])
        assert qat.dgrad_w.source == qat.wgrad_x.source == "quantized"
    assert spec("fp8")["fprop_x"].block == -1
    assert spec("mxfp4")["fprop_x"].block == 32
    assert spec("int8")["fprop_x"].block == 0


def test_statsq_equals_its_definition():
    """s = 2 mean |w| a row, n = 2**(b-1): s * (round(clip(w/s, -1, 1 - 1e-6) * n - .5) + .5) / n (arXiv:2302.02210)."""
    import numpy as np

    w = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)
    s = 2 * np.abs(w).mean(1, keepdims=True, dtype=np.float64)
    want = s * (np.round(np.clip(w / s, -1, 1 - 1e-6) * 8 - 0.5) + 0.5) / 8
    found = hu.quantize(w, recipe("statsq").fprop_w.fmt)
    assert np.allclose(found, want, rtol=1e-6)
    assert abs(((found - w) ** 2).sum() / (w**2).sum() - 0.049) < 0.001
