"""Rules: frozen, validated points on the axes, their named presets, and the weight credits that they are made of."""

from tracetorch.rules.above import Credited, Present, ReadoutMemory
from tracetorch.rules.chains import AllMemory
from tracetorch.rules.citations import citation
from tracetorch.rules.literature import ostl, otpe, pp_prop, rflo, rtrl, s_tllr, snap1
from tracetorch.rules.next import NextMemory
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
    Rtrl,
    Smoothed,
    SnAp,
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
    "ReadoutMemory",
    "Rtrl",
    "Rule",
    "Smoothed",
    "SnAp",
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
    "tbptt",
    "trace",
    "traced_bptt",
]
