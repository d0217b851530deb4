"""Whether Triton runs here, and what its kernels cannot serve, with the reason."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch

from tracetorch.backends.interface import Scan, why_not_values
from tracetorch.neurons.lowering import NotLowered

FLOATS = (torch.float32, torch.float64)
"""Scalar types for which kernels are compiled."""
LARGEST = 2**30
"""Number of units of all rows that 32-bit places count with room to spare."""


@cache
def why_not() -> str:
    """Return why the backend cannot run here; an empty text where it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton"
    if not torch.cuda.is_available() and not interpreted():
        return "torch finds no CUDA device (for tests, TRITON_INTERPRET=1 runs the kernels on a CPU, slowly)"
    return ""


@cache
def interpreted() -> bool:
    """Return whether Triton interprets its kernels, which it then does on any device."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def why_not_scan(scan: Scan) -> str:
    """Return why the kernels cannot serve a scan, where Triton runs; an empty text where they can."""
    like = scan.s[0]
    if not like.is_cuda and not interpreted():
        return f"it serves CUDA devices, the layer is on {like.device}"
    if like.dtype not in FLOATS:
        return f"it computes in float32 and float64, the states are {like.dtype}"
    if scan.recurrent is not None:
        return "it takes no recurrent synapse: a program scans its units alone, without the others' outputs"
    if scan.product is not None:
        return "it forms no products from events; pass the currents as drive"
    lowered = scan.neuron.lowered()
    if isinstance(lowered, NotLowered):
        return f"the step of {type(scan.neuron).__name__} cannot be compiled: {lowered.reason}"
    if lowered.currents != 1:
        return f"it takes one current per unit, {type(scan.neuron).__name__} has {lowered.currents}"
    if like.numel() > LARGEST:
        return f"it takes up to {LARGEST} units of all rows, got {like.numel()}; split the batch"
    return why_not_values(scan, {name: scan.parameter(name) for name in lowered.parameters})
