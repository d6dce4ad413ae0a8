"""Operands in torch: how scales are found, and what gradient estimators make of gradients, by their definitions."""

import halfulp as hu
import pytest
import torch
from halfulp.sim.products.torch_operands import estimated, quantized, rotated, step_gradient
from halfulp.sim.products.torch_products import quantized_product
from halfulp.sim.recipes.operands import operands_of
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe

SEED, STEP = torch.tensor([5, 9]), torch.tensor(3)
LINEAR = ("linear",)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spec(**how):
    """The first forward operand of a recipe."""
    return operands_of(Recipe(fprop_x=Quantizer(**how)), "linear")[0]


def test_quantize_is_what_an_operand_goes_through():
    """The same bits as `hu.quantize` with the operand's stream, along the contraction."""
    x = normal(64, 96)
    for name in ("mxfp4", "mxfp8", "nvfp4", "int8", "fp8_blocks", "tetrajet"):
        for index, axis in enumerate((-1, -1, -1, 0, 0, 0)):
            each = operands_of(recipe(name), "linear")[index]
            values, scale = quantized(x, each, SEED, STEP)
            fmt = hu.format(each[0])
            moves = {"axis": axis} if len(fmt.blocks.axes) == 1 and fmt.blocks.rest == 1 else {}
            options = {"seed": SEED, "step": STEP, "stream": 16 * (index + 1)} if each[1] else {}
            want = hu.quantize(x, fmt, rounding=each[1] or None, pad=True, **moves, **options)
            assert scale is None
            assert torch.equal(values, want), (name, index)


def test_quartet_s_scale():
    """relMSE of MXFP4 with scales from the standard deviation on Gaussian data, after a Hadamard transform, and its mask."""
    each = operands_of(recipe("quartet"), "linear")[0]
    x = normal(512, 1024)
    turned = rotated(x, each, SEED, STEP)
    values, scale = quantized(turned, each, SEED, STEP)
    assert scale.shape == (512, 32)
    assert torch.equal(torch.frexp(scale)[0], torch.full_like(scale, 0.5))
    assert ((values - turned) ** 2).mean() < ((hu.quantize(turned, "mxfp4") - turned) ** 2).mean()
    assert torch.allclose(rotated(turned, each, SEED, STEP, inverse=True), x, atol=1e-5)
    passed = estimated(torch.ones_like(turned), turned, values, scale, each, SEED, STEP)
    assert torch.equal(passed == 1, turned.abs() <= 6 * scale.repeat_interleave(32, 1))


def test_eden_is_unbiased():
    """Over many random signs and scale roundings products of quantized operands have the right mean; nearest ones do not."""
    each = operands_of(recipe("quartet2"), "linear")[2]
    x = normal(4, 256)
    other = normal(4, 256, seed=1)
    steps = range(600)
    found = torch.zeros(4)
    for step in map(torch.tensor, steps):
        turned = rotated(x, each, SEED, step)
        values = quantized(turned, each, SEED, step)[0]
        found += (values * rotated(other, each, SEED, step)).sum(1) / len(steps)
    exact = (x * other).sum(1)
    spread = 0.12 * x.norm(dim=1) * other.norm(dim=1) / 256**0.5 * 256**0.5 / len(steps) ** 0.5
    assert ((found - exact).abs() < 4 * spread).all()


def test_delayed_scales_come_from_the_state():
    each = operands_of(recipe("fp8_delayed"), "linear")[0]
    x = normal(16, 32)
    assert torch.equal(quantized(x, each, SEED, STEP, torch.tensor(0.0))[0], hu.quantize(x, "fp8_e4m3_per_tensor"))
    assert torch.equal(
        quantized(x, each, SEED, STEP, torch.tensor(2.0))[0], hu.quantize(x, "fp8_e4m3_per_tensor", amax=2.0)
    )


def test_outliers_are_clamped_and_added_again():
    each = spec(fmt="fp4_e2m1_per_row", outliers=0.01)
    x = normal(100, 100)
    values, _ = quantized(x, each, SEED, STEP)
    low, high = x.flatten().sort().values[[99, -100]]
    kept = x.clamp(low, high)
    assert torch.equal(values, hu.quantize(kept, "fp4_e2m1_per_row") + (x - kept))


