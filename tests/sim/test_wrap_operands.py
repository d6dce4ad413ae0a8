"""Teacher-forced: each operand of each product is `hu.quantize` of what entered it, bit for bit; and what that does to
gradients."""

import halfulp as hu
import pytest
import torch
from halfulp.sim.products import torch_products
from halfulp.sim.recipes.operands import AXES
from halfulp.sim.recipes.published import RECIPES, recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from halfulp.sim.wrapping.wrapping import advance_, dequantize_, quantize_, quantized_functions
from torch import nn

from .wrapped import Conv1D, normal, one_thread  # noqa: F401

PLAIN = [
    name for name, found in RECIPES.items()
    if all(getattr(found, of).scaling.name == "format" and not getattr(found, of).outliers for of in OPERANDS)
    and not found.is_complex and name != "identity"
]  # fmt: skip
"""Recipes whose scales are those of the format."""


@pytest.fixture
def products(monkeypatch):
    """(product, left operand, right operand) of every product, in their order."""
    seen = []

    def watched(name, original):
        def call(first, second, *rest):
            if not (name == "fprop" and seen and seen[-1] == "inside"):
                seen.append((name, first.detach().clone(), second.detach().clone()))
            if name == "fprop":
                return original(first, second, *rest)
            seen.append("inside")
            found = original(first, second, *rest)
            seen.remove("inside")
            return found

        return call

    for name, function in (("fprop", "product"), ("dgrad", "data_gradient"), ("wgrad", "weight_gradient")):
        monkeypatch.setattr(torch_products, function, watched(name, getattr(torch_products, function)))
    return seen


def expected(index, t, given, kind, layer, call=0):
    """An operand as its recipe says, by the public functions alone."""
    of, axis = getattr(given, OPERANDS[index]), AXES[kind][index]
    if of.fmt is None:
        return t
    noise = {"seed": layer._halfulp_seed, "step": layer._halfulp_step}
    if of.transform is not None:
        t = hu.hadamard(t, of.transform, axis=axis, **noise)
    fmt = hu.format(of.fmt)
    moves = {}
    if len(fmt.blocks.axes) and fmt.blocks.rest == 1:
        tile = (0, 1) if kind in ("convolution", "transposed") else (-2, -1)
        moves = {"axis": axis if len(fmt.blocks.axes) == 1 else tile}
    if of.rounding is not None:
        noise["stream"] = 16 * (index + 1 + 8 * call)
    if of.prescale != 1.0:  # scales are those of what is not multiplied yet
        noise["scale"] = hu.scales(t, fmt, **moves)
    return hu.quantize(t * of.prescale, fmt, rounding=of.rounding, pad=given.pad, **moves, **noise)


def check(found, given, kind, layer, a, b, e, call=0):
    """All six operands of a layer with inputs a, b and a gradient e."""
    names = [entry[0] for entry in found]
    assert names == ["fprop", "dgrad", "wgrad"]
    forward = [expected(k, t, given, kind, layer, call) for k, t in enumerate((a, b))]
    taken = {
        3: forward[1] if given.dgrad_w.source == "quantized" else b,
        5: forward[0] if given.wgrad_x.source == "quantized" else a,
    }
    want = [*forward, *(expected(k, taken.get(k, e), given, kind, layer, call) for k in (2, 3, 4, 5))]
    operands = [t for entry in found for t in entry[1:]]
    for name, got, value in zip(OPERANDS, operands, want):
        assert torch.equal(got, value), name


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("kind", ["linear", "convolution", "transposed"])
def test_operands_of_layers(products, name, kind):
    given = recipe(name)
    made = {
        "linear": nn.Linear(128, 64),
        "convolution": nn.Conv1d(128, 64, 3),
        "transposed": nn.ConvTranspose1d(128, 64, 3),
    }
    layer = nn.Sequential(made[kind])
    quantize_(layer, given, seed=3)
    advance_(layer)
    weight = layer[0].weight.detach().clone()
    x = normal(64, 128) if kind == "linear" else normal(64, 128, 6)
    y = layer(x.requires_grad_())
    e = normal(*y.shape, seed=1)
    y.backward(e)
    check(products, given, kind, layer[0], x.detach(), weight, e)


@pytest.mark.parametrize("name", ["mxfp8", "nvfp4", "fp8_blocks", "int8"])
def test_operands_of_functions_and_of_later_calls(products, name):
    """The second product of a context, and of a layer that is called again, draws its own random words."""
    given = recipe(name)
    a, b = normal(2, 32, 64, seed=1).requires_grad_(), normal(2, 64, 96, seed=2).requires_grad_()
    with quantized_functions(given, seed=5, step=2) as context:
        a @ b
        y = torch.bmm(a, b)
    products.clear()
    with quantized_functions(given, seed=5, step=2):
        a.detach() @ b.detach()
        again = torch.bmm(a, b)
    assert torch.equal(y, again)

    class Layer:
        _halfulp_seed, _halfulp_step = context.products.seed, context.products.step

    del products[0]
    e = normal(*y.shape, seed=3)
    again.backward(e)
    check(products, given, "matmul", Layer, a.detach(), b.detach(), e, call=1)


