"""Networks that are exported: each kind of synapse, neuron and container."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import tracetorch as tt


class Adaptive(tt.Neuron):
    """A neuron as a user writes it."""

    state = ("v", "a")

    def step(self, s, current):
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


class Scaled(nn.Module):
    """A synapse as a user declares it."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.rand(n) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


class Branched(nn.Module):
    """A network with a forward of its own: a skip connection, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=5))
        self.b = tt.Layer(nn.Linear(8, 8), tt.LIF(half_life=3))
        self.out = tt.Layer(nn.Linear(16, 3), tt.LI(half_life=10))

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        return self.out(torch.cat([z, self.b(z)], -1))


class Twofold(nn.Module):
    """Two currents per unit from one map."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).unflatten(-1, (2, 8))


class Gated(tt.Neuron):
    """A neuron of two currents."""

    state = ("v",)
    currents = ("i", "gate")

    def step(self, s, current):
        v = self.beta * s.v + current.i * torch.sigmoid(current.gate)
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v - z * self.threshold), z


def head(n: int) -> tt.Layer:
    return tt.Layer(nn.Linear(n, 3), tt.LI(half_life=10))


def dense() -> nn.Module:
    return nn.Sequential(
        tt.Layer(nn.Linear(6, 20), tt.LIF(half_life=8)),
        tt.Layer(nn.Linear(20, 12), tt.ALIF(half_life=8, adaptation_half_life=30)),
        head(12),
    )


def recurrent() -> nn.Module:
    return nn.Sequential(
        tt.Layer(nn.Linear(6, 12), tt.SynapticLIF(half_life=8, synaptic_half_life=4), recurrent=nn.Linear(12, 12)),
        head(12),
    )


def convolutional() -> nn.Module:
    conv = nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        tt.Layer(conv, tt.LIF(half_life=5)),
        nn.AvgPool2d((1, 3)),
        tt.Layer(nn.ConvTranspose2d(4, 2, 2), tt.LIF(half_life=5)),
        nn.Flatten(),
        head(12),
    )


def own() -> nn.Module:
    return nn.Sequential(
        tt.Layer(tt.LinearInWeights(Scaled(6)), Adaptive(half_life=10)),
        tt.Layer(nn.Linear(6, 8), tt.DiagonalRecurrent(tt.LIF(half_life=tt.Learnable(5.0)), 8, init=0.3)),
        tt.Layer(nn.Linear(8, 3), tt.Mean()),
    )


def options() -> nn.Module:
    decays = torch.linspace(2, 9, 12)
    return nn.Sequential(
        tt.Layer(nn.Linear(6, 12), tt.LIF(half_life=decays, reset=tt.HardReset(decayed=False), refractory=2)),
        nn.BatchNorm1d(12),
        nn.Dropout(0.5),
        head(12),
    )


def changed() -> nn.Module:
    net = dense()
    prune.l1_unstructured(net[0].synapse, "weight", 0.3)
    net(torch.rand(2, 6)).sum().backward()  # which leaves a weight with a graph
    parametrize.register_parametrization(net[1].synapse, "weight", nn.Softplus())
    return net


def currents() -> nn.Module:
    twofold = tt.Layer(tt.LinearInWeights(Twofold()), Gated(half_life=5), rule=tt.rules.drtrl())
    return nn.Sequential(twofold, head(8))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    f.__name__: f for f in (dense, recurrent, convolutional, own, options, changed, currents)
}
NETWORKS["branched"] = Branched
NETWORKS["one layer"] = lambda: tt.Layer(nn.Linear(6, 4), tt.IF())


def make(name: str, steps: int = 40, batch: int = 5) -> tuple[nn.Module, Tensor]:
    """Return a network that fires, after a reset, in evaluation mode, and a window for it."""
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    xs = (torch.rand(steps, batch, 6) < 0.4).float()
    with torch.no_grad():
        for layer in tt.layers(net).values():
            for p in layer.synapse.parameters():
                p.mul_(2.0)
    tt.reset(net)
    return net, xs
