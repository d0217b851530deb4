"""Neurons: element-wise dynamics, one file each."""

from tracetorch.neurons.alif import ALIF
from tracetorch.neurons.base import Neuron, Readout
from tracetorch.neurons.binding import bind, effective_parameters, tensor_values
from tracetorch.neurons.blocks import Blocks, generic_blocks
from tracetorch.neurons.decays import Learnable, half_life, tau
from tracetorch.neurons.diagonal import DiagonalRecurrent
from tracetorch.neurons.groups import parameter_groups
from tracetorch.neurons.li import LI
from tracetorch.neurons.lif import IF, LIF
from tracetorch.neurons.mean import Mean
from tracetorch.neurons.resets import HardReset, NoReset, Reset, SoftReset
from tracetorch.neurons.synaptic import SynapticLIF

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "Blocks",
    "DiagonalRecurrent",
    "HardReset",
    "Learnable",
    "Mean",
    "Neuron",
    "NoReset",
    "Readout",
    "Reset",
    "SoftReset",
    "SynapticLIF",
    "bind",
    "effective_parameters",
    "generic_blocks",
    "half_life",
    "parameter_groups",
    "tau",
    "tensor_values",
]
