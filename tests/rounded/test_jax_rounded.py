"""Operations in JAX have the bits of NumPy's; functions are rounded operation by operation."""

from fractions import Fraction
from functools import partial
from math import copysign, isinf, isnan

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.emulate import arithmetic as ieee
from halfulp.emulate.backends.integers import NumpyIntegers
from halfulp.emulate.backends.jax_integers import JaxIntegers
from halfulp.emulate.backends.jax_rounded import operate as operate_jax
from halfulp.emulate.backends.jax_rounded_run import Run
from halfulp.emulate.backends.jax_rounded_sums import products
from halfulp.emulate.layouts import FLOAT32, FLOAT64
from halfulp.emulate.rounded import reductions
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.draws import Draws
from halfulp.emulate.rounded.operations import OPERATIONS, operate
from halfulp.emulate.rounded.rational import exactly
from halfulp.formats.rounding import ROUNDINGS
from jax import lax

ALL = tuple(OPERATIONS)
MOST = {
    "nearest_even": ALL, "up": ("add",), "down": ("subtract", "fma"), "to_odd": ("divide",),
    "toward_zero": ("multiply",), "stochastic": ("add",),
}  # fmt: skip
CASES = {
    "fp16": MOST, "bf16": MOST, "fp8_e4m3": MOST, "fp8_e5m2": MOST, "e3m2": MOST, "int8": MOST,
    "tf32": {"nearest_even": ALL}, "fp24": {"nearest_even": ALL}, "posit8": {"nearest_even": ("add",), "down": ("subtract",)}, "nf4": {"nearest_even": ("divide",), "stochastic": ("add",)},
    "binary32": {"nearest_even": ALL[:-1], "up": ("add",), "down": ("fma",), "stochastic": ("add",)},
}  # fmt: skip
"""Operations by format and rounding. Formats are run-time data, so that few of these compile a program of their own."""
BITS = {32: np.int32, 64: np.int64}
FLOATS = {"float32": np.float32, "float64": np.float64}
BY_BITS = {
    "add": ieee.plus, "subtract": ieee.minus, "multiply": ieee.times, "divide": ieee.over, "sqrt": ieee.sqrt,
    "fma": ieee.fma,
}  # fmt: skip


def assert_same(got, want, *context):
    same = (got == want) & (np.signbit(got) == np.signbit(want)) | (np.isnan(got) & np.isnan(want))
    wrong = np.flatnonzero(~same)
    assert not wrong.size, (context, wrong.size, wrong[:3], got[wrong[:3]], want[wrong[:3]])


# ---------------------------------------------------------------- integer arithmetic


def patterns(layout, count, rng, kept=0):
    """Bits of any numbers, of subnormals, of numbers near one, and the corners; `kept` low bits are cleared."""
    m, sign = layout.mantissa_bits, -1 << (layout.width - 1)
    one, third = layout.bias << m, count // 3
    x = rng.integers(0, layout.nan + 9, count)
    x[:third] = rng.integers(0, 4 << m, third)
    x[third : 2 * third] = one + rng.integers(-30 << m, 30 << m, third)
    corners = [0, 1, 2, (1 << m) - 1, 1 << m, one - 1, one, one + 1, layout.infinity - 1, layout.infinity, layout.nan]
    x[: len(corners)] = corners
    x = np.where(x < layout.infinity, x & -(1 << kept), x)
    return np.where(rng.random(count) < 0.5, x, x | sign).astype(BITS[layout.width])


def rounded_bits(layout, exact, odd):
    """By definition: the number below in magnitude, or its odd neighbour, or the nearest."""
    if isinstance(exact, float):
        magnitude = layout.nan if isnan(exact) else layout.infinity if isinf(exact) else 0
        return magnitude | (-1 << (layout.width - 1) if copysign(1, exact) < 0 and not isnan(exact) else 0)
    below = layout.floor(abs(exact))
    rest = abs(exact) - layout.number(below)
    if odd:
        below |= rest != 0
    elif rest:
        above = layout.number(below + 1) if below + 1 < layout.infinity else Fraction(2) ** (layout.bias + 1)
        twice = 2 * rest - (above - layout.number(below))
        below += twice > 0 or (twice == 0 and below & 1)
    return below | (-1 << (layout.width - 1) if exact < 0 else 0)


