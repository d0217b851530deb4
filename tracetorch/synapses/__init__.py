"""Synapses: what is linear in its weights, and what a trace needs to know of it."""

from torch import nn

from tracetorch.synapses.base import Synapse, entries
from tracetorch.synapses.conv import ConvSynapse
from tracetorch.synapses.conv_transpose import ConvTransposeSynapse
from tracetorch.synapses.declared import DeclaredSynapse, LinearInWeights
from tracetorch.synapses.effective import as_they_are, effective_bias, effective_weight, evaluated_once, require_values
from tracetorch.synapses.linear import LinearSynapse
from tracetorch.synapses.normed import BatchNormed, BatchNormedSynapse
from tracetorch.synapses.registry import adapters, register_synapse, synapse_of
from tracetorch.synapses.timed import TimedSynapse

register_synapse(nn.Linear, LinearSynapse)
register_synapse(nn.Conv1d, ConvSynapse)
register_synapse(nn.Conv2d, ConvSynapse)
register_synapse(nn.Conv3d, ConvSynapse)
register_synapse(nn.ConvTranspose1d, ConvTransposeSynapse)
register_synapse(nn.ConvTranspose2d, ConvTransposeSynapse)
register_synapse(nn.ConvTranspose3d, ConvTransposeSynapse)
register_synapse(LinearInWeights, DeclaredSynapse)
register_synapse(BatchNormed, BatchNormedSynapse)

__all__ = [
    "BatchNormed",
    "ConvSynapse",
    "ConvTransposeSynapse",
    "LinearInWeights",
    "LinearSynapse",
    "Synapse",
    "TimedSynapse",
    "adapters",
    "as_they_are",
    "effective_bias",
    "effective_weight",
    "entries",
    "evaluated_once",
    "register_synapse",
    "require_values",
    "synapse_of",
]
