"""A network whose weights know what becomes of their inputs: one compiled program serves all formats.

The models multiply by `layer["weight"]`. Here that is a `Site`: it rounds the inputs of its product to a format that is
data, and can show them. Weights come as values, rounded before.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.quantize import quantize
from ...emulate.traced import format_data
from ...sim.models.jax_losses import forward
from ...sim.models.leaves import nested
from ...sim.tasks.task import Task

WIDE = "binary32"
"""What leaves inputs as they are."""


class Activations(NamedTuple):
    """How inputs of products are rounded.

    Fields:
        format: one name for all sites; `WIDE` for none.
        scales: (sites,) float32, by which they are divided before and multiplied after, in the order of `sites_of`.
    """

    format: str
    scales: np.ndarray


def sites_of(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The weights whose products are quantized, by name: all matrices and kernels but tables of tokens."""
    found = [name for name, shape in shapes.items() if name.endswith(".weight") and len(shape) > 1]
    return [name for name in found if not name.startswith("embed")]


class Site:
    """A weight that its model transposes, reshapes and multiplies inputs by, on the right of `@`.

    Args:
        array: the weight. seen: inputs (..., columns) -> what is multiplied in place of them.
    """

    def __init__(self, array: jax.Array, seen: Callable[[jax.Array], jax.Array]) -> None:
        self.array, self._seen = array, seen

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.array.shape

    @property
    def T(self) -> "Site":  # noqa: N802, as arrays have it
        """Transposed."""
        return Site(self.array.T, self._seen)

    def transpose(self, *axes: int) -> "Site":
        """With its axes in another order."""
        return Site(self.array.transpose(*axes), self._seen)

    def reshape(self, *shape: int) -> "Site":
        """In another shape."""
        return Site(self.array.reshape(*shape), self._seen)

    def __rmatmul__(self, inputs: jax.Array) -> jax.Array:
        return self._seen(inputs) @ self.array


class Measures(NamedTuple):
    """What validation data say of a network.

    Fields:
        loss: the mean cross-entropy, nats. accuracy: the share of classes or tokens that are right.
        divergence: the mean Kullback-Leibler divergence of its predictions from those of the original, nats.
    """

    loss: float
    accuracy: float
    divergence: float


class Program:
    """A task's network, compiled once for a shape of inputs."""

    def __init__(self, task: Task) -> None:
        self._task, self.model = task, task.description
        self.sites = sites_of({name: leaf.shape for name, leaf in task.description.leaves.items()})
        self._logits = jax.jit(self._computed)
        self._measured = jax.jit(self._judged)

    def logits(self, network: Mapping[str, Any], x: np.ndarray) -> jax.Array:
        """(samples, ..., classes) of the network as it is."""
        return self._logits(dict(network), x, self._scales(None), _data(WIDE))[0]

    def inputs(
        self, network: Mapping[str, Any], x: np.ndarray, activations: Activations | None = None
    ) -> dict[str, np.ndarray]:
        """(rows, columns) of each site: what its weight is multiplied by, rounded."""
        fmt = WIDE if activations is None else activations.format
        seen = self._logits(dict(network), x, self._scales(activations), _data(fmt))[1]
        return {name: np.asarray(each) for name, each in seen.items()}

    def measures(
        self,
        network: Mapping[str, Any],
        batch: Mapping[str, Any],
        reference: jax.Array,
        activations: Activations | None = None,
    ) -> Measures:
        """Loss, accuracy and divergence from the logits of the original network."""
        fmt = WIDE if activations is None else activations.format
        found = self._measured(dict(network), batch["x"], batch["y"], reference, self._scales(activations), _data(fmt))
        return Measures(*(float(each) for each in found))

    def _scales(self, activations: Activations | None) -> np.ndarray:
        scales = np.ones(len(self.sites), np.float32) if activations is None else activations.scales
        if np.shape(scales) != (len(self.sites),):
            raise ValueError(f"expected a scale of each of {len(self.sites)} sites, got shape {np.shape(scales)}")
        return np.asarray(scales, np.float32)

    def _computed(self, network: Any, x: Any, scales: Any, fmt: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        shown: dict[str, jax.Array] = {}

        def site(name: str, scale: jax.Array) -> Site:
            def seen(inputs: jax.Array) -> jax.Array:
                found = quantize(inputs / scale, fmt, overflow="saturate") * scale
                shown[name] = found.reshape(-1, found.shape[-1])
                return found

            return Site(network[name], seen)

        own = {name: site(name, scale) for name, scale in zip(self.sites, scales)}
        found = forward(self.model, self._task.objective, nested({**network, **own}), x)
        return found, shown

    def _judged(self, network: Any, x: Any, y: Any, reference: Any, scales: Any, fmt: Any) -> tuple[jax.Array, ...]:
        logits = self._computed(network, x, scales, fmt)[0]
        here, there = jax.nn.log_softmax(logits), jax.nn.log_softmax(reference)
        loss = -jnp.take_along_axis(here, y[..., None], -1).mean()
        accuracy = (logits.argmax(-1) == y).mean()
        return loss, accuracy, (jnp.exp(there) * (there - here)).sum(-1).mean()


@cache
def _data(name: str) -> Any:
    return format_data(name)
