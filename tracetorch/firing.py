"""Weights with which every unit fires: measured on data, layer by layer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.engine import require_finite_input
from tracetorch.entry import require_network, require_tensor
from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.neurons import Readout
from tracetorch.synapses import Synapse

SATURATED = 0.95
"""Share of steps from which on a unit counts as saturated."""
SHOWN = 8
CLOSE = 0.1
"""How far a unit's rate may be from the one asked for, as a share of it, before its sign is turned."""
RARE = 4.0
"""How many times larger a factor may be than one of the other sign: else the unit fires in a few rare bursts only."""
ROUNDS = 18
LARGEST = 2.0**14
"""Factors are searched between one over it and this: a rate is met to a share of 2**(28 / 2**18)."""


@dataclass(frozen=True, eq=False)
class Firing:
    """Firing of one layer, unit by unit: a layer's mean hides units that never fire.

    A unit of a convolution is an output channel: all its places share their weights.

    Args:
        rates: share of steps in which each unit fires, over all steps, samples and places, `[units]`, float64.

    Example:
        >>> import torch, tracetorch as tt
        >>> firing = tt.Firing(torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64))
        >>> firing.silent, firing.saturated, round(firing.mean, 2)
        ((0,), (2,), 0.4)
    """

    rates: Tensor

    @property
    def mean(self) -> float:
        """Return the share of steps in which the layer's units fire, in [0, 1]."""
        return float(self.rates.mean())

    @property
    def silent(self) -> tuple[int, ...]:
        """Return the numbers of the units that never fire."""
        return tuple(int(i) for i in (self.rates == 0.0).nonzero().flatten())

    @property
    def saturated(self) -> tuple[int, ...]:
        """Return the numbers of the units that fire in 95 % of the steps or more."""
        return tuple(int(i) for i in (self.rates >= SATURATED).nonzero().flatten())

    @property
    def dead(self) -> float:
        """Return the share of units that are silent or saturated, in [0, 1]."""
        return (len(self.silent) + len(self.saturated)) / len(self.rates)

    def __repr__(self) -> str:
        dead = f"{len(self.silent)} silent, {len(self.saturated)} saturated"
        return f"Firing({self.mean:.1%}, {len(self.rates)} units, {dead})"

    def __str__(self) -> str:
        parts = [f"fires in {self.mean:.1%} of the steps"]
        for name, units in (("silent", self.silent), ("saturated", self.saturated)):
            if units:
                parts.append(f"{len(units)} of {len(self.rates)} units {name} ({listed(units)})")
        return ", ".join(parts)


def listed(units: tuple[int, ...]) -> str:
    """Return the numbers of units as text; of many the first few and their count."""
    text = ", ".join(map(str, units[:SHOWN]))
    return text if len(units) <= SHOWN else f"{text} and {len(units) - SHOWN} more"


