"""UORO: unbiased, of one rank, its randomness in a generator that is given."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import calibrate, rule_gradients
from tracetorch.traces.passing import Closed
from tracetorch.traces.rank_one import SIGNS, RankOne, RankOneTrace, checked

STEPS, COPIES = 8, 4000
XS = (torch.rand(STEPS, 1, 4, generator=torch.Generator().manual_seed(1)) < 0.5).double() * 1.5
TARGET = torch.randn(STEPS, 1, 3, generator=torch.Generator().manual_seed(2)).double()


def network(rule: tt.Rule | None = None) -> tt.Layer:
    torch.manual_seed(0)
    neuron = tt.LIF(half_life=tt.Learnable(4.0), reset=tt.SoftReset(gradient=True))
    layer = tt.Layer(nn.Linear(4, 3), neuron, recurrent=nn.Linear(3, 3)).double()
    calibrate(layer, XS)
    if rule is not None:
        tt.set_rule(layer, rule)
    return layer


def loss(ys: Tensor, steps: slice) -> Tensor:
    return 0.5 * ((ys - TARGET[steps]) ** 2).sum()


def scores(rule: tt.Rule, repeats: int = 25) -> Tensor:
    """How far the mean gradient is from RTRL, in standard errors, entry by entry."""
    layer = network()
    exact = rule_gradients(layer, XS, loss, tt.rules.rtrl(), splits=[0] * STEPS).grads
    rows, found = XS.expand(-1, COPIES // repeats, -1), []
    for _ in range(repeats):
        grads = rule_gradients(layer, rows, loss, rule, splits=[0] * STEPS).grads
        found.append(torch.cat([g.flatten() for g in grads.values()]) * repeats / COPIES)
    draws, want = torch.stack(found), torch.cat([g.flatten() for g in exact.values()])
    error = draws.std(0) / repeats**0.5
    assert want.norm() > 0.1 and error.norm() < 0.2 * want.norm()
    return ((draws.mean(0) - want) / error)[error > 1e-12]


@dataclass(frozen=True)
class SameSigns(RankOne):
    """The same estimate with one draw of signs for all steps of a sequence: its terms do not cancel."""

    def trace(self, context: Any) -> Any:
        return SameSignsTrace(*checked(context), generator=self.generator)


@dataclass(frozen=True)
class SameSignsTrace(RankOneTrace):
    def close(self, start: Any, window: Any, outputs: Any, *, silent: bool, last: bool) -> Closed:
        closed = super().close(start, window, outputs, silent=silent, last=last)
        if start.traces is not None and closed.traces is not None:
            closed.traces.other[SIGNS] = start.traces.other[SIGNS]
        return closed


def test_the_mean_is_rtrl_and_with_signs_that_repeat_it_is_not() -> None:
    z = scores(tt.rules.uoro())
    assert len(z) > 20 and 0.3 < z.square().mean() < 2.5 and z.abs().max() < 5
    repeated = tt.Rule(name="same", weight=SameSigns(), input="psi", window="step")
    assert scores(repeated).square().mean() > 20


def test_a_seed_repeats_itself_and_another_does_not() -> None:
    first, again, other = (
        rule_gradients(network(), XS, loss, tt.rules.uoro(seed=s), splits=[2] * 4).grads["recurrent.weight"]
        for s in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert tt.rules.uoro(seed=3) == tt.rules.uoro(seed=3) != tt.rules.uoro(seed=4)
    global_state = torch.get_rng_state()
    layer = network(tt.rules.uoro())
    torch.set_rng_state(global_state)
    tt.scan(layer, XS).sum().backward()
    assert torch.equal(torch.get_rng_state(), global_state), "no draw from torch's own generator"


def run(layer: tt.Layer, steps: range) -> list[Tensor]:
    layer.zero_grad()
    for t in steps:
        loss(layer(XS[t]).unsqueeze(0), slice(t, t + 1)).backward()
    return [p.grad.clone() for p in layer.parameters() if p.grad is not None]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_stream_is_resumed_with_its_state_and_generator(how: Any) -> None:
    layer = network(tt.rules.uoro())
    run(layer, range(4))
    state, twin = tt.get_state(layer), how(network(tt.rules.uoro()))
    drawn = layer.rule.weight.generator.get_state()
    tt.get_state(layer)
    want = run(layer, range(4, 8))
    tt.set_state(twin, state)
    twin.rule.weight.generator.set_state(drawn)
    assert all(torch.equal(a, b) for a, b in zip(run(twin, range(4, 8)), want, strict=True))


def test_what_is_carried_has_one_rank_and_does_not_grow() -> None:
    layer = network(tt.rules.uoro())
    run(layer, range(2))
    sizes = {k: v.shape for k, v in tt.get_state(layer).items()}
    run(layer, range(2, 8))
    assert {k: v.shape for k, v in tt.get_state(layer).items()} == sizes
    traces = [v for k, v in sizes.items() if "traces" in k]
    assert not any(v.requires_grad for v in layer.core.state.flushed().traces.tensors().values())
    assert sum(s.numel() for s in traces) < 60  # 21 weights, 6 biases, 1 parameter per unit, 2 rows and their signs


def test_rows_that_are_reset_have_no_past() -> None:
    layer = network(tt.rules.uoro())
    rows = XS.expand(-1, 2, -1)
    for x in rows[:4]:
        layer(x).sum().backward()
    tt.reset(layer, torch.tensor([True, False]))
    layer.zero_grad()
    layer(rows[4])[0].sum().backward()
    fresh = network(tt.rules.sltt())
    fresh(rows[4]).sum().backward()
    got = layer.synapse.weight.grad
    assert torch.allclose(2 * got, fresh.synapse.weight.grad) and got.norm() > 0
    state = tt.get_state(layer)
    g = {k: v for k, v in state.items() if ".weight." in k}
    assert g and all(torch.isfinite(v).all() for v in state.values())


def test_a_layer_without_recurrent_weights_is_exact() -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(4, 3), tt.ALIF(half_life=4, adaptation_half_life=9))).double()
    calibrate(net, XS)
    got, want = (rule_gradients(net, XS, loss, rule, splits=[0] * 8) for rule in (tt.rules.uoro(), tt.rules.drtrl()))
    assert all(torch.allclose(got.grads[n], g, rtol=1e-10) for n, g in want.grads.items())
