"""Tasks: data that are what they say, in an order that is fixed, and errors that say what to type next."""

import sys
from hashlib import sha256

import numpy as np
import pytest
from halfulp.sim.tasks.arrays import Data
from halfulp.sim.tasks.augmentation import Augmentation
from halfulp.sim.tasks.diffusion import frechet_distance, sample, sample_grid, scans
from halfulp.sim.tasks.images import cifar10, digits
from halfulp.sim.tasks.loading import list_tasks, task
from halfulp.sim.tasks.order import data_order
from halfulp.sim.tasks.regression import diabetes, teacher_student
from sklearn.datasets import load_digits

RNG = np.random.default_rng(0)


def saved(folder, **parts):
    path = folder / "data.npz"
    np.savez(path, **parts)
    return path


# order


def test_every_epoch_is_a_permutation_and_longer_runs_begin_as_shorter_ones():
    order = data_order(3, 10, 7, 4)
    assert order.shape == (7, 4)
    assert order.dtype == np.int32
    flat = order.ravel()
    assert sorted(flat[:10]) == sorted(flat[10:20]) == list(range(10))
    assert not np.array_equal(flat[:10], flat[10:20])
    assert np.array_equal(data_order(3, 10, 3, 4), order[:3])
    assert not np.array_equal(data_order(4, 10, 7, 4), order)
    assert sha256(data_order(0, 1437, 300, 96).tobytes()).hexdigest()[:12] == "ebe3004d2bed"


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_an_order_needs_samples_steps_and_a_batch(bad):
    with pytest.raises(ValueError, match=">= 1, got 0"):
        data_order(0, *bad)


# regression


def test_diabetes_is_standardized_by_its_training_part():
    data = diabetes()
    assert data.train["x"].shape == (352, 10)
    assert data.valid["y"].shape == (90,)
    np.testing.assert_allclose(data.train["x"].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train["y"].std(), 1, rtol=1e-5)
    assert abs(data.valid["y"].mean()) > 1e-3


def test_a_teacher_can_be_learned_exactly_and_its_noise_cannot():
    data, noisy = teacher_student(8, 4, 400), teacher_student(8, 4, 400, noise=0.5)
    x = np.concatenate([data.valid["x"], data.train["x"]])
    assert np.array_equal(x, np.concatenate([noisy.valid["x"], noisy.train["x"]]))
    y, other = (np.concatenate([d.valid["y"], d.train["y"]]) for d in (data, noisy))
    assert abs(y.std() - 1) < 1e-5
    assert 0.45 < (other - y).std() < 0.55
    assert not np.array_equal(teacher_student(8, 4, 400, data_seed=1).train["x"], data.train["x"])


def test_no_student_begins_as_its_teacher():
    """From one stream the first layer of a student would be that of a teacher of the same seed, and y told by it."""
    found = task("teacher_student", size="xs")
    weight = found.init(0)["layers"]["0"]["weight"][:16].astype(float)
    x, y = found.train["x"].astype(float), found.train["y"]
    fitted = np.linalg.lstsq(np.maximum(x @ weight.T, 0), y - y.mean(), rcond=None)
    assert 1 - fitted[1][0] / ((y - y.mean()) ** 2).sum() < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 0}, "expected inputs >= 1, got 0"),
        ({"samples": 5}, "expected samples >= 20, got 5"),
        ({"noise": float("nan")}, "expected noise >= 0, got nan"),
    ],
)
def test_a_teacher_needs_sensible_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        task("teacher_student", **options)


def test_regression_takes_a_file(tmp_path):
    x, y = RNG.standard_normal((40, 3)), RNG.standard_normal(40)
    x[:, 2] = 7.0
    found = task("diabetes", path=saved(tmp_path, x=x, y=y))
    assert found.train["x"].shape == (36, 3)
    assert np.array_equal(found.train["x"][:, 2], np.zeros(36))
    assert found.description.inputs == 3
    with pytest.raises(ValueError, match="takes no path; hu.task"):
        task("teacher_student", path=tmp_path)


# arrays


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"x": np.full((20, 3), np.nan), "y": np.zeros(20)},
            r"54 of 54 numbers are NaN or infinite, the first at \(0, 0\)",
        ),
        ({"x": np.zeros((20, 3)), "y": np.zeros(19)}, r"expected arrays x and y of one length.*\(19,\)"),
        ({"z": np.zeros(3)}, r"expected arrays x and y of one length, or train_x.*got \{'z': \(3,\)\}"),
        ({"x": np.zeros((20, 3, 2)), "y": np.zeros(20)}, r"expected train x of \(samples, features\)"),
        ({"x": np.array([["a"]] * 20), "y": np.zeros(20)}, "expected numbers, got <U1"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "expected samples, got an empty array"),
    ],
)
def test_malformed_arrays_are_named(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        task("diabetes", path=saved(tmp_path, **parts))


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected an .npz file with arrays x and y, as numpy.savez"):
        task("digits", path=tmp_path / "none.npz")
    other = tmp_path / "text.npz"
    other.write_text("no arrays")
    with pytest.raises(ValueError, match="expected an .npz file of numbers"):
        task("digits", path=other)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match="expected an .npz file of numbers"):
        task("digits", path=tmp_path / "one.npy")


