"""What the CPU backend cannot serve, with the reason."""

from __future__ import annotations

from tracetorch.backends.interface import Scan, why_not_values
from tracetorch.backends.numba.packed import FLOATS, Packed
from tracetorch.neurons.lowering import NotLowered


def why_not_scan(scan: Scan) -> str:
    """Return why the kernels cannot serve a scan; an empty text where they can."""
    like = scan.s[0]
    if like.device.type != "cpu":
        return f"it serves CPUs, the layer is on {like.device}"
    if like.dtype not in FLOATS:
        return f"it computes in float32 and float64, the states are {like.dtype}"
    lowered = scan.neuron.lowered()
    if isinstance(lowered, NotLowered):
        return f"the step of {type(scan.neuron).__name__} cannot be compiled: {lowered.reason}"
    if lowered.currents > 1 and (scan.product is not None or scan.recurrent is not None):
        name = type(scan.neuron).__name__
        return f"it forms one current per unit from inputs or outputs, {name} has {lowered.currents}; pass the currents"
    values = {name: scan.parameter(name) for name in lowered.parameters}
    return why_not_values(scan, values) or _why_not_dense(scan) or _why_not_fed(scan)


def _why_not_dense(scan: Scan) -> str:
    if scan.product is None:
        return ""
    events, weight, bias = scan.product.events, scan.product.weight, scan.product.bias
    if not isinstance(events, Packed):
        return f"it forms products from its own events, not from {type(events).__name__}"
    if {x.dtype for x in (weight, bias, events.x) if x is not None} != {scan.s[0].dtype}:
        return (
            f"it takes one dtype, the states are {scan.s[0].dtype}, the weights {weight.dtype}, the inputs "
            f"{events.x.dtype}"
        )
    if scan.unit != (weight.shape[0],):
        return f"products from events give units in one dimension, [{weight.shape[0]}], not {list(scan.unit)}"
    if events.shape[2] != weight.shape[1]:
        return f"the weights take {weight.shape[1]} inputs, not {events.shape[2]}"
    return ""


def _why_not_fed(scan: Scan) -> str:
    if scan.recurrent is None:
        return ""
    dense = scan.recurrent.dense()
    if dense is None:
        return f"it knows dense recurrent synapses only, not {type(scan.recurrent).__name__}"
    weight = dense[0]
    if weight.dtype != scan.s[0].dtype:
        return f"it takes one dtype, the recurrent weights are {weight.dtype}, the states {scan.s[0].dtype}"
    if scan.unit != tuple(weight.shape[:1]) or weight.shape[0] != weight.shape[1]:
        return f"a dense recurrent weight is [N, N] for units [N], not {list(weight.shape)} for {list(scan.unit)}"
    if scan.z is None:
        return "a recurrent synapse needs the outputs before the window"
    return ""
