"""The rivals: what is installed for each, and its rows.

``{torch}`` in a requirement stands for the release of torch that this library runs on here.
"""

from __future__ import annotations

from benchmarks.rows import Library, Row

_LONG = 10_000
"""Time steps up to which methods whose memory grows with time are measured."""

_WHOLE = ("W1", "W4", "W5", "W6")


def _snntorch() -> Library:
    name = "snnTorch"
    cut = ("each",)
    return Library(
        name,
        "benchmarks.rivals.snntorch",
        (
            Row(name, "BPTT", (*_WHOLE, "W4e", "W2", "W3"), longest=_LONG, note="a loop over time"),
            Row(
                name,
                "BPTT, layer by layer",
                ("W1", "W4", "W4e", "W5"),
                {"layerwise": True},
                note="synapses over all steps",
            ),
            Row(name, "cut at every step", ("W2", "W2v"), updates=cut),
        ),
        ("torch=={torch}", "numpy", "snntorch==1.0.0"),
        "https://snntorch.readthedocs.io",
    )


def _norse() -> Library:
    name = "Norse"
    spike = "SuperSpike for the arctangent"
    return Library(
        name,
        "benchmarks.rivals.norse",
        (
            Row(name, "BPTT", (*_WHOLE, "W2", "W3"), longest=_LONG, note=spike),
            Row(name, "cut at every step", ("W2",), updates=("each",), note=spike),
        ),
        ("torch=={torch}", "numpy", "norse==1.1.0"),
        "https://norse.github.io/norse",
    )


def _spikingjelly() -> Library:
    name = "SpikingJelly"
    online = {"method": "ottt"}
    untraced = "its first synapse has no trace of the input"
    return Library(
        name,
        "benchmarks.rivals.spikingjelly",
        (
            Row(name, "BPTT", (*_WHOLE, "W4e", "W2", "W3"), longest=_LONG, note="multi-step"),
            Row(name, "OTTT", ("W1", "W3", "W4", "W5"), online, longest=100_000, note=untraced),
            Row(name, "OTTT", ("W2",), online, updates=("each", "end"), note=untraced),
            Row(name, "cut at every step", ("W2",), {"method": "cut"}, updates=("each",)),
        ),
        ("torch=={torch}", "numpy", "spikingjelly==2.0.0"),
        "https://spikingjelly.readthedocs.io",
    )


def _braintrace() -> Library:
    """Return BrainTrace's rows, without the GPU's: what pip installs as jax runs on CPUs."""
    name = "BrainTrace"
    pp, full = {"method": "pp_prop"}, {"method": "D_RTRL"}
    stock = "brainpy.state.LIF, whose reset keeps its gradient"
    lean = "a neuron of our equation, written for this benchmark"
    windows = f"{lean}; multi-step: backpropagation inside a window"
    both = ("each", "end")
    return Library(
        name,
        "benchmarks.rivals.braintrace",
        (
            Row(name, "pp_prop", ("W1", "W4"), pp, note=stock),
            Row(name, "pp_prop, lean", ("W1", "W3", "W4", "W6"), {**pp, "lean": True}, note=lean),
            Row(name, "pp_prop, lean", ("W2",), {**pp, "lean": True}, updates=both, note=lean),
            Row(name, "D_RTRL, lean", ("W1",), {**full, "lean": True}, "neuron", note=lean),
            Row(name, "D_RTRL, lean", ("W2",), {**full, "lean": True}, "neuron", updates=both, note=lean),
            Row(name, "D_RTRL, lean", ("W4", "W6"), {**full, "lean": True}, note=lean),
            Row(name, "D_RTRL, windows", ("W1",), {**full, "chunked": True}, "neuron", note=stock),
            Row(
                name,
                "D_RTRL, lean, windows",
                ("W1", "W2", "W3"),
                {**full, "chunked": True, "lean": True},
                "neuron",
                note=windows,
            ),
            Row(name, "D_RTRL, lean, windows", ("W6",), {**full, "chunked": True, "lean": True}, note=windows),
        ),
        ("jax", "numpy", "braintrace==0.2.6"),
        "https://brainx.chaobrain.com/braintrace",
    )


RIVALS: dict[str, Library] = {r.name.lower(): r for r in (_snntorch(), _norse(), _spikingjelly(), _braintrace())}
"""The rivals by name in small letters."""
