"""Traces: what a layer carries forward instead of the graph; one file per kind."""

from tracetorch.traces.averaged import Averaged, Factor
from tracetorch.traces.bank import OutputFilter
from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.eligibility import Eligibility, Full
from tracetorch.traces.pairs import Paired, Pairs
from tracetorch.traces.passing import Credit
from tracetorch.traces.plasticity import SpikeTimes
from tracetorch.traces.presynaptic import Pre, Presynaptic
from tracetorch.traces.rank_one import RankOne
from tracetorch.traces.recurrent import Rtrl, SnAp
from tracetorch.traces.smoothed import Smoothed
from tracetorch.traces.storage import Auto
from tracetorch.traces.timing import Timing
from tracetorch.traces.untraced import Graph, InGraph, NoTrace, Untraced
from tracetorch.traces.window import Afferent, Numbers, Traces, Window

__all__ = [
    "Afferent",
    "Auto",
    "Averaged",
    "Context",
    "Credit",
    "Eligibility",
    "Factor",
    "Full",
    "Graph",
    "InGraph",
    "NoTrace",
    "Numbers",
    "OutputFilter",
    "Paired",
    "Pairs",
    "Pre",
    "Presynaptic",
    "RankOne",
    "Rtrl",
    "Smoothed",
    "SnAp",
    "SpikeTimes",
    "Timing",
    "Trace",
    "Traces",
    "Untraced",
    "WeightCredit",
    "Window",
]
