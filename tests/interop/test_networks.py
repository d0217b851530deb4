"""Networks of snnTorch, SpikingJelly and Norse become networks here with the same spikes and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tracetorch as tt

REFUSED = tt.interop.NotCarriedOverError


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def need(name: str) -> Any:
    return pytest.importorskip(name, reason=f"needs the package {name.partition('.')[0]}")


def louder(net: nn.Module, gain: float = 3.0) -> nn.Module:
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "weight" in name:
                p.mul_(gain)
    return net


def compare(
    ours: nn.Module, theirs: Callable[[torch.Tensor], torch.Tensor], xs: torch.Tensor, *pairs: tuple[Any, Any]
) -> None:
    """The same spikes, neither rare nor everywhere, and the same gradients of pairs of weights."""
    tt.set_rule(ours, tt.rules.bptt())
    tt.reset(ours)
    expected, got = theirs(xs), tt.scan(ours, xs)
    assert 0.02 < float(expected.mean()) < 0.7
    assert torch.equal(got, expected)
    target = torch.randn_like(expected)
    (expected * target).sum().backward()
    (got * target).sum().backward()
    for a, b in pairs:
        assert a is not b
        assert a.grad.abs().max() > 0
        assert (a.grad - b.grad).norm() < 2e-5 * b.grad.norm()


class TestSnnTorch:
    @staticmethod
    def run(net: nn.Sequential, xs: torch.Tensor) -> torch.Tensor:
        return torch.stack([net(x) for x in xs])

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"reset_mechanism": "zero"},
            {"reset_mechanism": "zero", "reset_delay": False},
            {"reset_mechanism": "none"},
            {"learn_beta": True, "learn_threshold": True, "beta": torch.linspace(0.5, 0.9, 20)},
            {"threshold": 0.7},
        ],
        ids=str,
    )
    def test_leaky(self, options: dict[str, Any]) -> None:
        snn = need("snntorch")
        options = {"beta": 0.9, "init_hidden": True, "spike_grad": snn.surrogate.fast_sigmoid(slope=10)} | options
        theirs = louder(
            nn.Sequential(
                nn.Linear(10, 20), snn.Leaky(**options), nn.Linear(20, 5), snn.Leaky(**options | {"beta": 0.8})
            )
        )
        ours = tt.interop.from_snntorch(theirs)
        assert ours[0].neuron.surrogate == tt.surrogates.FastSigmoid(10.0)
        assert list(tt.layers(ours)) == ["0", "2"]
        compare(
            ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10), (ours[0].synapse.weight, theirs[0].weight)
        )
        learned = sum(p.requires_grad for p in ours[0].neuron.parameters())
        assert learned == (2 if "learn_beta" in options else 0)

    @pytest.mark.parametrize("kind", ["Synaptic", "RLeaky", "RSynaptic", "RLeaky diagonal"])
    def test_the_others(self, kind: str) -> None:
        snn = need("snntorch")
        options: dict[str, Any] = {"beta": 0.9, "init_hidden": True}
        if "Synaptic" in kind:
            options["alpha"] = 0.5
        if kind.endswith("diagonal"):
            options |= {"all_to_all": False, "V": torch.linspace(-1, 1, 20)}
        elif kind[0] == "R":
            options |= {"linear_features": 20}
        neuron = getattr(snn, kind.split()[0])(**options)
        theirs = nn.Sequential(nn.Linear(10, 20), neuron)
        ours = tt.interop.from_snntorch(theirs)
        pairs = [(ours[0].synapse.weight, theirs[0].weight)]
        if kind in ("RLeaky", "RSynaptic"):
            pairs.append((ours[0].recurrent.weight, neuron.recurrent.weight))
        compare(ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10), *pairs)

    def test_convolution_pooling_then_a_neuron(self) -> None:
        snn = need("snntorch")
        theirs = louder(
            nn.Sequential(
                nn.Conv2d(1, 8, 3),
                nn.MaxPool2d(2),
                snn.Leaky(beta=0.5, init_hidden=True),
                nn.Flatten(),
                nn.Linear(72, 5),
                snn.Leaky(beta=0.5, init_hidden=True),
            ),
            5.0,
        )
        ours = tt.interop.from_snntorch(theirs)
        assert [type(m).__name__ for m in ours] == ["Conv2d", "MaxPool2d", "Layer", "Flatten", "Layer"]
        assert not ours[2].synapse.weight.requires_grad
        compare(ours, lambda xs: self.run(theirs, xs), torch.rand(30, 2, 1, 8, 8), (ours[0].weight, theirs[0].weight))

    def test_weights_are_shared_or_copied(self) -> None:
        snn = need("snntorch")
        theirs = nn.Sequential(nn.Linear(10, 20), snn.RLeaky(beta=0.9, init_hidden=True, linear_features=20))
        shared, copied = (tt.interop.from_snntorch(theirs, share=share) for share in (True, False))
        assert shared[0].synapse.weight is theirs[0].weight
        assert shared[0].recurrent.weight is theirs[1].recurrent.weight
        assert copied[0].synapse.weight is not theirs[0].weight
        assert copied[0].recurrent.weight is not theirs[1].recurrent.weight

    def test_modules_in_their_order(self) -> None:
        snn = need("snntorch")

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc, self.lif = louder(nn.Linear(10, 20)), snn.Leaky(beta=0.9)

            def forward(self, xs: torch.Tensor) -> torch.Tensor:
                mem, spikes = self.lif.reset_mem(), []
                for x in xs:
                    z, mem = self.lif(self.fc(x), mem)
                    spikes.append(z)
                return torch.stack(spikes)

        net = Net()
        with pytest.raises(REFUSED, match=r"'Net'.*\(lif\).*\[net.fc, net.lif\]"):
            tt.interop.from_snntorch(net)
        compare(tt.interop.from_snntorch([net.fc, net.lif]), net, torch.rand(40, 4, 10))

    def test_a_second_subtraction_is_warned_of(self) -> None:
        snn = need("snntorch")
        net = nn.Sequential(nn.Linear(3, 3), snn.Leaky(beta=0.9, reset_delay=False))
        with pytest.warns(UserWarning, match="'1'.*second time"):
            tt.interop.from_snntorch(net)

    @pytest.mark.parametrize(
        ("neuron", "why"),
        [
            (lambda snn: snn.Alpha(alpha=0.9, beta=0.8), "'1'.*no counterpart of snnTorch's Alpha"),
            (lambda snn: snn.Lapicque(beta=0.9), "Lapicque"),
            (lambda snn: snn.Leaky(beta=1.0), r"beta must lie in \(0, 1\), got 1"),
            (lambda snn: snn.Leaky(beta=0.9, graded_spikes_factor=2.0), "graded"),
            (lambda snn: snn.Leaky(beta=0.9, spike_grad=snn.surrogate.LSO()), "LSO has no counterpart; choose one"),
            (lambda snn: snn.Synaptic(alpha=0.5, beta=0.9, reset_mechanism="zero"), "its input included"),
            (lambda snn: snn.RLeaky(beta=0.9, all_to_all=False, V=0.5), "one number V"),
        ],
    )
    def test_what_cannot_be_carried_over_is_named(self, neuron: Callable[[Any], nn.Module], why: str) -> None:
        snn = need("snntorch")
        with pytest.raises(REFUSED, match=why):
            tt.interop.from_snntorch(nn.Sequential(nn.Linear(3, 3), neuron(snn)))

    def test_a_neuron_without_a_synapse_is_named(self) -> None:
        snn = need("snntorch")
        with pytest.raises(REFUSED, match="'1': a neuron needs a synapse"):
            tt.interop.from_snntorch(nn.Sequential(nn.Flatten(), snn.Leaky(beta=0.9)))

    def test_a_chosen_surrogate_replaces_an_unknown_one(self) -> None:
        snn = need("snntorch")
        net = nn.Sequential(nn.Linear(3, 3), snn.Leaky(beta=0.9, spike_grad=snn.surrogate.LSO()))
        ours = tt.interop.from_snntorch(net, surrogate=tt.surrogates.ATan(3.0))
        assert ours[0].neuron.surrogate == tt.surrogates.ATan(3.0)


class TestSpikingJelly:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("LIFNode", {}),
            ("LIFNode", {"tau": 4.0, "decay_input": False, "v_threshold": 1.5}),
            ("LIFNode", {"v_reset": None}),
            ("LIFNode", {"v_reset": None, "detach_reset": True}),
            ("LIFNode", {"v_reset": -0.3, "detach_reset": True, "v_threshold": 0.4}),
            ("IFNode", {}),
            ("IFNode", {"v_reset": 0.2}),
            ("ParametricLIFNode", {"init_tau": 3.0}),
            ("CUBALIFNode", {}),
            ("CUBALIFNode", {"v_reset": None}),
        ],
        ids=str,
    )
    def test_neurons(self, kind: str, options: dict[str, Any]) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        options = options | {"surrogate_function": surrogate.ATan(3.0)}
        theirs = louder(
            nn.Sequential(layer.Linear(10, 20), getattr(neuron, kind)(**options)), 6.0 if "LIFN" in kind else 3.0
        )
        functional.set_step_mode(theirs, "m")
        ours = tt.interop.from_spikingjelly(theirs)
        assert type(ours[0].synapse) is nn.Linear
        assert ours[0].neuron.surrogate == tt.surrogates.ATan(3.0)
        compare(ours, theirs, torch.rand(40, 4, 10), (ours[0].synapse.weight, theirs[0].weight))

    def test_a_membrane_on_the_threshold_fires_as_there(self) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import functional, neuron

        theirs = nn.Sequential(nn.Linear(1, 1, bias=False), neuron.IFNode())
        theirs[0].weight.data.fill_(0.25)
        ours, xs = tt.interop.from_spikingjelly(theirs), torch.ones(40, 1, 1)
        expected = torch.stack([theirs(x) for x in xs])
        functional.reset_net(theirs)
        assert expected.sum() == 10  # at each fourth step, exactly on the threshold
        assert torch.equal(tt.scan(ours, xs), expected)

    def test_a_convolutional_network_with_batch_norm(self) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import functional, layer, neuron

        theirs = louder(
            nn.Sequential(
                nn.Sequential(layer.Conv2d(1, 4, 3, bias=False), layer.BatchNorm2d(4), neuron.LIFNode(v_threshold=0.1)),
                layer.MaxPool2d(2),
                layer.Flatten(),
                layer.Linear(36, 5),
                neuron.LIFNode(v_threshold=0.1),
            ).eval()
        )
        functional.set_step_mode(theirs, "m")
        ours = tt.interop.from_spikingjelly(theirs)
        assert [name for name, _ in ours.named_children()] == ["0_0", "0_1", "0_2", "1", "2", "3"]
        compare(ours, theirs, torch.rand(30, 2, 1, 8, 8), (ours[0].weight, theirs[0][0].weight))

    def test_the_readout(self) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import neuron

        theirs = nn.Sequential(nn.Linear(10, 5), neuron.NonSpikingLIFNode(tau=4.0))
        ours, xs = tt.interop.from_spikingjelly(theirs, share=True), torch.rand(20, 3, 10)
        assert ours[0].synapse.weight is theirs[0].weight
        torch.testing.assert_close(tt.scan(ours, xs), torch.stack(theirs(xs)))

    def test_shared_weights_of_their_own_linear(self) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import layer, neuron

        theirs = nn.Sequential(layer.Linear(10, 5), neuron.IFNode())
        ours = tt.interop.from_spikingjelly(theirs, share=True)
        assert ours[0].synapse.weight is theirs[0].weight
        assert type(theirs[0]) is layer.Linear

    def test_dropout_is_warned_of(self) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import layer

        with pytest.warns(UserWarning, match="one mask for a sequence"):
            ours = tt.interop.from_spikingjelly(nn.Sequential(layer.Dropout(0.3)))
        assert type(ours[0]) is nn.Dropout and ours[0].p == 0.3

    @pytest.mark.parametrize(
        ("modules", "why"),
        [
            (lambda n, layer: [nn.Linear(3, 3), n.QIFNode()], "QIFNode"),
            (lambda n, layer: [nn.Linear(3, 3), n.LIFNode(tau=1.1, v_reset=1.0)], "above v_reset"),
            (lambda n, layer: [nn.Linear(3, 3), n.NonSpikingLIFNode(decode="mean-mem")], "'1': decode='mean-mem'"),
            (lambda n, layer: [layer.WSLinear(3, 3), n.IFNode()], "'0'.*WSLinear"),
            (lambda n, layer: [layer.SynapseFilter(), nn.Linear(3, 3)], "SynapseFilter"),
        ],
    )
    def test_what_cannot_be_carried_over_is_named(
        self, modules: Callable[[Any, Any], list[nn.Module]], why: str
    ) -> None:
        need("spikingjelly")
        from spikingjelly.activation_based import layer, neuron

        with pytest.raises(REFUSED, match=why):
            tt.interop.from_spikingjelly(modules(neuron, layer))


class TestNorse:
    @staticmethod
    def run(net: nn.Module, xs: torch.Tensor) -> torch.Tensor:
        state, spikes = None, []
        for x in xs:
            z, state = net(x, state)
            spikes.append(z)
        return torch.stack(spikes)

    def test_boxes(self) -> None:
        norse = need("norse.torch")
        from norse.torch.functional.lif_box import LIFBoxParameters
        from norse.torch.functional.reset import reset_subtract

        p = LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_leak=torch.tensor(-0.1), v_reset=torch.tensor(-0.2))
        q = LIFBoxParameters(tau_mem_inv=torch.tensor(100.0), reset_method=reset_subtract)
        theirs = louder(
            norse.SequentialState(nn.Linear(10, 20), norse.LIFBoxCell(p), nn.Linear(20, 20), norse.LIFBoxCell(q)), 20.0
        )
        ours = tt.interop.from_norse(theirs)
        compare(
            ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10), (ours[0].synapse.weight, theirs[0].weight)
        )

    def test_current_based(self) -> None:
        norse = need("norse.torch")
        theirs = louder(norse.SequentialState(nn.Linear(10, 20), norse.LIFCell()), 3.0)
        ours = tt.interop.from_norse(theirs)
        compare(ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10))
        before = theirs[0].requires_grad_(False).weight.clone()
        with pytest.raises(REFUSED, match="share=False"):
            tt.interop.from_norse(theirs, share=True)
        assert torch.equal(theirs[0].weight, before)

    def test_over_time(self) -> None:
        norse = need("norse.torch")
        theirs = louder(norse.SequentialState(norse.Lift(nn.Linear(10, 20)), norse.LIF()), 3.0)
        ours = tt.interop.from_norse(theirs)
        compare(ours, lambda xs: theirs(xs)[0], torch.rand(40, 4, 10))

    def test_recurrent(self) -> None:
        norse = need("norse.torch")
        theirs = norse.SequentialState(norse.LIFRecurrentCell(10, 20))
        with torch.no_grad():
            theirs[0].input_weights.mul_(2)
        with pytest.warns(UserWarning, match="diagonal"):
            ours = tt.interop.from_norse(theirs)
        compare(ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10))

    def test_without_a_leak_and_the_readout(self) -> None:
        norse = need("norse.torch")
        theirs = norse.SequentialState(louder(nn.Linear(10, 20)), norse.IAFCell())
        ours = tt.interop.from_norse(theirs, share=True)
        assert ours[0].synapse.weight is theirs[0].weight
        compare(ours, lambda xs: self.run(theirs, xs), torch.rand(40, 4, 10))
        readout = norse.SequentialState(nn.Linear(10, 20), norse.LIBoxCell())
        xs = torch.rand(40, 4, 10)
        torch.testing.assert_close(
            tt.scan(tt.interop.from_norse(readout), xs), self.run(readout, xs), rtol=1e-4, atol=1e-5
        )

    def test_what_cannot_be_carried_over_is_named(self) -> None:
        norse = need("norse.torch")
        from norse.torch.functional.lif_box import LIFBoxParameters

        for neuron, why in (
            (norse.LSNNCell(), "'1'.*LSNNCell"),
            (norse.LIFBoxCell(LIFBoxParameters(method="tanh")), "'tanh' has no counterpart; choose one"),
            (norse.LIFBoxCell(LIFBoxParameters(method="logistic")), "at random"),
            (norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(1000.0))), "must lie in"),
        ):
            with pytest.raises(REFUSED, match=why):
                tt.interop.from_norse([nn.Linear(3, 3), neuron])


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("snntorch", "norse.torch", "spikingjelly.activation_based.layer", "nir"):
        monkeypatch.setitem(sys.modules, name, None)
    for call, name in (
        (tt.interop.from_snntorch, "snntorch"),
        (tt.interop.from_norse, "norse"),
        (tt.interop.from_spikingjelly, "spikingjelly"),
        (tt.interop.to_nir, "nir"),
    ):
        with pytest.raises(ImportError, match=f"needs the package {name}: pip install"), warnings.catch_warnings():
            call(nn.Sequential())
