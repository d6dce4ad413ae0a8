"""torch behaviour: gradients, torch.func, torch.compile, strides, subclasses."""

import copy
from dataclasses import replace

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate import kernels
from halfulp.emulate.backends import torch_kernel as backend
from halfulp.emulate.plan import make_plan

NAMES = ["fp8_e4m3", "fp4_e2m1", "int4", "uint4", "nf4", "e8m0"]


def sample(*shape, scale=300.0, dtype=torch.float32):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale).to(dtype)


def same(a, b):
    return torch.equal(torch.nan_to_num(a, nan=12345.0), torch.nan_to_num(b, nan=12345.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_dtype_and_strides_come_back(dtype):
    for x in (sample(dtype=dtype), sample(0, 3, dtype=dtype), sample(4, 5, dtype=dtype).t(), sample(2, 3, 4, 5, dtype=dtype).contiguous(memory_format=torch.channels_last)):  # fmt: skip
        for options in ({}, {"rounding": "stochastic", "seed": 0}):
            y = hu.quantize(x, "fp4_e2m1", **options)
            assert (y.shape, y.dtype, y.device, y.stride()) == (
                x.shape,
                x.dtype,
                x.device,
                torch.empty_like(x).stride(),
            )
            assert same(y, hu.quantize(x.contiguous(), "fp4_e2m1", **options))


def test_expanded_and_strided_inputs_and_out():
    base = sample(8, 9)
    for x in (base[:, ::2], base[::3], base[0].expand(8, 9), base.t()[1:]):
        want = hu.quantize(x.contiguous(), "fp8_e4m3")
        assert same(hu.quantize(x, "fp8_e4m3"), want)
        out = torch.empty(x.shape[1], x.shape[0]).t()
        assert hu.quantize(x, "fp8_e4m3", out=out) is out
        assert same(out, want)
    y = base.clone()
    hu.quantize(y, "fp8_e4m3", out=y)
    assert same(y, hu.quantize(base, "fp8_e4m3"))


def limits(name):
    """Largest and smallest float32 that round to a value of the format, nearest even."""
    fmt = hu.format(name)
    x = torch.linspace(-500, 500, 20_001)
    if name in ("nf4",):
        return x, (x >= float(fmt.min)) & (x <= float(fmt.max))
    wide = hu.quantize(x, "binary32")
    inside = torch.tensor([float(fmt.min) <= v <= float(fmt.max) for v in unbounded(wide, name)])
    return x, inside & ~torch.isnan(hu.quantize(x, name))


def unbounded(x, name):
    """The grid of the format without its end: the same layout with more exponents, or a wider integer."""
    wide = {"fp8_e4m3": "e6m3b7", "fp4_e2m1": "e6m1b1", "int4": "int16", "uint4": "int16", "e8m0": "e8m0"}[name]
    return hu.quantize(x, wide).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_clip_passes_where_x_rounds_to_at_most_the_largest(name):
    x, inside = limits(name)
    x.requires_grad_()
    hu.quantize(x, name).nansum().backward()
    assert torch.equal(x.grad, torch.where(torch.isnan(hu.quantize(x.detach(), name)), 0.0, inside.float()))
    x.grad = None
    hu.quantize(x, name, ste="identity").backward(torch.full_like(x, 3.0))
    assert (x.grad == 3).all()


def test_clip_at_the_edges():
    """E4M3 rounds 464 to 448, which passes; the next float32 rounds past it, which does not."""
    x = torch.tensor(
        [464.0, np.nextafter(np.float32(464), np.float32(500)), -464.0, float("inf"), float("nan")], requires_grad=True
    )
    for overflow in ("saturate", "special", "propagate"):
        (g,) = torch.autograd.grad(hu.quantize(x, "fp8_e4m3", overflow=overflow), x, torch.ones(5))
        assert g.tolist() == [1, 0, 1, 0, 0]


def test_clip_follows_the_random_bits():
    """449 rounds to 448 or, with probability 1/32, past the end: only then the gradient stops."""
    x = torch.full((1 << 16,), 449.0, requires_grad=True)
    y = hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=1, overflow="special")
    (g,) = torch.autograd.grad(y, x, torch.ones_like(x))
    assert torch.equal(g == 0, torch.isnan(y))
    assert 0.02 < (g == 0).float().mean() < 0.04


OPTIONS = [{}, {"rounding": "stochastic", "seed": 3}, {"ste": "identity"}, {"rounding": "up", "overflow": "special"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_torch_func(options):
    x, t = sample(6, 5), sample(6, 5, scale=1.0) + 2

    def f(x):
        return hu.quantize(x, "fp8_e4m3", **options)

    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(f(leaf), leaf, t)
    assert want.abs().sum() > 0
    assert torch.equal(torch.func.grad(lambda x: (f(x) * t).nansum())(x), torch.where(torch.isnan(f(x)), 0, want))
    out, tangent = torch.func.jvp(f, (x,), (t,))
    assert same(out, f(x))
    assert torch.equal(tangent, want)
    out, pull = torch.func.vjp(f, x)
    assert torch.equal(pull(t)[0], want)
    with torch.autograd.forward_ad.dual_level():
        dual = f(torch.autograd.forward_ad.make_dual(x, t))
        assert torch.equal(torch.autograd.forward_ad.unpack_dual(dual).tangent, want)


def test_jacobians_and_second_order():
    x = torch.tensor([1.1, 500.0])
    f = lambda x: hu.quantize(x, "fp8_e4m3")  # noqa: E731
    want = torch.diag(torch.tensor([1.0, 0.0]))
    assert torch.equal(torch.func.jacrev(f)(x), want)
    assert torch.equal(torch.func.jacfwd(f)(x), want)
    second = torch.func.hessian(lambda x: (f(x) ** 2).sum())(x)
    assert torch.equal(second, 2 * want)


def test_vmap_of_deterministic_and_stochastic():
    x = sample(7, 4, 5)
    for dim in (0, 1, 2):
        got = torch.func.vmap(lambda x: hu.quantize(x, "fp8_e4m3"), in_dims=dim, out_dims=dim)(x)
        assert torch.equal(got, hu.quantize(x, "fp8_e4m3"))
    sr = {"rounding": "stochastic", "seed": 3}
    members = torch.func.vmap(lambda x: hu.quantize(x, "fp8_e4m3", **sr))(x)
    for b in range(7):
        assert torch.equal(members[b], hu.quantize(x[b], "fp8_e4m3", stream=hu.fold_stream(0, b), **sr))
    shared = torch.func.vmap(lambda x: hu.quantize(x, "fp8_e4m3", **sr))(torch.full((6, 500), 1.03))
    assert len({tuple(row) for row in shared.tolist()}) == 6
    seeds = torch.arange(4)
    mapped = torch.func.vmap(lambda s: hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=s))(seeds)
    for s in range(4):
        assert torch.equal(mapped[s], hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=s))
    nested = torch.func.vmap(torch.func.vmap(lambda x: hu.quantize(x, "fp8_e4m3", **sr)))(x)
    stream = hu.fold_stream(hu.fold_stream(0, 2), 6)  # the inner member first
    assert torch.equal(nested[6, 2], hu.quantize(x[6, 2], "fp8_e4m3", stream=stream, **sr))
    per_sample = torch.func.vmap(torch.func.grad(lambda x: hu.quantize(x, "fp8_e4m3", **sr).sum()))(x)
    assert per_sample.shape == x.shape
    assert set(per_sample.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "compiler"), [*((o, "aot_eager") for o in OPTIONS), (OPTIONS[1], "inductor")], ids=str
)
def test_compiled_equals_eager(options, compiler):
    torch._dynamo.reset()
    own = hu.format("e3m2", bias=5)

    def f(x):
        return hu.quantize(x * 2, "fp8_e4m3", **options).relu() + 0.5 * hu.quantize(x, own, **options)

    compiled = torch.compile(f, fullgraph=True, backend=compiler)
    for x in (sample(33, 17), sample(5).to(torch.bfloat16)):
        leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        a, b = f(leaf), compiled(other)
        assert same(a.detach(), b.detach())
        a.float().nansum().backward()
        b.float().nansum().backward()
        assert same(leaf.grad, other.grad)
        assert same(compiled(x), f(x))


