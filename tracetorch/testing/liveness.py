"""Guard against silent networks: whatever does not fire passes every test of its gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.neurons import Readout
from tracetorch.testing.clone import layers
from tracetorch.testing.oracle import open_graph

LOW, HIGH = 0.05, 0.6


class SilentError(AssertionError):
    """Say that a layer fires too seldom or too often for a test of its gradient to mean anything."""


@torch.no_grad()
def firing_rates(net: nn.Module, xs: Tensor) -> dict[str, float]:
    """Measure the share of steps in which the units of each spiking layer fire, from a reset.

    Readouts and layers whose outputs are not all 0 or 1 are left out.

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.

    Returns:
        Spikes per step and unit by layer name, in [0, 1].

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import firing_rates
        >>> net = tt.Layer(torch.nn.Linear(1, 1, bias=False), tt.IF(threshold=0.5))
        >>> _ = torch.nn.init.ones_(net.synapse.weight)
        >>> firing_rates(net, torch.ones(4, 1, 1))
        {'': 1.0}
    """
    twin, made = open_graph(net)
    with parametrize.cached():
        for x in xs:
            twin(x)
    rates: dict[str, float] = {}
    for name, oracle in zip(layers(net), made, strict=True):
        if isinstance(oracle.layer.neuron, Readout) or not oracle.spikes:
            continue
        spikes = torch.stack(oracle.spikes)
        if bool(((spikes == 0) | (spikes == 1)).all()):
            rates[name] = float(spikes.double().mean())
    return rates


def require_alive(net: nn.Module, xs: Tensor, *, low: float = LOW, high: float = HIGH) -> dict[str, float]:
    """Raise unless every spiking layer fires in a sensible share of steps.

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.
        low: least share of steps, per layer.
        high: greatest share of steps, per layer.

    Returns:
        The firing rates by layer name.

    Raises:
        SilentError: if a layer's rate is outside the bounds.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import require_alive
        >>> net = tt.Layer(torch.nn.Linear(1, 1, bias=False), tt.IF(threshold=2.0))
        >>> _ = torch.nn.init.ones_(net.synapse.weight)
        >>> require_alive(net, torch.ones(9, 1, 1))["" ] > 0.2
        True
    """
    rates = firing_rates(net, xs)
    wrong = {name: rate for name, rate in rates.items() if not low <= rate <= high}
    if wrong:
        told = ", ".join(f"{name or 'the layer'} in {rate:.1%}" for name, rate in wrong.items())
        raise SilentError(
            f"layers must fire in {low:.0%} to {high:.0%} of the steps, or a test of their gradient is empty; "
            f"found {told}: scale their weights (tracetorch.testing.calibrate does)"
        )
    return rates


@torch.no_grad()
def calibrate(
    net: nn.Module, xs: Tensor, *, rate: float = 0.25, close: float = 0.06, rounds: int = 14
) -> dict[str, float]:
    """Scale the synapses, layer by layer, until every spiking layer fires at about a given rate.

    Args:
        net: the network, changed in place: each spiking layer's synapse is multiplied by a number.
        xs: inputs, `[T, B, *in]`.
        rate: share of steps in which the units of a layer are to fire.
        close: how far from that rate is good enough.
        rounds: greatest number of halvings in the search for each factor.

    Returns:
        The firing rates afterwards, by layer name.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import calibrate
        >>> net = tt.Layer(torch.nn.Linear(3, 50), tt.LIF(half_life=5))
        >>> 0.1 < calibrate(net, torch.rand(20, 2, 3))[""] < 0.4
        True
    """
    for name, layer in layers(net).items():
        if name not in firing_rates(net, xs):
            continue
        base = {key: p.detach().clone() for key, p in layer.synapse.named_parameters()}
        low, high, best, gain = 0.02, 50.0, (2.0, 1.0), 1.0
        for _ in range(rounds):
            for key, p in layer.synapse.named_parameters():
                p.copy_(base[key] * gain)
            found = firing_rates(net, xs)[name]
            best = min(best, (abs(found - rate), gain))
            if best[0] <= close:
                break
            low, high = (gain, high) if found < rate else (low, gain)
            gain = (low * high) ** 0.5
        for key, p in layer.synapse.named_parameters():
            p.copy_(base[key] * best[1])
    return firing_rates(net, xs)
