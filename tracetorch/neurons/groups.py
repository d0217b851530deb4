"""Parameters for an optimizer, with weight decay where it does what it is meant for."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from tracetorch.neurons.base import Neuron


def parameter_groups(net: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of parameters for an optimizer: weights with weight decay, all others without.

    Without it go the parameters of neurons, of which the optimizer sees raw values (weight decay would pull a learned
    decay per step to 0.5, a half-life of one step), and every parameter with fewer than two dimensions: biases, and
    the scales of norms. Parameters that need no gradient, such as feedback matrices, are in neither.

    Args:
        net: any module.
        weight_decay: weight decay of the weights, 0 or more, in the optimizer's unit.

    Returns:
        The groups, each with `params` and `weight_decay`; one that is empty is left out.

    Raises:
        ValueError: if the weight decay is negative or not finite, or nothing in the network needs a gradient.

    Source: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization" (2019), https://arxiv.org/abs/1711.05101,
    for what `torch.optim.AdamW` does.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=tt.Learnable(20.0)))
        >>> groups = tt.parameter_groups(net, weight_decay=0.01)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.01), (2, 0.0)]
        >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
    """
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a finite number, 0 or more, got {weight_decay!r}")
    inside = {p for module in net.modules() if isinstance(module, Neuron) for p in module.parameters()}
    learned = [p for p in net.parameters() if p.requires_grad]
    if not learned:
        raise ValueError(f"{type(net).__name__} has no parameter that needs a gradient")
    plain = [p for p in learned if p in inside or p.dim() < 2]
    decayed = [p for p in learned if p not in inside and p.dim() >= 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
