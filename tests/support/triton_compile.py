"""Compile what the Triton drivers launch for a GPU that is not there: a program for `tests/emulate/test_triton.py`.

    python -m tests.support.triton_compile FOLDER [--all]

writes the PTX of some kernels, or of all, and prints which programs launches ask for: name, tab, key. Launches are caught where Triton would look for a device. Keys are what Triton keeps compiled programs by.
"""

import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import halfulp as hu
import torch
import triton
from halfulp.emulate.backends import triton as drivers
from halfulp.emulate.backends import triton_packing
from halfulp.emulate.backends.triton_memory import BLOCK
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from .triton_runs import quantize

TARGET = GPUTarget("cuda", 90, 32)
SIZE = 1 << 14


class Launch:
    """A kernel with the arguments it is launched with."""

    def __init__(self, kernel, arguments, named):
        self.kernel, self.backend = kernel, make_backend(TARGET)
        self.named = {**named, "debug": False}
        binder = create_function_from_signature(kernel.signature, kernel.params, self.backend)
        self.bound, self.specialization, self.options = binder(*arguments, **self.named)

    @property
    def key(self):
        return repr((self.kernel.__name__, self.specialization, sorted(self.options.items())))

    def ptx(self):
        options, signature, constants, attributes = self.kernel._pack_args(
            self.backend, self.named, self.bound, self.specialization, self.options
        )
        source = ASTSource(self.kernel, signature, constants, attributes)
        return triton.compile(source, target=TARGET, options=options.__dict__).asm["ptx"]


@contextmanager
def caught():
    """The list of launches, none of which happens."""
    launches, run = [], JITFunction.run

    def catch(kernel, *arguments, grid, warmup, **named):
        launches.append(Launch(kernel, arguments, named))

    JITFunction.run = catch
    try:
        yield launches
    finally:
        JITFunction.run = run


def last(call):
    """The last launch of a driver: after that of maxima, where there is one, that of the elements."""
    with caught() as launches:
        call()
    return launches[-1]


def tensor(dtype=torch.float32, columns=512):
    return torch.ones(SIZE // columns, columns, dtype=dtype)


def cases():
    x, half, rotation = tensor(), tensor(torch.bfloat16), drivers.Rotation(32, torch.ones(32))
    random = {"rounding": "stochastic", "seed": 1, "block": BLOCK}
    plain = {"block": BLOCK}
    return {
        "fp8_e4m3": lambda: quantize(x, "fp8_e4m3", **plain),
        "fp8_e4m3_stochastic": lambda: quantize(x, "fp8_e4m3", **random),
        "mxfp4": lambda: quantize(x, "mxfp4", **plain),
        "mxfp4_rotated_stochastic": lambda: quantize(half, "mxfp4", rotation=rotation, **random),
        "mxfp4_first_axis": lambda: quantize(x, "mxfp4", axis=0, **plain),
        "nvfp4": lambda: quantize(half, "nvfp4", **plain),
        "int8_per_row": lambda: quantize(half, "int8_per_row", **plain),
        "nf4": lambda: quantize(x, "nf4", **plain),
        "pack4": lambda: triton_packing.pack(torch.zeros(SIZE, dtype=torch.uint8), 4),
    }


def more_cases():
    """All other kernels, and other shapes, dtypes and flags of those above."""
    x, half, odd = tensor(), tensor(torch.bfloat16), torch.ones(37, 77)
    wide, rotation = torch.ones(4, 1 << 15), drivers.Rotation(4096)
    random = {"rounding": "stochastic", "seed": 1, "block": BLOCK}
    stream = torch.zeros(1 << 13, dtype=torch.uint8)
    return {
        "other_rounding": lambda: quantize(x, "e3m2", rounding="up", block=BLOCK),
        "special": lambda: quantize(x, "binary16", block=BLOCK),
        "any_offset_and_size": lambda: quantize(odd, "int8", offset=3, **random),
        "few_bits": lambda: quantize(x, "int8", **random | {"rounding": "stochastic:8C"}),
        "float16": lambda: quantize(x.half(), "fp8_e5m2", out_dtype="bfloat16", block=BLOCK),
        "nvfp4_2d": lambda: quantize(x, "nvfp4_2d", block=BLOCK),
        "nf4_block64": lambda: quantize(half, "nf4_block64", block=BLOCK),
        "long_rows": lambda: quantize(wide, "int8_per_row", **random),
        "long_columns": lambda: quantize(wide.T.contiguous(), "int8_per_row", axis=0, block=BLOCK),
        "odd_rows": lambda: quantize(odd, "int8_per_row", **random),
        "hadamard": lambda: drivers.hadamard(wide, rotation, torch.empty_like(wide)),
        "hadamard_and_nvfp4": lambda: quantize(half, "nvfp4", rotation=drivers.Rotation(32), block=BLOCK),
        "codes": lambda: hu.encode(x, "binary16"),
        "codes_of_list": lambda: hu.encode(x, "nf4", nan=0.0),
        "codes_and_scales": lambda: hu.encode(half, "nvfp4"),
        "values": lambda: hu.decode(torch.zeros(SIZE, dtype=torch.uint8), "fp8_e4m3"),
        "values_of_scaled": lambda: hu.decode(ONES, out_dtype="bfloat16"),
        "unpack4": lambda: triton_packing.unpack(stream, 4, SIZE),
        "pack3_unpack5": lambda: (triton_packing.pack(stream, 3), triton_packing.unpack(stream[:-3], 5, 13_000)),
    }


ONES = hu.encode(tensor(), "mxfp4")


def same_programs():
    """Launches of one name run one program."""
    x, half = tensor(), tensor(torch.bfloat16)
    run = partial(quantize, block=BLOCK)
    for fmt in ("fp8_e4m3", "fp4_e2m1", "e3m2", hu.format("e2m5")):
        yield "nearest", lambda fmt=fmt: run(x, fmt)
    for mode in ("up", "to_odd", "toward_zero"):
        yield "directed", lambda mode=mode: run(x, "fp8_e4m3", rounding=mode)
    for seed, step, stream, offset in ((0, 0, 0, 0), (1 << 40, 1, 16, 16), (16, 1 << 31, 1, 1 << 40)):
        options = {"seed": seed, "step": step, "stream": stream, "offset": offset}
        yield "random", lambda options=options: run(x, "e3m2", rounding="stochastic", **options)
    for fmt in ("mxfp4", "mxfp8_e4m3", "mxfp6_e2m3"):
        yield "MX", lambda fmt=fmt: run(half, fmt)
    for bits in (3, 5):
        yield "odd packing", lambda bits=bits: triton_packing.pack(torch.zeros(SIZE, dtype=torch.uint8), bits)


def main():
    for name, call in same_programs():
        print(name, last(call).key, sep="\t")
    for name, call in cases().items():
        Path(sys.argv[1], f"{name}.ptx").write_text(last(call).ptx())
    if "--all" not in sys.argv:
        return
    drivers.available = lambda x: True  # for what goes in by the front door
    for name, call in more_cases().items():
        with caught() as launches:
            call()
        for k, launch in enumerate(launches):
            Path(sys.argv[1], f"{name}_{k}.ptx").write_text(launch.ptx())


if __name__ == "__main__":
    main()
