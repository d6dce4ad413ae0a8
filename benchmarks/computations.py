"""Whole computations with every operation rounded, in operations per second.

A library that is slow is timed on a small problem: what is compared is the time of an operation, two for a
multiply-add. What each gives is compared with the textbook loop on its own problem.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import halfulp as hu
import numpy as np

from .outcomes import OWN, Computation, Outcome, Way
from .results import in_short
from .timing import Call, Spread, in_turn

UNIT, NATIVE = f"{OWN} matrix unit", "NumPy float64, nothing rounded"
PYCHOP = "Pychop arrays"


def _vectors(count: int) -> Callable[[int, np.random.Generator], tuple[np.ndarray, ...]]:
    return lambda n, random: tuple(random.standard_normal(n) for _ in range(count))


def _matrices(count: int) -> Callable[[int, np.random.Generator], tuple[np.ndarray, ...]]:
    return lambda n, random: tuple(random.standard_normal((n, n)) / 16 for _ in range(count))


ELEMENTWISE, DOT, GEMM, LU = "a * b + c", "dot", "gemm", "LU, partial pivoting"
_SHAPES: dict[str, tuple[Callable[[int], float], Callable[..., tuple[np.ndarray, ...]]]] = {
    ELEMENTWISE: (lambda n: 2 * n, _vectors(3)),
    DOT: (lambda n: 2 * n, _vectors(2)),
    GEMM: (lambda n: 2 * n**3, _matrices(2)),
    LU: (lambda n: 2 * n**3 / 3, _matrices(1)),
}


def _computation(kind: str, fmt: str) -> Computation:
    return Computation(kind, fmt, *_SHAPES[kind])


# the textbook loops, in anything that rounds its operations


def _elementwise(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


def _loop(a: Any, b: Any, zero: Any) -> Any:
    for k in range(a.shape[1]):
        zero = zero + a[:, k : k + 1] * b[k : k + 1, :]
    return zero


def _lu(a: Any, copied: Callable[[Any], Any]) -> Any:
    """L and U in one array; rows that are exchanged, column by column."""
    a = copied(a)
    for k in range(a.shape[0] - 1):
        pivot = k + int(np.argmax(np.abs(np.asarray(a[k:, k]))))
        if pivot != k:
            rows = np.asarray(a[k]).copy(), np.asarray(a[pivot]).copy()
            a[pivot], a[k] = rows
        a[k + 1 :, k] = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k + 1 :] = a[k + 1 :, k + 1 :] - a[k + 1 :, k : k + 1] * a[k : k + 1, k + 1 :]
    return a


def _with(wrap: Callable[[Computation], Callable[[np.ndarray], Any]]) -> Callable[..., Call]:
    """The textbook loops on arrays of a library that rounds every operation."""

    def make(computation: Computation, inputs: Sequence[np.ndarray]) -> Call:
        wrapped = wrap(computation)
        arrays = [wrapped(x) for x in inputs]
        kind = computation.kind
        if kind == ELEMENTWISE:
            return lambda: _elementwise(*arrays)
        if kind == GEMM:
            return lambda: _loop(*arrays, wrapped(np.zeros_like(inputs[0])))
        if kind == LU:
            return lambda: _lu(arrays[0], lambda a: wrapped(np.asarray(a)))
        row, column = arrays[0].reshape(1, -1), arrays[1].reshape(-1, 1)
        return lambda: _loop(row, column, wrapped(np.zeros((1, 1))))

    return make


def _own(computation: Computation, inputs: Sequence[np.ndarray]) -> Call:
    arrays = [hu.array(x, computation.fmt) for x in inputs]
    kind = computation.kind
    if kind == LU:
        return lambda: hu.linalg.lu(arrays[0])
    return (lambda: arrays[0] * arrays[1] + arrays[2]) if kind == ELEMENTWISE else (lambda: arrays[0] @ arrays[1])


def _unit(computation: Computation, inputs: Sequence[np.ndarray]) -> Call:
    a, b = (np.asarray(hu.quantize(x, computation.fmt), np.float32) for x in inputs)
    return lambda: hu.matmul(a, b, accumulator=computation.fmt)


def _float64(computation: Computation, inputs: Sequence[np.ndarray]) -> Call:
    from scipy.linalg import lu_factor

    kind = computation.kind
    if kind == LU:
        return lambda: lu_factor(inputs[0])
    return (lambda: inputs[0] * inputs[1] + inputs[2]) if kind == ELEMENTWISE else (lambda: inputs[0] @ inputs[1])


def _chopped(computation: Computation) -> Callable[[np.ndarray], Any]:
    from pychop import Chop
    from pychop.builtin.cparray import CPArray

    bits = {"fp16": (5, 10), "bf16": (8, 7)}[computation.fmt]
    chop = Chop(*bits, rmode=1)
    return lambda x: CPArray(x, chop)


def _numpy_dtype(computation: Computation) -> Callable[[np.ndarray], Any]:
    import ml_dtypes

    dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[computation.fmt]
    return lambda x: np.asarray(x).astype(dtype)


def _pychop_dot(_: Computation, inputs: Sequence[np.ndarray]) -> Call:
    from pychop.np import blas_np

    half = {"exp_bits": 5, "sig_bits": 10, "rmode": 1}
    return lambda: blas_np.dot(*inputs, precision=half)


def _pychop_mm(_: Computation, inputs: Sequence[np.ndarray]) -> Call:
    from pychop.np import blas_np

    half = {"exp_bits": 5, "sig_bits": 10, "rmode": 1}
    rounded = [blas_np.rounding(x, half) for x in inputs]
    return lambda: blas_np.low_prec_mm(*rounded, half)


class _Gfloat(np.lib.mixins.NDArrayOperatorsMixin):
    """gfloat has no arrays: its rounding around every operation."""

    def __init__(self, x: np.ndarray, info: Any) -> None:
        import gfloat

        self.info = info
        self.x = gfloat.round_ndarray(info, np.asarray(x, np.float64))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Any:
        return _Gfloat(getattr(ufunc, method)(*(getattr(x, "x", x) for x in inputs)), self.info)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.x

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    def reshape(self, *shape: int) -> "_Gfloat":
        return self._view(self.x.reshape(*shape))

    def __getitem__(self, index: Any) -> "_Gfloat":
        return self._view(self.x[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.x[index] = getattr(value, "x", value)

    def _view(self, x: np.ndarray) -> "_Gfloat":
        found = object.__new__(_Gfloat)
        found.x, found.info = x, self.info
        return found


def _gfloats(computation: Computation) -> Callable[[np.ndarray], Any]:
    import gfloat.formats

    info = {"fp16": gfloat.formats.format_info_binary16, "bf16": gfloat.formats.format_info_bfloat16}
    return lambda x: _Gfloat(x, info[computation.fmt])


_DTYPE_NOTE = "rounds every operation; no other format or rounding"
COMPUTATIONS: dict[Computation, tuple[Way, ...]] = {
    _computation(ELEMENTWISE, "fp16"): (
        Way(OWN, _own, 1 << 20),
        Way(PYCHOP, _with(_chopped), 1 << 20),
        Way("gfloat", _with(_gfloats), 1 << 18),
        Way("NumPy float16", _with(_numpy_dtype), 1 << 20, _DTYPE_NOTE),
        Way(NATIVE, _float64, 1 << 20),
    ),
    _computation(ELEMENTWISE, "bf16"): (
        Way(OWN, _own, 1 << 20),
        Way(PYCHOP, _with(_chopped), 1 << 20),
        Way("ml_dtypes bfloat16", _with(_numpy_dtype), 1 << 20, _DTYPE_NOTE),
        Way(NATIVE, _float64, 1 << 20),
    ),
    _computation(DOT, "fp16"): (
        Way(OWN, _own, 1 << 20),
        Way(PYCHOP, _with(_chopped), 1 << 10),
        Way("Pychop BLAS", _pychop_dot, 1 << 10),
        Way("NumPy float16", _with(_numpy_dtype), 1 << 10, _DTYPE_NOTE),
        Way(NATIVE, _float64, 1 << 20),
    ),
    _computation(GEMM, "fp16"): (
        Way(OWN, _own, 512),
        Way(OWN, _own, 1024),
        Way(UNIT, _unit, 512),
        Way(PYCHOP, _with(_chopped), 128),
        Way("Pychop BLAS", _pychop_mm, 12),
        Way("gfloat", _with(_gfloats), 128),
        Way("NumPy float16", _with(_numpy_dtype), 256, _DTYPE_NOTE),
        Way(NATIVE, _float64, 512),
    ),
    _computation(GEMM, "bf16"): (
        Way(OWN, _own, 512),
        Way(UNIT, _unit, 512),
        Way(PYCHOP, _with(_chopped), 128),
        Way("ml_dtypes bfloat16", _with(_numpy_dtype), 256, _DTYPE_NOTE),
        Way(NATIVE, _float64, 512),
    ),
    _computation(LU, "fp16"): (
        Way(OWN, _own, 512),
        Way(PYCHOP, _with(_chopped), 128),
        Way("gfloat", _with(_gfloats), 128),
        Way("NumPy float16", _with(_numpy_dtype), 256, _DTYPE_NOTE),
        Way(NATIVE, _float64, 512),
    ),
}
"""Every computation with the ways to it."""


def textbook(computation: Computation, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The loop over operations that are rounded one by one."""
    return np.asarray(_with(lambda c: lambda x: hu.array(x, c.fmt))(computation, inputs)())


