"""Tensor-only helpers: no layer, no neuron, no rule is known here."""
