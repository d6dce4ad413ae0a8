"""Loops of eager PyTorch that train the digits' network with other libraries' emulation; see `training`."""

from collections.abc import Callable, Sequence
from typing import Any

import halfulp as hu
import numpy as np
from halfulp.sim.tasks.order import data_order
from halfulp.sim.tasks.twins import torch_model
from halfulp.sim.training.training import rate_factors

Round = Callable[[Any], Any]
"""From a tensor to the tensor of its values in a format."""
Wrap = Callable[[Any, str], Any]
"""From a model and the name of a minifloat to the model that emulates it."""
FLOAT8 = "E4M3, for gradients E5M2,"
"""What torchao's float8 layers round to."""


def scaled(round_: Round, largest: float) -> Round:
    """A library's rounding with a scale a tensor: the largest magnitude meets the format's."""

    def rounded(t: Any) -> Any:
        scale = t.abs().amax().clamp_min(2.0**-100) / largest
        return round_(t / scale) * scale

    return rounded


def torchao_rounding(name: str) -> Round:
    """torchao's conversions of float32 to codes of a minifloat, as of up to 8 bits it has any, and back."""
    from torchao.prototype.custom_fp_utils import _f32_to_floatx_unpacked, _floatx_unpacked_to_f32

    bits = _bits(name)

    def there_and_back(t: Any) -> Any:
        return _floatx_unpacked_to_f32(_f32_to_floatx_unpacked(t, *bits), *bits)

    return scaled(there_and_back, _largest(name))


def pychop_rounding(name: str) -> Round:
    """Pychop's rounding of tensors to a minifloat as IEEE 754 lays it out."""
    from pychop import Chop

    exponent, mantissa = _bits(name)
    return scaled(Chop(exponent, mantissa, rmode=1), _largest(f"e{exponent}m{mantissa}ieee"))


def _minifloat(name: str) -> Any:
    return hu.format(name)


def _bits(name: str) -> tuple[int, int]:
    """Of exponent and mantissa; 'e2m1' and 'fp4_e2m1' are one format."""
    return _minifloat(name).exponent_bits, _minifloat(name).mantissa_bits


def _largest(name: str) -> float:
    return float(_minifloat(name).max)


def rounded_layers(rounding: Callable[[str], Round]) -> Wrap:
    """Linear layers whose inputs, weights and gradients are rounded, straight through; each once a step."""
    import torch

    class Multiply(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, round_):
            x, w = round_(x), round_(w)
            ctx.save_for_backward(x, w)
            ctx.round = round_
            return x @ w.T

        @staticmethod
        def backward(ctx, e):  # pyright: ignore[reportIncompatibleMethodOverride]
            (x, w), e = ctx.saved_tensors, ctx.round(e)
            return e @ w if ctx.needs_input_grad[0] else None, e.T @ x, None

    class Linear(torch.nn.Module):
        def __init__(self, layer, round_):
            super().__init__()
            self.weight, self.bias, self.round = layer.weight, layer.bias, round_

        def forward(self, x):
            return Multiply.apply(x, self.weight, self.round) + self.bias

    def wrap(model: Any, name: str) -> Any:
        round_ = rounding(name)
        layers = [Linear(each, round_) if isinstance(each, torch.nn.Linear) else each for each in model]
        return torch.nn.Sequential(*layers)

    return wrap


def float8_layers(model: Any, _: str) -> Any:
    """torchao's float8 layers, emulated, as they run where there is no float8 hardware."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    return convert_to_float8_training(model, config=Float8LinearConfig(emulate=True))


def accuracy_of_loops(training: hu.Training, wrap: Wrap) -> Callable[[Sequence[hu.Run]], float]:
    """What trains runs one after another and gives their mean accuracy."""
    import torch

    task = hu.task("digits", model="mlp", size="s")

    def tensors(data: Any) -> tuple[Any, Any]:
        return torch.from_numpy(data["x"]).flatten(1), torch.from_numpy(data["y"].astype(np.int64))

    train, valid = tensors(task.train), tensors(task.valid)
    factors = rate_factors(training).tolist()

    def one(run: hu.Run) -> float:
        twin = torch_model(task, run.seed)
        hidden = [part for layer in twin.layers for part in (layer, torch.nn.ReLU())]
        model = wrap(torch.nn.Sequential(*hidden, twin.head), run.rules[0].recipe.name)
        optimizer = torch.optim.SGD(model.parameters(), run.learning_rate, training.momentum)
        rows = torch.from_numpy(data_order(run.seed, task.samples, training.steps, training.batch)).long()
        for batch, factor in zip(rows, factors):
            optimizer.param_groups[0]["lr"] = run.learning_rate * factor
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(train[0][batch]), train[1][batch]).backward()
            optimizer.step()
        with torch.no_grad():
            return float((model(valid[0]).argmax(1) == valid[1]).float().mean())

    one(hu.Run(hu.uniform("e4m3"), 0, 0.1))  # loads what is loaded when first used
    return lambda runs: float(np.mean([one(run) for run in runs]))
