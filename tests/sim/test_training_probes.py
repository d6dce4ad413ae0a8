"""Probes of the trainer: what is recorded of weights and operands between steps."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.sim.recipes.published import uniform
from halfulp.sim.training.jax_grid import Program, _members
from halfulp.sim.training.jax_operand_probes import NUMBERS, limits_for
from halfulp.sim.training.jax_recipes import grouped
from halfulp.sim.training.training import Run, Training


@pytest.fixture(scope="module")
def task():
    return hu.task("digits", model="mlp", size="xs")


def test_probes_tell_what_a_run_s_own_format_does_to_weights(task):
    """Two formats in one program; the reference is NumPy's quantize."""
    runs = [Run(uniform(name), 0, 0.1) for name in ("e3m2", "int4")]
    ((group, _),) = grouped([run.rules for run in runs])
    program = Program(task, Training(batch=32, probe_every=2), group)
    data = {name: jnp.asarray(a) for name, a in task.train.items()}
    state = program.begin(data, runs)
    found = program.probe(data, state, _members(group, runs), jnp.zeros((2, 32), jnp.int32), {}, jnp.int32(0))
    leaves = jax.tree_util.tree_flatten_with_path(task.init(0))[0]
    weights = {jax.tree_util.keystr(path, simple=True, separator="."): w for path, w in leaves if w.ndim > 1}
    assert {name for name in found if name.endswith("sqnr_db")} == {f"{name}.sqnr_db" for name in weights}
    for k, run in enumerate(runs):
        for name, w in weights.items():
            error = w - hu.quantize(w, run.rules[0].recipe.fprop_w.fmt)
            want = 10 * np.log10(np.square(w).sum() / np.square(error).sum())
            assert float(found[f"{name}.sqnr_db"][k]) == pytest.approx(want, rel=1e-4)


def test_probes_tell_what_rounding_does_to_operands(task):
    """Two formats in one program, against `hu.tensor_statistics` of the tensors that a step multiplies, as NumPy has them."""
    runs = [Run([("layers.*", None), ("*", uniform(name))], 0, 0.1) for name in ("e3m2", "int4")]
    ((group, _),) = grouped([run.rules for run in runs])
    program = Program(task, Training(batch=32, probe_every=2, probe_operands=True), group)
    data = {name: jnp.asarray(a) for name, a in task.train.items()}
    limits, rows = limits_for(group, [run.rules for run in runs]), jnp.arange(64).reshape(2, 32)
    found = program.probe(data, program.begin(data, runs), _members(group, runs), rows, limits, jnp.int32(0))
    layer, head = (
        {k: np.asarray(v) for k, v in p.items()} for p in (task.init(0)["layers"]["0"], task.init(0)["head"])
    )
    for k, run in enumerate(runs):
        fmt = run.rules[1].recipe.fprop_w.fmt
        x, y = (task.train[name][np.asarray(rows[k])] for name in "xy")
        hidden = np.maximum(x.reshape(len(x), -1) @ layer["weight"].T + layer["bias"], 0)
        logits = hu.quantize(hidden, fmt) @ hu.quantize(head["weight"], fmt).T + head["bias"]
        e = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(10)[y]) / len(x)
        tensors = {"fprop_x": hidden, "fprop_w": head["weight"], "dgrad_e": e.astype(np.float32)}
        for name, tensor in tensors.items():
            want = hu.tensor_statistics(tensor, fmt)
            for number in NUMBERS:
                own = float(found[f"head.{name}.{number}"][k])
                assert own == pytest.approx(float(getattr(want, number)), rel=1e-3, abs=1e-6), (name, number)
    assert {np.shape(each) for each in found.values()} == {(2,)}
