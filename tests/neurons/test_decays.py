"""Time constants: what cannot be represented is refused, what rounds warns, and nothing is another value in silence."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tracetorch as tt
from tracetorch.neurons.decays import longest

KINDS = {"half_life": math.log(2), "tau": 1.0}
SINGLE, DOUBLE = torch.float32, torch.float64


@pytest.mark.parametrize("make", [tt.LIF, tt.LI], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE, torch.float16, torch.bfloat16], ids=str)
def test_the_longest_time_constant_is_taken_and_a_longer_one_refused(make: type, kind: str, dtype: torch.dtype) -> None:
    most = longest(DOUBLE if dtype == DOUBLE else dtype, scale=KINDS[kind])
    short, long = (torch.tensor(most * f, dtype=DOUBLE) for f in (0.99, 1.01))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert make(**{kind: short.to(dtype)}).beta < 1
    with pytest.raises(ValueError, match=rf"{kind}=.* is too long for {dtype}, .*the largest is \d"):
        make(**{kind: long.to(dtype)})


@pytest.mark.parametrize("argument", [{"half_life": 3e7}, {"tau": 1e8}, {"beta": 1 - 1e-9}], ids=str)
def test_what_rounds_to_one_goes_in_double_precision(argument: dict[str, float]) -> None:
    ((kind, value),) = argument.items()
    with pytest.raises(ValueError, match=f"{kind}={value!r} is too long"):
        tt.LIF(**argument)
    with pytest.raises(ValueError, match="is too long"):
        tt.LIF(**{kind: tt.Learnable(value)})
    neuron = tt.LI(**{kind: torch.tensor(value, dtype=DOUBLE)}, normalized=True).double()
    exact = value if kind == "beta" else math.exp(-KINDS[kind] / value)
    assert neuron.beta.item() == exact < 1
    layer = tt.Layer(nn.Linear(1, 1).double(), neuron)
    assert 0 < abs(layer(torch.ones(1, 1, dtype=DOUBLE)).item()) < 1e-5


def test_one_unit_of_many_that_rounds_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"half_life=3 to 3e\+07 \(shape \[2\]\) is too long"):
        tt.LIF(half_life=torch.tensor([3.0, 3e7]))


def test_a_network_in_double_precision_by_default_takes_long_half_lives() -> None:
    torch.set_default_dtype(DOUBLE)
    try:
        assert tt.LIF(half_life=1e12).beta.dtype == DOUBLE
    finally:
        torch.set_default_dtype(SINGLE)


def test_a_decay_is_rounded_once() -> None:
    for half_life in (1.0, 20.0, 333.0, 1e5, 2e6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            beta = tt.LIF(half_life=half_life).beta.item()
        exact = Fraction(math.exp(-math.log(2) / half_life))
        assert abs(Fraction(beta) - exact) <= Fraction(torch.finfo(SINGLE).eps) / 4


def test_a_half_life_that_rounding_changes_warns_and_is_shown_as_it_is() -> None:
    with pytest.warns(UserWarning, match=r"half_life=10000000.0 is off by 14.0% in torch.float32"):
        neuron = tt.LIF(half_life=1e7)
    assert "half_life=1.1629e+07" in repr(neuron)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tt.LIF(half_life=1e5)
        tt.LIF(half_life=torch.tensor(1e7, dtype=DOUBLE))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, SINGLE], ids=str)
@pytest.mark.parametrize("learned", [False, True])
def test_a_conversion_that_rounds_a_decay_to_one_is_refused_and_changes_nothing(
    dtype: torch.dtype, learned: bool
) -> None:
    value = torch.tensor(longest(dtype) * 1.05, dtype=DOUBLE)
    neuron = tt.ALIF(half_life=3, adaptation_half_life=tt.Learnable(value) if learned else value)
    layer = tt.Layer(nn.Linear(2, 3), neuron)
    before = {name: t.clone() for name, t in neuron.state_dict().items()}
    with pytest.raises(ValueError, match=r"adaptation_half_life=.* cannot be converted to .* longest half-life"):
        layer.to(dtype)
    assert all(torch.equal(before[n], t) and before[n].dtype == t.dtype for n, t in neuron.state_dict().items())
    assert tt.LIF(half_life=20).to(dtype).beta.dtype == dtype


@pytest.mark.parametrize("kind", [*KINDS, "beta"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0, 0.0, -3.0])
@pytest.mark.parametrize("wrap", [float, tt.Learnable, lambda v: torch.tensor([0.5, v])])
def test_values_out_of_range_are_refused(kind: str, value: float, wrap: object) -> None:
    with pytest.raises(ValueError, match=rf"^{kind} must .*got"):
        tt.LIF(**{kind: wrap(value)})


@pytest.mark.parametrize("name", ["half_life", "tau", "beta", "threshold", "adaptation", "adaptation_half_life"])
@pytest.mark.parametrize(
    "value", [True, "20", [1.0, 2.0], 1j, torch.tensor([True]), tt.Learnable, object()], ids=lambda v: type(v).__name__
)
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    options = {"adaptation_half_life": 20.0} | ({} if name in ("half_life", "tau", "beta") else {"half_life": 5.0})
    with pytest.raises(TypeError, match=rf"^{name} must be a number, a tensor .*got"):
        tt.ALIF(**options | {name: value})


@pytest.mark.parametrize("name", ["half_life", "tau", "beta", "threshold", "adaptation", "adaptation_half_life"])
@pytest.mark.parametrize("make", [nn.Parameter, lambda t: t.requires_grad_()], ids=["parameter", "tensor"])
def test_a_parameter_is_refused_by_the_name_of_learnable(name: str, make: object) -> None:
    options = {"adaptation_half_life": 20.0} | ({} if name in ("half_life", "tau", "beta") else {"half_life": 5.0})
    value = make(torch.full((4,), 0.5))
    with pytest.raises(TypeError, match=rf"^{name} is .* pass {name}=tt.Learnable\(value\)"):
        tt.ALIF(**options | {name: value})
    learned = tt.ALIF(**options | {name: tt.Learnable(value)})
    assert sum(p.numel() for p in learned.parameters()) == 4


def test_numbers_of_numpy_and_whole_numbers_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    expected = tt.LIF(half_life=20.0).beta
    for value in (20, numpy.float32(20), numpy.int64(20), torch.tensor(20)):
        assert tt.LIF(half_life=value).beta == expected


@pytest.mark.parametrize("shape", [(7,), (2, 1), (3, 8), (0,)])
@pytest.mark.parametrize("name", ["half_life", "threshold", "adaptation", "adaptation_half_life"])
def test_values_of_another_shape_than_the_units_say_so(name: str, shape: tuple[int, ...]) -> None:
    neuron = tt.ALIF(**{"half_life": 5.0, "adaptation_half_life": 20.0} | {name: torch.full(shape, 3.0)})
    for run in (lambda net: net(torch.ones(3, 2)), lambda net: tt.scan(net, torch.ones(5, 3, 2))):
        net = tt.Layer(nn.Linear(2, 8), neuron)
        with pytest.raises(ValueError, match=rf"{name} of ALIF has the shape .* units have \[8\]"):
            run(net)
        assert net.state is None


@pytest.mark.parametrize("shape", [(), (1,), (8,)])
def test_values_that_broadcast_to_the_units_do(shape: tuple[int, ...]) -> None:
    net = tt.Layer(nn.Linear(2, 8), tt.LIF(half_life=torch.full(shape, 5.0)))
    assert net(torch.ones(3, 2)).shape == (3, 8)
    conv = tt.Layer(nn.Conv2d(1, 4, 3), tt.LIF(half_life=torch.full((4, 1, 1), 5.0)))
    assert conv(torch.ones(2, 1, 5, 6)).shape == (2, 4, 3, 4)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_neurons_are_copied_with_the_names_of_their_arguments(again: object) -> None:
    neuron = tt.SynapticLIF(tau=torch.tensor([3.0, 200.0]), synaptic_beta=0.5)
    assert repr(again(neuron)) == repr(neuron) and "synaptic_half_life=1" in repr(neuron)


class Kept(tt.LIF):
    """It says itself what its state is, and keeps something out of it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.found, self.restored = ["not to be kept"], 0

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "found"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "restored": state["restored"] + 1})


