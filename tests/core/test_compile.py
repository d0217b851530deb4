"""A compiled step and a compiled scan, in one graph each, equal the eager ones: outputs, gradients, carried state."""

import copy
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import tracetorch as tt

B, T, IN, OUT = 2, 3, 12, 3
MOST = 6
"""Compilations of one callable: after a reset, with a window but no traces, with both, with a mask to consume, with a
window in which one was; and one to spare."""


@pytest.fixture(autouse=True)
def afresh() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


class Own(tt.Neuron):
    """A neuron that gives no blocks of its own."""

    def step(self, s, current):
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v - (z * self.threshold).detach()), z


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = dense(tt.LIF(half_life=3), n_out=IN), dense(tt.LI(half_life=4), n_out=OUT)

    def forward(self, x):
        return self.b(x + self.a(x))


def dense(neuron: tt.Neuron, n_in: int = IN, n_out: int = 8, **options) -> tt.Layer:
    return tt.Layer(nn.Linear(n_in, n_out), neuron, **options)


def below_a_readout(*layers: nn.Module, n_in: int = 8, half_life=9.0) -> nn.Module:
    return nn.Sequential(*layers, dense(tt.LI(half_life=half_life), n_in, OUT))


def conv(n_in: int, n_out: int) -> tt.Layer:
    return tt.Layer(nn.Conv2d(n_in, n_out, 3, padding=1), tt.LIF(half_life=5))


NETS: dict[str, Callable[[], nn.Module]] = {
    "lif": lambda: below_a_readout(dense(tt.LIF(half_life=5)), dense(tt.LIF(half_life=3), 8)),
    "alif": lambda: below_a_readout(dense(tt.ALIF(half_life=5, adaptation_half_life=20))),
    "synaptic lif": lambda: nn.Sequential(
        dense(tt.SynapticLIF(half_life=5, synaptic_half_life=2)), dense(tt.Mean(), 8, OUT)
    ),
    "learned decays": lambda: below_a_readout(
        dense(tt.LIF(half_life=tt.Learnable(5.0, shape=(8,)), threshold=tt.Learnable(1.0))),
        half_life=tt.Learnable(9.0),
    ),
    "a decay per neuron": lambda: below_a_readout(
        dense(tt.LIF(half_life=torch.linspace(2, 9, 8), refractory=2, reset=tt.HardReset(gradient=True)))
    ),
    "recurrent": lambda: below_a_readout(dense(tt.LIF(half_life=5), recurrent=nn.Linear(8, 8))),
    "diagonal": lambda: below_a_readout(dense(tt.DiagonalRecurrent(tt.LIF(half_life=5), (8,), init=0.1))),
    "conv": lambda: below_a_readout(nn.Unflatten(1, (3, 2, 2)), conv(3, 4), conv(4, 4), nn.Flatten(), n_in=16),
    "own": lambda: below_a_readout(dense(Own(half_life=5))),
    "residual": Residual,
}


def make(kind: str, rule: str) -> nn.Module:
    torch.manual_seed(0)
    net = NETS[kind]().double()
    chosen = tt.rules.ottt(approximate=True) if rule == "ottt" else tt.rules.PRESETS[rule]()
    if kind == "a decay per neuron" and chosen.input != "window":
        chosen = replace(chosen, feedback=tt.feedback.RandomFeedback())
    tt.set_rule(net, chosen)
    return net


def agree(kind: str, rule: str, out: str, backend: str, *, windows: int = 5) -> None:
    """Hold a compiled net against its eager twin over windows with a step of SGD, and one masked reset, between."""
    nets = [make(kind, rule) for _ in range(2)]
    calls: list[nn.Module] = [net if out == "step" else tt.Scan(net, out=out) for net in nets]
    calls[1] = torch.compile(calls[1], fullgraph=True, backend=backend)
    optimizers = [torch.optim.SGD(net.parameters(), 0.01) for net in nets]
    torch.manual_seed(1)
    fired = 0.0
    for window in range(windows):
        x = 2 * torch.rand(*([] if out == "step" else [T]), B, IN, dtype=torch.float64)
        weights = torch.randn(*([T] if out == "all" else []), B, OUT, dtype=torch.float64)
        ys = [call(x) for call in calls]
        torch.testing.assert_close(ys[1], ys[0])
        fired += float(ys[0].detach().abs().sum())
        for net, y in zip(nets, ys, strict=True):
            (y * weights).sum().backward()
            if window == 2 and rule != "rate":
                tt.reset(net, torch.tensor([True, False]))
            if rule in ("rate", "bptt"):
                tt.reset(net)
        learned = [[p for p in net.parameters() if p.requires_grad] for net in nets]
        for eager, compiled in zip(*learned, strict=True):
            torch.testing.assert_close(compiled.grad, eager.grad)
        states = [tt.get_state(net) for net in nets]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, msg=lambda text, name=name: f"{name}: {text}")
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert fired > 0
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= MOST