@torch.no_grad()
def init_firing(net: nn.Module, xs: Tensor, rate: float = 0.1) -> dict[str, Firing]:
    """Scale the weights of each unit so that it fires at a given rate, from the first layer to the last.

    PyTorch's default weights are made for dense activations: with few spikes and many layers, the upper ones fall
    silent, and a layer that does not fire gets no gradient. Here the weights and the bias of each unit (of a
    convolution, each channel) are multiplied by its own factor, found by bisection on the unit's currents, while
    the layers below already fire at their rates. A unit whose current is hardly ever positive changes the sign of
    its weights.
    Readouts, and layers whose outputs are not all 0 or 1, keep their weights. The network's state is not touched.

    A `tt.LinearInWeights` has one factor for all its units. A synapse that several layers share is scaled for
    the first. Weights that a recurrent synapse adds stay as they are.

    Args:
        net: the network, changed in place.
        xs: inputs like those of training, `[T, B, *in]`; some ten steps and samples are enough.
        rate: share of steps in which each unit is to fire, in (0, 1).

    Returns:
        The firing of each scaled layer afterwards, by name.

    Raises:
        TypeError: if the network is no module, or the window no dense real tensor.
        ValueError: if the rate is out of range, the inputs are not a window of finite numbers, or a layer never fires
            at any scale; the weights are then as before.

    Source: the idea of scaling layer by layer on data is D. Mishkin, J. Matas, "All you need is a good init" (2016),
    https://arxiv.org/abs/1511.06422, there for the variance of activations.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     *(tt.Layer(torch.nn.Linear(30, 30), tt.LIF(half_life=10)) for _ in range(3)),
        ...     tt.Layer(torch.nn.Linear(30, 2), tt.LI(half_life=10)),
        ... )
        >>> firing = tt.init_firing(net, (torch.rand(50, 4, 30) < 0.1).float())
        >>> [name for name, f in firing.items() if not f.silent and 0.09 < f.mean < 0.11]
        ['0', '1', '2']
    """
    require_network(net)
    require_tensor(xs, "a window of inputs", "[time, batch, ...]")
    if not 0 < rate < 1:
        raise ValueError(f"rate is a share of steps in (0, 1), got {rate!r}")
    if xs.dim() < 2 or 0 in xs.shape[:2]:
        raise ValueError(f"xs is a window [time, batch, ...] with at least one step and sample, got {list(xs.shape)}")
    require_finite_input(xs)
    before, done = [(p, p.detach().clone()) for p in net.parameters()], False
    try:
        found = _scaled(net, xs, rate)
        done = True
        return found
    finally:
        if not done:
            for parameter, value in before:
                parameter.copy_(value)


def _scaled(net: nn.Module, xs: Tensor, rate: float) -> dict[str, Firing]:
    """Scale the layers of a network one after the other."""
    names = {layer: name for name, layer in layers(net).items()}
    twin, probes = _twin(net, list(names))
    done: set[nn.Module] = set()
    found: dict[str, Firing] = {}
    while probe := _next(twin, probes, xs):
        synapse, currents = probe.layer.synapses[0], torch.stack(probe.currents)
        probe.done, probe.currents = True, []
        if isinstance(probe.layer.neuron, Readout) or not _spikes(probe.layer, currents):
            continue
        if synapse.module not in done:
            factors = _factors(probe.layer, currents, rate)
            synapse.scale(factors)
            currents = currents * _per_unit(synapse, factors, currents)
            done.add(synapse.module)
        name = names[probe.layer]
        found[name] = Firing(_rates(probe.layer, currents).flatten())
        if not bool(found[name].rates.any()):
            raise ValueError(
                f"layer {name!r} fires at no scale of its weights: its inputs or its weights are all zero, or its "
                f"threshold is out of reach (its currents lie between {float(currents.min()):.3g} and "
                f"{float(currents.max()):.3g})"
            )
    return {name: found[name] for name in names.values() if name in found}


class _Probe(nn.Module):
    """Run a layer's synapse and step, with its parameters and its own state, and note the currents once."""

    def __init__(self, layer: Layer, order: list[_Probe]) -> None:
        super().__init__()
        self.layer, self.order, self.done = layer, order, False
        self.currents: list[Tensor] = []
        self.runner: _Runner | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.is_floating_point() else x.to(next(self.layer.parameters()).dtype)
        synapse = self.layer.synapses[0]
        synapse.check(x)
        current = synapse.current(x)
        if self.runner is None:
            self.runner = _Runner(self.layer)
            self.order.append(self)
        if not self.done:
            self.currents.append(current)
        return self.runner.step(current)


class _Runner:
    """Run a layer's neurons from a reset on currents of its synapse."""

    def __init__(self, layer: Layer) -> None:
        self.neuron, self.recurrent = layer.neuron, layer.recurrent
        self.state: tuple[Tensor, ...] | None = None
        self.z: Tensor | None = None

    def step(self, current: Tensor) -> Tensor:
        several = len(self.neuron.currents) > 1
        if self.state is None:
            self.state = tuple(self.neuron.zeros(current[:, 0] if several else current))
        if self.recurrent is not None:
            last = torch.zeros_like(self.state[0]) if self.z is None else self.z
            current = current + self.recurrent(last).reshape(current.shape)
        drive = self.neuron.pack_currents(current.unbind(1)) if several else current
        after, self.z = self.neuron.step(self.neuron.pack(self.state), drive)
        self.state = tuple(after)
        return self.z


