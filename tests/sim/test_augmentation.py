"""Crops and mirror images: the same in NumPy, torch and JAX, and in both trainers."""

from hashlib import sha256

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.backends.integers import NumpyWords
from halfulp.emulate.backends.jax_integers import JaxWords
from halfulp.sim.tasks.augmentation import Augmentation, augmented, shifts
from halfulp.sim.training.checkpoints import fingerprint_of

from .wrapped import one_thread as one_thread

HOW = Augmentation()
SAMPLES = np.arange(0, 500, 7)


def drawn(seed, step, samples=SAMPLES, how=HOW):
    words = (np.array(each, np.uint64) for each in (seed, step, samples))
    return [a.astype(np.int64) for a in shifts(NumpyWords(), how, *words)]


def test_places_depend_on_seed_step_and_sample_only():
    rows, columns, mirrored = drawn((5, 6), 9)
    assert np.array_equal(np.stack(drawn((5, 6), 9, SAMPLES[10:])), np.stack([rows, columns, mirrored])[:, 10:])
    assert not np.array_equal(rows, drawn((5, 6), 10)[0])
    assert not np.array_equal(rows, drawn((5, 7), 9)[0])
    assert not np.array_equal(rows, drawn((4, 6), 9)[0])
    words = jnp.array([5, 6], jnp.uint32), jnp.uint32(9), jnp.asarray(SAMPLES, jnp.uint32)
    found = jax.jit(lambda *given: shifts(JaxWords(), HOW, *given))(*words)
    assert all(np.array_equal(a, b) for a, b in zip(found, (rows, columns, mirrored)))
    many = drawn((0, 0), 0, np.arange(9000))
    assert [np.bincount(each).size for each in many] == [9, 9, 2]
    assert all(abs(np.bincount(each) / 9000 - 1 / np.bincount(each).size).max() < 0.02 for each in many)
    digest = sha256(np.stack(many).astype(np.int32).tobytes()).hexdigest()[:12]
    assert digest == "1e24721950da"  # random bits, once released, never change


def test_a_crop_of_a_padded_image():
    image = np.arange(1, 13, dtype=np.uint8).reshape(1, 1, 3, 4)
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for row, column, mirrored in np.ndindex(5, 5, 2):
        places = [np.array([k]) for k in (row, column, mirrored)]
        want = padded[:, :, row : row + 3, column : column + 4][..., :: -1 if mirrored else 1]
        found = augmented(np, image, Augmentation(2), *places)
        assert np.array_equal(found, want)
        assert found.dtype == np.uint8
    still = augmented(np, image, Augmentation(0, flip=False), *(np.array([0]),) * 3)
    assert np.array_equal(still, image)


def test_the_same_images_in_torch_and_jax():
    images = np.random.default_rng(0).integers(0, 256, (len(SAMPLES), 3, 8, 6), np.uint8)
    places = drawn((1, 2), 3)
    want = augmented(np, images, HOW, *places)
    ours = augmented(torch, torch.from_numpy(images), HOW, *map(torch.from_numpy, places))
    other = jax.jit(lambda x, *each: augmented(jnp, x, HOW, *each))(images, *map(jnp.asarray, places))
    assert np.array_equal(want, ours.numpy())
    assert np.array_equal(want, other)
    assert ours.dtype == torch.uint8


def test_both_trainers_see_the_same_images():
    task = hu.task("digits", model="mlp", size="xs", augment=True)
    run, training = hu.Run(seed=3, learning_rate=0.05), hu.Training(steps=5, batch=16, width=1)
    (ours,), (other,) = hu.train(task, run, training), hu.train(task, run, training, library="torch")
    assert np.allclose(ours.curves["loss"], other.curves["loss"], rtol=1e-4)
    plain = hu.task("digits", model="mlp", size="xs")
    (still,) = hu.train(plain, run, training, library="torch")
    assert (np.abs(still.curves["loss"] - other.curves["loss"]) > 1e-3).all()
    assert fingerprint_of(plain) != fingerprint_of(task)


def test_which_tasks_change_images():
    assert hu.task("digits").augmentation is None
    assert hu.task("digits", augment=True).augmentation == Augmentation(1, flip=False)
    assert hu.task("digits", augment=HOW).augmentation == HOW
    with pytest.raises(ValueError, match="augment: expected True, False or an Augmentation, got 4"):
        hu.task("digits", augment=4)
    with pytest.raises(ValueError, match="expected a padding of 0 pixels or more, got -1"):
        Augmentation(-1)
    with pytest.raises(ValueError, match="option of the task text 'augment'"):
        hu.task("text", augment=True)
