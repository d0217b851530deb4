"""NeuroBench on our networks: its metrics are what `tt.count_operations` counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tracetorch as tt

pytest.importorskip("neurobench", reason="needs neurobench")

from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)


def networks() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    torch.manual_seed(0)
    dense = nn.Sequential(
        tt.Layer(nn.Linear(6, 20), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(20, 8, bias=False), tt.ALIF(half_life=5, adaptation_half_life=20)),
        tt.Layer(nn.Linear(8, 3), tt.LI(half_life=8)),
    )
    fed = nn.Sequential(
        tt.Layer(nn.Linear(6, 20), tt.LIF(half_life=5), recurrent=nn.Linear(20, 20, bias=False)),
        tt.Layer(nn.Linear(20, 3), tt.LI(half_life=8)),
    )
    conv = nn.Sequential(
        tt.Layer(nn.Conv2d(2, 4, 3, bias=False), tt.LIF(half_life=5)),
        nn.Flatten(),
        tt.Layer(nn.Linear(4 * 16, 3), tt.LI(half_life=8)),
    )
    with torch.no_grad():
        for net in (dense, fed, conv):
            net[0].synapse.weight.mul_(3)
        dense[1].synapse.weight.mul_(4)
        dense[1].synapse.weight[::2, ::3] = 0
    flat = (torch.rand(10, 30, 6) < 0.4).float()
    return {
        "dense": (dense, flat),
        "recurrent": (fed, flat),
        "conv": (conv, (torch.rand(10, 30, 2, 6, 6) < 0.2).float()),
    }


@pytest.mark.parametrize("name", ["dense", "recurrent", "conv"])
def test_its_metrics_are_our_counts(name: str) -> None:
    net, xs = networks()[name]
    with torch.no_grad(), tt.count_operations(net) as counts:
        outputs = tt.scan(net, xs.transpose(0, 1)).transpose(0, 1)
    tt.reset(net)
    labels = outputs.sum(1).argmax(-1)
    labels[0] = (labels[0] + 1) % 3  # one is wrong
    model = tt.export.to_neurobench(net)
    torch.testing.assert_close(model(xs), outputs)
    metrics = [
        [ConnectionSparsity, Footprint, ParameterCount],
        [ActivationSparsity, SynapticOperations, ClassificationAccuracy],
    ]
    loader = DataLoader(TensorDataset(xs, labels), batch_size=len(xs))
    found = Benchmark(model, loader, [], [lambda ys: ys.sum(1).argmax(-1)], metrics).run(quiet=True)

    spiking = [c for key, c in counts.items() if not isinstance(tt.layers(net)[key].neuron, tt.Readout)]
    active, units = sum(c.active for c in spiking), sum(c.outputs for c in spiking)
    assert 0.02 < active / units < 0.98  # they fire
    assert found["ActivationSparsity"] == pytest.approx(1 - active / units)
    total = sum(c.effective for c in counts.values())
    operations = found["SynapticOperations"]
    assert operations["Effective_ACs"] + operations["Effective_MACs"] == pytest.approx(total / len(xs))
    assert operations["Dense"] == pytest.approx(sum(c.dense for c in counts.values()) / len(xs))
    assert found["ClassificationAccuracy"] == pytest.approx(0.9)
    assert found["ParameterCount"] == sum(p.numel() for p in net.parameters())
    weights, connected = (sum(getattr(c, key) for c in counts.values()) for key in ("weights", "connected"))
    assert found["ConnectionSparsity"] == pytest.approx(1 - connected / weights, abs=1e-3)


def test_the_network_is_left_as_it_was() -> None:
    net, xs = networks()["dense"]
    with torch.no_grad():
        before = tt.scan(net, xs.transpose(0, 1))
        carried = {key: value.clone() for key, value in tt.get_state(net).items()}
        tt.export.to_neurobench(net)(xs)
        assert all(torch.equal(value, carried[key]) for key, value in tt.get_state(net).items())
        tt.reset(net)
        assert torch.equal(tt.scan(net, xs.transpose(0, 1)), before)
