"""Elementary operations are rounded once: every pair of codes of the small formats, and NumPy's own arithmetic."""

import itertools

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.backends.numpy import decoding_table
from halfulp.emulate.layouts import FLOAT64, fits
from halfulp.emulate.plan import Randomness
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.operations import OPERATIONS, NumpyFloats, odd_compiled, operate, rounded_to
from halfulp.emulate.rounded.rational import exactly
from halfulp.formats.exact import quantize_exact
from halfulp.formats.floats import p3109
from halfulp.formats.listing import is_listed, listing

from ..support.exact_operations import Steps, expected, shift_of

RNG = np.random.default_rng(0)
PAIRS = (
    "fp8_e4m3", "fp8_e5m2", "fp8_e4m3fnuz", "fp8_e3m4", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1", "e8m0", "ue4m3", "int8",
    "int4@-1", "uint4", "int4_midrise", "ternary", "pow2_4", "posit8", "takum8", "hifloat8", "binary8p3se", "binary6p3uf",
)  # fmt: skip
ROUNDINGS = ("nearest_even", "up", "to_odd")
OTHERS = ("nearest_away", "nearest_zero", "toward_zero", "away", "down")
FLOATS = {"float32": np.float32, "float64": np.float64}


def values_of(fmt):
    """Every finite value of a format, -0 too."""
    found = decoding_table(fmt, FLOAT64).view(np.float64)
    return found[np.isfinite(found)]


def computed(name, of, rows):
    return operate(name, of, [row.astype(FLOATS[of.carrier.name]) for row in rows]).astype(np.float64)


def assert_same(got, want, *context):
    same = (got == want) & (np.signbit(got) == np.signbit(want)) | (np.isnan(got) & np.isnan(want))
    wrong = np.flatnonzero(~same)
    assert not wrong.size, (context, wrong.size, wrong[:3], got[wrong[:3]], want[wrong[:3]])


def check_pairs(fmt, rounding, triples):
    of = arithmetic(fmt, rounding)
    values = values_of(fmt)
    x, y = (grid.reshape(-1) for grid in np.meshgrid(values, values, indexing="ij"))
    stairs = Steps(fmt, rounding, of.overflow, 2 * shift_of(values))
    for name in ("add", "subtract", "multiply", "divide"):
        want = expected(name, fmt, rounding, [x, y], of.overflow, stairs)
        assert_same(computed(name, of, [x, y]), want, fmt.name, rounding, name)
    assert_same(computed("sqrt", of, [values]), expected("sqrt", fmt, rounding, [values], of.overflow), fmt.name)
    rows = [RNG.choice(values, triples) for _ in range(3)]
    want = expected("fma", fmt, rounding, rows, of.overflow, stairs)
    assert_same(computed("fma", of, rows), want, fmt.name, rounding, "fma")


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_of_codes(name):
    fmt = hu.format(name)
    for rounding in ROUNDINGS:
        check_pairs(fmt, rounding, 100_000 if name in ("fp8_e4m3", "posit8") else 5_000)


def test_other_roundings():
    for rounding in OTHERS:
        check_pairs(hu.format("fp6_e3m2"), rounding, 2_000)


@pytest.mark.slow
def test_every_pair_of_every_small_format():
    """All formats of at most 8 bits that the catalogue or P3109 name, with 10**5 triples."""
    small = {fmt: None for fmt in map(hu.format, hu.list_formats().index) if fmt.bits <= 8}
    small |= {p3109(bits, p, s, e): None for bits in range(3, 9) for s in (True, False) for e in (True, False) for p in range(1, bits + 1 - s)}  # fmt: skip
    assert len(small) > 150
    for fmt, rounding in itertools.product(small, ROUNDINGS):
        if fits(fmt, FLOAT64) and (not is_listed(fmt) or listing(fmt).rational):
            check_pairs(fmt, rounding, 100_000)


