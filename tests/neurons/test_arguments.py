"""Slips in making a neuron: each raises, and the message names the remedy."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest
import torch
from torch import nn

import tracetorch as tt

SPIKING = (tt.LIF, tt.ALIF, tt.SynapticLIF)
DECAYS = {
    tt.LIF: {"half_life": 5.0},
    tt.ALIF: {"half_life": 5.0, "adaptation_half_life": 20.0},
    tt.SynapticLIF: {"half_life": 5.0, "synaptic_half_life": 2.0},
}


@pytest.mark.parametrize("make", [*SPIKING, tt.LI, tt.Neuron], ids=lambda make: make.__name__)
def test_signatures_show_every_option_with_its_type(make: type) -> None:
    signature = inspect.signature(make)
    assert {"half_life", "tau", "beta"} <= set(signature.parameters)
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert set(signature.parameters) <= set(get_type_hints(make.__init__))
    assert all(
        f"        {name}: " in inspect.cleandoc(make.__doc__).replace("\n    ", "\n        ")
        for name in signature.parameters
    )


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (lambda: tt.LIF(20), r"LIF takes its options by name, got 20; write LIF\(half_life=20\)"),
        (lambda: tt.LI(20.0), r"write LI\(half_life=20.0\)"),
        (lambda: tt.Mean(20), "Mean takes its options by name, got 20"),
        (lambda: tt.LIF(half_life=20, learn_beta=True), r"no option 'learn_beta'; .*half_life=tt.Learnable\(20.0\)"),
        (lambda: tt.LIF(half_life=20, v_threshold=1.0), r"'v_threshold'; write threshold=1.0"),
        (lambda: tt.LIF(half_life=20, tau_mem=3.0), r"'tau_mem'; write tau=20.0"),
        (lambda: tt.LIF(half_life=20, spike_grad=torch.sigmoid), r"write surrogate=tt.surrogates.ATan\(\)"),
        (lambda: tt.LIF(half_life=20, init_hidden=True), r"tt.reset\(net\) clears it"),
        (lambda: tt.LIF(half_life=20, reset_mechanism="zero"), r"write reset=tt.SoftReset\(\)"),
        (lambda: tt.LIF(half_life=20, colour="red"), r"no option 'colour'. It has threshold, surrogate"),
        (lambda: tt.LIF(half_life=20, surrogate=torch.sigmoid), r"surrogate=tt.surrogates.Sigmoid\(4.0\)"),
        (lambda: tt.LIF(half_life=20, surrogate=tt.surrogates.ATan), r"write surrogate=ATan\(\)"),
        (lambda: tt.LIF(half_life=20, surrogate="atan"), r"got 'atan'; write one of tt.surrogates"),
        (lambda: tt.LIF(half_life=20, reset="zero"), r"got 'zero'; write reset=tt.HardReset\(\)"),
        (lambda: tt.LIF(half_life=20, reset="subtract"), r"write reset=tt.SoftReset\(\)"),
        (lambda: tt.IF(reset=tt.NoReset), r"write reset=tt.NoReset\(\)"),
        (lambda: tt.LIF(half_life=20, reset=0.0), r"got 0.0; write reset=tt.SoftReset\(\), "),
        (lambda: tt.LIF(half_life=20, normalized="yes"), "normalized must be True or False, got 'yes'"),
        (lambda: tt.LI(half_life=20, normalized=None), "normalized must be True or False, got None"),
        (lambda: tt.DiagonalRecurrent(tt.LIF, 4), "takes a neuron such as"),
        (lambda: nn.Sequential(nn.Linear(3, 4), tt.LIF(half_life=3))(torch.ones(2, 3)), r"tt.Layer\(nn.Linear\(n_in"),
        (lambda: tt.Layer(nn.Linear(3, 4), tt.LIF), "the class LIF itself; make one"),
    ],
)
def test_slips_name_the_remedy(slip: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        slip()


@pytest.mark.parametrize("make", SPIKING, ids=lambda make: make.__name__)
@pytest.mark.parametrize("steps", [True, -1, 1.5, "2", None, float("inf"), float("nan")])
def test_a_refractory_time_is_a_whole_number(make: type, steps: object) -> None:
    with pytest.raises(ValueError, match="refractory must be a whole number of steps"):
        make(**DECAYS[make], refractory=steps)
    assert make(**DECAYS[make], refractory=2.0).refractory == 2


def test_a_users_neuron_has_the_signature_and_the_messages_of_its_own_constructor() -> None:
    class Own(tt.Neuron):
        def __init__(self, slope: float, *, offset: float = 0.0, **more: float) -> None:
            super().__init__(**more)
            self.slope, self.offset = slope, offset

    assert list(inspect.signature(Own).parameters) == ["slope", "offset", "more"]
    assert Own(2.0, half_life=3).slope == 2.0
    with pytest.raises(TypeError, match=r"Own takes its options by name, got 3\.0"):
        Own(2.0, 3.0)
    with pytest.raises(TypeError, match="learn_beta"):
        Own(2.0, learn_beta=True)


def test_a_neuron_without_its_decay_names_the_three() -> None:
    with pytest.raises(ValueError, match=r"LIF needs exactly one of half_life, tau, beta; got none"):
        tt.LIF()
    with pytest.raises(ValueError, match=r"adaptation_half_life, adaptation_tau, adaptation_beta; got none"):
        tt.ALIF(half_life=3)
    with pytest.raises(ValueError, match=r"got \['beta', 'half_life'\]"):
        tt.LIF(half_life=3, beta=0.5)
