"""Elementary operations on NumPy arrays of a carrier, each rounded once to a format.

An operation runs in pieces that stay in the cache, shared by threads: the carrier's operation, where needed its
error and the step to odd, then the rounding of `halfulp.quantize`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...formats.floats import BINARY64
from ...formats.listing import is_listed, listing
from ...formats.suggest import unknown
from ..backends import cpu
from ..backends import numpy as numpy_backend
from ..backends.numpy import BITS, FLOATS
from ..layouts import Layout, floats_of
from ..plan import Plan, Randomness
from . import error_free, rational
from .context import Arithmetic, in_dtype, plan_from

PIECE = 1 << 14
"""Numbers of a piece: operands, result and temporaries stay in the second cache."""


class NumpyFloats:
    """`error_free.Floats` over NumPy."""

    where = staticmethod(np.where)
    sqrt = staticmethod(np.sqrt)

    def bits(self, x: Any) -> Any:
        """The bits of floats."""
        return np.asarray(x).view(BITS[8 * x.dtype.itemsize])

    def floats(self, u: Any) -> Any:
        """The floats of bits."""
        return u.view(FLOATS["float64" if u.dtype.itemsize == 8 else "float32"])


@dataclass(frozen=True, slots=True)
class Operation:
    """One elementary operation.

    Args:
        operands: how many.
        nearest: (operands..., out=) the carrier's own operation.
        odd: (xp, layout, operands...) the same rounded to odd.
        sums: whether its zeros have the sign that IEEE 754 gives to sums: -0 when rounding down.
    """

    operands: int
    nearest: Callable[..., Any]
    odd: Callable[..., Any]
    sums: bool = False


def odd_compiled(name: str, operands: list[np.ndarray], out: np.ndarray) -> None:
    """What `error_free` computes, by its compiled copy, for (n,) or (1,) operands; may be in place."""
    from ..backends import numba_odd

    codes = {"add": 0, "subtract": 0, "multiply": 1, "divide": 2, "sqrt": 3, "fma": 4}
    if name == "subtract":
        operands = [operands[0], -operands[1]]
    full = [x if x.size == out.size else np.full(out.size, x[0]) for x in operands]
    a, b, c = [*full, *full[-1:] * (3 - len(full))]
    numba_odd.odd_array(codes[name], a, b, c, out)


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray) -> np.ndarray:
    raise TypeError("the carrier's own multiply and add round twice")


def _subtract(xp: Any, layout: Layout, a: Any, b: Any) -> Any:
    return error_free.add(xp, layout, a, -b)


OPERATIONS: dict[str, Operation] = {
    "add": Operation(2, np.add, error_free.add, sums=True),
    "subtract": Operation(2, np.subtract, _subtract, sums=True),
    "multiply": Operation(2, np.multiply, error_free.multiply),
    "divide": Operation(2, np.divide, error_free.divide),
    "sqrt": Operation(1, np.sqrt, error_free.sqrt),
    "fma": Operation(3, _fma, error_free.fma, sums=True),
}
"""What is rounded correctly in every format and rounding."""


def operate(
    name: str,
    arithmetic: Arithmetic,
    operands: Sequence[np.ndarray],
    randomness: Randomness | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The operation of numbers of the carrier, rounded once to the format.

    Args:
        name: one of `OPERATIONS`.
        operands: arrays of the carrier's dtype that broadcast.
        randomness: of stochastic rounding; random words go by the row-major index in the result.
        out: contiguous array of the result's shape, not overlapping the operands unless equal to one.

    Returns:
        Values of the format in the carrier's dtype. No warnings: what overflows or is undefined is in the result.
    """
    if name not in OPERATIONS:
        raise ValueError(unknown("operation", name, OPERATIONS))
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    out = np.empty(shape, FLOATS[arithmetic.carrier.name]) if out is None else out
    noise = _noise(arithmetic, randomness, shape)
    if not out.size:
        return out
    flat = [_flat(x, shape) for x in operands]
    target = out.reshape(-1)
    step = _step(name, arithmetic)

    def share(lo: int, hi: int) -> None:
        with np.errstate(all="ignore"):
            for start in range(lo, hi, PIECE):
                stop = min(start + PIECE, hi)
                piece = [x if x.size == 1 else x[start:stop] for x in flat]
                step(piece, target[start:stop], _later(noise, start))

    cpu.share(share, cpu.bounds(target.size, 64))
    return out


