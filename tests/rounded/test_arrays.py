"""Rounded arrays behave like NumPy's, every operation rounded."""

import copy
import pickle
from fractions import Fraction

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.rounded.arrays import RoundedArray, array
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.operations import operate
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 5, 7)).astype(np.float32)


def fp16(x):
    return np.asarray(x, np.float16)


def test_operators_are_those_of_numpy_s_float16():
    a, b = array(X, "fp16"), array(Y, "fp16")
    x, y = fp16(X), fp16(Y)
    for ours, numpys in (
        (a + b, x + y), (a - b, x - y), (a * b, x * y), (a / b, x / y), (-a, -x), (abs(a), abs(x)), (+a, x),
        (1 - a, np.float16(1) - x), (a / 3, x / np.float16(3)), (0.1 * a, np.float16(0.1) * x), (a + Y, x + y),
        (np.sqrt(abs(a)), np.sqrt(abs(x))), (np.square(a), np.square(x)), (np.reciprocal(a), np.float16(1) / x),
        (np.maximum(a, b), np.maximum(x, y)), (np.copysign(a, b), np.copysign(x, y)), (a @ b.T, loop(x, y.T)),
        (a[1:, ::2], x[1:, ::2]), (a.T, x.T), (a.reshape(7, 5), x.reshape(7, 5)), (a[a > 0], x[x > 0]),
    ):  # fmt: skip
        assert isinstance(ours, RoundedArray)
        assert np.array_equal(ours.values, numpys.astype(np.float32))
    assert np.array_equal(a < b, x < y)
    assert np.array_equal(a == b.values, x == y)
    assert type(a < b) is np.ndarray


def loop(x, y):
    """Textbook products of float16 matrices."""
    found = np.zeros((x.shape[0], y.shape[1]), np.float16)
    for k in range(x.shape[1]):
        found = found + x[:, k : k + 1] * y[k]
    return found


def test_sums_in_a_stated_order():
    a = array(RNG.standard_normal(1000), "bf16")
    total, exact = np.float64(a.values[0]), sum(map(Fraction, a.values.tolist()))
    for value in a.values[1:]:
        total = hu.quantize(np.float64(total + value), "bf16")
    assert a.sum().item() == np.sum(a).item() == np.add.reduce(a).item() == total
    assert np.add.accumulate(a)[-1].item() == total
    assert abs(a.sum(order="pairwise").item() - float(exact)) < abs(total - float(exact))
    x = array(X, "fp16")
    assert x.sum((0, 1)).item() == x.ravel().sum().item()
    assert x.sum(axis=0, keepdims=True).shape == (1, 7)
    assert np.array_equal(x.sum(-1).values, [row.sum().item() for row in x])
    pairs = x.values[0].copy()
    level = lambda v: [float(np.float16(v[k] + v[k + 1])) for k in range(0, len(v) - 1, 2)] + list(v[len(v) // 2 * 2 :])  # noqa: E731
    while len(pairs) > 1:
        pairs = level(pairs)
    assert x[0].sum(order="pairwise").item() == pairs[0]
    with pytest.raises(ValueError, match="did you mean 'pairwise'"):
        a.sum(order="pairwise_")
    assert array(np.zeros((0, 3)), "fp16").sum(0).tolist() == [0, 0, 0]
    assert x.prod(0).shape == (7,)
    assert x.mean().item() == float(np.float16(x.sum().values / np.float16(35)))


def test_matrix_products_keep_the_order_for_every_arithmetic():
    """The compiled loop, the operations one by one, and the transposed problem give the same bits."""
    for fmt, rounding in (("fp16", "nearest_even"), ("bf16", "up"), ("fp16", "down"), ("e5m2", "to_odd"), ("posit8", "nearest_even"), ("fp8_e4m3", "nearest_away")):  # fmt: skip
        of = arithmetic(fmt, rounding)
        a, b = array(RNG.standard_normal((6, 33)), of), array(RNG.standard_normal((33, 20)), of)
        want = np.zeros((6, 20), a.dtype)
        for k in range(33):
            terms = operate("multiply", of, (a.values[:, k, None], b.values[None, k]))
            want = operate("add", of, (want, terms))
        for got in (a @ b, a.dot(b), np.dot(a, b), np.tensordot(a, b, 1), (b.T @ a.T).T, np.inner(a, b.T)):
            assert np.array_equal(got.values, want)
        assert np.array_equal((a @ b[:, 0]).values, want[:, 0])
        assert np.array_equal((a[0] @ b).values, want[0])
        assert (a[0] @ b[:, 0]).item() == want[0, 0]
        tree = operate("multiply", of, (a.values[:, :, None], b.values[None]))
        assert np.array_equal(a.dot(b, "pairwise").values, RoundedArray(tree, of).sum(1, order="pairwise").values)


def test_threads_change_nothing(monkeypatch):
    from halfulp.emulate.rounded import reductions

    a = array(RNG.standard_normal((40, 60)), "fp16")
    want = (a @ a.T).values, a.sum(0).values
    monkeypatch.setattr(reductions, "_SHARED_FROM", 1)
    assert np.array_equal((a @ a.T).values, want[0])
    assert np.array_equal(a.sum(0).values, want[1])


def test_stochastic_operations_draw_new_bits_each_and_repeat_as_a_whole():
    def run():
        a = array(np.ones(2000), "fp8_e4m3", rounding="stochastic", seed=1)
        b = a + 2.0**-5
        return a + 2.0**-5, b, (a @ b), a.sum()

    first, second = run(), run()
    assert all(np.array_equal(x.values, y.values) for x, y in zip(first, second))
    assert not np.array_equal(first[0].values, first[1].values)
    assert first[0].draws is first[2].draws
    assert first[0].draws.step > 4000
    kept = pickle.loads(pickle.dumps(first[0]))
    assert np.array_equal((kept + kept).values, (first[0] + first[0]).values)
    with pytest.raises(ValueError, match="needs seed="):
        array([1.0], "fp16", rounding="stochastic")
    with pytest.raises(TypeError, match="integer seed"):
        array([1.0], "fp16", rounding="stochastic", seed="a")


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("fp16", "fp8_e4m3", "binary16"), ("bf16", "fp16", "binary32"), ("fp8_e4m3", "fp8_e5m2", "binary16"),
        ("int8", "fp8_e4m3", "binary16"), ("fp32", "int16", "binary32"), ("tf32", "bf16", "tf32"),
        ("fp64", "posit16", "binary64"), ("ternary", "int2", "int2"), ("fp32", "posit16", "binary32"),
        ("uint8", "int8", "binary16"),
    ],
)  # fmt: skip
def test_promotion(a, b, result):
    for x, y in ((a, b), (b, a)):
        assert (array([1.0], x) + array([1.0], y)).fmt.name == result


