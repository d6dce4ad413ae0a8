"""The same network with other ranges: channels scaled in one layer and back in the next, which changes no output.

    SmoothQuant     a normalization's gains (and biases) / s, the next weights * s      s = max|x|^a / max|w|^(1 - a)
    equalization    rows of one weight / s, columns of the next * s                     s = sqrt(r_1 / r_2)

by channel, with r the largest magnitudes of a row and of a column. Exact where only what is linear in a channel, or
ReLU, stands between: a normalization and what it feeds, values and the output of attention, the linear branch of SwiGLU
and what it is projected by. Between convolutions stands a normalization over groups, across which it is not.

Sources: arXiv:2211.10438 (SmoothQuant), arXiv:1906.04721 (equalization).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...sim.models.feedforward import Cnn
from ...sim.models.transformers import Llama
from .models import Network


class Link(NamedTuple):
    """Channels that some parameters make and some weights take.

    Fields:
        makers: names; channels are their first axis. takers: names of weights; channels are their second axis.
    """

    makers: tuple[str, ...]
    takers: tuple[str, ...]


def smooth_links(model: Cnn | Llama) -> tuple[Link, ...]:
    """Normalizations and the weights they feed.

    Raises:
        TypeError: another model.
    """
    if isinstance(model, Cnn):
        norms = [f"layers.{k}.norm" for k in range(len(model.channels))]
        takers = [*(f"layers.{k}.convolution.weight" for k in range(1, len(model.channels))), "head.weight"]
        return tuple(Link((f"{norm}.weight", f"{norm}.bias"), (taker,)) for norm, taker in zip(norms, takers))
    if not isinstance(model, Llama):
        raise TypeError(f"expected a Cnn or a Llama, got {type(model).__name__}")
    found = [Link(("norm.weight",), ("head.weight",))]
    for k in range(model.depth):
        at = f"layers.{k}"
        takers = tuple(f"{at}.attention.{name}.weight" for name in ("query", "key", "value"))
        found.append(Link((f"{at}.attention_norm.weight",), takers))
        found.append(Link((f"{at}.ffn_norm.weight",), (f"{at}.ffn.gate.weight", f"{at}.ffn.up.weight")))
    return tuple(found)


def equal_links(model: Cnn | Llama) -> tuple[Link, ...]:
    """Weights between which a channel stays a channel; none in the convolutional network."""
    if not isinstance(model, Llama):
        return ()
    pairs = (("attention.value", "attention.out"), ("ffn.up", "ffn.down"))
    return tuple(
        Link((f"layers.{k}.{first}.weight",), (f"layers.{k}.{second}.weight",))
        for k in range(model.depth)
        for first, second in pairs
    )


def smoothed(
    network: Network, links: tuple[Link, ...], inputs: Mapping[str, np.ndarray], alpha: float = 0.5
) -> dict[str, np.ndarray]:
    """SmoothQuant.

    Args:
        inputs: (rows, columns) of each taker, as its product sees them; of kernels channels run fastest.
        alpha: how much of the range moves to the weights, from 0 to 1.

    Raises:
        ValueError: alpha out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha from 0 to 1, got {alpha}")
    found = dict(network)
    for link in links:
        weights = [found[name] for name in link.takers]
        channels = weights[0].shape[1]
        seen = np.max([np.abs(inputs[name]).reshape(-1, channels).max(0) for name in link.takers], 0)
        most = np.max([_columns(w) for w in weights], 0)
        found |= _moved(found, link, _ratio(seen**alpha, most ** (1 - alpha)))
    return found


def equalized(network: Network, links: tuple[Link, ...]) -> dict[str, np.ndarray]:
    """Rows of makers and columns of takers with the same largest magnitudes."""
    found = dict(network)
    for link in links:
        rows = np.max([np.abs(found[name]).reshape(len(found[name]), -1).max(1) for name in link.makers], 0)
        columns = np.max([_columns(found[name]) for name in link.takers], 0)
        found |= _moved(found, link, np.sqrt(_ratio(rows, columns)))
    return found


def _columns(weight: np.ndarray) -> np.ndarray:
    """(channels,) the largest magnitude of each input channel of a matrix or kernel."""
    return np.abs(weight).max(axis=(0, *range(2, weight.ndim)))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 1 where one of them is 0."""
    good = (a > 0) & (b > 0)
    return np.divide(a, b, out=np.ones_like(a), where=good)


def _moved(network: Network, link: Link, scale: np.ndarray) -> dict[str, np.ndarray]:
    scale = scale.astype(np.float32)
    makers = {name: network[name] / _along(scale, network[name], 0) for name in link.makers}
    return makers | {name: network[name] * _along(scale, network[name], 1) for name in link.takers}


def _along(scale: np.ndarray, array: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * array.ndim
    shape[axis] = len(scale)
    return scale.reshape(shape)
