"""Numbers of a run's weights between steps: how large they are, and what their format does to them."""

from typing import Any

import jax
import jax.numpy as jnp

from .train_step import Member, State


def probed(state: State, member: Member) -> dict[str, Any]:
    """Root mean square and largest magnitude of each parameter, by name."""
    found = {}
    for path, p in jax.tree_util.tree_flatten_with_path(state.parameters)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found[f"{name}.rms"] = jnp.sqrt(jnp.mean(jnp.square(p)))
        found[f"{name}.largest"] = jnp.max(jnp.abs(p))
    return found
