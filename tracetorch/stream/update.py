"""How a stream moves parameters: plain descent inside its one call, torch's optimizers by kernels or by themselves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tracetorch.backends.numba.steps import function


class Update(ABC):
    """A way to move parameters; if `direct`, gradients are subtracted as they are formed, `rate` times each."""

    direct = False
    rate = -1.0

    @abstractmethod
    def step(self, parameters: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        """Move parameters by their gradients, or by what a direct update adds to each."""


class Descent(Update):
    """Plain gradient descent at a learning rate."""

    direct = True

    def __init__(self, rate: float) -> None:
        if not math.isfinite(rate) or rate < 0:
            raise ValueError(f"lr must be finite and at least 0, got {rate!r}")
        self.rate = float(rate)

    def step(self, parameters: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        """Move the parameters that are not moved in the call itself."""
        with torch.no_grad():
            for parameter, change in zip(parameters, grads, strict=True):
                parameter.add_(change)


class Called(Update):
    """Any optimizer of torch: gradients are written and it is called."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, parameters: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        """Write the gradients, call the optimizer, and take them away again."""
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        self.optimizer.step()
        for parameter in parameters:
            parameter.grad = None


class Fused(Called):
    """SGD, Adam or AdamW by kernels, on the optimizer's own state and settings, which may change at any time."""

    def step(self, parameters: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        """Move the parameters."""
        optimizer, found = self.optimizer, {id(p): g for p, g in zip(parameters, grads, strict=True)}
        plain = all(t.is_contiguous() for t in (*parameters, *grads))
        if not plain or any(why_called(optimizer, group) for group in optimizer.param_groups):
            super().step(parameters, grads)
            return
        for group in optimizer.param_groups:
            for p in group["params"]:
                grad = found.get(id(p))
                if grad is not None:
                    move = _sgd if type(optimizer) is torch.optim.SGD else _adam
                    move(p, grad, optimizer.state[p], group)


def why_called(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> str:
    """Return why kernels do not know a group of an optimizer's parameters; empty where they do."""
    if type(optimizer) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        return f"{type(optimizer).__name__} has no kernel"
    for name in ("maximize", "amsgrad", "differentiable", "capturable"):
        if group.get(name):
            return f"{name} has no kernel"
    if isinstance(group["lr"], Tensor) or any(isinstance(b, Tensor) for b in group.get("betas", ())):
        return "settings that are tensors have no kernel"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "hooks are called by the optimizer alone"
    return ""


def update_of(lr: float | None, optimizer: torch.optim.Optimizer | None) -> Update:
    """Return how parameters are moved; raise ValueError where not exactly one way is given."""
    if (lr is None) == (optimizer is None):
        raise ValueError(f"give either lr= or optimizer=, got lr={lr!r} and optimizer={optimizer!r}")
    if lr is not None:
        return Descent(lr)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer must be a torch.optim optimizer, got {type(optimizer).__name__}")
    return Fused(optimizer)


def _sgd(p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    momentum, buffer, first = group["momentum"], 0, 0
    if momentum:
        first = int(state.get("momentum_buffer") is None)
        if first:
            state["momentum_buffer"] = torch.empty_like(p)
        buffer = state["momentum_buffer"].data_ptr()
    settings = (group["lr"], momentum, 1 - group["dampening"], group["weight_decay"], int(group["nesterov"]))
    call = function(p.dtype, "sgd").call
    call(p.data_ptr(), grad.data_ptr(), buffer, p.numel(), first, *settings)


def _adam(p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
    state["step"] += 1
    apart = bool(group.get("decoupled_weight_decay", False))
    settings = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], state["step"].item())
    places = (p.data_ptr(), grad.data_ptr(), state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr())
    function(p.dtype, "adam").call(*places, p.numel(), int(apart), *settings)
