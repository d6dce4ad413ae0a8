"""Train runs of a task in torch, one after another: the same data, values, rules and schedule as the grid in JAX."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ...emulate.backends.integers import NumpyWords
from ...emulate.philox import fold_stream, seed_words
from ..optimizers.storage import Storage
from ..optimizers.torch_muon import Muon
from ..optimizers.torch_optimizers import LowPrecisionOptimizer, low_precision
from ..tasks.augmentation import augmented, shifts
from ..tasks.order import data_order
from ..tasks.task import Task
from ..tasks.twins import params_of, torch_evaluate, torch_loss, torch_model
from ..wrapping.torch_state import advance_, extra_parameters
from ..wrapping.torch_wrapping import quantize_
from .keeping import Kept, check_compensation, kept_parameters, unbent
from .training import DYNAMIC, EVALUATED, Run, Trained, Training, is_hidden_matrix, rate_factors


def train(
    task: Task,
    runs: Iterable[Run],
    training: Training,
    device: str = "cpu",
    report: Callable[[int, int], None] | None = None,
    keep_parameters: bool = False,
) -> list[Trained]:
    """See `trainer.train`.

    Raises:
        ValueError: no runs, a batch larger than the data, loss scales that are for the trainer in JAX.
    """
    if training.loss_scale == DYNAMIC:
        raise ValueError("loss_scale='dynamic' is for library='jax'; leave it out, or give a power of two")
    listed, found = list(runs), []
    if not listed:
        raise ValueError("nothing to train; pass at least one Run")
    training.check_batch(task.name, task.samples)
    for number, run in enumerate(listed):
        found.append(_train_one(task, run, training, torch.device(device), keep_parameters))
        if report is not None:
            report((number + 1) * training.steps, len(listed) * training.steps)
    return found


def _train_one(task: Task, run: Run, training: Training, device: torch.device, keep: bool) -> Trained:
    model = torch_model(task, run.seed).to(device)
    kept = kept_parameters(run.rules, run.storage, {name: tuple(p.shape) for name, p in model.named_parameters()})
    rules = unbent(run.rules)
    if not all(rule.idle for rule in rules):
        quantize_(model, rules, seed=run.seed)
    optimizers = _optimizers(model, run, training, kept)
    data = {name: torch.as_tensor(array).to(device) for name, array in task.train.items()}
    rows = torch.from_numpy(data_order(run.seed, task.samples, training.steps, training.batch)).to(device)
    curves = {name: np.full(training.steps, np.nan, np.float32) for name in ("loss", "gradient_norm")}
    evaluations: list[tuple[int, dict[str, float]]] = []
    ended, low_high = None, seed_words(run.seed)
    for step, factor in enumerate(rate_factors(training)):
        words = np.array([fold_stream(low_high[0], step), low_high[1]], np.uint32)
        batch = _prepared(task, {name: array[rows[step]] for name, array in data.items()}, low_high, step, rows[step])
        loss, norm = _gradients(task, model, batch, words, training)
        curves["loss"][step], curves["gradient_norm"][step] = loss, norm
        above = training.diverged_above is not None and loss > training.diverged_above * curves["loss"][0]
        if above or not np.isfinite([loss, norm]).all():
            ended = step
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate * float(factor) * group["relative"]
            optimizer.step()
        advance_(model)
        _bend(model, kept, step + 1)
        every = training.evaluate_every
        if every is not None and (step + 1) % every == 0 and step + 1 < training.steps:
            evaluations.append((step + 1, _evaluated(task, model, low_high, device)))
    evaluations.append((training.steps, _evaluated(task, model, low_high, device)))
    by_name = {name: np.array([each[name] for _, each in evaluations]) for name in evaluations[0][1]}
    return Trained(
        run,
        evaluations[-1][1],
        ended,
        curves,
        {"step": np.array([step for step, _ in evaluations]), **by_name},
        parameters=params_of(model) if keep else None,
    )


def _gradients(task: Task, model: nn.Module, batch: Any, words: Any, training: Training) -> tuple[float, float]:
    """The loss and the norm of the gradients, which are left on the parameters, clipped."""
    model.train()
    sizes = extra_parameters(model)
    for p in (*model.parameters(), *sizes):
        p.grad = None
    loss = torch_loss(task, model, batch, words)
    scale = float(training.loss_scale or 1.0)
    (loss * scale).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    taught = [size.grad for size in sizes if size.grad is not None]
    for gradient in (*gradients, *taught) if scale != 1.0 else ():
        gradient.div_(scale)
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    if training.clip is not None and bool(norm > training.clip):
        for gradient in gradients:
            gradient.mul_(training.clip / norm)
    return float(loss.detach()), float(norm)


def _prepared(task: Task, batch: dict[str, torch.Tensor], words: Any, step: int, samples: torch.Tensor) -> Any:
    """The batch with its images changed as the task says; places are drawn by NumPy."""
    how = task.augmentation
    if how is None:
        return batch
    seed, numbers = np.array(words, np.uint64), samples.cpu().numpy().astype(np.uint64)
    drawn = [a.astype(np.int64) for a in shifts(NumpyWords(), how, seed, np.uint64(step), numbers)]
    places = [torch.from_numpy(a).to(samples.device) for a in drawn]
    return {**batch, "x": augmented(torch, batch["x"], how, *places)}


@torch.no_grad()
def _bend(model: nn.Module, kept: Sequence[Kept], step: int) -> None:
    """What recipes do after a step to weights that no storage has."""
    parameters = dict(model.named_parameters()) if any(each.limits for each in kept) else {}
    for each in kept:
        limit = each.limit(step)
        if limit is not None:
            weight = parameters[each.name]
            weight.copy_(limit * torch.tanh(weight / limit))


def _optimizers(
    model: nn.Module, run: Run, training: Training, kept: Sequence[Kept]
) -> list[torch.optim.Optimizer | LowPrecisionOptimizer]:
    """The optimizers, with weight decay for weights of two and more axes; `relative` is a group's share of the rate."""
    check_compensation(run.storage, training.optimizer, training.momentum)
    named, storages = dict(model.named_parameters()), {each.name: each.storage for each in kept}
    hidden = {n for n, p in named.items() if training.optimizer == "muon" and is_hidden_matrix(n, p.dim())}
    apart: dict[Any, list[torch.Tensor]] = {}
    for name, p in named.items():
        apart.setdefault((name in hidden, p.dim() > 1, storages[name]), []).append(p)
    groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for (orthogonal, decays, storage), params in apart.items():
        decay = run.weight_decay if decays else 0.0
        groups[orthogonal].append({"params": params, "weight_decay": decay, "relative": 1.0, "storage": storage})
    found: list[Any] = []
    rate, betas = run.learning_rate, (training.momentum, training.beta2)
    if training.optimizer == "sgd":
        found.append(torch.optim.SGD(groups[False], lr=rate, momentum=training.momentum))
    elif groups[False]:
        found.append(torch.optim.AdamW(groups[False], lr=rate, betas=betas, eps=training.epsilon, weight_decay=0.0))
    if groups[True]:
        found.append(Muon(groups[True], rate, training.momentum, adjust="match_rms_adamw"))
    names = {p: name for name, p in named.items()}
    found = [_stored(each, run.seed, names) for each in found]
    if sizes := extra_parameters(model):  # as in JAX, plain gradient descent
        found.insert(0, torch.optim.SGD([{"params": sizes, "relative": 1.0}], lr=rate))
    return found


def _stored(optimizer: Any, seed: int, names: Any) -> Any:
    """The optimizer with the storages of its groups, where there are any."""
    if any(group["storage"] is not None for group in optimizer.param_groups):
        return low_precision(optimizer, Storage("none"), seed, names)
    for group in optimizer.param_groups:
        del group["storage"]
    return optimizer


@torch.no_grad()
def _evaluated(task: Task, model: nn.Module, words: Any, device: torch.device) -> dict[str, float]:
    """Means over the validation data."""
    model.eval()
    data = {name: torch.as_tensor(array).to(device) for name, array in task.valid.items()}
    total: dict[str, float] = {}
    for start in range(0, len(next(iter(data.values()))), EVALUATED):
        batch = {name: array[start : start + EVALUATED] for name, array in data.items()}
        for name, value in torch_evaluate(task, model, batch, np.array(words, np.uint32)).items():
            total[name] = total.get(name, 0.0) + float(value)
    count = total.pop("count")
    return {name: value / count for name, value in total.items()}
