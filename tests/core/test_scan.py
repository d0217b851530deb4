"""Scans of any container equal single steps, in values and gradients."""

import sys

import pytest
import torch
from torch import nn

import tracetorch as tt

RULES = ["trace", "eprop", "drtrl", "ottt", "sltt"]


def spiking(n_in: int, n_out: int) -> tt.Layer:
    return tt.Layer(nn.Linear(n_in, n_out), tt.LIF(half_life=4))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = spiking(6, 6), spiking(6, 6)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


def make(kind: str) -> nn.Module:
    torch.manual_seed(0)
    middle = {
        "plain": [nn.Sequential(nn.ReLU(), nn.Linear(6, 6)), spiking(6, 6)],
        "residual": [Residual()],
        "batchnorm in training": [nn.BatchNorm1d(6), spiking(6, 6)],
        "a softmax over the batch": [nn.Softmax(dim=0), spiking(6, 6)],
        "a lambda": [Twice(), spiking(6, 6)],
    }[kind]
    return nn.Sequential(spiking(5, 6), *middle, tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5))).double()


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


def rule_for(name: str, kind: str) -> tt.rules.Rule:
    """The rule; told its filter where a layer feeds two others, so that it cannot be found."""
    if kind == "residual" and name == "eprop":
        return tt.rules.eprop(kappa=0.7)
    return tt.rules.PRESETS[name]()


