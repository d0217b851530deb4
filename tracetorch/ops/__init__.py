"""Tensor-only kernels: no layer, no neuron, no rule is known here.

Every kernel is a folder with a readable `reference.py`, the oracle and the fallback of any faster twin.
"""

from tracetorch.ops.forward import decayed_sums, linear_scan
from tracetorch.ops.powers import power_weights
from tracetorch.ops.reverse import reverse_filter, reverse_scan

__all__ = ["decayed_sums", "linear_scan", "power_weights", "reverse_filter", "reverse_scan"]