def test_dge():
    """min((1/k) |2t/delta - 1|**(1/k - 1), 3) with k = 5 in every interval of E2M1 (arXiv:2501.17116)."""
    each = spec(fmt="fp4_e2m1", gradient="dge")
    x = torch.tensor([0.1, 0.25, 1.3, 2.2, 3.9, 5.5, -0.7])
    low = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, -1.0])
    delta = torch.tensor([0.5, 0.5, 0.5, 1.0, 1.0, 2.0, 0.5])
    want = torch.clamp((2 * (x - low) / delta - 1).abs() ** (1 / 5 - 1) / 5, max=3)
    values, scale = quantized(x, each, SEED, STEP)
    assert torch.allclose(estimated(torch.ones(7), x, values, scale, each, SEED, STEP), want)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_smooth_steps_through_the_scale(scale):
    """The Jacobian of s q(x / s) with s = amax / 6, a block a row: diag(q') and the column of the largest element."""
    each = spec(fmt="scaled(fp4_e2m1,scale=binary32,block=row)", gradient={"name": "piecewise_linear", "scale": scale})
    x, g = torch.tensor([[0.3, -6.0, 2.4, 3.4]]), torch.tensor([[1.0, 2.0, 3.0, 5.0]])
    slopes, hard = torch.tensor([2.0, 0.0, 2.0, 2.0]), torch.tensor([0.5, -6.0, 2.0, 3.0])
    column = -(hard - slopes * x[0]) / 6  # of the sign of -6
    own = {0: 0.0, 1: g[0, 1] * column[1], 2: (g[0] * column).sum()}[scale]
    want = g[0] * slopes + torch.tensor([0.0, 1.0, 0.0, 0.0]) * own
    values, given = quantized(x, each, SEED, STEP)
    assert torch.allclose(values[0], hard)
    assert torch.allclose(estimated(g, x, values, given, each, SEED, STEP)[0], want, atol=1e-6)


def test_smooth_steps_integrate_to_one():
    """Over an interval between two values the slope of every smooth step has the mean one."""
    x = torch.linspace(1.0, 1.5, 20001)[1:-1]
    for gradient in (
        "spline",
        "piecewise_linear",
        {"name": "spline", "sharpness": 2},
        {"name": "piecewise_linear", "width": 0.2},
    ):
        each = spec(fmt="fp4_e2m1", gradient=gradient)
        values, scale = quantized(x, each, SEED, STEP)
        assert abs(estimated(torch.ones_like(x), x, values, scale, each, SEED, STEP).mean() - 1) < 2e-3


@pytest.mark.parametrize("fmt", ["fp4_e2m1_per_row", "scaled(int4_narrow,block=8)", "int8_per_tensor"])
def test_the_gradient_through_an_absmax_scale(fmt):
    """With rounding as a constant offset c, x^ = x + s(x) c, s = amax / largest: the gradient autograd and finite
    differences give."""
    x = normal(4, 16).double().requires_grad_()
    g = normal(4, 16, seed=1).double()
    each = spec(fmt=fmt, gradient="absmax_full")
    largest = each[13]
    values, scale = quantized(x.detach(), each, SEED, STEP)

    def amax(t):
        if fmt.endswith("tensor"):
            return t.abs().max().expand_as(t)
        size = 8 if "block" in fmt else 16
        return t.unflatten(1, (-1, size)).abs().amax(-1, keepdim=True).expand(4, -1, size).flatten(1)

    offset = (values - x.detach()) / (amax(x.detach()) / largest)
    surrogate = lambda t: (g * (t + amax(t) / largest * offset)).sum()  # noqa: E731
    surrogate(x).backward()
    found = estimated(g, x.detach(), values, scale, each, SEED, STEP)
    assert torch.allclose(found, x.grad, rtol=1e-6, atol=1e-9)
    assert (found != g).any()
    index = (found != g).nonzero()[0]
    moved = [x.detach().clone() for _ in range(2)]
    moved[0][tuple(index)] -= 1e-6
    moved[1][tuple(index)] += 1e-6
    assert float(found[tuple(index)]) == pytest.approx(
        float(surrogate(moved[1]) - surrogate(moved[0])) / 2e-6, rel=1e-5
    )
    alone = estimated(g, x.detach(), values, scale, spec(fmt=fmt, gradient="absmax"), SEED, STEP) - g
    assert alone.abs().max() < 1e-6  # of the diagonal: the largest element is a value, it has no error of its own