def rounded_to(arithmetic: Arithmetic, x: np.ndarray, randomness: Randomness | None = None) -> np.ndarray:
    """Float numbers of any dtype rounded once to the format, in the carrier's dtype; always a new array."""
    if arithmetic.fmt == BINARY64:
        top = np.finfo(np.float64).max if arithmetic.overflow == "saturate" else np.inf
        return np.clip(x.astype(np.float64), -top, top)
    source, carrier = numpy_backend.dtype_name(x), FLOATS[arithmetic.carrier.name]
    plan = plan_from(arithmetic, source)
    if source == "float64" and carrier == np.float32:  # its formats have no numbers that a cast could flush
        plan = in_dtype(arithmetic, source)
    found = numpy_backend.quantize(x, plan, randomness or Randomness(), None)
    if found.dtype != carrier:
        return found.astype(carrier)
    return found.copy() if found is x or found.base is x else found


Step = Callable[[list[np.ndarray], np.ndarray, "cpu.Noise | None"], None]


@lru_cache(maxsize=1024)
def _step(name: str, arithmetic: Arithmetic) -> Step:
    """What computes one piece."""
    operation = OPERATIONS[name]
    if arithmetic.rational or (arithmetic.native and name == "fma"):
        return _rational(name, arithmetic)
    round_piece = _rounder(arithmetic)
    negated = operation.sums and arithmetic.rounding.name == "down"  # -(-a - b): a zero sum is -0 then
    if arithmetic.direct and name != "fma":

        def compute(piece: list[np.ndarray], out: np.ndarray) -> None:
            operation.nearest(*piece, out=out)
    else:

        def compute(piece: list[np.ndarray], out: np.ndarray) -> None:
            odd_compiled(name, _negated(name, piece) if negated else piece, out)
            if negated:
                np.negative(out, out=out)

    def step(piece: list[np.ndarray], out: np.ndarray, noise: cpu.Noise | None) -> None:
        compute(piece, out)
        round_piece(out, noise)

    return step


def _negated(name: str, piece: list[np.ndarray]) -> list[np.ndarray]:
    """Operands whose sum is the negative of that of the given ones."""
    return [-piece[0], *piece[1:-1], -piece[-1]] if name == "fma" else [-x for x in piece]


def _rounder(arithmetic: Arithmetic) -> Callable[[np.ndarray, "cpu.Noise | None"], None]:
    """What rounds a piece in place."""
    if arithmetic.native:
        return lambda out, noise: None
    if is_listed(arithmetic.fmt) and not listing(arithmetic.fmt).rational:  # pyright: ignore[reportArgumentType]
        return _snapped(arithmetic)
    plan: Plan = arithmetic.plan
    call, bits = cpu.worker(numpy_backend.job_of(plan, None)), BITS[plan.layout.width]

    def round_piece(out: np.ndarray, noise: cpu.Noise | None) -> None:
        u = out.view(bits)
        call(u, u, noise)

    return round_piece


def _snapped(arithmetic: Arithmetic) -> Callable[[np.ndarray, "cpu.Noise | None"], None]:
    """As `_rounder`, for irrational values kept as the nearest float64: what is all but one of them is meant to be it.

    The product of two logarithmic numbers is one, but that of their float64 is off by some 2**-52.
    """
    values = floats_of(listing(arithmetic.fmt))  # pyright: ignore[reportArgumentType]
    call, bits = cpu.worker(numpy_backend.job_of(arithmetic.plan, None)), BITS[arithmetic.carrier.width]

    def round_piece(out: np.ndarray, noise: cpu.Noise | None) -> None:
        above = np.clip(np.searchsorted(values, out), 1, values.size - 1)
        for value in (values[above - 1], values[above]):
            np.copyto(out, value, where=np.abs(out - value) <= float(rational.SAME) * np.abs(value))
        u = out.view(bits)
        call(u, u, noise)

    return round_piece


def _rational(name: str, arithmetic: Arithmetic) -> Step:
    def step(piece: list[np.ndarray], out: np.ndarray, noise: cpu.Noise | None) -> None:
        words = None
        if noise is not None:
            words = cpu.random_words(noise.key, int(noise.row_starts[0]), out.size, arithmetic.carrier)
        out[:] = rational.operate(name, arithmetic, np.broadcast_arrays(*piece, out)[:-1], words)

    return step


def _noise(arithmetic: Arithmetic, randomness: Randomness | None, shape: tuple[int, ...]) -> "cpu.Noise | None":
    if not arithmetic.rounding.stochastic:
        return None
    if randomness is None:
        raise ValueError("stochastic rounding needs random words; pass seed=")
    return numpy_backend.noise_for(randomness, shape)


def _later(noise: "cpu.Noise | None", start: int) -> "cpu.Noise | None":
    return None if noise is None else cpu.Noise(noise.key, noise.row_starts + np.uint64(start))


def _flat(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n,) the operand in the order of the result, or (1,) where it is one number."""
    if x.size == 1:
        return x.reshape(1)
    return np.ascontiguousarray(np.broadcast_to(x, shape)).reshape(-1)
