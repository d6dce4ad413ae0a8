"""Corners of rounded arrays: what functions put in, aliases, comparisons, wrapping integers, random odds, specials."""

import copy
from fractions import Fraction

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.rounded.arrays import RoundedArray, array
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.functions import JOINS, MOVES
from halfulp.emulate.rounded.operations import operate
from halfulp.emulate.rounded.reductions import dot_general
from halfulp.formats.exact import numbers

A = array([[1.0, -2.0, 0.0999], [3.0, 0.5, -0.25]], "fp16")
PLAIN = (2049, np.float32(3.3), True, np.array([2049, 7, 1]), np.float64(0.1), [0.1, 2049, 3])


def assert_of_its_format(found):
    """The carrier's dtype, and values of the format."""
    for each in found if isinstance(found, list | tuple) else [found]:
        assert isinstance(each, RoundedArray)
        assert each.dtype == each.arithmetic.carrier.name
        assert np.array_equal(hu.quantize(each.values, each.fmt), each.values, equal_nan=True)


@pytest.mark.parametrize("plain", PLAIN, ids=repr)
def test_what_is_joined_is_rounded(plain):
    row = A[0]
    joined = [
        np.append(row, plain), np.insert(row, 1, plain if np.ndim(plain) == 0 else plain[0]), np.where(row > 0, row, plain),
        np.select([row > 0], [row], default=np.ravel(plain)[0]), np.hstack([row, np.atleast_1d(plain)]),
        np.concatenate([row, np.atleast_1d(plain)]),
    ]  # fmt: skip
    if np.ndim(plain):
        joined += [
            np.stack([row, plain]),
            np.vstack([row, plain]),
            np.column_stack([row, plain]),
            np.dstack([row, plain]),
        ]
    for found in joined:
        assert_of_its_format(found)
    assert np.append(row, 4).sum().item() == (row.sum() + 4).item()
    assert set(JOINS) >= {np.append, np.insert, np.where, np.stack}


def test_every_function_that_moves_gives_values_of_the_format():
    extra = {
        np.array_split: (2,), np.broadcast_to: ((2, 2, 3),), np.expand_dims: (0,), np.moveaxis: (0, 1), np.roll: (1,),
        np.partition: (1,), np.permute_dims: ((1, 0),), np.repeat: (2,), np.reshape: ((3, 2),), np.resize: ((3, 3),),
        np.rollaxis: (1,), np.split: (2,), np.swapaxes: (0, 1), np.take: ([0, 1],), np.tile: (2,), np.vsplit: (2,),
        np.hsplit: (3,), np.delete: (0,), np.take_along_axis: (np.array([[0], [1]]), 1),
    }  # fmt: skip
    before = {np.compress: ([True, False],), np.extract: (A.values > 0,)}
    for function in MOVES:
        x = array(np.arange(8.0).reshape(2, 2, 2), "fp16") if function is np.dsplit else A
        x = x[0] if function in (np.trim_zeros,) else x
        found = function(*before.get(function, ()), x, *((2,) if function is np.dsplit else extra.get(function, ())))
        assert_of_its_format(found)
    for name in ("int8@4", "e8m0", "ue4m3", "nf4"):
        x = array([[1.0, 2.0], [4.0, 8.0]], name)
        for function in (np.ones_like, np.zeros_like, np.tril, np.diag):
            assert_of_its_format(function(x if function is not np.diag else x[0]))
    assert_of_its_format(np.max(A, initial=2049))
    assert_of_its_format(np.pad(A, 1, constant_values=0.1))
    assert np.nan_to_num(array([np.inf, -np.inf, np.nan], "fp16")).tolist() == [65504, -65504, 0]
    assert np.full_like(array([1.0], "fp16", rounding="up"), 1 + 2.0**-40).item() == 1 + 2.0**-10
    assert np.full_like(A, [1, 2, 0.1]).values[1, 2] == np.float16(0.1)


def test_copies_do_not_share_memory_and_views_do():
    a = A.copy()
    for other in (a.flatten(), copy.copy(a), copy.deepcopy(a), array(a), a.astype("fp16"), np.copy(a)):
        other += 1
        assert np.array_equal(a.values, A.values)
    for view in (a.ravel(), a.T, a[:1], a.reshape(3, 2), a.swapaxes(0, 1), a.mT):
        assert np.shares_memory(view.values, a.values)
    assert np.array(A, copy=True) is not A.values
    with pytest.raises(ValueError, match="copy"):
        np.array(A, dtype=np.float16, copy=False)


