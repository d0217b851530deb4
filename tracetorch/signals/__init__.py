"""Where the learning signal comes from: the way back through a synapse."""

from tracetorch.signals.signal import Random, Signal, Symmetric

__all__ = ["Random", "Signal", "Symmetric"]
