"""What a task minimizes and reports, in torch: the numbers of `jax_losses`, up to the rounding of float32."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ...emulate.backends.integers import NumpyWords
from .feedforward import Vgg
from .leaves import flat, nested
from .noise import NOISE, uniform
from .objective import Objective
from .schedule import STEPS, schedule
from .torch_networks import NETWORKS


def module_of(model: Any, params: Mapping[str, Any]) -> nn.Module:
    """A description as a module with these parameters; torch's own random numbers stay where they are."""
    with torch.random.fork_rng(devices=[]):
        return load_params(NETWORKS[type(model)](model), params)


def load_params(module: nn.Module, params: Mapping[str, Any]) -> nn.Module:
    """Put a dict of dicts of arrays into a module's parameters.

    Raises:
        ValueError: names or shapes that are not the module's.
    """
    given, own = flat(params), dict(module.named_parameters())
    if given.keys() != own.keys():
        raise ValueError(
            f"expected the parameters of the module; missing: {sorted(own.keys() - given.keys())[:8]}, unknown: "
            f"{sorted(given.keys() - own.keys())[:8]}; both have to be of one task, model and size"
        )
    with torch.no_grad():
        for name, value in given.items():
            if np.shape(value) != own[name].shape:
                raise ValueError(f"{name}: expected the shape {tuple(own[name].shape)}, got {np.shape(value)}")
            own[name].copy_(torch.from_numpy(np.array(value)))
    return module


def params_of(module: nn.Module) -> dict[str, Any]:
    """A module's parameters as a dict of dicts of NumPy arrays."""
    return nested({name: p.detach().cpu().numpy().copy() for name, p in module.named_parameters()})


def loss(model: Any, objective: Objective, module: nn.Module, batch: Mapping[str, Any], words: Any) -> torch.Tensor:
    """The mean loss of a batch of arrays or tensors."""
    return _each(model, objective, module, batch, words, evaluating=False)["loss"].mean()


def evaluate(
    model: Any, objective: Objective, module: nn.Module, batch: Mapping[str, Any], words: Any
) -> dict[str, torch.Tensor]:
    """Sums over the samples of a batch, and 'count'."""
    with torch.no_grad():
        found = _each(model, objective, module, batch, words, evaluating=True)
    count = torch.tensor(float(len(next(iter(batch.values())))))
    return {**{name: values.sum() for name, values in found.items()}, "count": count}


def _each(
    model: Any, objective: Objective, module: nn.Module, batch: Mapping[str, Any], words: Any, evaluating: bool
) -> dict[str, torch.Tensor]:
    device = next(module.parameters()).device
    data = {name: _tensor(array, device) for name, array in batch.items()}
    compute = {"squares": _squares, "classes": _classes, "noise": _noise, "tokens": _tokens}[objective.kind]
    found = compute(model, objective, module, data, words, evaluating)
    return found if evaluating else {"loss": found["loss"]}


def _tensor(array: Any, device: torch.device) -> torch.Tensor:
    found = array if isinstance(array, torch.Tensor) else torch.from_numpy(np.array(array))
    return found.to(device)


def _squares(model: Any, objective: Objective, module: nn.Module, data: Any, words: Any, evaluating: bool) -> Any:
    squares = (module(data["x"])[:, 0] - data["y"]) ** 2
    return {"loss": squares, "r2": 1 - squares / np.float32(objective.variance).item()}


def _classes(model: Any, objective: Objective, module: nn.Module, data: Any, words: Any, evaluating: bool) -> Any:
    x, labels = _pixels(objective, data["x"]), data["y"].long()
    if evaluating and isinstance(model, Vgg):
        reference = _pixels(objective, _tensor(objective.reference, x.device))
        logits = module(torch.cat([reference, x]), len(reference))[len(reference) :]
    else:
        logits = module(x)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return {"loss": losses, "accuracy": (logits.argmax(-1) == labels).float()}


def _pixels(objective: Objective, x: torch.Tensor) -> torch.Tensor:
    x = x.float()
    if objective.mean is None:
        return x
    mean, deviation = (torch.tensor(a, device=x.device)[:, None, None] for a in (objective.mean, objective.deviation))
    return (x - mean) / deviation


def _noise(model: Any, objective: Objective, module: nn.Module, data: Any, words: Any, evaluating: bool) -> Any:
    x = data["x"]
    key, n = np.asarray(words).astype(np.uint64), len(x)
    start = uniform(np, NumpyWords(), key, 0, (1,))
    time = ((np.arange(n, dtype=np.float32) + start) * np.float32(STEPS / n)).astype(np.int64).clip(max=STEPS - 1)
    draws = torch.from_numpy(2 * uniform(np, NumpyWords(), key, NOISE, tuple(x.shape)) - 1).to(x.device)
    noise = np.float32(np.sqrt(2)).item() * torch.erfinv(draws)
    left = torch.from_numpy(schedule().alpha_bar[time]).to(x.device).reshape(n, 1, 1, 1)
    found = module(left.sqrt() * x + (1 - left).sqrt() * noise, torch.from_numpy(time).to(x.device))
    return {"loss": ((found - noise) ** 2).mean((1, 2, 3))}


def _tokens(model: Any, objective: Objective, module: nn.Module, data: Any, words: Any, evaluating: bool) -> Any:
    tokens = data["tokens"].long()
    logits = module(tokens[:, :-1])
    losses = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)
    return {"loss": losses, "bits_per_byte": losses / (np.log(2) * objective.bytes_per_token)}
