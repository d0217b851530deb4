"""Exported steps and windows equal the network's own, in torch and under torch.export; the rest is refused."""

import pytest
import torch
from export.networks import NETWORKS, make
from torch import nn

import tracetorch as tt


def steps(net, xs):
    with torch.no_grad():
        return torch.stack([net(x) for x in xs])


def fires(net, xs):
    """Return each spiking layer's share of steps and units that fire."""
    rates = {}
    hooks = []
    for name, layer in tt.layers(net).items():
        if not isinstance(layer.neuron, tt.Readout):
            rates[name] = []
            hooks.append(layer.register_forward_hook(lambda m, i, z, name=name: rates[name].append(z.mean().item())))
    tt.reset(net)
    steps(net, xs)
    for hook in hooks:
        hook.remove()
    tt.reset(net)
    return {name: sum(r) / len(r) for name, r in rates.items()}


def run(module, xs, state):
    ys = []
    for x in xs:
        y, state = module(x, state)
        ys.append(y)
    return torch.stack(ys), state


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_equals_the_networks_own(name):
    net, xs = make(name)
    assert all(0.01 < rate < 0.99 for rate in fires(net, xs).values())
    module = tt.export.step(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    expected = steps(net, xs)
    found, state = run(module, xs, module.zeros(xs[0]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    saved = module.restored(tt.get_state(net))
    for key, a, b in zip(module.names, state, saved, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6, msg=key)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_program_equals_the_networks_own_steps_for_any_batch(name):
    net, xs = make(name)
    module = tt.export.step(net)
    batch = {0: torch.export.Dim.DYNAMIC}
    example = (xs[0], module.zeros(xs[0]))
    program = torch.export.export(module, example, dynamic_shapes=(batch, tuple(batch for _ in example[1]))).module()
    more = torch.cat([xs, xs.flip(0)], 1)
    found, _ = run(program, more, module.zeros(more[0]))
    torch.testing.assert_close(found, steps(net, more), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["dense", "recurrent", "branched"])
def test_a_window_equals_the_scan(name):
    net, xs = make(name, steps=12)
    net, xs = net.double(), xs.double()
    module = tt.export.window(net, 12)
    program = torch.export.export(module, (xs, module.zeros(xs))).module()
    ys, state = program(xs, module.zeros(xs))
    with torch.no_grad():
        torch.testing.assert_close(ys, tt.scan(net, xs), rtol=0, atol=1e-12)
        torch.testing.assert_close(program(xs, state)[0], tt.scan(net, xs), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="12 steps, the input of 11"):
        module(xs[1:], state)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        tt.export.window(net, 0)


@pytest.mark.parametrize("name", ["recurrent", "one layer"])
def test_a_stream_goes_on_from_the_networks_state(name):
    net, xs = make(name)
    steps(net, xs[:20])
    mask = torch.tensor([True, False, False, True, False])
    tt.reset(net, mask)
    module = tt.export.step(net)
    state = module.restored(tt.get_state(net))
    assert all(bool((v[mask] == 0).all()) for v in state)
    torch.testing.assert_close(run(module, xs[20:], state)[0], steps(net, xs[20:]), rtol=0, atol=1e-6)


def test_zeros_in_a_row_reset_it():
    net, xs = make("recurrent")
    module = tt.export.step(net)
    _, state = run(module, xs[:20], module.zeros(xs[0]))
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])
    state = tuple(v * keep.reshape(-1, *[1] * (v.dim() - 1)) for v in state)
    fresh = module.zeros(xs[0])
    torch.testing.assert_close(run(module, xs[20:], state)[0][:, 1], run(module, xs[20:], fresh)[0][:, 1])


def test_an_export_is_of_the_network_as_it_was():
    net, xs = make("dense")
    module = tt.export.step(net)
    expected, _ = run(module, xs, module.zeros(xs[0]))
    with torch.no_grad():
        net[0].synapse.weight.mul_(0.1)
    found, _ = run(module, xs, module.zeros(xs[0]))
    assert torch.equal(found, expected)
    assert not torch.allclose(steps(net, xs), expected)


def test_names_are_of_layers_and_states():
    assert tt.export.step(make("recurrent")[0]).names == ("0/i", "0/v", "0/outputs", "1/v")
    assert tt.export.step(make("one layer")[0]).names == ("v",)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_number_formats(dtype):
    net, xs = make("recurrent")
    net.to(dtype)
    module = tt.export.step(net)
    found, _ = run(module, xs.to(dtype), module.zeros(xs[0].to(dtype)))
    expected = steps(net, xs.to(dtype))
    assert found.dtype == expected.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 0.05)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = tt.Layer(nn.Linear(6, 4), tt.LIF(half_life=3))
        self.layers = [tt.Layer(nn.Linear(4, 3), tt.LI(half_life=3))]  # no nn.ModuleList

    def forward(self, x):
        return self.layers[0](self.seen(x))


class Skipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (tt.Layer(nn.Linear(6, 6), tt.LIF(half_life=3)) for _ in range(2))

    def forward(self, x):
        return self.a(x)


def test_what_cannot_be_exported_raises_with_the_reason():
    net, xs = make("dense")
    with pytest.raises(TypeError, match="must be an nn"):
        tt.export.step(xs)
    with pytest.raises(ValueError, match=r"no tt\.Layer"):
        tt.export.step(nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"tt\.export\.window"):
        tt.export.step(tt.Scan(net))
    hook = net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(TypeError, match="'0' has hooks"):
        tt.export.step(net)
    hook.remove()
    module = tt.export.step(nn.Sequential(Counting(), *net))
    with pytest.raises(ValueError, match=r"'0\.calls'"):
        module.zeros(xs[0])
    module = tt.export.step(Skipped())
    with pytest.raises(ValueError, match="'b' did not run"):
        module.zeros(xs[0])
    module = tt.export.step(net)
    with pytest.raises(ValueError, match=r"4 tensors \(0/v, 1/v, 1/a, 2/v\), got 1"):
        module(xs[0], (xs[0],))
    with pytest.raises(ValueError, match=r"no '0/s\.0'"):
        module.restored(tt.get_state(net))


def test_a_layer_that_torch_does_not_see_is_not_exported_as_a_constant():
    module = tt.export.step(Hidden())
    x = torch.rand(2, 6)
    with pytest.raises(Exception, match=r"tt\.export\.step"):
        torch.export.export(module, (x, (torch.zeros(2, 4),)))


def test_torch_names_what_branches_on_values():
    class Branching(tt.Neuron):
        def step(self, s, current):
            v = self.beta * s.v + current
            return s.replace(v=v), v if v.sum() > 0 else -v

    net = nn.Sequential(tt.Layer(nn.Linear(3, 2), Branching(half_life=3)))
    module = tt.export.step(net)
    x = torch.rand(2, 3)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(module, (x, module.zeros(x)))


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_of_a_step_may_be_written_into(name):
    found = []
    for in_place in (False, True):
        net, xs = make(name)
        f = tt.export.step(net)
        state, ys = f.zeros(xs[0]), []
        for x in xs[:6]:
            y, state = f(x, state)
            ys.append(y.clone())
            if in_place:
                y.mul_(0.5)
        found.append(torch.stack(ys))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert found[0].any()
