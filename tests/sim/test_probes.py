"""Probes: what is recorded, and that training stays the same to the bit."""

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from halfulp import quantize as rounded
from halfulp.sim.probes.probes import watch
from halfulp.sim.probes.records import COLUMNS, RESULTS, TENSORS
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS
from halfulp.sim.wrapping.wrapping import advance_, quantize_
from torch import nn
from torch.utils.checkpoint import checkpoint

from .watched import PLAIN, both
from .wrapped import (
    MXFP4,
    SR,
    Attention,
    layer,
    mlp,
    normal,
    one_thread,  # noqa: F401
)


@pytest.mark.parametrize("rules", [SR, PLAIN], ids=["wrapped", "plain"])
@pytest.mark.parametrize("name", ["linear", "conv1d_same", "gru", "attention_masked"])
def test_training_is_the_same_to_the_bit(name, rules):
    make, inputs = (lambda: layer(name)[0]), layer(name)[1]
    table = both(make, rules, inputs, products=True)
    assert tuple(table.columns) == COLUMNS
    assert set(table["step"]) == {0, 2}
    assert set(table["tensor"]) == set(TENSORS)
    assert table["in_use"].any() == (rules is not None)
    assert np.isfinite(table["sqnr_db"]).all()
    calls = table.groupby(["step", "product"])["calls"].max()
    assert calls.max() == (5 if name == "gru" else 1)


def named(model, inputs, **how):
    """(layer, product) of what a forward pass records."""
    with watch(model, every=1, tensors="fprop_x", **how) as probe:
        model(*inputs)
    return {(row["layer"], row["product"]) for row in probe.rows()}


@pytest.mark.parametrize("rules", [MXFP4, PLAIN], ids=["wrapped", "plain"])
def test_names_of_products(rules):
    """Those of attention, of functions that a module calls itself, and of recurrent layers."""
    how = {"what_if": "mxfp4"} if rules is None else {}

    def wrapped(model, given=rules):
        return model if rules is None else quantize_(model, given)

    found = named(wrapped(Attention(), [("type:Attention", MXFP4)]), [normal(2, 8, 32)], **how)
    assert found == {("qkv", ""), ("out", ""), *(("Attention", name) for name in ("0", "1", "scores", "values"))}
    for name, products in (
        ("attention_cross", ("query", "key", "value", "scores", "values", "output")),
        ("lstm", [f"{part} {k}" for part in ("x", "h") for k in range(4)]),
        ("gru_cell", ("x", "h")),
    ):
        model, inputs = layer(name)
        assert {product for _, product in named(wrapped(model), inputs, **how)} == set(products)
    assert {product for _, product in named(wrapped(layer("attention")[0]), layer("attention")[1], **how)} == {
        "qkv", "scores", "values", "output",
    }  # fmt: skip


