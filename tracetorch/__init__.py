"""Train spiking and other stateful networks online, with constant memory, in ordinary PyTorch."""

from tracetorch import rules, signals
from tracetorch.layer import Layer
from tracetorch.neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    DiagonalRecurrent,
    HardReset,
    Learnable,
    Mean,
    Neuron,
    NoReset,
    Readout,
    SoftReset,
    SynapticLIF,
    half_life,
    surrogates,
    tau,
)
from tracetorch.rates import FinalRate, RunningRate
from tracetorch.rules import Rule
from tracetorch.scan import Scan, scan
from tracetorch.state import check_finite, get_state, layers, reset, set_rule, set_state
from tracetorch.synapses import LinearInWeights

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "DiagonalRecurrent",
    "FinalRate",
    "HardReset",
    "Layer",
    "Learnable",
    "LinearInWeights",
    "Mean",
    "Neuron",
    "NoReset",
    "Readout",
    "Rule",
    "RunningRate",
    "Scan",
    "SoftReset",
    "SynapticLIF",
    "check_finite",
    "get_state",
    "half_life",
    "layers",
    "reset",
    "rules",
    "scan",
    "set_rule",
    "set_state",
    "signals",
    "surrogates",
    "tau",
]
