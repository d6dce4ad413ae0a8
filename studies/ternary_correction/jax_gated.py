"""Linear layers y = T(x) + g * B A x: a ternary path, and a low-rank one behind a learned scalar gate.

How the gate begins, what regularizes it and when it is frozen is not published; what stands here is the study's choice.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ...sim.models.leaves import flat, nested
from ...sim.tasks.task import Task
from ...sim.training.jax_step import State
from ...sim.training.training import Training
from ..complex_2bit.jax_bench import Bench, Ended
from ..complex_2bit.jax_codes import CODES, Product, coded_product, with_products
from ..complex_2bit.storage import LEFT_ALONE, coded

GATES = "gates"
"""Where the gates are among the parameters: arrays of no axes by the names of layers."""
_RANDOM = 2
"""Of the generator of first values of the paths, beside those of the model (0) and of the order of samples (1)."""


class Schedule(NamedTuple):
    """When a gate moves.

    Fields:
        warmup: steps in which it keeps its first value. freeze: the step from which it stays as it is.
        penalty: what is added to the loss for each unit of |gate| in between.
    """

    warmup: int
    freeze: int
    penalty: float


def first_values(task: Task, seed: int, rank: int, widest: int, gate: float) -> dict[str, Any]:
    """Parameters of the model with paths and gates.

    Args:
        rank: of the paths; 0 for none. widest: for how many there is room; rows and columns beyond the rank are 0 and
            stay so, since each has a gradient in proportion to the other.
        gate: its first value.

    Returns:
        The task's own with 'down' (widest, inputs) ~ N(0, 1 / inputs) and 'up' (outputs, widest), 0, in every ternary
        layer, and the gates. With up = 0 the model begins as the ternary one.

    Raises:
        ValueError: a rank above the widest.
    """
    if not 0 <= rank <= widest:
        raise ValueError(f"expected a rank from 0 to {widest}, got {rank}")
    rng = np.random.default_rng([seed, _RANDOM])
    values = flat(task.init(seed))
    shapes = coded(task.description.leaves)
    for name, (outputs, inputs) in shapes.items():
        down = rng.standard_normal((widest, inputs)) / np.sqrt(inputs)
        values[f"{name}.down"] = np.where(np.arange(widest)[:, None] < rank, down, 0).astype(np.float32)
        # a 0 here for every rank; of a row of down that is 0 as well, no gradient is left
        values[f"{name}.up"] = np.zeros((outputs, widest), np.float32)
    return {**nested(values), GATES: {name: np.float32(gate) for name in shapes}}


def _with_gates(parameters: Mapping[str, Any], choice: Mapping[str, Any], step: Any) -> dict[str, Any]:
    """Parameters as the model takes them."""
    gates = _held(parameters[GATES], choice, step)

    def made(name: str, layer: Mapping[str, Any]) -> Product | None:
        if name.split(".")[0] in LEFT_ALONE:
            return None
        main = coded_product(choice["code"], layer["weight"])
        return lambda x: main(x) + gates[name] * ((x @ layer["down"].T) @ layer["up"].T)

    return with_products({name: each for name, each in parameters.items() if name != GATES}, made)


def _held(gates: Mapping[str, Any], choice: Mapping[str, Any], step: Any) -> dict[str, Any]:
    """Gates, without a gradient where they do not move."""
    moves = (step >= choice["warmup"]) & (step < choice["freeze"])
    return {name: jnp.where(moves, gate, lax.stop_gradient(gate)) for name, gate in gates.items()}


def _penalty(parameters: Mapping[str, Any], choice: Mapping[str, Any], step: Any) -> jax.Array:
    gates = _held(parameters[GATES], choice, step)
    return choice["penalty"] * sum(jnp.abs(gate) for gate in gates.values())


def gated_bench(task: Task, training: Training) -> Bench:
    """The program of a task; code, rank, gates and their schedule are data."""
    return Bench(task, training, _with_gates, _penalty)


def train_gated(
    bench: Bench, seed: int, rate: float, code: str, rank: int, widest: int, gate: float, schedule: Schedule
) -> Ended:
    """Train a model in a code with low-rank paths of a rank, 0 for none.

    A gate that begins and stays at a number is one whose warm-up never ends.
    """
    choice = {
        "code": CODES.index(code),
        "warmup": schedule.warmup,
        "freeze": schedule.freeze,
        "penalty": np.float32(schedule.penalty),
    }
    first = first_values(bench.task, seed, rank, widest, gate)
    return bench.run(seed, rate, choice, first, pause=schedule.freeze, paused=_at_rest)


def _at_rest(state: State) -> State:
    """The state with no momentum of the gates, so that without a gradient they stay where they are."""

    def still(path: Any, leaf: Any) -> Any:
        of_gate = any(getattr(key, "key", None) == GATES for key in path)
        return jnp.zeros_like(leaf) if of_gate else leaf

    adam = state.optimizer
    if not isinstance(adam, optax.ScaleByAdamState):
        raise TypeError(f"expected the state of Adam, whose momentum a frozen gate loses, got {type(adam).__name__}")
    return state._replace(optimizer=adam._replace(mu=jax.tree.map_with_path(still, adam.mu)))
