"""Build what cases run on: networks that are alive, streams, losses."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from tracetorch.layer import Layer
from tracetorch.neurons import LI, Neuron
from tracetorch.rules import Rule, sltt
from tracetorch.testing import oracle
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.conformance.kind import Factory
from tracetorch.testing.liveness import DEAD, calibrate, require_alive
from tracetorch.testing.oracle import Cuts, Loss, Out, learned, run
from tracetorch.testing.running import rule_gradients

STEPS, BATCH, INPUTS, UNITS, OUTPUTS = 15, 3, 6, 5, 4
SHORT = 11
"""Steps of the sequences on which every rule and network is tried."""
MIXED = [4, 0, 1, STEPS - 6]


@dataclass(frozen=True)
class Setup:
    """A network in double precision, all layers alive, inputs `[T, B, *in]`, and a loss that is a sum over steps."""

    net: nn.Sequential
    xs: Tensor
    loss: Loss

    def bptt(self, *, out: Out = "all", cuts: Cuts | None = None) -> Gradients:
        """Return BPTT's outputs and gradients."""
        return oracle.bptt(self.net, self.xs, self.loss, out=out, cuts=cuts)

    def traced(self, splits: Sequence[int]) -> Gradients:
        """Return those of autograd inside windows, and of each layer alone before them."""
        return oracle.traced(self.net, self.xs, self.loss, [max(k, 1) for k in splits])

    def truncated(self, splits: Sequence[int]) -> Gradients:
        """Return those of autograd with every state cut at windows."""
        return oracle.truncated(self.net, self.xs, self.loss, [max(k, 1) for k in splits])

    def run(
        self,
        rule: Rule | None = None,
        splits: Sequence[int] | None = None,
        *,
        out: Out = "all",
        resets: Mapping[int, Tensor | None] | None = None,
    ) -> Gradients:
        """Return those of a rule, over windows; see `rule_gradients`."""
        return rule_gradients(self.net, self.xs, self.loss, rule, splits=splits, out=out, resets=resets)

    def names(self, *positions: int) -> list[str]:
        """Return the names of what the layers at some positions learn."""
        return [n for i in positions for n in learned(self.net) if n.startswith(f"{i}.")]

    def weights(self) -> list[str]:
        """Return the names of the synapses' weights."""
        return [n for n in learned(self.net) if n.endswith(".weight")]


def windows(splits: Sequence[int]) -> str:
    """Return the lengths of windows as the name of a case states them."""
    return f"windows {','.join(map(str, sorted(set(splits))))}"


def stream(*shape: int, steps: int = STEPS, batch: int = BATCH, constant: bool = False) -> Tensor:
    """Draw inputs `[T, B, *shape]`: events of random sizes, or the same random input at every step."""
    xs = (torch.rand(steps, batch, *shape) < 0.5) * (0.5 + torch.rand(steps, batch, *shape))
    if constant:
        xs = (0.3 + torch.rand(1, batch, *shape)).expand(steps, batch, *shape)
    return xs.double().contiguous()


@dataclass(frozen=True)
class Quadratic:
    """Half the squared distance to targets `[T, B, *out]`, summed over everything."""

    targets: Tensor

    def __call__(self, ys: Tensor, steps: slice) -> Tensor:
        """Return the loss of some steps."""
        return 0.5 * ((ys - self.targets[steps]) ** 2).sum()

    def part(self, steps: slice, row: int) -> Quadratic:
        """Return the loss of a part of the time of one row."""
        return Quadratic(self.targets[steps, row : row + 1])


def quadratic(net: nn.Module, xs: Tensor) -> Quadratic:
    """Return half the squared distance to random targets."""
    with torch.no_grad():
        return Quadratic(torch.randn(run(net, xs).shape, dtype=torch.float64))


def event(net: nn.Module, xs: Tensor) -> Loss:
    """Return half the squared distance of an output to one target for all steps."""
    with torch.no_grad():
        target = torch.randn(run(net, xs).shape[1:], dtype=torch.float64)
    return lambda ys, steps: 0.5 * ((ys - target) ** 2).sum()


def build(
    *modules: nn.Module, xs: Tensor, loss: Callable[[nn.Module, Tensor], Loss] = quadratic, rate: float = 0.25
) -> Setup:
    """Put modules in a row, in double precision, scaled so that every spiking layer fires."""
    net = nn.Sequential(*modules).double()
    values = [*net.parameters(), *net.buffers()]
    numbers = b"".join(x.detach().numpy().tobytes() for x in (xs, *values))
    key = (rate, repr(net), tuple(map(type_before_parametrizations, net.modules())), hashlib.sha256(numbers).digest())
    if key in _CALIBRATED:
        with torch.no_grad():
            for p, value in zip(net.parameters(), _CALIBRATED[key], strict=True):
                p.copy_(value)
    else:
        calibrate(net, xs, rate=rate)
        _CALIBRATED[key] = [p.detach().clone() for p in net.parameters()]
    require_alive(net, xs, dead=DEAD)
    return Setup(net, xs, loss(net, xs))


_CALIBRATED: dict[tuple[object, ...], list[Tensor]] = {}
"""Parameters that were found for a network, on which many cases run; the search takes longer than most of them."""


def layer(inputs: int, units: int, neuron: Factory | Neuron, *, recurrent: float = 0.0, bias: bool = True) -> Layer:
    """Return a dense layer; `recurrent` is the size of its recurrent weights, 0 for none."""
    made = neuron if isinstance(neuron, Neuron) else neuron((units,))
    rows = units * len(made.currents)
    synapse = nn.Linear(inputs, rows, bias=bias)
    ring = nn.Linear(units, rows, bias=bias) if recurrent else None
    if ring is not None:
        nn.init.normal_(ring.weight, std=recurrent / units**0.5)
    return Layer(synapse, made, recurrent=ring, rule=sltt())


def copied(one: Layer) -> Layer:
    """Return a layer with the same rule, and parameters and a state of its own."""
    return Layer(copy.deepcopy(one.synapse), copy.deepcopy(one.neuron), rule=one.rule)


def readout(units: int = UNITS, outputs: int = OUTPUTS, *, neuron: Neuron | None = None) -> Layer:
    """Return a leaky readout."""
    return Layer(nn.Linear(units, outputs), LI(beta=0.85) if neuron is None else neuron, rule=sltt())


class Beside(nn.Module):
    """Run modules on the same input and join what they give."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return their outputs in one row."""
        return torch.cat([part(x) for part in self.parts], -1)


def single(make: Factory, *, constant: bool = False, **options: bool) -> Setup:
    """Return one dense layer on a stream."""
    xs = stream(INPUTS, constant=constant)
    return build(layer(INPUTS, UNITS, make, **options), xs=xs)