def test_roundings_and_overflows_do_not_mix():
    up = array([1.0], "fp16", rounding="up")
    with pytest.raises(TypeError, match="two roundings meet"):
        up + array([1.0], "fp16")
    with pytest.raises(TypeError, match="two kinds of overflow"):
        array([1.0], "fp16") + array([1.0], "fp16", overflow="saturate")
    assert (up + array([1.0], "fp16").astype("fp16", rounding="up")).item() == 2
    assert (up + array([2.0**-20], "bf16", rounding="up")).arithmetic.rounding.name == "up"


def test_in_place():
    a = array(X, "fp16")
    view, before = a[0], a.values.copy()
    a += 1
    a[1] = 1 / 3
    a[2, 2:4] = array([0.1, 0.2], "fp8_e5m2")
    assert np.array_equal(view.values, fp16(fp16(before[0]) + np.float16(1)))
    assert a.values[1, 0] == np.float16(1 / 3)
    assert a.values[2, 2:4].tolist() == [0.09375, 0.1875]
    with pytest.raises(TypeError, match="cannot be written to binary16"):
        a += array(X, "bf16")
    with pytest.raises(TypeError, match="a plain array"):
        np.add(a, a, out=X)
    with pytest.raises(ValueError, match="shape"):
        np.add(a, a, out=a[0])
    a.fill(0.1)
    assert set(a.values.reshape(-1).tolist()) == {float(np.float16(0.1))}
    np.copyto(a, 0.3)
    assert a[0, 0].item() == float(np.float16(0.3))


def test_functions_that_move_choose_and_compare():
    a, b = array(X, "fp16"), array(Y, "fp8_e5m2")
    x, y = fp16(X).astype(np.float32), hu.quantize(Y, "fp8_e5m2")
    for ours, numpys in (
        (np.concatenate([a, b]), np.concatenate([x, y])), (np.stack([a, b], -1), np.stack([x, y], -1)),
        (np.where(a > 0, a, 0.1), np.where(x > 0, x, np.float32(np.float16(0.1)))), (np.sort(a), np.sort(x)),
        (np.transpose(a), x.T), (np.ravel(a), x.ravel()), (np.tril(a), np.tril(x)), (np.diag(a[:5, :5]), np.diag(x[:5, :5])),
        (np.clip(a, -0.1, 0.1), np.clip(x, *np.float16([-0.1, 0.1]))), (np.max(a, 0), x.max(0)), (a.min(), x.min()),
        (np.zeros_like(a), 0 * abs(x)), (np.full_like(a, 0.1), 0 * abs(x) + np.float32(np.float16(0.1))),
        (np.broadcast_to(a[0], (3, 7)), np.broadcast_to(x[0], (3, 7))), (np.outer(a[0], a[1]), fp16(fp16(x[0])[:, None] * fp16(x[1]))),
        (np.diff(a), fp16(x)[:, 1:] - fp16(x)[:, :-1]), (np.linalg.norm(a[0], np.inf), abs(x[0]).max()),
    ):  # fmt: skip
        assert isinstance(ours, RoundedArray)
        assert np.array_equal(ours.values, np.asarray(numpys, np.float32))
    assert np.allclose(a, x)
    assert np.array_equal(np.argsort(a), np.argsort(x))
    assert np.argmax(a) == a.argmax() == x.argmax()
    assert np.isnan(a).dtype == bool
    assert np.array_equal(np.trace(a).values, np.diagonal(a).sum().values)
    assert np.array_equal(np.linalg.norm(a).values, np.sqrt((a * a).sum()).values)
    assert np.array_equal(np.var(a, 0).values, (((a - a.mean(0)) * (a - a.mean(0))).sum(0) / 5).values)


