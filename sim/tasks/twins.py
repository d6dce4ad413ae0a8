"""The models of tasks in torch, for cross-checks and GPUs; torch is imported when one of these functions is called."""

from collections.abc import Mapping
from typing import Any

from .task import Task


def torch_model(task: Task, seed: int = 0) -> Any:
    """A task's model as a torch.nn.Module, with the first parameters of a seed.

    Parameters have the names, shapes and values of `task.init(seed)`: 'layers.0.weight' is ['layers']['0']['weight'].

    Example:
        >>> from .loading import task
        >>> torch_model(task("digits", size="xs"))
        TorchMlp(
          (layers): ModuleList(
            (0): Linear(in_features=64, out_features=32, bias=True)
          )
          (head): Linear(in_features=32, out_features=10, bias=True)
        )
    """
    from ..models.torch_losses import module_of

    return module_of(task.description, task.init(seed))


def torch_loss(task: Task, module: Any, batch: Mapping[str, Any], words: Any) -> Any:
    """`task.loss` of a module of `torch_model`, with a gradient; () float32.

    Args:
        batch: arrays or tensors by name, as in `task.train`. words: (2,) uint32, as `task.loss` takes them; noise is
            that of `task.loss`, up to rounding.
    """
    from ..models.torch_losses import loss

    return loss(task.description, task.objective, module, batch, words)


def torch_evaluate(task: Task, module: Any, batch: Mapping[str, Any], words: Any) -> dict[str, Any]:
    """`task.evaluate` of a module of `torch_model`: sums over samples by name, and 'count'; () tensors."""
    from ..models.torch_losses import evaluate

    return evaluate(task.description, task.objective, module, batch, words)


def load_params(module: Any, params: Mapping[str, Any]) -> Any:
    """Put parameters, a dict of dicts of arrays, into a module of `torch_model`.

    Returns:
        The module.

    Raises:
        ValueError: names or shapes that are not the module's.
    """
    from ..models.torch_losses import load_params

    return load_params(module, params)


def params_of(module: Any) -> dict[str, Any]:
    """A module's parameters as a dict of dicts of NumPy arrays, as `task.loss` takes them."""
    from ..models.torch_losses import params_of

    return params_of(module)
