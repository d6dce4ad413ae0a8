"""The quantized products of one call of a layer: shapes, casts, padding, random words and learned or delayed scales."""

from typing import Any, NoReturn

import torch

from ...emulate.quantize import quantize
from ..recipes.operands import Operand
from ..recipes.plan import DIMENSIONS, KindPlan, Plan, Specs, misfit
from .torch_operands import first_size
from .torch_products import Kind, quantized_product
from .torch_values import complex_values, rounded_values

LINEAR: Kind = ("linear",)
MATMUL: Kind = ("matmul",)


class Products:
    """The quantized products of one call of a layer.

    Args:
        owner: what has the name that messages begin with, as `_halfulp_name`; read for them only, since the compiler
            would compile anew for every name.
        plan: a `Plan` as a plain tuple.
        seed: (2,) int64 words. step: () int64.
        first: number of the first product of this call, so that each product of a step draws its own random words.
        history: (slots, 6, steps) largest magnitudes of earlier steps, or None.
        seen: (slots, 6) where those of this step are gathered, or None.
        sizes: (slots, 2) step sizes that are trained, or None.
        watch: what is told of each product and of tensors rounded alone, a `torch_watch.Call`; None for nothing.
    """

    def __init__(
        self,
        owner: Any,
        plan: tuple[Any, ...],
        seed: torch.Tensor,
        step: torch.Tensor,
        first: int = 0,
        history: torch.Tensor | None = None,
        seen: torch.Tensor | None = None,
        sizes: torch.Tensor | None = None,
        watch: Any = None,
    ) -> None:
        self.owner, self.plan, self.watch = owner, Plan(*plan), watch
        self.seed, self.step, self.count = seed, step, first
        self.history, self.seen, self.sizes = history, seen, sizes

    def multiply(self, a: torch.Tensor, b: torch.Tensor, kind: Kind, slot: int = 0) -> torch.Tensor:
        """A product, all its operands quantized, in the dtype that torch's own product would have.

        Args:
            a, b: as `quantized_product` takes them.
            slot: which of the layer's scales; of a layer that multiplies once 0.
        """
        device = a.device.type
        if not torch.is_autocast_enabled(device):
            return self._product(a, b, kind, slot)
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return self._product(_cast(a, dtype), _cast(b, dtype), kind, slot)

    def _product(self, a: torch.Tensor, b: torch.Tensor, kind: Kind, slot: int) -> torch.Tensor:
        of = self._kind(kind[0])
        given = b
        if self.plan.phase:
            b = self._complex(b, kind)
        shape = a.shape
        if kind[0] == "linear":
            a = a.reshape(-1, shape[-1])  # tokens are one axis, along which wgrad contracts
        m, k, n = _lengths(a, b, kind)
        graded = torch.is_grad_enabled()
        backward = (graded and a.requires_grad, graded and b.requires_grad)
        wrong = misfit(of, m, k, n, _groups(kind), backward)
        if wrong:
            self.fail(wrong)
        specs = of.specs
        sizes = self._sizes(a, b, specs, slot)
        a, b = _padded(a, b, kind, of.whole, backward)
        largest = None if self.history is None else self.history[slot].amax(-1)
        call = self._next()
        found = quantized_product(
            a,
            b.view_as(b) if a is b else b,  # the compiler takes no tensor twice
            kind,
            specs,
            self.seed,
            self.step,
            sizes=sizes,
            largest=largest,
            seen=None if self.seen is None else self.seen[slot],
            unit=self.plan.unit,
            call=call,
        )
        if self.watch is not None:
            using = (specs, self.seed, self.step, sizes, largest, self.plan.unit, call)
            self.watch.product(found, a, b, kind, slot, using, (given, b, self.plan.phase))
        found = _cropped(found, kind, m, n)
        return found.reshape(*shape[:-1], n) if kind[0] == "linear" else found

    def fail(self, message: str) -> NoReturn:
        """Raise a ValueError that begins with the layer's name. (`@` would take a TypeError for its own.)"""
        raise ValueError(f"{self.owner._halfulp_name}: {message}")

    def _kind(self, kind: str) -> KindPlan:
        if kind == "linear":
            return KindPlan(*self.plan.linear)
        if kind == "matmul":
            return KindPlan(*self.plan.matmul)
        if self.plan.unit:
            self.fail(
                "the emulated matrix unit multiplies matrices, not convolutions; leave the layer out, or give it a "
                "recipe without accumulator"
            )
        return KindPlan(*(self.plan.convolution if kind == "convolution" else self.plan.transposed))

    def _complex(self, b: torch.Tensor, kind: Kind) -> torch.Tensor:
        if kind[0] != "linear" or b.shape[0] % 2 or b.shape[1] % 2:
            self.fail(
                f"complex weights ({self.plan.phase}) need a linear layer with even numbers of inputs and outputs, got "
                f"a {kind[0]} product of a factor {tuple(b.shape)}; leave it out, or give it another recipe"
            )
        return complex_values(b, self.plan.phase)

    def _sizes(self, a: torch.Tensor, b: torch.Tensor, specs: Specs, slot: int) -> torch.Tensor | None:
        """The step sizes of a product; where they are still 0 they become LSQ's 2 * mean |x| / sqrt(largest)."""
        if self.sizes is None:
            return None
        sizes = self.sizes[slot]
        with torch.no_grad():
            first = torch.stack([first_size(t, spec) for t, spec in zip((a, b), specs)])
            sizes.copy_(torch.where(sizes == 0, first.to(sizes.dtype), sizes))
        return self.sizes[slot]

    def _next(self) -> int:
        """The number of this product; always 0 where no random number is drawn."""
        self.count += 1
        return self.count - 1 if self.plan.random else 0

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, slot: int = 0
    ) -> torch.Tensor:
        """x W^T + b, as `torch.nn.functional.linear`."""
        if weight.dim() == 1:
            return self.finished(self.multiply(x, weight[None], LINEAR, slot)[..., 0], bias)
        return self.finished(self.multiply(x, weight, LINEAR, slot), bias)

    def matmul(self, a: torch.Tensor, b: torch.Tensor, slot: int = 0) -> torch.Tensor:
        """a b, as `torch.matmul`; a matrix b takes all rows of a as one batch of tokens."""
        if not (a.is_floating_point() and b.is_floating_point()):
            if a.is_complex() or b.is_complex():
                self.fail(f"expected real factors, got {a.dtype} and {b.dtype}; multiply their parts apart")
            return torch.ops.aten.matmul.default(a, b)
        left = a[None] if a.dim() == 1 else a
        right = b[:, None] if b.dim() == 1 else b
        if right.dim() == 2 and left.dim() > 2:
            found = self.multiply(left.reshape(-1, left.shape[-1]), right, MATMUL, slot)
            found = found.reshape(*left.shape[:-1], right.shape[1])
        else:
            found = self.multiply(left, right, MATMUL, slot)
        found = found[..., 0] if b.dim() == 1 else found
        return found.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else found

    def finished(self, y: torch.Tensor, bias: torch.Tensor | None, axis: int = -1) -> torch.Tensor:
        """A product with its bias, in their formats.

        Args:
            axis: of the product along which the bias lies.
        """
        if bias is not None:
            added = bias.to(y.dtype)
            added = quantize(added, self.plan.bias) if self.plan.bias else added
            y = y + added.reshape([-1] + [1] * (-axis - 1))
        return quantize(y, self.plan.output) if self.plan.output else y

    def values(self, t: torch.Tensor, spec: tuple[Any, ...], slot: int, side: int) -> torch.Tensor:
        """A tensor rounded outside of any product.

        Args:
            side: 0 for the scales of a first factor, 1 for those of a second.
        """
        name = Operand(*spec).scaling[0]
        size = largest = seen = None
        if name == "learned" and self.sizes is not None:
            size = self.sizes[slot, side]
            with torch.no_grad():
                size.copy_(torch.where(size == 0, first_size(t, spec).to(size.dtype), size))
            size = self.sizes[slot, side]
        if name == "delayed" and self.history is not None:
            largest = self.history[slot, side].amax(-1)
            seen = None if self.seen is None else self.seen[slot, side]
        call = self._next()
        found = rounded_values(t, spec, self.seed, self.step, size=size, largest=largest, seen=seen, call=call)
        if self.watch is not None:
            self.watch.values(t, spec, slot, side, (self.seed, self.step, size if largest is None else largest, call))
        return found


