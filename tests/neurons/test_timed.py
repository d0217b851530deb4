"""Neurons that leak by time: against plain autograd, and against a fine regular grid."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, BATCH = 12, 3
SPLITS = ([1] * STEPS, [STEPS], [5, 7])
EXACT = [tt.rules.drtrl(), tt.rules.traced_bptt(), tt.rules.cascade(), tt.rules.eprop()]


def plain(chain: Sequence[tt.Layer], xs: Tensor, dt: Tensor) -> Tensor:
    """Run LIF or ALIF (soft detached reset) and LI by their formulas, with decays to the power of the time."""
    states: list[Tensor | None] = [None] * len(chain)
    adapted: list[Tensor] = [torch.zeros(())] * len(chain)
    found = []
    for t, x in enumerate(xs):
        for i, layer in enumerate(chain):
            current, neuron = layer.synapse(x), layer.neuron.inner
            delta = dt[t].reshape(-1, *[1] * (current.dim() - 1)) if dt.dim() == 2 else dt[t]
            past = torch.zeros_like(current) if states[i] is None else states[i]
            v = torch.exp(delta * torch.log(neuron.beta)) * past + current
            if isinstance(neuron, tt.LI):
                x = states[i] = v
            else:
                adaptive = isinstance(neuron, tt.ALIF)
                x = neuron.surrogate(v - neuron.threshold - (neuron.adaptation * adapted[i] if adaptive else 0))
                adapted[i] = torch.exp(delta * torch.log(neuron.rho)) * adapted[i] + x if adaptive else adapted[i]
                states[i] = v - neuron.threshold * x.detach()
        found.append(x)
    return torch.stack(found)


def learned(net: nn.Module, xs: Tensor, dt: Tensor | float, weight: Tensor, split: Sequence[int]) -> Tensor:
    found, at = [], 0
    tt.reset(net)
    with tt.intervals(net, dt):
        for size in split:
            z = net(xs[at]).unsqueeze(0) if size == 1 else tt.scan(net, xs[at : at + size])
            (z * weight[at : at + size]).sum().backward()
            found.append(z.detach())
            at += size
    return torch.cat(found)


def errors(a: nn.Module, b: nn.Module) -> float:
    named = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p.grad - q.grad).norm() / q.grad.norm()) for p, q in named)


def one(kind: str, neuron: tt.Neuron | None = None) -> tuple[tt.Layer, Tensor]:
    torch.manual_seed(0)
    synapse, shape = {"dense": (nn.Linear(6, 5), (6,)), "convolution": (nn.Conv1d(2, 4, 3), (2, 7))}[kind]
    layer = tt.Layer(synapse, neuron or tt.Timed(tt.LIF(half_life=tt.Learnable(3.0)))).double()
    return layer, 2 * (torch.rand(STEPS, BATCH, *shape, dtype=torch.float64) < 0.6).double()


def times(form: str) -> Tensor:
    shape = {"steps": (STEPS,), "rows": (STEPS, BATCH), "number": ()}[form]
    return 3 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", ["dense", "convolution"])
@pytest.mark.parametrize("form", ["steps", "rows", "number"])
@pytest.mark.parametrize("split", SPLITS, ids=["steps", "scan", "windows"])
def test_one_layer_is_exact(kind: str, form: str, split: list[int]) -> None:
    dt = times(form)
    for rule in [*EXACT, *([tt.rules.bptt()] if len(split) == 1 else [])]:
        layer, xs = one(kind)
        other = copy.deepcopy(layer)
        z = plain([other], xs, dt if dt.dim() else dt.expand(STEPS))
        assert 0.02 < float(z.detach().mean()) < 0.6
        weight = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(2))
        (z * weight).sum().backward()
        tt.set_rule(layer, rule)
        torch.testing.assert_close(learned(layer, xs, dt, weight, split), z.detach(), rtol=0, atol=0)
        assert errors(layer, other) < 1e-10, rule.name


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["LIF", "ALIF"])
def test_backends_agree(backend: str, adaptive: bool) -> None:
    neuron = tt.ALIF(half_life=3.0, adaptation_half_life=tt.Learnable(5.0), adaptation=0.3) if adaptive else None
    layer, xs = one("dense", None if neuron is None else tt.Timed(neuron))
    tt.set_backend(layer, backend)
    other = copy.deepcopy(layer)
    z = plain([other], xs, times("rows"))
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.drtrl())
    learned(layer, xs, times("rows"), weight, [STEPS])
    assert errors(layer, other) < 1e-10


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: tt.LIF(half_life=3.0),
        lambda: tt.LIF(half_life=3.0, reset=tt.HardReset()),
        lambda: tt.ALIF(half_life=3.0, adaptation_half_life=9.0),
        lambda: tt.LI(half_life=3.0),
    ],
    ids=["LIF", "hard reset", "ALIF", "LI"],
)
def test_whole_times_are_steps_without_input(neuron: Callable[[], tt.Neuron]) -> None:
    """An independent account: the plain neuron on a regular grid, silent between the samples."""
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(6, 5, bias=False), tt.Timed(neuron())).double()
    layer.synapse.weight.data.mul_(2)
    grid = tt.Layer(copy.deepcopy(layer.synapse), neuron(), rule=tt.rules.bptt()).double()
    dt = torch.tensor([1, 3, 1, 2, 5, 1, 1, 4, 2, 1, 1, 3])
    at = dt.cumsum(0) - 1
    xs = (torch.rand(STEPS, BATCH, 6, dtype=torch.float64) < 0.6).double()
    fine = torch.zeros(int(dt.sum()), BATCH, 6, dtype=xs.dtype).index_copy(0, at, xs)
    z = tt.scan(grid, fine)
    assert float(z.detach().abs().mean()) > 0.02
    weight = torch.randn(STEPS, BATCH, 5, dtype=xs.dtype)
    (z[at] * weight).sum().backward()
    for rule in (tt.rules.drtrl(), tt.rules.traced_bptt()):
        layer.zero_grad()
        tt.set_rule(layer, rule)
        torch.testing.assert_close(learned(layer, xs, dt, weight, [5, 7]), z[at].detach())
        if not isinstance(layer.neuron.inner, tt.ALIF):  # whose surrogates between the samples feed its adaptation
            assert errors(layer, grid) < 1e-10


def test_controls_without_times_or_traces_the_gradient_is_another() -> None:
    layer, xs = one("dense")
    other = copy.deepcopy(layer)
    z = plain([other], xs, times("rows"))
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    for rule, dt in ((tt.rules.drtrl(), 1.0), (tt.rules.sltt(), times("rows"))):
        layer.zero_grad()
        tt.set_rule(layer, rule)
        learned(layer, xs, dt, weight, [STEPS])
        assert errors(layer, other) > 0.05


def test_without_times_it_is_the_neuron_itself() -> None:
    layer, xs = one("dense")
    same = tt.Layer(layer.synapse, copy.deepcopy(layer.neuron.inner))
    torch.testing.assert_close(tt.scan(layer, xs), tt.scan(same, xs))


def deep() -> tuple[nn.Sequential, Tensor]:
    layer, xs = one("dense")
    return nn.Sequential(layer, tt.Layer(nn.Linear(5, 3), tt.Timed(tt.LI(half_life=6.0)))).double(), xs


@pytest.mark.parametrize("name", ["bptt", "traced_bptt", "tbptt", "cascade"])
def test_a_deep_network_in_one_scan_is_bptt(name: str) -> None:
    net, xs = deep()
    other = copy.deepcopy(net)
    z = plain([*other], xs, times("rows"))
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(net, getattr(tt.rules, name)())
    learned(net, xs, times("rows"), weight, [STEPS])
    assert errors(net, other) < 1e-10


def test_one_loss_at_the_end_and_an_open_window() -> None:
    for out in ("last", "all"):
        net, xs = deep()
        other = copy.deepcopy(net)
        plain([*other], xs, times("rows"))[-1].sum().backward()
        tt.set_rule(net, tt.rules.traced_bptt())
        run: nn.Module = net
        if out == "all":
            net.register_forward_hook(lambda *_: None)  # runs step by step
        with tt.intervals(run, times("rows")):
            y = tt.scan(run, xs, out=out)
        (y if out == "last" else y[-1]).sum().backward()
        assert errors(net, other) < 1e-10


def test_what_cannot_serve_it_is_refused() -> None:
    net, xs = deep()
    for name, match in (("ottt", "drtrl"), ("trace", "one decay"), ("eprop", "one decay")):
        tt.set_rule(net, getattr(tt.rules, name)())
        tt.reset(net)
        with pytest.raises(ValueError, match=match):
            net(xs[0])
    tt.set_rule(net, tt.rules.cascade())
    tt.reset(net)
    tt.scan(net, xs[:5])
    with pytest.raises(RuntimeError, match="window"):
        tt.scan(net, xs[5:])


@pytest.mark.parametrize(
    ("dt", "match"),
    [
        (-1.0, "at least 0"),
        (float("nan"), "finite"),
        (torch.ones(STEPS - 1), "11 are used up|used up"),
        (torch.ones(STEPS + 1), "13 steps, and 12 were run"),
        (torch.ones(STEPS, 2), "3 rows"),
        (torch.ones(1, 2, 3), r"got \[1, 2, 3\]"),
    ],
)
def test_times_that_do_not_fit_are_refused(dt: Tensor | float, match: str) -> None:
    layer, xs = one("dense")

    def run() -> None:
        with tt.intervals(layer, dt):
            tt.scan(layer, xs)

    with pytest.raises(ValueError, match=match):
        run()
    assert layer.core.elapsed is None


def test_neurons_that_leak_by_steps_are_refused_and_others_stay() -> None:
    layer, xs = one("dense")
    counting = nn.Sequential(layer, tt.Layer(nn.Linear(5, 2), tt.IF())).double()
    with tt.intervals(counting, times("steps")):
        tt.scan(counting, xs)
    leaky = nn.Sequential(layer, tt.Layer(nn.Linear(5, 2), tt.LI(half_life=3)))
    units = nn.Sequential(layer, tt.Layer(nn.Linear(5, 4), tt.RTU(2)))
    for net in (leaky, units):
        with pytest.raises(ValueError, match="'1' has none"), tt.intervals(net, 2.0):
            pass
    with pytest.raises(ValueError, match="in groups"), tt.intervals(counting, times("steps")):
        tt.scan(counting, xs, lengths=[12, 5, 7])
    for wrong, kind in (
        (lambda: tt.Timed(tt.RTU(3)), TypeError),
        (lambda: tt.Timed(tt.SynapticLIF(half_life=3, synaptic_half_life=3)), TypeError),
        (lambda: tt.Timed(tt.LIF(half_life=3, refractory=2)), ValueError),
        (lambda: tt.Timed(tt.LIF(half_life=3, reset=tt.SoftReset(decayed=False))), ValueError),
    ):
        with pytest.raises(kind, match=r"tt\.Timed takes"):
            wrong()


def test_a_recurrent_layer_is_autograd_inside_a_window() -> None:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(6, 5), tt.Timed(tt.LIF(half_life=3.0)), recurrent=nn.Linear(5, 5, bias=False)).double()
    other, (_, xs), dt = copy.deepcopy(layer), one("dense"), times("rows")
    v = z = torch.zeros(BATCH, 5, dtype=xs.dtype)
    found = []
    for t, x in enumerate(xs):
        v = other.neuron.inner.beta ** dt[t].unsqueeze(1) * v + other.synapse(x) + other.recurrent(z)
        z = other.neuron.inner.surrogate(v - 1)
        v = v - z.detach()
        found.append(z)
    z = torch.stack(found)
    weight = torch.randn(z.shape, dtype=z.dtype)
    (z * weight).sum().backward()
    tt.set_rule(layer, tt.rules.traced_bptt())
    torch.testing.assert_close(learned(layer, xs, dt, weight, [STEPS]), z.detach())
    assert errors(layer, other) < 1e-10


def test_copies_pickles_and_states_carry_it() -> None:
    net, xs = deep()
    tt.set_rule(net, tt.rules.drtrl())
    net(xs[0])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert isinstance(other[1].neuron, tt.Readout)
        torch.testing.assert_close(other(xs[1]), copy.deepcopy(net)(xs[1]))