OUTS = ["step", "all", "last"]


@pytest.mark.parametrize(
    ("kind", "rule", "backend"),
    [("lif", "trace", "eager"), ("conv", "eprop", "aot_eager"), ("lif", "bptt", "aot_eager")],
)
def test_a_compiled_step_is_the_eager_one(kind, rule, backend) -> None:
    agree(kind, rule, "step", backend)


@pytest.mark.parametrize(("rule", "out"), [("trace", "last"), ("traced_bptt", "all")])
def test_a_compiled_scan_is_the_eager_one(rule, out) -> None:
    agree("lif", rule, out, "aot_eager", windows=3)


@pytest.mark.parametrize("kind", ["learned decays", "recurrent", "own"])
def test_any_layer_compiles(kind) -> None:
    agree(kind, "eprop" if kind == "own" else "trace", "step", "eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's own backend needs a C++ compiler")
@pytest.mark.parametrize("kind", ["lif", "recurrent"])
def test_a_step_compiled_by_default_is_the_eager_one(kind) -> None:
    agree(kind, "trace", "step", "inductor", windows=3)


def test_many_steps_compile_no_more_than_a_few_times() -> None:
    net = make("lif", "trace")
    step = torch.compile(net, fullgraph=True, backend="eager")
    for _ in range(20):
        step(torch.rand(B, IN, dtype=torch.float64)).sum().backward()
    tt.reset(net)
    for _ in range(20):
        step(torch.rand(B, IN, dtype=torch.float64)).sum().backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


