"""torch tensors: the bits of NumPy, straight-through gradients, transforms and compilation."""

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.units.convolution import convolve
from halfulp.emulate.units.matmul import matmul

OPTIONS = [
    {"accumulator": "fp16"},
    {"accumulator": "bf16", "order": "pairwise", "rounding": "up"},
    {"accumulator": "fp22", "order": "blocked", "chunk": 8},
    {"a_format": "mxfp8_e4m3", "b_format": "mxfp4", "accumulator": "fp22", "order": "blocked"},
    {"accumulator": "fp32", "order": "aligned", "chunk": 4, "aligned_bits": 12},
    {"accumulator": "kulisch", "out_dtype": "float64"},
    {"accumulator": "fp16", "rounding": "stochastic", "seed": 3},
]


def tensors(dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 32, generator=rng).to(dtype), torch.randn(32, 5, generator=rng).to(dtype)


def array(x):
    return x.view(torch.int16).numpy().view("bfloat16") if x.dtype == torch.bfloat16 else x.numpy()


@pytest.mark.parametrize("options", OPTIONS)
def test_bits_of_numpy(options):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        if dtype == torch.float64 and options.get("order") == "aligned":
            continue
        a, b = tensors(dtype)
        got, want = matmul(a, b, **options), matmul(array(a), array(b), **options)
        assert got.dtype == getattr(torch, want.dtype.name)
        assert got.numpy().tobytes() == want.tobytes()
    half = matmul(a, b, accumulator="bf16", out_dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half.float(), matmul(a, b, accumulator="bf16"))