@pytest.mark.parametrize("half_life", [5.0, tt.Learnable(5.0)], ids=["fixed", "learned"])
def test_a_copy_is_made_of_the_state_that_a_class_names(half_life: Any) -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(3, 4), Kept(half_life=half_life)))
    net(torch.rand(2, 3)).sum().backward()
    for other in (copy.deepcopy(net), AveragedModel(net).module, pickle.loads(pickle.dumps(net))):
        own = other[0].neuron
        assert own.restored == 1 and not hasattr(own, "found") and net[0].neuron.found
        assert all(a is not b for a, b in zip(own.parameters(), net[0].neuron.parameters(), strict=True))
        tt.reset(other)
        tt.reset(net)
        x = 3 * torch.rand(2, 3)
        assert torch.equal(other(x), net(x))


class Adaptive(tt.Neuron):
    state = ("v", "a")

    def step(self, s: Any, current: torch.Tensor) -> tuple[Any, torch.Tensor]:
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_users_neuron_that_learns_is_copied_after_a_step(again: Any) -> None:
    net = nn.Sequential(tt.Layer(nn.Linear(3, 4), Adaptive(half_life=tt.Learnable(5.0))))
    net(torch.rand(2, 3)).sum().backward()
    other = again(net)
    assert other[0].neuron.lowered() == net[0].neuron.lowered()
    other[0].neuron.beta = torch.tensor(0.5)
    assert other[0].neuron.half_life == 1.0 and net[0].neuron.half_life > 4.9


def test_a_neuron_shows_half_lives_threshold_and_reset() -> None:
    neuron = tt.ALIF(
        half_life=torch.tensor([3.0, 200.0]),
        adaptation_tau=1 / math.log(2),
        threshold=tt.Learnable(1.5),
        normalized=True,
    )
    first = repr(neuron).splitlines()
    assert first[0] == "ALIF("
    assert first[1].strip() == (
        "half_life=3 to 200 (shape [2]), adaptation_half_life=1, threshold=1.5, learned, adaptation=0.1, "
        "reset=SoftReset(gradient=False, decayed=True), surrogate=ATan(scale=2.0), normalized=True"
    )
    assert repr(tt.LI(half_life=20)) == "LI(half_life=20)"
    assert repr(tt.IF(refractory=2)).startswith("IF(threshold=1, reset=SoftReset(")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_decay_that_learns_past_the_last_number_below_one_stays_there(dtype: torch.dtype) -> None:
    neuron = tt.LI(half_life=tt.Learnable(5.0), normalized=True)
    layer = tt.Layer(nn.Linear(3, 2), neuron).to(dtype)
    with torch.no_grad():
        neuron.parametrizations.beta.original.fill_(60.0)
    assert 0 < 1 - neuron.beta.item() < 0.01
    y = tt.scan(layer, torch.ones(5, 1, 3, dtype=dtype))
    y.sum().backward()
    assert y.ne(0).all() and layer.synapse.weight.grad.ne(0).all()
