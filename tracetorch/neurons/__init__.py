"""Neurons: element-wise dynamics, one file each."""

from tracetorch.neurons.adlif import SEAdLIF
from tracetorch.neurons.alif import ALIF
from tracetorch.neurons.base import Neuron, Readout
from tracetorch.neurons.binding import bind, effective_parameters, tensor_values, unit_shape
from tracetorch.neurons.blocks import Blocks, generic_blocks
from tracetorch.neurons.brf import BRF
from tracetorch.neurons.decays import Learnable, half_life, tau
from tracetorch.neurons.diagonal import DiagonalRecurrent
from tracetorch.neurons.groups import parameter_groups
from tracetorch.neurons.li import LI
from tracetorch.neurons.lif import IF, LIF
from tracetorch.neurons.lru import LRU
from tracetorch.neurons.mean import Mean
from tracetorch.neurons.mingru import MinGRU
from tracetorch.neurons.resets import HardReset, NoReset, Reset, SoftReset
from tracetorch.neurons.rtu import RTU
from tracetorch.neurons.synaptic import SynapticLIF
from tracetorch.neurons.timed import Elapsed, Timed

__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "LRU",
    "RTU",
    "Blocks",
    "DiagonalRecurrent",
    "Elapsed",
    "HardReset",
    "Learnable",
    "Mean",
    "MinGRU",
    "Neuron",
    "NoReset",
    "Readout",
    "Reset",
    "SEAdLIF",
    "SoftReset",
    "SynapticLIF",
    "Timed",
    "bind",
    "effective_parameters",
    "generic_blocks",
    "half_life",
    "parameter_groups",
    "tau",
    "tensor_values",
    "unit_shape",
]