def _cast(t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """As autocast does: anything but float64."""
    return t if t.dtype == torch.float64 or not t.is_floating_point() else t.to(dtype)


def _lengths(a: torch.Tensor, b: torch.Tensor, kind: Kind) -> tuple[int, int, int]:
    """m, k and n of a product, k and n of all groups."""
    a_axes, b_axes, _ = DIMENSIONS[kind[0]]
    found = {name: t.shape[axis] for t, axes in ((b, b_axes), (a, a_axes)) for axis, name in axes.items()}
    return found["m"], found["k"], found["n"] * (_groups(kind) if kind[0] == "transposed" else 1)


def _groups(kind: Kind) -> int:
    """Groups of a convolution; 1 of other products."""
    return kind[5] if kind[0] in ("convolution", "transposed") else 1


def _padded(
    a: torch.Tensor, b: torch.Tensor, kind: Kind, whole: tuple[int, int, int], backward: tuple[bool, bool]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both factors with zeros at the end of axes that transforms must divide; they add nothing to any product."""
    m, k, n = whole
    size = {"m": m if backward[1] else 1, "k": k, "n": n if backward[0] else 1}
    if max(size.values()) == 1:
        return a, b
    a_axes, b_axes, _ = DIMENSIONS[kind[0]]
    for axis, name in a_axes.items():
        a = _with_zeros(a, axis, size[name])
    for axis, name in b_axes.items():
        b = _with_zeros(b, axis, size[name])
    return a, b


def _with_zeros(t: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    missing = -t.shape[axis] % size
    if not missing:
        return t
    after = t.dim() - 1 - axis % t.dim()
    return torch.nn.functional.pad(t, [0, 0] * after + [0, missing])


def _cropped(y: torch.Tensor, kind: Kind, m: int, n: int) -> torch.Tensor:
    """A product without the rows and columns of added zeros."""
    if kind[0] in ("linear", "matmul"):
        return y[..., :m, :n] if y.shape[-2] != m or y.shape[-1] != n else y
    return y[:m, :n] if y.shape[0] != m or y.shape[1] != n else y
