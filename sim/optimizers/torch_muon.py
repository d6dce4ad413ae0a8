"""Muon as a torch optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from .orthogonal import adjustment, check_muon, orthogonalize


class Muon(Optimizer):
    """SGD with momentum whose updates are orthogonalized; see `optimizers.muon`."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        fmt: str | None = "bf16",
        method: str = "polar_express",
        adjust: str = "original",
    ) -> None:
        check_muon(lr, momentum, weight_decay, steps=steps, fmt=fmt, method=method, adjust=adjust)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "steps": steps,
            "fmt": fmt,
            "method": method,
            "adjust": adjust,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch."""
        super().add_param_group(param_group)
        for p in param_group["params"]:
            if p.dim() < 2:
                self.param_groups.pop()
                raise ValueError(
                    f"Muon is for matrices, got a parameter of shape {tuple(p.shape)}; give vectors to AdamW"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: torch.Tensor, group: dict[str, Any]) -> None:
        gradient: Any = p.grad
        if gradient.is_sparse:
            raise TypeError("Muon takes no sparse gradients; use Embedding(sparse=False), or give embeddings to AdamW")
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer = state["momentum_buffer"]
        buffer.mul_(group["momentum"]).add_(gradient)
        update = gradient + group["momentum"] * buffer if group["nesterov"] else buffer
        matrix = update.flatten(1)
        found = orthogonalize(matrix, group["steps"], group["fmt"], method=group["method"]).reshape(p.shape)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(found, alpha=-group["lr"] * adjustment(group["adjust"], *matrix.shape))
