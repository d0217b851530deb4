"""A neuron with several currents per unit, such as one with a gate: exact where a rule serves it, refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.neurons.blocks import Blocks, generic_blocks

IN, N, T, B = 6, 5, 12, 3


class Gated(tt.Neuron):
    """A leaky integrator that spikes, whose input opens or closes its gate."""

    state = ("v",)
    currents = ("i", "g")

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        gate = torch.sigmoid(current.g)
        v = (1 - gate) * s.v + gate * current.i
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v - self.threshold * z), z


class Sorted(Gated):
    """The same with an operation that has no scalar form."""

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        after, z = super().step(s, current)
        return after, z + 0 * torch.sort(z, -1).values


def gated(kind: type[tt.Neuron] = Gated) -> tt.Neuron:
    return kind(threshold=tt.Learnable(0.4))


def synapse(inputs: int = IN) -> nn.Module:
    return tt.LinearInWeights(nn.Sequential(nn.Linear(inputs, 2 * N), nn.Unflatten(1, (2, N))))


class Squared(nn.Module):
    """Linear in its weights, and not in its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(N, 2 * N)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x + 0.5) ** 2).unflatten(1, (2, N))


def net(kind: type[tt.Neuron] = Gated, *, recurrent: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = tt.Layer(synapse(), gated(kind), recurrent=tt.LinearInWeights(Squared()) if recurrent else None)
    found = nn.Sequential(hidden, tt.Layer(nn.Linear(N, 2), tt.LI(half_life=5))).double()
    with torch.no_grad():
        for p in hidden.synapse.parameters():
            p.mul_(4)
    return found


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(T, B, IN, generator=generator, dtype=torch.float64),
        torch.randn(T, B, 2, generator=generator, dtype=torch.float64),
    )


def by_hand(net: nn.Sequential) -> list[Tensor]:
    """Return the gradients of plain autograd through the steps."""
    hidden, readout = net
    xs, weights = data()
    s = hidden.neuron.pack((torch.zeros(B, N, dtype=torch.float64),))
    r = readout.neuron.pack((torch.zeros(B, 2, dtype=torch.float64),))
    z, loss, fired = torch.zeros(B, N, dtype=torch.float64), torch.zeros((), dtype=torch.float64), 0.0
    for x, weight in zip(xs, weights, strict=True):
        current = hidden.synapse(x)
        if hidden.recurrent is not None:
            current = current + hidden.recurrent(z)
        s, z = hidden.neuron.step(s, hidden.neuron.pack_currents(current.unbind(1)))
        r, y = readout.neuron.step(r, readout.synapse(z))
        loss, fired = loss + (y * weight).sum(), fired + float(z.detach().mean()) / T
    assert 0.05 < fired < 0.95
    return list(torch.autograd.grad(loss, list(net.parameters())))


def found(net: nn.Sequential, rule: tt.Rule, *, steps: int = T) -> list[Tensor]:
    tt.set_rule(net, rule)
    tt.reset(net)
    for p in net.parameters():
        p.grad = None
    xs, weights = data()
    loss = torch.zeros((), dtype=torch.float64)
    for x, weight in zip(xs.split(steps), weights.split(steps), strict=True):
        part = (tt.scan(net, x) * weight).sum()
        loss = loss + part
        if rule.name != "bptt":
            part.backward()
    if rule.name == "bptt":
        loss.backward()
    return [p.grad for p in net.parameters() if p.requires_grad]


def agree(got: list[Tensor], want: list[Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        assert float(b.norm()) > 1e-3


@pytest.mark.parametrize("steps", [T, 4, 1])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", [Gated, Sorted])
def test_bptt_is_that_of_autograd(kind: type[tt.Neuron], recurrent: bool, steps: int) -> None:
    if recurrent and steps < T:
        pytest.skip("spikes that are fed back carry credit inside a window alone")
    model = net(kind, recurrent=recurrent)
    agree(found(model, tt.rules.bptt(), steps=steps), by_hand(model))


@pytest.mark.parametrize("steps", [T, 4, 1])
@pytest.mark.parametrize("rule", ["traced_bptt", "drtrl"])
@pytest.mark.parametrize("kind", [Gated, Sorted])
def test_full_traces_are_bptt_in_any_split(kind: type[tt.Neuron], rule: str, steps: int) -> None:
    """The head's cotangents reach the hidden layer inside a window alone; drtrl is held to the split of one window."""
    model = net(kind)
    head = nn.Sequential(model[0])
    chosen = tt.rules.PRESETS[rule]()
    tt.set_rule(head, chosen)
    xs, weights = data()
    want = alone(head)
    tt.reset(head)
    for p in head.parameters():
        p.grad = None
    for x, weight in zip(xs.split(steps), weights.split(steps), strict=True):
        (tt.scan(head, x) * spread(weight)).sum().backward()
    agree([p.grad for p in head.parameters()], want)


def spread(weight: Tensor) -> Tensor:
    return torch.cat([weight, weight.flip(-1), weight[..., :1]], -1)


def alone(head: nn.Sequential) -> list[Tensor]:
    layer = head[0]
    xs, weights = data()
    s, loss = layer.neuron.pack((torch.zeros(B, N, dtype=torch.float64),)), torch.zeros((), dtype=torch.float64)
    for x, weight in zip(xs, weights, strict=True):
        s, z = layer.neuron.step(s, layer.neuron.pack_currents(layer.synapse(x).unbind(1)))
        loss = loss + (z * spread(weight)).sum()
    return list(torch.autograd.grad(loss, list(head.parameters())))


def test_the_current_that_a_weight_feeds_matters() -> None:
    model = net()
    want = by_hand(model)
    swapped = [g.flip(0) if g.dim() and g.shape[0] == 2 * N else g for g in want]
    with pytest.raises(AssertionError):
        agree(found(model, tt.rules.bptt()), swapped)


@pytest.mark.parametrize("rule", sorted(tt.rules.PRESETS))
def test_every_rule_serves_it_or_says_that_it_does_not(rule: str) -> None:
    model = net()
    if rule in ("bptt", "tbptt", "traced_bptt", "drtrl", "eprop", "otpe", "sltt", "cascade"):
        assert all(bool(torch.isfinite(g).all()) for g in found(model, tt.rules.PRESETS[rule]()))
        return
    with pytest.raises(ValueError, match="feedback matrix" if rule == "rflo" else "currents per unit"):
        found(model, tt.rules.PRESETS[rule]())


def test_blocks_are_those_of_torch_func() -> None:
    neuron = gated().double()
    generator = torch.Generator().manual_seed(2)
    s = (torch.randn(T, B, N, generator=generator, dtype=torch.float64),)
    current = torch.randn(T, B, 2, N, generator=generator, dtype=torch.float64)
    params = {"threshold": neuron.threshold.detach()}
    lowered, generic = neuron.blocks(s, current, params), generic_blocks(neuron, s, current, params)

    def flat(b: Blocks) -> list[Any]:
        return [*b.A[0], *b.B, *b.D, b.psi, *b.P["threshold"], b.Q["threshold"]]

    for a, b in zip(flat(lowered), flat(generic), strict=True):
        torch.testing.assert_close(a.expand(b.shape), b, rtol=1e-12, atol=1e-14)
    assert lowered.B[0].shape == lowered.psi.shape == current.shape


def test_a_synapse_with_too_few_currents_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 2 currents per unit"):
        tt.Layer(nn.Linear(IN, N), gated(), rule=tt.rules.drtrl())(torch.ones(B, IN))
