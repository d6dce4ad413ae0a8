"""The matrix unit in Triton: every result equals that of the CPU, bit for bit."""

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import torch_units, triton, triton_units
from halfulp.emulate.layouts import FLOAT32, FLOAT64
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.matmul import matmul
from halfulp.emulate.units.operands import Operand
from halfulp.emulate.units.routes import FUSED, GENERAL, NATIVE, ODD, route_for

from tests.support.triton_runs import differences

WILD = [np.inf, -np.inf, np.nan, -0.0, 0.0, 3e38, 1e-40, 5e4]


def operands(fmt, m, k, n, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    found = []
    for shape in ((*batch, m, k), (k, n)):
        x = (rng.standard_normal(shape) * 2.0 ** rng.integers(-12, 9, shape)).astype(np.float32)
        x.reshape(-1)[rng.integers(0, x.size, 4)] = rng.choice(WILD, 4)
        found.append(torch.from_numpy(x if fmt is None else hu.quantize(x, fmt)))
    return found


def check(unit, a, b, fmt=None, tile=(16, 32), target=FLOAT32):
    """The driver's result against that of the CPU; its route."""
    terms = [torch_units.terms(Operand.of("x", fmt, axis), x, False) for x, axis in ((a, -1), (b, -2))]
    route = route_for(unit.arithmetic, terms[0].span, terms[1].span, unit.fma, pairwise=False, flushes=False)
    got = triton_units.run(route, terms[0].values, terms[1].values, unit, target, tile)
    want = matmul(a, b, fmt, fmt, unit)
    assert differences(got, want.to(got.dtype)) == 0, unit
    return route


@pytest.mark.parametrize("fma", [False, True])
@pytest.mark.parametrize("accumulator", ["fp16", "bf16", "fp22", "fp8_e4m3", "fp8_e5m2", "tf32", "e5m0", "e4m3_nosub"])
def test_float_accumulators(accumulator, fma):
    for fmt, chunk in (("fp16", None), ("fp8_e4m3", 4), ("bf16", None)):
        a, b = operands(fmt, 9, 10, 18)
        check(Accumulator(accumulator, order="blocked" if chunk else "sequential", chunk=chunk, fma=fma), a, b, fmt)


@pytest.mark.parametrize("rounding", ["up", "down", "toward_zero", "away", "to_odd", "nearest_away", "nearest_zero"])
def test_roundings(rounding):
    a, b = operands("fp16", 7, 9, 20)
    kinds = {check(Accumulator(fmt, rounding=rounding), a, b, "fp16").kind for fmt in ("fp16", "fp8_e5m2", "binary32")}
    assert kinds == {GENERAL}


@pytest.mark.parametrize("overflow", ["saturate", "propagate", "special"])
def test_overflows(overflow):
    a, b = operands("fp16", 7, 9, 20)
    for fmt in ("fp16", "fp8_e4m3"):
        check(Accumulator(fmt, overflow=overflow), a, b, "fp16")


def test_carriers():
    """float32 where products are exact there, else float64; the processor's own sums for binary32."""
    a, b = operands("fp16", 5, 9, 17)
    half = Accumulator("fp16")
    assert (route := check(half, a, b, "fp16")).carrier is FLOAT32
    assert route.kind != NATIVE
    wide = check(half, *operands(None, 5, 9, 17))
    assert wide.carrier is FLOAT64
    assert check(Accumulator("fp22"), a, b, "fp16").total == ODD
    single = check(Accumulator("fp32"), a, b, "fp16")
    assert (single.kind, single.carrier) == (NATIVE, FLOAT32)
    check(Accumulator("binary64"), *operands(None, 5, 9, 17), target=FLOAT64)


def test_fused_sums():
    """The interpreter multiplies and adds in two steps: on data where that is exact."""
    a, b = (torch.randint(-9, 9, shape).float() for shape in ((4, 12), (12, 5)))
    assert check(Accumulator("fp32", fma=True), a, b).total == FUSED


def test_integers_that_saturate():
    a, b = (torch.randint(-128, 128, shape).float() for shape in ((4, 12), (12, 5)))
    check(Accumulator("int16", overflow="saturate"), a, b, "int8")
    check(Accumulator("int16@-4", overflow="saturate", rounding="up"), a / 16, b / 16, "int8@-4")


def test_batches_and_tiles():
    a, b = operands("fp16", 3, 4, 17, batch=(2, 2))
    unit = Accumulator("fp32")
    for tile in ((1, 8), (16, 64)):
        check(unit, a, b, "fp16", tile)
    check(Accumulator("fp16"), a, a.mT, "fp16", (2, 4))
    check(unit, a[:, :1], a.mT, "fp16")
    check(unit, a[..., :0], b[:0], "fp16")


def test_the_front_door_takes_the_kernel(monkeypatch):
    a, b = operands("fp16", 5, 9, 17)
    want = matmul(a, b, "fp16", "fp16", "fp16")
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(triton, "available", lambda x: True)
    with monkeypatch.context() as patched:
        patched.setattr(torch_units, "_on_host", None)
        assert differences(matmul(a, b, "fp16", "fp16", "fp16"), want) == 0
    for options in ({"order": "pairwise"}, {"accumulator": "kulisch"}, {"accumulator": "posit8"}):
        assert matmul(a, b, "fp16", "fp16", **options).shape == (5, 17)


def test_what_is_left_to_the_cpu():
    a, b = (torch_units.terms(Operand.of("x", "fp16", -1), x, False) for x in operands("fp16", 4, 4, 4))
    for unit in (
        Accumulator("fp16", order="pairwise"),
        Accumulator("fp16", order="aligned", chunk=4, aligned_bits=12),
        Accumulator("fp16", order="blocked", chunk=2, outer="fp16"),
        Accumulator("kulisch"),
        Accumulator("int16"),
        Accumulator("posit8"),
        Accumulator("fp16", rounding="stochastic"),
    ):
        assert triton_units.multiply(a, b, unit, FLOAT32) is None, unit