def test_learned_steps():
    """LSQ's gradients: clipped for the operand; for the step q - x/s inside, the end outside, over sqrt(n Q)."""
    each = spec(fmt="int4_per_tensor", scaling="learned", gradient="lsq")
    x, s = normal(8, 8), torch.tensor(0.2)
    values, scale = quantized(x, each, SEED, STEP, s)
    assert torch.equal(values, (x / 0.2).round().clamp(-7, 7) * 0.2)
    inside = x.abs() <= 1.4
    g = normal(8, 8, seed=1)
    assert torch.equal(estimated(g, x, values, scale, each, SEED, STEP), torch.where(inside, g, 0.0))
    q = torch.where(inside, (x / 0.2).round() - x / 0.2, 7 * x.sign())
    assert torch.allclose(step_gradient(g, x, values, scale, each), (g * q).sum() / (64 * 7) ** 0.5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["matmul", "convolution", "transposed"])
def test_other_products_without_quantization_are_torch_s_own(kind):
    specs = operands_of(recipe("identity"), kind)
    if kind == "matmul":
        a, b, kinds = normal(2, 1, 5, 6), normal(3, 6, 7), ("matmul",)
        plain = torch.matmul
    else:
        a, b = normal(2, 6, 9, 8), normal(6, 3, 3, 3) if kind == "transposed" else normal(4, 3, 3, 3)
        kinds = (kind, (2, 1), (1, 1), (1, 2), (0, 0), 2)
        plain = lambda x, w: torch.convolution(x, w, None, *kinds[1:4], kind == "transposed", *kinds[4:])  # noqa: E731
    results = []
    for call in (lambda x, w: quantized_product(x, w, kinds, specs, SEED, STEP), plain):
        x, w = a.clone().requires_grad_(), b.clone().requires_grad_()
        y = call(x, w)
        y.backward(normal(*y.shape, seed=2))
        results.append((y.detach(), x.grad, w.grad))
    assert all(torch.equal(found, want) for found, want in zip(*results))


def test_all_three_products_see_what_the_recipe_says():
    """Teacher-forced: forward, dgrad and wgrad from operands quantized by hand."""
    r = recipe("nvfp4")
    specs = operands_of(r, "linear")
    x, w, e = normal(32, 64), normal(48, 64, seed=1), normal(32, 48, seed=2)
    a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = quantized_product(a, b, LINEAR, specs, SEED, STEP)
    y.backward(e)
    assert torch.equal(y.detach(), hu.quantize(x, "nvfp4") @ hu.quantize(w, "nvfp4_2d").T)
    noisy = {"rounding": "stochastic", "seed": SEED, "step": STEP}
    assert torch.equal(a.grad, hu.quantize(e, "nvfp4", **noisy, stream=48) @ hu.quantize(w, "nvfp4_2d"))
    e_turned = hu.hadamard(e, "rht16", axis=0, seed=SEED, step=STEP)
    x_turned = hu.hadamard(x, "rht16", axis=0, seed=SEED, step=STEP)
    left = hu.quantize(e_turned, "nvfp4", axis=0, **noisy, stream=80)
    assert torch.equal(b.grad, left.T @ hu.quantize(x_turned, "nvfp4", axis=0))


def test_prescale_cancels_but_for_rounding():
    specs = operands_of(recipe("mxfp4_sr_rht"), "linear")
    x, w, e = normal(128, 128), normal(64, 128, seed=1), normal(128, 64, seed=2)
    total = torch.zeros(64, 128)
    for step in range(60):
        b = w.clone().requires_grad_()
        quantized_product(x, b, LINEAR, specs, SEED, torch.tensor(step)).backward(e)
        total += b.grad / 60
    exact = e.T @ x
    assert torch.nn.functional.cosine_similarity(total.flatten(), exact.flatten(), 0) > 0.999
    assert abs((total * exact).sum() / (exact * exact).sum() - 1) < 2e-3
