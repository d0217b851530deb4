"""The fused CPU kernels against the readable forms, alone and under whole networks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from ops.readable import F64, NAMES, case, check, compare, expected
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.ops import walk
from tracetorch.ops.walk import backends

pytest.importorskip("numba")
from tracetorch.ops import fused as kernels

ALL = [r for r in tt.rules.PRESETS if r != "rate"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "batch", "units"), [(63, 2, 7)])
def test_kernels_equal_the_readable_forms(name: str, steps: int, batch: int, units: int):
    check(kernels, case(name, steps, batch, units), 1e-10)


@pytest.mark.parametrize(("steps", "batch", "units"), [(1, 3, 1), (5, 1, 257), (1000, 1, 1)])
def test_other_sizes_equal_the_readable_forms(steps: int, batch: int, units: int):
    check(kernels, case("lif hard", steps, batch, units), 1e-10)


def test_float32_spikes_are_the_readable_ones():
    c = case("lif", 20, 2, 7, torch.float32)
    found = kernels.run_forward(c.neuron.scalar(), c.current, None, s=c.s, params=c.params, record=False)
    compare(found.z, expected(c).forward.z, "z", 0.0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("units", [7, 257])
def test_events_give_the_dense_currents_and_sums(units: int, bias: bool):
    torch.manual_seed(0)
    c = case("li", 13, 3, units)
    x = (torch.rand(13, 3, 11) < 0.4) * torch.randn(13, 3, 11, dtype=F64)
    layer = nn.Linear(11, units, bias=bias, dtype=F64)
    weights, start = torch.rand(2, 13, dtype=F64), torch.randn(2, 3, 11, dtype=F64)
    found = kernels.run_forward(
        c.neuron.scalar(),
        x,
        (layer.weight, layer.bias),
        s=c.s,
        params=c.params,
        record=True,
        sums=(weights, start),
    )
    compare(found.drive, layer(x).detach(), "currents", 1e-12)
    compare(found.sums, start + torch.einsum("rt,tbk->rbk", weights, x), "sums", 1e-12)
    assert found.finite
    x[5, 1, 2] = torch.nan
    again = kernels.run_forward(
        c.neuron.scalar(), x, (layer.weight, layer.bias), s=c.s, params=c.params, record=True, sums=(weights, start)
    )
    assert not again.finite


@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 1, 1), (300, 17, 5), (129, 3, 257)])
def test_the_gradient_over_events_is_the_dense_one(rows: int, inputs: int, units: int):
    x = (torch.rand(rows, inputs) < 0.3) * torch.randn(rows, inputs, dtype=F64)
    q = torch.randn(rows, units, dtype=F64)
    compare(kernels.run_weight_grad(x, q), q.t() @ x, "gradient", 1e-12)


def network(learned: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    decay = tt.Learnable(8.0) if learned else 8.0
    net = nn.Sequential(
        tt.Layer(nn.Linear(6, 9), tt.LIF(half_life=decay, surrogate=tt.surrogates.FastSigmoid(2.0))),
        tt.Layer(nn.Linear(9, 7, bias=False), tt.LIF(half_life=8.0, surrogate=tt.surrogates.FastSigmoid(2.0))),
        tt.Layer(nn.Linear(7, 4), tt.LI(half_life=5.0)),
    ).double()
    with torch.no_grad():
        for layer in net[:2]:
            layer.synapse.weight.mul_(4)
    return net


def learn(net: nn.Sequential, rule: str, backend: str, out: str, sparse: bool | None = None) -> dict[str, Tensor]:
    """Two windows with a row reset between them, the second beginning with what the first left."""
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.set_backend(net, backend, sparse=sparse)
    tt.reset(net)
    net.zero_grad()
    torch.manual_seed(1)
    xs, target = (torch.rand(40, 3, 6) < 0.4).double(), torch.randn(3, 4, dtype=F64)
    found = {}
    for i, part in enumerate(xs.split(25)):
        ys = tt.scan(net, part, out=out)
        (ys - target).square().sum().backward()
        found[f"out {i}"] = ys.detach()
        if rule != "bptt":
            tt.reset(net, torch.tensor([True, False, False]))
    assert found["out 0"].abs().max() > 0.1
    return found | {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("out", ["last", "all"])
@pytest.mark.parametrize("rule", [r for r in ALL if r != "bptt"])
def test_a_network_learns_the_same(rule: str, out: str):
    net = network()
    want, found = learn(net, rule, "reference", out), learn(net, rule, "fused", out)
    assert want.keys() == found.keys()
    for key, value in want.items():
        compare(found[key], value, f"{rule} {key}", 1e-10)


@pytest.mark.parametrize("rule", ["trace", "eprop", "traced_bptt"])
def test_learned_decays_learn_the_same(rule: str):
    net = network(learned=True)
    want, found = learn(net, rule, "reference", "all"), learn(net, rule, "fused", "all")
    for key, value in want.items():
        compare(found[key], value, f"{rule} {key}", 1e-10)


@pytest.mark.parametrize("rule", ["trace", "ottt", "eprop", "traced_bptt"])
@pytest.mark.parametrize("out", ["last", "all"])
def test_events_and_dense_products_learn_the_same(rule: str, out: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tracetorch.layer.FEW", 1)
    net = network()
    want, found = learn(net, rule, "fused", out, sparse=False), learn(net, rule, "fused", out, sparse=True)
    for key, value in want.items():
        compare(found[key], value, f"{rule} {key}", 1e-10)


def test_a_window_that_is_not_finite_leaves_the_network_as_it_was():
    net = network()
    tt.set_backend(net, "fused", sparse=True)
    xs = (torch.rand(20, 3, 6) < 0.4).double()
    tt.scan(net, xs).sum().backward()
    before = tt.get_state(net)
    bad = xs.clone()
    bad[7, 1, 2] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        tt.scan(net, bad)
    after = tt.get_state(net)
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_a_backend_that_cannot_serve_says_why():
    net = network()
    with pytest.raises(ValueError, match="'auto' or one of"):
        tt.set_backend(net, "cuda")
    if backends()["triton"]:
        with pytest.raises(RuntimeError, match="cannot run here"):
            tt.set_backend(net, "triton")

    class Own(tt.Neuron):
        def step(self, s, current):
            v = torch.sort(self.beta * s.v + current).values  # an operation without a scalar form
            return s.replace(v=v), self.surrogate(v - self.threshold)

    layer = tt.Layer(nn.Linear(2, 2), Own(beta=0.5))
    tt.set_backend(layer, "fused")
    with pytest.raises(RuntimeError, match="no step on plain numbers"):
        layer(torch.ones(1, 2))


def test_large_windows_choose_the_kernels_and_small_ones_do_not():
    net = tt.Layer(nn.Linear(70, 256), tt.LIF(half_life=8.0))
    xs = (torch.rand(50, 8, 70) < 0.05).float()
    memory = net.remember(net.like(xs), learns=True)
    assert net.choose(xs, memory).backend == "fused"
    assert net.choose(xs, memory).sparse
    assert not net.choose(torch.rand(50, 8, 70), memory).sparse
    assert net.choose(xs[:1], memory).step is None


def test_kernels_leave_torch_its_threads():
    text = """
