"""What a matrix unit adds in: the format, rounding and order of its sums."""

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from ...formats.integers import IntFormat
from ...formats.registry import ALIASES, NAMED
from ...formats.rounding import rounding as named_rounding
from ...formats.suggest import unknown
from ..rounded.context import Arithmetic, arithmetic

ORDERS = ("sequential", "pairwise", "blocked", "aligned")
"""In which order products are added; see `Accumulator`."""
KULISCH = "kulisch"
"""The exact accumulator."""
HARDWARE_NAMES = {"fp22": "e8m13ieee", "e8m13": "e8m13ieee"}
"""Names of accumulators that are no names of formats."""
ALIGNED_BITS = 40
"""The most bits to which products are aligned: sums of 4095 of them are exact in float64."""


@dataclass(frozen=True, slots=True, repr=False)
class Accumulator:
    """What a matrix unit adds in.

    With products p[k] = a[i, k] * b[k, j], and rnd the rounding to the format:

    - sequential: acc = +0; for k = 0, 1, ...: acc = rnd(acc + rnd(p[k])).
    - pairwise: adjacent products are added, (p[0] + p[1]), (p[2] + p[3]), ..., then adjacent sums, level by level;
      an odd one out passes to the next level. Each sum is rounded.
    - blocked: `chunk` products at a time are added sequentially from +0, and the sums of the chunks from +0 in the
      outer accumulator: out = rnd_outer(out + acc). What FP8 training does on NVIDIA's Hopper, whose tensor cores add
      in some 22 bits: fp22 inside, binary32 outside every 128 products (DeepSeek-V3, arXiv:2412.19437, 3.3.2).
      Of scaled operands a chunk lies in one block, its elements are multiplied without their scales, and
      out = rnd_outer(out + rnd_outer(acc * (scale of a * scale of b))), the general dot product of OCP MX v1.0, 6.2.
    - aligned: for each `chunk` products, acc and the exact products are terms. E is the largest floor(log2 |term|),
      each term is cut towards zero to a multiple of 2**(E - aligned_bits), the sum of these is exact, and
      acc = rnd(sum); a sum of zero is +0, but -0 where all terms are. What tensor cores do (Fasi, Higham, Mikaitis and
      Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ CS 7:e330, 2021).

    Args:
        fmt: an unscaled format or its name; 'fp22' and 'e8m13' are E8M13 with infinities and NaN. 'kulisch' is an
            exact accumulator (Kulisch 1971) whose sum is rounded once, to `outer`.
        order: one of `ORDERS`.
        chunk: products of a chunk, of 'blocked' and 'aligned'. 'blocked' takes the block of scaled operands where
            none is given.
        outer: of 'blocked', where sums of chunks are added, rounded to nearest even; of 'kulisch', what the exact
            sum is rounded to. Default binary32. An `Arithmetic` has a rounding and overflow of its own.
        aligned_bits: of 'aligned', 2 to 40 bits kept below the leading one of the largest term.
        rounding: of products and sums, as in `halfulp.quantize`. Default nearest_even; of 'aligned' toward_zero.
        overflow: as in `halfulp.quantize`. Default that of the format, but 'wrap' for integers over their full range,
            as integer hardware does; in the outer accumulator of 'blocked' likewise. Exact sums saturate.
        fma: products are not rounded before they are added: one rounding a step. Scaled sums of chunks then enter
            the outer accumulator with one rounding, too. Products of 'aligned' and 'kulisch' are exact anyway.

    Raises:
        ValueError: an unknown name; a chunk or bits that are missing or out of range; options that say nothing for
            the order.
        TypeError: a format with scales, or anything that is no format.

    Example:
        >>> Accumulator("fp22", order="blocked", chunk=128)
        Accumulator('e8m13ieee', order='blocked', chunk=128, outer='binary32')
    """

    fmt: Any = "fp32"
    order: str = "sequential"
    chunk: int | None = None
    outer: Any = None
    aligned_bits: int | None = None
    rounding: Any = None
    overflow: str | None = None
    fma: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(unknown("order", str(self.order), ORDERS))
        exact = isinstance(self.fmt, str) and self.fmt.strip().lower() == KULISCH
        self._check_options("accumulator='kulisch'" if exact else f"order={self.order!r}", self._superfluous(exact))
        self._check_numbers()
        for name in ("chunk", "aligned_bits"):  # NumPy's integers too
            if getattr(self, name) is not None:
                object.__setattr__(self, name, int(getattr(self, name)))
        if exact:
            found = arithmetic(_resolved("fp32" if self.outer is None else self.outer), self.rounding, self.overflow)
            settled = {"fmt": KULISCH, "outer": found, "rounding": found.rounding, "overflow": found.overflow}
        else:
            inner = _inner(_resolved(self.fmt), self.rounding, self.overflow, _default_rounding(self.order))
            outer = _inner(_resolved("fp32" if self.outer is None else self.outer), None, None, "nearest_even")
            settled = {"fmt": inner.fmt, "rounding": inner.rounding, "overflow": inner.overflow}
            settled |= {"outer": outer if self.order == "blocked" else None}
        for name, value in {**settled, "fma": bool(self.fma)}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = [repr(KULISCH if self.exact else self.fmt.name)]
        parts += [f"order={self.order!r}"] if self.order != "sequential" else []
        parts += [f"chunk={self.chunk}"] if self.chunk is not None else []
        parts += [f"outer={str(self.outer)!r}"] if self.outer is not None else []
        parts += [f"aligned_bits={self.aligned_bits}"] if self.aligned_bits is not None else []
        if not self.exact:
            usual = _inner(self.fmt, None, None, _default_rounding(self.order))
            parts += [f"rounding={self.rounding.spec!r}"] if self.rounding != usual.rounding else []
            parts += [f"overflow={self.overflow!r}"] if self.overflow != usual.overflow else []
        parts += ["fma=True"] if self.fma else []
        return f"Accumulator({', '.join(parts)})"

    @property
    def exact(self) -> bool:
        """Whether sums are exact, and rounded once."""
        return self.fmt == KULISCH

    @property
    def arithmetic(self) -> Arithmetic:
        """What products and sums are rounded to; of the exact accumulator what its sum is."""
        return self.outer if self.exact else Arithmetic(self.fmt, self.rounding, self.overflow or "saturate")

    @property
    def result(self) -> Arithmetic:
        """What results are values of."""
        return self.outer if self.order == "blocked" else self.arithmetic

    @property
    def draws(self) -> bool:
        """Whether anything is rounded at random."""
        return self.arithmetic.rounding.stochastic or self.result.rounding.stochastic

    def with_chunk(self, chunk: int) -> "Accumulator":
        """The same with chunks of that many products."""
        return replace(self, chunk=chunk)

    def _superfluous(self, exact: bool) -> list[str]:
        given = {
            "order": exact and self.order != "sequential",
            "chunk": self.chunk is not None and (exact or self.order not in ("blocked", "aligned")),
            "outer": self.outer is not None and not exact and self.order != "blocked",
            "aligned_bits": self.aligned_bits is not None and (exact or self.order != "aligned"),
            "fma": bool(self.fma) and (exact or self.order == "aligned"),
        }
        return [name for name, superfluous in given.items() if superfluous]

    def _check_options(self, what: str, extra: list[str]) -> None:
        if extra:
            names = " and ".join(f"{name}=" for name in extra)
            verb, them = ("say", "them") if len(extra) > 1 else ("says", "it")
            raise ValueError(f"{names} {verb} nothing with {what}; leave {them} out")

    def _check_numbers(self) -> None:
        if self.chunk is not None and (not _is_integer(self.chunk) or self.chunk < 1):
            raise ValueError(f"chunk: expected a number of products, 1 or more, got {self.chunk!r}")
        if self.order != "aligned":
            return
        if self.chunk is None:
            raise ValueError("order='aligned' needs chunk=, the products that are aligned together, e.g. chunk=4")
        if self.aligned_bits is None:
            raise ValueError("order='aligned' needs aligned_bits=, e.g. aligned_bits=23")
        if not _is_integer(self.aligned_bits) or not 2 <= self.aligned_bits <= ALIGNED_BITS:
            raise ValueError(f"aligned_bits: expected 2 to {ALIGNED_BITS}, got {self.aligned_bits!r}")
        if int(self.aligned_bits) + 1 + int(self.chunk).bit_length() > 53:
            raise ValueError(
                f"{self.chunk} products aligned to {self.aligned_bits} bits have sums beyond the 53 bits of float64; "
                "use a smaller chunk or fewer bits"
            )


