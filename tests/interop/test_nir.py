"""NIR both ways: exported graphs give the same spikes by NIR's own equations, and come back the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from interop import nir_oracle
from torch import nn

import tracetorch as tt

nir = pytest.importorskip("nir", reason="needs the package nir")

HARD = tt.HardReset()
DT = 1e-4


@pytest.fixture(autouse=True)
def double() -> None:
    torch.manual_seed(0)


def net_of(*layers: nn.Module, gain: float = 3.0) -> nn.Sequential:
    net = nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in (p for m in tt.layers(net).values() for p in m.synapse.parameters()):
            p.mul_(gain)
    return net


def run(net: nn.Module, xs: torch.Tensor) -> np.ndarray:
    if tt.layers(net):
        tt.reset(net)
    with torch.no_grad():
        return tt.scan(net, xs).numpy()


def firing(zs: np.ndarray) -> bool:
    return 0.02 < zs.mean() < 0.6


def xs_of(*shape: int) -> torch.Tensor:
    return torch.rand(60, 3, *shape, dtype=torch.float64)


NEURONS = {
    "LIF": lambda: tt.LIF(half_life=6, reset=HARD),
    "LIF normalized": lambda: tt.LIF(half_life=6, reset=HARD, normalized=True, threshold=0.3),
    "LIF to a value": lambda: tt.LIF(half_life=6, reset=tt.HardReset(value=-0.2)),
    "LIF per unit": lambda: tt.LIF(beta=torch.linspace(0.5, 0.9, 8), threshold=torch.linspace(0.7, 1.3, 8), reset=HARD),
    "LIF after the decay": lambda: tt.LIF(half_life=6, reset=tt.HardReset(decayed=False)),
    "LIF learned": lambda: tt.LIF(half_life=tt.Learnable(6.0, shape=(8,)), reset=HARD),
    "IF": lambda: tt.IF(reset=HARD),
    "CubaLIF": lambda: tt.SynapticLIF(half_life=6, synaptic_half_life=2, reset=HARD),
    "CubaLIF normalized": lambda: tt.SynapticLIF(
        half_life=6, synaptic_half_life=2, reset=HARD, normalized=True, threshold=0.3
    ),
}


@pytest.mark.parametrize("unit_resistance", [False, True])
@pytest.mark.parametrize("neuron", NEURONS)
def test_the_graph_gives_the_same_spikes_by_its_own_equations(neuron: str, unit_resistance: bool) -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), NEURONS[neuron]()))
    xs = xs_of(6)
    graph = tt.interop.to_nir(net, unit_resistance=unit_resistance)
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)["0.neuron"]
    assert firing(expected)
    assert np.array_equal(run(net, xs), expected)
    if unit_resistance and neuron != "IF":
        assert np.all(graph.nodes["0.neuron"].r == 1)


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_file_written_and_read_gives_the_same_network(neuron: str, tmp_path: Path) -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), NEURONS[neuron]()), tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5)))
    nir.write(tmp_path / "net.nir", tt.interop.to_nir(net))
    again = tt.interop.from_nir(nir.read(tmp_path / "net.nir"), dtype=torch.float64)
    xs = xs_of(6)
    assert torch.equal(net[0].synapse.weight, again[0].synapse.weight)
    beta = net[0].neuron.beta.expand(8)
    torch.testing.assert_close(again[0].neuron.beta.expand(8), beta, rtol=1e-14, atol=0, check_stride=False)
    assert firing(run(net[0], xs))
    assert np.array_equal(run(net[0], xs), run(again[0], xs))
    assert np.allclose(run(net, xs), run(again, xs), rtol=1e-10, atol=1e-12)


def test_in_single_precision_the_decay_comes_back_bit_for_bit() -> None:
    beta = torch.linspace(0.01, 0.999, 997)
    net = nn.Sequential(tt.Layer(nn.Linear(2, 997), tt.LIF(beta=beta, reset=HARD)))
    again = tt.interop.from_nir(tt.interop.to_nir(net))
    assert torch.equal(again[0].neuron.beta, beta)


def test_the_exponential_form_goes_both_ways() -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=6, reset=HARD)))
    graph = tt.interop.to_nir(net, time=tt.interop.Exponential(1e-3))
    assert np.allclose(graph.nodes["0.neuron"].tau, 6e-3 / np.log(2))
    again = tt.interop.from_nir(graph, dtype=torch.float64)
    torch.testing.assert_close(again[0].neuron.beta, net[0].neuron.beta)
    euler = tt.interop.from_nir(graph, time=tt.interop.Euler(1e-3), dtype=torch.float64)
    assert abs(float(euler[0].neuron.beta - net[0].neuron.beta)) > 1e-3


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("neuron", ["LIF", "LIF per unit", "CubaLIF", "LIF normalized"])
@pytest.mark.parametrize("unit_resistance", [False, True])
def test_recurrent_layers(neuron: str, bias: bool, unit_resistance: bool, tmp_path: Path) -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), NEURONS[neuron](), recurrent=nn.Linear(8, 8, bias=bias)))
    graph = tt.interop.to_nir(net, unit_resistance=unit_resistance)
    xs = xs_of(6)
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)["0.neuron.lif"]
    ours = run(net, xs)
    assert firing(expected)
    assert np.array_equal(ours, expected)
    with torch.no_grad():
        kept = net[0].recurrent.weight.clone()
        net[0].recurrent.weight.zero_()
        assert not np.array_equal(run(net, xs), expected), "the recurrence does nothing"
        net[0].recurrent.weight.copy_(kept)
    nir.write(tmp_path / "net.nir", graph)
    again = tt.interop.from_nir(nir.read(tmp_path / "net.nir"), dtype=torch.float64)
    assert np.array_equal(run(again, xs), ours)


def test_diagonal_recurrence_is_a_diagonal_synapse() -> None:
    neuron = tt.DiagonalRecurrent(tt.LIF(half_life=6, reset=HARD), (8,))
    net = net_of(tt.Layer(nn.Linear(6, 8), neuron))
    with torch.no_grad():
        neuron.r.copy_(torch.linspace(-1, 1, 8))
    graph, xs = tt.interop.to_nir(net), xs_of(6)
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)["0.neuron.lif"]
    assert firing(expected) and np.array_equal(run(net, xs), expected)
    assert np.array_equal(run(tt.interop.from_nir(graph, dtype=torch.float64), xs), expected)


def conv_net() -> nn.Sequential:
    return net_of(
        tt.Layer(nn.Conv2d(2, 4, 3, stride=2, padding=1), tt.LIF(half_life=4, reset=HARD)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.0),
        tt.Layer(nn.Linear(16, 5), tt.IF(reset=HARD)),
    )


@pytest.mark.parametrize("unit_resistance", [False, True])
def test_convolution_pooling_flatten(tmp_path: Path, unit_resistance: bool) -> None:
    net, xs = conv_net(), xs_of(2, 8, 8)
    graph = tt.interop.to_nir(net, sample=xs, unit_resistance=unit_resistance)
    every = nir_oracle.simulate(graph, xs.numpy(), DT)
    assert firing(every["0.neuron"]) and firing(every["4.neuron"])
    assert np.array_equal(run(net, xs), every["4.neuron"])
    nir.write(tmp_path / "net.nir", graph)
    again = tt.interop.from_nir(nir.read(tmp_path / "net.nir"), dtype=torch.float64)
    assert np.array_equal(run(again, xs), every["4.neuron"])


def test_sum_pooling_scale_and_conv1d_come_back() -> None:
    net = net_of(nn.LPPool2d(1, 2), tt.interop.Scale(torch.rand(1, 4, 4)), nn.Flatten(), nn.Linear(16, 3))
    xs = xs_of(1, 8, 8)
    graph = tt.interop.to_nir(net, input_shape=(1, 8, 8))
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)["3"]
    assert np.allclose(run(net, xs), expected, atol=1e-12)
    assert np.allclose(run(tt.interop.from_nir(graph, dtype=torch.float64), xs), expected, atol=1e-12)
    one = net_of(tt.Layer(nn.Conv1d(2, 4, 3, groups=2, bias=False, padding="same"), tt.LIF(half_life=4, reset=HARD)))
    again = tt.interop.from_nir(tt.interop.to_nir(one, input_shape=(2, 9)), dtype=torch.float64)
    assert again[0].synapse.bias is None
    assert np.array_equal(run(one, xs_of(2, 9)), run(again, xs_of(2, 9))) is False  # other inputs
    xs = xs_of(2, 9)
    assert firing(run(one, xs)) and np.array_equal(run(one, xs), run(again, xs))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = tt.Layer(nn.Linear(6, 6), tt.LIF(half_life=6, reset=HARD))
        self.second = tt.Layer(nn.Linear(6, 6), tt.LIF(half_life=3, reset=HARD))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        return self.second(z + x) + z


def test_a_residual_network_goes_out_and_comes_back() -> None:
    net = net_of(Residual())[0]
    graph, xs = tt.interop.to_nir(net), xs_of(6)
    every = nir_oracle.simulate(graph, xs.numpy(), DT)
    assert firing(every["first.neuron"]) and firing(every["second.neuron"])
    assert np.array_equal(run(net, xs), every["output"])
    again = tt.interop.from_nir(graph, dtype=torch.float64)
    assert np.array_equal(run(again, xs), every["output"])
    assert sorted(tt.layers(again)) == ["first", "second"]


def test_two_sums_into_a_neuron_get_an_identity_synapse() -> None:
    array = np.ones(4)
    lif = nir.LIF(tau=array * 1e-3, r=array * 5, v_leak=array * 0, v_threshold=array)
    nodes = {
        "input": nir.Input(np.array([4])),
        "a": nir.Linear(weight=np.random.default_rng(0).normal(size=(4, 4))),
        "b": nir.Linear(weight=np.random.default_rng(1).normal(size=(4, 4))),
        "lif": lif,
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "a"), ("input", "b"), ("a", "lif"), ("b", "lif"), ("lif", "output")]
    graph = nir.NIRGraph(nodes, edges)
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(DT), dtype=torch.float64)
    xs = xs_of(4) * 6
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)["lif"]
    assert firing(expected) and np.array_equal(run(net, xs), expected)
    assert not net.lif.synapse.weight.requires_grad


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
def test_graphs_of_others_any_resistance_rest_and_reset(kind: str) -> None:
    rng, n = np.random.default_rng(3), 5
    full = np.ones(n)
    shared = {"r": rng.uniform(0.5, 2, n), "v_leak": full * -0.2, "v_threshold": full * 0.1, "v_reset": full * -0.3}
    if kind == "LIF":
        neuron = nir.LIF(tau=rng.uniform(5e-4, 2e-3, n), **shared)
    else:
        neuron = nir.CubaLIF(tau_mem=full * 1e-3, tau_syn=rng.uniform(3e-4, 1e-3, n), w_in=full * 1.5, **shared)
    graph = nir.NIRGraph.from_list(nir.Affine(weight=rng.normal(size=(n, 4)), bias=rng.normal(size=n) / 5), neuron)
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(DT), dtype=torch.float64)
    xs = xs_of(4) * 2
    expected = nir_oracle.simulate(graph, xs.numpy(), DT)[kind.lower()]
    assert firing(expected) and np.array_equal(run(net, xs), expected)


def test_a_soft_reset_is_refused_and_the_ways_out_are_named() -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=6)))
    with pytest.raises(tt.interop.NotCarriedOverError, match=r"'0': SoftReset.*metadata.*hard.*sample"):
        tt.interop.to_nir(net)
    net[0].neuron.reset = tt.NoReset()
    with pytest.raises(tt.interop.NotCarriedOverError, match="NoReset"):
        tt.interop.to_nir(net)


@pytest.mark.parametrize("decayed", [True, False])
def test_a_soft_reset_in_the_metadata_comes_back_and_others_are_warned(decayed: bool, tmp_path: Path) -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=6, reset=tt.SoftReset(decayed=decayed, gradient=True))))
    xs = xs_of(6)
    with pytest.warns(
        UserWarning, match=r"other than traceTorch; on the sample that changes \d+\.\d % of the spikes of '0'"
    ):
        graph = tt.interop.to_nir(net, other_reset="metadata", sample=xs)
    nir.write(tmp_path / "net.nir", graph)
    graph = nir.read(tmp_path / "net.nir")
    again = tt.interop.from_nir(graph, dtype=torch.float64)
    assert again[0].neuron.reset == net[0].neuron.reset
    ours, hard = run(net, xs), nir_oracle.simulate(graph, xs.numpy(), DT)["0.neuron"]
    assert firing(ours) and np.array_equal(run(again, xs), ours)
    beta = float(net[0].neuron.beta)
    soft = {"0.neuron": lambda v, z, theta: v - theta * z / (1 if decayed else beta)}
    assert np.array_equal(nir_oracle.simulate(graph, xs.numpy(), DT, soft)["0.neuron"], ours)
    assert not np.array_equal(hard, ours)
    share = tt.interop.reset_difference(net, xs)["0"]
    assert share == pytest.approx(np.abs(hard - ours).sum() / ours.sum())
    assert share > 0.02
    assert net[0].neuron.reset == tt.SoftReset(decayed=decayed, gradient=True)


def test_hard_by_name_is_hard_everywhere() -> None:
    net = net_of(tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=6)))
    with pytest.warns(UserWarning, match="in every reader; give sample=xs"):
        graph = tt.interop.to_nir(net, other_reset="hard")
    again, xs = tt.interop.from_nir(graph, dtype=torch.float64), xs_of(6)
    assert again[0].neuron.reset == tt.HardReset()
    assert np.array_equal(run(again, xs), nir_oracle.simulate(graph, xs.numpy(), DT)["0.neuron"])


def test_without_metadata_the_reset_is_nirs_own_and_can_be_named() -> None:
    array = np.ones(3)
    node = nir.LIF(tau=array, r=array, v_leak=array * 0, v_threshold=array)
    graph = nir.NIRGraph.from_list(nir.Linear(weight=np.ones((3, 2))), node)
    assert tt.interop.from_nir(graph, time=tt.interop.Euler(0.1))[0].neuron.reset == tt.HardReset()
    soft = tt.interop.from_nir(graph, time=tt.interop.Euler(0.1), reset=tt.SoftReset())
    assert soft[0].neuron.reset == tt.SoftReset()
    node.metadata["reset"] = "sideways"
    with pytest.raises(tt.interop.NotCarriedOverError, match=r"'lif'.*'sideways'.*'hard', 'none', 'soft'"):
        tt.interop.from_nir(graph, time=tt.interop.Euler(0.1))


def test_a_time_step_that_nobody_says_is_asked_for() -> None:
    array = np.ones(3)
    graph = nir.NIRGraph.from_list(nir.IF(r=array, v_threshold=array))
    with pytest.raises(ValueError, match=r"time step.*Euler\(dt\)"):
        tt.interop.from_nir(graph)
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(1.0), dtype=torch.float64)
    xs = xs_of(3)
    assert np.array_equal(run(net, xs), nir_oracle.simulate(graph, xs.numpy(), 1.0)["if"])


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: tt.Layer(nn.Linear(6, 8), tt.ALIF(half_life=5, adaptation_half_life=9)), "no node for ALIF"),
        (lambda: tt.Layer(nn.Linear(6, 8), tt.Mean()), "no node for Mean"),
        (lambda: tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=5, reset=HARD, refractory=2)), "refractory"),
        (lambda: tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=5, reset=tt.HardReset(decayed=False, value=0.1))), "after"),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU()), "no node for ReLU"),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)), "no node for BatchNorm1d; fuse"),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.Flatten(0)), "batch"),
    ],
)
def test_what_nir_cannot_say_is_named(layer, why: str) -> None:
    with pytest.raises(tt.interop.NotCarriedOverError, match=why):
        tt.interop.to_nir(nn.Sequential(layer()))


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (lambda a: nir.Delay(delay=a), "no delays"),
        (lambda a: nir.Threshold(threshold=a), r"nir\.Threshold"),
        (lambda a: nir.I(r=a), r"nir\.I"),
        (lambda a: nir.CubaLI(tau_syn=a, tau_mem=a, r=a, v_leak=a), r"nir\.CubaLI"),
        (lambda a: nir.LIF(tau=a * 1e-6, r=a, v_leak=a * 0, v_threshold=a), r"tau = 1e-06 with Euler.*not in \(0, 1\)"),
        (lambda a: nir.LIF(tau=a, r=a, v_leak=a * 2, v_threshold=a), "above the resting potential"),
        (lambda a: nir.LIF(tau=a, r=a, v_leak=a * 0, v_threshold=a, v_reset=np.arange(3.0)), "same for all units"),
        (lambda a: nir.LI(tau=a, r=a, v_leak=a), "another v_leak"),
    ],
)
def test_what_tracetorch_cannot_do_is_named(node, why: str) -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(weight=np.ones((3, 2))), node(np.ones(3)))
    with pytest.raises(tt.interop.NotCarriedOverError, match=why):
        tt.interop.from_nir(graph, time=tt.interop.Euler(1e-4))


def test_a_cycle_through_two_neurons_is_named() -> None:
    a = np.ones(2)
    nodes = {n: nir.IF(r=a, v_threshold=a) for n in "ab"} | {
        "input": nir.Input(np.array([2])),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    with pytest.raises(tt.interop.NotCarriedOverError, match="cycle"):
        tt.interop.from_nir(graph, time=tt.interop.Euler(1.0))


def test_the_imported_network_learns() -> None:
    net = net_of(
        tt.Layer(nn.Linear(6, 8), tt.LIF(half_life=6, reset=HARD)), tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = tt.interop.from_nir(tt.interop.to_nir(net), dtype=torch.float64)
    xs, gradients = xs_of(6), []
    for one in (net, again):
        tt.set_rule(one, tt.rules.bptt())
        tt.reset(one)
        (tt.scan(one, xs) ** 2).sum().backward()
        gradients.append(one[0].synapse.weight.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert gradients[0].abs().max() > 0