def test_compiled_seed_and_step_tensors_do_not_recompile():
    torch._dynamo.reset()
    frames = torch._dynamo.testing.CompileCounter()
    f = lambda x, seed, step: hu.quantize(x, "fp4_e2m1", rounding="stochastic", seed=seed, step=step)  # noqa: E731
    compiled = torch.compile(f, fullgraph=True, backend=frames)
    x = sample(100, scale=2.0)
    for k in range(4):
        seed, step = torch.tensor(k), torch.tensor(10 * k)
        assert torch.equal(compiled(x, seed, step), f(x, k, 10 * k))
    assert frames.frame_count == 1


def test_compile_reports_bad_names():
    torch._dynamo.reset()
    with pytest.raises(Exception, match="unknown format 'fp9_e4m3'; did you mean"):
        torch.compile(lambda x: hu.quantize(x, "fp9_e4m3"), fullgraph=True)(torch.ones(3))


@pytest.mark.parametrize(("fmt", "ste"), [("fp4_e2m1", "clip"), ("mxfp4", ""), ("int8_per_row", "clip")])
def test_operators_pass_opcheck(fmt, ste):
    x = sample(6, 4, scale=2.0)
    key = torch.tensor([0, 0, 5, 0])
    pad = fmt == "mxfp4"
    for rounding, k in (("nearest_even", None), ("stochastic", key)):
        arguments = (x, k, None, None, None, fmt, rounding, "", "", "float32", ste, [], pad, [0], None)
        for op in (torch.ops.halfulp.quantize.default, torch.ops.halfulp.clip_mask.default):
            torch.library.opcheck(op, arguments)