def test_comparisons_round_nothing():
    assert (array([0.0], "uint8") > -1).all()
    assert (array([448.0], "fp8_e4m3") < 500).all()
    assert not (array([1.0], "fp8_e4m3") == 1.01).any()
    assert not (array([250.0], "uint8", overflow="wrap") == 506).any()
    s = array(np.ones(9), "fp16", rounding="stochastic", seed=0)
    step = s.draws.step
    assert not (s == 1 / 3).any()
    assert s.draws.step == step
    assert (array([1.0], "fp16") == array([1.0], "bf16", rounding="up")).all()
    assert not (A == None).any()  # noqa: E711
    assert (A != "x").all()
    assert 3 in A
    assert 3.1 not in A
    with pytest.raises(TypeError, match="numbers"):
        A < "x"  # noqa: B015


def test_reductions_over_all_axes():
    ones = array(np.ones((2, 3)), "fp16")
    for ufunc in (np.add, np.multiply, np.maximum, np.minimum):
        assert ufunc.reduce(ones, axis=None).shape == ()
        assert ufunc.reduce(ones).shape == (3,)
        assert ufunc.reduce(ones, axis=(0, 1), keepdims=True).shape == (1, 1)
    assert np.add.reduce(ones, axis=None).item() == 6
    with pytest.raises(ValueError, match="expected an axis"):
        np.add.accumulate(ones, axis=None)
    with pytest.raises(TypeError, match="as the first operand"):
        np.add.reduce(np.ones(3), out=ones)


def test_means_divide_by_the_exact_count():
    assert np.ones(70000).mean() == array(np.ones(70000), "binary32").mean().item()
    assert array(np.full(70000, 2.0**-4), "fp16").sum().item() == 128  # stagnates
    assert array(np.full(70000, 2.0**-4), "fp16").mean().item() == float(np.float16(128 / 70000))
    assert array([0.5, 0.5, 0.5], "int8@-6").mean().item() == 0.5
    assert array(np.full(5, 0.25), "e2m1b3").mean().item() == 0.25
    for rounding in ("up", "down", "to_odd"):
        x = array([1.0, 2.0, 5.0], "fp8_e4m3", rounding=rounding)
        assert x.mean().item() == hu.quantize(np.float64(8 / 3), "fp8_e4m3", rounding=rounding)
    with np.errstate(all="ignore"):
        assert np.isnan(A.var(ddof=6).item()) or np.isinf(A.var(ddof=6).item())
    assert np.array_equal(A.std(0).values, np.sqrt(A.var(0)).values)


@pytest.mark.parametrize("name", ["int32", "uint32", "int28", "int16@30", "int16@-45", "int8@-100", "int16", "int8"])
def test_wrapping_keeps_every_bit(name):
    fmt = hu.format(name)
    rng = np.random.default_rng(0)
    values = np.array([float(fmt.number(int(k))) for k in [fmt.low, fmt.high, *rng.integers(fmt.low, fmt.high, 60)]])
    x, y, z = (rng.permutation(values) for _ in range(3))
    of = arithmetic(fmt, None, "wrap")
    carrier = np.float32 if of.carrier.name == "float32" else np.float64
    x, y, z = (row.astype(carrier) for row in (x, y, z))

    def wrapped(exact):
        steps = round(exact / fmt.step)  # nearest even
        return float(fmt.number((steps - fmt.low) % (1 << fmt.bits) + fmt.low))

    numbers = [[Fraction(float(v)) for v in row] for row in (x, y, z)]
    for op, rows, exact in (
        ("multiply", (x, y), [a * b for a, b, _ in zip(*numbers)]),
        ("fma", (x, y, z), [a * b + c for a, b, c in zip(*numbers)]),
        ("add", (x, y), [a + b for a, b, _ in zip(*numbers)]),
    ):
        assert operate(op, of, rows).tolist() == [wrapped(v) for v in exact]
    assert (array(x, fmt, overflow="wrap") @ array(y, fmt, overflow="wrap")).item() == wrapped(
        sum((Fraction(wrapped(a * b)) for a, b, _ in zip(*numbers)), Fraction(0))
    )


def test_random_odds_of_small_shares():
    """What is added is a millionth of an ulp: on average it arrives."""
    x = array(np.ones(1 << 18), "fp16", rounding="stochastic", seed=2)
    assert x.dtype == np.float64
    found = x
    for _ in range(8):
        found = found + 2.0**-20
    moved = float((found.values - 1).mean()) * 2**20
    assert abs(moved - 8) < 5 * (8 * 2**10 / 2**18) ** 0.5 * 1
    q = array(np.ones(1 << 18), "fp16", rounding="stochastic", seed=3) / 1.0009765625
    exact = 1 / 1.0009765625
    assert abs(float(q.values.mean()) - exact) < 5 * 2.0**-12 / 2**9
    for call in (
        lambda s: np.where(s > 0, s, 0.1),
        lambda s: np.concatenate([s, [0.1]]),
        lambda s: np.clip(s, 0.1, 0.3),
    ):
        assert_of_its_format(call(x[:10]))


