"""Stochastic rounding: every result equals the definition's, given the same random word; the definition is unbiased."""

from fractions import Fraction
from itertools import pairwise

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats import exact
from halfulp.formats.registry import NAMED
from halfulp.formats.registry import plain_format as named
from halfulp.formats.rounding import STOCHASTIC, STOCHASTIC_EQUAL

from ..support.backends import BACKENDS
from ..support.cases import NARROW, both_sides, evaluate, explain, layouts_for, stratified
from ..support.reference_philox import element_word

FLOAT32, FLOAT64 = LAYOUTS["float32"], LAYOUTS["float64"]
MODES = [STOCHASTIC, STOCHASTIC_EQUAL, *(hu.stochastic(n, v) for n, v in [(1, "A"), (3, "B"), (1, "C"), (8, "C"), (23, "A"), (30, "B"), (30, "C"), (12, "C")])]  # fmt: skip
SEED = 3


def wanted(fmt, layout, mode, overflow, bits):
    words = (element_word(k, SEED, layout.work_width) for k in range(len(bits)))
    return evaluate(fmt, layout, mode, overflow, bits, words)


def points(fmt, layout, count=400):
    """Breakpoints and their neighbours, thinned, and numbers of every magnitude."""
    edges = both_sides(fmt, layout) if fmt.bits <= 10 else stratified(layout, 64)
    rng = np.random.default_rng(1)
    edges = edges[np.sort(rng.permutation(len(edges))[:count])]
    inside = rng.uniform(-float(fmt.max), float(fmt.max), count) * 2.0 ** rng.integers(-30, 2, count)
    magnitudes = [layout.floor(abs(Fraction(v))) for v in inside]
    sign = -1 << (layout.width - 1)
    return np.concatenate(
        [edges, np.array([m | (sign if v < 0 else 0) for m, v in zip(magnitudes, inside)], edges.dtype)]
    )


@pytest.mark.parametrize(
    "name", [*NARROW, "binary16", "bfloat16", "int16", "e5m2b18", "int4_midrise", "e4m3_nosub", "ue5m0_nozero"]
)
def test_full_stochastic_equals_the_definition(name):
    fmt = named(name)
    for layout in layouts_for(fmt):
        bits = points(fmt, layout)
        want = wanted(fmt, layout, STOCHASTIC, None, bits)
        for backend, run in BACKENDS.items():
            got = run(bits, fmt, layout, rounding="stochastic", seed=SEED)
            assert np.array_equal(got, want), (backend, layout.name, explain(bits, got, want, layout))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.spec)
@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "int4", "nf4", "ternary", "e4m3_nosub", "pow2_4"])
def test_every_variant_equals_the_definition(name, mode):
    fmt = named(name)
    for layout in (FLOAT32, FLOAT64, LAYOUTS["bfloat16"])[: 2 if name == "nf4" else 3]:
        bits = points(fmt, layout)
        want = wanted(fmt, layout, mode, None, bits)
        for backend, run in BACKENDS.items():
            if backend == "jax" and layout is not FLOAT32 and mode.spec not in ("stochastic:8C", "stochastic_equal"):
                continue  # each of these compiles anew, and runs the code that "portable" has just run
            got = run(bits, fmt, layout, rounding=mode, seed=SEED)
            assert np.array_equal(got, want), (backend, layout.name, explain(bits, got, want, layout))


@pytest.mark.parametrize("overflow", ["special", "propagate", "saturate"])
def test_overflow_follows_the_rounding(overflow):
    for name in ("fp8_e4m3", "binary16", "fp4_e2m1"):
        fmt = NAMED[name]
        top = float(fmt.max)
        x = np.linspace(0.9 * top, 1.2 * top, 2000).astype(np.float32).view(np.int32)
        want = wanted(fmt, FLOAT32, STOCHASTIC, overflow, x)
        for backend, run in BACKENDS.items():
            got = run(x, fmt, FLOAT32, rounding="stochastic", seed=SEED, overflow=overflow)
            assert np.array_equal(got, want), (backend, explain(x, got, want, FLOAT32))


