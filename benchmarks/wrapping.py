"""Training steps of wrapped models, in steps of the same model unwrapped."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import halfulp as hu

from .outcomes import Training
from .results import in_short
from .timing import Call, Spread, in_turn, ratios


def _perceptron() -> tuple[Any, Any]:
    import torch

    layers = [torch.nn.Linear(1024, 1024), torch.nn.ReLU()] * 2
    return torch.nn.Sequential(*map(copy.deepcopy, layers), torch.nn.Linear(1024, 1024)), torch.randn(256, 1024)


def _convolutional() -> tuple[Any, Any]:
    import torch

    layers = (torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1))
    return torch.nn.Sequential(*layers), torch.randn(32, 32, 16, 16)


def _transformer() -> tuple[Any, Any]:
    import torch

    layer = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    return layer, torch.randn(8, 128, 256)


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "MLP, 3 x 1024, 256 rows": _perceptron,
    "CNN, 2 x 3x3, 32 images of 16x16": _convolutional,
    "transformer layer, width 256, 8 x 128 tokens": _transformer,
}
RECIPES = ("mxfp8", "nvfp4", "int8")


def step_of(model: Any, x: Any) -> Call:
    """A call that trains for one step."""
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def _microxcaling_style(t: Any, axis: int) -> Any:
    """MXFP8 in float operations one after the other, as microxcaling has them."""
    import torch

    parts = t.unflatten(axis % t.dim(), (-1, 32))
    at = axis % t.dim() + 1
    shared = torch.floor(torch.log2(parts.abs().amax(at, keepdim=True) + 2.0**-126)) - 8
    scaled = parts / 2**shared
    exponent = torch.floor(torch.log2(scaled.abs() + (scaled == 0).float())).clamp_min(-6)
    step = 2 ** (exponent - 3)
    rounded = (torch.sign(scaled) * torch.floor(scaled.abs() / step + 0.5) * step).clamp(-448, 448)
    return (rounded * 2**shared).flatten(at - 1, at)


def _torchao(t: Any, axis: int) -> Any:
    import torch
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    last = t.movedim(axis, -1).contiguous()
    return MXTensor.to_mx(last, torch.float8_e4m3fn, 32).dequantize(t.dtype).movedim(-1, axis)


def _emulated(quantize: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """Linear layers whose six operands a function quantizes along the contraction."""
    import torch

    class Multiply(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return quantize(x, -1) @ quantize(w, -1).T

        @staticmethod
        def backward(ctx, e):  # pyright: ignore[reportIncompatibleMethodOverride]
            x, w = ctx.saved_tensors
            return quantize(e, -1) @ quantize(w, 0), quantize(e, 0).T @ quantize(x, 0)

    class Linear(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.weight, self.bias = layer.weight, layer.bias

        def forward(self, x):
            return Multiply.apply(x, self.weight) + self.bias

    def wrap(model: Any) -> Any:
        layers = [Linear(layer) if isinstance(layer, torch.nn.Linear) else layer for layer in model]
        return torch.nn.Sequential(*layers)

    return wrap


Way = tuple[str, str, Callable[[Any], Any], bool]
"""(model, library, what it makes of a model, whether it is compiled)."""


def ways(quick: bool = False) -> list[Way]:
    """Every way to train; where it is quick none that has to be compiled."""
    found: list[Way] = []
    for model in MODELS:
        for recipe in RECIPES:
            wrap = lambda plain, recipe=recipe: hu.quantize_(plain, recipe)  # noqa: E731
            found += [(model, f"halfulp {recipe}, eager", wrap, False)]
        found += [(model, "halfulp mxfp8, compiled", lambda plain: hu.quantize_(plain, "mxfp8"), True)]
    first = next(iter(MODELS))
    found += [
        (first, "torchao's MXFP8 tensors, eager", _emulated(_torchao), False),
        (first, "float operations as in microxcaling, mxfp8, eager", _emulated(_microxcaling_style), False),
    ]
    return [way for way in found if not (quick and way[3])]


def training(model: str, library: str, wrap: Callable[[Any], Any], compiled: bool, budget: float) -> Training:
    """Time one way; a failure is a line of the table."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            plain, x = MODELS[model]()
            other = wrap(copy.deepcopy(plain))
            if compiled:
                plain, other = torch.compile(plain), torch.compile(other)
            calls = {"plain": step_of(plain, x), "row": step_of(other, x)}
            seconds = in_turn(calls, budget, least=3)
    except Exception as error:  # whatever a peer raises is what the table is to say
        return Training(model, library, error=in_short(error))
    return Training(model, library, Spread.of(seconds["row"]), ratios(seconds["row"], seconds["plain"]))
