"""Traces: what a layer carries forward in the place of the graph, and the seam through which it meets autograd."""

from tracetorch.traces.credit import Factor, Full, Graph, NoTrace, Pre, WeightCredit

__all__ = ["Factor", "Full", "Graph", "NoTrace", "Pre", "WeightCredit"]
