"""Rounded tensors give the bits of rounded arrays; their gradients are those of the plain operations."""

import copy
import io

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import torch_rounded_ops as ops
from halfulp.emulate.backends.torch_rounded import RoundedTensor
from halfulp.emulate.rounded import reductions
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.draws import Draws
from halfulp.emulate.rounded.operations import OPERATIONS, operate
from torch.nn import functional as F

FORMATS = ("fp16", "bf16", "fp8_e4m3", "e3m2", "binary32", "int8", "posit8", "nf4", "fp64", "takum8")
ROUNDINGS = ("nearest_even", "down", "to_odd", "stochastic")


def same(got, want):
    """Bit for bit, NaN by kind."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert ((got == want) & (np.signbit(got) == np.signbit(want)) | (np.isnan(got) & np.isnan(want))).all()


def pair(shape, fmt, of=0, **options):
    """The same numbers as a rounded tensor and as a rounded array."""
    x = np.random.default_rng(of).standard_normal(shape)
    return hu.array(torch.from_numpy(x), fmt, **options), hu.array(x, fmt, **options)


def equal(tensor, array):
    assert isinstance(tensor, RoundedTensor)
    assert tensor.arithmetic == array.arithmetic
    same(tensor.numpy(), array.values)


def numbers(of, count=400):
    """Values of a format, all magnitudes, and every pair of zeros, ends, infinities and NaN."""
    rng = np.random.default_rng(0)
    ends = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, float(of.fmt.max), float(of.fmt.min)]
    scales = np.exp2(rng.integers(-20, 20, (3, count)))
    rows = rng.standard_normal((3, count)) * np.where(rng.random((3, count)) < 0.5, 1, scales)
    corners = np.stack([np.repeat(ends, 81), np.tile(np.repeat(ends, 9), 9), np.tile(ends, 81)])
    rows = np.concatenate([rows, corners], 1)
    return hu.array(rows, of, seed=0).values


@pytest.mark.parametrize("fmt", FORMATS)
def test_operations_and_their_way_on_devices_have_the_bits_of_numpy(fmt):
    for rounding in ROUNDINGS:
        of = arithmetic(fmt, rounding)
        rows = numbers(of)
        tensors = [torch.from_numpy(row) for row in rows]
        for name, operation in OPERATIONS.items():
            words = Draws(5, 7).next() if of.rounding.stochastic else None
            want = operate(name, of, list(rows[: operation.operands]), words)
            operands = tensors[: operation.operands]
            same(ops.operate(name, of, operands, words).numpy(), want)
            if not ops.needs_host(name, of):
                same(ops.on_device(name, of, operands, words).numpy(), want)


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp8_e5m2"])
@pytest.mark.parametrize("options", [{}, {"rounding": "stochastic", "seed": 3}, {"rounding": "up"}])
def test_tensors_compute_as_arrays(fmt, options):
    (a, n), (b, m) = pair((4, 6), fmt, **options), pair((6, 3), fmt, 1, **options)
    rows, plain = np.arange(6.0), torch.arange(6.0)
    equal(a, n)
    equal(a + 1, n + 1)
    equal(plain * a - 0.1, rows * n - 0.1)
    equal(1 / a, 1 / n)
    equal(2.0**a, 2.0**n)
    equal(a // 0.3, n // 0.3)
    assert ((a % 0.3).numpy() == (n % 0.3).values).all()  # zeros of other signs
    equal(abs(-a), abs(-n))
    equal(torch.sqrt(torch.square(a)), np.sqrt(np.square(n)))
    equal(a.fma(a, 0.5), hu.fma(n, n, 0.5))
    equal(a.exp(), np.exp(n))
    equal(a @ b, n @ m)
    equal(a.matmul(b, order="pairwise"), n.dot(m, order="pairwise"))
    equal(a[0] @ b, n[0] @ m)
    equal(a @ b[:, 0], n @ m[:, 0])
    equal(a[0] @ b[:, 0], n[0] @ m[:, 0])
    equal(a.sum(), n.sum())
    equal(a.sum((0, 1), keepdim=True, order="pairwise"), n.sum((0, 1), keepdims=True, order="pairwise"))
    equal(torch.mean(a, 1), n.mean(1))
    equal(a.prod(0), n.prod(0))
    equal(a.cumsum(1), n.cumsum(1))
    equal(a.std(1, correction=0), n.std(1))
    equal(torch.linalg.vector_norm(a, dim=1), np.linalg.norm(n, axis=1))
    equal(torch.cat([a, a]).reshape(6, 8).T, np.concatenate([n, n]).reshape(6, 8).T)
    assert (a < b.T[:1]).tolist() == (n < m.T[:1]).tolist()
    equal(a.astype("fp8_e4m3", seed=1), n.astype("fp8_e4m3", seed=1))


def test_what_rounds_nothing_and_what_is_plain():
    a, n = pair((3, 5), "fp16")
    equal(torch.sort(a, 1).values, np.sort(n, 1))
    equal(a.max(1).values, n.max(1))
    equal(torch.where(a > 0.1, a, 0.1), np.where(n > 0.1, n, 0.1))
    equal(a.clamp(-0.3, 0.3), np.clip(n, -0.3, 0.3))
    equal(torch.relu(a), np.maximum(n, 0))
    equal(a.flip(0)[1:, ::2], n[::-1][1:, ::2])
    assert torch.argmax(a, 1).tolist() == np.argmax(n, 1).tolist()
    assert (a == a).all()
    assert type(a.long()) is torch.Tensor
    assert [float(row[0]) for row in a] == n.values[:, 0].tolist()
    equal(-hu.array(torch.tensor([-128.0]), "int8"), -hu.array([-128.0], "int8"))  # 128 is no int8
    quarter = hu.array(torch.tensor([0.25]), "fp4_e2m1")
    assert quarter.item() == 0.0  # a tie


def test_formats_meet_as_in_numpy():
    wide, narrow = hu.array(torch.tensor([1.0]), "fp16"), hu.array(torch.tensor([0.3]), "fp8_e4m3")
    assert (wide + narrow).arithmetic == arithmetic("fp16")
    assert (hu.array(torch.tensor([1.0]), "bf16") * wide).arithmetic == arithmetic("binary32")


def test_softmax_is_rounded_once():
    a, _ = pair((3, 8), "bf16")
    want = hu.quantize(torch.softmax(a.values.double(), -1), "bf16")
    assert torch.equal(F.softmax(a, -1).values.double(), want)


def test_in_place_operators_write_to_the_memory():
    a, n = pair((2, 3), "fp16")
    row = a[0]
    a += 1
    a[1] = 0.1
    equal(row, n[0] + 1)
    equal(a[1], hu.array([0.1] * 3, "fp16"))
    with pytest.raises(TypeError, match=r"cannot be written to"):
        row += hu.array(torch.ones(3), "binary32")
    with pytest.raises(ValueError, match=r"has shape \(2, 3\)"):
        row += a


@pytest.mark.parametrize("order", reductions.ORDERS)
@pytest.mark.parametrize("rounding", ["nearest_even", "stochastic"])
def test_sums_on_devices_run_in_the_same_order(order, rounding):
    of = arithmetic("fp8_e5m2", rounding)
    rng = np.random.default_rng(0)
    a, b = (hu.array(rng.standard_normal(shape), of, seed=0).values for shape in ((2, 4, 11), (2, 11, 3)))
    one, other = (Draws(1) if of.rounding.stochastic else None for _ in range(2))
    want = reductions.dot_general(of, a, b, order, one)
    same(ops.products_on_device(of, torch.from_numpy(a), torch.from_numpy(b), order, other).numpy(), want)
    want = reductions.accumulate(of, a, 2, order, one)
    same(ops.terms_on_device(of, torch.from_numpy(a).movedim(2, 0), order, other).numpy(), want)


@pytest.mark.parametrize("options", [{}, {"rounding": "stochastic", "seed": 1}])
def test_gradients_are_those_of_the_plain_operations_within_the_range(options):
    x = torch.tensor([0.5, 3.0, 300.0, -20.0], requires_grad=True)
    a = hu.array(x, "fp8_e4m3", **options)
    (a * a).backward(torch.ones(4))  # 300 becomes 288, whose square is beyond 448
    assert x.grad is not None
    assert x.grad.tolist() == (2 * a.values * (x < 300)).tolist()
    y = hu.array(torch.tensor([4.0, 9.0]), "fp16", **options).requires_grad_()
    (y.sqrt() / y + y.fma(y, y) - y.exp() * 0.0).sum().backward()
    plain = torch.tensor([4.0, 9.0], requires_grad=True)
    (plain.sqrt() / plain + plain * plain + plain - plain.exp() * 0.0).sum().backward()
    assert torch.allclose(y.grad.float(), plain.grad, rtol=2e-3)


def test_a_network_is_trained():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    x, target = torch.randn(32, 6), torch.randint(3, (32,))
    gradients = []
    for given in (hu.array(x, "fp16"), x):
        chosen = torch.log_softmax(net(given), -1)[torch.arange(32), target]
        (-chosen.mean()).backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
        net.zero_grad()
    for rounded, plain in zip(*gradients):
        assert torch.isfinite(rounded).all()
        assert (rounded - plain).norm() < 3e-3 * plain.norm()


def test_reductions_and_views_pass_gradients():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    a = hu.array(x, "fp16")
    found = a.T.reshape(2, 6).sum(0).prod() + (a @ a.T).norm() + a.cumsum(1).mean() + torch.cat([a, a]).max()
    found.backward()
    got, x.grad = x.grad, None
    plain = x.T.reshape(2, 6).sum(0).prod() + (x @ x.T).norm() + x.cumsum(1).mean() + torch.cat([x, x]).max()
    plain.backward()
    assert torch.allclose(got, x.grad, rtol=0.02, atol=0.02)


def test_copies_and_files():
    a, n = pair((2, 3), "fp16", rounding="stochastic", seed=1)
    memory = io.BytesIO()
    torch.save(a, memory)
    memory.seek(0)
    for other in (copy.copy(a), copy.deepcopy(a), torch.load(memory, weights_only=False), a.clone(), a.detach()):
        equal(other, n)
    assert copy.copy(a).values is a.values
    assert a.to("cpu").device.type == "cpu"
    assert repr(hu.array(torch.tensor([0.1, 2.0]), "fp16")) == "RoundedTensor([0.099976, 2.      ], binary16)"
    assert np.asarray(a).dtype == np.float64
    assert a[0, 0].item() == float(a[0, 0]) == a.tolist()[0][0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: torch.fft.fft(a), TypeError, r"hu.array\(torch.fft.fft\(x.values\), x.arithmetic\)"),
        (lambda a: torch.nn.functional.layer_norm(a, (2,)), TypeError, "layer_norm is not made of rounded operations"),
        (lambda a: torch.add(a, 1, out=torch.zeros(2)), TypeError, "take no out= here"),
        (lambda a: F.relu(a, inplace=True), TypeError, "take no inplace= here"),
        (lambda a: torch.zeros(2).add_(a), TypeError, r"write a \+= b"),
        (lambda a: a.to(torch.float16), TypeError, "keeps its format"),
        (lambda a: a.nonsense, AttributeError, "the plain tensor is .values"),
        (lambda a: a + 1j, TypeError, "real numbers"),
        (lambda a: a + "1", TypeError, "expected a tensor or a number, got str"),
        (lambda a: a + (2**60 + 1), TypeError, "integers beyond"),
        (lambda a: a + torch.zeros(2, dtype=torch.float8_e5m2), TypeError, "convert it first"),
        (lambda a: a + hu.array(torch.ones(2), "fp16", rounding="up"), TypeError, "two roundings meet"),
        (lambda a: a[a], IndexError, "as an index"),
        (lambda a: a @ torch.ones(3), ValueError, "contracted axes have 2 and 3"),
        (lambda a: a @ 2, ValueError, r"use \* for products"),
        (lambda a: a.sum(order="random"), ValueError, "unknown order"),
        (lambda a: a.norm() + torch.linalg.vector_norm(a, 3), TypeError, "norms of rounded tensors"),
    ],
)
def test_errors_say_what_to_type(call, error, message):
    with pytest.raises(error, match=message):
        call(hu.array(torch.tensor([1.0, 2.0]), "fp16"))


def test_rounded_tensors_are_converted_and_fused_by_the_front_door():
    a = hu.array(torch.tensor([1.0625]), "bf16")
    assert hu.fma(a, a, 2.0**-100).values.item() == 1.1328125
    again = hu.array(a, "fp8_e4m3")
    assert isinstance(again, type(a))
    assert again.values.item() == 1.0
    assert hu.array(a, rounding="up").arithmetic.rounding.name == "up"


def test_what_beta_of_zero_leaves_out_is_not_read():
    r = hu.array(torch.randn(3, 3), "fp16")
    found = torch.addmm(torch.full((3, 3), torch.nan), r, r.T, beta=0)
    assert torch.equal(found.values, (r @ r.T).values)