def test_the_numbers_of_one_layer():
    """Each of the nine tensors of a linear layer, from the definitions."""
    torch.manual_seed(0)
    model = quantize_(nn.Linear(64, 32), "nvfp4")
    fmt = {k: getattr(recipe("mxfp8"), k).fmt for k in OPERANDS}
    x, e = normal(48, 64).requires_grad_(), normal(48, 32, seed=1)
    with watch(model, every=1, what_if=[recipe("mxfp8"), Quantizer("fp4_e2m1")], products=True) as probe:
        model(x).backward(e)
    table = probe.frame().set_index(["recipe", "tensor"]).sort_index()
    w, x = model.weight.detach(), x.detach()
    operands = {
        "fprop_x": (x, 1),
        "fprop_w": (w, 1),
        "dgrad_e": (e, 1),
        "dgrad_w": (w, 0),
        "wgrad_e": (e, 0),
        "wgrad_x": (x, 0),
    }
    q = {k: rounded(t, fmt[k], axis=axis, pad=True) for k, (t, axis) in operands.items()}
    for name, (t, _) in operands.items():
        row = table.loc["mxfp8", name]
        assert row["format"] == fmt[name]
        noise = (t - q[name]).double().square().sum()
        assert row["sqnr_db"] == pytest.approx(float(10 * torch.log10(t.double().square().sum() / noise)), rel=1e-5)
        assert row["underflow_percent"] == pytest.approx(100 * float(((q[name] == 0) & (t != 0)).float().mean()))
        assert row["amax"] == float(t.abs().max())
        assert row["rms"] == pytest.approx(float(t.square().mean().sqrt()), rel=1e-5)
    results = {
        "output": (q["fprop_x"] @ q["fprop_w"].T, x @ w.T),
        "input_gradient": (q["dgrad_e"] @ q["dgrad_w"], e @ w),
        "weight_gradient": (q["wgrad_e"].T @ q["wgrad_x"], e.T @ x),
    }
    for name, (g, r) in results.items():
        row = table.loc["mxfp8", name]
        ratio = float(r.norm() / (g - r).norm())
        assert row["sqnr_db"] == pytest.approx(20 * np.log10(ratio), rel=1e-4)
        if name != "output":
            assert row["gradient_to_noise"] == pytest.approx(ratio, rel=1e-4)
            assert row["gradient_cosine"] == pytest.approx(
                float(torch.cosine_similarity(g.flatten(), r.flatten(), 0)), abs=1e-6
            )
    used = table.loc["nvfp4"]
    assert used["in_use"].all()
    assert used.loc["dgrad_e", "format"] == "nvfp4 stochastic"
    assert used.loc["wgrad_x", "format"] == "nvfp4 rht16"
    own = float(
        (model.weight.grad * results["weight_gradient"][1]).sum()
        / model.weight.grad.norm()
        / results["weight_gradient"][1].norm()
    )
    assert used.loc["weight_gradient", "gradient_cosine"] == pytest.approx(own, abs=1e-6)
    assert table.loc[("", "fprop_x"), "saturated_percent"] == pytest.approx(100 * float((x.abs() > 7).float().mean()))


def test_what_the_layer_computed_with_is_what_is_measured():
    """The gradient that is compared is the layer's own, in the recipes that take operands in every other way."""
    for name in ("quartet2", "mxfp4_sr_rht", "fp8_delayed", "lsq", "occ", "ifairy"):
        model = quantize_(mlp(64), recipe(name).with_(pad=True))
        with watch(model, every=1) as probe:
            for k in range(2):
                model.zero_grad()
                model(normal(64, 64, seed=k)).square().mean().backward()
                advance_(model)
        table = probe.frame().query("step == 1 and layer == '2'").set_index("tensor")
        for tensor in set(table.index) & {"fprop_w", "output", "input_gradient"}:
            assert 4 < table.loc[tensor, "sqnr_db"] < 60, (name, tensor)
        assert table.loc["weight_gradient", "gradient_cosine"] > 0.97, name
        if name == "mxfp4_sr_rht":  # rotated, and multiplied by 3/4 before it is rounded
            assert table.loc["dgrad_w", "rms"] == pytest.approx(
                float(model[2].weight.detach().square().mean().sqrt()), rel=0.05
            )
            assert table.loc["dgrad_w", "saturated_percent"] == 0


def test_calls_of_a_step_are_pooled():
    """Shared layers and micro-batches: sums over all calls."""
    torch.manual_seed(0)
    model = quantize_(mlp(64), "mxfp8")
    x = normal(64, 64)
    with watch(model, every=2, tensors="fprop_x") as whole:
        model(x)
    with watch(model, every=2, tensors="fprop_x") as halves:
        for part in x.chunk(2):
            model(part)
        advance_(model)
        model(x)
    one, two = whole.frame().query("layer == '0'").iloc[0], halves.frame().query("layer == '0'").iloc[0]
    assert (one["calls"], two["calls"]) == (1, 2)
    for column in ("sqnr_db", "saturated_percent", "zeros_percent", "amax", "rms", "scale_median"):
        assert one[column] == pytest.approx(two[column], rel=1e-6)
    assert one["scale_counts"] == two["scale_counts"]
    assert sum(one["scale_counts"]) == 64 * 64 // 32
    assert set(halves.frame()["step"]) == {0}


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.reentrant = mlp(64), reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_records_once(reentrant):
    found = both(lambda: Checkpointed(reentrant), SR, [normal(64, 64)], what_if=())
    stored = both(lambda: nn.ModuleDict({"inner": mlp(64)})["inner"], SR, [normal(64, 64)], what_if=())
    assert (found["calls"] == 1).all()
    columns = ["step", "tensor", "format", "sqnr_db"]
    assert found["layer"].str.removeprefix("inner.").tolist() != []
    assert len(found) == len(stored)
    assert set(found["tensor"]) == set(stored["tensor"])
    assert found[columns].shape == stored[columns].shape


