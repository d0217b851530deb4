"""Guard against silent units: whatever does not fire passes every test of its gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.engine import require_finite_input
from tracetorch.entry import require_tensor
from tracetorch.firing import SATURATED, Firing
from tracetorch.linking import layers
from tracetorch.neurons import Readout
from tracetorch.synapses import as_they_are
from tracetorch.testing.oracle import open_graph

LOW, HIGH = 0.05, 0.6
DEAD = 0.85
"""Share of silent or saturated units that the table's layers of few units may have."""
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Synapses whose weight has one row per input."""


class SilentError(AssertionError):
    """A layer or some of its units fire too seldom or too often for a test of its gradient.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(1, 1), tt.LIF(half_life=5, threshold=1e6))
        >>> try:
        ...     firing = tt.testing.require_alive(net, torch.ones(9, 1, 1))
        ... except tt.testing.SilentError:
        ...     print("scale the weights: tt.init_firing")
        scale the weights: tt.init_firing
    """


@torch.no_grad()
def firing_rates(net: nn.Module, xs: Tensor) -> dict[str, Firing]:
    """Measure how often each unit of each spiking layer fires, from a reset.

    Readouts and layers whose outputs are not all 0 or 1 are left out.

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.

    Returns:
        The firing by layer name: rates per unit, their mean, and which units are silent or saturated.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import firing_rates
        >>> net = tt.Layer(torch.nn.Linear(1, 2, bias=False), tt.IF(threshold=0.5))
        >>> _ = net.synapse.weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
        >>> firing = firing_rates(net, torch.ones(4, 1, 1))[""]
        >>> firing.mean, firing.silent, firing.saturated
        (0.5, (1,), (0,))
    """
    require_tensor(xs, "a window of inputs", "[time, batch, ...]")
    require_finite_input(xs)
    twin, oracles = open_graph(net)
    with as_they_are(net), parametrize.cached():
        for x in xs:
            twin(x)
    found: dict[str, Firing] = {}
    for name, oracle in zip(layers(net), oracles, strict=True):
        if isinstance(oracle.layer.neuron, Readout) or not oracle.spikes:
            continue
        spikes = torch.stack(oracle.spikes)
        if bool(((spikes == 0) | (spikes == 1)).all()):
            rates = spikes.double().mean((0, 1))
            found[name] = Firing(rates.flatten(1).mean(1) if rates.dim() > 1 else rates.flatten())
    return found


def require_alive(
    net: nn.Module, xs: Tensor, *, low: float = LOW, high: float = HIGH, dead: float = 0.0
) -> dict[str, Firing]:
    """Raise unless every spiking layer fires in a sensible share of steps, and its units one by one too.

    Args:
        net: the network; its state is not touched.
        xs: inputs, `[T, B, *in]`.
        low: least share of steps, per layer.
        high: greatest share of steps, per layer.
        dead: greatest share of a layer's units that may be silent (never fire) or saturated (in 95 % of the steps).

    Returns:
        The firing by layer name.

    Raises:
        SilentError: if a layer's rate is outside the bounds, or too many of its units are silent or saturated; the
            message counts and lists them.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import require_alive
        >>> net = tt.Layer(torch.nn.Linear(1, 1, bias=False), tt.IF(threshold=2.0))
        >>> _ = torch.nn.init.ones_(net.synapse.weight)
        >>> require_alive(net, torch.ones(9, 1, 1))[""].mean > 0.2
        True
    """
    found = firing_rates(net, xs)
    wrong = {name: f for name, f in found.items() if not low <= f.mean <= high or f.dead > dead}
    if wrong:
        text = "; ".join(f"{name or 'the layer'} {firing}" for name, firing in wrong.items())
        raise SilentError(
            f"layers must fire in {low:.0%} to {high:.0%} of the steps, with at most {dead:.0%} of their units silent "
            f"or saturated, or a test of their gradient is empty; found: {text}. Scale their weights "
            "(tracetorch.testing.calibrate does), or allow more with dead="
        )
    return found


@torch.no_grad()
def calibrate(
    net: nn.Module, xs: Tensor, *, rate: float = 0.25, close: float = 0.06, rounds: int = 14
) -> dict[str, Firing]:
    """Scale the synapses, layer by layer, until every spiking layer fires at about a given rate and no unit is dead.

    Each layer's synapse is multiplied by one number. Then the weights and bias of each unit that is still silent or
    saturated are multiplied by a separate number; those of one that stays silent however large they are change their
    sign first, since its current is negative throughout. That second part needs parameters with one row per unit, as
    those of `nn.Linear` and `nn.Conv2d` have; other synapses get the first alone.

    Args:
        net: the network, changed in place.
        xs: inputs, `[T, B, *in]`.
        rate: share of steps in which the units of a layer are to fire.
        close: how far from that rate is good enough, for a layer's mean.
        rounds: greatest number of halvings in the search for each factor.

    Returns:
        The firing afterwards, by layer name.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import calibrate
        >>> net = tt.Layer(torch.nn.Linear(3, 50), tt.LIF(half_life=5))
        >>> firing = calibrate(net, torch.rand(20, 2, 3))[""]
        >>> 0.1 < firing.mean < 0.4, firing.silent
        (True, ())
    """
    for name, layer in layers(net).items():
        if name not in firing_rates(net, xs):
            continue
        base = {key: p.detach().clone() for key, p in layer.synapse.named_parameters()}
        low, high, best, scale = 0.02, 50.0, (2.0, 1.0), 1.0
        for _ in range(rounds):
            for key, p in layer.synapse.named_parameters():
                p.copy_(base[key] * scale)
            found = firing_rates(net, xs)[name].mean
            best = min(best, (abs(found - rate), scale))
            if best[0] <= close:
                break
            low, high = (scale, high) if found < rate else (low, scale)
            scale = (low * high) ** 0.5
        for key, p in layer.synapse.named_parameters():
            p.copy_(base[key] * best[1])
        _revive(net, xs, name, rate=rate, rounds=rounds)
    return firing_rates(net, xs)


def _revive(net: nn.Module, xs: Tensor, name: str, *, rate: float, rounds: int) -> None:
    """Search its own factor for each silent or saturated unit of a layer: first with its sign, then turned."""
    synapse = layers(net)[name].synapse
    for sign in (1.0, -1.0):
        rates = firing_rates(net, xs)[name].rates
        dead = _dead(rates)
        rows = [p for p in synapse.parameters() if p.shape[:1] == rates.shape]
        if not bool(dead.any()) or isinstance(synapse, TRANSPOSED):
            return
        base = [p.detach().clone() for p in rows]
        signs = torch.where(rates == 0.0, sign, 1.0)
        low, high = torch.full_like(rates, 0.02), torch.full_like(rates, 50.0)
        best, distance = torch.ones_like(rates), torch.full_like(rates, torch.inf)
        for _ in range(rounds):
            size = (low * high).sqrt()
            _scale(rows, base, torch.where(dead, signs * size, 1.0))
            found = firing_rates(net, xs)[name].rates
            off = torch.where(_dead(found), torch.inf, (found - rate).abs())
            best, distance = torch.where(dead & (off < distance), signs * size, best), torch.minimum(off, distance)
            low, high = torch.where(found < rate, size, low), torch.where(found < rate, high, size)
        _scale(rows, base, best)
        if int(_dead(firing_rates(net, xs)[name].rates).sum()) >= int(dead.sum()):
            _scale(rows, base, torch.ones_like(rates))  # rows are not units here, or nothing helps


def _dead(rates: Tensor) -> Tensor:
    return (rates == 0.0) | (rates >= SATURATED)


def _scale(rows: list[nn.Parameter], base: list[Tensor], factors: Tensor) -> None:
    """Set each parameter to its first values, each row times its factor."""
    for p, first in zip(rows, base, strict=True):
        p.copy_(first * factors.to(p).view(-1, *[1] * (p.dim() - 1)))
