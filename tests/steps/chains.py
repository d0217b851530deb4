"""Chains of dense recurrent layers of any neuron, and a step of learning that returns all it came to."""

from __future__ import annotations

import torch
from torch import nn

import tracetorch as tt

UNITS = 7
LEARNED = tt.Learnable


class Three(tt.Neuron):
    """A user's neuron of three states, with a parameter of its own."""

    state = ("v", "a", "u")

    def __init__(self) -> None:
        super().__init__(half_life=4.0)
        self.mix = nn.Parameter(torch.tensor(0.3))

    def step(self, s, current):
        u = 0.7 * s.u + current
        v = self.beta * s.v + u
        z = self.surrogate(v - self.threshold - self.mix * s.a)
        return s.replace(v=v - z * self.threshold, a=0.9 * s.a + z, u=u), z


NEURONS = {
    "lif": lambda: tt.LIF(half_life=4.0),
    "lif, learned": lambda: tt.LIF(half_life=LEARNED(4.0), threshold=LEARNED(1.0)),
    "lif, learned per unit": lambda: tt.LIF(half_life=LEARNED(4.0, shape=UNITS), threshold=LEARNED(1.0, shape=UNITS)),
    "lif, per unit": lambda: tt.LIF(half_life=torch.linspace(2, 9, UNITS)),
    "lif, hard reset": lambda: tt.LIF(half_life=4.0, reset=tt.HardReset(gradient=True, value=0.1)),
    "alif": lambda: tt.ALIF(half_life=4.0, adaptation_half_life=LEARNED(6.0), adaptation=0.3, refractory=1),
    "synaptic": lambda: tt.SynapticLIF(half_life=LEARNED(4.0), synaptic_half_life=2.0),
    "li": lambda: tt.LI(half_life=LEARNED(2.0), normalized=True),
    "own": Three,
    "diagonal": lambda: tt.DiagonalRecurrent(tt.LIF(half_life=4.0), (UNITS,), init=0.2),
}


def recurrent(neuron: str, rule: tt.Rule, readout: tt.Neuron) -> nn.Sequential:
    """Two recurrent layers of a neuron and a readout, in float64, after a reset."""
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(9, UNITS), NEURONS[neuron](), recurrent=nn.Linear(UNITS, UNITS)),
        tt.Layer(nn.Linear(UNITS, UNITS, bias=False), NEURONS[neuron](), recurrent=nn.Linear(UNITS, UNITS, bias=False)),
        tt.Layer(nn.Linear(UNITS, 3), readout),
    ).double()
    with torch.no_grad():
        for layer in net:
            layer.synapse.weight.normal_(0.25, 0.6)
            if layer.recurrent is not None:
                layer.recurrent.weight.normal_(0, 0.3)
    tt.set_rule(net, rule)
    tt.reset(net)
    return net


def inputs(steps: int, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(steps, batch, 9, generator=generator, dtype=torch.float64) < 0.4).double()


def loss_of(y: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return (y * weights + y.square()).sum(1).mean()


def learn(net: nn.Module, x: torch.Tensor, *, rate: float = 0.01) -> dict[str, torch.Tensor]:
    """One step with its update; the output, the gradient of the input, and every other."""
    x = x.clone().requires_grad_()
    y = net(x)
    loss_of(y).backward()
    found = {"output": y.detach(), "input": x.grad}
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.grad is not None:
                found[name] = p.grad
                p -= rate * p.grad
                p.grad = None
    return found


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-12) -> None:
    """Compare two tables of tensors, each relative to its largest number."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        scale = max(float(value.detach().abs().max()) if value.numel() else 0.0, 1e-3)
        gap = float((found[name] - value).detach().abs().max()) if value.numel() else 0.0
        assert gap <= tolerance * scale, (name, gap, scale)
