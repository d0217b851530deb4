"""Small spiking networks that fire, and the inputs that make them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import firing_rates

INPUTS, HIDDEN, OUTPUTS = 5, 12, 3


def lif(half_life: float | tt.Learnable = 4.0) -> tt.LIF:
    return tt.LIF(half_life=half_life, threshold=0.8)


def make(hidden: Callable[[], tt.Neuron], *, layers: int = 1, readout: bool = True, seed: int = 0) -> nn.Sequential:
    """Spiking layers, then a leaky readout or a linear map without memory; float64."""
    torch.manual_seed(seed)
    sizes = [INPUTS, *[HIDDEN] * layers]
    parts: list[nn.Module] = [tt.Layer(nn.Linear(a, b), hidden()) for a, b in pairwise(sizes)]
    last = nn.Linear(HIDDEN, OUTPUTS)
    parts.append(tt.Layer(last, tt.LI(half_life=3.0)) if readout else last)
    net = nn.Sequential(*parts).double()
    with torch.no_grad():
        for part in parts[:-1]:
            part.synapse.weight.mul_(2.0)
    return net


def inputs(steps: int, rows: int = 1, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, rows, INPUTS, generator=generator, dtype=torch.float64)


def require_firing(net: nn.Module, xs: Tensor) -> None:
    """Every spiking layer fires in 5 to 60 % of the steps: a silent one would pass everything."""
    for name, firing in firing_rates(net, xs).items():
        assert 0.05 <= firing.mean <= 0.6, (name, firing)


def live(agent: tt.rl.ActorCritic, steps: range, scale: float = 2.0) -> list[float]:
    """Let an agent live through some steps of one stream, with episodes that end in both ways; return its errors."""
    xs = np.random.default_rng(0).normal(size=(steps.stop + 1, INPUTS)) * scale
    errors = []
    for t in steps:
        agent.act(xs[t])
        agent.learn(float(xs[t, 0]), xs[t + 1], terminated=t % 9 == 8, truncated=t % 13 == 12)
        errors += agent.errors
    return errors


def weights(agent: tt.rl.ActorCritic) -> Tensor:
    """All parameters in one row."""
    return torch.cat([p.detach().flatten() for p in agent.net.parameters()])
