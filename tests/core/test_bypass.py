"""Cascade credit that goes past layers: a head that reads lower layers, a loss of their own, sums between layers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, SIZES = 12, (5, 6, 6, 6)


def lif(inputs: int, units: int) -> tt.Layer:
    return tt.Layer(nn.Linear(inputs, units), tt.LIF(half_life=4.0), rule=tt.rules.cascade())


class Skips(nn.Module):
    """Layers in a row and a head that reads some of them: all side by side, or each by itself."""

    def __init__(
        self,
        read: tuple[int, ...],
        *,
        depth: int = 2,
        apart: bool = False,
        residual: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(lif(SIZES[i], SIZES[i + 1]) for i in range(depth))
        self.between = nn.Identity() if plain else nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, 2) for _ in read)
        self.read, self.apart, self.residual = read, apart, residual

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for layer in self.layers:
            z = layer(x)
            x = self.between(z) if not self.residual or not found else self.between(z) + found[-1]
            found.append(z)
        given = [head(found[i]) for head, i in zip(self.heads, self.read, strict=True)]
        return torch.cat(given, -1) if self.apart else sum(given[1:], given[0])


def stream() -> Tensor:
    torch.manual_seed(1)
    return (torch.rand(STEPS, 3, 5) < 0.4).double()


def gradients(net: nn.Module, xs: Tensor, splits: list[int], rule: tt.Rule) -> dict[str, Tensor]:
    tt.set_rule(net, rule)
    tt.reset(net)
    net.zero_grad()
    start = 0
    for size in splits:
        part = xs[start : start + max(size, 1)]
        ys = tt.scan(net, part) if size else net(part[0]).unsqueeze(0)
        (ys - 0.3).square().sum().backward()
        start += len(part)
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def made(**options: object) -> tuple[nn.Module, Tensor]:
    xs = stream()
    net = Skips(**options).double()
    tt.init_firing(net, xs, rate=0.25)
    return net, xs


def error(got: dict[str, Tensor], want: dict[str, Tensor], names: str = "") -> float:
    keys = [n for n in want if names in n]
    return max(float((got[n] - want[n]).norm() / want[n].norm()) for n in keys)


SPLITS = {"steps": [0] * STEPS, "scan": [STEPS], "mixed": [5, 0, 1, STEPS - 7], "steps first": [0, 0, STEPS - 2]}


@pytest.mark.parametrize("splits", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("apart", [False, True], ids=["one head", "two heads"])
def test_a_head_past_one_layer_is_bptt(splits: list[int], apart: bool) -> None:
    """Two layers under memoryless heads, LIF above: exact along each way, so in all that learns."""
    net, xs = made(read=(0, 1), apart=apart, plain=True)
    want = gradients(copy.deepcopy(net), xs, [STEPS], tt.rules.bptt())
    assert error(gradients(net, xs, splits, tt.rules.cascade()), want) < 1e-10
    assert error(gradients(net, xs, splits, tt.rules.cascade(pairs=STEPS)), want) < 1e-10
    assert error(gradients(net, xs, splits, tt.rules.drtrl()), want, "layers.0") > 1e-2


@pytest.mark.parametrize("splits", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("read", [(0, 2), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
def test_heads_past_layers_are_the_sum_of_what_each_sends(
    read: tuple[int, ...], splits: list[int], residual: bool
) -> None:
    """A gradient is linear in the cotangents of outputs: the sum over heads of what each sends alone."""
    net, xs = made(read=read, depth=3, apart=True, residual=residual)
    got = gradients(net, xs, splits, tt.rules.cascade())
    total = {n: torch.zeros_like(g) for n, g in got.items()}
    for number, top in enumerate(read):
        one = Skips((top,), depth=top + 1, residual=residual).double()
        one.load_state_dict({k.replace(f"heads.{number}.", "heads.0."): v for k, v in net.state_dict().items()}, False)
        own = gradients(one, xs, splits, tt.rules.cascade())
        for name, g in own.items():
            total[name.replace("heads.0.", f"heads.{number}.")] += g
    assert error(got, total) < 1e-10


def test_credit_past_a_layer_is_not_read_behind_its_memory() -> None:
    """Negative control: what comes past layers, taken for what these send, is another gradient."""
    net, xs = made(read=(0, 1), plain=True)
    want = gradients(copy.deepcopy(net), xs, [STEPS], tt.rules.bptt())
    tt.reset(net)
    net.zero_grad()
    ys = tt.scan(net, xs)
    net.layers[0].core.received.private = True
    (ys - 0.3).square().sum().backward()
    left_out = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    assert error(left_out, want, "layers.0.synapse") > 1e-2


@pytest.mark.parametrize("read", [(0, 1), (0, 2)], ids=str)
def test_a_loss_at_the_last_of_single_steps(read: tuple[int, ...]) -> None:
    net, xs = made(read=read, depth=max(read) + 1, plain=True)
    found = []
    for one in (net, net, copy.deepcopy(net)):  # the first sequence, one that knows, and one loss at the end of a scan
        tt.reset(one)
        one.zero_grad()
        if one is net:
            for x in xs:
                y = one(x)
        else:
            y = tt.scan(one, xs)[-1]
        (y - 0.3).square().sum().backward()
        found.append({n: p.grad.clone() for n, p in one.named_parameters() if p.grad is not None})
    assert error(found[1], found[0]) < 1e-12 and error(found[2], found[0]) < 1e-10
    if read == (0, 1):
        tt.set_rule(net, tt.rules.bptt())
        tt.reset(net)
        net.zero_grad()
        for x in xs:
            y = net(x)
        (y - 0.3).square().sum().backward()
        want = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        assert error(found[0], want) < 1e-10


def test_a_loss_on_a_hidden_output_is_credited_at_its_step() -> None:
    """Layers in nn.Sequential that are called one by one, with a loss on the first from the first step on."""
    xs, found = stream(), {}
    torch.manual_seed(0)
    net = nn.Sequential(lif(5, 6), lif(6, 6), nn.Linear(6, 2)).double()
    tt.init_firing(net, xs, rate=0.25)
    for rule in (tt.rules.cascade(), tt.rules.bptt()):
        tt.set_rule(net, rule)
        tt.reset(net)
        net.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for x in xs:
            z = net[0](x)
            loss = (net[2](net[1](z)) - 0.3).square().sum() + (z - 0.1).square().sum()
            if rule.name == "cascade":
                loss.backward()
            else:
                total = total + loss
        if rule.name == "bptt":
            total.backward()
        found[rule.name] = {n: p.grad.clone() for n, p in net.named_parameters()}
    assert error(found["cascade"], found["bptt"]) < 1e-10


@pytest.mark.parametrize("way", ["state", "copy"])
def test_credit_past_layers_goes_on_from_a_saved_state(way: str) -> None:
    net, xs = made(read=(0, 2), depth=3)
    gradients(net, xs, [7], tt.rules.cascade())
    if way == "copy":
        twin = copy.deepcopy(net)
    else:
        twin = Skips((0, 2), depth=3).double()
        twin.load_state_dict(net.state_dict())
        tt.set_state(twin, tt.get_state(net))
    found = []
    for one in (net, twin):
        one.zero_grad()
        tt.scan(one, xs[7:]).square().sum().backward()
        found.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None})
    assert error(*found) < 1e-12


@pytest.mark.parametrize("between", [nn.Identity, nn.Tanh])
def test_a_chain_has_one_filter(between: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(lif(5, 6), between(), lif(6, 6), nn.Linear(6, 2))
    tt.reset(net)
    for x in 3 * torch.rand(4, 2, 5):
        net(x).square().sum().backward()
    assert not net[0].core.bypassed and not net[0].core.apart


def test_a_penalty_that_is_zero_at_first_is_credited_when_it_is_not() -> None:
    xs, found = stream(), {}
    for rule in (tt.rules.cascade(), tt.rules.bptt()):
        net, _ = made(read=(1,), plain=True)
        seen: list[Tensor] = []
        net.layers[0].register_forward_hook(lambda _, __, z, seen=seen: seen.append(z))
        tt.set_rule(net, rule)
        tt.reset(net)
        total = []
        for x in (torch.zeros_like(xs[0]), *xs):
            seen.clear()
            loss = (net(x) - 0.3).square().sum() + seen[0].square().mean()
            total.append(loss)
            if rule.name == "cascade":
                total.pop().backward()
        if total:
            sum(total).backward()
        found[rule.name] = {n: p.grad for n, p in net.named_parameters()}
    assert error(found["cascade"], found["bptt"]) < 1e-10
