"""Arrays inside of `jax.shard_map`, where JAX tracks over which manual axes of the mesh each of them varies."""

from typing import Any

import jax
from jax import lax


def varying(x: Any) -> frozenset[str]:
    """The manual axes over which an array varies; none where JAX does not track them."""
    kind: Any = jax.typeof(x)
    return frozenset(kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma)


def alike(*trees: Any) -> tuple[Any, ...]:
    """Arrays that all vary over the axes over which one does; gradients of what did not then add up over shards."""
    axes = frozenset[str]().union(*(varying(x) for x in jax.tree.leaves(trees)))

    def cast(x: Any) -> Any:
        missing = tuple(sorted(axes - varying(x)))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, trees)


def largest_of_shards(x: jax.Array, like: jax.Array) -> jax.Array:
    """The largest numbers of all shards over which x varies and `like` does not."""
    axes = tuple(sorted(varying(x) - varying(like)))
    return lax.pmax(x, axes) if axes else x
