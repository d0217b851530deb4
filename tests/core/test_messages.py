"""Probable slips get a message that names the cure; a layer shows what it is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.modules import folded
from tracetorch.rules.described import described


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)), tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)))


INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "list": (lambda: [[1.0, 2.0, 3.0, 4.0, 5.0]], r"got list; convert it with torch\.tensor"),
    "list of tensors": (lambda: [torch.rand(3, 5)], r"torch\.stack"),
    "tuple": (lambda: (torch.rand(3, 5), torch.rand(3, 5)), r"got tuple; join its tensors with torch\.stack"),
    "array": (lambda: np.ones((3, 5), "float32"), r"torch\.as_tensor"),
    "generator": (lambda: (torch.rand(3, 5) for _ in range(2)), "once per step"),
    "sparse": (lambda: torch.rand(3, 5).to_sparse(), r"sparse.*to_dense"),
    "complex": (lambda: torch.rand(3, 5).to(torch.complex64), "complex.*view_as_real"),
    "packed": (lambda: nn.utils.rnn.pack_padded_sequence(torch.rand(4, 3, 5), [4, 3, 2]), "give it to tt.scan"),
    "text": (lambda: "abc", r"got str; pass a torch\.Tensor"),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize("where", ["step", "scan", "mask"])
@pytest.mark.parametrize("started", [False, True])
def test_what_is_no_dense_tensor_is_refused_with_the_cure(case: str, where: str, started: bool) -> None:
    if (case, where) == ("packed", "scan"):
        pytest.skip("a scan takes packed sequences")
    make, match = INPUTS[case]
    net = network()
    if started:
        net(torch.rand(3, 5))
    calls = {"step": net, "scan": lambda x: tt.scan(net, x), "mask": lambda x: tt.reset(net, x)}
    before = tt.get_state(net)
    with pytest.raises(TypeError, match=match):
        calls[where](make())
    after = tt.get_state(net)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_slips_name_the_cure() -> None:
    net: Any = network()
    lif: Any = tt.LIF
    xs: Any = torch.rand(4, 3, 5)
    with pytest.raises(TypeError, match=r"the network comes first: tt\.scan\(net, xs\)"):
        tt.scan(xs, net)
    with pytest.raises(TypeError, match=r"the class LIF itself; make one, such as tt\.LIF\(half_life=20\)"):
        tt.Layer(nn.Linear(5, 7), lif)
    with pytest.raises(TypeError, match="swap the arguments"):
        tt.Layer(tt.LIF(half_life=3), nn.Linear(5, 7))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Linear has no tt\.Layer in it"):
        tt.reset(nn.Linear(3, 3))
    with pytest.raises(TypeError, match=r"net must be an nn\.Module"):
        tt.reset(xs)
    net(xs[0])
    for mask in (torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0, 1, 2])):
        with pytest.raises(ValueError, match="other numbers than 0 and 1"):
            tt.reset(net, mask)
    tt.reset(net, torch.tensor([0, 1, 1]))


def chain() -> nn.Module:
    hidden = tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5))
    return nn.Sequential(hidden, tt.Layer(nn.Linear(4, 2), tt.LI(half_life=5)))


WINDOW = torch.ones(4, 2, 3)
MORE = {
    "name of a rule": (lambda: tt.set_rule(chain(), "eprop"), TypeError, r"got 'eprop': write tt\.rules\.eprop\(\)"),
    "rule not called": (lambda: tt.set_rule(chain(), tt.rules.ottt), TypeError, r"write tt\.rules\.ottt\(\)"),
    "rule of a layer": (lambda: chain()[0].set_rule("sltt"), TypeError, r"write tt\.rules\.sltt\(\)"),
    "state": (
        lambda: tt.set_state(chain(), [1]),
        TypeError,
        r"dictionary that tt\.get_state\(net\) returned, got list",
    ),
    "lengths of a generator": (
        lambda: tt.scan(chain(), WINDOW, lengths=iter([1, 2])),
        TypeError,
        "list of 2 whole numbers",
    ),
    "lengths in words": (lambda: tt.scan(chain(), WINDOW, lengths="ab"), TypeError, "list of 2 whole numbers.*got str"),
}
STREAMED = {
    "list": (lambda s: s(WINDOW[0].tolist(), TARGET), TypeError, r"torch\.tensor\(x\)"),
    "array": (lambda s: s(WINDOW[0].numpy(), TARGET), TypeError, r"torch\.as_tensor\(x\)"),
    "sparse": (lambda s: s(WINDOW[0].to_sparse(), TARGET), TypeError, "to_dense"),
    "complex": (lambda s: s(WINDOW[0] + 1j, TARGET), TypeError, "view_as_real"),
    "target": (lambda s: s(WINDOW[0], [0, 1]), TypeError, "a target is a tensor"),
    "mask": (lambda s: s.reset([True, False]), TypeError, "a mask is a tensor"),
    "shares": (lambda s: s.reset(torch.tensor([0.3, 0.0])), ValueError, "other numbers than 0 and 1"),
}
TARGET = torch.tensor([0, 1])


@pytest.mark.parametrize("case", MORE)
def test_more_slips_name_the_cure(case: str) -> None:
    call, error, match = MORE[case]
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("case", STREAMED)
def test_slips_with_a_stream_name_the_cure_and_change_nothing(case: str) -> None:
    pytest.importorskip("numba")
    net, (call, error, match) = chain(), STREAMED[case]
    stream = tt.Stream(net, lr=0.1)
    stream(WINDOW[0], TARGET)
    before = tt.get_state(net)
    with pytest.raises(error, match=match):
        call(stream)
    assert all(torch.equal(value, before[name]) for name, value in tt.get_state(net).items())


def test_the_package_shows_what_a_user_needs() -> None:
    assert set(tt.__all__) | {"rl", "train", "testing"} <= set(dir(tt))
    assert not {"annotations", "import_module", "entry", "undo", "order"} & set(dir(tt))


def test_masks_of_numbers_are_those_of_booleans() -> None:
    outs = []
    for kind in (torch.bool, torch.int64, torch.float32):
        net = network()
        net(torch.full((3, 5), 2.0))
        tt.reset(net, torch.tensor([True, False, True]).to(kind))
        outs.append(net(torch.full((3, 5), 2.0)))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0][0], outs[0][1])


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("scan", [False, True])
def test_a_silent_layer_warns_once_in_training(scan: bool, backend: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(64, 80), tt.LIF(half_life=4, threshold=1e3)), tt.Layer(nn.Linear(80, 2), tt.LI(half_life=6))
    )
    tt.set_backend(net, backend)

    def train(steps: int) -> None:
        xs = torch.rand(steps, 3, 64)
        if scan:
            tt.scan(net, xs).sum().backward()
            return
        for x in xs:
            net(x).sum().backward()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            tt.scan(net, torch.rand(150, 3, 64))
        train(90)
    with pytest.warns(UserWarning, match=r"has spiked in \d+ steps of training.*tt\.init_firing") as seen:
        train(30)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(150)


@pytest.mark.parametrize("inputs", ["zero", "firing"])
def test_a_layer_that_has_nothing_to_say_does_not_warn(inputs: str) -> None:
    net = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(300):
            net(torch.zeros(3, 5) if inputs == "zero" else 4 * torch.rand(3, 5)).sum().backward()


@pytest.mark.parametrize(
    ("rule", "text", "storage"),
    [
        (tt.rules.trace(), "trace()", "one average per input"),
        (tt.rules.trace(decay=0.9), "trace(decay=0.9)", "one average per input"),
        (tt.rules.cascade(), "cascade()", "auto"),
        (tt.rules.cascade(pairs=None), "cascade(pairs=None)", "full"),
        (tt.rules.cascade(budget=10), "cascade(budget=10)", "auto"),
        (tt.rules.cascade(pairs=10, buckets=2), "cascade(pairs=10, buckets=2)", "pairs(10)"),
        (tt.rules.eprop(kappa=0.5), "eprop(kappa=0.5)", "full"),
        (tt.rules.drtrl(input="gain"), "drtrl(input='gain')", "full"),
        (tt.rules.ottt(approximate=True), "ottt(approximate=True)", "one trace per input"),
        (tt.rules.bptt(), "bptt()", "the graph"),
        (tt.rules.tbptt(), "tbptt()", "none"),
        (tt.rules.sltt(feedback=tt.feedback.RandomFeedback()), "sltt(feedback=RandomFeedback(scale=1.0))", "none"),
    ],
    ids=str,
)
def test_a_layer_shows_rule_storage_and_backend(rule: tt.Rule, text: str, storage: str) -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4), rule=rule))
    assert f"rule={text}, storage={storage}\n" in repr(net)
    tt.set_backend(net, "torch")
    assert f"rule={text}, storage={storage}, backend=torch\n" in repr(net)


def test_a_rule_of_its_own_shows_its_parts() -> None:
    rule = tt.Rule(name="mine", weight=tt.rules.Full(), input="gain", window="step")
    assert described(rule) == "mine(weight=Full(), input='gain', window='step')"
    renamed = tt.Rule(name="sltt", weight=tt.rules.Full(), input="gain", window="step")
    assert described(renamed) == "sltt(weight=Full(), input='gain', window='step')"


def test_a_network_is_shown_in_lines_that_fit_a_page() -> None:
    learned = tt.LIF(half_life=tt.Learnable(8.0, shape=2))
    hidden = tt.ALIF(half_life=torch.tensor([3.0, 200.0]), adaptation_half_life=20, normalized=True)
    net = nn.Sequential(*(tt.Layer(nn.Linear(2, 2), neuron) for neuron in (learned, hidden, tt.LI(half_life=8))))
    shown = repr(net)
    assert max(map(len, shown.splitlines())) <= 90
    assert "      half_life=3 to 200 (shape [2]),\n      adaptation_half_life=20,\n" in shown
    assert "      half_life=8 (shape [2]), learned,\n      threshold=1,\n" in shown
    assert hidden.extra_repr() in re.sub(r"\n *", " ", shown)  # every word is there
    assert "    (neuron): LI(half_life=8)\n" in shown
    nested = "(neuron): N(first=A(x=1, y=B(z=2, w=[3, 4]), v=5), second=(1, 2), third=C(x=D(y=1), z=2))"
    outer = ["  first=A(x=1, y=B(z=2, w=[3, 4]), v=5),", "  second=(1, 2),", "  third=C(x=D(y=1), z=2)"]
    assert folded(nested, width=40).splitlines() == ["(neuron): N(", *outer, ")"]
