"""The parameters of a model as data: names, shapes and first values. No framework here."""

from collections.abc import Iterable, Mapping
from math import prod, sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np

HEAD_GAIN = 0.25
"""Of the last layer of a model, small, so that at first it gives every class nearly the same chance."""
RECTIFIED = sqrt(2)
"""The gain of layers whose inputs were rectified (He et al., arXiv:1502.01852)."""


class Leaf(NamedTuple):
    """One parameter.

    Fields:
        shape: weights of linear layers are (outputs, inputs), of convolutions (outputs, inputs, height, width).
        std: the standard deviation of its first values; 0 where all are `fill`.
        fill: their mean.
        embedding: whether it is a table of tokens or positions, or a head over tokens, which may be left out of counts.
    """

    shape: tuple[int, ...]
    std: float = 0.0
    fill: float = 0.0
    embedding: bool = False


Leaves = dict[str, Leaf]
"""By dotted name, in the order in which values are drawn."""


class Description(Protocol):
    """Any of the models below."""

    @property
    def leaves(self) -> Leaves:
        """Its parameters."""
        ...

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        ...


def linear(name: str, inputs: int, outputs: int, gain: float = 1.0, bias: bool = True) -> Leaves:
    """A linear layer whose outputs have the variance gain**2 for inputs of variance 1; its bias begins at 0."""
    found = {f"{name}.weight": Leaf((outputs, inputs), gain / sqrt(inputs))}
    return {**found, f"{name}.bias": Leaf((outputs,))} if bias else found


def convolution(name: str, inputs: int, outputs: int, side: int = 3, gain: float = RECTIFIED) -> Leaves:
    """A convolution with a square kernel and a bias."""
    shape = (outputs, inputs, side, side)
    return {f"{name}.weight": Leaf(shape, gain / sqrt(inputs * side * side)), f"{name}.bias": Leaf((outputs,))}


def norm(name: str, width: int, bias: bool = True) -> Leaves:
    """A normalization that begins as one alone."""
    found = {f"{name}.weight": Leaf((width,), fill=1.0)}
    return {**found, f"{name}.bias": Leaf((width,))} if bias else found


def joined(parts: Iterable[Leaves]) -> Leaves:
    """All of them, in order."""
    return {name: leaf for part in parts for name, leaf in part.items()}


def inside(name: str, part: Leaves) -> Leaves:
    """The parameters of a part, under its name."""
    return {f"{name}.{inner}": leaf for inner, leaf in part.items()}


def count(leaves: Mapping[str, Leaf], embeddings: bool = True) -> int:
    """How many numbers the parameters have; `embeddings` says whether those of tables and token heads count."""
    return sum(prod(leaf.shape) for leaf in leaves.values() if embeddings or not leaf.embedding)


def matrix_numbers(leaves: Leaves) -> int:
    """Numbers in the matrices of linear layers, each of which takes one multiply-accumulate a position."""
    return sum(prod(leaf.shape) for name, leaf in leaves.items() if name.endswith(".weight") and len(leaf.shape) == 2)


def initial(leaves: Mapping[str, Leaf], seed: int, stream: int = 0) -> dict[str, Any]:
    """First values as a nested dict of float32 NumPy arrays: 'layers.0.weight' is at ['layers']['0']['weight'].

    They are drawn one parameter after another from `numpy.random.default_rng([seed, stream])`, so that they depend on
    the model and the seed only.
    """
    rng = np.random.default_rng([seed, stream])
    return nested({name: _values(leaf, rng) for name, leaf in leaves.items()})


def _values(leaf: Leaf, rng: np.random.Generator) -> np.ndarray:
    if leaf.std == 0:
        return np.full(leaf.shape, leaf.fill, np.float32)
    return (leaf.fill + leaf.std * rng.standard_normal(leaf.shape)).astype(np.float32)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as a dict of dicts."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A dict of dicts by dotted names."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found
