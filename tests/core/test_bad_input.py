"""Bad input is right, or raises a clear error and leaves the network as it was."""

import sys

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.engine import Spec


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)), tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)))


def unchanged(model: nn.Module, call, error, match: str) -> None:
    before = tt.get_state(model)
    with pytest.raises(error, match=match):
        call()
    after = tt.get_state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("rule", ["trace", "eprop", "drtrl", "ottt", "traced_bptt", "tbptt", "sltt"])
@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.ones(3, 6), r"takes inputs \[batch, ..., 5\].*got \[3, 6\]"),
        (torch.ones(4, 5), "batch has 4 rows, the state 3.*tt.reset"),
        (torch.full((3, 5), float("nan")), "NaN or infinity.*check_finite"),
        (torch.full((3, 5), float("inf")), "NaN or infinity.*check_finite"),
        (torch.ones(3, 5, device="meta"), "on meta, the layer on cpu"),
    ],
)
def test_a_wrong_input_leaves_the_network_as_it_was(rule, x, match) -> None:
    model = net()
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    model(torch.rand(3, 5)).sum().backward()
    unchanged(model, lambda: model(x), ValueError, match)


def test_empty_windows_are_refused() -> None:
    model = net()
    model(torch.rand(3, 5))
    unchanged(model, lambda: tt.scan(model, torch.ones(0, 3, 5)), ValueError, "at least one step")
    unchanged(model, lambda: model[0].scan(torch.ones(0, 3, 5)), ValueError, "at least one step")
    unchanged(model, lambda: tt.scan(model, torch.ones(2, 3, 5), out="first"), ValueError, "'all' or 'last'")


def test_spikes_may_be_integers_or_booleans() -> None:
    model = net()
    x = torch.rand(3, 5) < 0.5
    outs = []
    for kind in (torch.float32, torch.bool, torch.int64, torch.uint8):
        tt.reset(model)
        outs.append(model(x.to(kind)))
    assert all(torch.equal(outs[0], o) for o in outs)


def test_a_loss_that_is_not_finite_writes_no_gradient() -> None:
    model = net()
    loss = model(torch.rand(3, 5)).sum() * float("nan")
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        loss.backward()
    assert all(p.grad is None for p in model.parameters())


def test_the_check_can_be_turned_off_and_on() -> None:
    model = net()
    tt.check_finite(model, False)
    model(torch.full((1, 5), float("nan")))
    assert model[0].state.v.isnan().all()
    tt.reset(model)
    tt.check_finite(model, True)
    with pytest.raises(ValueError, match="NaN"):
        model(torch.full((1, 5), float("nan")))


@pytest.mark.parametrize("rule", ["eprop", "drtrl"])
def test_a_backward_after_the_traces_moved_on_says_so(rule) -> None:
    model = nn.Sequential(
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=tt.Learnable(torch.linspace(2, 8, 7)))),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)),
    )
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    for _ in range(2):
        model(torch.rand(3, 5)).sum().backward()
    first = model(torch.rand(3, 5))
    model(torch.rand(3, 5))
    with pytest.raises(RuntimeError, match=r"traces moved on.*tt.scan"):
        first.sum().backward()


@pytest.mark.parametrize("rule", ["trace", "ottt"])
def test_small_traces_allow_several_forwards_before_one_backward(rule) -> None:
    grads = []
    xs = torch.rand(6, 3, 5, dtype=torch.float64) * 2
    for together in (False, True):
        model = net().double()
        tt.set_rule(model, tt.rules.PRESETS[rule]())
        if together:
            sum(model(x).square().sum() for x in xs).backward()
        else:
            for x in xs:
                model(x).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_bptt_says_what_to_do_at_its_second_backward() -> None:
    model = net()
    tt.set_rule(model, tt.rules.bptt())
    model(torch.rand(3, 5)).sum().backward()
    loss = model(torch.rand(3, 5)).sum()
    with pytest.raises(RuntimeError, match="sum the losses"):
        loss.backward()


def test_rate_wants_one_scan() -> None:
    model = net()
    tt.set_rule(model, tt.rules.rate())
    tt.scan(model, torch.rand(4, 3, 5)).sum().backward()
    unchanged(model, lambda: tt.scan(model, torch.rand(4, 3, 5)), RuntimeError, "one tt.scan")


