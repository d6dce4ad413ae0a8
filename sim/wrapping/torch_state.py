"""What a wrapped model carries from step to step: its step counter, largest magnitudes, step sizes that are trained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from .torch_modules import BUFFERS, in_force, layers_of
from .torch_wrapping import inner


def _layers(model: nn.Module) -> dict[str, Any]:
    return layers_of(inner(model))


@torch.no_grad()
def advance_(model: nn.Module, group: Any = None) -> None:
    """See `wrapping.advance_`."""
    layers = list(_layers(model).values())
    if not layers:
        return
    torch._foreach_add_([layer._halfulp_step for layer in layers], 1)  # pyright: ignore[reportPrivateImportUsage]
    _roll([layer for layer in layers if layer._halfulp_history is not None], group)
    after_step_(model)
    for layer in layers:
        layer._halfulp_prints = []
        if layer._halfulp_recipe.schedule:
            in_force(layer, int(layer._halfulp_step))


def _roll(layers: list[Any], group: Any) -> None:
    """The largest magnitudes of this step enter the histories, of all ranks where a process group is given."""
    if not layers:
        return
    if group is not None:
        seen = torch.cat([layer._halfulp_seen.reshape(-1) for layer in layers])
        torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX, group=group)
        for layer, part in zip(layers, seen.split([layer._halfulp_seen.numel() for layer in layers])):
            layer._halfulp_seen.copy_(part.reshape(layer._halfulp_seen.shape))
    for layer in layers:
        history = layer._halfulp_history
        history.copy_(torch.cat([layer._halfulp_seen[..., None], history[..., :-1]], -1))
        layer._halfulp_seen.zero_()


@torch.no_grad()
def after_step_(model: nn.Module) -> None:
    """See `wrapping.after_step_`."""
    done: set[int] = set()
    for layer in _layers(model).values():
        limit = layer._halfulp_recipe.at(int(layer._halfulp_step)).weight_limit if _bounds(layer) else None
        if limit is None:
            continue
        for weight in layer.parameters(recurse=isinstance(layer, nn.MultiheadAttention)):
            if weight.dim() > 1 and id(weight) not in done:
                done.add(id(weight))
                weight.copy_(limit * torch.tanh(weight / limit))


def _bounds(layer: Any) -> bool:
    recipe = layer._halfulp_recipe
    return any(each.after_step is not None for each in (recipe, *(later for _, later in recipe.schedule)))


def state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """See `wrapping.state_dict`."""
    found = {}
    for name, layer in _layers(model).items():
        for buffer in BUFFERS:
            value = getattr(layer, buffer)
            if value is not None:
                key = buffer.removeprefix("_halfulp_")
                found[f"{name}.{key}" if name else key] = value.detach().clone()
    return found


@torch.no_grad()
def load_state_dict(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """See `wrapping.load_state_dict`."""
    own = {}
    for name, layer in _layers(model).items():
        for buffer in BUFFERS:
            value = getattr(layer, buffer)
            if value is not None:
                key = buffer.removeprefix("_halfulp_")
                own[f"{name}.{key}" if name else key] = value
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"the state is of a model with other recipes: {len(missing)} entries are missing {missing[:3]}, "
            f"{len(extra)} are not known {extra[:3]}; quantize the model with the rules it was saved with"
        )
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise ValueError(f"{key}: expected shape {tuple(value.shape)}, got {tuple(state[key].shape)}")
        value.copy_(state[key])
    for layer in _layers(model).values():
        in_force(layer, int(layer._halfulp_step))


def extra_parameters(model: nn.Module) -> list[torch.Tensor]:
    """See `wrapping.extra_parameters`."""
    return [layer._halfulp_sizes for layer in _layers(model).values() if layer._halfulp_sizes is not None]


def check_finite(loss: torch.Tensor, model: nn.Module, *inputs: Any, **options: Any) -> torch.Tensor:
    """See `wrapping.check_finite`."""
    if bool(torch.isfinite(loss.detach()).all()):
        return loss
    parts = [f"the loss is {loss.detach().reshape(-1)[0].item()}"]
    parts += _named("parameters", [n for n, p in model.named_parameters() if not _finite(p)])
    parts += _named(
        "gradients of", [n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    )
    if inputs or options:
        parts += _named("outputs of, in their order", _overflowing(model, inputs, options))
    else:
        parts.append("pass the model's inputs too, to find the first layer whose output is not finite")
    raise FloatingPointError("; ".join(parts))


def _finite(t: torch.Tensor) -> bool:
    return bool(torch.isfinite(t.detach()).all())


def _named(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"not finite: {what} {', '.join(names[:5])}{more}"] if names else []


def _overflowing(model: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> list[str]:
    """The modules whose output is not finite, in the order of their calls; the model's buffers and state stay."""
    found: list[str] = []
    kept = [(b, b.detach().clone()) for b in model.buffers()]

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensors = [t for t in tree_leaves(output) if isinstance(t, torch.Tensor)]
            if any(t.is_floating_point() and not _finite(t) for t in tensors) and name not in found:
                found.append(f"{name} ({type(module).__name__})")

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(*inputs, **options)
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
    return found
