"""Oracles, audits and conformance cases, for this library's neurons, synapses and rules and for a user's own.

`audit` measures how far rules are from BPTT on a network and what they cost, `gradient_audit` looks at one rule
parameter by parameter, `check_neuron` and `check_linear_in_weights` test what a user wrote, `require_alive` guards
against silent layers, and `tracetorch.testing.conformance.for_neuron` makes the cases of what is exact and what is
not for any neuron.
"""

from tracetorch.testing.agreement import Agreement, Gradients, agreement
from tracetorch.testing.clone import clone
from tracetorch.testing.eligibility import UnitBlocks, unit_blocks
from tracetorch.testing.liveness import SilentError, calibrate, firing_rates, require_alive
from tracetorch.testing.neuron_check import NeuronError, check_neuron
from tracetorch.testing.oracle import Cuts, bptt, traced, truncated
from tracetorch.testing.peak import PeakBytes
from tracetorch.testing.rule_audit import Cost, RuleAudit
from tracetorch.testing.rules_audit import audit
from tracetorch.testing.running import rule_gradients
from tracetorch.testing.single_audit import Audit, gradient_audit
from tracetorch.testing.suggestion import Suggestion, suggest
from tracetorch.testing.synapse_check import SynapseError, check_linear_in_weights

__all__ = [
    "Agreement",
    "Audit",
    "Cost",
    "Cuts",
    "Gradients",
    "NeuronError",
    "PeakBytes",
    "RuleAudit",
    "SilentError",
    "Suggestion",
    "SynapseError",
    "UnitBlocks",
    "agreement",
    "audit",
    "bptt",
    "calibrate",
    "check_linear_in_weights",
    "check_neuron",
    "clone",
    "firing_rates",
    "gradient_audit",
    "require_alive",
    "rule_gradients",
    "suggest",
    "traced",
    "truncated",
    "unit_blocks",
]