KINDS = ["plain", "residual", "batchnorm in training", "a softmax over the batch", "a lambda"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_is_its_single_steps(kind, rule) -> None:
    xs, ws = torch.rand(11, 4, 5).double() * 2, torch.randn(11, 4, 2).double()
    results = []
    for split in ([1] * 11, [11], [4, 1, 6]):
        model = make(kind)
        tt.set_rule(model, rule_for(rule, kind))
        outs, t = [], 0
        for k in split:
            y = model(xs[t]).unsqueeze(0) if split == [1] * 11 else tt.scan(model, xs[t : t + k])
            (y * ws[t : t + k]).sum().backward()
            outs.append(y.detach())
            t += k
        results.append([torch.cat(outs), *(p.grad for p in model.parameters())])
    assert results[0][0].abs().mean() > 0.02
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [*RULES, "traced_bptt", "tbptt", "bptt", "rate"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_output_alone_is_that_of_a_whole_scan(kind, rule) -> None:
    xs = torch.rand(11, 4, 5).double() * 2
    if rule == "rate" and kind == "residual":
        model = make(kind)
        tt.set_rule(model, tt.rules.rate())
        with pytest.raises(RuntimeError, match=r"Residual can only be run step by step"):
            tt.scan(model, xs)
        return
    results = []
    for out in ("last", "all"):
        model = make(kind)
        tt.set_rule(model, rule_for(rule, kind))
        y = tt.scan(model, xs, out=out)
        y = y if out == "last" else y[-1]
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", ["traced_bptt", "tbptt", "bptt"])
def test_an_open_window_is_a_layerwise_scan(rule) -> None:
    class Container(nn.Module):
        def __init__(self, inner) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    xs = torch.rand(12, 4, 5).double() * 2
    results = []
    for wrap in (False, True):
        model = make("plain")
        model = Container(model) if wrap else model
        tt.set_rule(model, tt.rules.PRESETS[rule]())
        losses = [tt.scan(model, part).square().sum() for part in (xs if rule == "bptt" else xs[:5], xs[5:])]
        sum(losses).backward()
        results.append([p.grad for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_dropout_and_hooks_do_not_break_a_scan() -> None:
    model = nn.Sequential(spiking(5, 6), nn.Dropout(0.5), tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5)))
    seen = []
    model[1].register_forward_hook(lambda m, i, o: seen.append(o.shape))
    tt.scan(model, torch.rand(7, 3, 5), out="last").sum().backward()
    assert seen == [torch.Size([3, 6])] * 7


@pytest.mark.parametrize("rule", ["trace", "eprop", "drtrl", "ottt", "sltt", "traced_bptt", "tbptt"])
def test_graphs_do_not_grow_with_the_stream(rule) -> None:
    def depth(tensor: torch.Tensor) -> int:
        seen, todo = set(), [tensor.grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [n for n, _ in node.next_functions]
        return len(seen)

    model = make("plain")
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    sizes = []
    for _ in range(4):
        y = model(torch.rand(4, 5).double())
        sizes.append(depth(y))
        y.sum().backward()
    assert sizes[1] == sizes[2] == sizes[3]


def test_scan_is_a_module_too() -> None:
    model = make("plain")
    xs = torch.rand(5, 4, 5).double()
    ys = tt.scan(model, xs)
    wrapped = tt.Scan(model)
    tt.reset(wrapped)
    assert torch.equal(wrapped(xs), ys)


@pytest.mark.parametrize("rule", ["trace", "sltt", "bptt"])
def test_a_layer_that_runs_twice_in_a_step_is_refused(rule) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = spiking(5, 5)

        def forward(self, x):
            return self.layer(self.layer(x))

    model = Shared()
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    with pytest.raises(RuntimeError, match="tied"):
        tt.scan(model, torch.rand(3, 2, 5))


@pytest.mark.parametrize("rule", [*RULES, "traced_bptt", "tbptt", "bptt", "rate"])
@pytest.mark.parametrize("scanned", [False, True])
def test_a_batch_of_none_passes_and_teaches_nothing(rule, scanned) -> None:
    back = None if rule in ("ottt", "sltt", "rate") else nn.Linear(6, 6)
    first = tt.Layer(nn.Conv2d(1, 2, 3), tt.LIF(half_life=4))
    wide = tt.Layer(nn.Linear(2 * 26 * 26, 6), tt.LIF(half_life=4), recurrent=back)
    model = nn.Sequential(first, nn.Flatten(), wide, tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5)))
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    xs = torch.zeros(3, 0, 1, 28, 28)
    for y in [tt.scan(model, xs)] if scanned or rule == "rate" else (model(x) for x in xs):
        assert y.shape[-2:] == (0, 2)
        y.sum().backward(retain_graph=rule == "bptt")
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("rule", ["trace", "ottt", "drtrl", "sltt"])
@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_a_long_scan_in_pieces_is_the_whole_one(kind, rule, monkeypatch) -> None:
    seen: list[int] = []
    carry = tt.Layer.carry
    monkeypatch.setattr(tt.Layer, "carry", lambda layer, xs: (seen.append(xs.shape[0]), carry(layer, xs))[1])
    first = nn.Conv1d(1, 2, 3, padding=1) if kind == "convolution" else nn.Linear(5, 10)
    lead = (1, 5) if kind == "convolution" else (5,)
    torch.manual_seed(0)
    model = nn.Sequential(
        tt.Layer(first, tt.LIF(half_life=4)), nn.Flatten(), tt.Layer(nn.Linear(10, 2), tt.LI(half_life=5))
    ).double()
    tt.set_rule(model, rule_for(rule, kind))
    xs = torch.rand(50, 3, *lead).double() * 3
    found = []
    for piece in (2**22, 3 * 10 * 16):  # the widest layer has 10 units, whatever its synapse
        monkeypatch.setattr(sys.modules["tracetorch.scan"], "STRETCH", piece)
        tt.reset(model)
        tt.scan(model, xs[:2], out="last")  # a convolution has units when it has run
        model.zero_grad()
        seen.clear()
        y = tt.scan(model, xs, out="last")
        assert seen == ([] if piece == 2**22 else [16, 16, 16, 16, 16, 16])
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in model.parameters())])
    assert found[0][1].abs().sum() > 0
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [tt.rules.eprop()], ids=str)
@pytest.mark.parametrize("scanned", [True, False])
def test_a_layer_that_feeds_two_others_has_no_filter_to_be_found(rule, scanned) -> None:
    model, xs = make("residual"), torch.rand(3, 4, 5).double()
    tt.set_rule(model, rule)
    tt.reset(model)
    with pytest.raises(RuntimeError, match="feeds several others"):
        tt.scan(model, xs) if scanned else model(xs[0])
