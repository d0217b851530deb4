"""The rules of other libraries, on the same small network: the same gradients, and where they are not, why."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import agreement

STEPS, BATCH, SIZES = 12, 3, (6, 8, 5)


def need(name: str) -> Any:
    return pytest.importorskip(name, reason=f"needs the package {name.partition('.')[0]}")


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    xs = (torch.rand(STEPS, BATCH, SIZES[0], generator=generator) < 0.5).double() * 2
    return xs, torch.randn(STEPS, BATCH, SIZES[-1], generator=generator).double()


def ours(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(1)
    neuron = {"beta": 0.5, "surrogate": tt.surrogates.Sigmoid(4.0)}
    pairs = pairwise(SIZES)
    net = nn.Sequential(*[tt.Layer(nn.Linear(a, b), tt.LIF(**neuron)) for a, b in pairs]).double()
    with torch.no_grad():
        for layer in net:
            layer.synapse.weight.mul_(3)
    tt.set_rule(net, rule)
    return net


def learned(net: nn.Sequential) -> tuple[Tensor, dict[str, Tensor]]:
    """Spikes, and the gradients of a loss at each step."""
    xs, bars = data()
    tt.reset(net)
    net.zero_grad()
    spikes = []
    for x, bar in zip(xs, bars, strict=True):
        z = net(x)
        (z * bar).sum().backward()
        spikes.append(z.detach())
    grads = {f"{2 * i}.{n}": p.grad.clone() for i, one in enumerate(net) for n, p in one.synapse.named_parameters()}
    return torch.stack(spikes), grads


def of_spikingjelly(kind: str) -> tuple[Tensor, dict[str, Tensor]]:
    need("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    parts: list[nn.Module] = []
    for one in ours(tt.rules.sltt()):
        synapse = nn.Linear(one.synapse.in_features, one.synapse.out_features).double()
        synapse.load_state_dict(one.synapse.state_dict())
        options = {"tau": 2.0, "decay_input": False, "v_reset": None}
        made = getattr(neuron, f"{kind}LIFNode")(**options, surrogate_function=surrogate.Sigmoid(alpha=4.0))
        parts += [synapse, made]
    net = layer.OTTTSequential(*parts) if kind == "OTTT" else nn.Sequential(*parts)
    functional.reset_net(net)
    net.train()
    spikes = []
    for x, bar in zip(*data(), strict=True):
        out = net(x)
        z = out[0] if isinstance(out, (list, tuple)) else out
        (z * bar).sum().backward()
        spikes.append(z.detach())
    return torch.stack(spikes), {n: p.grad.clone() for n, p in net.named_parameters()}


def error(a: Tensor, b: Tensor) -> float:
    return agreement(a, b).relative_error


def test_sltt_is_spikingjellys() -> None:
    theirs, mine = of_spikingjelly("SLTT"), learned(ours(tt.rules.sltt()))
    assert torch.equal(theirs[0], mine[0]) and 0.05 < float(mine[0].mean()) < 0.6
    assert all(error(theirs[1][n], g) < 1e-12 and g.norm() > 0 for n, g in mine[1].items())


def test_ottt_is_spikingjellys_in_hidden_weights() -> None:
    theirs, mine = of_spikingjelly("OTTT"), learned(ours(tt.rules.ottt()))
    present = learned(ours(tt.rules.sltt()))[1]
    assert torch.equal(theirs[0], mine[0])
    assert error(theirs[1]["2.weight"], mine[1]["2.weight"]) < 1e-12
    assert error(theirs[1]["2.weight"], present["2.weight"]) > 1e-2
    for name in ("0.weight", "0.bias", "2.bias"):  # it traces no input that is not a spike of a layer, and no bias
        assert error(theirs[1][name], present[name]) < 1e-12 < 1e-2 < error(theirs[1][name], mine[1][name])
