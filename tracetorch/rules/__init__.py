"""Rules: frozen, validated points on the axes, their named presets, and the weight credits that they are made of."""

from tracetorch.rules.above import AllMemory, Credited, Present, ReadoutMemory
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
    s_tllr,
    sltt,
    tbptt,
    trace,
    traced_bptt,
)
from tracetorch.rules.rule import Rule
from tracetorch.traces import Factor, Full, Graph, NoTrace, Pairs, Pre, Timing, WeightCredit

__all__ = [
    "FACTS",
    "PRESETS",
    "AllMemory",
    "Credited",
    "Factor",
    "Facts",
    "Full",
    "Graph",
    "NoTrace",
    "Pairs",
    "Pre",
    "Present",
    "ReadoutMemory",
    "Rule",
    "Timing",
    "WeightCredit",
    "bptt",
    "cascade",
    "drtrl",
    "eprop",
    "ottt",
    "rate",
    "s_tllr",
    "sltt",
    "tbptt",
    "trace",
    "traced_bptt",
]
