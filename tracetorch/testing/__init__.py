"""Oracles, audits and conformance cases, for this library's neurons, synapses and rules and for a user's own.

`gradient_audit` says how far a rule is from BPTT on a network, `check_neuron` and `check_linear_in_weights` test
what a user wrote, `require_alive` guards against silent layers, and `tracetorch.testing.conformance` holds the table
of what is exact and what is not, which `conformance.for_neuron` makes for any neuron.
"""

from tracetorch.testing.agreement import Agreement, Gradients, agreement
from tracetorch.testing.audit import Audit, gradient_audit
from tracetorch.testing.clone import clone
from tracetorch.testing.definition import definition
from tracetorch.testing.eligibility import UnitBlocks, unit_blocks
from tracetorch.testing.liveness import SilentError, calibrate, firing_rates, require_alive
from tracetorch.testing.neuron_check import NeuronError, check_neuron
from tracetorch.testing.oracle import Cuts, bptt, traced, truncated
from tracetorch.testing.running import rule_gradients
from tracetorch.testing.synapse_check import SynapseError, check_linear_in_weights

__all__ = [
    "Agreement",
    "Audit",
    "Cuts",
    "Gradients",
    "NeuronError",
    "SilentError",
    "SynapseError",
    "UnitBlocks",
    "agreement",
    "bptt",
    "calibrate",
    "check_linear_in_weights",
    "check_neuron",
    "clone",
    "definition",
    "firing_rates",
    "gradient_audit",
    "require_alive",
    "rule_gradients",
    "traced",
    "truncated",
    "unit_blocks",
]
