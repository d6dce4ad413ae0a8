"""Images to draw: the digits or those of a file, a picture of samples, and how far samples are from the data."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Data, read_arrays
from .images import digits, pictures
from .task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPONENTS = 16
"""Principal components of the feature space of `frechet_distance`."""


def scans(path: Any = None) -> Data:
    """x of (n, channels, height, width) float32 from -1 to 1: the digits, or x of an .npz file.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        FileNotFoundError, ValueError: what is at the path: other shapes, NaN, or floats outside of 0 to 1.
    """
    data = digits().data if path is None else read_arrays(path, labelled=False)
    train, valid = (
        {"x": _centred(f"{part} x", arrays["x"])} for part, arrays in (("train", data.train), ("valid", data.valid))
    )
    if train["x"].shape[1:] != valid["x"].shape[1:]:
        raise ValueError(f"{data.source}: images of {train['x'].shape[1:]} and of {valid['x'].shape[1:]}; expected one")
    return Data(train, valid, data.source)


def _centred(name: str, x: np.ndarray) -> np.ndarray:
    x = pictures(name, x)
    if x.dtype == np.uint8:
        return (x / 127.5 - 1).astype(np.float32)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"{name}: expected uint8 or numbers from 0 to 1, got {x.min():g} to {x.max():g}; divide them")
    return 2 * x - 1


def sample(task: Task, params: Any, seed: int, count: int) -> np.ndarray:
    """Images a trained denoiser draws, by ancestral sampling.

    Args:
        task: of diffusion. params: its parameters. seed: of the noise, below 2**64. count: images.

    Returns:
        (count, channels, height, width) float32 from -1 to 1.

    Raises:
        ValueError: another task, a count below 1, or a seed out of range.
    """
    if task.name != "diffusion":
        raise ValueError(f"expected the task 'diffusion', got {task.name!r}; hu.task('diffusion') has a sampler")
    if count < 1:
        raise ValueError(f"expected 1 image or more, got {count}")
    from ...emulate.philox import seed_words
    from ..models.jax_denoisers import sampled

    return np.asarray(sampled(task.description, params, np.array(seed_words(seed), np.uint32), count))


def frechet_distance(images: np.ndarray, reference: np.ndarray, components: int = COMPONENTS) -> float:
    """How far apart two sets of images are, each taken as one normal distribution of features.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with means m and covariances S. The features are the leading principal
    components of the reference, in units of the images. Smaller sets come out farther: compare sets of one size.

    Args:
        images, reference: (n, ...) of one shape, more images than components in each.

    Raises:
        ValueError: shapes that differ, too few images, or NaN.

    Source: Dowson, Landau: The Frechet distance between multivariate normal distributions (1982); Heusel et al.
    (arXiv:1706.08500), who take features of an image classifier.
    """
    first, second = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (images, reference))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"expected images of one shape, got {np.shape(images)[1:]} and {np.shape(reference)[1:]}")
    if not 1 <= components <= min(second.shape[1], len(first) - 1, len(second) - 1):
        raise ValueError(
            f"expected more images than components, which are at most {second.shape[1]}; got {len(first)} and "
            f"{len(second)} images, components={components}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("expected finite images, found NaN or infinities; did the run diverge?")
    _, axes = np.linalg.eigh(np.cov(second.T))
    first, second = (a @ axes[:, -components:] for a in (first, second))
    apart = ((first.mean(0) - second.mean(0)) ** 2).sum()
    one, other = (np.atleast_2d(np.cov(a.T)) for a in (first, second))
    root = _root(one)
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(max(apart + np.trace(one) + np.trace(other) - 2 * common, 0.0))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(matrix)
    return axes * np.sqrt(np.maximum(values, 0)) @ axes.T


def sample_grid(images: np.ndarray, columns: int = 8) -> "Figure":
    """A picture of (n, channels, height, width) images from -1 to 1, of one channel in grey or three in colour.

    Raises:
        ValueError: another shape, or columns below 1.
    """
    from matplotlib.figure import Figure

    x = np.asarray(images)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x) or columns < 1:
        raise ValueError(f"expected images (n, 1 or 3, height, width) in 1 column or more, got {x.shape}, {columns}")
    n, c, h, w = x.shape
    rows = -(-n // columns)
    grid = np.ones((rows * columns, c, h + 1, w + 1), np.float32)
    grid[:n, :, :h, :w] = (x.clip(-1, 1) + 1) / 2
    grid = grid.reshape(rows, columns, c, h + 1, w + 1).transpose(0, 3, 1, 4, 2).reshape(rows * (h + 1), -1, c)
    figure = Figure(figsize=(0.5 * columns, 0.5 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grid[:-1, :-1], cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure
