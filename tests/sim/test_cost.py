"""Costs of formats and recipes: bits, bytes, bit operations, accumulators, energy, rooflines."""

from math import log2

import halfulp as hu
import numpy as np
import pytest
from halfulp.sim.costs import accelerators, cost, energy, factors, model_cost, recipe_cost
from halfulp.sim.recipes.published import RECIPES

PACKED = [
    "mxfp4",
    "mxfp8_e4m3",
    "mxfp6_e3m2",
    "nvfp4",
    "nvfp4_2d",
    "int4_per_row_asym",
    "hif4",
    "nf4_dq",
    "int8",
    "fp8_e4m3",
    "e3m2",
    "int8_per_tensor",
]
ACCUMULATORS = {"fp4_e2m1": 22, "fp6_e2m3": 26, "fp6_e3m2": 32, "e3m4": 36, "fp8_e4m3": 50, "fp8_e5m2": 80, "int4": 22,
                "int8": 30}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_stored_bits_are_what_pack_makes(name):
    x = np.linspace(-3, 3, 48 * 128, dtype=np.float32).reshape(48, 128)
    assert cost.stored_bits(name, (48, 128)).total == 8 * hu.pack(x, name).nbytes
    assert cost.stored_bits(name, (48, 128)).elements == 48 * 128 * hu.format(name).bits


def test_stored_bits_of_other_formats():
    assert cost.stored_bits("nf4_dq", (4096, 4096)).total / 4096**2 == pytest.approx(4.12695, abs=1e-4)  # QLoRA
    assert cost.stored_bits("mxfp4", (64, 10), -2) == (640 * 4, 20 * 8)
    assert cost.stored_bits("mxfp4", (3, 33)) == (99 * 4, 6 * 8), "a ragged block has a scale"
    assert cost.stored_bits("bcq2", (64, 64)) == (2 * 4096, 64)
    assert cost.stored_bits("mxfp4", (0, 32)).total == 0
    packed = hu.pack(np.ones((32, 32), np.complex64), "phase").nbytes
    assert cost.stored_bits("phase", (64, 64), matrix=True).total == 2 * 8 * packed, "one bit a real weight, and scales"
    assert cost.weight_bits("phase", (64, 64)) == 2 * 8 * packed / 64**2
    assert np.isnan(cost.weight_bits("phase", (63, 64)))
    assert np.isnan(cost.weight_bits("phase", (2, 64, 64)))
    assert cost.weight_bits("mxfp4", (3, 33)) == cost.weight_bits("mxfp4", (3, 33), (0, 1, 2)) == 4 + 48 / 99
    assert cost.weight_bits("mxfp4", (64, 10), (0,)) == 4.25
    assert cost.weight_bits("mxfp4", (0, 32)) == 0
    learned = hu.learn_codebook(np.random.default_rng(0).standard_normal((4, 99)).astype(np.float32), bits=2, axis=0)
    assert cost.stored_bits(learned, (4, 99)) == (4 * 99 * 2, 32 * sum(len(book.values) for book in learned.books))


@pytest.mark.parametrize(("name", "bits"), ACCUMULATORS.items())
def test_accumulator_bits_are_the_published_ones(name, bits):
    assert cost.accumulator_bits(name, name, 4608) == bits
    assert cost.accumulator_bits(name, name, 4608, tight=True) <= bits


@pytest.mark.parametrize(
    "pair",
    [
        ("int3", "int4"),
        ("fp4_e2m1", "int4"),
        ("uint4", "uint3"),
        ("ternary", "int8"),
        ("e3m0", "fp6_e2m3"),
        ("posit8", "binary"),
    ],
)
@pytest.mark.parametrize("k", [1, 3, 64])
def test_tight_accumulators_hold_every_sum_and_no_bit_less_does(pair, k):
    bits = cost.accumulator_bits(*pair, k, tight=True)
    values = [
        [v for v in map(hu.format(name).value, range(1 << hu.format(name).bits)) if v == v and abs(v) < 1e30]
        for name in pair
    ]
    units = [2.0 ** factors.span_of(hu.format(name)).quantum for name in pair]
    products = [float(x) * float(y) / (units[0] * units[1]) for x in values[0] for y in values[1]]
    assert all(p == int(p) for p in products)
    low, high = k * int(min(products)), k * int(max(products))
    signed = low < 0
    fits = (lambda b: -(1 << b - 1) <= low and high < 1 << b - 1) if signed else (lambda b: high < 1 << b)
    assert fits(bits)
    assert not fits(bits - 1)


