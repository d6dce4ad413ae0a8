"""The pinned set: results on the GPU equal those on the CPU, bit for bit.

Every case runs a driver of the Triton kernels, which must serve it; cases of the front door run `hu` on CUDA tensors.
Inputs are all kinds of bit patterns: spread over every exponent, the specials, and usual numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import halfulp as hu
import numpy as np
import torch
from halfulp.emulate.backends import triton
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.emulate.packing import pack_codes, unpack_codes
from halfulp.formats.rounding import DETERMINISTIC

from tests.support.cases import stratified
from tests.support.triton_runs import bits_of, butterfly, quantize

from . import arithmetic

COUNT = 1 << 20
FORMATS = (
    "fp8_e4m3", "fp8_e5m2", "fp8_e4m3fnuz", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1", "e5m0", "e4m3_nosub", "binary8p3se",
    "int8", "int4", "uint4", "q43", "bfloat16", "binary16", "tf32", "nf4", "ternary", "posit8",
)  # fmt: skip
SCALED = (
    "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8", "nvfp4", "nvfp4_2d", "nf4_block64",
    "int8_per_tensor", "int8_per_row", "int8_per_channel", "int4_per_row",
)  # fmt: skip
RANDOM = ("stochastic", "stochastic:8A", "stochastic:5B", "stochastic:5C", "stochastic_equal")
LISTS = ("nf4", "ternary", "posit8", "nf4_block64")


@dataclass(frozen=True)
class Result:
    """One case: elements compared, those that differ; or why it did not run."""

    name: str
    compared: int = 0
    wrong: int = 0
    note: str = ""


Case = tuple[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]]


def patterns(dtype: str, count: int) -> torch.Tensor:
    """(count / 1024, 1024) of that dtype: a half spread over all patterns, a half normal numbers; specials."""
    layout = LAYOUTS[dtype]
    spread = torch.from_numpy(stratified(layout, min(count // 2, 1 << 16 if layout.width == 16 else count)))
    spread = spread.view(getattr(torch, dtype)).repeat(-(-count // 2 // len(spread)))[: count // 2]
    usual = np.random.default_rng(1).standard_normal(count - len(spread)).astype(np.float32)
    specials = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan")]).to(spread.dtype)
    x = torch.cat([spread, torch.from_numpy(usual).to(spread.dtype)])
    x[-5:] = specials
    return x.reshape(-1, 1024)


def tame(x: torch.Tensor) -> torch.Tensor:
    """Without NaN and infinities, which one scale for all would spread to everything."""
    return torch.where(torch.isfinite(x), x, torch.ones((), dtype=x.dtype))


def differ(got: torch.Tensor, want: torch.Tensor) -> tuple[int, int]:
    """(elements, how many differ in their bits)."""
    same_kind = got.shape == want.shape and got.dtype == want.dtype
    if not same_kind:
        return want.numel(), want.numel()
    a, b = (bits_of(t.cpu()) if t.is_floating_point() else t.cpu() for t in (got, want))
    return want.numel(), int((a != b).sum())


def elements(device: torch.device, count: int) -> Iterator[Case]:
    """Formats without scales: roundings, overflows, dtypes, codes."""
    for dtype in ("float32", "bfloat16", "float16"):
        x = patterns(dtype, count)
        for fmt in (hu.format(name) for name in FORMATS):
            if fits(fmt, LAYOUTS[dtype]) and quantize(x[:1].to(device), fmt) is not None:
                modes = [mode.name for mode in DETERMINISTIC] + ([] if fmt.name in LISTS else ["stochastic"])
                for mode in modes if dtype == "float32" else modes[:1] + modes[-1:]:
                    yield from both(f"{fmt.name}, {mode}, {dtype}", x, device, fmt, options(mode))
    x = patterns("float32", count)
    for mode in RANDOM:
        yield from both(f"fp8_e4m3, {mode}", x, device, "fp8_e4m3", options(mode) | {"offset": 12345678901})
    for overflow in ("saturate", "propagate", "special"):
        yield from both(f"fp8_e5m2, {overflow}", x, device, "fp8_e5m2", {"overflow": overflow})
    place = hu.Shard((3, 8), (count // 512, 4096))
    yield from both("fp4_e2m1, a shard", x, device, "fp4_e2m1", options("stochastic") | {"offset": place})


def options(mode: str) -> dict:
    return {"rounding": mode} | ({"seed": (1 << 35) + 1, "step": 3, "stream": 9} if mode.startswith("st") else {})


def both(name: str, x: torch.Tensor, device: torch.device, fmt, asked: dict) -> Iterator[Case]:
    """The driver, which must not leave the case to the portable kernels."""

    def case():
        found = quantize(x.to(device), fmt, **asked)
        if found is None:
            raise RuntimeError("left to the portable kernels")
        return found, hu.quantize(x, fmt, **asked)

    yield name, case


def scaled(device: torch.device, count: int) -> Iterator[Case]:
    """Scaled formats: dtypes, axes, random elements, blocks too long for a program."""
    for name in SCALED:
        for dtype in ("float32", "bfloat16", "float16"):
            x = patterns(dtype, count)
            if dtype == "float16" and name not in ("mxfp4", "nvfp4", "int8_per_row"):
                continue
            yield from both(f"{name}, {dtype}", x, device, name, {})
            yield from both(f"{name}, {dtype}, finite", tame(x), device, name, {})
        if name not in LISTS:
            yield from both(
                f"{name}, stochastic", tame(patterns("float32", count)), device, name, options("stochastic")
            )
    for name in ("mxfp4", "nvfp4", "int8_per_row"):
        yield from both(f"{name}, first axis", patterns("float32", count), device, name, {"axis": 0})
    wide = tame(patterns("float32", count)).reshape(4, -1)
    yield from both("int8_per_row, long rows", wide, device, "int8_per_row", options("stochastic"))
    yield from both("int8_per_row, long columns", wide.T.contiguous(), device, "int8_per_row", {"axis": 0})


def rotations(device: torch.device, count: int) -> Iterator[Case]:
    """Hadamard transforms, alone and fused."""
    x = torch.from_numpy(np.random.default_rng(2).standard_normal(count).astype(np.float32)).reshape(-1, 4096)
    for size in (16, 32, 128, 1024):
        signs = np.random.default_rng(3).choice([-1, 1], size).astype(np.float32)
        rotation = triton.Rotation(size, torch.from_numpy(signs).to(device))
        want = torch.from_numpy(butterfly(x.numpy(), size, signs))

        def alone(rotation=rotation, want=want):
            out = torch.empty_like(x, device=device)
            triton.hadamard(x.to(device), rotation, out)
            return out, want

        yield f"Hadamard {size}", alone
        for fmt in ("fp8_e4m3", "mxfp4", "nvfp4", "int8_per_row"):

            def fused(fmt=fmt, rotation=rotation, want=want):
                return quantize(x.to(device), fmt, rotation=rotation), hu.quantize(want, fmt)

            yield f"Hadamard {size} and {fmt}", fused


def front_door(device: torch.device, count: int) -> Iterator[Case]:
    """`hu` on tensors of the device: values, codes, streams, gradients, torch.compile."""
    x = tame(patterns("float32", count))
    there = x.to(device)
    for fmt in ("fp8_e4m3", "nf4", "mxfp4", "nvfp4", "int8_per_row", "hif4", "e8m0"):
        yield f"quantize {fmt}", lambda fmt=fmt: (hu.quantize(there, fmt), hu.quantize(x, fmt))
        codes = partial(hu.encode, fmt=fmt)
        if hasattr(hu.format(fmt), "blocks"):
            yield f"encode {fmt}, elements", lambda codes=codes: (codes(there).elements, codes(x).elements)
            yield f"encode {fmt}, scales", lambda codes=codes: (codes(there).scales, codes(x).scales)
            yield f"decode {fmt}", lambda codes=codes: (hu.decode(codes(there)), hu.decode(codes(x)))
        else:
            yield f"encode {fmt}", lambda codes=codes: (codes(there), codes(x))
            yield f"decode {fmt}", lambda codes=codes, fmt=fmt: (hu.decode(codes(there), fmt), hu.decode(codes(x), fmt))
    for bits in range(1, 9):
        code = torch.from_numpy(np.random.default_rng(bits).integers(0, 1 << bits, count - 3)).to(torch.uint8)
        stream = pack_codes(code, bits)
        yield (
            f"pack {bits} bits",
            lambda code=code, bits=bits, stream=stream: (pack_codes(code.to(device), bits), stream),
        )
        yield f"unpack {bits} bits", lambda code=code, bits=bits, stream=stream: (
            unpack_codes(stream.to(device), bits, len(code)), code
        )  # fmt: skip

    def gradient(x):
        x = x.clone().requires_grad_()
        hu.quantize(x, "fp4_e2m1").sum().backward()
        return x.grad

    yield "gradient of fp4_e2m1", lambda: (gradient(there), gradient(x))
    for fmt in ("fp8_e4m3", "mxfp4"):
        compiled = torch.compile(partial(hu.quantize, fmt=fmt, rounding="stochastic", seed=1))
        yield f"torch.compile {fmt}", lambda compiled=compiled, fmt=fmt: (
            compiled(there), hu.quantize(x, fmt, rounding="stochastic", seed=1)
        )  # fmt: skip


UNITS: tuple[tuple[str, dict], ...] = (
    ("fp32", {}),
    ("fp16", {}),
    ("bf16", {"fma": True}),
    ("fp22", {"order": "blocked", "chunk": 64}),
    ("fp16", {"rounding": "up"}),
    ("tf32", {"rounding": "to_odd", "fma": True}),
    ("int16_narrow", {"overflow": "saturate"}),
)


def units(device: torch.device, _: int) -> Iterator[Case]:
    """The matrix unit: products of two formats in accumulators of others."""
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(shape, generator=generator) for shape in ((2, 70, 300), (2, 300, 90)))
    for accumulator, options in UNITS:
        for operands in ("fp8_e4m3", "bf16"):
            x, y = hu.quantize(a, operands), hu.quantize(b, operands)
            if accumulator.startswith("int"):
                x, y = (8 * x).round(), (8 * y).round()
            call = partial(hu.matmul, accumulator=accumulator, **options)
            name = f"matmul {operands}, {accumulator} {options or ''}".strip()
            yield name, lambda call=call, x=x, y=y: (call(x.to(device), y.to(device)), call(x, y))


def jax_cases(count: int) -> Iterator[Case]:
    """`hu` on JAX arrays of a GPU, if JAX has one."""
    import jax
    import jax.numpy as jnp

    x = tame(patterns("float32", count))
    there = jax.device_put(jnp.asarray(x.numpy()), jax.devices("gpu")[0])
    for fmt, mode in (
        ("fp8_e4m3", "nearest_even"),
        ("fp8_e4m3", "stochastic"),
        ("mxfp4", "nearest_even"),
        ("nvfp4", "nearest_even"),
        ("int8_per_row", "nearest_even"),
    ):

        def case(fmt=fmt, mode=mode):
            run = jax.jit(partial(hu.quantize, fmt=fmt, rounding=mode, seed=1))
            return torch.from_numpy(np.array(run(there))), hu.quantize(x, fmt, rounding=mode, seed=1)

        yield f"JAX {fmt}, {mode}", case


def jax_has_gpu() -> bool:
    if find_spec("jax") is None:
        return False
    import jax

    return any(device.platform == "gpu" for device in jax.devices())


def cases(device: torch.device, count: int) -> Iterator[Case]:
    """The pinned set."""
    yield from arithmetic.cases(device, count)
    yield from elements(device, count)
    yield from scaled(device, count)
    yield from rotations(device, count)


def run(device: torch.device, count: int = COUNT) -> list[Result]:
    """The results of all cases; one that raises counts as all wrong."""
    results = [judge(name, case, count) for name, case in cases(device, count)]
    results += [judge(name, case, count) for name, case in front_door(device, count)]
    results += [judge(name, case, count) for name, case in units(device, count)]
    if jax_has_gpu():
        return results + [judge(name, case, count) for name, case in jax_cases(count)]
    return [*results, Result("JAX", note="no JAX with a GPU here")]


def judge(name: str, case: Callable, count: int) -> Result:
    try:
        compared, wrong = differ(*case())
    except Exception as error:  # the record shows all cases
        return Result(
            name, count, count, f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        )
    return Result(name, compared, wrong)


def table(results: list[Result]) -> str:
    """A summary, and a row for every case that differs or did not run."""
    wrong = [result for result in results if result.wrong or result.note]
    compared = sum(result.compared for result in results)
    head = (
        f"## Equal to the CPU\n\n{len(results)} cases, {compared} elements compared bit for bit, "
        f"{sum(result.wrong for result in results)} differ."
    )
    rows = [f"| {r.name} | {r.compared} | {r.wrong} | {r.note} |" for r in wrong]
    return "\n".join([head, "", "| case | compared | differ | note |", "|---|---|---|---|", *rows]) if rows else head
