"""Rules: frozen, validated points on the axes, their named presets, and the weight credits that they are made of.

`tt.rules.suggest` is that of `tracetorch.testing`, which measures rules on a network.
"""

from importlib import import_module
from typing import Any

from tracetorch.rules.above import Credited, Present, ReadoutMemory
from tracetorch.rules.chains import AllMemory
from tracetorch.rules.citations import citation
from tracetorch.rules.literature import ostl, otpe, pp_prop, rflo, rtrl, s_tllr, snap1, uoro
from tracetorch.rules.next import NextMemory
from tracetorch.rules.plasticity import stdp, triplet_stdp
from tracetorch.rules.presets import (
    FACTS,
    PRESETS,
    Facts,
    bptt,
    cascade,
    drtrl,
    eprop,
    ottt,
    rate,
    sltt,
    tbptt,
    trace,
    traced_bptt,
)
from tracetorch.rules.rule import Rule
from tracetorch.traces import (
    Auto,
    Factor,
    Full,
    Graph,
    NoTrace,
    Pairs,
    Pre,
    RankOne,
    Rtrl,
    Smoothed,
    SnAp,
    SpikeTimes,
    Timing,
    WeightCredit,
)

__all__ = [
    "FACTS",
    "PRESETS",
    "AllMemory",
    "Auto",
    "Credited",
    "Factor",
    "Facts",
    "Full",
    "Graph",
    "NextMemory",
    "NoTrace",
    "Pairs",
    "Pre",
    "Present",
    "RankOne",
    "ReadoutMemory",
    "Rtrl",
    "Rule",
    "Smoothed",
    "SnAp",
    "SpikeTimes",
    "Timing",
    "WeightCredit",
    "bptt",
    "cascade",
    "citation",
    "drtrl",
    "eprop",
    "ostl",
    "otpe",
    "ottt",
    "pp_prop",
    "rate",
    "rflo",
    "rtrl",
    "s_tllr",
    "sltt",
    "snap1",
    "stdp",
    "tbptt",
    "trace",
    "traced_bptt",
    "triplet_stdp",
    "uoro",
]


def __getattr__(name: str) -> Any:
    """Import what measures rules, which is above them, when it is first called for."""
    if name == "suggest":
        return import_module("tracetorch.testing").suggest
    raise AttributeError(f"module 'tracetorch.rules' has no attribute {name!r}")