@pytest.mark.parametrize("rule", list(tt.rules.PRESETS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_state_in_single(rule, dtype) -> None:
    model = nn.Sequential(*net(), tt.Layer(nn.Linear(2, 2), tt.LI(half_life=6))).to(dtype)
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    for _ in range(1 if rule == "rate" else 2):
        y = tt.scan(model, torch.rand(4, 3, 5).to(dtype))
        assert y.dtype == dtype
        if rule != "bptt":
            y.float().square().sum().backward()
    assert model[0].state.v.dtype == torch.float32
    if rule != "bptt":
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(g is not None and g.dtype == dtype and g.isfinite().all() for g in grads)


@pytest.mark.parametrize("rule", list(tt.rules.PRESETS))
def test_autocast_keeps_the_state_in_single(rule) -> None:
    model = net()
    tt.set_rule(model, tt.rules.PRESETS[rule]())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = tt.scan(model, torch.rand(4, 3, 5))
        loss = nn.functional.cross_entropy(y.flatten(0, 1), torch.zeros(12, dtype=torch.int64))
    loss.backward()
    assert model[0].state.v.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def test_one_layer_twice_is_refused() -> None:
    layer = tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=4))
    with pytest.raises(ValueError, match="tied"):
        tt.reset(nn.Sequential(layer, layer))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(self.layer(x))

    with pytest.raises(RuntimeError, match="tied"):
        tt.scan(Twice(), torch.rand(3, 2, 3))


def test_a_failing_step_leaves_the_network_as_it_was() -> None:
    class Fragile(tt.Neuron):
        def step(self, s, current):
            if (current > 100).any():
                raise ArithmeticError("too much")
            v = self.beta * s.v + current
            return s.replace(v=v), self.surrogate(v - self.threshold)

    model = tt.Layer(nn.Linear(2, 3), Fragile(half_life=3))
    model(torch.ones(2, 2)).sum().backward()
    unchanged(model, lambda: model(torch.full((2, 2), 1e6)), ArithmeticError, "too much")


class Stepped(nn.Module):
    """A container that can only be run step by step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize("rule", ["trace", "eprop", "drtrl", "ottt", "traced_bptt", "tbptt", "sltt"])
@pytest.mark.parametrize("steps", [6, 48])
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("fails", ["first layer", "second layer", "container"])
def test_a_window_that_fails_late_leaves_the_network_as_it_was(rule, steps, backend, fails, monkeypatch) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    monkeypatch.setattr(sys.modules["tracetorch.scan"], "STRETCH", 16)
    inner = net()
    inner[0].neuron = tt.LIF(half_life=tt.Learnable(4.0, shape=(7,)))
    model = Stepped(inner) if fails == "container" else inner
    tt.set_rule(model, tt.rules.PRESETS[rule](**({"approximate": True} if rule == "ottt" else {})))
    tt.set_backend(model, backend)
    xs = torch.rand(steps, 3, 5)
    tt.scan(model, xs, out="last").sum().backward()
    bad = xs.clone()
    bad[-1, 0, 0] = float("nan")
    if fails == "second layer":
        bad = xs
        _fail(monkeypatch, inner[1], steps=steps)
        unchanged(model, lambda: tt.scan(model, bad, out="last"), ValueError, "told to")
        monkeypatch.undo()
    else:
        unchanged(model, lambda: tt.scan(model, bad, out="last"), ValueError, "NaN or infinity")
    twin = tt.testing.clone(model)
    tt.set_state(twin, tt.get_state(model))
    for one in (model, twin):
        one.zero_grad()
        tt.scan(one, xs, out="last").sum().backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad) and p.grad.abs().sum() > 0


def _fail(monkeypatch: pytest.MonkeyPatch, layer: tt.Layer, *, steps: int) -> None:
    """Let a layer fail at its last window."""
    accepted, seen = Spec.accepted, []

    def told(spec: Spec, x: torch.Tensor, batch: int | None, *, window: bool = False) -> torch.Tensor:
        if spec.neuron is layer.neuron:
            seen.append(x.shape[0] if window else 0)
            if sum(seen) == steps:
                raise ValueError("told to")
        return accepted(spec, x, batch, window=window)

    monkeypatch.setattr(Spec, "accepted", told)