def test_fake_tensors_and_export():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        y = hu.quantize(torch.ones(3, 4, dtype=torch.bfloat16), "fp8_e4m3")
        assert (y.shape, y.dtype) == ((3, 4), torch.bfloat16)
    assert hu.quantize(torch.ones(2, device="meta"), "fp8_e4m3").device.type == "meta"

    class Model(torch.nn.Module):
        def forward(self, x):
            return hu.quantize(x, "fp8_e4m3")

    x = sample(3, 3)
    assert torch.equal(torch.export.export(Model(), (x,)).module()(x), hu.quantize(x, "fp8_e4m3"))


def test_parameters_subclasses_and_deepcopy():
    p = torch.nn.Parameter(sample(3, 3))
    y = hu.quantize(p, "int4")
    assert type(y) is torch.Tensor
    assert y.requires_grad
    assert not hu.quantize(p.detach(), "int4").requires_grad
    with torch.no_grad():
        assert not hu.quantize(p, "int4").requires_grad
    layer = torch.nn.Linear(3, 3)
    layer.register_forward_pre_hook(lambda module, inputs: (hu.quantize(inputs[0], "fp8_e4m3"),))
    assert torch.equal(copy.deepcopy(layer)(sample(2, 3)), layer(sample(2, 3)))


def test_gradients_keep_the_input_dtype():
    x = sample(5, dtype=torch.float64).requires_grad_()
    y = hu.quantize(x, "fp8_e4m3", out_dtype=torch.float32)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad.dtype == torch.float64


def test_portable_mask_equals_the_compiled_one():
    """Devices without a kernel of their own take the mask from the portable kernel."""
    for name in NAMES:
        x, _ = limits(name)
        plan = make_plan(name, "nearest_even", None, "float32", None)
        marked = replace(plan, overflow=kernels.MARK) if name != "nf4" else None
        if marked is None:
            continue
        portable = backend.portable(x.view(torch.int32), marked, None, backend.Offset((0,), None)) != 0x7FC00000
        packed = backend.in_range_plain(x, plan, None, backend.Offset((0,), None))
        assert packed.numel() == -(-x.numel() // 8)
        assert torch.equal(portable, torch.ops.halfulp.unpack_mask(packed, x.shape))
