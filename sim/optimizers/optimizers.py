"""Optimizers in low precision: weights, gradients and states in formats, in torch and with optax.

torch and optax are imported when one of these functions is called.
"""

from numbers import Integral
from typing import Any

from ...emulate.dispatch import library_of
from .storages import storage as storage_of


def low_precision(optimizer: Any, storage: Any = None, *, seed: int = 0, **settings: Any) -> Any:
    """An optimizer that keeps weights, gradients and states in formats, as `Storage` says.

    A torch optimizer becomes one whose `step` rounds: it is a torch.optim.Optimizer with the same parameter groups, for
    schedulers, GradScaler, closures, `state_dict`, and the parameters are rounded at once. A group may have a 'storage'
    of its own. The model may be one that `hu.quantize_` wrapped; `hu.advance_` is still called after each step.

    An optax transformation becomes one whose updates lead to the stored weights: `optax.apply_updates` gives them, bit
    for bit where a float32 difference can (see `settle`). `optax.partition` gives parameters storages of their
    own; give its parts different seeds. ECO reads learning rate and momentum from `optax.inject_hyperparams`, for
    momentum without Nesterov's step.

    A master is made of the parameters when the optimizer is: load a pretrained model before that, since weights that
    are written later are replaced by the master's.

    Values are held in float32 (float64, bfloat16), each one exactly in its format; `Storage.bits` counts the bits it
    would take. Random words depend on the seed, the position of a tensor among the parameters, its role and the step,
    so that torch and optax draw the same, and a resumed run equals an uninterrupted one.

    Args:
        optimizer: a torch optimizer, of any class but LBFGS; or an optax GradientTransformation.
        storage: a `Storage`, the name of a published one (`list_storages`) or a table; None for one of the settings.
        seed: of random numbers, below 2**64.
        settings: of `Storage`, in place of those of the storage.

    Returns:
        A torch.optim.Optimizer, with the given one as `inner`; or an optax GradientTransformationExtraArgs.

    Raises:
        ValueError: unknown names; settings that do not go together; a parameter that does not hold a format's values;
            no parameter that the storage covers; ECO with an optimizer it is not for. In a step: a state that is named
            and is not there, or that a format or square root does not suit.
        TypeError: neither a torch optimizer nor an optax transformation; in a step, a sparse gradient.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(1, 1))
        >>> optimizer = low_precision(torch.optim.SGD([weight], lr=0.1), weights="bf16")
        >>> weight.grad = torch.full((1, 1), 1.0)
        >>> optimizer.step()
        >>> weight.item() in (0.8984375, 0.90234375)      # 0.9 lies between two values
        True
    """
    kept = storage_of(storage)
    if settings:
        kept = kept.with_(**settings)
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 1 << 64:
        raise ValueError(f"expected a seed from 0 to 2**64 - 1, got {seed!r}")
    if library_of(optimizer) == "torch" and hasattr(optimizer, "param_groups"):
        from .torch_optimizers import low_precision

        return low_precision(optimizer, kept, int(seed))
    if callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None)):
        from .jax_optimizers import low_precision

        return low_precision(optimizer, kept, int(seed))
    raise TypeError(
        f"expected a torch optimizer or an optax transformation, got {type(optimizer).__name__}; write e.g. "
        "hu.low_precision(torch.optim.AdamW(model.parameters()), weights='bf16')"
    )


def settle(params: Any, state: Any) -> tuple[Any, Any]:
    """The weights that an optax optimizer of `low_precision` stores, bit for bit, and its state for them.

    Call it once after `init`, so that the first forward pass sees rounded weights too. It may be called after any step
    and is not needed: `optax.apply_updates` gives the stored weights but where no float32 difference leads from the old
    value to the new one. In unscaled formats that takes a change by a factor of some 2**16 in one step; where scales
    are any float32, a few elements in a hundred are then off by an ulp of the larger value. What is missing stays in
    the state, and the optimizer goes on from the exact weights in any case.

    Args:
        params: the parameters.
        state: the optimizer's state for them, also where it is part of an optax.chain or optax.partition.

    Returns:
        (params, state).

    Raises:
        TypeError: a state without one of `low_precision`.
    """
    from .jax_optimizers import settle

    return settle(params, state)


def muon(
    params: Any = None,
    *,
    lr: Any = 0.02,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    steps: int = 5,
    fmt: str | None = "bf16",
    method: str = "polar_express",
    adjust: str = "original",
) -> Any:
    """Muon: SGD with momentum whose updates are orthogonalized by Polar Express, every operation in a format.

    With parameters a torch optimizer, without them an optax transformation. Parameters have two axes or more; further
    ones count as inputs (torch) or belong to other matrices (optax). Give biases, norms, embeddings and heads to AdamW.

    Args:
        params: parameters or groups as of any torch optimizer, or None.
        lr: the learning rate; also a schedule for optax.
        momentum, nesterov: as of SGD.
        weight_decay: decoupled, as of AdamW.
        steps, fmt, method: of orthogonalization, see `orthogonalize`.
        adjust: 'original', 'match_rms_adamw' or 'none', see `orthogonal.ADJUSTMENTS`.

    Raises:
        ValueError: an unknown name, numbers out of range, a parameter with fewer than two axes.

    `optax.inject_hyperparams(hu.muon, static_args="steps")(lr=0.02)` makes its numbers part of the state.

    Source: Jordan et al., Muon, 2024; Amsel, Persson, Musco and Gower, arXiv:2505.16932.
    """
    shape: Any = {"steps": steps, "fmt": fmt, "method": method, "adjust": adjust}
    if params is None:
        from .jax_optimizers import muon

        return muon(lr, momentum, nesterov, weight_decay, **shape)
    from .torch_muon import Muon

    return Muon(params, lr, momentum, nesterov, weight_decay, **shape)