def test_evaluation_and_no_gradients():
    """One forward pass a sampled step, in rows of its own; no backward rows without gradients."""
    model = quantize_(mlp(64), "mxfp8")
    with watch(model, every=1) as probe:
        with torch.no_grad():
            model(normal(32, 64))
        model.eval()
        for _ in range(3):
            model(normal(32, 64))
    table = probe.frame()
    assert set(table["tensor"]) == {"fprop_x", "fprop_w", "output"}
    assert (table["calls"] == 1).all()
    assert set(table["training"]) == {True, False}


def test_steps_of_a_model_that_is_not_quantized():
    """Forward passes in training count, or calls of `step`."""
    model = mlp(64)
    with watch(model, every=2, what_if="mxfp4", tensors="fprop_w") as probe:
        for _ in range(5):
            model(normal(8, 64))
    assert sorted(set(probe.frame()["step"])) == [0, 2, 4]
    with watch(model, every=2, what_if="mxfp4", tensors="fprop_w") as probe:
        for _ in range(3):
            probe.step()
            model(normal(8, 64))
            model(normal(8, 64))
    assert sorted(set(probe.frame()["step"])) == [0, 2]
    assert (probe.frame()["calls"] == 2).all()


def test_layers_that_are_left_alone_are_asked_about_formats():
    model = quantize_(mlp(64), [("0", "mxfp8"), ("*", None)])
    with watch(model, every=1, what_if="nvfp4", tensors=("fprop_w", "wgrad_e")) as probe:
        model(normal(32, 64)).sum().backward()
    table = probe.frame()
    assert {(row.layer, row.format, row.in_use) for row in table.itertuples()} == {
        ("0", "mxfp8_e4m3", True), ("0", "nvfp4", False), ("2", "nvfp4", False),
    }  # fmt: skip
    assert len(table) == 6


def test_rounding_outside_of_products():
    layers = nn.Sequential(nn.Embedding(10, 32), nn.LayerNorm(32), nn.Linear(32, 32))
    model = quantize_(layers, [("type:LayerNorm", MXFP4), ("*", MXFP4)])
    with watch(model, every=1, what_if="mxfp4") as probe:
        model(torch.tensor([1, 2, 3])).sum().backward()
    table = probe.frame()
    assert set(table[table["layer"] == "0"]["tensor"]) == {"fprop_w"}
    assert set(table[table["layer"] == "1"]["product"]) == {"input", "output"}


def test_blocks_that_do_not_divide():
    """Ragged last blocks; a note where a transform, or the dtype, cannot be had."""
    model = nn.Linear(40, 8).to(torch.float16)
    with watch(
        model, every=1, what_if=["mxfp4", Quantizer("mxfp4", transform="hadamard32"), "takum16"], tensors="fprop_w"
    ) as probe:
        model(normal(4, 40).half())
    table = probe.frame().set_index("format")
    assert table.loc["mxfp4", "note"] == "last blocks are ragged"
    assert table.loc["mxfp4", "sqnr_db"] > 10
    for name, message in (("mxfp4 hadamard32", "32 elements at a time do not divide"), ("takum16", "float16")):
        assert message in table.loc[name, "note"]
        assert np.isnan(table.loc[name, "sqnr_db"])
        assert table.loc[name, "calls"] == 0


