"""Synapses: what is linear in its weights, and what a trace needs to know of it."""

from tracetorch.synapses.base import Synapse
from tracetorch.synapses.conv import ConvSynapse
from tracetorch.synapses.declared import LinearInWeights
from tracetorch.synapses.find import synapse_of
from tracetorch.synapses.linear import LinearSynapse

__all__ = ["ConvSynapse", "LinearInWeights", "LinearSynapse", "Synapse", "synapse_of"]
