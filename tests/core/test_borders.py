"""Pickling, copying, moving, state dictionaries and saved states: right, or a clear error."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tracetorch as tt

STEPWISE = [r for r in tt.rules.PRESETS if r != "rate"]


def network(rule: tt.Rule | None = None, units: int = 7, *, learned: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    half_life: Any = tt.Learnable(4.0) if learned else 4.0
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, units), tt.LIF(half_life=half_life)), tt.Layer(nn.Linear(units, 2), tt.LI(half_life=6))
    )
    if rule is not None:
        tt.set_rule(net, rule)
    tt.reset(net)
    return net


def same(a: nn.Module, b: nn.Module, xs: torch.Tensor) -> None:
    """Compare outputs and gradients from here on."""
    found = []
    for net in (a, b):
        net.zero_grad()
        ys = torch.stack([net(x) for x in xs[:1]])
        ys.square().sum().backward()
        found.append([ys.detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 2
    for x, y in zip(*found, strict=True):
        assert torch.equal(x, y)
    assert any(float(x.abs().sum()) > 0 for x in found[0][1:])


ELSEWHERE = """
import pickle, sys, torch
net, xs = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(pickle.dumps(torch.stack([net(x) for x in xs]).tolist()))
"""


@pytest.mark.parametrize("rule", [r for r in STEPWISE if r != "bptt"])
@pytest.mark.parametrize("how", ["pickle", "torch.save", "deepcopy"])
def test_a_whole_network_with_learned_decays_can_be_stored(rule: str, how: str) -> None:
    net = network(tt.rules.PRESETS[rule](**({"approximate": True} if rule == "ottt" else {})))
    for x in 4 * torch.rand(3, 3, 5):
        net(x).sum().backward()
    if how == "pickle":
        other = pickle.loads(pickle.dumps(net))
    elif how == "torch.save":
        file = io.BytesIO()
        torch.save(net, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = copy.deepcopy(net)
    assert repr(other) == repr(net) and list(other.state_dict()) == list(net.state_dict())
    same(net, other, 4 * torch.rand(2, 3, 5))
    other[0].neuron.beta = torch.tensor(0.5)  # the parametrization still stands
    assert float(other[0].neuron.beta) == pytest.approx(0.5) and float(net[0].neuron.beta) != pytest.approx(0.5)
    pickle.loads(pickle.dumps(other[0].neuron))


def test_a_network_with_learned_decays_goes_to_a_new_process() -> None:
    """As the spawn method of multiprocessing sends it: pickled, to an interpreter that has imported nothing."""
    net, xs = network(), 4 * torch.rand(3, 3, 5)
    sent = pickle.dumps((net, list(xs)))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, check=True)
    found = torch.tensor(pickle.loads(done.stdout))
    torch.testing.assert_close(found, torch.stack([net(x) for x in xs]).detach())


@pytest.mark.parametrize("started", [False, True])
def test_copies_under_bptt_go_on_from_the_state_without_the_past(started: bool) -> None:
    net, xs = network(tt.rules.bptt()), 4 * torch.rand(4, 3, 5)
    losses = [net(x).square().sum() for x in xs[:2]] if started else []
    copies = [copy.deepcopy(net), AveragedModel(net).module, pickle.loads(pickle.dumps(net))]
    for other in copies:
        saved, own = tt.get_state(other), tt.get_state(net)
        assert saved.keys() == own.keys() and all(torch.equal(saved[k], own[k]) for k in saved)
        fresh = network(tt.rules.bptt())
        tt.set_state(fresh, own)
        for one in (other, fresh):
            one.zero_grad()
            sum(one(x).square().sum() for x in xs[2:]).backward()
        for p, q in zip(other.parameters(), fresh.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
    net.zero_grad()
    sum([*losses, *(net(x).square().sum() for x in xs[2:])]).backward()
    whole = network(tt.rules.bptt())
    for x in xs:
        losses.append(whole(x).square().sum())
    sum(losses[-4:]).backward()
    if started:
        for p, q in zip(net.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)


def test_averaged_models_average() -> None:
    net = network(tt.rules.bptt())
    averaged, first = AveragedModel(net), [p.detach().clone() for p in net.parameters()]
    averaged.update_parameters(net)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    averaged.update_parameters(net)
    for p, q in zip(averaged.module.parameters(), first, strict=True):
        torch.testing.assert_close(p, q + 0.5)
    assert averaged(torch.rand(3, 5)).shape == (3, 2)


@pytest.mark.parametrize("learned", [False, True])
def test_construction_on_the_meta_device(learned: bool) -> None:
    feedback = tt.feedback.RandomFeedback()
    with torch.device("meta"):
        net = network(tt.rules.drtrl(feedback=feedback), learned=learned)
    with pytest.raises(RuntimeError, match="to_empty"):
        net(torch.rand(3, 5, device="meta"))
    full = network(tt.rules.drtrl(feedback=feedback), learned=learned)
    net.to_empty(device="cpu").load_state_dict(full.state_dict())
    if not learned:  # fixed decays and thresholds are buffers
        assert {"0.neuron.beta", "0.neuron.threshold"} & full.state_dict().keys() or float(net[0].neuron.beta) > 0
    for own, other in ((net[0].neuron, full[0].neuron),):
        torch.testing.assert_close(own.beta, other.beta)
    same(net, full, 4 * torch.rand(2, 3, 5))


def test_lazy_synapses_are_refused_until_they_have_weights() -> None:
    with pytest.raises(ValueError, match="at its first input"):
        tt.Layer(nn.LazyLinear(3), tt.LIF(half_life=3))
    lazy = nn.LazyLinear(3)
    lazy(torch.rand(2, 5))
    assert tt.Layer(lazy, tt.LIF(half_life=3))(torch.rand(2, 5)).shape == (2, 3)


@pytest.mark.parametrize("saved", [False, True])
def test_a_feedback_matrix_that_is_missing_or_left_over_is_named(saved: bool) -> None:
    rules = [tt.rules.drtrl(), tt.rules.drtrl(feedback=tt.feedback.RandomFeedback())]
    source, target = network(rules[saved]), network(rules[not saved])
    match = "has a feedback matrix.*takes none.*set_rule" if saved else "has no feedback matrix.*takes one.*set_rule"
    with pytest.warns(UserWarning, match=match), pytest.raises(RuntimeError, match=r"0\.feedback"):
        target.load_state_dict(source.state_dict())
    with pytest.warns(UserWarning, match=match):
        target.load_state_dict(source.state_dict(), strict=False)
    tt.set_rule(target, rules[saved])
    target.load_state_dict(source.state_dict())


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], Any, str]] = {
    "another dtype": (lambda s: {k: v.double() for k, v in s.items()}, TypeError, "float64.*computes in torch.float32"),
    "half precision": (lambda s: {k: v.half() for k, v in s.items()}, TypeError, "float16.*computes in"),
    "another batch in a layer": (
        lambda s: {k: v[:2] if k[0] == "0" else v for k, v in s.items()},
        ValueError,
        "batch|shape",
    ),
    "another batch in a tensor": (lambda s: s | {"0/s.0": s["0/s.0"][:2]}, ValueError, "shape"),
    "other units": (lambda s: s | {"0/s.0": s["0/s.0"][:, :5]}, ValueError, "5 units, the layer has 7"),
    "units of one": (lambda s: s | {"0/s.0": s["0/s.0"][:, :1]}, ValueError, "1 units, the layer has 7"),
    "other traces": (lambda s: {k: v[..., :3] if "weight" in k else v for k, v in s.items()}, ValueError, "shape"),
    "no steps": (lambda s: {k: v for k, v in s.items() if k != "0/steps"}, ValueError, "not steps"),
    "no state": (lambda s: {k: v for k, v in s.items() if k != "0/s.0"}, ValueError, "1 state variables"),
    "more states": (lambda s: s | {"0/s.1": s["0/s.0"]}, ValueError, "gives 2"),
    "recurrent outputs": (lambda s: s | {"0/z": s["0/s.0"]}, ValueError, "recurrent"),
    "what nobody knows": (lambda s: s | {"0/junk": torch.zeros(3)}, ValueError, "does not carry"),
    "lists": (lambda s: {k: v.tolist() for k, v in s.items()}, TypeError, "is a tensor, got list"),
    "no numbers": (lambda s: s | {"0/s.0": s["0/s.0"] * torch.nan}, ValueError, "0/s.0 of the state has NaN"),
    "endless traces": (
        lambda s: {k: v / 0 if "traces" in k else v for k, v in s.items()},
        ValueError,
        "NaN or inf|whole",
    ),
    "steps before the first": (lambda s: s | {"0/steps": -s["0/steps"]}, ValueError, "from 0 on"),
    "half a reset": (lambda s: s | {"0/keep": torch.full((3,), 0.5)}, ValueError, "keep is 0 or 1"),
    "another measurement": (lambda s: s | {"0/activity.blocks": torch.ones(3)}, ValueError, "no measurement"),
    "an unknown measurement": (lambda s: s | {"0/activity.junk": torch.ones(3)}, ValueError, "no measurement"),
    "a measurement without steps": (lambda s: s | {"0/activity.total": torch.ones(4)}, ValueError, "number of steps"),
    "another layer": (lambda s: s | {"7/s.0": s["0/s.0"]}, KeyError, "'7'"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("rule", ["drtrl", "trace", "cascade"])
def test_a_state_that_does_not_fit_is_refused_whole(rule: str, case: str) -> None:
    change, error, match = WRONG[case]
    if case == "other traces" and rule != "drtrl":
        pytest.skip("has traces of another name")
    net = network(tt.rules.PRESETS[rule]())
    for x in 4 * torch.rand(3, 3, 5):
        net(x).sum().backward()
    saved = tt.get_state(net)
    with pytest.raises(error, match=match):
        tt.set_state(net, change(dict(saved)))
    after = tt.get_state(net)
    assert saved.keys() == after.keys() and all(torch.equal(saved[k], after[k]) for k in saved)
    tt.set_state(net, saved)


@pytest.mark.parametrize("wrong", [-1, 4, 10**9])
def test_a_state_whose_units_are_of_buckets_that_are_not_there_is_refused(wrong: int) -> None:
    half_life = torch.linspace(2, 9, 7)
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=half_life)), tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6))
    )
    tt.set_rule(net, tt.rules.trace())
    for x in 4 * torch.rand(3, 3, 5):
        net(x).sum().backward()
    saved = tt.get_state(net)
    assert sorted(set(saved["0/traces.other.bucket"].tolist())) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="whole numbers from 0 to 3"):
        tt.set_state(net, saved | {"0/traces.other.bucket": torch.full_like(saved["0/traces.other.bucket"], wrong)})
    tt.set_state(net, saved)


@pytest.mark.parametrize(
    ("one", "other"), [("trace", "drtrl"), ("drtrl", "trace"), ("cascade", "ottt"), ("ottt", "trace")]
)
def test_a_state_of_another_rule_is_refused(one: str, other: str) -> None:
    nets = [network(tt.rules.PRESETS[name](), learned=False) for name in (one, other)]
    for x in 4 * torch.rand(3, 3, 5):
        nets[0](x).sum().backward()
    with pytest.raises(ValueError, match="another rule"):
        tt.set_state(nets[1], tt.get_state(nets[0]))
    tt.set_rule(nets[1], nets[0][0].rule)
    tt.set_state(nets[1], tt.get_state(nets[0]))
    same(*nets, 4 * torch.rand(2, 3, 5))


@pytest.mark.parametrize("rule", STEPWISE)
@pytest.mark.parametrize("kind", ["dense", "conv", "frozen"])
def test_a_state_goes_to_a_like_network(rule: str, kind: str) -> None:
    def make() -> nn.Sequential:
        if kind != "conv":
            return network(tt.rules.PRESETS[rule](), learned=False)
        torch.manual_seed(0)
        net = nn.Sequential(
            tt.Layer(nn.Conv1d(1, 2, 3), tt.LIF(half_life=3)),
            nn.Flatten(),
            tt.Layer(nn.Linear(6, 2), tt.LI(half_life=4)),
        )
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.reset(net)
        return net

    xs = 4 * torch.rand(3, 3, 5) if kind != "conv" else 4 * torch.rand(3, 3, 1, 5)
    nets = [make(), make()]
    for x in xs[:2] if rule != "bptt" else ():
        nets[0](x).sum().backward()
    if kind == "frozen":
        for net in nets:
            net[0].synapse.requires_grad_(False)
    tt.set_state(nets[1], tt.get_state(nets[0]))
    same(*nets, xs)
