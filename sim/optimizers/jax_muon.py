"""Muon as an optax transformation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .orthogonal import adjustment, check_muon, orthogonalize


class MuonState(NamedTuple):
    """The state of `scale_by_polar_express`: the momentum, in the shape of the parameters."""

    momentum: Any


def scale_by_polar_express(
    momentum: Any = 0.95,
    *,
    nesterov: bool = True,
    steps: int = 5,
    fmt: str | None = "bf16",
    method: str = "polar_express",
    adjust: str = "original",
) -> optax.GradientTransformation:
    """Muon without its learning rate: momentum, orthogonalization of the last two axes, the factor of the shape.

    The last axis of a parameter is its outputs. Arguments as in `optimizers.muon`.
    """
    check_muon(0.0, momentum, 0.0, steps=steps, fmt=fmt, method=method, adjust=adjust)

    def init(params: Any) -> MuonState:
        for p in jax.tree.leaves(params):
            if p.ndim < 2:
                raise ValueError(
                    f"Muon is for matrices, got a parameter of shape {p.shape}; give vectors to optax.adamw"
                )
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
        del params
        buffer = jax.tree.map(lambda g, m: momentum * m + g, updates, state.momentum)
        taken = jax.tree.map(lambda g, m: g + momentum * m, updates, buffer) if nesterov else buffer

        def orthogonal(m: Any) -> Any:
            return adjustment(adjust, m.shape[-1], m.shape[-2]) * orthogonalize(m, steps, fmt, method=method)

        return jax.tree.map(orthogonal, taken), MuonState(buffer)

    return optax.GradientTransformation(init, update)


def muon(
    lr: Any = 0.02, momentum: Any = 0.95, nesterov: bool = True, weight_decay: Any = 0.0, **settings: Any
) -> optax.GradientTransformationExtraArgs:
    """See `optimizers.muon`."""
    check_muon(lr, momentum, weight_decay, **settings)
    parts = [scale_by_polar_express(momentum, nesterov=nesterov, **settings), optax.add_decayed_weights(weight_decay)]
    return optax.chain(*parts, optax.scale_by_learning_rate(lr))
