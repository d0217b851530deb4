"""Fused CPU kernels: one walk through a window per sample, compiled for the neuron's own step."""

from tracetorch.ops.fused.load import why_not
from tracetorch.ops.fused.run import run_carry_full, run_credit_back, run_forward, run_reverse, run_weight_grad

__all__ = ["run_carry_full", "run_credit_back", "run_forward", "run_reverse", "run_weight_grad", "why_not"]
