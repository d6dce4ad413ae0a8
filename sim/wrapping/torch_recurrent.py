"""Recurrent networks with quantized operands, one time step after another.

    RNN    h' = tanh or relu(W_x x + b_x + W_h h + b_h)
    LSTM   i, f, g, o = W_x x + b_x + W_h h + b_h     c' = s(f) c + s(i) tanh(g)     h' = s(o) tanh(c'), or W_r times it
    GRU    r, z = s(W_x x + b_x + W_h h + b_h)        n = tanh(W_n x + b_n + r (W_m h + b_m))     h' = (1 - z) n + z h

The products with x are one product over all steps, those with h one a step, with random words of their own.
Source: `torch.nn.LSTM` and its siblings, whose weights come in their order.
"""

from collections.abc import Callable
from typing import Any

import torch

from ..products.torch_multiply import LINEAR, Products

SLOTS = 3
"""Scales of each layer and direction: the product with x, that with h, the projection of h."""

Step = Callable[[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]


def _rnn(bend: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    def step(x: torch.Tensor, h: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (bend(x + h),)

    return step


def _lstm(x: torch.Tensor, h: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    i, f, g, o = (x + h).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(x: torch.Tensor, h: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), h.chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (n + z * (state[0] - n),)


def _layer(
    products: Products,
    step: Step,
    x: torch.Tensor,
    state: tuple[torch.Tensor, ...],
    weights: Any,
    slot: int,
    back: bool,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """One direction of one layer: outputs (t, n, h) of x (t, n, i), and the last state."""
    w_x, w_h, b_x, b_h, w_r = weights
    entering = products.linear(x, w_x, b_x, slot)
    found = []
    for now in reversed(entering.unbind()) if back else entering.unbind():
        h, *cell = step(now, products.linear(state[0], w_h, b_h, slot + 1), state)
        h = h if w_r is None else products.multiply(h, w_r, LINEAR, slot + 2)
        state = (h, *cell)
        found.append(h)
    return torch.stack(found[::-1] if back else found), state


def _whole(step: Step, states: int) -> Callable[..., Any]:
    """The function that `torch.nn.LSTM` and its siblings call.

    Args:
        states: number of tensors in a state.
    """

    def recurrent(products: Products, *args: Any) -> tuple[torch.Tensor, ...]:
        if not isinstance(args[3], bool):
            products.fail(
                "a PackedSequence is not quantized; pass a padded tensor (torch.nn.utils.rnn.pad_packed_sequence) and "
                "mask the loss"
            )
        input, hx, weights, biases, layers, dropout, train, both, batch_first = args
        x = input.transpose(0, 1) if batch_first else input
        given = hx if states == 2 else (hx,)
        directions, last = 2 if both else 1, []
        rows = _rows(weights, layers * directions, biases)
        for layer in range(layers):
            outputs = []
            for side in range(directions):
                k = layer * directions + side
                state = tuple(t[k] for t in given)
                y, end = _layer(products, step, x, state, rows[k], SLOTS * k, side == 1)
                outputs.append(y)
                last.append(end)
            x = torch.cat(outputs, -1)
            if dropout and layer + 1 < layers:
                x = torch.dropout(x, dropout, train)
        return x.transpose(0, 1) if batch_first else x, *(torch.stack(each) for each in zip(*last))

    return recurrent


def _rows(weights: Any, count: int, biases: bool) -> list[tuple[Any, ...]]:
    """(W_x, W_h, b_x, b_h, W_r) of each layer and direction; None for what there is not."""
    each = len(weights) // count
    found = []
    for k in range(count):
        row = list(weights[k * each : (k + 1) * each])
        first = row[:4] if biases else [*row[:2], None, None]
        rest = row[4 if biases else 2 :]
        found.append((*first, rest[0] if rest else None))
    return found


def _cell(step: Step, states: int) -> Callable[..., Any]:
    """The function that `torch.nn.LSTMCell` and its siblings call."""

    def cell(products: Products, input: Any, hx: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
        state = tuple(hx) if states == 2 else (hx,)
        found = step(products.linear(input, w_x, b_x, 0), products.linear(state[0], w_h, b_h, 1), state)
        return found if states == 2 else found[0]

    return cell


_STEPS: dict[str, tuple[Step, int]] = {
    "rnn_tanh": (_rnn(torch.tanh), 1),
    "rnn_relu": (_rnn(torch.relu), 1),
    "lstm": (_lstm, 2),
    "gru": (_gru, 1),
}

RECURRENT: dict[Any, Callable[..., Any]] = {
    **{getattr(torch, name): _whole(*step) for name, step in _STEPS.items()},
    **{getattr(torch, f"{name}_cell"): _cell(*step) for name, step in _STEPS.items()},
}
