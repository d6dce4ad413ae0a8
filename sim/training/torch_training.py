"""Train runs of a task in torch, one after another: the same data, values, rules and schedule as the grid in JAX."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from ...emulate.philox import fold_stream, seed_words
from ..optimizers.torch_muon import Muon
from ..tasks.order import data_order
from ..tasks.task import Task
from ..tasks.twins import params_of, torch_evaluate, torch_loss, torch_model
from ..wrapping.torch_state import advance_, extra_parameters
from ..wrapping.torch_wrapping import quantize_
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
    if not all(rule.idle for rule in run.rules):
        quantize_(model, run.rules, seed=run.seed)
    optimizers = _optimizers(model, run, training)
    data = {name: torch.as_tensor(array).to(device) for name, array in task.train.items()}
    rows = torch.from_numpy(data_order(run.seed, task.samples, training.steps, training.batch)).to(device)
    curves = {name: np.full(training.steps, np.nan, np.float32) for name in ("loss", "gradient_norm")}
    evaluations: list[tuple[int, dict[str, float]]] = []
    ended, low_high = None, seed_words(run.seed)
    for step, factor in enumerate(rate_factors(training)):
        words = np.array([fold_stream(low_high[0], step), low_high[1]], np.uint32)
        batch = {name: array[rows[step]] for name, array in data.items()}
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


def _optimizers(model: nn.Module, run: Run, training: Training) -> list[torch.optim.Optimizer]:
    """The optimizers, with weight decay for weights of two and more axes; `relative` is a group's share of the rate."""
    named = list(model.named_parameters())
    hidden = {name for name, p in named if training.optimizer == "muon" and is_hidden_matrix(name, p.dim())}
    muon = [p for name, p in named if name in hidden]
    others = [p for name, p in named if name not in hidden]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": run.weight_decay, "relative": 1.0},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0, "relative": 1.0},
    ]
    groups, sizes = [group for group in groups if group["params"]], extra_parameters(model)
    found: list[torch.optim.Optimizer] = []
    if sizes:  # as in JAX, plain gradient descent
        found.append(torch.optim.SGD([{"params": sizes, "relative": 1.0}], lr=run.learning_rate))
    if training.optimizer == "sgd":
        return [*found, torch.optim.SGD(groups, lr=run.learning_rate, momentum=training.momentum)]
    betas = (training.momentum, training.beta2)
    found.append(torch.optim.AdamW(groups, lr=run.learning_rate, betas=betas, eps=training.epsilon, weight_decay=0.0))
    if muon:
        group = {"params": muon, "relative": 1.0}
        decay = run.weight_decay
        found.append(Muon([group], run.learning_rate, training.momentum, weight_decay=decay, adjust="match_rms_adamw"))
    return found


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