@pytest.mark.parametrize("layout", [FLOAT32, FLOAT64], ids=["32", "64"])
@pytest.mark.parametrize("name", BY_BITS)
def test_integer_arithmetic_is_that_of_rational_numbers(name, layout):
    rng, count, xp = np.random.default_rng(0), 1500, NumpyIntegers(layout.width)
    short = layout.mantissa_bits + 1 - (layout.mantissa_bits + 1) // 2 if name == "fma" else 0  # exact products
    rows = [rng.permutation(patterns(layout, count, rng, short * (k < 2))) for k in range(OPERATIONS[name].operands)]
    with np.errstate(all="ignore"):
        floats = [row.view(FLOATS[layout.name]).astype(np.float64).tolist() for row in rows]
        exact = [exactly(name, numbers) for numbers in zip(*floats)]
    for odd in (True, False):
        want = np.array([rounded_bits(layout, number, odd) for number in exact], dtype=object)
        with np.errstate(all="ignore"):
            assert (BY_BITS[name](xp, layout, *rows, odd=odd) == want).all()


@pytest.mark.parametrize("name", ["divide", "sqrt", "fma"])
def test_integer_arithmetic_is_the_same_when_compiled(name):
    rng, xp = np.random.default_rng(1), NumpyIntegers(32)
    kept = 12 if name == "fma" else 0
    rows = [patterns(FLOAT32, 1 << 17, rng, kept) for _ in range(OPERATIONS[name].operands)]
    compiled = jax.jit(lambda *rows: BY_BITS[name](JaxIntegers(32), FLOAT32, *rows, odd=True))
    with np.errstate(all="ignore"):
        assert np.array_equal(compiled(*rows), BY_BITS[name](xp, FLOAT32, *rows, odd=True))


# ---------------------------------------------------------------- operations


def values(of, count, seed=0):
    """(3, n) values of a format: near one, of all magnitudes, and all triples of corners."""
    rng = np.random.default_rng(seed)
    corners = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, float(of.fmt.max), float(of.fmt.min), 2.0**-149, -(2.0**-133)]
    scales = np.exp2(rng.integers(-150, 128, (3, count)).astype(float))
    rows = rng.standard_normal((3, count)) * np.where(rng.random((3, count)) < 0.5, 1, scales)
    triples = np.stack([np.repeat(corners, 100), np.tile(np.repeat(corners, 10), 10), np.tile(corners, 100)])
    return hu.quantize(np.concatenate([rows, triples], 1), of.fmt)


def check(name, of, rows, dtype=np.float32):
    operands = rows[: OPERATIONS[name].operands]
    words = Draws(7, 3).next() if of.rounding.stochastic else None
    want = operate(name, of, [row.astype(FLOATS[of.carrier.name]) for row in operands], words)
    got = np.asarray(operate_jax(name, of, [jnp.asarray(row.astype(dtype)) for row in operands], words))
    assert got.dtype == dtype
    assert_same(got, want.astype(dtype), of, name)


@pytest.mark.parametrize("fmt", CASES)
def test_operations_have_the_bits_of_numpy(fmt):
    for rounding, names in CASES[fmt].items():
        of = arithmetic(fmt, rounding)
        rows = values(of, 3000)
        for name in names:
            check(name, of, rows)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [*CASES, "uint4", "int4_midrise", "e8m0", "binary8p3se", "int12@-3"])
def test_every_operation_in_every_rounding(fmt):
    for rounding in (*ROUNDINGS, "stochastic:8C"):
        of = arithmetic(fmt, rounding)
        for name in ALL if not of.rational else ():
            check(name, of, values(of, 3000))


def test_operations_on_arrays_of_other_dtypes():
    check("add", arithmetic("e4m3", "up"), values(arithmetic("e4m3"), 1000), np.float16)
    with jax.enable_x64(True):
        check("divide", arithmetic("fp64"), values(arithmetic("fp64"), 1000), np.float64)
        check("add", arithmetic("fp16", "up"), values(arithmetic("fp16"), 1000), np.float64)


def test_compilers_know_no_shortcut():
    """XLA takes x + 0 for x, divides by a constant by way of its reciprocal, and contracts a * b + c."""
    of = arithmetic("fp16", "down")
    x = values(of, 1000)[0].astype(np.float32)
    cases = [(name, np.float32(c)) for c in (0.0, -0.0, 3.0) for name in ("add", "subtract", "multiply")]
    cases += [("divide", np.float32(3.0))]

    def function(x):
        found = [operate_jax(name, of, (x, c)) for name, c in cases]
        found += [operate_jax("add", of, (operate_jax("multiply", of, (x, x)), x))]
        return jnp.stack(found)

    want = [operate(name, of, (x, c)) for name, c in cases]
    want += [operate("add", of, (operate("multiply", of, (x, x)), x))]
    assert_same(np.asarray(jax.jit(function)(x)).reshape(-1), np.concatenate(want))


