"""A step by one compiled call each way equals the general step, in values, gradients and all that is carried."""

import copy
from dataclasses import replace

import pytest
import torch
from core.chains import built
from torch import nn

import tracetorch as tt
from tracetorch.steps.single import Single

pytest.importorskip("numba")

RULES = tt.rules
SOFT = tt.SoftReset()


def deep(rule: tt.Rule) -> nn.Sequential:
    """One state and two, a width above one block, a bias that is not there, silent steps after a spike."""
    adaptive = tt.ALIF(half_life=6, adaptation_half_life=9, adaptation=0.2, refractory=1)
    return built(
        [
            tt.Layer(nn.Linear(9, 70), tt.LIF(half_life=4)),
            tt.Layer(nn.Linear(70, 7, bias=False), adaptive),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=5)),
        ],
        rule,
    )


def shared(rule: tt.Rule) -> nn.Sequential:
    """Neurons that one trace per input represents."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.SynapticLIF(half_life=4, synaptic_half_life=2)),
            tt.Layer(nn.Linear(7, 7), tt.IF(threshold=2.0)),
            tt.Layer(nn.Linear(7, 3), tt.LI(half_life=5, normalized=True)),
        ],
        rule,
    )


def spread(rule: tt.Rule) -> nn.Sequential:
    """Decays per neuron, a hard reset that keeps its gradient, a readout that is not normalised."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=torch.linspace(2, 9, 7))),
            tt.Layer(nn.Linear(7, 5), tt.LIF(half_life=4, reset=tt.HardReset(gradient=True, value=0.1))),
            tt.Layer(nn.Linear(5, 3), tt.LI(half_life=9)),
        ],
        rule,
    )


def synaptic(rule: tt.Rule) -> nn.Sequential:
    """Two states that one trace per input represents, in more units than one block, directly below the readout."""
    return built(
        [
            tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=4)),
            tt.Layer(nn.Linear(7, 70), tt.SynapticLIF(half_life=4, synaptic_half_life=2)),
            tt.Layer(nn.Linear(70, 3), tt.LI(half_life=5)),
        ],
        rule,
    )


CASES = {
    "trace": (deep, RULES.trace()),
    "trace by buckets, random feedback": (
        spread,
        RULES.trace(decay=0.9, buckets=3, feedback=tt.feedback.RandomFeedback()),
    ),
    "ottt": (shared, RULES.ottt()),
    "sltt": (shared, RULES.sltt()),
    "tbptt": (shared, RULES.tbptt()),
    "eprop": (shared, RULES.eprop()),
    "eprop, two states": (synaptic, RULES.eprop(feedback=tt.feedback.RandomFeedback())),
    "eprop, full": (spread, RULES.eprop()),
    "eprop, full, two states": (deep, RULES.eprop(kappa=0.7)),
    "drtrl": (spread, RULES.drtrl()),
    "drtrl by sensitivity": (deep, RULES.drtrl(input="gain")),
    "traced_bptt": (spread, RULES.traced_bptt()),
}


