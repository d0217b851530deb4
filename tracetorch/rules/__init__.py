"""Rules: frozen, validated points on the axes, their named presets, and the weight credits that they are made of."""

from tracetorch.rules.presets import (
    FACTS,
    PRESETS,
    Facts,
    bptt,
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
from tracetorch.traces import Factor, Full, Graph, NoTrace, Pre, WeightCredit

__all__ = [
    "FACTS",
    "PRESETS",
    "Factor",
    "Facts",
    "Full",
    "Graph",
    "NoTrace",
    "Pre",
    "Rule",
    "WeightCredit",
    "bptt",
    "drtrl",
    "eprop",
    "ottt",
    "rate",
    "sltt",
    "tbptt",
    "trace",
    "traced_bptt",
]
