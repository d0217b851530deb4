"""Rules: frozen, validated points on the axes, and their named presets."""

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

__all__ = [
    "FACTS",
    "PRESETS",
    "Facts",
    "Rule",
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
