"""A network exported runs in snnTorch and in Norse with the same spike trains, and theirs come here."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt

nir = pytest.importorskip("nir", reason="needs the package nir")
pytest.importorskip("nirtorch", reason="needs the package nirtorch")

HARD = tt.HardReset()


def trained(recurrent: bool = False, *, normalized: bool = False, synaptic: bool = False) -> nn.Sequential:
    """A network after some steps of training, whose spikes are neither rare nor everywhere."""
    torch.manual_seed(0)

    shared = {"half_life": 6, "reset": HARD, "normalized": normalized, "threshold": 0.1 if normalized else 1.0}

    def neuron() -> tt.Neuron:
        return tt.SynapticLIF(synaptic_half_life=2, **shared) if synaptic else tt.LIF(**shared)

    back = nn.Linear(20, 20) if recurrent else None
    net = nn.Sequential(tt.Layer(nn.Linear(10, 20), neuron(), recurrent=back), tt.Layer(nn.Linear(20, 5), neuron()))
    with torch.no_grad():
        for layer in net:
            layer.synapse.weight.mul_(3)
    optimizer, xs = torch.optim.SGD(net.parameters(), lr=0.01), torch.rand(40, 4, 10)
    tt.set_rule(net, tt.rules.bptt())
    for _ in range(3):
        tt.reset(net)
        ((tt.scan(net, xs).mean(0) - 0.3) ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


def spikes(net: nn.Module, xs: torch.Tensor) -> torch.Tensor:
    tt.reset(net)
    with torch.no_grad():
        zs = tt.scan(net, xs)
    assert 0.02 < float(zs.mean()) < 0.6
    return zs


def executed(net: nn.Module, xs: torch.Tensor) -> torch.Tensor:
    """Run a module of nirtorch, which takes and returns a state."""
    outputs, state = [], None
    with torch.no_grad():
        for x in xs:
            z, state = net(x) if state is None else net(x, state)
            outputs.append(z)
    return torch.stack(outputs)


@pytest.mark.parametrize("synaptic", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
def test_it_runs_in_snntorch(recurrent: bool, synaptic: bool) -> None:
    pytest.importorskip("snntorch", reason="needs the package snntorch")
    from snntorch.import_nir import import_from_nir

    net, xs = trained(recurrent, synaptic=synaptic), torch.rand(60, 4, 10)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = import_from_nir(tt.interop.to_nir(net))
    assert torch.equal(executed(theirs, xs), spikes(net, xs))


@pytest.mark.parametrize(("normalized", "unit_resistance"), [(True, False), (False, True)])
@pytest.mark.parametrize("synaptic", [False, True])
def test_it_runs_in_norse(synaptic: bool, normalized: bool, unit_resistance: bool) -> None:
    norse = pytest.importorskip("norse.torch", reason="needs the package norse")
    net, xs = trained(normalized=normalized, synaptic=synaptic), torch.rand(60, 4, 10)
    graph = tt.interop.to_nir(net, unit_resistance=unit_resistance)
    theirs = norse.from_nir(graph, dt=1e-4)
    assert torch.equal(executed(theirs, xs), spikes(net, xs))


def test_if_runs_in_norse() -> None:
    norse = pytest.importorskip("norse.torch", reason="needs the package norse")
    torch.manual_seed(0)
    net = nn.Sequential(tt.Layer(nn.Linear(10, 20), tt.IF(reset=HARD)))
    xs = torch.rand(60, 4, 10)
    theirs = norse.from_nir(tt.interop.to_nir(net), ignore_warnings=True)
    assert torch.equal(executed(theirs, xs), spikes(net, xs))


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky"])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_a_graph_of_snntorch_comes_here(kind: str, mechanism: str) -> None:
    snn = pytest.importorskip("snntorch", reason="needs the package snntorch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    options = {"init_hidden": True, "reset_mechanism": mechanism, "beta": torch.full((20,), 0.9)}
    if kind == "Synaptic":
        options["alpha"] = torch.full((20,), 0.6)
    if kind == "RLeaky":
        options |= {"linear_features": 20}
    neuron = getattr(snn, kind)(threshold=torch.ones(20), **options)
    theirs, xs = nn.Sequential(nn.Linear(10, 20), neuron), torch.rand(60, 4, 10)
    with contextlib.redirect_stdout(io.StringIO()):
        graph = export_to_nir(theirs, xs[0], ignore_dims=[0])
    reset = tt.SoftReset(decayed=False) if mechanism == "subtract" else None  # the graph has it as a hard one
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(1e-4), reset=reset)
    if hasattr(neuron, "reset_mem"):
        neuron.reset_mem()
    with torch.no_grad():
        expected = torch.stack([theirs(x) for x in xs])
    if mechanism == "zero" and kind != "Leaky":
        # The step after a spike these two give nothing on, their input included, which the graph does not say.
        assert not torch.equal(spikes(net, xs), expected)
        return
    assert torch.equal(spikes(net, xs), expected)
    if mechanism == "subtract":
        assert not torch.equal(spikes(tt.interop.from_nir(graph, time=tt.interop.Euler(1e-4)), xs), expected)


def test_the_spikes_that_the_paper_recorded() -> None:
    """One LIF of J. E. Pedersen et al. (2024), task 1, https://doi.org/10.1038/s41467-024-52259-9.

    Weight 1, tau 2.5 ms, threshold 0.1, r 1, dt 0.1 ms; the times of its input, and what Norse gave.
    """
    array = np.ones(1)
    neuron = nir.LIF(tau=array * 2.5e-3, r=array, v_leak=array * 0, v_threshold=array * 0.1)
    graph = nir.NIRGraph.from_list(nir.Linear(weight=np.ones((1, 1))), neuron)
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(1e-4), dtype=torch.float64)
    steps = [6, 22, 27, 31, 32, 35, 37, *range(40, 42), *range(43, 54), *range(67, 79), 84, 85]
    spikes, membrane = [], []
    with torch.no_grad():
        for t in range(1000):
            x = torch.tensor([[float(t % 10 == 0 and t // 10 in steps)]], dtype=torch.float64)
            spikes.append(bool(net(x)))
            membrane.append(float(net[0].state.v))
    assert np.flatnonzero(spikes).tolist() == [460, 510, 710, 760]
    recorded = {64: 0.03397386, 309: 0.0091991, 319: 0.03381722, 449: 0.06233775, 459: 0.06914552, 999: 0.00016073}
    for t, v in recorded.items():
        assert abs(membrane[t] - v) < 5e-8