def pair(case: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The same network, to be run by kernels and by torch."""
    build, rule = CASES[case]
    net, other = build(rule), build(rule)
    tt.set_backend(net, "numba")
    tt.set_backend(other, "torch")
    return net, other


def inputs(batch: int, steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(steps, batch, 9, generator=generator, dtype=torch.float64)
    events = (x < 0.4).double()
    events[::5] = x[::5]  # some steps are dense
    return events


def learn(net: nn.Module, x: torch.Tensor, *, rate: float = 0.02) -> list[torch.Tensor]:
    """One step with its update; the output and every gradient."""
    x = x.clone().requires_grad_()
    y = net(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    (y * weights + y.square()).sum(1).mean().backward()
    found = [y.detach(), x.grad]
    with torch.no_grad():
        for p in net.parameters():
            if p.grad is not None:
                found.append(p.grad)
                p -= rate * p.grad
                p.grad = None
    return found


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    assert float((a - b).detach().abs().max() if a.numel() else 0.0) <= 1e-10 * max(scale, 1e-3)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        close(value, b[key])


def served(net: nn.Module) -> list[bool]:
    return [layer.core.stepper is not None for layer in tt.layers(net).values()]


def watch(net: nn.Sequential) -> dict[int, list[float]]:
    """Note how many units of each spiking layer fire in each step to come."""
    fired: dict[int, list[float]] = {}
    for i, layer in enumerate(net):
        if not isinstance(layer.neuron, tt.Readout):
            row = fired.setdefault(i, [])
            layer.register_forward_hook(lambda _, __, z, row=row: row.append(float(z.detach().double().mean())))
    return fired


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("case", CASES)
def test_steps_learn_the_same(case, batch) -> None:
    net, other = pair(case)
    fired = watch(other)
    for x in inputs(batch, 30):
        for found, wanted in zip(learn(net, x), learn(other, x), strict=True):
            close(found, wanted)
        assert served(net) == [True] * 3
        assert served(other) == [False] * 3
    rates = [sum(row) / len(row) for row in fired.values()]
    assert all(0.03 < r < 0.9 for r in rates), rates
    same(tt.get_state(net), tt.get_state(other))


@pytest.mark.parametrize("case", ["eprop", "eprop, two states", "eprop, full", "eprop, full, two states"])
def test_the_filter_is_in_the_credit_of_its_layer_and_in_no_other(case) -> None:
    build, rule = CASES[case]
    nets = [build(rule), build(replace(rule, above=RULES.Present()))]
    for one in nets:
        tt.set_backend(one, "numba")
    names = [name for name, p in nets[0].named_parameters() if p.requires_grad]
    total = [[0.0] * len(names) for _ in nets]
    for x in inputs(3, 10):
        for i, one in enumerate(nets):
            total[i] = [a + b for a, b in zip(total[i], learn(one, x, rate=0.0)[2:], strict=True)]
    for name, a, b in zip(names, *total, strict=True):
        if name.startswith("1."):
            assert float((a - b).norm() / a.norm()) > 0.1, name
        else:
            close(a, b)


@pytest.mark.parametrize("case", ["trace", "drtrl", "ottt", "eprop", "eprop, full, two states"])
def test_all_else_may_stand_between(case) -> None:
    net, other = pair(case)
    mask = torch.tensor([True, False, True])
    for t, x in enumerate(inputs(3, 40)):
        for one in (net, other):
            if t == 7:
                tt.reset(one, mask)
            if t == 12:
                with torch.no_grad():
                    one(x)
            if t == 17:
                tt.scan(one, x.expand(4, 3, 9)).sum().backward()
                one.zero_grad()
            if t == 22:
                tt.set_state(one, tt.get_state(one))
            if t == 27:
                one[0].neuron.threshold.mul_(1.1)
            if t == 30:
                one[1].synapse.weight.requires_grad_(False)
            if t == 33:
                one[1].synapse.weight.requires_grad_(True)
            if t == 36:
                tt.reset(one)
        for found, wanted in zip(learn(net, x), learn(other, x), strict=True):
            close(found, wanted)
        assert served(net) == [True, not 30 <= t < 33, True]
    same(tt.get_state(net), tt.get_state(other))


@pytest.mark.parametrize("case", CASES)
def test_a_restored_stream_and_a_copy_go_on_bit_for_bit(case) -> None:
    net, _ = pair(case)
    xs = inputs(3, 12)
    for x in xs[:6]:
        learn(net, x)
    twin = copy.deepcopy(net)
    other = tt.testing.clone(net)
    tt.set_state(other, tt.get_state(net))
    for x in xs[6:]:
        found = [learn(one, x) for one in (net, twin, other)]
        assert all(torch.equal(a, b) for row in found[1:] for a, b in zip(found[0], row, strict=True))
    assert all(served(one) == served(net) for one in (twin, other))


@pytest.mark.parametrize("case", ["trace", "ottt"])
def test_several_forwards_before_one_backward(case) -> None:
    grads = []
    for one in pair(case):
        ys = [one(x) for x in inputs(3, 6)]
        total = sum(y.square().sum() for y in ys)
        total.backward(retain_graph=True)
        one(inputs(3, 1)[0])
        total.backward()
        grads.append([p.grad for p in one.parameters()])
    for a, b in zip(*grads, strict=True):
        close(a, b)


@pytest.mark.parametrize("case", ["drtrl", "eprop"])
def test_a_trace_per_weight_that_moved_on_is_noticed(case) -> None:
    net, _ = pair(case)
    (net(inputs(3, 1)[0]).sum() + net(inputs(3, 1)[0]).sum()).backward()  # the first step has no trace yet
    first = net(inputs(3, 1)[0])
    net(inputs(3, 1)[0])
    with pytest.raises(RuntimeError, match="traces moved on"):
        first.sum().backward()


@pytest.mark.parametrize("case", ["drtrl", "eprop"])
def test_a_trace_per_weight_that_is_looked_at_has_not_moved_on(case) -> None:
    net, other = pair(case)
    for one, looks in ((net, True), (other, False)):
        for x in inputs(3, 4):
            y = one(x)
            if looks:
                tt.get_state(one)
            y.sum().backward()
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        close(p.grad, q.grad)


@pytest.mark.parametrize("case", ["drtrl", "eprop"])
def test_bad_input_and_bad_cotangents_leave_everything_as_it_was(case) -> None:
    net, _ = pair(case)
    learn(net, inputs(3, 1)[0])
    before = tt.get_state(net)
    net(inputs(3, 1)[0])
    tt.set_state(net, before)
    for x, match in (
        (torch.full((3, 9), float("nan")).double(), "NaN or infinity"),
        (torch.ones(4, 9).double(), "batch has 4 rows"),
        (torch.ones(3, 8).double(), "takes inputs"),
    ):
        net[0](inputs(3, 1)[0])
        tt.set_state(net, before)
        with pytest.raises(ValueError, match=match):
            net(x)
        after = tt.get_state(net)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    y = net(inputs(3, 1)[0])
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        (y.sum() * float("nan")).backward()
    assert all(p.grad is None for p in net.parameters())
    tt.check_finite(net, False)
    net(torch.full((3, 9), float("nan")).double())
    assert net[0].state.v.isnan().all()


def test_weights_that_moved_before_backward_are_noticed() -> None:
    net, _ = pair("trace")
    y = net(inputs(3, 1)[0])
    with torch.no_grad():
        net[0].synapse.weight += 1
    with pytest.raises(RuntimeError, match="inplace operation"):
        y.sum().backward()


def test_inputs_of_other_kinds_and_forms_are_the_same() -> None:
    net, other = pair("trace")
    for x in inputs(3, 6) > 0.5:
        for given in (x, x.int(), x.t().contiguous().t(), x.float()):
            close(net(given), other(given))
    assert served(net) == [True] * 3


@pytest.mark.parametrize("case", ["trace", "eprop", "eprop, full"])
def test_single_precision_equals_to_its_rounding(case) -> None:
    net, other = (one.float() for one in pair(case))
    for x in inputs(3, 10).float():
        for found, wanted in zip(learn(net, x), learn(other, x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert served(net) == [True] * 3


def test_auto_leaves_small_layers_and_large_batches_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "tracetorch.steps.single"
    for small, large, wanted in ((64, 10**6, False), (63, 10**6, True), (63, 189, True), (63, 188, False)):
        monkeypatch.setattr(f"{module}.LEAST", small)
        monkeypatch.setattr(f"{module}.MOST", large)
        net, _ = pair("sltt")
        tt.set_backend(net, "auto")
        net(inputs(3, 1)[0])
        assert served(net)[0] == wanted


@pytest.mark.parametrize("rule", [RULES.cascade(), RULES.cascade(pairs=3), RULES.eprop(), RULES.trace()], ids=str)
def test_a_step_does_not_form_the_state_that_nobody_reads(rule: tt.Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    net = deep(rule)
    tt.set_backend(net, "numba")
    formed = []
    state = Single.state
    monkeypatch.setattr(Single, "state", lambda self: formed.append(1) or state(self))
    for step in range(6):
        net(torch.rand(2, 9)).sum().backward()
        if step == 2:
            formed.clear()
    assert not formed
    assert all(isinstance(layer.core.stepper, Single) for layer in tt.layers(net).values())
    tt.get_state(net)
    assert formed
