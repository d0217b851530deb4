"""A stream with an optimizer equals the loop of forward, loss, backward and that optimizer's step."""

import copy

import pytest
import torch
from steps.chains import LEARNED, close, inputs, recurrent
from torch.nn import functional

import tracetorch as tt

pytest.importorskip("numba")

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01, betas=(0.8, 0.99)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}
FUSED = {"sgd", "momentum", "nesterov", "adam", "adamw"}


def build(neuron: str = "lif, learned", rule: tt.Rule | None = None) -> torch.nn.Sequential:
    return recurrent(neuron, rule or tt.rules.eprop(), tt.LI(half_life=LEARNED(5.0)))


def targets(steps: int, batch: int) -> torch.Tensor:
    return torch.randint(0, 3, (steps, batch), generator=torch.Generator().manual_seed(2))


def eager(net, optimizer, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    y = net(x)
    functional.cross_entropy(y, target).backward()
    optimizer.step()
    optimizer.zero_grad()
    return y.detach()


def named(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in net.named_parameters()}


def numbers(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": v.double() for i, row in state.items() for k, v in row.items() if isinstance(v, torch.Tensor)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stream_moves_as_the_optimizer_does(name, monkeypatch) -> None:
    net, other = build(), build()
    first = copy.deepcopy(named(net))
    own, theirs = (OPTIMIZERS[name](one.parameters()) for one in (net, other))
    calls: list[int] = []
    monkeypatch.setattr(own, "step", lambda step=own.step: (calls.append(1), step())[1])
    stream = tt.Stream(net, optimizer=own)
    for t, (x, target) in enumerate(zip(inputs(16, 3), targets(16, 3), strict=True)):
        if t == 8:
            for optimizer in (own, theirs):
                optimizer.param_groups[0]["lr"] *= 0.5
        expected = eager(other, theirs, x, target)
        close({"y": stream(x, target)}, {"y": expected}, 1e-10)
    stream.sync()
    close(named(net), named(other), 1e-10)
    close(numbers(own), numbers(theirs), 1e-10)
    close(tt.get_state(net), tt.get_state(other), 1e-10)
    assert bool(calls) == (name not in FUSED)
    assert all(not torch.equal(first[n], p) for n, p in named(net).items())
    for x, target in zip(inputs(4, 3), targets(4, 3), strict=True):  # what the stream left is the optimizer's to go on
        close({"y": eager(net, own, x, target)}, {"y": eager(other, theirs, x, target)}, 1e-10)


@pytest.mark.parametrize("neuron", ["lif, learned per unit", "own", "alif"])
@pytest.mark.parametrize("rule", [tt.rules.trace(), tt.rules.drtrl(input="gain")], ids=str)
def test_plain_descent_with_learned_parameters_and_recurrence(rule, neuron) -> None:
    net, other = build(neuron, rule), build(neuron, rule)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.02)
    stream = tt.Stream(net, lr=0.02)
    mask = torch.tensor([True, False, True])
    for t, (x, target) in enumerate(zip(inputs(16, 3), targets(16, 3), strict=True)):
        if t == 7:
            stream.reset(mask)
            tt.reset(other, mask)
        with torch.no_grad():  # a stream asks for no graph
            y = stream(x, target)
        close({"y": y}, {"y": eager(other, optimizer, x, target)}, 1e-10)
    stream.sync()
    close(named(net), named(other), 1e-10)
    close(tt.get_state(net), tt.get_state(other), 1e-10)


def test_a_parameter_that_the_optimizer_does_not_have_stays() -> None:
    net = build()
    before = copy.deepcopy(named(net))
    stream = tt.Stream(net, optimizer=torch.optim.Adam(net[1].parameters(), lr=0.01))
    for x, target in zip(inputs(4, 3), targets(4, 3), strict=True):
        stream(x, target)
    moved = {name for name, p in named(net).items() if not torch.equal(p, before[name])}
    assert moved == {name for name, _ in net.named_parameters() if name.startswith("1.")}


def test_a_failed_step_moves_nothing() -> None:
    net = build()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    stream = tt.Stream(net, optimizer=optimizer, loss="mse")
    x = inputs(1, 2)[0]
    stream(x, torch.zeros(2, 3))
    before = copy.deepcopy((named(net), numbers(optimizer)))
    with pytest.raises(FloatingPointError, match="loss"):
        stream(x, torch.full((2, 3), float("nan")))
    after = (named(net), numbers(optimizer))
    assert all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)


def test_exactly_one_way_to_move_is_given() -> None:
    net = build()
    with pytest.raises(ValueError, match="either lr= or optimizer="):
        tt.Stream(net)
    with pytest.raises(ValueError, match="either lr= or optimizer="):
        tt.Stream(net, lr=0.1, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"torch\.optim"):
        tt.Stream(net, optimizer="adam")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="param_groups"):
        tt.Stream(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1)).lr = 0.2