def test_strided_and_conjugated_views():
    a, b = tensors()
    want = matmul(a, b, accumulator="fp16")
    assert torch.equal(matmul(a.mT.contiguous().mT, b.T.contiguous().T, accumulator="fp16"), want)
    assert torch.equal(
        matmul(torch.complex(b, -b).imag._neg_view().T, b, accumulator="fp16"), matmul(b.T, b, accumulator="fp16")
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients(options):
    """Those of the exact product of the quantized operands, and straight through what quantized them."""
    formats = {"a_format": "fp8_e4m3", "b_format": "int8"} | options
    a, b = (x.requires_grad_() for x in tensors())
    with torch.no_grad():
        a[0, 0, :2], b[0, 0] = torch.tensor([500.0, -3.0]), 200.0
    left = hu.quantize(a, formats["a_format"])
    right = hu.quantize(b, formats["b_format"], **({"axis": 0} if formats["b_format"] == "mxfp4" else {}))
    weights = torch.arange(30.0).reshape(2, 3, 5)
    want = torch.autograd.grad((left @ right * weights).sum(), (a, b))
    got = torch.autograd.grad((matmul(a, b, **formats) * weights).sum(), (a, b))
    assert all(torch.allclose(x, y) for x, y in zip(got, want))
    assert (got[0][0, 0, 0] == 0) == (formats["a_format"] == "fp8_e4m3")  # beyond 448


def test_gradients_of_gradients_and_of_an_operand_used_twice():
    a, b = (x.requires_grad_() for x in tensors())
    found = matmul(a, b, accumulator="fp16")
    (first,) = torch.autograd.grad((found**2).sum(), a, create_graph=True)
    second = torch.autograd.grad(first.sum(), b)[0]
    assert second.shape == b.shape
    assert second.abs().sum() > 0
    x = torch.randn(4, 4, requires_grad=True)
    (got,) = torch.autograd.grad(matmul(x, x).sum(), x)
    (want,) = torch.autograd.grad((x @ x).sum(), x)
    assert torch.allclose(got, want)


@pytest.mark.parametrize(
    "shapes", [((4,), (4, 3)), ((3, 4), (4,)), ((4,), (4,)), ((1, 3, 4), (5, 4, 2)), ((3, 4), (2, 1, 4, 2))]
)
def test_gradients_of_vectors_and_batches(shapes):
    a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    got = torch.autograd.grad(matmul(a, b, accumulator="binary64").sum(), (a, b))
    want = torch.autograd.grad((a @ b).sum(), (a, b))
    assert all(torch.allclose(x, y) and x.dtype == torch.float64 for x, y in zip(got, want))


def test_gradients_of_halves_are_halves():
    a, b = (x.requires_grad_() for x in tensors(torch.bfloat16))
    got = torch.autograd.grad(matmul(a, b, accumulator="bf16", out_dtype="bfloat16").sum(), (a, b))
    assert [x.dtype for x in got] == [torch.bfloat16] * 2


def test_function_transforms():
    a, b = tensors()

    def loss(x, y):
        return matmul(x, y, "fp8_e4m3", "mxfp4", "fp16").sum()

    left, right = (x.clone().requires_grad_() for x in (a, b))
    want = torch.autograd.grad(loss(left, right), (left, right))
    assert all(torch.equal(x, y) for x, y in zip(torch.func.grad(loss, (0, 1))(a, b), want))
    tangents = torch.ones_like(a), torch.ones_like(b)
    value, slope = torch.func.jvp(loss, (a, b), tangents)
    assert torch.equal(value, loss(a, b))
    assert torch.allclose(slope, sum((x * y).sum() for x, y in zip(want, tangents)), rtol=1e-4)
    with pytest.raises(RuntimeError, match=r"does not run under torch.func.vmap; it broadcasts batch axes itself"):
        torch.func.vmap(lambda x: matmul(x, b))(a)
    with pytest.raises(RuntimeError, match=r"order='blocked' with scaled formats does not run under torch.func"):
        torch.func.grad(lambda x: matmul(x, b, "mxfp4", order="blocked").sum())(a)


def test_a_compiled_graph_ends_before_it():
    a, b = tensors()

    def model(x, y):
        return matmul(x * 2, y, "fp8_e4m3", "fp8_e4m3", "fp16") + 1

    compiled = torch.compile(model, backend="eager")
    assert torch.equal(compiled(a, b), model(a, b))


def test_convolutions():
    x, w = torch.randn(2, 4, 5, 6, dtype=torch.float64), torch.randn(6, 2, 3, 2, dtype=torch.float64)
    options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    got = convolve(x, w, "fp16", "fp16", "fp22", **options)
    assert got.numpy().tobytes() == convolve(x.numpy(), w.numpy(), "fp16", "fp16", "fp22", **options).tobytes()
    x, w = x.requires_grad_(), w.requires_grad_()
    weights = torch.randn(got.shape, dtype=torch.float64)
    ours = convolve(x, w, accumulator="binary64", **options)
    theirs = torch.nn.functional.conv2d(x, w, **options)
    assert torch.allclose(ours, theirs)
    found, wanted = (torch.autograd.grad((y * weights).sum(), (x, w)) for y in (ours, theirs))
    assert all(torch.allclose(u, v) for u, v in zip(found, wanted))
    scaled = convolve(torch.randn(1, 32, 4), torch.randn(3, 32, 2), "mxfp4", "mxfp4", order="blocked")
    assert scaled.shape == (1, 3, 3)


def test_operands_that_do_not_go_together():
    a, b = tensors()
    with pytest.raises(TypeError, match="a: expected floats, got torch.int64 integers"):
        matmul(torch.ones(2, 2, dtype=torch.int64), b[:2])
    with pytest.raises(TypeError, match="b: expected floats, got torch.complex64 complex numbers"):
        matmul(a, torch.complex(b, b))
    with pytest.raises(TypeError, match="a: expected float16, bfloat16, float32 or float64, got torch.float8_e4m3fn"):
        matmul(a.to(torch.float8_e4m3fn), b)
    with pytest.raises(TypeError, match="expected both operands on one device, got cpu and meta"):
        matmul(a, b.to("meta"))
    with pytest.raises(ValueError, match="axis -1 of a and axis -2 of b"):
        matmul(a, a)


def test_a_tensor_that_requires_a_gradient_of_numbers_alone():
    """float64 stays float64 on the way back."""
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    matmul(x, torch.randn(4, 2), "fp8_e4m3").sum().backward()
    assert x.grad.dtype == torch.float64
    assert np.isfinite(x.grad.numpy()).all()
