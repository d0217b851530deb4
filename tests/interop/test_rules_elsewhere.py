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


class LeakyRate(tt.Neuron):
    """The unit of the network below."""

    state = ("h",)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        h = 0.8 * s.h + 0.2 * torch.tanh(current)
        return s.replace(h=h), h


def rates(recurrent: bool) -> tuple[tt.Layer, Tensor, Tensor]:
    torch.manual_seed(2)
    fed = nn.Linear(6, 6, bias=False) if recurrent else None
    layer = tt.Layer(nn.Linear(4, 6), LeakyRate(), recurrent=fed).double()
    for p in layer.parameters():
        nn.init.normal_(p, std=0.5)
    return layer, torch.randn(STEPS, 4).double(), torch.randn(STEPS, 6).double()


def credited(rule: tt.Rule, recurrent: bool, factor: Any = lambda t: 1.0) -> tuple[Tensor, Tensor]:
    """Gradients of the weights `[inputs, units]` and of the bias, with the signal of each step times a factor."""
    layer, xs, bars = rates(recurrent)
    tt.set_rule(layer, rule)
    tt.reset(layer)
    for t, (x, bar) in enumerate(zip(xs, bars, strict=True)):
        (layer(x.unsqueeze(0))[0] * bar * factor(t)).sum().backward()
    weights = [layer.synapse.weight, *([layer.recurrent.weight] if recurrent else [])]
    return torch.cat([w.grad.t() for w in weights]), layer.synapse.bias.grad


def of_braintrace(name: str, recurrent: bool, **options: Any) -> tuple[Tensor, Tensor]:
    need("braintrace")
    import brainstate
    import braintrace
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    layer, xs, bars = rates(recurrent)
    parts = [layer.synapse.weight, *([layer.recurrent.weight] if recurrent else [])]
    weight = jnp.asarray(torch.cat([w.detach().t() for w in parts]).numpy())

    class Cell(brainstate.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = braintrace.nn.Linear(len(weight), 6)

        def init_state(self, *args: Any, **kwargs: Any) -> None:
            self.h = brainstate.HiddenState(jnp.zeros(6))

        def update(self, x: Any) -> Any:
            drive = jnp.concatenate([x, self.h.value]) if recurrent else x
            self.h.value = 0.8 * self.h.value + 0.2 * jnp.tanh(self.linear(drive))
            return self.h.value

    with brainstate.environ.context(precision=64):
        cell = Cell()
        (state,) = cell.linear.states(brainstate.ParamState).values()
        state.value = {"weight": weight, "bias": jnp.asarray(layer.synapse.bias.detach().numpy())}
        xs, bars = jnp.asarray(xs.numpy()), jnp.asarray(bars.numpy())
        learner = braintrace.compile(cell, getattr(braintrace, name), xs[0], **options)
        grads = learner.etrace_grad(xs, bars, step_fn=lambda x, bar: (learner(x) * bar).sum(), reduction="sum")
    (found,) = grads.values()
    return torch.tensor(found["weight"].tolist()).double(), torch.tensor(found["bias"].tolist()).double()


@pytest.mark.parametrize("recurrent", [False, True])
def test_drtrl_and_snap1_are_braintraces(recurrent: bool) -> None:
    theirs = {name: of_braintrace(name, recurrent) for name in ("D_RTRL",)}
    theirs["SnAp"] = of_braintrace("SnAp", recurrent, n=1)
    mine = {"D_RTRL": credited(tt.rules.drtrl(), recurrent), "SnAp": credited(tt.rules.snap1(), recurrent)}
    for name, pair in mine.items():
        assert all(error(a, b) < 1e-10 and b.norm() > 0.1 for a, b in zip(theirs[name], pair, strict=True))
    if recurrent:
        assert error(theirs["D_RTRL"][0], mine["SnAp"][0]) > 1e-2


def test_rtrl_is_braintraces_snap_of_a_great_order() -> None:
    theirs, mine = of_braintrace("SnAp", True, n=6), credited(tt.rules.rtrl(), True)
    assert all(error(a, b) < 1e-10 for a, b in zip(theirs, mine, strict=True))


@pytest.mark.parametrize("recurrent", [False, True])
def test_pp_prop_is_braintraces_but_for_its_correction_at_the_start(recurrent: bool) -> None:
    """Its code divides step t by 1 - decay**(t + 1), which its paper does not, and smooths the bias too."""
    theirs = of_braintrace("pp_prop", recurrent, decay_or_rank=0.9)
    rule = tt.rules.pp_prop(decay=0.9)
    corrected = credited(rule, recurrent, lambda t: 1 / (1 - 0.9 ** (t + 1)))
    assert error(theirs[0], corrected[0]) < 1e-10
    assert error(theirs[0], credited(rule, recurrent)[0]) > 1e-2 < error(theirs[1], corrected[1])
