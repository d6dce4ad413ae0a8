"""The trainer: scaled rounding as stated, gradients as stated, and runs that do not see their neighbours."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.sim.settings import Member, Settings
from halfulp.sim.tasks import load_task
from halfulp.sim.train import fake_quantized, linear, train_batch, with_scale

QUICK = Settings(hidden=(16,), steps=12, batch=32, width=4)
RNG = np.random.default_rng(0)


def data_of(name):
    return hu.format_data(with_scale(hu.format(name)))


def by_hand(x, name):
    """Q of the trainer in NumPy, one float32 operation at a time."""
    largest = np.float32(float(hu.format(name).max))
    scale = np.max(np.abs(x)) / largest
    if not scale > 0 or largest >= 2.0**100:
        scale = np.float32(1)
    return hu.quantize(x / scale, name) * scale


@pytest.mark.parametrize("name", ["e4m3", "e2m1", "int4", "int8", "e5m2", "binary32", "bfloat16", "ternary", "nf4"])
def test_scaled_is_the_stated_sequence_of_operations(name):
    x = (RNG.standard_normal((300, 40)) * 0.03).astype(np.float32)
    want = by_hand(x, name)
    for run in (fake_quantized, jax.jit(fake_quantized)):
        assert np.array_equal(run(jnp.asarray(x), data_of(name)), want)
    stack = hu.format_data([with_scale(hu.format(name))] * 3)
    mapped = jax.jit(jax.vmap(fake_quantized, in_axes=(None, 0)))(jnp.asarray(x), stack)
    assert np.array_equal(mapped[2], want)
    assert np.array_equal(fake_quantized(jnp.zeros((3, 3)), data_of(name)), np.zeros((3, 3)))


def test_linear_rounds_both_operands_of_all_three_products():
    x, w, dy = ((RNG.standard_normal(shape)).astype(np.float32) for shape in ((20, 8), (8, 5), (20, 5)))
    fmt = data_of("e2m1")
    y, pull = jax.vjp(lambda x, w: linear(x, w, fmt), jnp.asarray(x), jnp.asarray(w))
    dx, dw = pull(jnp.asarray(dy))
    xq, wq, dyq = (by_hand(a, "e2m1") for a in (x, w, dy))
    np.testing.assert_allclose(y, xq @ wq, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, dyq @ wq.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dw, xq.T @ dyq, rtol=1e-5, atol=1e-5)


def test_a_run_does_not_depend_on_its_slot_or_its_neighbours():
    task = load_task("digits")
    run = Member(hu.format("e4m3"), 3, 0.1)
    others = [Member(hu.format(name), seed, 0.3) for name, seed in (("e1m0", 0), ("int8", 1), ("e5m2", 2))]
    alone = train_batch(task, QUICK, [run])[0]
    assert train_batch(task, QUICK, [run, *others])[0] == alone
    assert train_batch(task, QUICK, [*others, run])[3] == alone


def test_equal_grids_train_equally():
    """INT2, ternary and E1M0 hold -1, 0, 1 times a step, E1M2 and INT4 the same grid: equal to the last bit."""
    task = load_task("digits")
    members = [Member(hu.format(name), 0, 0.03) for name in ("int2", "e1m0", "int4", "e1m2")]
    int2, e1m0, int4, e1m2 = train_batch(task, QUICK, members)
    (ternary,) = train_batch(task, QUICK, [Member(hu.format("ternary"), 0, 0.03)])
    assert int2 == e1m0 == ternary
    assert int4 == e1m2
    assert int2 != int4


def test_the_reference_learns():
    task = load_task("digits")
    metrics = train_batch(task, Settings(hidden=(32,), steps=120, width=2), [Member(hu.format("binary32"), 0, 0.1)])[0]
    assert metrics["test_accuracy"] > 0.9
    assert not metrics["diverged"]


def test_divergence_is_reported_for_the_run_it_befell():
    task = load_task("digits")
    members = [Member(hu.format("binary32"), 0, rate) for rate in (0.1, 1e12)]
    good, bad = train_batch(task, QUICK, members)
    assert (good["diverged"], bad["diverged"]) == (False, True)


def test_the_digits_are_real_and_split_the_same_way_every_time():
    task, again = load_task("digits"), load_task("digits")
    assert (task.train_x.shape, task.test_x.shape) == ((1437, 64), (360, 64))
    assert np.array_equal(task.test_x, again.test_x)
    assert (task.train_x.min(), task.train_x.max()) == (0, 1)
    assert set(task.test_y) == set(range(10))


def test_bad_settings_and_batches():
    with pytest.raises(ValueError, match="expected steps >= 1, got 0"):
        Settings(steps=0)
    with pytest.raises(ValueError, match=r"expected hidden widths >= 1, got \(8, 0\)"):
        Settings(hidden=(8, 0))
    task = load_task("digits")
    with pytest.raises(ValueError, match="expected 1 to 4 runs, got 0"):
        train_batch(task, QUICK, [])
    with pytest.raises(ValueError, match="unknown task 'digit'; did you mean 'digits'"):
        load_task("digit")