def test_other_functions_round_the_float64_result_once():
    a = array(np.abs(X) + 0.1, "fp8_e4m3")
    for ufunc in (np.exp, np.log, np.sin, np.tanh, np.cbrt, np.exp2, np.arctan):
        want = hu.quantize(ufunc(a.values.astype(np.float64)), "fp8_e4m3")
        assert np.array_equal(ufunc(a).values, want)
    assert np.array_equal((a**1.5).values, hu.quantize(a.values.astype(np.float64) ** 1.5, "fp8_e4m3"))
    assert np.array_equal(
        np.hypot(a, a).values, hu.quantize(np.hypot(a.values, a.values).astype(np.float64), "fp8_e4m3")
    )
    assert np.array_equal(np.round(a, 1).values, hu.quantize(np.round(a.values.astype(np.float64), 1), "fp8_e4m3"))


def test_specials_and_unsigned_formats():
    a = array([1.0, -1.0, 0.0, np.inf, np.nan], "fp16")
    assert (a / 0).tolist()[:2] == [np.inf, -np.inf]
    assert np.isnan((a / 0).tolist()[2])
    assert (array([60000.0], "fp16") * 2).item() == np.inf
    assert (array([60000.0], "fp16", rounding="toward_zero") * 2).item() == 65504
    assert (array([400.0], "fp8_e4m3") * 2).item() == 448
    assert (array([100.0], "int8", overflow="wrap") + 100).item() == -56
    assert (-array([1.0], "ue4m3")).item() == 0
    assert (-array([-128.0], "int8")).item() == 127
    assert np.signbit((array([1.0], "fp16", rounding="down") - 1).values)[0]


def test_what_it_says_of_itself():
    a = array([1.0, 2.0, 0.1], "fp16")
    assert repr(a) == "RoundedArray([1.      , 2.      , 0.099976], binary16)"
    assert str(a[2]) == "0.099976"
    assert repr(array(1, "fp8_e4m3", rounding="up", overflow="special")) == (
        "RoundedArray(1., fp8_e4m3, rounding='up', overflow='special')"
    )
    for again in (pickle.loads(pickle.dumps(a)), copy.deepcopy(a), copy.copy(a), array(a), a.copy()):
        assert np.array_equal(again.values, a.values)
        assert again.arithmetic == a.arithmetic
    assert (len(a), a.shape, a.ndim, a.size, a.dtype) == (3, (3,), 1, 3, np.float32)
    assert (float(a[0]), int(a[1]), bool(a[0]), a[0].item(), a.tolist()[1]) == (1.0, 2, True, 1.0, 2.0)
    assert np.asarray(a, np.float64).dtype == np.float64
    assert [x.item() for x in a] == a.tolist()
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


def test_what_it_refuses():
    a = array(X, "fp16")
    for wrong, message in (
        (lambda: np.fft.fft(a), "not made of rounded operations"),
        (lambda: np.linalg.inv(a), "hu.linalg"),
        (lambda: np.add.reduceat(a, [0, 1]), "reduceat is not defined"),
        (lambda: np.modf(a), "is not defined"),
        (lambda: np.add(a, a, dtype=np.float64), "take no dtype"),
        (lambda: a.sum(dtype=np.float64), "no dtype= or out="),
        (lambda: a + 1j, "complex"),
        (lambda: a + "x", "numbers"),
        (lambda: array(X, "mxfp4"), "more than a set of numbers"),
        (lambda: array(X), "needs a format"),
        (lambda: array(np.array([2**60 + 1]), "fp16"), "not exact in float64"),
        (lambda: np.copyto(X, a), "plain array"),
        (lambda: np.linalg.norm(a, 3), "vector norms"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    with pytest.raises(ValueError, match="contracted axes"):
        a @ a
    with pytest.raises(ValueError, match="expected arrays with axes"):
        a @ array(1.0, "fp16")
    with pytest.raises(IndexError, match="rounded numbers"):
        a[array([1.0], "fp16")]
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"hu\.rounded"):
        array(jax.numpy.ones(3), "fp16")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=0, max_size=3), st.data())
def test_any_shapes_broadcast_as_numpy_does(shape, data):
    other = tuple(data.draw(st.sampled_from([n, 1])) for n in shape)
    x, y = RNG.standard_normal(tuple(shape)), RNG.standard_normal(other)
    found = array(x, "fp16") * array(y, "fp16")
    with np.errstate(all="ignore"):
        want = fp16(x) * fp16(y)
    assert found.shape == want.shape
    assert np.array_equal(found.values, np.asarray(want, np.float32))


def test_no_warnings_from_what_overflows():
    with np.errstate(all="raise"):
        assert (array([1.0], "fp64") / 0).item() == np.inf
        assert (array([1e-300], "fp64") * 1e-300).item() == 0