def test_accumulators_of_blocks():
    assert cost.accumulator_bits("mxfp4", "mxfp4", 4608) == cost.accumulator_bits("fp4_e2m1", "fp4_e2m1", 32)
    assert cost.longest_run("mxfp4", "nvfp4", 4096) == 16
    assert cost.longest_run("int8_per_row", "mxfp4", 4096) == 32
    assert cost.longest_run("int8_per_row", "int8_per_tensor", 100) == 100
    with pytest.raises(ValueError, match="no common grid"):
        cost.accumulator_bits("lns8f3", "int8", 4)
    with pytest.raises(ValueError, match="ask for a stage"):
        cost.accumulator_bits("bcq2", "int8", 4)
    with pytest.raises(ValueError, match="k: expected 1 or more, got 0"):
        cost.accumulator_bits("int8", "int8", 0)


def test_bit_operations():
    assert cost.bit_operations("int8", "int4", 2, 3, 5) == 30 * 32
    assert cost.bit_operations("int8", "bcq2", 2, 3, 5) == 30 * 16, "two stages of one bit"
    assert cost.bit_operations("int8", "int4", 2, 16, 5, "uniq") == 160 * (32 + 12 + log2(16))
    with pytest.raises(ValueError, match="did you mean 'product'"):
        cost.bit_operations("int8", "int8", 1, 1, 1, "prodct")
    with pytest.raises(TypeError, match="m: expected an integer, got 1.5"):
        cost.bit_operations("int8", "int8", 1.5, 1, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected lengths of 0 and more"):
        cost.stored_bits("int8", (-1,))
    with pytest.raises(ValueError, match="even numbers"):
        cost.stored_bits("phase", (3, 4), matrix=True)


def test_factors():
    widths = {
        name: factors.factors_of(name)[0][1:4] for name in ("int8", "bf16", "e1m2", "ternary", "nf4", "posit8", "mxfp4")
    }
    assert widths == {"int8": (True, 8, 0), "bf16": (False, 8, 8), "e1m2": (True, 4, 0), "ternary": (True, 2, 0),
                      "nf4": (False, 8, 8), "posit8": (False, 4, 6), "mxfp4": (False, 2, 2)}  # fmt: skip
    assert len(factors.factors_of("bcq3_per_row")) == 3
    assert factors.factors_of("nf4")[0].stored == 4


def test_energy_meets_the_published_points():
    assert [energy.add_energy(w, integer=True) for w in (8, 32)] == [0.03, 0.1]
    assert [energy.add_energy(w, integer=False) for w in (11, 24)] == [0.4, 0.9]
    assert [energy.multiply_energy(w, w, integer=True) for w in (8, 32)] == [0.2, 3.1]
    assert [energy.multiply_energy(w, w, integer=False) for w in (11, 24)] == [1.1, 3.7]
    assert energy.memory_energy(64, "sram_8k") == 10
    assert energy.MEMORY["dram"][1:] == (1950, 1300, 2600)
    widths = range(1, 40)
    for integer in (True, False):
        rising = [energy.multiply_energy(w, 8, integer=integer) for w in widths]
        assert rising == sorted(rising)
        assert min(rising) > 0


def test_energy_of_products():
    assert energy.mac_energy("int4", "int4") < energy.mac_energy("int8", "int8") < energy.mac_energy("fp16", "fp16")
    assert energy.mac_energy("fp16", "fp16") < energy.mac_energy("fp32", "fp32")
    assert energy.mac_energy("fp32", "fp32") == pytest.approx(3.7 + 0.9)
    assert energy.mac_energy("int8", "int8", accumulator="fp32") == pytest.approx(0.2 + 0.9)
    assert energy.mac_energy("int8", "int8", 4608) == pytest.approx(0.2 + energy.add_energy(30, integer=True))
    near = energy.product_energy("int8", "int8", 64, 64, 64, memory="sram_8k")
    far = energy.product_energy("int8", "int8", 64, 64, 64)
    assert near < far
    with pytest.raises(ValueError, match="did you mean 'dram'"):
        energy.memory_energy(8, "drum")
    with pytest.raises(ValueError, match="width of 1 bit"):
        energy.add_energy(0, integer=True)
    with pytest.raises(ValueError, match="0 bits or more"):
        energy.memory_energy(-1)
    with pytest.raises(ValueError, match="unscaled accumulator"):
        energy.mac_energy("int8", "int8", accumulator="bcq2")


def test_units_of_accelerators():
    unit = accelerators.unit_for
    assert unit("b200", "nvfp4", "nvfp4") == "fp4"
    assert unit("b200", "nvfp4", "mxfp8") == "fp8"
    assert unit("h100", "int4_per_row", "int8_per_row") == "int8"
    assert unit("a100", "mxfp4", "mxfp4") == "int8", "twice E2M1 is an integer of 5 bits"
    assert unit("mi300x", "fp8_e4m3", "fp8_e4m3") == "fp8_fnuz", "half of it fits the range with one bias more"
    assert unit("h100", "nf4_block64", "bf16") == "bf16"
    assert unit("h100", "e4m3", "e4m3") == "bf16", "a bare E4M3 reaches 480, the unit 448"
    assert unit("h100", "lns8f3", "lns8f3") == "bf16"
    with pytest.raises(ValueError, match="tpu_v5p has no unit for binary32 times binary32; it has bf16"):
        unit("tpu_v5p", "fp32", "fp32")


MATRIX_UNITS = {
    "a100": (256, 432, 1.41),
    "h100": (512, 528, 1.83),
    "mi300x": (256, 1216, 2.1),
    "mi355x": (512, 1024, 2.4),
}
"""Multiply-adds of bfloat16 a unit and clock, units, GHz: white papers of Ampere, Hopper, CDNA 3 and CDNA 4."""


@pytest.mark.parametrize("name", MATRIX_UNITS)
def test_peaks_follow_from_units_and_clocks(name):
    each, units, clock = MATRIX_UNITS[name]
    chip = accelerators.ACCELERATORS[name]
    assert chip.peaks["bf16"] == pytest.approx(2 * each * units * clock * 1e-3, rel=5e-4)
    assert chip.peaks["fp16"] == chip.peaks["bf16"]
    assert all(
        chip.peaks[unit] == pytest.approx(2 * chip.peaks["bf16"], rel=5e-4)
        for unit in ("int8", "fp8", "fp8_fnuz")
        if unit in chip.peaks
    )
    assert all(
        chip.peaks[unit] == pytest.approx(4 * chip.peaks["bf16"], rel=5e-4)
        for unit in ("int4", "fp4")
        if unit in chip.peaks
    )


def test_every_accelerator_names_a_document():
    for chip in accelerators.ACCELERATORS.values():
        assert any(word in chip.source for word in ("datasheet", "data sheet", "product page", "documentation")), (
            chip.name
        )


def test_roofline():
    chip = accelerators.Accelerator("mine", {"int8": 1.0}, bandwidth=0.5, memory=1.0)
    time = accelerators.roofline(chip, "int8", "int8", 1000, 1000, 1000, out="binary32")
    assert time.compute == pytest.approx(2e9 / 1e12)
    assert time.memory == pytest.approx(6e6 / 0.5e12)
    assert time.seconds == time.compute
    assert time.intensity == pytest.approx(2e9 / 6e6)
    half = accelerators.roofline(chip, "int8", "int8", 1000, 1000, 1000, out="binary32", efficiency=0.5)
    assert half.seconds == 2 * time.seconds
    assert accelerators.roofline("h100", "bf16", "bf16", 1, 4096, 4096).seconds > 4096**2 * 2 / 3.35e12
    table = accelerators.list_accelerators()
    assert table.loc["h100", "fp8"] == pytest.approx(2 * table.loc["h100", "bf16"], rel=1e-3)
    assert table["source"].str.len().min() > 10
    with pytest.raises(ValueError, match="did you mean 'h100'"):
        accelerators.accelerator("h10")
    with pytest.raises(TypeError, match="expected the name of an accelerator"):
        accelerators.accelerator(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="unknown unit of mine"):
        accelerators.roofline(chip, "int8", "int8", 1, 1, 1, unit="fp8")
    with pytest.raises(ValueError, match="efficiency above 0"):
        accelerators.roofline(chip, "int8", "int8", 1, 1, 1, efficiency=0)
    with pytest.raises(ValueError, match="positive peaks"):
        accelerators.Accelerator("none", {}, 1.0, 1.0)
    with pytest.raises(ValueError, match="unknown unit 'fp9'"):
        accelerators.Accelerator("none", {"fp9": 1.0}, 1.0, 1.0)


def test_a_recipe_by_hand():
    m, k, n = 64, 128, 256
    found = recipe_cost.recipe_cost("mxfp4_sr_rht", m, k, n)
    by_name = {each.operand: each for each in found.operands}
    assert by_name["fprop_x"].operations == 0, "forward operands are left alone"
    e = by_name["dgrad_e"]
    count, blocks = m * n, m * n // 32
    assert e.transform == count * 6
    assert e.reductions == count
    assert e.elementwise == count * 5 + 2 * blocks, "scale, round, noise, signs, prescale; two for each scale"
    assert e.random_bits == 32 * count + 64
    assert e.bytes_read == 2 * count
    assert e.bytes_written == count / 2 + blocks
    dgrad = found.products[1]
    assert dgrad.rescale == m * k * (2 * n / 32 + 1), "two operations for each block of 32, and the prescale"
    assert dgrad.formats == ("mxfp4", "mxfp4")
    assert found.products[0].formats == ("bfloat16", "bfloat16")
    assert found.overhead == pytest.approx(found.operations / (3 * m * k * n))
    table = found.table()
    assert table.loc["all", "transform"] == sum(each.transform for each in found.operands)


def test_operands_that_serve_two_products_count_once():
    shared = {each.operand for each in recipe_cost.recipe_cost("nvfp4", 64, 64, 64).operands if each.shared}
    assert shared == {"dgrad_w"}, "square tiles are the same transposed; rows of 16 are not"
    shared = {each.operand for each in recipe_cost.recipe_cost("fp8", 64, 64, 64).operands if each.shared}
    assert shared == {"dgrad_w", "wgrad_x", "wgrad_e"}
    assert not any(each.shared for each in recipe_cost.recipe_cost("mxfp8", 64, 64, 64).operands)


def test_costs_of_every_recipe():
    table = recipe_cost.recipe_costs(256, 256, 256, chip="b200")
    assert list(table.index) == list(RECIPES)
    assert np.isfinite(table.to_numpy()).all()
    assert table.loc["identity"].drop(["energy", "time"]).eq(0).all()
    assert table.loc["identity", ["energy", "time"]].eq(1).all()
    assert (table.drop("identity")["overhead"] > 0).all()
    random = {name for name in RECIPES if table.loc[name, "random_bits"] > 0}
    assert random == {name for name, of in RECIPES.items() if of.stochastic}
    assert {name for name in RECIPES if table.loc[name, "sparse_macs"]} == {"occ"}
    large = recipe_cost.recipe_costs(4096, 4096, 4096, chip="b200")
    assert (large["overhead"] < table["overhead"] + 1e-12).all(), "quantization is of lower order than the products"
    assert large.loc["nvfp4", "time"] < 0.6 < large.loc["bitnet", "time"]
    with pytest.raises(ValueError, match="did you mean"):
        recipe_cost.recipe_cost("mxfp5", 1, 1, 1)
    with pytest.raises(ValueError, match="m: expected 1 or more"):
        recipe_cost.recipe_cost("mxfp4", 0, 1, 1)


def test_costs_of_a_model():
    layers = [
        cost.gemm("a", 32, 64, 128),
        cost.gemm("b", 32, 128, 64),
        cost.gemm("b.scores", 8, 16, 8, 4, weight=False),
    ]
    table = model_cost.costs(layers, [("a", "mxfp4"), ("b", "fp8")], optimizer="momentum", chip="h100")
    assert table.loc["b.scores", "recipe"] == "fp8", "what is inside of what a rule matches is matched"
    assert table.loc["a", ["weight_bits", "scale_bits"]].tolist() == [64 * 128 * 4, 64 * 128 // 32 * 8]
    assert table.loc["a", ["master_bits", "optimizer_bits"]].tolist() == [64 * 128 * 32] * 2
    assert table.loc["a", "activation_bits"] == 32 * 64 * 4.25, "the backward pass keeps what it multiplies"
    assert table.loc["a", "bitops"] == 3 * 32 * 64 * 128 * 16
    assert table.loc["b.scores", ["parameters", "weight_bits", "optimizer_bits"]].eq(0).all()
    assert table.loc["b.scores", "macs"] == 8 * 16 * 8 * 4
    assert table.loc["all", "seconds"] == pytest.approx(table["seconds"].iloc[:-1].sum())
    eight = hu.recipe("mxfp4").with_(master="bfloat16", optimizer_state="scaled(int8,block=256)")
    assert model_cost.costs(layers[:1], eight).loc["all", "optimizer_bits"] == 2 * (8192 * 8 + 8192 // 256 * 32)
    with pytest.raises(ValueError, match="two products are called 'a'"):
        model_cost.costs([layers[0], layers[0]])
    with pytest.raises(ValueError, match="expected one product or more"):
        model_cost.costs([])
    with pytest.raises(TypeError, match="expected products such as hu.gemm"):
        model_cost.costs(["a"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        model_cost.costs(layers, optimizer="adan")
    with pytest.raises(ValueError, match="rule 1 'c' matched no module"):
        model_cost.costs(layers, [("c", "mxfp4")])


def test_products_of_torch_models():
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(128, 10))
    first, last = model_cost.gemms(model, torch.zeros(2, 4, 8, 8))
    assert first[:6] == ("0", 2 * 16, 2 * 9, 4, 2, (8, 18))
    assert last[:6] == ("2", 2, 128, 10, 1, (10, 128))
    up = model_cost.gemms(nn.ConvTranspose2d(4, 6, 2, groups=2), torch.zeros(2, 4, 5, 5))
    assert up[0].macs == 50 * 2 * 12 * 2
    block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    found = {each.name: each for each in model_cost.gemms(block, torch.zeros(3, 5, 16))}
    assert found["self_attn.product2"][1:5] == (5, 8, 5, 6)
    assert found["self_attn.product2"].weight is None
    table = model_cost.costs(found.values(), [("self_attn", "mxfp8"), ("type:Linear", "mxfp4")])
    assert table.loc["self_attn.product4", "recipe"] == "mxfp8"
    assert table.loc["linear1", "recipe"] == "mxfp4"
    lstm = model_cost.gemms(nn.LSTM(8, 16), torch.zeros(7, 3, 8))
    assert sum(each.macs for each in lstm) == 7 * 3 * 64 * (8 + 16)
    assert all(each.weight is not None for each in lstm)
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, got str"):
        model_cost.gemms("model", torch.zeros(1))