def test_operands_of_a_transformers_conv1d(products):
    given, layer = recipe("nvfp4"), Conv1D(64, 32)
    weight = layer.weight.detach().clone()
    quantize_(layer, given)
    x = normal(4, 16, 32).requires_grad_()
    y = layer(x)
    e = normal(*y.shape, seed=1)
    y.backward(e)
    check(products, given, "matmul", layer, x.detach().reshape(64, 32), weight, e.reshape(64, 64))


def test_ragged_transforms_are_padded_with_zeros(products):
    """Which add nothing: the results are those of operands with zeros at their end."""
    given = recipe("mxfp4_sr_rht").with_(pad=True)
    layer = nn.Linear(48, 10)
    weight = layer.weight.detach().clone()
    quantize_(layer, given)
    x = normal(7, 48).requires_grad_()
    e = normal(7, 10, seed=1)
    y = layer(x)
    y.backward(e)
    assert y.shape == (7, 10)
    assert x.grad.shape == (7, 48)
    pad = nn.functional.pad
    whole = pad(e, (0, 54, 0, 57))
    assert torch.equal(products[1][1], expected(2, whole, given, "linear", layer))
    assert torch.equal(products[1][2], expected(3, pad(weight, (0, 0, 0, 54)), given, "linear", layer))
    want = products[1][1] @ products[1][2] / 0.75**2
    assert torch.equal(x.grad, want[:7])
    assert torch.nn.functional.cosine_similarity(x.grad.flatten(), (e @ weight).flatten(), 0) > 0.95


def grads(model, x, e):
    leaf = x.clone().requires_grad_()
    model.zero_grad()
    y = model(leaf)
    y.backward(e)
    return y.detach(), leaf.grad, model.weight.grad


@pytest.fixture(scope="module")
def wide():
    torch.manual_seed(0)
    model = nn.Linear(1024, 1024, bias=False)
    x, e = normal(256, 1024), normal(256, 1024, seed=1)
    return model, x, e, grads(model, x, e)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "identity"])
def test_gradients_of_a_wide_layer_have_the_right_direction(wide, name):
    """Cosines with the layer that is not quantized: .995 with weights of 6 bits and more, .95 with 4 bits.

    DGE reshapes the gradient of the weights on purpose: by up to 3 near ties, by 1/5 near values (arXiv:2501.17116).
    """
    model, x, e, plain = wide
    given = recipe(name)
    quantize_(model, given)
    found = grads(model, x, e)
    dequantize_(model)
    bits = min(hu.format(of.fmt).bits for of in (getattr(given, n) for n in OPERANDS) if of.fmt)
    least = 0.995 if bits >= 6 else 0.95 if bits == 4 else {1: 0.85, 2: 0.8}[bits]
    shown = ["input", "weight"] if name != "occ" else ["input"]
    for what, got, want in zip(shown, found[1:], plain[1:]):
        assert torch.nn.functional.cosine_similarity(got.flatten(), want.flatten(), 0) >= least, what
    if name == "occ":
        assert torch.nn.functional.cosine_similarity(found[2].flatten(), plain[2].flatten(), 0) > 0.6


def test_finite_differences_of_the_full_jacobian():
    """absmax_full: rounding is taken as a constant offset of the scaled operand, x^ = x + s(x) c, and all else exactly."""
    how = {"fmt": "fp4_e2m1_per_row", "gradient": "absmax_full"}
    taken = Quantizer(source="quantized")
    given = Recipe(fprop_x=Quantizer(**how), fprop_w=Quantizer(**how), dgrad_w=taken, wgrad_x=taken)
    model = nn.Linear(24, 5, bias=False).double()
    x, w, e = normal(6, 24).double(), model.weight.detach().clone(), normal(6, 5, seed=1).double()
    quantize_(model, given)
    y, of_x, of_w = grads(model, x, e)

    def scale(t):
        return t.abs().amax(-1, keepdim=True) / 6

    offset_x, offset_w = ((hu.quantize(t, "fp4_e2m1_per_row") - t) / scale(t) for t in (x, w))

    def loss(x, w):
        return float((((x + scale(x) * offset_x) @ (w + scale(w) * offset_w).T) * e).sum())

    assert loss(x, w) == pytest.approx(float((y * e).sum()))
    for t, gradient, of in ((x, of_x, lambda t: loss(t, w)), (w, of_w, lambda t: loss(x, t))):
        largest = [(row, int(t[row].abs().argmax())) for row in range(3)]
        for place in [*largest, (0, 0), (1, 7), (2, 20)]:
            moved = [t.clone(), t.clone()]
            moved[0][place] -= 1e-5
            moved[1][place] += 1e-5
            assert float(gradient[place]) == pytest.approx((of(moved[1]) - of(moved[0])) / 2e-5, rel=1e-6), place