@pytest.mark.parametrize("name", ["fp16", "e4m27ieee", "bf16", "fp8_e5m2"])
def test_infinities_and_nan_as_operands(name):
    values = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.1, -3.7])
    for rounding in ("nearest_even", "up", "down"):
        overflow = "special"
        rows = [
            array(part.reshape(-1), name, rounding=rounding, overflow=overflow)
            for part in np.meshgrid(values, values, values)
        ]
        x, y, z = (row.values.astype(np.float64) for row in rows)
        with np.errstate(all="ignore"):
            want = x * y + z
            found = rows[0].fma(rows[1], rows[2]).values
            special = ~np.isfinite(want) | ~np.isfinite(x * y)
            assert np.array_equal(found[special], want[special], equal_nan=True)
            for ufunc in (np.add, np.subtract, np.multiply, np.divide):
                want, found = ufunc(x, y), ufunc(rows[0], rows[1]).values
                special = ~np.isfinite(want)
                assert np.array_equal(found[special], want[special], equal_nan=True)


@pytest.mark.parametrize("name", ["lns8f3", "lns11f1", "lns12f2", "takum_log8"])
def test_products_of_logarithmic_numbers_are_values(name):
    fmt = hu.format(name)
    rng = np.random.default_rng(0)
    values = np.array([float(v) for v in numbers(fmt)])
    values = values[(values > 2.0**-20) & (values < 2.0**20)]
    x, y = rng.choice(values, 400), rng.choice(values, 400)
    inside = (x * y < values.max()) & (x * y > values.min())
    x, y = x[inside], y[inside]
    wide = x * y
    for rounding in ("nearest_even", "up", "down", "to_odd"):
        found = (array(x, fmt, rounding=rounding) * array(y, fmt, rounding=rounding)).values
        if name.startswith("lns"):
            assert np.abs(found / wide - 1).max() < 1e-12, rounding


def test_promotion_keeps_every_value():
    assert (array([2.0**-130], "tf32") + array([0.0], "e8m20_nosub")).item() == 2.0**-130
    assert (array([np.inf], "fp8_e5m2", overflow="special") + array([1.0], "e6m3", overflow="special")).item() == np.inf
    a, b, c = (array([1.0], name) for name in ("fp16", "bf16", "tf32"))
    assert hu.fma(a, b, c).fmt.name == hu.fma(c, a, b).fmt.name == hu.fma(b, c, a).fmt.name == "tf32"
    saturating = array([1.0], "fp16", overflow="saturate") + array([1.0], "bf16", overflow="saturate")
    assert saturating.arithmetic == arithmetic("binary32", None, "saturate")
    assert array(saturating, rounding="up").arithmetic.overflow == "saturate"
    assert array([np.inf], "fp64", overflow="saturate").item() == np.finfo(np.float64).max


def test_reciprocals_where_one_is_no_value():
    assert np.reciprocal(array([0.5, 1.5], "int4_midrise")).tolist() == [2.5, 0.5]


def test_more_that_is_refused():
    for wrong, message in (
        (lambda: np.nextafter(A, 1), "not defined"),
        (lambda: np.spacing(A), "not defined"),
        (lambda: np.ones_like(A, dtype=np.float64), "take no dtype"),
        (lambda: np.clip(A, 0, 1, out=A), "rounded arrays"),
        (lambda: np.sum(A, where=A > 0), "rounded arrays"),
        (lambda: np.sqrt(np.ones(2), out=A[0, :2]), "expected a rounded array"),
        (lambda: np.pad(A, 1, mode="mean"), "expected a mode"),
        (lambda: A.astype(np.float32), "takes a format"),
        (lambda: A + np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), "masks are not kept"),
        (lambda: RoundedArray(np.ones(2), arithmetic("fp16")), "kept as float32"),
        (lambda: hu.fma(1.0, 2.0, 3.0), "expected a rounded array"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    with pytest.raises(ValueError, match="order of 0 or more"):
        np.diff(A, -1)
    with pytest.raises(ValueError, match="one after the other"):
        dot_general(A.arithmetic, A.values, A.values.T, "pairwise", start=np.zeros((2, 2), np.float32))


def test_small_conveniences():
    assert f"{A[0, 0]:.3f}" == "1.000"
    assert f"{A[0]}" == str(A[0])
    assert A.item(1, 0) == 3
    assert A.nbytes == 24
    assert A.round(1).values[0, 2] == np.float16(0.1)
    assert A.take([0, 5]).tolist() == [1, -0.25]
    assert A.argsort().tolist() == np.argsort(A.values).tolist()
    assert len(A.nonzero()) == 2
    assert np.isin(A, [3.0]).sum() == 1
    assert repr(array([1 + 2.0**-16, 1.0], "fp24")) == "RoundedArray([1.000015, 1.      ], fp24)"
