"""Which scalings a matrix unit could implement, and what it would need; every verdict on a scale is checked by a sum."""

import numpy as np
import pytest
from halfulp.sim.recipes.published import RECIPES
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.realizable import check_realizable
from halfulp.sim.recipes.recipe import Recipe

BACK = Quantizer(source="quantized")


def product(name, **operands):
    found = {check.name: check for check in check_realizable(Recipe(**operands)).products}
    return found[name]


def fprop(x, w, **how):
    return product("fprop", fprop_x=Quantizer(x, **how), fprop_w=Quantizer(w, **how))


def test_published_recipes_are_realizable():
    for name in RECIPES:
        found = check_realizable(name)
        assert found.realizable, str(found)
        assert [check.name for check in found.products] == ["fprop", "dgrad", "wgrad"]


def test_products_with_one_format_run_in_high_precision():
    checks = {check.name: check for check in check_realizable("bitnet").products}
    assert checks["fprop"].precision == "low"
    assert checks["dgrad"].precision == "high"
    assert "dgrad_w decoded to the dtype of the other factor" in checks["dgrad"].needs
    assert {check.precision for check in check_realizable("identity").products} == {"high"}


@pytest.mark.parametrize(
    ("x", "w", "realizable"),
    [
        ("fp8_e4m3_per_tensor", "int8_per_tensor", True),
        ("fp8_e4m3_per_row", "fp8_e4m3_per_channel", True),
        ("mxfp4", "mxfp4", True),
        ("mxfp4", "nvfp4", True),
        ("nvfp4", "nvfp4_2d", True),
        ("scaled(int8,block=24)", "mxfp4", False),
        ("scaled(int8,block=channel@1)", "mxfp8", False),
        ("nf4_block64", "nf4_block64", None),
        ("int8", "fp8_e4m3", True),
    ],
)
def test_scales_along_the_contraction(x, w, realizable):
    found = fprop(x, w)
    if realizable is not None:
        assert found.realizable == realizable, str(found)
    assert bool(found.problems) != found.realizable


def test_what_is_taken_from_forward_has_its_scales_across_the_contraction():
    """Scales of rows of W vary along the outputs, which dgrad contracts: no factor can be taken out of the sum."""
    operands = {"fprop_x": "mxfp8", "dgrad_e": "mxfp8"}
    for fmt, realizable in (
        ("fp8_e4m3_per_row", False),
        ("mxfp8", False),
        ("fp8_e4m3_per_channel", False),
        ("fp8_e4m3_per_tensor", True),
        ("scaled(fp8_e4m3,block=32x32)", True),
    ):
        found = product("dgrad", **{n: Quantizer(f) for n, f in operands.items()}, fprop_w=Quantizer(fmt), dgrad_w=BACK)
        assert found.realizable == realizable, str(found)
        if not realizable:
            assert "quantize it again along it" in found.problems[0]
    again = Quantizer("mxfp8", source="quantized")
    found = product("wgrad", fprop_x=Quantizer("mxfp8"), wgrad_e=Quantizer("mxfp8"), wgrad_x=again)
    assert found.realizable
    assert "wgrad_x from the values of fprop_x, quantized again along this contraction" in found.needs


def test_a_verdict_is_a_fact_about_sums():
    """Blocks of the contraction factor out; a scale of each element does not, whatever one divides by."""
    rng = np.random.default_rng(0)
    p, q = rng.integers(-8, 8, (4, 64)), rng.integers(-8, 8, (6, 64))
    blocks = 2.0 ** rng.integers(-3, 4, (4, 2)), 2.0 ** rng.integers(-3, 4, (6, 2))
    a, b = (x * np.repeat(s, 32, axis=1) for x, s in zip((p, q), blocks))
    parts = np.einsum("mbk,nbk->mnb", p.reshape(4, 2, 32), q.reshape(6, 2, 32))
    assert np.array_equal(a @ b.T, (parts * blocks[0][:, None] * blocks[1][None]).sum(-1))
    along = 2.0 ** rng.integers(-3, 4, 64)
    whole = (p @ q.T).astype(float)
    ratio = ((p * along) @ q.T)[whole != 0] / whole[whole != 0]
    assert np.ptp(ratio) > 0.1  # no factor of rows and columns


def test_what_it_needs():
    assert "sums of 16 products, each multiplied by both scales before it is added" in fprop("mxfp4", "nvfp4").needs
    assert "the result times the outer scale of fprop_w, once" in fprop("mxfp4", "nvfp4").needs
    assert "the result multiplied by the scales of its row and column, once" in fprop("int8_per_row", "int8_per_tensor").needs  # fmt: skip
    found = fprop("int8_per_token_asym", "int8_per_row")
    assert found.realizable
    assert "sums of the other factor over the elements that share a zero point of fprop_x" in found.needs
    found = fprop("mxfp4", "mxfp4", prescale=0.75, transform="rht32")
    assert "the result times 1.77778, once" in found.needs
    assert "a Hadamard transform of fprop_x along the contraction (rht32, random signs)" in found.needs
    found = fprop("fp4_e2m1_per_row", "fp4_e2m1_per_row", outliers=0.01)
    assert "a sparse product of the outliers of fprop_x, 0.02 of its elements" in found.needs
    assert any("four real sums" in need for need in fprop("int8_per_token", "phase").needs)
    assert any("one product for each stage" in need for need in fprop("int8_per_token", "bcq2").needs)
    assert any("looked up in a table" in need for need in fprop("int8_per_token", "scaled(nf4,block=64)").needs)
    assert any("exponents of their sub-blocks" in need for need in fprop("hif4", "hif4").needs)
    assert any("corrected after" in need for need in check_realizable("quartet2").products[1].needs)


def test_flat_blocks_do_not_follow_the_contraction():
    found = fprop("scaled(int8,block=flat64)", "mxfp4")
    assert "blocks of the flattened tensor" in found.problems[0]


def test_schedules_and_text():
    later = Recipe("late", fprop_x=Quantizer("mxfp4"), fprop_w=Quantizer("scaled(int8,block=24)"))
    found = check_realizable(RECIPES["mxfp8"].with_(schedule=((10, later),)))
    assert [check.name for check in found.products][3] == "fprop from step 10"
    assert not found.realizable
    assert "problem: blocks of 24 and 32 elements end at different places" in str(found)
    with pytest.raises(ValueError, match="did you mean 'mxfp4'"):
        check_realizable("mxfp44")