def test_inference_compiles() -> None:
    nets = [make("lif", "trace") for _ in range(2)]
    step = torch.compile(nets[1], fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for _ in range(4):
            x = 2 * torch.rand(B, IN, dtype=torch.float64)
            torch.testing.assert_close(step(x), nets[0](x))


@pytest.mark.slow
@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("rule", tt.rules.PRESETS)
@pytest.mark.parametrize("kind", NETS)
def test_every_rule_compiles_on_every_layer(kind, rule, out) -> None:
    if kind == "residual" and rule == "rate" and out != "step":
        pytest.skip("rate refuses a container that is run step by step")
    agree(kind, rule, out, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("rule", ["trace", "eprop", "ottt", "traced_bptt"])
def test_the_compiler_of_torch_agrees(rule, out) -> None:
    agree("lif", rule, out, "inductor")


class Backwards(nn.Module):
    """Registers its readout before the layer below it."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.hidden = dense(tt.LI(half_life=9), 8, OUT), dense(tt.LIF(half_life=4))

    def forward(self, x):
        return self.out(self.hidden(x))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = dense(tt.LIF(half_life=4))
        self.slow, self.fast = dense(tt.LI(half_life=12), 8, OUT), dense(tt.LI(half_life=2), 8, OUT)

    def forward(self, x):
        z = self.hidden(x)
        return self.slow(z) + self.fast(z)


def learnt(net: nn.Module, run: Callable) -> dict[str, torch.Tensor]:
    tt.reset(net)
    net.zero_grad()
    for x in 2 * torch.rand(8, B, IN, generator=torch.Generator().manual_seed(2)):
        run(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", [Backwards, TwoHeads])
@pytest.mark.parametrize("rule", ["cascade", "eprop", "trace"])
def test_a_graph_is_not_compiled_where_nothing_has_shown_which_layers_feed_which(make, rule: str) -> None:
    torch.manual_seed(0)
    net = make()
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.reset(net)
    with pytest.raises(RuntimeError, match="nothing has shown"):
        torch.compile(net, backend="eager")(torch.rand(B, IN))


def test_a_step_shows_which_layers_feed_which() -> None:
    torch.manual_seed(0)
    net = Backwards()
    tt.set_rule(net, tt.rules.cascade())
    want = learnt(net, net)
    found = learnt(net, torch.compile(net, backend="eager"))
    assert all(g.any() for g in want.values())
    torch.testing.assert_close(found, want)

    net = Backwards()
    tt.set_rule(net, tt.rules.cascade())
    tt.reset(net)
    net(torch.rand(B, IN))  # its backward would show where credit comes from
    net(torch.rand(B, IN))
    with pytest.raises(RuntimeError, match="one step of the network and its backward"):
        learnt(net, torch.compile(net, backend="eager"))

    net = TwoHeads()
    tt.set_rule(net, tt.rules.cascade())
    learnt(net, net)
    with pytest.raises(RuntimeError, match="several filters"):
        learnt(net, torch.compile(net, backend="eager"))


class Read(nn.Module):
    """A hidden layer whose outputs have a loss of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.out = (
            tt.Layer(nn.Linear(IN, 6), tt.LIF(half_life=5)),
            tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        return self.out(h).square().sum(1) + h.sum(1)


@pytest.mark.parametrize("how", ["itself", "deepcopy", "pickle", "averaged", "state_dict", "no_grad"])
@pytest.mark.parametrize("backward", [False, True])
def test_copies_know_what_no_backward_has_shown(how: str, backward: bool) -> None:
    net: nn.Module = Read()
    tt.reset(net)
    for _ in range(2):
        y = net(torch.rand(B, IN)).sum()
        if backward:
            y.backward()
    tt.reset(net)
    if how == "deepcopy":
        net = copy.deepcopy(net)
    elif how == "pickle":
        net = pickle.loads(pickle.dumps(net))
    elif how == "averaged":
        net = torch.optim.swa_utils.AveragedModel(net).module
    elif how == "state_dict":
        saved, net = net.state_dict(), Read()
        net.load_state_dict(saved)
    elif how == "no_grad":
        with torch.no_grad():
            net(torch.rand(B, IN))
    tt.reset(net)
    unknown = "nothing has shown yet"
    with pytest.raises(
        RuntimeError, match=unknown if how == "state_dict" or not backward else "from a head or from another loss"
    ):
        torch.compile(net, backend="eager")(torch.rand(B, IN))


@pytest.mark.parametrize("place", ["all", 0, 1])
def test_a_network_compiled_in_the_middle_of_a_stream_goes_on(place) -> None:
    """A part whose layer below distinguishes what it sends, and cannot be told, is refused; all else is as it was."""
    grads = []
    for compiles in (False, True):
        net = make("synaptic lif", "cascade")
        for t, x in enumerate(torch.rand(5, B, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(0))):
            if compiles and t == 2:
                (net if place == "all" else net[place]).compile(backend="eager")
            if compiles and t == 2 and place == 1:
                with pytest.raises(RuntimeError, match="without one below it"):
                    net(x.clone())
                return
            net(x.clone()).square().sum().backward()  # whose version is not zero
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert grads[0].norm() > 0
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("how", ["stream.reset", "tt.reset", "tt.set_state"])
def test_filters_are_counted_again_where_units_may_be_grouped_otherwise(how: str) -> None:
    pytest.importorskip("numba")
    torch.manual_seed(0)
    learned = tt.LIF(half_life=tt.Learnable(5.0, shape=(6,)))
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, 6), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(6, 6), learned),
        tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5)),
    )
    tt.set_rule(net, tt.rules.cascade(buckets=2))
    tt.reset(net)
    stream = tt.Stream(net, lr=1e-3)
    stream(torch.rand(1, 5), torch.tensor([1]))
    assert not net[0].core.apart  # equal decays are one group
    with torch.no_grad():
        learned.parametrizations.beta.original.add_(torch.linspace(-1, 1, 6))
    other = copy.deepcopy(net)
    tt.reset(other)
    other(torch.rand(1, 5)).sum().backward()
    if how == "tt.set_state":
        tt.set_state(net, tt.get_state(other))
    else:
        (stream if how == "stream.reset" else tt).reset(*(() if how == "stream.reset" else (net,)))
    tt.scan(net, torch.rand(4, 1, 5))
    assert net[0].core.apart