import torch
torch.set_num_threads(1)
from tracetorch.ops.fused import run_weight_grad
run_weight_grad(torch.ones(2, 2), torch.ones(2, 2))
assert torch.get_num_threads() == 1, torch.get_num_threads()
"""
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.mark.parametrize(("steps", "batch", "inputs", "units"), [(1, 1, 1, 1), (40, 2, 17, 70)])
def test_carried_eligibilities_are_the_dense_ones(steps: int, batch: int, inputs: int, units: int):
    x = (torch.rand(steps, batch, inputs) < 0.3) * torch.randn(steps, batch, inputs, dtype=F64)
    q, start = torch.randn(steps, batch, units, dtype=F64), torch.rand(batch, units, dtype=F64)
    trace = torch.randn(batch, units, inputs, dtype=F64)
    want = start.unsqueeze(-1) * trace + torch.einsum("tbn,tbk->bnk", q, x)
    kernels.run_carry_full(x, q, start, trace)
    compare(trace, want, "eligibility", 1e-12)


def test_full_eligibility_by_events_learns_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tracetorch.layer.FEW", 1)
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(6, 9), tt.LIF(beta=torch.linspace(0.7, 0.95, 9), reset=tt.HardReset())),
        tt.Layer(nn.Linear(9, 4), tt.LI(half_life=5.0)),
    ).double()
    with torch.no_grad():
        net[0].synapse.weight.mul_(4)
    want, found = learn(net, "drtrl", "reference", "all"), learn(net, "drtrl", "fused", "all", sparse=True)
    for key, value in want.items():
        compare(found[key], value, key, 1e-10)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("steps", "batch", "unit"), [(2, 1, (1,)), (63, 2, (7,)), (5, 3, (2, 3, 43))])
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_credit_filtered_back_is_the_sum_over_later_events(backend, steps, batch, unit, groups, sent):
    torch.manual_seed(0)
    signal, h = torch.randn(2, steps, batch, *unit, dtype=F64)
    h_weight, weight = 0.5 + torch.rand(steps, batch, dtype=F64), 0.5 + torch.rand(steps, groups, batch, dtype=F64)
    decay, bucket = torch.linspace(0.3, 0.9, groups, dtype=F64), torch.randint(groups, unit)
    place = bucket if groups > 1 else bucket[:0]
    found, leaving, credit = walk.credit_back(backend, signal, (h, h_weight), weight, place, decay, sent=sent)
    ones = [1] * len(unit)
    want = signal * h / h_weight.reshape(steps, batch, *ones)
    weighed = want / weight.movedim(1, 2)[..., bucket]
    age = torch.arange(steps).unsqueeze(0) - torch.arange(steps + 1).sub(1).unsqueeze(1)  # of t seen from s
    powers = torch.where(age.reshape(*age.shape, *ones) >= 0, decay[bucket] ** age.reshape(*age.shape, *ones), 0)
    sums = torch.einsum("stn,tbn->sbn", powers.flatten(2), weighed.flatten(2)).view(steps + 1, batch, *unit)
    compare(leaving, sums[0], "leaving", 1e-12)
    compare(found, sums[1:], "filtered", 1e-12)
    if sent:
        compare(credit, want, "credit", 1e-12)


FOUND = """
import numpy as np
from tracetorch.ops.fused.raw import LANES, PICKS, found
for dtype in (np.float32, np.float64):
    for size in (1, 15, 16, 17, 33, 257):
        x = np.where(np.random.default_rng(size).random((3, size)) < 0.3, 2.5, 0).astype(dtype)
        x[1, size // 2] = np.nan
        index = np.zeros(2 + size + LANES, np.uint32)
        count = found(x, size, size, index, 2, size)
        assert (index[2:count] == np.flatnonzero(x[1] != 0)).all(), (dtype, size, index[:count])
print(PICKS)
"""


@pytest.mark.parametrize("cpu", ["host", "generic"])
def test_events_are_found_on_every_processor(cpu: str):
    environment = os.environ if cpu == "host" else os.environ | {"NUMBA_CPU_NAME": cpu}
    done = subprocess.run([sys.executable, "-c", FOUND], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert cpu == "host" or done.stdout.strip() == "False"
