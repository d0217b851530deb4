"""After `tt.init_firing` every unit fires at the rate, measured by the oracle of `tracetorch.testing`."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import tracetorch as tt
from tracetorch.testing import calibrate, firing_rates, require_alive

RATE = 0.1


def linear_stack(**options: object) -> nn.Sequential:
    hidden = [tt.Layer(nn.Linear(a, b), tt.LIF(half_life=20, **options)) for a, b in pairwise((60, 48, 48, 48, 48))]
    return nn.Sequential(*hidden, tt.Layer(nn.Linear(48, 3), tt.LI(half_life=20)))


def conv_stack(**options: object) -> nn.Sequential:
    parts = []
    for a, b in pairwise((1, 8, 12, 16)):
        parts += [tt.Layer(nn.Conv2d(a, b, 3, padding=1), tt.LIF(half_life=5, **options)), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), tt.Layer(nn.Linear(16 * 4, 3), tt.LI(half_life=5)))


def spikes(steps: int, *shape: int, rate: float = 0.1, seed: int = 1) -> torch.Tensor:
    return (torch.rand(steps, *shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


STACKS = {"linear": (linear_stack, (60,)), "conv": (conv_stack, (1, 16, 16))}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_every_unit_of_a_deep_stack_fires(stack: str, normalized: bool, seed: int) -> None:
    torch.manual_seed(seed)
    make, shape = STACKS[stack]
    net, xs = make(normalized=normalized), spikes(40, 6, *shape)
    before = firing_rates(net, xs)
    assert any(f.dead > 0.25 for f in before.values())  # or there is nothing to mend
    found = tt.init_firing(net, xs, RATE)
    measured = firing_rates(net, xs)
    assert list(found) == list(measured) == list(before)
    for name, firing in measured.items():
        torch.testing.assert_close(firing.rates, found[name].rates, rtol=0.0, atol=0.005)
        torch.testing.assert_close(firing.rates, torch.full_like(firing.rates, RATE), rtol=0.1, atol=0.0)
    fresh = require_alive(net, spikes(40, 6, *shape, seed=2))
    assert all(abs(f.mean - RATE) < 0.03 for f in fresh.values())


@pytest.mark.parametrize("stack", STACKS)
def test_all_layers_of_a_stack_that_was_silent_get_a_gradient(stack: str) -> None:
    torch.manual_seed(0)
    make, shape = STACKS[stack]
    net, xs = make(normalized=True), spikes(30, 4, *shape)
    assert firing_rates(net, xs)["2"].mean == 0.0
    tt.init_firing(net, xs)
    tt.scan(net, xs, out="last").square().sum().backward()
    for layer in tt.layers(net).values():
        rows = layer.synapse.weight.grad.flatten(1)
        assert (rows != 0).any(1).all()


def test_rows_are_scaled_and_nothing_else_is_touched() -> None:
    torch.manual_seed(0)
    net, xs = linear_stack(), spikes(30, 4, 60)
    net(xs[0])
    before = {n: p.clone() for n, p in net.state_dict().items()}
    state = {n: t.clone() for n, t in tt.get_state(net).items()}
    tt.init_firing(net, xs)
    assert all(torch.equal(state[n], t) for n, t in tt.get_state(net).items())
    for name, value in net.state_dict().items():
        if name.startswith("4") or "synapse" not in name:
            assert torch.equal(value, before[name])
        elif name.endswith("weight"):
            factors = value / before[name]
            torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-5, atol=0.0)
            bias = name.replace("weight", "bias")
            torch.testing.assert_close(net.state_dict()[bias], before[bias] * factors[:, 0], rtol=1e-4, atol=0.0)


def test_a_unit_whose_currents_are_negative_turns_its_sign_and_others_keep_theirs() -> None:
    synapse = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        synapse.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [9.0, 9.0, 9.0]]))
    net = tt.Layer(synapse, tt.LIF(half_life=4))
    assert firing_rates(net, torch.ones(50, 1, 3))[""].dead == 1.0
    tt.init_firing(net, torch.ones(50, 1, 3), 0.2)
    factors = synapse.weight[:, 0] / torch.tensor([1.0, -1.0, 9.0])
    assert factors[1] < 0 < factors[2] < factors[0]
    assert firing_rates(net, torch.ones(50, 1, 3))[""].rates.tolist() == pytest.approx([0.2] * 3, abs=0.02)


class Residual(nn.Module):
    """Layers that run in another order than they are registered, one of them recurrent."""

    def __init__(self) -> None:
        super().__init__()
        self.second = tt.Layer(nn.Linear(20, 20), tt.LIF(half_life=5), recurrent=nn.Linear(20, 20, bias=False))
        self.first = tt.Layer(nn.Linear(9, 20), tt.ALIF(half_life=5, adaptation_half_life=20))
        self.head = tt.Layer(nn.Linear(20, 2), tt.Mean())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        return self.head(z + self.second(z))


def test_layers_are_scaled_in_the_order_in_which_they_run() -> None:
    torch.manual_seed(0)
    net, xs = Residual(), spikes(60, 8, 9)
    recurrent = net.second.recurrent.weight.clone()
    found = tt.init_firing(net, xs, RATE)
    assert list(found) == ["second", "first"] and torch.equal(net.second.recurrent.weight, recurrent)
    for name, firing in firing_rates(net, xs).items():
        torch.testing.assert_close(firing.rates, found[name].rates)
        assert not firing.silent and abs(firing.mean - RATE) < 0.03


class Own(nn.Module):
    """A user's synapse."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 4) / 9), nn.Parameter(torch.randn(6) / 90)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.a.T + self.b


