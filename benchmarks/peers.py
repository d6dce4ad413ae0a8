"""Other libraries' rows. Each says as plainly as its library allows what the task asks for.

A library is imported in its row's `make`, never here: one that is missing, or that raises, is a line of the table.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import as_numpy, as_tensor, jitted
from .peers_torch import (
    first_axis,
    hadamard_32,
    int8,
    mx,
    nvfp4,
    torch_cast,
    torchao,
    torchao_pack,
    torchao_unpack,
    torchao_values,
)
from .rows import Row
from .tasks import LARGE, Task
from .timing import Call

Make = Callable[[Task, np.ndarray], Call]

SLOW, SLOWEST = 1 << 20, 1 << 14
"""Largest sizes of libraries that take hundreds and tens of thousands of copies."""


def _into(out: Any, result: Any) -> Any:
    np.copyto(out, result, casting="unsafe")  # NumPy knows no order between ml_dtypes and float16
    return out


# NumPy and ml_dtypes


def _cast(dtype: str) -> Make:
    """Cast to a dtype of NumPy or ml_dtypes and back, both into arrays made beforehand."""

    def make(task: Task, x: np.ndarray) -> Call:
        import ml_dtypes

        narrow, out = np.empty(x.shape, getattr(ml_dtypes, dtype, dtype)), np.empty_like(x)

        def call() -> np.ndarray:
            np.copyto(narrow, x, casting="unsafe")
            return narrow.view(np.uint8) if task.operation == "encode" else _into(out, narrow)

        return call

    return make


def _ml_dtypes_pack(_: Task, x: np.ndarray) -> Call:
    import ml_dtypes

    narrow, packed = np.empty(x.size, ml_dtypes.float4_e2m1fn), np.empty(x.size // 2, np.uint8)
    codes = narrow.view(np.uint8)

    def call() -> np.ndarray:
        np.copyto(narrow, x.reshape(-1), casting="unsafe")
        np.left_shift(codes[1::2], 4, out=packed)
        return np.bitwise_or(packed, codes[::2], out=packed)

    return call


def _ml_dtypes_read(packed: np.ndarray) -> np.ndarray:
    import ml_dtypes

    return np.stack([packed & 15, packed >> 4], axis=-1).view(ml_dtypes.float4_e2m1fn).astype(np.float32)


def _ml_dtypes_unpack(task: Task, x: np.ndarray) -> Call:
    import ml_dtypes

    packed: Any = _ml_dtypes_pack(task, x)()
    codes, out = np.empty(x.size, np.uint8), np.empty(x.size, np.float32)

    def call() -> np.ndarray:
        np.bitwise_and(packed, 15, out=codes[::2])
        np.right_shift(packed, 4, out=codes[1::2])
        return _into(out, codes.view(ml_dtypes.float4_e2m1fn))

    return call


# JAX


def _jax_cast(_: Task, x: np.ndarray) -> Call:
    import jax.numpy as jnp

    return jitted(lambda a: a.astype(jnp.float8_e4m3fn).astype(a.dtype))(x)


def _qwix(kind: str, **how: Any) -> Make:
    def make(_: Task, x: np.ndarray) -> Call:
        import qwix

        return jitted(lambda a: qwix.dequantize(qwix.quantize(a, kind, **how)))(x)

    return make


# gfloat and Pychop

GFLOAT_FORMATS = {"fp8_e4m3": "format_info_ocp_e4m3", "binary16": "format_info_binary16"}
GFLOAT_ROUNDINGS = {
    None: "TiesToEven",
    "toward_zero": "TowardZero",
    "up": "TowardPositive",
    "stochastic": "Stochastic",
}
PYCHOP_ROUNDINGS = {None: 1, "up": 2, "toward_zero": 4, "stochastic": 5}


def _gfloat(task: Task, x: np.ndarray) -> Call:
    import gfloat
    import gfloat.formats

    info = getattr(gfloat.formats, GFLOAT_FORMATS[task.fmt])
    rounding = task.options.get("rounding")
    mode = getattr(gfloat.RoundMode, GFLOAT_ROUNDINGS[rounding])
    if task.operation == "encode":
        return lambda: gfloat.encode_ndarray(info, gfloat.round_ndarray(info, x, mode, sat=True))
    if rounding == "stochastic":
        random = np.random.default_rng(0)
        return lambda: gfloat.round_ndarray(
            info, x, mode, True, random.integers(0, 1 << 16, x.shape, np.int64), srnumbits=16
        )
    return lambda: gfloat.round_ndarray(info, x, mode, sat=True)


def _chop(task: Task) -> Any:
    from pychop import Chop

    return Chop(4, 3, rmode=PYCHOP_ROUNDINGS[task.options.get("rounding")])


def _pychop_numpy(task: Task, x: np.ndarray) -> Call:
    chop = _chop(task)
    return lambda: chop(x)


def _pychop_torch(task: Task, x: np.ndarray) -> Call:
    chop, t = _chop(task), as_tensor(x)
    return lambda: chop(t)


def _pychop_jax(task: Task, x: np.ndarray) -> Call:
    chop = _chop(task)
    return jitted(lambda a: chop(a))(x)  # jax.jit would look for attributes that Chop warns about


def _pychop_mx(kind: str) -> Make:
    def make(_: Task, x: np.ndarray) -> Call:
        from pychop.mx_formats import mx_quantize

        return lambda: mx_quantize(x, kind)

    return make


_ROUNDED = ("E4M3", "E4M3, toward zero", "E4M3, up", "E4M3, stochastic")
_NARROW = ("E4M3", "E4M3 of float64", "E4M3 of bfloat16", "E4M3 of float16", "E4M3, encode")
_CEIL = {"note": "scales rounded up"}
_LAST, _FIRST = {"tiled_axes": {1: 32}}, {"tiled_axes": {0: 32}}

# library, tasks, make, and what of `Row` is not the default
PEERS: tuple[tuple[str, tuple[str, ...], Make, dict[str, Any]], ...] = (
    ("ml_dtypes cast and back", _NARROW, _cast("float8_e4m3fn"), {}),
    ("NumPy cast and back", ("binary16 of float64",), _cast("float16"), {}),
    ("ml_dtypes cast, NumPy shifts", ("E2M1, pack to 4 bits",), _ml_dtypes_pack, {"read": _ml_dtypes_read}),
    ("ml_dtypes cast, NumPy shifts", ("E2M1, unpack from 4 bits",), _ml_dtypes_unpack, {}),
    ("torch cast and back, eager", _NARROW, torch_cast("float8_e4m3fn"), {}),
    ("torch cast and back, eager", ("binary16 of float64",), torch_cast("float16"), {}),
    ("torch cast and back, compiled", ("E4M3", "E4M3 of bfloat16"), torch_cast("float8_e4m3fn", True), {}),
    ("torchao, eager", ("MXFP8",), torchao(mx("float8_e4m3fn")), {}),
    ("torchao, compiled", ("MXFP8",), torchao(mx("float8_e4m3fn"), True), {}),
    ("torchao, eager", ("MXFP4",), torchao(mx("float4_e2m1fn_x2")), {}),
    ("torchao, compiled", ("MXFP4",), torchao(mx("float4_e2m1fn_x2"), True), {}),
    ("torchao, eager, transposed", ("MXFP8, first axis",), torchao(first_axis(mx("float8_e4m3fn"))), {}),
    ("torchao, eager, transposed", ("MXFP4, first axis",), torchao(first_axis(mx("float4_e2m1fn_x2"))), {}),
    ("torch matmul, torchao, eager", ("Hadamard-32 + MXFP4",), torchao(hadamard_32(mx("float4_e2m1fn_x2"))), {}),
    ("torchao, eager", ("NVFP4",), torchao(nvfp4), {}),
    ("torchao, compiled", ("NVFP4",), torchao(nvfp4, True), {}),
    ("torchao, eager", ("INT8 per row",), torchao(int8), {}),
    ("torchao, compiled", ("INT8 per row",), torchao(int8, True), {}),
    ("torchao, eager", ("E2M1, pack to 4 bits",), torchao_pack, {"read": lambda p: as_numpy(torchao_values(p))}),
    ("torchao, eager", ("E2M1, unpack from 4 bits",), torchao_unpack, {}),
    ("JAX cast and back, jit", ("E4M3", "E4M3 of bfloat16"), _jax_cast, {}),
    ("Qwix, JAX jit", ("MXFP8",), _qwix("mxfp8", **_LAST), _CEIL),
    ("Qwix, JAX jit", ("MXFP8, first axis",), _qwix("mxfp8", **_FIRST), _CEIL),
    ("Qwix, JAX jit", ("MXFP4",), _qwix("mxfp4", **_LAST), _CEIL),
    ("Qwix, JAX jit", ("MXFP4, first axis",), _qwix("mxfp4", **_FIRST), _CEIL),
    ("Qwix, JAX jit", ("NVFP4",), _qwix("nvfp4", tiled_axes={1: 16}), {"note": "one level of scales"}),
    ("Qwix, JAX jit", ("INT8 per row",), _qwix("int8", channelwise_axes=(0,)), {"note": "scale amax / 127.5"}),
    ("gfloat", (*_ROUNDED, "E4M3 of float64", "binary16 of float64", "E4M3, encode"), _gfloat, {"largest": SLOW}),
    ("Pychop NumPy", _ROUNDED, _pychop_numpy, {"largest": SLOW}),
    ("Pychop torch", _ROUNDED, _pychop_torch, {"largest": SLOW}),
    ("Pychop, JAX jit", _ROUNDED, _pychop_jax, {}),
    ("Pychop NumPy", ("MXFP4",), _pychop_mx("mxfp4_e2m1"), {"largest": SLOWEST}),
)


def peer_rows(tasks: Sequence[Task]) -> list[Row]:
    """The peers' rows of some tasks, at one size each."""
    return [
        Row(library, task, make, **{"peer": True, "largest": LARGE, "swept": False, **how})
        for library, names, make, how in PEERS
        for task in tasks
        if task.name in names
    ]
