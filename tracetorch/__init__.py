"""Train spiking and other stateful networks online, with constant memory, in ordinary PyTorch."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tracetorch import feedback, rules
from tracetorch.backends import available_backends
from tracetorch.direct import DirectFeedback, TargetProjection
from tracetorch.dropout import SequenceDropout
from tracetorch.firing import Firing, init_firing
from tracetorch.intervals import intervals
from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.local import LocalOutputs, LocalReadouts
from tracetorch.network import check_finite, get_state, reset, set_backend, set_rule, set_state
from tracetorch.neurons import (
    ALIF,
    BRF,
    IF,
    LI,
    LIF,
    LRU,
    RTU,
    DiagonalRecurrent,
    HardReset,
    Learnable,
    Mean,
    MinGRU,
    Neuron,
    NoReset,
    Readout,
    SEAdLIF,
    SoftReset,
    SynapticLIF,
    Timed,
    half_life,
    parameter_groups,
    surrogates,
    tau,
)
from tracetorch.operations import Operations, count_operations
from tracetorch.rates import FinalRate, RunningRate
from tracetorch.record import Record, record
from tracetorch.rules import Rule, citation
from tracetorch.scan import Scan, scan
from tracetorch.stream import Stream
from tracetorch.synapses import BatchNormed, LinearInWeights, register_synapse

__version__ = "0.1.0"

_ON_DEMAND = ("data", "encoding", "export", "interop", "plot", "rl", "testing", "train")


def __getattr__(name: str) -> ModuleType:
    """Import a part of the library that the core does not need when it is first asked for."""
    if name in _ON_DEMAND:
        return import_module(f"tracetorch.{name}")
    raise AttributeError(f"module 'tracetorch' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what a user needs."""
    return sorted([*__all__, *_ON_DEMAND, "__version__"])


__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "LRU",
    "RTU",
    "BatchNormed",
    "DiagonalRecurrent",
    "DirectFeedback",
    "FinalRate",
    "Firing",
    "HardReset",
    "Layer",
    "Learnable",
    "LinearInWeights",
    "LocalOutputs",
    "LocalReadouts",
    "Mean",
    "MinGRU",
    "Neuron",
    "NoReset",
    "Operations",
    "Readout",
    "Record",
    "Rule",
    "RunningRate",
    "SEAdLIF",
    "Scan",
    "SequenceDropout",
    "SoftReset",
    "Stream",
    "SynapticLIF",
    "TargetProjection",
    "Timed",
    "available_backends",
    "check_finite",
    "citation",
    "count_operations",
    "feedback",
    "get_state",
    "half_life",
    "init_firing",
    "intervals",
    "layers",
    "parameter_groups",
    "record",
    "register_synapse",
    "reset",
    "rules",
    "scan",
    "set_backend",
    "set_rule",
    "set_state",
    "surrogates",
    "tau",
]