@pytest.mark.parametrize("missing", ["diabetes", "digits", "diffusion"])
def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'halfulp\[sim\]'"):
        task(missing)


# images


def test_digits_are_the_scans_and_keep_their_split():
    images = digits()
    data = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    assert images.shape == (1, 8, 8)
    assert np.array_equal(images.data.train["x"].reshape(-1, 64), (data.data[order[360:]] / 16).astype(np.float32))
    assert np.array_equal(images.data.valid["y"], data.target[order[:360]])
    assert images.mean is None


def test_images_of_a_file_are_standardized_where_they_are_bytes(tmp_path):
    x, y = RNG.integers(0, 256, (30, 6, 5), np.uint8), np.arange(30) % 3
    found = task("digits", model="cnn", path=saved(tmp_path, x=x, y=y))
    assert found.description.image == (1, 6, 5)
    assert found.description.outputs == 3
    np.testing.assert_allclose(found.objective.mean, x[np.arange(30) % 10 != 9].mean(), rtol=1e-12)
    np.testing.assert_allclose(found.objective.deviation, x[np.arange(30) % 10 != 9].std(), rtol=1e-12)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": np.zeros((20, 3)), "y": np.zeros(20)}, r"expected images \(n, height, width\)"),
        ({"x": np.zeros((20, 4, 4)), "y": np.full(20, -1)}, "expected classes from 0 to 0, got -1"),
        ({"x": np.zeros((20, 4, 4)), "y": np.full(20, 0.5)}, "expected one class number a sample"),
        ({"train_x": np.zeros((9, 4, 4)), "train_y": np.zeros(9), "valid_x": np.zeros((9, 5, 4)), "valid_y": np.zeros(9)},
         r"expected valid images of \(1, 4, 4\)"),
        ({"train_x": np.zeros((9, 4, 4)), "train_y": np.zeros(8), "valid_x": np.zeros((9, 4, 4)), "valid_y": np.zeros(9)},
         "9 images and 8 classes in train"),
        ({"train_x": np.zeros((9, 4, 4)), "train_y": np.zeros(9), "valid_x": np.zeros((9, 4, 4)), "valid_y": np.ones(9)},
         "valid y: expected classes from 0 to 0, got 1"),
    ],
)  # fmt: skip
def test_malformed_images_are_named(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        task("digits", path=saved(tmp_path, **parts))


@pytest.fixture
def batches(tmp_path):
    """CIFAR-10's files with four images each."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for k, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        images = np.full((4, 3073), k, np.uint8)
        images[:, 0] = [9, k, 1, 2]
        images[:, 1:1025] += 100
        images.tofile(folder / name)
    return tmp_path


def test_cifar_reads_labels_and_channels(batches):
    images = cifar10(batches)
    assert images.data.train["x"].shape == (20, 3, 32, 32)
    assert images.data.train["x"].dtype == np.uint8
    assert images.data.train["y"].tolist()[:8] == [9, 0, 1, 2, 9, 1, 1, 2]
    assert images.data.valid["x"][0, :, 0, 0].tolist() == [105, 5, 5]
    assert images.mean == (102.0, 2.0, 2.0)
    assert images.classes == 10


def test_cifar_crops_and_mirrors_by_default(batches):
    assert task("cifar10", path=batches).augmentation == Augmentation(4, flip=True)
    assert task("cifar10", path=batches, augment=False).augmentation is None


def test_broken_cifar_folders_are_named(batches):
    folder = batches / "cifar-10-batches-bin"
    with pytest.raises(ValueError, match="cifar10 needs path=.*cs.toronto.edu"):
        task("cifar10")
    with pytest.raises(FileNotFoundError, match="expected a folder with data_batch_1.bin.*found nothing"):
        cifar10(batches / "none")
    with pytest.raises(FileNotFoundError, match="found a file"):
        cifar10(folder / "test_batch.bin")
    (folder / "data_batch_2.bin").write_bytes(b"\x0b" + bytes(3072))
    with pytest.raises(ValueError, match=r"data_batch_2.bin: expected classes from 0 to 9, got 11 to 11"):
        cifar10(batches)
    (folder / "data_batch_2.bin").write_bytes(bytes(3000))
    with pytest.raises(ValueError, match="expected images of 3073 bytes .*, got 3000 bytes"):
        cifar10(batches)
    (folder / "data_batch_2.bin").rename(folder / "data_batch_2")
    with pytest.raises(FileNotFoundError, match="data_batch_2.bin: missing.*take the binary one"):
        cifar10(batches)


# diffusion


def test_images_to_draw_lie_between_minus_one_and_one(tmp_path):
    data = scans()
    assert data.train["x"].min() == -1
    assert data.train["x"].max() == 1
    bytes_ = scans(saved(tmp_path, x=RNG.integers(0, 256, (20, 4, 4), np.uint8)))
    assert np.abs(bytes_.train["x"]).max() <= 1
    with pytest.raises(ValueError, match="expected uint8 or numbers from 0 to 1, got -3 to -3"):
        scans(saved(tmp_path, x=np.full((20, 4, 4), -3.0)))


def test_frechet_distance_of_shifted_and_stretched_normals_is_known():
    x = RNG.standard_normal((500, 4))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T)
    assert frechet_distance(x, x, 4) < 1e-9
    # |m|^2 = 4 x 9, and each of four deviations goes from 1 to 2
    np.testing.assert_allclose(frechet_distance(2 * x + 3, x, 4), 4 * 9 + 4 * (2 - 1) ** 2, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(x, 2 * x + 3, 4), 4 * 9 + 4, rtol=1e-9)


def test_frechet_distance_ranks_scans_above_shuffled_pixels():
    data = scans()
    train, valid = data.train["x"], data.valid["x"]
    real = frechet_distance(valid, train)
    shuffled = RNG.permuted(valid.reshape(len(valid), -1), axis=1).reshape(valid.shape)
    assert real < 1
    assert frechet_distance(shuffled, train) > 20 * real


@pytest.mark.parametrize(
    ("images", "components", "message"),
    [
        (np.zeros((30, 2, 3)), 4, "expected images of one shape"),
        (np.zeros((4, 1, 3, 3)), 4, "expected more images than components"),
        (np.full((30, 1, 3, 3), np.inf), 4, "did the run diverge"),
    ],
)
def test_frechet_distance_refuses(images, components, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(images, RNG.standard_normal((30, 1, 3, 3)), components)


def test_a_grid_shows_every_image():
    figure = sample_grid(RNG.uniform(-1, 1, (10, 1, 8, 8)), columns=4)
    assert figure.axes[0].images[0].get_array().shape[:2] == (3 * 9 - 1, 4 * 9 - 1)
    with pytest.raises(ValueError, match="expected images"):
        sample_grid(np.zeros((3, 8, 8)))


def test_only_diffusion_draws():
    with pytest.raises(ValueError, match="expected the task 'diffusion', got 'diabetes'"):
        sample(task("diabetes"), {}, 0, 1)
    with pytest.raises(ValueError, match="expected 1 image or more"):
        sample(task("diffusion", size="s"), {}, 0, 0)


# tasks


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "unknown task 'digit'; did you mean 'digits'"),
        ("digits", {"model": "llama"}, "unknown model of the task digits 'llama'; known: mlp, cnn, vit, vgg"),
        ("digits", {"size": "xxl"}, "unknown size of mlp 'xxl'"),
        ("text", {"size": "2m"}, "unknown size of llama '2m'; known: 13k"),
        ("text", {"vocab": 512}, "unknown option of the task text 'vocab'"),
        ("diabetes", {"read": 1}, "the task diabetes has no options, got 'read'"),
        ("digits", {"patch": 2}, "patch is an option of model='vit', not of 'mlp'"),
        ("diffusion", {"direct": True}, "direct is an option of model='cnn' or 'vgg' or 'unet', not of 'mlp_denoiser'"),
        ("digits", {"model": "vit", "patch": 3}, "expected patches that divide images of 8 x 8, got patch=3"),
    ],
)
def test_unknown_names_are_answered(name, options, message):
    with pytest.raises(ValueError, match=message):
        task(name, **options)


def test_images_that_a_model_cannot_halve_are_named(tmp_path):
    path = saved(tmp_path, x=np.zeros((20, 7, 7)), y=np.zeros(20))
    with pytest.raises(ValueError, match="multiples of 8, got 7 x 7; take model='cnn'"):
        task("digits", model="vgg", path=path)
    with pytest.raises(ValueError, match="expected even heights and widths, got 7 x 7"):
        task("diffusion", model="unet", path=path)


def test_tasks_say_what_they_see():
    found = task("digits")
    assert found.samples == 1437
    assert found.seen(300, 96) == (28800, 28800)
    assert "parameters=8970" in repr(found)
    short = Data({"x": np.zeros(3)}, {}, "here")
    with pytest.raises(ValueError, match="expected valid arrays of one length"):
        type(found)(**{**{f: getattr(found, f) for f in found.__slots__}, "train": short.train, "valid": short.valid})


def test_the_table_agrees_with_the_tasks():
    table = list_tasks().set_index(["task", "model", "size"])
    found = task("digits", model="vit")
    row = table.loc[("digits", "vit", "s")]
    assert row["default"]
    assert (row["parameters"], row["non_embedding"]) == (found.parameters, found.non_embedding)
    assert row["flops_per_sample"] == found.flops_per_sample
    assert set(table["metric"]) == {"accuracy", "r2", "loss", "bits_per_byte"}
