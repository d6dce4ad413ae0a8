"""What a probe sees of the products of a sampled step: operands as they are quantized, or would be, and what they cost.

A product hands over its factors; the values are found again, since random words depend on seed, step, stream and call
only. Of tensors only sums are kept, on their device until the step is over.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import lcm
from typing import Any, NamedTuple

import torch

from ...emulate.quantize import scales
from ...formats.catalogue import format as any_format
from ...formats.scaled import TENSOR, ScaledFormat
from ..products.operand_values import stream_of
from ..products.torch_operands import own_storage, quantized, rotated
from ..products.torch_products import Kind
from ..recipes.operands import Operand
from ..recipes.plan import transform_size
from ..recipes.recipe import OPERANDS
from .records import RESULTS, Key, label_of
from .sums import GradientSums, Grid, Sums, gradient_sums, grid_of, sums_of
from .torch_sampling import multiplied, rows_of, sampled_sums
from .torch_space import SPACE

_FACTORS = (0, 1, 2, 1, 2, 0)
"""Which of a, b and e each operand is."""
_FORWARD = {3: 1, 5: 0}
"""The forward operand whose values a backward one may take."""
_RAGGED = "last blocks are ragged"
_CHANGED = "a factor was changed in place before the backward pass"


class Setting(NamedTuple):
    """How operands are quantized, in use or not.

    Args:
        recipe: name of the recipe; empty for a format alone. in_use: whether the layer computes with it.
        specs: the six operands. seed, step, call: of random words. states: of operands, see `states_of`.
        unit: of the accumulator. results: whether operands are multiplied.
    """

    recipe: str
    in_use: bool
    specs: tuple[Any, ...]
    seed: Any
    step: Any
    call: int
    states: tuple[Any, ...]
    unit: tuple[Any, ...]
    results: bool


class Place(NamedTuple):
    """The name of a layer, of a product of it (empty where it has one), and whether it is in training."""

    layer: str
    product: str
    training: bool


@dataclass(slots=True)
class Sample:
    """What is recorded of a step.

    Args:
        step: its number. tensors: names of `records.TENSORS`.
        limit: how many elements of a tensor stand for all; None for all.
        places: (layer, product) in the order of their calls. pending: the sums that wait to be read off their device.
    """

    step: int
    tensors: frozenset[str]
    limit: int | None
    places: list[tuple[str, str]] = field(default_factory=list)
    pending: list[tuple[Key, Sums | GradientSums | None, str]] = field(default_factory=list)


@contextmanager
def aside(t: torch.Tensor) -> Iterator[None]:
    """Without gradients, casts and modes that intercept functions."""
    with torch.no_grad(), torch.autocast(t.device.type, enabled=False), torch._C.DisableTorchFunction():
        yield


class Measured:
    """One product while it is recorded: its factors a and b, and the gradient e of its result once there is one."""

    def __init__(
        self, sample: Sample, where: Place, a: torch.Tensor, b: torch.Tensor, kind: Kind, settings: tuple[Setting, ...]
    ) -> None:
        self.sample, self.where, self.kind, self.settings = sample, where, kind, settings
        self.factors: list[Any] = [a.detach(), b.detach(), None]
        self.known: dict[Any, tuple[Sums, str]] = {}

    def forward(self, found: torch.Tensor) -> None:
        """Record both operands of each setting, and what their product gives."""
        self._products(0, found)

    def operands(self, which: tuple[int, ...]) -> None:
        """Record operands of each setting alone."""
        for setting in self.settings:
            for k in which:
                self._operand(setting, k)

    def complex_weight(self, weight: torch.Tensor, became: torch.Tensor, fmt: str) -> None:
        """Record a weight whose complex parts were rounded before the product."""
        key = self._key(self.settings[0], "fprop_w", fmt)
        if "fprop_w" in self.sample.tensors:
            self._put(key, sums_of(SPACE, weight.detach(), became.detach(), None, None))

    def backward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        """The hook that records the backward products, once, for the gradient of the result."""
        wanted = [k for k, t in ((2, a), (4, b)) if t.requires_grad]
        versions = a._version, b._version

        def hook(e: torch.Tensor) -> None:
            if not self.factors:
                return
            if (self.factors[0]._version, self.factors[1]._version) == versions:
                self.factors[2] = e.detach()
                with aside(e):
                    for k in wanted:
                        self._products(k)
            else:
                for setting in self.settings:
                    for k in wanted:
                        self._put(self._key(setting, RESULTS[k // 2], self._label(setting, k)), None, _CHANGED)
            self.factors = []  # nothing is kept, so that a second backward pass is not recorded

        return hook

    def _products(self, k: int, found: torch.Tensor | None = None) -> None:
        """Record operands k and k + 1 of each setting and what they give: fprop (0), dgrad (2), wgrad (4).

        Args:
            found: what the product in use gave, where it is at hand.
        """
        a, b, e = self.factors
        left, right, like = {0: (a, b, b), 2: (e, b, a), 4: (e, a, b)}[k]
        size = like.numel() if found is None else found.numel()
        rows, tensor, exact = rows_of(self.kind, k, left, size, self.sample.limit), RESULTS[k // 2], None
        for setting in self.settings:
            one, other = self._operand(setting, k), self._operand(setting, k + 1)
            if not (setting.results and tensor in self.sample.tensors and _changes(setting, k)):
                continue
            if exact is None:
                exact = multiplied(k, left, right, like, self.kind, (), None, rows)
            specs = setting.specs
            if found is not None and setting.in_use:
                result = found.detach() if rows is None else found.detach().index_select(rows[0], rows[1])
            elif one is None or other is None:
                continue
            else:
                result = multiplied(k, one, other, like, self.kind, setting.unit, specs, rows)
            if k and Operand(*specs[k + 1]).quantized:
                result = rotated(result, specs[k // 2 - 1], setting.seed, setting.step, inverse=True)
            label = setting.recipe or label_of(Operand(*specs[0]))
            self._put(self._key(setting, tensor, label), gradient_sums(SPACE, result, exact))

    def _operand(self, setting: Setting, k: int) -> torch.Tensor | None:
        """An operand's values, recorded; None where it cannot be quantized, or nobody asked for it."""
        of, tensors = Operand(*setting.specs[k]), self.sample.tensors
        asked = OPERANDS[k] in tensors and (bool(of.fmt) or (of.quantized and bool(setting.specs[_FORWARD[k]][0])))
        needed = setting.results and RESULTS[k // 2] in tensors
        if not asked and not needed:
            return None
        key, alike = self._key(setting, OPERANDS[k], self._label(setting, k)), _alike(setting, k)
        if alike in self.known and not needed:
            self._put(key, *self.known[alike])
            return None
        try:
            x, values, times, grid, fmt = self._rounded(setting, k, of, asked)
        except ValueError as error:
            if setting.in_use:
                raise
            if asked:
                self._put(key, None, str(error).partition("\n")[0])
            return None
        if asked:
            ragged = grid is not None and any(grid.view.padding) and not setting.in_use
            found = sampled_sums(x, values, times, fmt, grid, self.sample.limit), _RAGGED if ragged else ""
            self._put(key, *found)
            if alike is not None:
                self.known[alike] = found
        return values

    def _rounded(self, setting: Setting, k: int, of: Operand, asked: bool) -> tuple[Any, Any, float, Grid | None, Any]:
        """What an operand was before and after, its prescale, its scales, and the format that cut it off."""
        specs, seed, step, call = setting.specs, setting.seed, setting.step, setting.call
        before = x = own_storage(self.factors[_FACTORS[k]])
        if not setting.in_use:
            _check_whole(of, x)
        times = of.prescale
        rounded, state, earlier = of, setting.states[k], None
        if of.quantized:
            first = _FORWARD[k]
            forward = Operand(*specs[first])
            before = rotated(before, specs[first], seed, step)
            x = before
            before, earlier = quantized(before, specs[first], seed, step, setting.states[first], None, call)
            times *= forward.prescale
            rounded, state = (of, state) if of.fmt else (forward, setting.states[first])
        x, before = (rotated(t, specs[k], seed, step) for t in (x, before)) if of.transform else (x, before)
        values, given = quantized(before, specs[k], seed, step, state if of.fmt else None, None, call)
        scale = given if of.fmt else earlier
        grid, fmt = None, None
        if asked and rounded.fmt:
            fmt = any_format(rounded.fmt)
            grid = _grid(x, rounded, fmt, state, scale, setting)
        return x, values, times, grid, fmt

    def _label(self, setting: Setting, k: int) -> str:
        of = Operand(*setting.specs[k])
        if of.quantized and not of.fmt:
            return label_of(Operand(*setting.specs[_FORWARD[k]]))
        return label_of(of)

    def _key(self, setting: Setting, tensor: str, label: str) -> Key:
        step, (layer, product, training) = self.sample.step, self.where
        return Key(step, layer, product, tensor, label, setting.recipe, setting.in_use, training)

    def _put(self, key: Key, found: Sums | GradientSums | None, note: str = "") -> None:
        self.sample.pending.append((key, found, note))


def _changes(setting: Setting, k: int) -> bool:
    """Whether a product of a setting, of operands k and k + 1, is another than the plain one."""
    specs = setting.specs
    taken = k and Operand(*specs[k + 1]).quantized and bool(specs[_FORWARD[k + 1]][0])
    return bool(specs[k][0] or specs[k + 1][0] or setting.unit or taken)


def _alike(setting: Setting, k: int) -> Any:
    """What two operands have in common whose statistics are the same: the factor, and how it is rounded.

    None where that depends on the axis of the contraction, on random words or on earlier steps.
    """
    of = Operand(*setting.specs[k])
    random = "stochastic" in of.rounding + of.scale_rounding
    if setting.in_use or random or of.quantized or of.transform or of.scaling[0] != "format" or of.prescale != 1.0:
        return None
    return _FACTORS[k], of._replace(stream=0, axis=0)


def _grid(x: torch.Tensor, of: Operand, fmt: Any, state: Any, scale: Any, setting: Setting) -> Grid | None:
    """The scales of an operand x before its prescale; None where there are none that elements have alone."""
    if not isinstance(fmt, ScaledFormat) or of.scaling[0] == "eden":
        return None
    along = of.along or None
    if scale is not None:
        return grid_of(SPACE, x, fmt, along, scale)
    if of.scaling[0] == "delayed" and state is not None:
        if fmt.blocks != TENSOR or fmt.outer is not None:
            return None
        wide = x.detach().to(torch.float32)
        earlier = state.to(torch.float32) * 2.0 ** of.scaling[2]
        amax = torch.where(torch.isfinite(earlier) & (earlier > 0), earlier, wide.abs().amax())
        return grid_of(SPACE, x, fmt, None, scales(amax.reshape(1), fmt))
    if of.outliers:  # scales are those of what lies within the quantiles
        flat, rank = x.reshape(-1).to(torch.float32), max(int(of.outliers * x.numel()), 1)
        kept = x.clamp(*(flat.kthvalue(n).values.to(x.dtype) for n in (rank, x.numel() + 1 - rank)))
        found = grid_of(SPACE, kept, fmt, along, None, of.scale_rounding or None)
        return None if found is None else found._replace(amax=None)
    random = {"seed": setting.seed, "step": setting.step, "stream": stream_of(of, setting.call)}
    return grid_of(SPACE, x, fmt, along, None, of.scale_rounding or None, random)


def _check_whole(of: Operand, x: torch.Tensor) -> None:
    """Raise where transforms, or blocks whose scales are found by statistics, do not divide an operand's axis."""
    by_statistics = of.scaling[0] in ("std", "eden") or of.prescale != 1.0
    size = lcm(transform_size(of.transform), of.block if by_statistics and of.block > 0 else 1)
    if x.shape[of.axis] % size:
        raise ValueError(f"{label_of(of)}: {size} elements at a time do not divide axis {of.axis} of {tuple(x.shape)}")