def _twin(net: nn.Module, every: list[Layer]) -> tuple[nn.Module, list[_Probe]]:
    """Copy a network's containers around probes that share its layers; return also the order in which they run."""
    order: list[_Probe] = []
    memo: dict[int, Any] = {id(layer): _Probe(layer, order) for layer in every}
    return copy.deepcopy(net, memo), order


def _next(twin: nn.Module, order: list[_Probe], xs: Tensor) -> _Probe | None:
    """Run the window from a reset; return the first layer in the order of execution that is not done."""
    for probe in order:
        probe.runner, probe.currents = None, []
    order.clear()
    with parametrize.cached():
        for x in xs:
            twin(x)
    return next((probe for probe in order if not probe.done), None)


def _spikes(layer: Layer, currents: Tensor) -> bool:
    runner = _Runner(layer)
    outputs = (runner.step(current) for current in currents)
    return all(bool(((z == 0) | (z == 1)).all()) for z in outputs)


def _rates(layer: Layer, currents: Tensor, parts: int = 1) -> Tensor:
    """Return the share of steps in which each channel fires in each part of the batch, `[parts, G, O]`, float64."""
    runner = _Runner(layer)
    counts = sum((runner.step(current).double() for current in currents), torch.zeros((), dtype=torch.float64))
    found = [layer.synapses[0].units(part).mean((0, 3)) for part in counts.chunk(parts)]
    return torch.stack(found) / len(currents)


def _per_unit(synapse: Synapse, factors: Tensor, currents: Tensor) -> Tensor:
    """Return factors per channel, `[G, O]`, in the units' shape."""
    unit = currents.shape[2:]
    places = synapse.units(torch.arange(unit.numel(), device=currents.device).reshape(1, *unit))[0]
    spread = currents.new_empty(unit.numel())
    spread[places.flatten()] = factors.to(currents).unsqueeze(-1).expand(places.shape).flatten()
    return spread.reshape(unit)


def _factors(layer: Layer, currents: Tensor, rate: float) -> Tensor:
    """Return the factor of each channel with which it fires at the rate, `[G, O]`."""
    (found, turned), (off, left) = _searched(layer, currents, rate, (1.0, -1.0))
    missed = off > CLOSE * rate
    rare = (left <= CLOSE * rate) & (turned.abs() < found.abs() / RARE)
    found = torch.where(torch.where(missed, left < off, rare), turned, found)
    if layer.recurrent is not None:  # where the units' currents depend on each other's factors
        for span in (8.0, 2.0):
            scaled = currents * _per_unit(layer.synapses[0], found, currents)
            found = found * _searched(layer, scaled, rate, (1.0,), span)[0][0]
    return found


def _searched(
    layer: Layer, currents: Tensor, rate: float, signs: tuple[float, ...], span: float = LARGEST
) -> tuple[Tensor, Tensor]:
    """Return each channel's factor of each sign, and how far its rate then is; infinity for one that is silent.

    Both are `[signs, G, O]`; the signs run beside each other in one batch.
    """
    synapse, parts = layer.synapses[0], len(signs)
    low = torch.full_like(_rates(layer, currents[:1]), 1 / span).expand(parts, -1, -1)
    sign = low.new_tensor(signs).view(-1, 1, 1)
    high, best, distance = span**2 * low, torch.ones_like(low), torch.full_like(low, torch.inf)
    for _ in range(ROUNDS):
        size = (low * high).sqrt()
        scaled = [currents * _per_unit(synapse, factor, currents) for factor in sign * size]
        found = _rates(layer, torch.cat(scaled, 1), parts)
        off = torch.where(found > 0, (found - rate).abs(), torch.inf)
        best = torch.where(off < distance, sign * size, best)
        distance = torch.minimum(off, distance)
        low, high = torch.where(found < rate, size, low), torch.where(found < rate, high, size)
    return best, distance
