"""Rounded operations on torch tensors of a carrier: the bits of `rounded.operations`, and gradients.

CPU tensors share their memory with the NumPy path and its compiled loops. On other devices torch's own operation
comes first, where the arithmetic allows it, or error-free transformations and the step to odd; then `quantize`.
Rational arithmetic runs on the host.

Gradients are straight-through: those of torch's own operation in the carrier, where its result is within the range
of the format.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...formats.listing import is_listed, listing
from ..plan import Plan, Randomness
from ..rounded import operations, reductions
from ..rounded.context import Arithmetic, in_dtype, plan_from
from ..rounded.context import arithmetic as arithmetic_of
from ..rounded.draws import Draws
from ..rounded.reductions import next_of
from . import torch_autograd
from .torch_kernel import Offset, dtype_name, in_range_plain, plain_key, torch_dtype, unpacked_mask

PLAIN: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "sqrt": torch.sqrt,
    "fma": lambda a, b, c: a * b + c,
}
"""Torch's own operations."""
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
_FLOATS = {bits: floats for floats, bits in _BITS.items()}


class TorchFloats:
    """`error_free.Floats` over torch."""

    where = staticmethod(torch.where)
    sqrt = staticmethod(torch.sqrt)

    def bits(self, x: torch.Tensor) -> torch.Tensor:
        """The bits of floats."""
        return x.view(_BITS[x.dtype])

    def floats(self, u: torch.Tensor) -> torch.Tensor:
        """The floats of bits."""
        return u.view(_FLOATS[u.dtype])


def operate(
    name: str, arithmetic: Arithmetic, operands: Sequence[torch.Tensor], randomness: Randomness | None = None
) -> torch.Tensor:
    """The operation of tensors of the carrier, rounded once to the format; as `operations.operate`, differentiable."""
    fixed = [x.detach() for x in operands]
    by = on_host if all(x.is_cpu for x in fixed) or needs_host(name, arithmetic) else on_device
    values = by(name, arithmetic, fixed, randomness)
    if not _recorded(operands):
        return values
    return straight_through(PLAIN[name](*operands), values, arithmetic, randomness)


def on_host(
    name: str, arithmetic: Arithmetic, operands: Sequence[torch.Tensor], randomness: Randomness | None
) -> torch.Tensor:
    """By the NumPy path."""
    found = operations.operate(name, arithmetic, [x.cpu().numpy() for x in operands], randomness)
    return torch.from_numpy(found).to(operands[0].device)


def on_device(
    name: str, arithmetic: Arithmetic, operands: Sequence[torch.Tensor], randomness: Randomness | None
) -> torch.Tensor:
    """By torch's operations, which IEEE 754 defines; not for what needs the host.

    Torch's square roots are off by a unit at times, also on the CPU. Rounding to odd mends that.
    """
    if arithmetic.direct and name not in ("fma", "sqrt"):
        found = PLAIN[name](*operands)
    else:
        negated = operations.OPERATIONS[name].sums and arithmetic.rounding.name == "down"
        if negated:  # -(-a - b): a zero sum is -0 then
            operands = [-x if name != "fma" or k != 1 else x for k, x in enumerate(operands)]
        operands = torch.broadcast_tensors(*operands)
        found = operations.OPERATIONS[name].odd(TorchFloats(), arithmetic.carrier, *operands)
        found = -found if negated else found
    if arithmetic.native:
        return found
    return torch_autograd.quantize(found, arithmetic.plan, randomness or Randomness(), None, None)


def needs_host(name: str, arithmetic: Arithmetic) -> bool:
    """Whether an operation takes rational arithmetic, the search among irrational values, or float64's own root."""
    fmt: Any = arithmetic.fmt
    irrational = is_listed(fmt) and not listing(fmt).rational
    return arithmetic.rational or irrational or (arithmetic.native and name in ("fma", "sqrt"))


def rounded_to(arithmetic: Arithmetic, x: torch.Tensor, randomness: Randomness | None = None) -> torch.Tensor:
    """Floats of any dtype rounded once to the format, in the carrier's dtype; a new tensor, with a gradient."""
    source, carrier = dtype_name(x), torch_dtype(arithmetic.carrier)
    narrowed = source == "float64" and carrier is torch.float32  # its formats have no numbers that a cast could flush
    plan = in_dtype(arithmetic, source) if narrowed else plan_from(arithmetic, source)
    return torch_autograd.quantize(x, plan, randomness or Randomness(), None, None).to(carrier)


def to_nearest(arithmetic: Arithmetic) -> Arithmetic:
    """The arithmetic for results that need no random words."""
    random = arithmetic.rounding.stochastic
    return arithmetic_of(arithmetic.fmt, "nearest_even", arithmetic.overflow) if random else arithmetic


def nearest(arithmetic: Arithmetic, x: torch.Tensor) -> torch.Tensor:
    """Floats that are values of most formats, rounded without random words; in the carrier's dtype."""
    return rounded_to(to_nearest(arithmetic), x).to(torch_dtype(arithmetic.carrier))


# ---------------------------------------------------------------- gradients


class _Substituted(torch.autograd.Function):
    """Values in place of a tensor, whose gradient passes where a mask says so."""

    @staticmethod
    def forward(ctx: Any, plain: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # pyright: ignore
        ctx.save_for_backward(mask)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # pyright: ignore
        (mask,) = ctx.saved_tensors
        return torch.where(unpacked_mask(mask, tuple(gradient.shape)), gradient, 0), None, None


def straight_through(
    plain: torch.Tensor, values: torch.Tensor, arithmetic: Arithmetic, randomness: Randomness | None = None
) -> torch.Tensor:
    """The values, with the gradient of a plain result where that rounds to at most the largest value."""
    plan: Plan = plan_from(arithmetic if randomness is not None else to_nearest(arithmetic), dtype_name(plain))
    key = plain_key(randomness, plain.device) if randomness is not None and plan.draws else None
    mask = in_range_plain(plain.detach().contiguous(), plan, key, Offset((0,), None))
    return _Substituted.apply(plain, values, mask)  # pyright: ignore[reportReturnType]


def _recorded(tensors: Sequence[torch.Tensor]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


# ---------------------------------------------------------------- sums


def accumulate(
    arithmetic: Arithmetic, x: torch.Tensor, order: str, draws: Draws | None
) -> torch.Tensor:  # fmt: skip
    """The sum over the last axis; as `reductions.accumulate`."""
    if x.is_cpu:
        values = _from(reductions.accumulate(arithmetic, x.detach().numpy(), -1, order, draws))
    else:
        values = terms_on_device(arithmetic, x.detach().movedim(-1, 0), order, draws)
    return straight_through(x.sum(-1), values, arithmetic) if _recorded((x,)) else values


def divided(arithmetic: Arithmetic, x: torch.Tensor, count: int, draws: Draws | None) -> torch.Tensor:
    """x / count, rounded once; the count need not be a number of the format."""
    values = _from(reductions.divided(arithmetic, x.detach().cpu().numpy(), count, draws)).to(x.device)
    return straight_through(x / count, values, arithmetic) if _recorded((x,)) else values


def running(arithmetic: Arithmetic, x: torch.Tensor, draws: Draws | None) -> torch.Tensor:
    """The sums of the first 1, 2, ... terms along the last axis."""
    values = _from(reductions.running(arithmetic, x.detach().cpu().numpy(), -1, draws)).to(x.device)
    return straight_through(x.cumsum(-1), values, arithmetic) if _recorded((x,)) else values


def product(arithmetic: Arithmetic, x: torch.Tensor, draws: Draws | None) -> torch.Tensor:
    """The product over the last axis, one factor after the other."""
    values = _from(reductions.product(arithmetic, x.detach().cpu().numpy(), -1, draws)).to(x.device)
    return straight_through(x.prod(-1), values, arithmetic) if _recorded((x,)) else values


def products(arithmetic: Arithmetic, a: torch.Tensor, b: torch.Tensor, order: str, draws: Draws | None) -> torch.Tensor:
    """(..., m, k) times (..., k, n); as `reductions.dot_general`."""
    fixed = a.detach(), b.detach()
    if a.is_cpu:
        values = _from(reductions.dot_general(arithmetic, fixed[0].numpy(), fixed[1].numpy(), order, draws))
    else:
        values = products_on_device(arithmetic, *fixed, order, draws)
    return straight_through(a @ b, values, arithmetic) if _recorded((a, b)) else values


def _from(found: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(found))


def terms_on_device(arithmetic: Arithmetic, terms: torch.Tensor, order: str, draws: Draws | None) -> torch.Tensor:
    """(n, ...) terms added on their device."""
    if not terms.shape[0]:
        return terms.new_zeros(terms.shape[1:])
    if reductions.check_order(order) == "sequential":
        found = terms[0].clone()
        for term in terms[1:]:
            found = operate("add", arithmetic, (found, term), next_of(draws))
        return found
    while terms.shape[0] > 1:
        pairs = 2 * (terms.shape[0] // 2)
        sums = operate("add", arithmetic, (terms[0:pairs:2], terms[1:pairs:2]), next_of(draws))
        terms = torch.cat([sums, terms[pairs:]])
    return terms[0].clone()


def products_on_device(
    arithmetic: Arithmetic, a: torch.Tensor, b: torch.Tensor, order: str, draws: Draws | None
) -> torch.Tensor:
    """Matrix products on their device; pairwise ones grow from the left, as in `reductions`."""
    pairwise = reductions.check_order(order) == "pairwise" and a.shape[-1] > 0
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    waiting = [] if pairwise else [(-1, a.new_zeros((*batch, a.shape[-2], b.shape[-1])))]
    for k in range(a.shape[-1]):
        level, found = 0, operate("multiply", arithmetic, (a[..., k, None], b[..., None, k, :]), next_of(draws))
        while waiting and waiting[-1][0] == (level if pairwise else -1):
            found = operate("add", arithmetic, (waiting.pop()[1], found), next_of(draws))
            level += 1
        waiting.append((level if pairwise else -1, found))
    found = waiting.pop()[1]
    while waiting:
        found = operate("add", arithmetic, (waiting.pop()[1], found), next_of(draws))
    return found