def _default_rounding(order: str) -> str:
    return "toward_zero" if order == "aligned" else "nearest_even"


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _resolved(fmt: Any) -> Any:
    """A name that `arithmetic` knows, or what was given."""
    if not isinstance(fmt, str):
        return fmt
    name = fmt.strip().lower()
    name = HARDWARE_NAMES.get(name, name)
    try:
        arithmetic(name)
    except ValueError as error:
        if not str(error).startswith("unknown format"):
            raise
        raise ValueError(unknown("accumulator", fmt, [KULISCH, *HARDWARE_NAMES, *NAMED, *ALIASES])) from None
    return name


def _inner(fmt: Any, rounding: Any, overflow: str | None, default: str) -> Arithmetic:
    """The arithmetic of products and sums, with the defaults of a matrix unit."""
    if isinstance(fmt, Arithmetic):
        return arithmetic(fmt, rounding, overflow)
    found = arithmetic(fmt, default if rounding is None else named_rounding(rounding), overflow)
    wraps = isinstance(found.fmt, IntFormat) and not (found.fmt.narrow or found.fmt.mid_rise)
    return arithmetic(found, None, "wrap") if wraps and overflow is None else found


@lru_cache(maxsize=256, typed=True)
def _kept(fmt: Any, **options: Any) -> Accumulator:
    """Accumulators of earlier calls: to resolve names takes longer than a small product."""
    return Accumulator(fmt, **options)


def accumulator_of(given: Any, options: dict[str, Any]) -> Accumulator:
    """The accumulator of a call: a whole one, or a format with the call's options.

    Raises:
        ValueError: options beside a whole accumulator that say something else.
    """
    if not isinstance(given, Accumulator):
        hashable = all(isinstance(value, Hashable) for value in (given, *options.values()))
        return (_kept if hashable else Accumulator)(given, **options)
    defaults = {field.name: field.default for field in fields(Accumulator)}
    options = {name: value for name, value in options.items() if value != defaults[name]}
    found = replace(given, **options)
    if found != given:
        changed = [name for name in options if getattr(found, name) != getattr(given, name)]
        raise ValueError(f"{given!r} says otherwise than {', '.join(f'{n}={options[n]!r}' for n in changed)}; keep one")
    return given
