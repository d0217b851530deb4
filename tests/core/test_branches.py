"""Cascade credit where what stands above a layer has no one response: decays per unit, branches, other orders."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from core.chains import gradients
from torch import Tensor, nn

import tracetorch as tt

STEPS = 30


def lif(inputs: int, units: int, **options: float | Tensor) -> tt.Layer:
    return tt.Layer(nn.Linear(inputs, units), tt.LIF(**({"half_life": 4.0} | options)), rule=tt.rules.cascade())


class Branches(nn.Module):
    """A layer that feeds another one, a readout past it, and a second head; registered out of order on request."""

    def __init__(self, between: Callable[[], nn.Module] = nn.Identity, *, heads_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        first, second = lif(6, 8), lif(8, 8, half_life=2.0)
        heads = [tt.Layer(nn.Linear(8, 3), tt.LI(half_life=h), rule=tt.rules.cascade()) for h in (3.0, 12.0)]
        if heads_first:
            self.heads = nn.ModuleList(heads)
        self.first, self.between, self.second = first, between(), second
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        deep = self.second(self.between(z))
        return torch.cat([self.heads[0](deep + z), self.heads[1](deep)], -1)


def stream() -> Tensor:
    torch.manual_seed(1)
    return (torch.rand(STEPS, 4, 6) < 0.4).double()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-10, atol=1e-12)


def alive(net: nn.Module, xs: Tensor) -> nn.Module:
    tt.init_firing(net.double(), xs, rate=0.2)
    return net


@pytest.mark.parametrize("between", [nn.Identity, lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh())])
def test_steps_are_a_scan_on_a_network_that_is_no_chain(between: Callable[[], nn.Module]) -> None:
    xs = stream()
    net = alive(Branches(between), xs)
    want = gradients(net, xs, [0] * STEPS)
    for splits in ([STEPS], [7, 0, 0, 13, STEPS - 22], [1, 9, STEPS - 10], [0, STEPS - 1]):
        same(want, gradients(net, xs, splits))  # what feeds what is known
        new = Branches(between).double()
        new.load_state_dict(net.state_dict())
        same(want, gradients(new, xs, splits))  # and is found out
        same(want, gradients(new, xs, splits, sequences=2))


@pytest.mark.parametrize("splits", [[0] * STEPS, [STEPS]], ids=["steps", "scan"])
def test_the_order_of_registration_does_not_matter(splits: list[int]) -> None:
    xs = stream()
    net = alive(Branches(), xs)
    other = Branches(heads_first=True).double()
    other.load_state_dict(net.state_dict())
    same(gradients(net, xs, splits), gradients(other, xs, splits))


def test_the_branch_past_a_layer_is_nearer_to_bptt_than_without_memory_above() -> None:
    xs, cosines = stream(), {}
    net = alive(Branches(), xs)
    tt.set_rule(net, tt.rules.bptt())
    want = gradients(net, xs, [STEPS])["first.synapse.weight"].flatten()
    for rule in (tt.rules.cascade(), tt.rules.drtrl()):
        tt.set_rule(net, rule)
        got = gradients(net, xs, [STEPS])["first.synapse.weight"].flatten()
        cosines[rule.name] = float(torch.cosine_similarity(got, want, 0))
    assert cosines["cascade"] > 0.98 > cosines["drtrl"] + 0.03, cosines


def test_more_buckets_come_nearer_to_a_filter_for_each_unit() -> None:
    xs, errors = stream(), []
    torch.manual_seed(0)
    times = torch.logspace(0, 5, 16, 2, dtype=torch.float64)[torch.randperm(16)]
    net = nn.Sequential(lif(6, 12), lif(12, 16, half_life=times), nn.Linear(16, 3))
    alive(net, xs)
    tt.set_rule(net, tt.rules.bptt())
    want = gradients(net, xs, [STEPS])
    for buckets in (1, 2, 4, 8, 16):
        tt.set_rule(net, tt.rules.cascade(buckets=buckets))
        got = gradients(net, xs, [0] * STEPS)["0.synapse.weight"]
        errors.append(float((got - want["0.synapse.weight"]).norm() / want["0.synapse.weight"].norm()))
    assert errors == sorted(errors, reverse=True), errors
    assert errors[0] > 0.1 and errors[2] < 0.05 and errors[-1] < 1e-12, errors


def test_decays_per_unit_that_are_learned_keep_their_groups_until_the_next_sequence() -> None:
    xs = stream()
    times = torch.linspace(1.5, 9, 5).double()
    net = nn.Sequential(lif(6, 8), lif(8, 5, half_life=tt.Learnable(times)), nn.Linear(5, 3))
    alive(net, xs)
    gradients(net, xs, [10])
    before = tt.get_state(net)["1/activity.groups.4"]
    net[1].neuron.beta = 0.5 ** (1 / times.flip(0))
    tt.scan(net, xs[10:]).square().sum().backward()
    assert torch.equal(tt.get_state(net)["1/activity.groups.4"], before)
    gradients(net, xs, [10])
    assert not torch.equal(tt.get_state(net)["1/activity.groups.4"], before)


@pytest.mark.parametrize("way", ["state", "copy"])
def test_a_branch_goes_on_from_a_saved_state(way: str) -> None:
    xs = stream()
    net = alive(Branches(), xs)
    gradients(net, xs, [11])
    if way == "copy":
        twin = copy.deepcopy(net)
    else:
        twin = Branches().double()
        twin.load_state_dict(net.state_dict())
        tt.set_state(twin, tt.get_state(net))
    found = []
    for one in (net, twin):
        one.zero_grad()
        for part in (xs[11:12], xs[12:]):
            tt.scan(one, part).square().sum().backward()
        found.append({n: p.grad for n, p in one.named_parameters()})
    same(*found)


def test_a_network_that_changes_its_course_is_told_so() -> None:
    xs = stream()
    net = alive(Branches(), xs)
    tt.scan(net, xs[:9])
    z = net.first(xs[9])
    with pytest.raises(RuntimeError, match="filters a layer by what it feeds"):
        net.heads[1](z)


def test_layers_that_feed_each_other_in_a_circle_are_refused() -> None:
    net = nn.ModuleList([lif(8, 8), lif(8, 8)]).double()
    tt.reset(net)
    z = net[1](net[0](torch.rand(2, 8).double()))
    with pytest.raises(RuntimeError, match="in a circle"):
        net[0](z)


def test_a_stream_and_a_compiled_graph_refuse_several_filters() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(lif(6, 8), lif(8, 5, half_life=torch.linspace(1.5, 9, 5)))
    tt.reset(net)
    with pytest.raises((ValueError, RuntimeError), match="several filters"):
        tt.Stream(net, lr=0.1)(torch.rand(2, 6), torch.zeros(2, dtype=torch.int64))
    for whole in (False, True):
        torch._dynamo.reset()
        with pytest.raises(Exception, match="several filters"):
            torch.compile(tt.Scan(net), backend="eager", fullgraph=whole)(torch.rand(3, 2, 6))
        with pytest.raises(Exception, match="several filters"):
            torch.compile(net, backend="eager", fullgraph=whole)(torch.rand(2, 6))


@pytest.mark.parametrize("buckets", [0, -1, 2.5, True, "ten"])
def test_a_number_of_buckets_that_is_none_is_refused(buckets: object) -> None:
    with pytest.raises(ValueError, match="buckets is a number"):
        tt.rules.cascade(buckets=buckets)  # type: ignore[arg-type]
