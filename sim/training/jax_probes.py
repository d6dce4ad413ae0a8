"""What is recorded of a run between steps: how large its weights are, and what rounding does to operands."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..functions.jax_wrapping import Quantized, program_of
from ..products.jax_operands import Spec, quantized, rotated
from ..recipes.operands import operands_of
from ..recipes.recipe import Recipe
from ..tasks.task import Task
from .jax_operand_probes import OperandProbes
from .jax_recipes import Group
from .jax_step import Member, Prepare, State, noise_words
from .training import Training


class Weight(NamedTuple):
    """A weight whose format is known without the data of a step.

    Fields:
        name: of the parameter. spec: as an operand of the forward product. recipe: the name of its recipe, by which
            `Member.formats` is looked up.
    """

    name: str
    spec: Spec
    recipe: str


class Probes:
    """What is recorded of a run between steps, as a function of its program.

    Args:
        task, training, group: of the program. prepare: what becomes of a batch.
    """

    def __init__(self, task: Task, training: Training, group: Group, prepare: Prepare) -> None:
        self._operands = OperandProbes(task, group) if training.probe_operands else None
        self._prepare = prepare
        self._weights = () if training.probe_every is None else weights_of(task, group, training.batch)

    def __call__(self, data: Any, state: State, member: Member, rows: Any, limits: Any, step: Any) -> dict[str, Any]:
        """Statistics by name.

        Args:
            data: arrays to train on. rows: (batch,) int32, the samples that the next step sees. step: its number.
            limits: see `jax_operand_probes`.
        """
        found = probed(self._weights, state, member)
        if self._operands is None:
            return found
        batch = self._prepare({name: array[rows] for name, array in data.items()}, rows, member.seed, step)
        words = noise_words(member.seed, step)
        own = self._operands(state.parameters, state.scales, batch, words, member, limits, step, state.loss_scale)
        return {**found, **own}


def weights_of(task: Task, group: Group, batch: int) -> tuple[Weight, ...]:
    """The weights whose products take them as they are, by a format with scales from themselves or with none."""
    if not group.rewrites:
        return ()
    parameters = task.init(0)
    shapes = {name: np.shape(p) for name, p in _named(parameters)}
    samples = {name: array[:batch] for name, array in task.train.items()}
    words = np.zeros(2, np.uint32)
    rows = program_of(Quantized(task.loss, group.rules, (0,)), (parameters, samples, words), {}).rows
    found = {}
    for row in rows:
        product, recipe = row.product, row.recipe
        if recipe is None or product.part != "forward" or product.weight is None or product.path is None:
            continue
        name = ".".join(product.path.keys)
        if _plain(recipe) and shapes.get(name) == product.second:
            found[name] = Weight(name, operands_of(recipe, product.kind)[1], recipe.name)
    return tuple(found.values())


def _plain(recipe: Recipe) -> bool:
    of = recipe.fprop_w
    return of.active and not recipe.schedule and of.scaling.name == "format" and of.prescale == 1 and not of.outliers


def probed(weights: tuple[Weight, ...], state: State, member: Member) -> dict[str, Any]:
    """Statistics by name: of each parameter `rms` and `largest`, of weights in a format `sqnr_db` as well.

    That is 10 log10(sum w^2 / sum (w - Q(w))^2) in decibels, of what the forward product makes of the weight, after its
    transform; inf where nothing was rounded.
    """
    found, values = {}, dict(_named(state.parameters))
    for name, p in values.items():
        found[f"{name}.rms"] = jnp.sqrt(jnp.mean(jnp.square(p)))
        found[f"{name}.largest"] = jnp.max(jnp.abs(p))
    for name, spec, recipe in weights:
        data = member.formats[recipe][1] if recipe in member.formats else None
        turned = rotated(values[name], spec, member.seed, 0, data=data)
        rounded, _ = quantized(turned, spec, member.seed, jnp.uint32(0), data=data)
        error = jnp.sum(jnp.square(turned - rounded))
        found[f"{name}.sqnr_db"] = 10 * jnp.log10(jnp.sum(jnp.square(turned)) / error)
    return found


def _named(parameters: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), p) for path, p in leaves]
