"""Losses on hidden outputs, as of firing rates, under cascade: BPTT where it is exact, however the network is run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, BATCH = 18, 3
Loss = Callable[[Tensor, Tensor, slice], Tensor]


def lif(inputs: int, units: int, half_life: float = 4.0, **options: Any) -> tt.Layer:
    layer = tt.Layer(nn.Linear(inputs, units), tt.LIF(half_life=half_life, **options))
    nn.init.normal_(layer.synapse.weight, 0.15, 0.6)
    return layer


class Net(nn.Module):
    """Two layers under a head without memory: cascade is exact, and so it is for what comes past the upper one."""

    def __init__(self, between: Callable[[], nn.Module] = nn.Identity) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.between, self.b, self.head = lif(6, 9), between(), lif(9, 8), nn.Linear(8, 2)
        self.h: list[Tensor] = []
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.h.append(h)
        y: Tensor = self.head(self.b(self.between(h)))
        return y


class Given(Net):
    """The same, whose hidden outputs are returned."""

    def forward(self, x: Tensor) -> Any:
        h = self.a(x)
        return self.head(self.b(self.between(h))), h


class Hooked(Net):
    """The same as nn.Sequential, whose hidden outputs are taken by a hook."""

    def __init__(self, between: Callable[[], nn.Module] = nn.Identity) -> None:
        super().__init__(between)
        self.chain = nn.Sequential(self.a, self.between, self.b, self.head)
        self.a.register_forward_hook(lambda _, __, z: self.h.append(z))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.chain(x)
        return y


def stream() -> Tensor:
    return (torch.rand(STEPS, BATCH, 6, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def loss(ys: Tensor, hs: Tensor, at: slice) -> Tensor:
    target = torch.linspace(-1, 1, STEPS * BATCH * 2, dtype=torch.float64).sin().reshape(STEPS, BATCH, 2)
    weight = torch.linspace(0, 9, STEPS * BATCH * 9, dtype=torch.float64).cos().reshape(STEPS, BATCH, 9)
    return (ys - target[at]).square().sum() + (hs * weight[at]).sum() + (hs.mean((1, 2)) - 0.1).square().sum()


def windows(sizes: list[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


def steps(net: Net, xs: Tensor) -> Iterator[Tensor]:
    for t, x in enumerate(xs):
        net.h.clear()
        y = net(x)
        y, h = y if isinstance(y, tuple) else (y, net.h[0])
        yield loss(y.unsqueeze(0), h.unsqueeze(0), slice(t, t + 1))


def scans(sizes: list[int]) -> Callable[[Net, Tensor], Iterator[Tensor]]:
    def run(net: Net, xs: Tensor) -> Iterator[Tensor]:
        for at in windows(sizes):
            net.h.clear()
            ys = tt.scan(net, xs[at])
            ys, hs = ys if isinstance(ys, tuple) else (ys, torch.stack(net.h))
            yield loss(ys, hs, at)

    return run


def layerwise(sizes: list[int]) -> Callable[[Net, Tensor], Iterator[Tensor]]:
    def run(net: Net, xs: Tensor) -> Iterator[Tensor]:
        for at in windows(sizes):
            hs = tt.scan(net.a, xs[at])
            ys = tt.scan(nn.Sequential(net.between, net.b, net.head), hs)
            yield loss(ys, hs, at)

    return run


def upper_steps(net: Net, xs: Tensor) -> Iterator[Tensor]:
    """The lower layer in windows, the upper one step by step."""
    for at in windows([6] * 3):
        hs = tt.scan(net.a, xs[at])
        yield loss(torch.stack([net.head(net.b(net.between(h))) for h in hs]), hs, at)


RUNS: dict[str, tuple[type[Net], Callable[[Net, Tensor], Iterator[Tensor]]]] = {
    "steps": (Net, steps),
    "steps, returned": (Given, steps),
    "steps, hooked": (Hooked, steps),
    "scan, stored": (Net, scans([STEPS])),
    "scans, stored": (Net, scans([5, 1, 12])),
    "scan, returned": (Given, scans([STEPS])),
    "scans, returned": (Given, scans([1, 7, 10])),
    "scan, hooked": (Hooked, scans([STEPS])),
    "scans, hooked": (Hooked, scans([3, 15])),
    "layerwise": (Net, layerwise([STEPS])),
    "layerwise, windows": (Net, layerwise([4, 1, 13])),
    "upper layer in steps": (Net, upper_steps),
}
BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "direct": nn.Identity,
    "linear": lambda: nn.Linear(9, 9),
}


def gradients(net: Net, run: Any, rule: tt.Rule, *, reset: bool = True) -> dict[str, Tensor]:
    tt.set_rule(net, rule)
    if reset:
        tt.reset(net)
    net.zero_grad()
    total = list[Tensor]()
    for one in run(net, stream()):
        if rule.name == "bptt":
            total.append(one)
        else:
            one.backward()
    if total:
        sum(total).backward()  # type: ignore[union-attr]
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def error(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() >= want.keys()
    return max(float((got[n] - want[n]).norm() / want[n].norm()) for n in want)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("run", RUNS)
def test_a_loss_on_hidden_outputs_is_bptt(run: str, between: str) -> None:
    kind, how = RUNS[run]
    net = kind(BETWEEN[between])
    want = gradients(kind(BETWEEN[between]), steps, tt.rules.bptt())
    want = {name: value for name, value in want.items() if "between" not in name}  # of the present step alone
    for _ in range(2):
        assert error(gradients(net, how, tt.rules.cascade(pairs=None)), want) < 1e-10
    assert error(gradients(net, how, tt.rules.cascade(pairs=STEPS)), want) < 1e-10
    assert error(gradients(net, how, tt.rules.drtrl()), want) > 1e-3


def at_the_end(net: Net, xs: Tensor) -> Iterator[Tensor]:
    net.h.clear()
    ys = torch.stack([net(x) for x in xs])
    yield loss(ys, torch.stack(net.h), slice(0, STEPS))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("how", [steps, at_the_end])
def test_compiled_steps_credit_it_too(how: Any, backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    net = Net()
    want = gradients(copy.deepcopy(net), steps, tt.rules.bptt())
    tt.set_backend(net, backend)
    rules = [tt.rules.cascade(pairs=STEPS)] + [tt.rules.cascade(pairs=None)] * (how is steps)
    for rule in rules:
        for _ in range(2):
            net.h.clear()
            assert error(gradients(net, how, rule), want) < 1e-10
    assert net.a.core.bypassed and not net.b.core.bypassed


class Deep(nn.Module):
    """Three layers and a readout, of which all give out what they put out."""

    def __init__(self, recurrent: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [lif(6, 9), lif(9, 8, 2.0), lif(8, 7, 9.0)]
        if recurrent:
            layers[1] = tt.Layer(nn.Linear(9, 8), tt.LIF(half_life=2.0), recurrent=nn.Linear(8, 8))
        self.layers = nn.ModuleList([*layers, tt.Layer(nn.Linear(7, 2), tt.LI(half_life=5.0))])
        self.double()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return tuple(found)


@pytest.mark.parametrize(
    ("rule", "recurrent"),
    [(tt.rules.cascade(pairs=None), False), (tt.rules.cascade(pairs=STEPS), True), (tt.rules.cascade(hops=1), True)],
    ids=["full", "pairs", "hops"],
)
def test_credit_of_losses_on_every_layer_is_the_sum_of_what_each_gives(rule: tt.Rule, recurrent: bool) -> None:
    xs, net = stream(), Deep(recurrent)

    def run(sizes: list[int], losses: set[int]) -> dict[str, Tensor]:
        one = copy.deepcopy(net)
        tt.set_rule(one, rule)
        tt.reset(one)
        for at in windows(sizes):
            outs = tt.scan(one, xs[at]) if len(sizes) < STEPS else [z.unsqueeze(0) for z in one(xs[at][0])]
            weights = [torch.linspace(0, 5 + i, STEPS, dtype=torch.float64).sin()[at] for i in range(4)]
            sum((outs[i] * weights[i].reshape(-1, 1, 1)).sum() for i in losses).backward()
        return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in one.named_parameters()}

    whole = run([1] * STEPS, {0, 1, 2, 3})
    each = [run([1] * STEPS, {i}) for i in range(4)]
    assert error({n: sum(one[n] for one in each) for n in whole}, whole) < 1e-10  # type: ignore[misc]
    for sizes in ([STEPS], [1, 5, STEPS - 6]):
        assert error(run(sizes, {0, 1, 2, 3}), whole) < 1e-10


def alone(net: Net, what: str) -> None:
    if what == "step":
        net.a(stream()[0])
    elif what == "reset":
        tt.reset(net.b)
    elif what == "rows":
        tt.reset(net.a, torch.tensor([True, False, False]))
    elif what == "rule":
        tt.set_rule(net, {"b": tt.rules.cascade(pairs=3)})
    else:
        with torch.no_grad():
            h = net.a(stream()[0])
        net.b(h)


@pytest.mark.parametrize("what", ["step", "reset", "rows", "rule", "no graph"])
def test_a_layer_out_of_step_with_the_one_above_is_refused(what: str) -> None:
    xs, net = stream(), Net()
    tt.reset(net)
    for x in xs[:3]:
        net(x).square().sum().backward()
    alone(net, what)
    before = tt.get_state(net)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not in step"):
            net(xs[3])
        after = tt.get_state(net)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    with pytest.raises(RuntimeError, match="not in step"):
        tt.scan(net, xs[3:])
    tt.reset(net)
    tt.scan(net, xs).square().sum().backward()


@pytest.mark.parametrize("rule", [tt.rules.drtrl(), tt.rules.eprop(kappa=0.5)])
def test_rules_without_a_filter_from_the_network_may_be_out_of_step(rule: tt.Rule) -> None:
    net = Net()
    tt.set_rule(net, rule)
    tt.reset(net)
    for x in stream()[:3]:
        net.a(x)
        net(x).square().sum().backward()


def test_layers_that_are_reset_one_by_one_are_in_step() -> None:
    xs, net = stream(), Net()
    tt.reset(net)
    found = []
    for _ in range(2):
        net.zero_grad()
        for layer in (net.a, net.b):
            tt.reset(layer)
        for x in xs:
            net(x).square().sum().backward()
            for layer in (net.a, net.b):
                tt.reset(layer, x[:, 0] > 0)
        found.append(net.a.synapse.weight.grad.clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("steps", [True, False])
def test_a_neuron_that_is_replaced_after_the_reset_is_the_one_that_filters(steps: bool) -> None:
    xs, found = stream(), []
    for before in (True, False):
        net = Net()
        if not before:
            tt.reset(net)
        net.b.neuron = tt.LIF(half_life=15.0).double()
        if before:
            tt.reset(net)
        for at in windows([1] * STEPS if steps else [6, 12]):
            (net(xs[at][0]) if steps else tt.scan(net, xs[at])).square().sum().backward()
        found.append(net.a.synapse.weight.grad)
    assert torch.allclose(*found, rtol=1e-10)


@pytest.mark.parametrize("way", ["state", "copy"])
@pytest.mark.parametrize(("first", "then"), [((4, 4), (2, 9)), ((2, 9), (4, 4))])
def test_groups_of_learned_decays_go_on_as_they_were_formed(first: Any, then: Any, way: str) -> None:
    def made(least: float, most: float) -> Net:
        net = Net()
        net.b.neuron = tt.LIF(half_life=tt.Learnable(torch.linspace(least, most, 8).double())).double()
        return net

    xs, net = stream(), made(*first)
    tt.reset(net)
    tt.scan(net, xs[:5]).square().sum().backward()
    net.b.neuron.load_state_dict(made(*then).b.neuron.state_dict())
    net.h.clear()
    if way == "copy":
        other = copy.deepcopy(net)
    else:
        other = made(*first)
        other.load_state_dict(net.state_dict())
        tt.set_state(other, tt.get_state(net))
    found = []
    for one in (net, other):
        one.zero_grad()
        for x in xs[5:]:
            one(x).square().sum().backward()
        found.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None})
    assert error(*found) < 1e-12


class Exits(nn.Module):
    """A hidden layer that is read out at once, or after another one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = lif(6, 9), lif(9, 9, 3.0)
        self.near, self.far = (tt.Layer(nn.Linear(9, 2), tt.LI(half_life=h)) for h in (12.0, 2.0))
        self.early = False
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.near(self.a(x)) if self.early else self.far(self.b(self.a(x)))
        return y


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("sizes", [[1] * STEPS, [5, 13]], ids=["steps", "scans"])
def test_a_path_for_each_sequence(sizes: list[int], backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba")

    def run(net: Exits, early: bool) -> Tensor:
        net.early = early
        tt.reset(net)
        net.zero_grad()
        for at in windows(sizes):
            ys = tt.scan(net, stream()[at]) if len(sizes) < STEPS else net(stream()[at][0])
            ys.square().sum().backward()
        return net.a.synapse.weight.grad.clone()  # type: ignore[union-attr]

    net = Exits()
    tt.set_backend(net, backend)
    for number, early in enumerate((False, True, False, True)):
        if number and len(sizes) < STEPS:  # a window is under way when its first step shows it
            with pytest.raises(RuntimeError, match=r"tt\.reset\(net\) and begin again"):
                run(net, early)
        assert torch.allclose(run(net, early), run(Exits(), early), rtol=1e-9)


def test_another_path_within_a_sequence_is_refused() -> None:
    net, xs = Exits(), stream()
    tt.reset(net)
    for x in xs[:3]:
        net(x).square().sum().backward()
    net.early = True
    with pytest.raises(RuntimeError, match=r"tt\.reset\(net\)"):
        net(xs[3])
    net.early = False
    net(xs[3]).square().sum().backward()