@pytest.mark.parametrize("name", ["binary16", "bfloat16", "tf32", "fp24", "binary32", "posit16", "e8m20", "e10m5"])
@pytest.mark.parametrize("rounding", [*ROUNDINGS, *OTHERS])
def test_random_and_edge_operands_of_wide_formats(name, rounding):
    """Both sides of powers of two, subnormals, ends and operands that all but cancel, against rational arithmetic."""
    fmt = hu.format(name)
    of = arithmetic(fmt, rounding)
    rows = [edges(fmt, seed) for seed in range(3)]
    rows[1][::5] = -rows[0][::5]
    rows[2][1::5] = -rows[0][1::5]
    for op, operation in OPERATIONS.items():
        used = rows[: operation.operands]
        got = computed(op, of, used)
        exact = [exactly(op, row, rounding == "down") for row in zip(*(row.tolist() for row in used))]
        want = np.array([float(quantize_exact(fmt, value, of.rounding, of.overflow)) for value in exact])
        assert_same(got, want, name, rounding, op)


def edges(fmt, seed, count=240):
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-30, 30, count)
    tops = np.array([float(fmt.max), -float(fmt.max), 0.0, -0.0, 1.0, float(fmt.max) / 2])
    tiny = float(min(value for value in [fmt.max / 2**40, *_smallest(fmt)] if value > 0))
    found = np.concatenate([rng.standard_normal(count) * scale, tops, tiny * rng.integers(1, 40, 20), 1 + 2.0**-rng.integers(1, 30, 20)])  # fmt: skip
    return rng.permutation(rounded_to(arithmetic(fmt), found).astype(np.float64))


def _smallest(fmt):
    return [fmt.magnitude(1)] if hasattr(fmt, "mantissa_bits") else [fmt.value(1)]


def test_published_vectors():
    """A product that is a tie but for the last of three terms, and a sum that only a sticky bit tells from one."""
    x = np.array(1.0625)
    assert operate("fma", arithmetic("bf16"), (x, x, np.array(2.0**-100))) == 1.1328125
    assert operate("fma", arithmetic("bf16"), (x, x, np.array(0.0))) == 1.125
    for name, next_value in (("bf16", 1 + 2**-7), ("binary32", 1 + 2**-23), ("fp8_e4m3", 1.125)):
        of = arithmetic(name, "up")
        dtype = FLOATS[of.carrier.name]
        assert (
            operate("add", of, (dtype(1)[None], dtype(2.0**-60 if name != "fp8_e4m3" else 2.0**-9)[None])) == next_value
        )


@pytest.mark.parametrize(("name", "dtype"), [("fp16", np.float16), ("fp32", np.float32), ("fp64", np.float64)])
def test_numpy_s_own_arithmetic(name, dtype):
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    x, y = (RNG.integers(0, np.iinfo(bits).max, 1 << 18, dtype=bits).view(dtype) for _ in range(2))
    x[::3] = RNG.standard_normal(x[::3].shape).astype(dtype)
    y[::3] = RNG.standard_normal(y[::3].shape).astype(dtype)
    of = arithmetic(name)
    with np.errstate(all="ignore"):
        for op, ufunc in (("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("divide", np.divide)):
            got = operate(op, of, [rounded_to(of, x), rounded_to(of, y)])
            assert np.array_equal(got, ufunc(x, y).astype(got.dtype), equal_nan=True), op
        assert np.array_equal(operate("sqrt", of, [rounded_to(of, x)]), np.sqrt(x).astype(got.dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_error_free_transformations_equal_the_portable_ones(dtype):
    """And both are to odd: the last bit of an inexact result is one, by the exact rational result."""
    layout = arithmetic("fp16" if dtype is np.float32 else "bf16").carrier
    rows = [(RNG.standard_normal(3000) * 2.0 ** RNG.integers(-8, 8, 3000)).astype(dtype) for _ in range(3)]
    rows[0][:6], rows[1][:6], rows[2][:6] = (
        [0, -0.0, np.inf, np.nan, 1, -1],
        [0, -0.0, 1, 1, np.inf, 1],
        [0, 0, 1, 1, 1, 1],
    )
    for op, operation in OPERATIONS.items():
        used = [np.abs(rows[0])] if op == "sqrt" else rows[: operation.operands]
        got = np.empty_like(rows[0])
        with np.errstate(all="ignore"):
            odd_compiled(op, used, got)
            want = operation.odd(NumpyFloats(), layout, *used)
            assert np.array_equal(got, want, equal_nan=True), op
            assert np.array_equal(np.signbit(got[:2]), np.signbit(want[:2]))
        for k in range(10, 200):
            exact = exactly(op, [float(row[k]) for row in used])
            if exact != float(got[k]):
                assert int(got[k : k + 1].view(np.int32 if dtype is np.float32 else np.int64)[0]) & 1
                below, above = sorted([float(got[k]), float(np.nextafter(got[k], dtype(np.inf if exact > got[k] else -np.inf)))])  # fmt: skip
                assert below < exact < above


def test_stochastic_results_are_neighbours_with_the_right_odds():
    of = arithmetic("fp8_e4m3", "stochastic")
    x, y = np.full(1 << 16, 1.0, np.float32), np.full(1 << 16, 2.0**-5, np.float32)
    found = operate("add", of, (x, y), Randomness(3))
    assert set(found.tolist()) == {1.0, 1.125}
    assert abs((found > 1).mean() - 0.25) < 0.01
    again = operate("add", of, (x, y), Randomness(3))
    assert np.array_equal(found, again)
    assert not np.array_equal(found, operate("add", of, (x, y), Randomness(3, step=1)))
    assert (operate("multiply", of, (x, x), Randomness(3)) == 1).all()
    assert (operate("divide", arithmetic("fp8_e4m3", "stochastic:8A"), (x, x), Randomness(3)) == 1).all()
    with pytest.raises(ValueError, match="random words"):
        operate("add", of, (x, y))


def test_threads_pieces_and_shapes(monkeypatch):
    from halfulp.emulate.backends import cpu

    of = arithmetic("bf16", "stochastic")
    x, y = RNG.standard_normal((7, 1, 9001)), RNG.standard_normal((5, 1))
    want = operate("multiply", of, (x, y), Randomness(1))
    assert want.shape == (7, 5, 9001)
    monkeypatch.setattr(cpu, "_THREADED_FROM", 1 << 10)
    assert np.array_equal(operate("multiply", of, (x, y), Randomness(1)), want)
    assert operate("add", of, (np.ones((0, 3)), np.ones(3)), Randomness(1)).shape == (0, 3)
    out = np.empty((7, 5, 9001))
    assert operate("multiply", of, (x, y), Randomness(1), out=out) is out


def test_logarithmic_numbers_multiply_exactly():
    """2**(i/8) times 2**(j/8) is a value whatever the rounding, though their float64 products are not."""
    fmt = hu.format("lns8f3")
    values = np.sort(values_of(fmt))
    positive = values[values > 0]
    x, y = (RNG.choice(positive[(positive > 1 / 8) & (positive < 8)], 200) for _ in range(2))
    for rounding in ("nearest_even", "up", "down", "to_odd"):
        for name in ("multiply", "divide"):
            found = computed(name, arithmetic(fmt, rounding), [x, y])
            wide = x * y if name == "multiply" else x / y
            assert np.abs(found / wide - 1).max() < 1e-12


def test_what_arithmetic_refuses():
    with pytest.raises(TypeError, match="more than a set of numbers"):
        arithmetic("mxfp4")
    with pytest.raises(ValueError, match="did you mean"):
        arithmetic("fp17")
    with pytest.raises(ValueError, match="beyond float64"):
        arithmetic("e16m3")
    with pytest.raises(ValueError, match="did you mean 'multiply'"):
        operate("multply", arithmetic("fp16"), (np.ones(1), np.ones(1)))
    with pytest.raises(ValueError, match="bits of float64"):
        hu.encode(1.0, "e11m52ieee")