def test_operations_under_transformations():
    """64-bit integers exist inside of an operation only."""
    of = arithmetic("nf4")
    x = hu.quantize(np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32), "nf4")
    x[x == 0] = 1
    wide = x.astype(np.float64)
    want = operate("divide", of, (wide, wide.T)).astype(np.float32)

    @jax.jit
    def function(x):
        divide = partial(lambda x, y: operate_jax("divide", of, (x, y)))
        return jax.vmap(divide)(x, x.T), jax.grad(lambda x, y: divide(x, y).sum())(x, x.T)

    found, gradient = function(x)
    assert_same(np.asarray(found), want)
    assert_same(np.asarray(gradient) + 0, np.where(np.abs(x / x.T) <= 1, np.float32(1) / x.T, np.float32(0)))


def test_members_of_a_map_draw_words_of_their_own():
    of, words = arithmetic("bf16", "stochastic"), Draws(1).next()
    third = jax.vmap(lambda x: operate_jax("divide", of, (x, jnp.float32(3)), words))(jnp.ones(64))
    assert set(np.asarray(third).tolist()) == {float(hu.quantize(1 / 3, "bf16", rounding=r)) for r in ("up", "down")}


# ---------------------------------------------------------------- functions


X = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((8, 6)).astype(np.float32)


def test_functions_compute_as_arrays():
    a, b = hu.array(X, "fp16"), hu.array(W, "fp16")

    def function(x, w):
        cube = x[:, :4] / x[:, 4:] - 0.1 * x[:, :4] ** 3
        found = x @ w, jnp.mean(x), x.prod(1), cube, jnp.sort(x, 1), x.max(), jnp.maximum(x, 0.1)
        return *found, jnp.cumsum(x, 1), jnp.einsum("ij,kj->ik", x, x), x[jnp.array([3, 1])].T, jnp.linalg.norm(x)

    c = a[:, :4]
    want = [a @ b, a.sum() / 40.0, a.prod(1), c / a[:, 4:] - 0.1 * (c * (c * c)), np.sort(a, 1), a.max()]
    want += [np.maximum(a, 0.1), a.cumsum(1), a @ a.T, a[[3, 1]].T, np.linalg.norm(a)]
    for got, each in zip(hu.rounded(function, "fp16")(X, W), want):
        assert got.dtype == np.float32
        assert_same(np.asarray(got), each.values)


def test_pairwise_sums():
    a, b = hu.array(X, "bf16"), hu.array(W, "bf16")
    found = hu.rounded(lambda x, w: (x @ w, x.sum(0)), "bf16", order="pairwise")(X, W)
    for got, each in zip(found, (a.dot(b, "pairwise"), a.sum(0, order="pairwise"))):
        assert_same(np.asarray(got), each.values.astype(np.float32))


@pytest.mark.parametrize(("order", "terms"), [("sequential", 11), ("pairwise", 3)])
def test_sums_draw_the_random_words_of_numpy(order, terms):
    of, draws, rng = arithmetic("fp8_e5m2", "stochastic"), Draws(3), np.random.default_rng(0)
    a, b = (hu.quantize(rng.standard_normal(shape), "fp8_e5m2") for shape in ((2, 5, terms), (2, terms, 4)))
    want = reductions.dot_general(of, a, b, order, draws)
    got = jax.jit(lambda a, b: products(Run(of, order, 3), a, b))(a.astype(np.float32), b.astype(np.float32))
    assert_same(np.asarray(got), want.astype(np.float32))


def test_subnormals_are_compared():
    """XLA takes float32 subnormals for zero."""
    x = np.array([1e-40, -1e-40, 3e-39, 0.0, -0.0, np.nan, 1.0], np.float32)
    a = hu.quantize(x, "bf16")

    def function(x):
        return (
            x > 0,
            x == 0,
            jnp.maximum(x, 0),
            jnp.sort(x),
            jnp.sign(x),
            jnp.clip(x, -1, 1),
            x.max(),
            jnp.argmin(x[:3]),
        )

    with np.errstate(all="ignore"):
        want = a > 0, a == 0, np.maximum(a, 0), np.sort(a), np.sign(a), np.clip(a, -1, 1), a.max(), np.argmin(a[:3])
        for got, each in zip(hu.rounded(function, "bf16")(x), want):
            assert np.array_equal(np.asarray(got), each, equal_nan=True)
        gradient = jax.grad(hu.rounded(lambda x: jnp.maximum(x, 0.5).sum(), "bf16"))(x[:5] + 1)
    assert gradient.tolist() == [1.0] * 5


