"""Rules and feedback of the literature: closed forms of their own, what they refuse, and their sources."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import agreement, calibrate, rule_gradients
from tracetorch.testing.oracle import Cuts, bptt


class LeakyRate(tt.Neuron):
    """A leaky rate unit, of which the source of RFLO writes."""

    state = ("h",)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        h = 0.8 * s.h + 0.2 * torch.tanh(current)
        return s.replace(h=h), h


class Identity(tt.Readout):
    """A readout without memory."""

    state = ("v",)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        return s.replace(v=0 * s.v), current


def loss(targets: Tensor) -> Any:
    return lambda ys, steps: 0.5 * ((ys - targets[steps]) ** 2).sum()


@pytest.mark.parametrize("splits", [[12], [0] * 12, [3, 0, 8]])
def test_rflo_is_its_published_recursion_in_a_recurrent_network(splits: list[int]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(4, 6), LeakyRate(), recurrent=nn.Linear(6, 6, bias=False)),
        tt.Layer(nn.Linear(6, 2), Identity()),
    ).double()
    xs, targets = torch.randn(12, 3, 4).double(), torch.randn(12, 3, 2).double()
    got = rule_gradients(net, xs, loss(targets), tt.rules.rflo(), splits=splits)
    w, b = (p.detach() for p in net[0].synapse.parameters())
    r, out, back = net[0].recurrent.weight.detach(), net[1].synapse, net[1].feedback
    h, p, q = torch.zeros(3, 6).double(), torch.zeros(3, 6, 4).double(), torch.zeros(3, 6, 6).double()
    total = {"0.synapse.weight": torch.zeros_like(w), "0.recurrent.weight": torch.zeros_like(r)}
    for x, y in zip(xs, targets, strict=True):
        u = x @ w.T + b + h @ r.T
        slope = 0.2 * (1 - torch.tanh(u) ** 2).unsqueeze(2)
        p, q = 0.8 * p + slope * x.unsqueeze(1), 0.8 * q + slope * h.unsqueeze(1)
        h = 0.8 * h + 0.2 * torch.tanh(u)
        sent = (out(h).detach() - y) @ back.detach()
        total["0.synapse.weight"] += torch.einsum("bn,bnk->nk", sent, p)
        total["0.recurrent.weight"] += torch.einsum("bn,bnk->nk", sent, q)
    assert all(agreement(got.grads[n], g).relative_error < 1e-12 for n, g in total.items())
    exact = bptt(net, xs, loss(targets))
    assert agreement(got.grads["0.recurrent.weight"], exact.grads["0.recurrent.weight"]).relative_error > 0.1


def pair(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, 8), tt.LIF(half_life=4)), tt.Layer(nn.Linear(8, 3), tt.LI(half_life=4))
    ).double()
    tt.set_rule(net, rule)
    return net


XS = (torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(2)) < 0.5).double() * 1.5
TARGETS = torch.randn(10, 4, 3, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("splits", [[10], [0] * 10, [4, 0, 5]])
def test_the_signs_of_the_weights_are_those_of_the_feedback(splits: list[int]) -> None:
    net = pair(tt.rules.sltt(feedback=tt.feedback.SignSymmetric()))
    calibrate(net, XS)
    got = rule_gradients(net, XS, loss(TARGETS), splits=splits)
    signs = net[1].synapse.weight.detach().sign() / 8**0.5
    tt.set_rule(net, tt.rules.sltt(feedback=tt.feedback.RandomFeedback()))
    with torch.no_grad():
        net[1].feedback.copy_(signs)
    want = rule_gradients(net, XS, loss(TARGETS), splits=splits)
    assert all(agreement(got.grads[n], g).relative_error < 1e-12 for n, g in want.grads.items())
    plain = rule_gradients(net, XS, loss(TARGETS), tt.rules.sltt(), splits=splits)
    assert agreement(got.grads["0.synapse.weight"], plain.grads["0.synapse.weight"]).relative_error > 1e-2


@pytest.mark.parametrize("rule", [tt.rules.eprop, tt.rules.ottt, tt.rules.trace, tt.rules.cascade, tt.rules.s_tllr])
@pytest.mark.parametrize("steps", [True, False])
def test_the_feedback_of_kolen_and_pollack_has_the_gradient_of_the_weights(rule: Any, steps: bool) -> None:
    net = pair(rule(feedback=tt.feedback.KolenPollack()))
    calibrate(net, XS)
    tt.reset(net)
    target = loss(TARGETS)
    for t in range(10) if steps else ():
        target(net(XS[t]).unsqueeze(0), slice(t, t + 1)).backward()
    if not steps:
        for at in (slice(0, 6), slice(6, 10)):
            target(tt.scan(net, XS[at]), at).backward()
    for layer in net:
        assert layer.feedback.grad is not None and layer.feedback.grad.norm() > 0
        assert torch.equal(layer.feedback.grad, layer.synapse.weight.grad)
    learned = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    random = rule_gradients(net, XS, target, rule(feedback=tt.feedback.RandomFeedback()), splits=[0] * 10)
    assert not net[0].feedback.requires_grad
    assert all(agreement(learned[n], g).relative_error < 1e-9 for n, g in random.grads.items())


def test_weight_decay_aligns_kolen_and_pollack() -> None:
    net = pair(tt.rules.eprop(feedback=tt.feedback.KolenPollack()))
    calibrate(net, XS)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=5.0)
    apart = (net[1].synapse.weight - net[1].feedback).norm()
    for _ in range(20):
        tt.reset(net)
        optimizer.zero_grad()
        loss(TARGETS)(tt.scan(net, XS), slice(0, 10)).backward()
        optimizer.step()
    left = (net[1].synapse.weight - net[1].feedback).norm() / apart
    assert float(left.detach()) == pytest.approx(0.95**20, rel=1e-6)


def test_compiled_steps_refuse_a_feedback_that_is_formed_at_each_step() -> None:
    pytest.importorskip("numba")
    for made in (tt.feedback.SignSymmetric(), tt.feedback.KolenPollack()):
        with pytest.raises((TypeError, ValueError), match="feedback"):
            tt.Stream(pair(tt.rules.trace(feedback=made)).float(), lr=0.1)


def test_snap1_refuses_a_recurrent_convolution() -> None:
    layer = tt.Layer(
        nn.Conv1d(2, 3, 3, padding=1), tt.LIF(half_life=4), recurrent=nn.Conv1d(3, 3, 1), rule=tt.rules.snap1()
    )
    with pytest.raises(ValueError, match=r"got Conv1d.*rtrl.*drtrl"):
        layer(torch.ones(1, 2, 5))


@pytest.mark.parametrize("wrong", [{"lambda_pre": 1.5}, {"lambda_post": -0.1}])
def test_decays_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], got"):
        tt.rules.s_tllr(**wrong)


def test_random_feedback_is_a_cut_of_autograd_for_signs_too() -> None:
    net = pair(tt.rules.drtrl(feedback=tt.feedback.SignSymmetric()))
    calibrate(net, XS)
    got = rule_gradients(net, XS[:1], loss(TARGETS))
    want = bptt(net, XS[:1], loss(TARGETS), cuts=Cuts(feedback=True))
    assert all(agreement(got.grads[n], g).relative_error < 1e-12 for n, g in want.grads.items() if float(g.norm()) > 0)


@pytest.mark.parametrize("splits", [[10], [0] * 10, [4, 0, 5]])
def test_direct_feedback_sends_the_error_to_each_layer(splits: list[int]) -> None:
    torch.manual_seed(4)
    rule = tt.rules.drtrl()
    upper = tt.ALIF(half_life=4, adaptation_half_life=9)
    hidden = [tt.Layer(nn.Linear(5, 8), tt.LIF(half_life=4)), tt.Layer(nn.Linear(8, 7), upper)]
    chain = nn.Sequential(*hidden, tt.Layer(nn.Linear(7, 3), tt.LI(half_life=4)))
    net = tt.DirectFeedback(chain, 3).double()
    calibrate(chain, XS)
    got = rule_gradients(net, XS, loss(TARGETS), rule, splits=splits)
    plain = rule_gradients(chain, XS, loss(TARGETS), rule, splits=splits)
    error = got.values - TARGETS
    assert torch.equal(got.values, plain.values)
    inputs = XS
    for i, layer in enumerate(hidden):
        sent = error @ net.matrices[i]
        want = rule_gradients(layer, inputs, lambda z, steps, sent=sent: (z * sent[steps]).sum(), rule, splits=splits)
        for name, g in want.grads.items():
            assert agreement(got.grads[f"net.{i}.{name}"], g).relative_error < 1e-12
            assert agreement(plain.grads[f"{i}.{name}"], g).relative_error > 1e-2
        inputs = want.values
    for name in ("synapse.weight", "synapse.bias"):
        assert agreement(got.grads[f"net.2.{name}"], plain.grads[f"2.{name}"]).relative_error < 1e-12


def test_direct_feedback_refuses_a_convolution_above() -> None:
    conv = tt.Layer(nn.Conv1d(2, 3, 3), tt.LIF(half_life=4))
    with pytest.raises(TypeError, match="got Conv1d"):
        tt.DirectFeedback(nn.Sequential(tt.Layer(nn.Conv1d(2, 2, 3), tt.LIF(half_life=4)), conv), 3)


def test_target_projection_refuses_a_target_of_another_shape() -> None:
    net = tt.TargetProjection(pair(tt.rules.drtrl()), 3)
    with pytest.raises(ValueError, match=r"\[4, 3\] here, got \[4\]; .*one_hot"):
        net((XS[0], torch.zeros(4)))


def test_windows_of_inputs_and_targets_are_single_steps() -> None:
    net = tt.TargetProjection(pair(tt.rules.drtrl()), 3)
    targets = torch.eye(3).double()[torch.arange(40).reshape(10, 4) % 3]
    found = []
    for whole in (True, False):
        tt.reset(net)
        net.zero_grad()
        steps = tt.scan(net, (XS, targets)) if whole else torch.stack([net(p) for p in zip(XS, targets, strict=True)])
        loss(TARGETS)(steps, slice(0, 10)).backward()
        found.append(net.net[0].synapse.weight.grad.clone())
    assert agreement(*found).relative_error < 1e-12 and found[0].norm() > 0


def test_local_readouts_of_convolutions_and_of_a_readout_layer() -> None:
    torch.manual_seed(5)
    conv = tt.Layer(nn.Conv1d(2, 3, 3), tt.LIF(half_life=4))
    norm = nn.LayerNorm(3)
    net = nn.Sequential(conv, nn.AvgPool1d(2), nn.Flatten(), norm, tt.Layer(nn.Linear(3, 5), tt.LI(half_life=4)))
    tt.set_rule(net, tt.rules.drtrl())
    local = tt.LocalReadouts(net, 5, torch.ones(2, 2, 5))
    before = [p.clone() for p in net.parameters()]
    first, last = local(torch.ones(2, 2, 5))
    assert [list(m.shape) for m in local.matrices] == [[5, 9]] and first.shape == last.shape == (2, 5)
    first.sum().backward(retain_graph=True)
    assert conv.synapse.weight.grad is not None and norm.weight.grad is None
    conv.zero_grad()
    last.square().sum().backward()
    assert norm.weight.grad is not None and conv.synapse.weight.grad is None
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_every_rule_has_its_sources() -> None:
    signals = (tt.DirectFeedback, tt.TargetProjection, tt.LocalReadouts)
    for name, preset in (tt.rules.PRESETS | {s.__name__: s for s in signals}).items():
        entries = tt.citation(name)
        assert entries == tt.citation(preset) and (preset in signals or entries == tt.citation(preset()))
        assert (entries == "") == (name in ("trace", "traced_bptt"))
        assert entries.count("{") == entries.count("}")
        keys = re.findall(r"^@\w+\{(\w+),$", entries, flags=re.MULTILINE)
        assert len(set(keys)) == entries.count("@") and entries.count("url = {https://") == len(keys)
    with pytest.raises(ValueError, match="no rule is named 'backprop'"):
        tt.citation("backprop")
