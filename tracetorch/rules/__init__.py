"""Rules: frozen, validated points on the axes, their named presets, and the weight credits that they are made of."""

from tracetorch.rules.above import Credited, Present, ReadoutMemory
from tracetorch.rules.chains import AllMemory
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
from tracetorch.traces import Auto, Factor, Full, Graph, NoTrace, Pairs, Pre, WeightCredit

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
    "NoTrace",
    "Pairs",
    "Pre",
    "Present",
    "ReadoutMemory",
    "Rule",
    "WeightCredit",
    "bptt",
    "cascade",
    "drtrl",
    "eprop",
    "ottt",
    "rate",
    "sltt",
    "tbptt",
    "trace",
    "traced_bptt",
]
