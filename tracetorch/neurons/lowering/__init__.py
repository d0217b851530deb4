"""Lower a neuron's step once: its values and all its derivatives as one list of scalar assignments.

Kernels, Jacobian blocks on tensors, and the question of what is constant all derive from that list.
"""

from tracetorch.neurons.lowering.emit import advance_text, functions_of, step_text, tensor_blocks
from tracetorch.neurons.lowering.lowered import Lowered, NotLowered
from tracetorch.neurons.lowering.programs import blocks_of, constant_of, program_of

__all__ = [
    "Lowered",
    "NotLowered",
    "advance_text",
    "blocks_of",
    "constant_of",
    "functions_of",
    "program_of",
    "step_text",
    "tensor_blocks",
]
