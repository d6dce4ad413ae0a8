"""Tasks by name: their data, the models they can have, and what is minimized."""

from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

from ...formats.suggest import unknown
from ..models.leaves import Description, count, initial
from ..models.objective import Objective
from ..models.sizes import MODELS, Geometry, described
from . import regression
from .arrays import Data
from .augmentation import Augmentation
from .diffusion import scans
from .images import Images, cifar10, digits
from .task import Task
from .text import text

if TYPE_CHECKING:
    import pandas

_OF_MODELS = {"patch": ["vit"], "direct": ["cnn", "vgg", "unet"]}
"""Options of some models."""
_REFERENCE = 256
"""Training images whose statistics normalize in evaluation."""


class Loaded(NamedTuple):
    """What is read for a task."""

    data: Data
    geometry: Geometry
    objective: Objective
    tokens: int = 1
    augmentation: Augmentation | None = None


class Kind(NamedTuple):
    """A task by name.

    Fields:
        load: path and options -> what is read.
        models: the default size of each model, the default model first.
        metric: its main one. higher_is_better: of the metric.
        geometry: of its models with the data and options it has by default.
    """

    load: Callable[..., Loaded]
    models: dict[str, str]
    metric: str
    higher_is_better: bool
    geometry: Geometry


def _images(
    read: Callable[[Any], Images],
    photographs: bool,
    path: Any = None,
    *,
    patch: int | None = None,
    direct: bool = False,
    augment: bool | Augmentation | None = None,
) -> Loaded:
    images = read(path)
    if augment is None or isinstance(augment, bool):
        wanted = photographs if augment is None else augment
        augment = Augmentation(min(images.shape[1:]) // 8, flip=photographs) if wanted else None
    elif not isinstance(augment, Augmentation):
        raise ValueError(f"augment: expected True, False or an Augmentation, got {augment!r}")
    reference = images.data.train["x"][:_REFERENCE]
    objective = Objective("classes", images.mean, images.deviation, reference)
    geometry = Geometry(images.shape, images.classes, {"patch": patch, "direct": direct})
    return Loaded(images.data, geometry, objective, augmentation=augment)


def _numbers(data: Data) -> Loaded:
    variance = float(data.valid["y"].astype(float).var())
    return Loaded(data, Geometry(data.train["x"].shape[1:], 1), Objective("squares", variance=variance))


def _diabetes(path: Any = None) -> Loaded:
    return _numbers(regression.diabetes(path))


def _teacher_student(
    path: Any = None, *, inputs: int = 32, hidden: int = 16, samples: int = 8192, noise: float = 0.0, data_seed: int = 0
) -> Loaded:
    if path is not None:
        raise ValueError("teacher_student makes its data and takes no path; hu.task('diabetes', path=...) reads some")
    return _numbers(regression.teacher_student(inputs, hidden, samples, noise, data_seed))


def _diffusion(path: Any = None, *, direct: bool = False) -> Loaded:
    data = scans(path)
    return Loaded(data, Geometry(data.train["x"].shape[1:], 0, {"direct": direct}), Objective("noise"))


def _text(
    path: Any = None, *, vocabulary: int = 256, context: int = 128, valid_samples: int = 512, glob: str = "**/*",
    tied: bool = False,
) -> Loaded:  # fmt: skip
    found = text(path, vocabulary=vocabulary, context=context, valid_samples=valid_samples, glob=glob)
    geometry = Geometry((context,), found.encoding.vocabulary, {"tied": tied})
    return Loaded(found.data, geometry, Objective("tokens", bytes_per_token=found.bytes_per_token), context)


_OF_IMAGES = {"mlp": "s", "cnn": "s", "vit": "s", "vgg": "s"}
TASKS: dict[str, Kind] = {
    "digits": Kind(partial(_images, digits, False), _OF_IMAGES, "accuracy", True, Geometry((1, 8, 8), 10)),
    "cifar10": Kind(
        partial(_images, cifar10, True), {"vgg": "l", "cnn": "m", "vit": "m", "mlp": "m"}, "accuracy", True,
        Geometry((3, 32, 32), 10),
    ),
    "diabetes": Kind(_diabetes, {"mlp": "xs"}, "r2", True, Geometry((10,), 1)),
    "teacher_student": Kind(_teacher_student, {"mlp": "s"}, "r2", True, Geometry((32,), 1)),
    "diffusion": Kind(_diffusion, {"mlp_denoiser": "m", "unet": "s"}, "loss", False, Geometry((1, 8, 8), 0)),
    "text": Kind(_text, {"llama": "1m"}, "bits_per_byte", False, Geometry((128,), 256)),
}  # fmt: skip
"""All tasks."""


def task(name: str, *, model: str | None = None, size: str | None = None, path: Any = None, **options: Any) -> Task:
    """A task: its data, a model of a size, and what is minimized and reported.

    Args:
        name: 'digits', 'cifar10', 'diabetes', 'teacher_student', 'diffusion' or 'text'.
        model, size: of `list_tasks`; the task's own by default.
        path: data in place of the task's own: an .npz file with x and y, or train_x, train_y, valid_x, valid_y
            (digits, diabetes; without y: diffusion); the folder of CIFAR-10's binary batches; a text file or folder.
        options: patch (of vit); direct (of cnn, vgg and unet: convolutions that are not products of patches); augment
            (digits, cifar10: whether training images are cropped at random after padding by an eighth of their side,
            and those of cifar10 mirrored, which cifar10 does by default; or an `Augmentation`); inputs, hidden,
            samples, noise, data_seed (teacher_student); vocabulary, context, valid_samples, glob, tied (text).

    Raises:
        ValueError: unknown names and options, impossible sizes, data that are malformed or not finite.
        FileNotFoundError: nothing at the path.
        ModuleNotFoundError: scikit-learn, whose data these are, is missing.

    Example:
        >>> task("teacher_student", size="xs", samples=1000)
        Task('teacher_student', model='mlp', size='xs', parameters=1089, train={'x': (900, 32), 'y': (900,)}, \
valid={'x': (100, 32), 'y': (100,)}, metric='r2')
    """
    if name not in TASKS:
        raise ValueError(unknown("task", str(name), TASKS))
    kind = TASKS[name]
    model = next(iter(kind.models)) if model is None else model
    if model not in kind.models:
        raise ValueError(unknown(f"model of the task {name}", str(model), kind.models))
    size = kind.models[model] if size is None else size
    if size not in MODELS[model]:
        raise ValueError(unknown(f"size of {model}", str(size), MODELS[model]))
    known = [option for option in signature(kind.load).parameters if option not in ("read", "path")]
    for option in options:
        if option not in known:
            none = f"the task {name} has no options, got {option!r}"
            raise ValueError(unknown(f"option of the task {name}", option, known) if known else none)
        if model not in _OF_MODELS.get(option, [model]) and options[option]:
            models = " or ".join(map(repr, _OF_MODELS[option]))
            raise ValueError(f"{option} is an option of model={models}, not of {model!r}; leave it out")
    return _task(name, kind, model, size, kind.load(path, **options))


def _task(name: str, kind: Kind, model: str, size: str, loaded: Loaded) -> Task:
    description = described(model, size, loaded.geometry)
    leaves, objective = description.leaves, loaded.objective

    @cache
    def functions() -> Any:
        """JAX is imported when a loss is first called, so that data and torch models need none."""
        try:
            from ..models.jax_losses import functions
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("losses of tasks are JAX's; pip install 'halfulp[sim]'") from error
        return functions(description, objective)

    return Task(
        name=name,
        model=model,
        size=size,
        source=loaded.data.source,
        train=loaded.data.train,
        valid=loaded.data.valid,
        metric=kind.metric,
        higher_is_better=kind.higher_is_better,
        tokens_per_sample=loaded.tokens,
        bytes_per_token=objective.bytes_per_token,
        parameters=count(leaves),
        non_embedding=count(leaves, embeddings=False),
        init=partial(initial, leaves),
        loss=lambda params, batch, words: functions().loss(params, batch, words),
        evaluate=lambda params, batch, words: functions().evaluate(params, batch, words),
        flops_per_sample=description.flops,
        description=description,
        objective=objective,
        augmentation=loaded.augmentation,
    )


def list_tasks() -> "pandas.DataFrame":
    """All tasks with their models and sizes; counts are for the data and options each has by default.

    Returns:
        task, model, size, default (whether it is what the task or the model has by default), parameters, non_embedding
        (without tables of tokens and positions and without the head over tokens), flops_per_sample (forward), metric.
    """
    import pandas

    rows = []
    for name, kind in TASKS.items():
        for model, default in kind.models.items():
            for size in MODELS[model]:
                built: Description = described(model, size, kind.geometry)
                rows.append(
                    {
                        "task": name,
                        "model": model,
                        "size": size,
                        "default": size == default,
                        "parameters": count(built.leaves),
                        "non_embedding": count(built.leaves, embeddings=False),
                        "flops_per_sample": built.flops,
                        "metric": kind.metric,
                    }
                )
    return pandas.DataFrame(rows)