def controlled(x):
    """Loops, branches, nested functions and rules for derivatives."""
    last, rows = lax.scan(lambda c, row: (c + row, c * row), jax.nn.relu(x[0]), x)
    grown = lax.while_loop(lambda s: s.sum() < 4, lambda s: s * 1.25, jnp.abs(last))
    chosen = lax.cond(grown[0] > 0, lambda s: s * 2, lambda s: s, grown)
    again = jax.checkpoint(lambda s: jnp.sin(s) ** 3)(chosen)
    return again + rows.sum() + jax.jit(jnp.tanh)(again[0])


def test_control_flow():
    found, plain = jax.jit(hu.rounded(controlled, "fp16"))(X), jax.jit(controlled)(X)
    assert jnp.abs(found - plain).max() < 0.02
    assert jnp.array_equal(hu.quantize(found, "fp16"), found)


def test_iterations_draw_words_of_their_own():
    def function(x):
        up = lax.scan(lambda c, _: (lax.cond(c[0] > 0, lambda c: c + x, lambda c: c, c), None), x, None, 64)[0]
        return up, lax.while_loop(lambda s: s[1] < 64, lambda s: (s[0] + x, s[1] + 1), (x, 0))[0]

    x = jnp.full(512, 1 + 2.0**-10)
    for found in hu.rounded(function, "fp16", rounding="stochastic", seed=0)(x):
        assert abs(found.mean() - 65 * x[0]) < 0.01  # nearest-even is off by 0.06
        assert len(np.unique(found)) > 3


def test_gradients_go_straight_through_or_are_rounded():
    def loss(w, x):
        return jnp.sum(jnp.square(x @ w))

    plain = jax.jit(jax.grad(loss))(W[:, 0], X)
    through = jax.jit(jax.grad(hu.rounded(loss, "fp16")))(W[:, 0], X)
    inside = hu.rounded(jax.grad(loss), "fp16")(W[:, 0], X)
    for found in (through, inside):
        assert jnp.linalg.norm(found - plain) < 3e-3 * jnp.linalg.norm(plain)
    assert jnp.array_equal(hu.quantize(inside, "fp16"), inside)
    assert jax.grad(hu.rounded(jax.nn.relu, "fp16"))(0.0) == 0  # its own rule, not half of a tie


def test_convolutions_windows_and_scattered_sums():
    """Exact on small integers, whatever the order."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 7, 9, 4), (3, 2, 2, 6)))
    places = jnp.array([[0], [3], [1], [1]])

    def convolved(x, w):
        return lax.conv_general_dilated(
            x, w, (2, 1), "SAME", rhs_dilation=(1, 2), dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
        )

    def function(x, w):
        gradient = jax.grad(lambda w, x: jnp.sum(convolved(x, w)))(w, x)
        pooled = lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 2, 1), "SAME")
        return convolved(x, w), gradient, pooled, x.at[:, places, 1].add(2.0), x[1].at[places, 8].set(1.0)

    for got, want in zip(hu.rounded(function, "fp16")(x, w), jax.jit(function)(x, w)):
        assert jnp.array_equal(got, want)


def test_what_is_no_float_passes():
    def function(x, n, key):
        return x + n, n * 2, jnp.argmax(x), jax.random.split(key)[0]

    key = jax.random.key(0)
    found = hu.rounded(function, "fp8_e4m3")(jnp.float32(0.3), 3, key)
    assert (
        found[0] == hu.array(0.3, "fp8_e4m3").item() + 3 - 0.0625
    )  # 3.3125 is between two values, 3.25 the nearer one
    assert (found[1], found[2]) == (6, 0)
    assert (jax.random.key_data(found[3]) == jax.random.key_data(jax.random.split(key)[0])).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: hu.rounded(jnp.linalg.cholesky, "fp16")(x), TypeError, "cholesky is not made of rounded operations"),
        (lambda x: hu.rounded(jnp.sin, "fp64")(x), ValueError, "jax_enable_x64"),
        (lambda x: hu.rounded(jnp.sin, "bf16")(x.astype(np.float16)), ValueError, "convert them to float32"),
        (lambda x: hu.rounded(jnp.sin, "fp16")(x + 1j), TypeError, "real numbers"),
        (lambda x: hu.rounded(lambda x: x.astype(jnp.complex64), "fp16")(x), TypeError, "complex numbers"),
        (lambda x: hu.rounded(lambda x: x.astype(jnp.float8_e5m2), "fp16")(x), TypeError, "got float8_e5m2"),
        (lambda x: hu.rounded(jnp.add, "lns8f3")(x, x), TypeError, "takes rational arithmetic"),
        (lambda x: operate_jax("hypot", arithmetic("fp16"), (x, x)), ValueError, "unknown operation"),
        (lambda x: operate_jax("add", arithmetic("fp16", "sr"), (x, x)), ValueError, "needs random words"),
    ],
)
def test_errors_say_what_to_type(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.eye(3))
