"""The tools themselves: what they must catch, what they must let pass, what they must not touch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance.definition import definition
from conformance.table import CASES
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.neurons.blocks import Blocks
from tracetorch.testing import (
    NeuronError,
    SilentError,
    SynapseError,
    agreement,
    bptt,
    calibrate,
    check_linear_in_weights,
    check_neuron,
    clone,
    conformance,
    firing_rates,
    gradient_audit,
    require_alive,
    rule_gradients,
    traced,
    truncated,
    unit_blocks,
)


class Good(tt.Neuron):
    state = ("v", "a")

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


class MixesUnits(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        return super().step(s, current + 0.1 * s.v.roll(1, -1))


class MixesSamples(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        return super().step(s, current - current.mean(0, keepdim=True))


class Explodes(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = 1e30 * s.v + current
        return s.replace(v=v * v), self.surrogate(v)


class InPlace(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        s.v.mul_(self.beta).add_(current)
        return s, self.surrogate(s.v)


class WrongShape(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        after, z = super().step(s, current)
        return after, z.sum(-1, keepdim=True)


class Noisy(Good):
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        return super().step(s, current + torch.randn_like(current))


class WrongBlocks(Good):
    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Any) -> Blocks:
        b = super().blocks(s, current, params)
        return Blocks(b.A, b.B, [b.D[0], None], b.psi, b.P, b.Q)


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        (MixesUnits, "not element-wise"),
        (MixesSamples, "not element-wise"),
        (Explodes, "not finite"),
        (InPlace, "in place"),
        (WrongShape, "output is"),
        (Noisy, "not deterministic"),
        (WrongBlocks, r"D\[1\] differ"),
    ],
)
def test_bad_neurons_are_caught(neuron: type[Good], words: str) -> None:
    with pytest.raises(NeuronError, match=words):
        check_neuron(neuron(half_life=3.0))


def test_good_neurons_pass_and_keep_their_type() -> None:
    neuron = Good(half_life=tt.Learnable(3.0, shape=(2, 3)))
    check_neuron(neuron, (2, 3))
    assert neuron.beta.dtype == torch.float32
    check_neuron(tt.ALIF(half_life=4, adaptation_half_life=9, refractory=2))


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3))
        self.b = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * self.b * x


class Offset(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1.0


def test_synapses() -> None:
    x = torch.rand(4, 3)
    check_linear_in_weights(nn.Linear(3, 2), x)
    check_linear_in_weights(nn.Conv2d(1, 2, 2), torch.rand(2, 1, 3, 3))
    for module, words in ((Product(), "not linear"), (Offset(3, 2), "not linear"), (nn.ReLU(), "no weights")):
        with pytest.raises(SynapseError, match=words):
            check_linear_in_weights(module, x)
    with pytest.raises(SynapseError, match="mixes samples"):
        check_linear_in_weights(nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2)), x)
    with pytest.raises(SynapseError, match="two samples"):
        check_linear_in_weights(nn.Linear(3, 2), x[:1])


def test_silent_layers_are_caught() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(3, 8), tt.LIF(half_life=3, threshold=100.0)), tt.Layer(nn.Linear(8, 2), tt.LI(half_life=3))
    )
    xs = torch.rand(20, 2, 3)
    assert firing_rates(net, xs)["0"].silent == tuple(range(8))
    with pytest.raises(SilentError, match=r"0 fires in 0\.0%.*8 of 8 units silent"):
        require_alive(net, xs)
    calibrate(net, xs)
    assert 0.05 < require_alive(net, xs)["0"].mean < 0.6


def network() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    xs, targets = torch.rand(12, 2, 3), torch.randn(12, 2, 2)
    net = nn.Sequential(
        tt.Layer(nn.Linear(3, 8), tt.ALIF(half_life=3, adaptation_half_life=5)),
        tt.Layer(nn.Linear(8, 2), tt.LI(half_life=4)),
    )
    calibrate(net, xs)
    return net, xs, targets


def test_audit_leaves_the_stream_alone_and_tells_rules_apart() -> None:
    net, xs, targets = network()
    tt.set_rule(net, tt.rules.eprop())
    for x in xs[:4]:
        net(x).sum().backward()
    before, grads = tt.get_state(net), {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    generator = torch.random.get_rng_state()

    def loss(ys: Tensor, steps: slice) -> Tensor:
        return ((ys - targets[steps]) ** 2).sum()

    exact = gradient_audit(net, xs, loss, window=1)
    assert exact.total.relative_error < 1e-10
    assert exact.total.cosine == pytest.approx(1.0)
    dropped = gradient_audit(net, xs, loss, tt.rules.sltt(), window=1)
    assert dropped.rows["0.synapse.weight"].relative_error > 0.1
    assert "0.synapse.weight" in str(dropped)
    assert "layer 0 fires in" in str(dropped)
    assert gradient_audit(net, xs, loss, tt.rules.bptt(), dtype=None).total.relative_error < 1e-5
    last = gradient_audit(net, xs, loss, tt.rules.eprop(), window=5, out="last")
    assert last.total.relative_error < 1e-10
    assert all(torch.equal(value, before[name]) for name, value in tt.get_state(net).items())
    assert all(torch.equal(p.grad, grads[n]) for n, p in net.named_parameters() if p.grad is not None)
    assert net[0].rule == tt.rules.eprop()
    assert torch.equal(generator, torch.random.get_rng_state())


def test_clone_keeps_sharing_and_feedback() -> None:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=3), rule=tt.rules.eprop(feedback=tt.feedback.RandomFeedback()))
    net = nn.Sequential(layer, layer.tied())
    twin = clone(net, dtype=torch.float64)
    assert twin[0].synapse.weight is twin[1].synapse.weight
    assert twin[0].synapse.weight is not layer.synapse.weight
    assert torch.equal(twin[0].feedback, layer.feedback.double())
    assert twin[0].rule == layer.rule


def test_oracles_agree_where_they_must() -> None:
    net, xs, targets = network()
    net.double()
    xs = xs.double()

    def loss(ys: Tensor, steps: slice) -> Tensor:
        return ((ys - targets[steps].double()) ** 2).sum()

    whole = bptt(net, xs, loss)
    for other in (traced(net, xs, loss, [12]), truncated(net, xs, loss, [12])):
        for name, g in whole.grads.items():
            assert agreement(other.grads[name], g).relative_error < 1e-12
    tt.set_rule(net, tt.rules.drtrl())
    stepwise = traced(net, xs, loss, [1] * 12)
    dense = definition(net, xs, loss)
    for name, g in stepwise.grads.items():
        assert agreement(dense.grads[name], g).relative_error < 1e-12
        assert agreement(g, whole.grads[name]).relative_error > 1e-3 or name.startswith("1.")


def test_definition_and_splits_say_what_they_cannot_do() -> None:
    net, xs, _ = network()
    tt.set_rule(net, tt.rules.traced_bptt())
    with pytest.raises(ValueError, match="definition"):
        definition(net, xs, lambda ys, steps: ys.sum())
    with pytest.raises(ValueError, match="steps"):
        rule_gradients(net, xs, lambda ys, steps: ys.sum(), splits=[3, 3])
    with pytest.raises(ValueError, match="shapes differ"):
        agreement(torch.ones(2), torch.ones(3))


def test_unit_blocks_by_hand() -> None:
    neuron = tt.LIF(beta=0.5, threshold=1.0, surrogate=tt.surrogates.Triangle(1.0, 2.0)).double()
    one = torch.ones(1, 1, dtype=torch.float64)
    b = unit_blocks(neuron, (one,), 1.5 * one)  # v = 2, psi = 1/2 * (1 - 1/2)
    assert (b.A.item(), b.B.item(), b.D.item(), b.psi.item()) == (0.5, 1.0, 0.125, 0.25)


def test_a_users_neuron_gets_its_rows() -> None:
    cases = conformance.for_neuron(lambda unit: Good(half_life=tt.Learnable(4.0)), name="Good")
    claims = {case.claim for case in cases}
    for claim in ("full = BPTT", "kappa e-prop = BPTT through LI", "trace = BPTT", "reset(mask) = separate runs"):
        assert claim in claims
    for case in cases[::9]:
        conformance.run_case(case)


def test_a_wrong_neuron_fails_its_rows() -> None:
    cases = conformance.for_neuron(lambda unit: WrongBlocks(half_life=tt.Learnable(4.0)), name="Wrong")
    full = next(case for case in cases if case.claim == "full = BPTT")
    with pytest.raises(conformance.ConformanceError, match=r"synapse\.weight"):
        conformance.run_case(full)


def test_the_table_is_whole() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    assert sum(case.negative for case in CASES) > 100
    with pytest.raises(conformance.ConformanceError, match="measured nothing"):
        conformance.run_case(conformance.Case("empty", "case", list))