@pytest.mark.parametrize("variant", "ABC")
@pytest.mark.parametrize("bits", range(1, 9))
def test_probability_of_few_bits_over_all_words(bits, variant):
    """P(away) counts the R of 0 .. 2**N - 1 that satisfy the formula of P3109, written here once more."""
    scale = 1 << bits
    for nu in [Fraction(k, 1000) for k in range(1, 1000, 111)] + [
        Fraction(k, 2 * scale) for k in range(1, 2 * scale, 1 + scale // 16)
    ]:
        r = np.arange(scale)
        if variant == "A":
            away = nu * scale // 1 + r >= scale
        elif variant == "B":
            away = nu * 2 * scale // 1 + 2 * r + 1 >= 2 * scale
        else:
            away = round(nu * scale) + r >= scale
        mode = hu.stochastic(bits, variant)
        got = [exact.round_exact(NAMED["int8"], 5 + nu, mode, int(word) << (32 - bits)) == 6 for word in r]
        assert np.array_equal(got, away)


def test_published_few_bit_probabilities():
    """P3109 examples: nu=1/4, N=1: A 0, B 1/2, C 0; nu=7/8, N=2: A 3/4, B 1, C 1."""
    for nu, bits, probabilities in [(Fraction(1, 4), 1, (0, 0.5, 0)), (Fraction(7, 8), 2, (0.75, 1, 1))]:
        for variant, probability in zip("ABC", probabilities):
            x = np.full(1 << 14, 5 + float(nu), np.float32)
            away = hu.quantize(x, "int8", rounding=hu.stochastic(bits, variant), seed=0) == 6
            assert abs(away.mean() - probability) < 0.02  # 2**14 draws: five standard deviations


def z_score(x, fmt, **options):
    """(mean - x) in standard errors, over the draws of one constant."""
    copies = np.full(1 << 16, x, options.pop("dtype", np.float32))
    result = hu.quantize(copies, fmt, rounding="stochastic", **options).astype(np.float64)
    spread = result.std()
    return 0.0 if spread == 0 and result[0] == x else (result.mean() - float(copies[0])) / (spread / 256)


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "fp6_e2m3", "int4", "nf4", "bfloat16"])
def test_unbiased_on_many_points(name):
    """z-tests in every binade, subnormals and the last binade included; at most as many large ones as chance gives."""
    fmt = NAMED[name]
    rng = np.random.default_rng(0)
    values = (
        sorted(v for v in exact.numbers(fmt) if v >= 0)
        if fmt.bits <= 8
        else [Fraction(2) ** k for k in range(-130, 126, 5)]
    )
    gaps = [(a, b) for a, b in pairwise(values)]
    picks = [gaps[k] for k in np.unique(np.linspace(0, len(gaps) - 1, 40).astype(int))]
    scores = [
        z_score(float(a + (b - a) * Fraction(rng.uniform(0.02, 0.98))), fmt, seed=7, step=k)
        for k, (a, b) in enumerate(picks)
    ]
    assert np.max(np.abs(scores)) < 4.5
    assert abs(np.sum(scores)) < 4 * np.sqrt(len(scores))


def test_exact_values_never_move():
    for name in (*NARROW, "int4_midrise"):
        fmt = named(name)
        dtype = np.float32 if fits(fmt, LAYOUTS["float32"]) else np.float64
        values = np.array([float(v) for v in exact.numbers(fmt)], dtype)
        for mode in MODES:
            for step in range(3):
                assert np.array_equal(hu.quantize(values, fmt, rounding=mode, seed=0, step=step), values)


def test_stated_probabilities():
    """E4M3: 449 becomes NaN with probability 1/32 and never when saturating; 2**-10 goes up half the time."""
    n = 1 << 18
    x = np.full(n, 449, np.float32)
    assert (
        abs(np.isnan(hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=1, overflow="special")).mean() - 1 / 32)
        < 0.002
    )
    assert np.all(hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=1) == 448)
    tiny = hu.quantize(np.full(n, 2.0**-10, np.float32), "fp8_e4m3", rounding="stochastic", seed=1)
    assert abs((tiny == 2.0**-9).mean() - 0.5) < 0.005
    equal = hu.quantize(np.full(n, 1.001, np.float32), "fp8_e4m3", rounding="stochastic_equal", seed=1)
    assert abs((equal == 1.125).mean() - 0.5) < 0.005