def test_autocast_empty_batches_and_changes_in_place():
    model = quantize_(nn.Linear(64, 32), "mxfp8")
    with watch(model, every=1, what_if="mxfp4") as probe:
        model(normal(0, 64)).sum().backward()
        assert not probe.rows()
        with torch.autocast("cpu", torch.bfloat16):
            model(normal(32, 64).requires_grad_()).sum().backward()
    assert set(probe.frame()["tensor"]) == {*OPERANDS, *RESULTS}
    frozen = quantize_(nn.Linear(32, 32), recipe("bitnet"))
    with watch(frozen, every=1) as probe:
        x = normal(32, 32)
        y = frozen(x)
        x.mul_(2)
        y.sum().backward()
    notes = probe.frame().set_index("tensor")["note"]
    assert "changed in place" in notes["weight_gradient"]


def test_functional_transforms_are_not_recorded():
    model = mlp(64)
    with watch(model, every=1, what_if="mxfp4") as probe:
        torch.func.grad(lambda x: model(x).sum())(normal(4, 64))
    assert probe.frame().empty


def test_a_part_stands_for_all():
    """Whole blocks and rows, spread evenly: close to all, with the scales and largest magnitudes of all."""
    torch.manual_seed(0)
    kinds = {
        "linear": (nn.Linear(128, 256), (4, 64, 128)),
        "convolution": (nn.Conv2d(32, 64, 3, padding=1), (32, 32, 8, 8)),
        "transposed": (nn.ConvTranspose1d(32, 64, 3), (32, 32, 16)),
        "groups": (nn.Conv1d(64, 64, 3, groups=2), (32, 64, 16)),
        "attention": (nn.MultiheadAttention(32, 2, batch_first=True), (8, 32, 32)),
    }
    for name, (model, shape) in kinds.items():
        quantize_(model, MXFP4)
        tables = []
        for sample in (1 << 12, None):
            x = normal(*shape).requires_grad_()
            with watch(
                model, every=1, what_if=[recipe("quartet"), "int8_per_tensor"], products=True, sample=sample
            ) as probe:
                y = model(x, x, x)[0] if name == "attention" else model(x)
                (y * normal(*y.shape, seed=1)).sum().backward()
            tables.append(probe.frame())
        part, whole = tables
        assert part[["product", "tensor", "format"]].equals(whole[["product", "tensor", "format"]]), name
        assert part["scale_counts"].equals(whole["scale_counts"])
        operands = whole["tensor"].isin(OPERANDS)
        assert part["amax"][operands].equals(whole["amax"][operands])
        assert np.nanmax(np.abs(part["sqnr_db"] - whole["sqnr_db"])) < 1.5, name
        assert np.nanmax(np.abs(part["underflow_percent"] - whole["underflow_percent"])) < 5, name
        assert not part["sqnr_db"].equals(whole["sqnr_db"])
    with pytest.raises(ValueError, match="sample: expected a number of elements of 1 or more, or None for all, got 0"):
        watch(model, sample=0)


def test_dropout_is_that_of_the_model():
    """Beside a plain model its functions run again with the same masks, and leave the generator as it was."""
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(32, 2, dropout=0.5, batch_first=True), normal(2, 8, 32)
    found = []
    for watched in (False, True):
        torch.manual_seed(1)
        if not watched:
            found.append([model(x, x, x)[0].detach(), torch.rand(3)])
            continue
        with watch(model, every=1, what_if="mxfp4", products=True) as probe:
            found.append([model(x, x, x)[0].detach(), torch.rand(3)])
    assert all(torch.equal(a, b) for a, b in zip(*found))
    zeros = {(row["product"], row["tensor"]): row["zeros_percent"] for row in probe.rows()}
    assert 30 < zeros["values", "fprop_x"] < 70


def test_recipes_in_question_follow_their_schedule():
    later = recipe("mxfp8").with_(schedule=((2, recipe("mxfp4")),))
    model = nn.Linear(64, 64)
    with watch(model, every=1, what_if=later, tensors="fprop_w") as probe:
        for _ in range(3):
            model(normal(32, 64))
    assert [row["format"] for row in probe.rows()] == ["mxfp8_e4m3", "mxfp8_e4m3", "mxfp4"]
