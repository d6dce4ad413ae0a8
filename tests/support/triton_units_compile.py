"""Compile what the driver of the matrix unit launches for a GPU that is not there; see `triton_compile`.

    python -m tests.support.triton_units_compile FOLDER

writes the PTX of the kernels and prints name, tab, key of some launches of which those of one name run one program.
"""

import sys
from pathlib import Path

import torch
from halfulp.emulate.backends import torch_units, triton_units
from halfulp.emulate.layouts import FLOAT32
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.operands import Operand

from .triton_compile import last


def launch(fmt, unit, shape=(64, 48, 96)):
    m, k, n = shape
    terms = [torch_units.terms(Operand.of("x", fmt, -1), torch.ones(s), False) for s in ((m, k), (k, n))]
    return last(lambda: triton_units.multiply(*terms, unit, FLOAT32))


def cases():
    yield "native_blocked", launch("fp16", Accumulator("fp32", order="blocked", chunk=16))
    yield "fused", launch(None, Accumulator("fp32", fma=True))
    yield "fp16", launch("fp16", Accumulator("fp16"))
    yield "fp22_blocked", launch("fp8_e4m3", Accumulator("fp22", order="blocked", chunk=128))
    yield "fp22_wide_blocked", launch(None, Accumulator("fp22", order="blocked", chunk=128))


def same_programs():
    for accumulator in ("fp8_e4m3", "e3m2", "fp6_e3m2"):
        yield "narrow", launch("fp4_e2m1", Accumulator(accumulator))
    for chunk, shape in ((16, (64, 48, 96)), (128, (3, 1, 7))):
        yield "blocked", launch("fp8_e4m3", Accumulator("fp22", order="blocked", chunk=chunk), shape=shape)


def main():
    for name, found in same_programs():
        print(name, found.key, sep="\t")
    for name, found in cases():
        Path(sys.argv[1], f"{name}.ptx").write_text(found.ptx())


if __name__ == "__main__":
    main()