def values_of(computation: Computation, found: Any) -> np.ndarray:
    """What a way found, in the shape of the textbook's."""
    if computation.kind == LU and not isinstance(found, hu.RoundedArray | np.ndarray) and not hasattr(found, "info"):
        lower, upper = np.asarray(found[0]), np.asarray(found[1])
        return np.tril(lower, -1) + upper
    return np.asarray(found, np.float64)


_CHECKED = {ELEMENTWISE: 1 << 20, DOT: 1 << 10, GEMM: 64, LU: 64}
"""Sizes up to which results are compared with the textbook loop."""


def outcome(computation: Computation, way: Way, budget: float) -> Outcome:
    """Time one way; a failure is an outcome that says so."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            inputs = computation.inputs(way.size, np.random.default_rng(0))
            inputs = tuple(np.asarray(hu.quantize(x, computation.fmt)) for x in inputs)
            call = way.make(computation, inputs)
            seconds = Spread.of(in_turn({"call": call}, budget, least=2)["call"])
            differs = None
            if way.library != NATIVE:
                part = tuple(x[(slice(_CHECKED[computation.kind]),) * x.ndim] for x in inputs)
                found, want = values_of(computation, way.make(computation, part)()), textbook(computation, part)
                differs = float(np.mean(found.reshape(want.shape) != want))
    except Exception as error:  # whatever a peer raises is what the table is to say
        return Outcome(computation, way, error=in_short(error))
    return Outcome(computation, way, seconds, differs)
