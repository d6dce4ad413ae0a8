"""Which product of a step a call begins with, so that a layer that is called twice draws twice.

While the model's own forward runs, each of its layers that draw random numbers counts its products; outside of it
every call begins at 0. Activation checkpointing calls a layer again during backward, and the noise must be the same.
Where it calls the whole model, layers count again. Otherwise a layer that is called once begins at 0 again; one that is
called several times finds its call by what it is given, since the recomputation is exact.
"""

from typing import Any

import torch

OUTSIDE = -1
"""The count of a layer while the model's forward does not run."""
SEVERAL = -2
"""The same of a layer that was called several times in the last one."""

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def begin(model: torch.nn.Module, *_: Any) -> None:
    """A hook before the model's forward: its layers count from 0. (The compiler would look at what has a name.)"""
    for layer in model._halfulp_random:  # pyright: ignore[reportGeneralTypeIssues]
        layer._halfulp_calls = 0
        layer._halfulp_prints = []


def end(model: torch.nn.Module, *_: Any) -> None:
    """A hook after the model's forward."""
    for layer in model._halfulp_random:  # pyright: ignore[reportGeneralTypeIssues]
        layer._halfulp_calls = SEVERAL if layer._halfulp_repeats else OUTSIDE


def first_product(layer: Any, args: tuple[Any, ...]) -> int:
    """The number of the first product of a call.

    Raises:
        RuntimeError: a recomputation of which the first call cannot be told.
    """
    calls = layer._halfulp_calls
    if torch.compiler.is_compiling():
        if calls == SEVERAL and torch.is_grad_enabled():
            raise RuntimeError(_message(layer, "is compiled by itself"))
        return max(calls, 0)
    if calls < 0:
        recomputes = torch._C._current_graph_task_id() != -1  # inside of backward, and not of the model's own forward
        return _recomputed(layer, args) if recomputes else 0
    if calls > 0 and not layer._halfulp_repeats:
        layer._halfulp_repeats = True
    if layer._halfulp_repeats:
        layer._halfulp_prints.append((calls, fingerprint(args)))
    return calls


def _recomputed(layer: Any, args: tuple[Any, ...]) -> int:
    prints = layer._halfulp_prints
    if not prints:
        return 0
    own = fingerprint(args)
    found = [first for first, known in prints if torch.equal(own, known)]
    if len(found) == 1:
        return found[0]
    if not found and prints[0][0] > 0:  # the first call of all left no fingerprint, when nobody knew of a second
        return 0
    raise RuntimeError(_message(layer, "got the same input twice" if found else "got an input it had not got before"))


def _message(layer: Any, what: str) -> str:
    return (
        f"{layer._halfulp_name} is called several times in a forward pass, and {what} in the recomputation of "
        "activation checkpointing, so that its random numbers cannot be told; checkpoint the whole model, leave this "
        "layer out of checkpointing, or use a recipe without random numbers"
    )


def fingerprint(args: tuple[Any, ...]) -> torch.Tensor:
    """A number of the bits of some tensors and their order, on their device."""
    found = torch.zeros((), dtype=torch.int64)
    for position, t in enumerate(args):
        if isinstance(t, torch.Tensor) and t.numel():
            flat = t.detach().contiguous().reshape(-1).view(_INTEGERS[t.element_size()]).to(torch.int64)
            weights = torch.arange(1, flat.numel() + 1, device=flat.device)
            found = found.to(flat.device) + (position + 1) * (flat * weights * (2 * weights + 1)).sum()
    return found