SYNAPSES = {
    "transposed, grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 9), 6),
    "grouped": (lambda: nn.Conv1d(4, 6, 3, groups=2), (4, 9), 6),
    "positions": (lambda: nn.Linear(4, 6), (5, 4), None),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(4, 6)), (4,), 6),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 6)), (4,), None),
    "declared": (lambda: tt.LinearInWeights(Own()), (4,), None),
}


@pytest.mark.parametrize("kind", [k for k in SYNAPSES if k != "orthogonal"])
def test_it_knows_every_kind_of_synapse(kind: str) -> None:
    torch.manual_seed(3)
    make, shape, channels = SYNAPSES[kind]
    net, xs = tt.Layer(make(), tt.LIF(half_life=5, normalized=True)), spikes(60, 8, *shape, rate=0.3)
    found = tt.init_firing(net, xs, RATE)[""]
    assert found.mean == pytest.approx(firing_rates(net, xs)[""].mean, abs=1e-12)
    assert abs(found.mean - RATE) < 0.02
    if channels is not None:
        assert len(found.rates) == channels and not found.silent
        torch.testing.assert_close(found.rates, torch.full_like(found.rates, RATE), rtol=0.1, atol=0.0)


def test_a_parametrization_that_cannot_take_the_scale_raises() -> None:
    net = tt.Layer(SYNAPSES["orthogonal"][0](), tt.LIF(half_life=5))
    with pytest.raises(ValueError, match=r"cannot be scaled"):
        tt.init_firing(net, spikes(20, 4, 4, rate=0.3))


def test_weights_that_a_hook_makes_raise() -> None:
    net = tt.Layer(prune.random_unstructured(nn.Linear(4, 6), "weight", amount=0.3), tt.LIF(half_life=5))
    with pytest.raises(TypeError, match="made by a hook"):
        tt.init_firing(net, spikes(20, 4, 4))


def test_a_shared_synapse_is_scaled_once() -> None:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(9, 9), tt.LIF(half_life=5))
    net = nn.Sequential(layer, layer.tied())
    found = tt.init_firing(net, spikes(60, 8, 9), RATE)
    torch.testing.assert_close(found["0"].rates, torch.full((9,), RATE, dtype=torch.float64), rtol=0.1, atol=0.0)
    torch.testing.assert_close(firing_rates(net, spikes(60, 8, 9))["1"].rates, found["1"].rates)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_rates_are_shares_of_steps(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate is a share of steps in \(0, 1\)"):
        tt.init_firing(linear_stack(), spikes(5, 2, 60), rate)


@pytest.mark.parametrize("shape", [(60,), (0, 2, 60), (5, 0, 60)])
def test_inputs_are_a_window(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="xs is a window"):
        tt.init_firing(linear_stack(), torch.ones(shape))
    with pytest.raises(ValueError, match="inputs"):
        tt.init_firing(linear_stack(), torch.ones(5, 2, 61))


def test_a_layer_that_cannot_fire_raises() -> None:
    with pytest.raises(ValueError, match="layer '0' fires at no scale of its weights"):
        tt.init_firing(nn.Sequential(tt.Layer(nn.Linear(4, 3, bias=False), tt.LIF(half_life=5))), torch.zeros(9, 2, 4))


@pytest.mark.parametrize("case", ["nan", "a later layer", "list"])
def test_a_call_that_fails_changes_no_weight(case: str) -> None:
    net = nn.Sequential(*(tt.Layer(nn.Linear(4, 4, bias=i == 0), tt.LIF(half_life=5)) for i in range(2)))
    xs = torch.rand(9, 2, 4)
    if case == "nan":
        xs[5, 1, 2] = float("nan")
    elif case == "a later layer":
        nn.init.zeros_(net[1].synapse.weight)
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises((ValueError, TypeError), match=r"NaN|layer '1' fires at no scale|is a tensor"):
        tt.init_firing(net, [x.tolist() for x in xs] if case == "list" else xs)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    if case != "a later layer":
        with pytest.raises((ValueError, TypeError), match=r"NaN|is a tensor"):
            calibrate(net, xs if case == "nan" else xs.tolist())
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float64])
def test_inputs_of_other_types_give_the_same(kind: torch.dtype) -> None:
    found = []
    for dtype in (torch.float32, kind):
        torch.manual_seed(0)
        net = linear_stack()
        net = net.double() if kind == torch.float64 else net
        found.append(tt.init_firing(net, spikes(20, 2, 60).to(torch.float64 if kind == torch.float64 else dtype)))
    assert torch.equal(found[0]["3"].rates, found[1]["3"].rates)
