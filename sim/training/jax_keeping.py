"""What `keeping` says of parameters, done in a compiled program: formats are structure, seeds are data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...emulate.backends.jax_integers import JaxWords
from ...emulate.philox import fold_words
from ..optimizers.compensation import Momentum
from ..optimizers.jax_optimizers import Wrapped, settle
from ..optimizers.update_rules import Tensor
from ..recipes.seeds import name_words
from .keeping import Kept


class Keeping(NamedTuple):
    """How the parameters of a program are kept.

    Fields:
        parameters: a `Kept` for each leaf, in the order of the tree.
    """

    parameters: tuple[Kept, ...] = ()

    @property
    def stores(self) -> bool:
        """Whether any is kept in a format."""
        return any(kept.storage is not None for kept in self.parameters)

    def wrapped(self, inner: Any, seed: Any, momentum: Callable[[Any, Any], Momentum] | None = None) -> Wrapped:
        """A transformation whose updates lead to stored parameters.

        Args:
            seed: (2,) uint32, which may be traced.
        """

        def words(name: str) -> Any:
            both = [fold_words(JaxWords(), seed[k], jnp.uint32(word)) for k, word in enumerate(name_words(name))]
            return jnp.stack(both)

        kept = self.parameters
        tensors = [None if each.storage is None else Tensor(each.storage, words, each.name) for each in kept]
        return Wrapped(optax.with_extra_args_support(inner), lambda _: tensors, momentum)

    def begin(self, inner: Any, parameters: Any) -> tuple[Any, Any]:
        """The parameters as they are stored, and the state of the optimizer for them."""
        if not self.stores:
            return parameters, inner.init(parameters)
        unused = np.zeros(2, np.uint32)  # what begins is rounded to nearest
        return settle(parameters, self.wrapped(inner, unused, lambda state, count: Momentum(0, 1)).init(parameters))

    def step(
        self,
        inner: Any,
        gradient: Any,
        state: Any,
        parameters: Any,
        seed: Any,
        momentum: Callable[[Any, Any], Momentum],
    ) -> tuple[Any, Any]:
        """The parameters and the state of the optimizer after a step.

        Args:
            inner: an optax transformation with learning rate and weight decay.
        """
        if not self.stores:
            moves, state = inner.update(gradient, state, parameters)
            return jax.tree.map(jnp.add, parameters, moves), state
        moves, state = self.wrapped(inner, seed, momentum).update(gradient, state, parameters)
        return settle(jax.tree.map(jnp.add, parameters, moves), state)

    def bent(self, parameters: Any, step: Any) -> Any:
        """The parameters after what recipes do to those in float32 after a step: 3 tanh(w / 3) and the like.

        Args:
            step: () int32, which the recipes of the next step are in force for.
        """
        if not any(kept.limits for kept in self.parameters):
            return parameters
        leaves, structure = jax.tree.flatten(parameters)
        return jax.tree.unflatten(structure, [_bent(p, kept, step) for p, kept in zip(leaves, self.parameters)])


PLAIN = Keeping()
"""All parameters in float32, and never bent."""


def _bent(p: Any, kept: Kept, step: Any) -> Any:
    found = p
    for first, limit in kept.limits:
        bent = p if limit is None else limit * jnp.tanh(p / limit)
        found = bent if first == 0 else jnp.where(step >= first, bent, found)
    return found


def shapes_of(parameters: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of parameters by their paths, in the order of the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.shape(p) for path, p in leaves}
