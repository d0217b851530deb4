"""The rivals: what is installed for each, and its rows.

``{torch}`` in a requirement stands for the release of torch that this library runs on here.
"""

from __future__ import annotations

from dataclasses import replace

from tracetorch.train.bench.rows import Library, Row

_LONG = 10_000
"""Time steps up to which methods whose memory grows with time are measured."""


def _snntorch() -> Library:
    name = "snnTorch"
    return Library(
        name,
        "benchmarks.rivals.snntorch",
        (
            Row(name, "BPTT", ("iteration", "memory"), longest=_LONG, note="a loop over time"),
            Row(name, "BPTT, layer by layer", options={"layerwise": True}, note="each synapse over all steps at once"),
            Row(name, "BPTT", ("stream",), longest=_LONG, note="a loop over time"),
            Row(name, "cut at every step", ("stream",), updates=("each",)),
        ),
        ("torch=={torch}", "numpy", "snntorch==1.0.0"),
        "https://snntorch.readthedocs.io",
    )


def _norse() -> Library:
    name = "Norse"
    return Library(
        name,
        "benchmarks.rivals.norse",
        (
            Row(name, "BPTT", ("iteration", "memory", "stream"), longest=_LONG, note="SuperSpike for the arctangent"),
            Row(name, "cut at every step", ("stream",), updates=("each",), note="SuperSpike for the arctangent"),
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
            Row(name, "BPTT", ("iteration", "memory", "stream"), longest=_LONG, note="multi-step"),
            Row(name, "OTTT", ("iteration", "memory"), online, longest=100_000, note=untraced),
            Row(name, "OTTT", ("stream",), online, updates=("each", "end"), note=untraced),
            Row(name, "cut at every step", ("stream",), {"method": "cut"}, updates=("each",)),
        ),
        ("torch=={torch}", "numpy", "spikingjelly==2.0.0"),
        "https://spikingjelly.readthedocs.io",
    )


def _braintrace() -> Library:
    name = "BrainTrace"
    pp, full = {"method": "pp_prop"}, {"method": "D_RTRL"}
    stock = "brainpy.state.LIF, whose reset keeps its gradient"
    lean = "a neuron of our equation, written for this benchmark"
    rows = (
        Row(name, "pp_prop", ("iteration",), pp, note=stock),
        Row(name, "pp_prop, lean", ("iteration", "memory"), {**pp, "lean": True}, note=lean),
        Row(name, "pp_prop, lean", ("stream",), {**pp, "lean": True}, updates=("each", "end"), note=lean),
        Row(name, "D_RTRL, lean", ("iteration",), {**full, "lean": True}, "neuron", note=lean),
        Row(
            name,
            "D_RTRL, lean",
            ("stream",),
            {**full, "lean": True},
            "neuron",
            updates=("each", "end"),
            note=lean,
        ),
        Row(name, "D_RTRL, lean", ("iteration",), {**full, "lean": True}, networks=("conv",), note=lean),
        Row(name, "D_RTRL, windows", ("iteration",), {**full, "chunked": True}, "neuron", note=stock),
        Row(
            name,
            "D_RTRL, lean, windows",
            ("iteration", "stream", "memory"),
            {**full, "chunked": True, "lean": True},
            "neuron",
            note=f"{lean}; multi-step: backpropagation inside a window",
        ),
    )
    return Library(
        name,
        "benchmarks.rivals.braintrace",
        [replace(row, devices=("cpu",)) for row in rows],  # what pip installs as jax runs on CPUs
        ("jax", "numpy", "braintrace==0.2.6"),
        "https://brainx.chaobrain.com/braintrace",
    )


RIVALS: dict[str, Library] = {r.name.lower(): r for r in (_snntorch(), _norse(), _spikingjelly(), _braintrace())}
"""The rivals by name in small letters."""
