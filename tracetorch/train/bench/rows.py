"""The rows of a table: one library with one method each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tracetorch.train.bench.settings import Group, Kind, Loss, Update


@dataclass(frozen=True)
class Row:
    """Describe one row: a library, a method, and where it is measured.

    Args:
        library: The library's name.
        method: What the table calls the method; unique in its library.
        kinds: Kinds of workloads that it takes part in.
        options: What the library's own module needs to know of it.
        decays: ``shared`` by all units of a layer, or one for each ``neuron``.
        losses: Losses that it takes part in.
        updates: Updates that it takes part in.
        longest: Largest number of time steps at which it is measured; None for any. Methods whose memory grows with
            time need one.
        networks: Networks that it takes part in.
        devices: Devices that it can use.
        note: What a reader must know of it.
    """

    library: str
    method: str
    kinds: tuple[Kind, ...] = ("iteration",)
    options: Mapping[str, Any] = field(default_factory=dict)
    decays: Literal["shared", "neuron"] = "shared"
    losses: tuple[Loss, ...] = ("last", "every")
    updates: tuple[Update, ...] = ("end",)
    longest: int | None = None
    networks: tuple[Literal["dense", "conv"], ...] = ("dense", "conv")
    devices: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")
    note: str = ""

    @property
    def name(self) -> str:
        """Return library and method."""
        return f"{self.library} {self.method}"

    def fits(self, group: Group) -> bool:
        """Tell whether the row is measured in a group."""
        workload = group.workload
        return (
            workload.kind in self.kinds
            and workload.device in self.devices
            and group.loss in self.losses
            and group.update in self.updates
            and (self.longest is None or group.steps <= self.longest)
            and ("conv" if workload.network.convolutional else "dense") in self.networks
            and not (workload.network.convolutional and self.decays == "neuron")
        )


@dataclass(frozen=True)
class Library:
    """Describe a library that is measured: its rows and how its process is started.

    Args:
        name: Its name.
        module: The module that its process runs: functions ``prepare(job)`` and ``versions()``.
        rows: Its rows.
        packages: Words for pip that install it in an environment of its own; none for this very interpreter.
        home: Its documentation.
    """

    name: str
    module: str
    rows: Sequence[Row]
    packages: tuple[str, ...] = ()
    home: str = ""


_LIBRARY = "traceTorch"
_RULES = ("trace", "sltt", "ottt", "eprop")


def _own_rows() -> tuple[Row, ...]:
    rows = [Row(_LIBRARY, "inference", options={"rule": None}, note="no learning: what the network itself costs")]
    rows += [Row(_LIBRARY, rule, options={"rule": rule}) for rule in (*_RULES, "rate")]
    rows += [
        Row(_LIBRARY, "traced_bptt", options={"rule": "traced_bptt", "window": True}, note="windows, traces carried"),
        Row(
            _LIBRARY,
            "drtrl, decays per neuron",
            options={"rule": "drtrl", "window": True},
            decays="neuron",
            note="exact full eligibility; windows, traces carried",
        ),
        Row(
            _LIBRARY,
            "drtrl",
            options={"rule": "drtrl", "window": True},
            networks=("conv",),
            note="windows, traces carried",
        ),
        Row(_LIBRARY, "bptt", options={"rule": "bptt"}, note="torch's autograd over the whole sequence"),
    ]
    rows += [
        Row(_LIBRARY, rule, ("stream",), {"rule": rule}, updates=("each", "end"), note="one call per step, eager")
        for rule in _RULES
    ]
    rows.append(
        Row(
            _LIBRARY,
            "drtrl, decays per neuron",
            ("stream",),
            {"rule": "drtrl"},
            decays="neuron",
            updates=("each", "end"),
            note="one call per step, eager",
        )
    )
    rows += [
        Row(
            _LIBRARY,
            f"{rule}, compiled",
            ("stream",),
            {"rule": rule, "compiled": True},
            updates=("each",),
            note="torch.compile of one step's forward",
        )
        for rule in ("trace", "ottt")
    ]
    rows += [
        Row(
            _LIBRARY,
            f"{rule}, tt.Stream",
            ("stream",),
            {"rule": rule, "fused": True},
            updates=("each",),
            note="one call",
        )
        for rule in ("trace", "sltt", "ottt")
    ]
    rows += [
        Row(_LIBRARY, f"{rule}, scanned", ("stream",), {"rule": rule, "scanned": True}, note="one tt.scan")
        for rule in _RULES
    ]
    rows += [Row(_LIBRARY, rule, ("memory",), {"rule": rule, "window": True}) for rule in ("trace", "ottt", "eprop")]
    rows += [
        Row(_LIBRARY, "traced_bptt", ("memory",), {"rule": "traced_bptt", "window": True}),
        Row(_LIBRARY, "drtrl, decays per neuron", ("memory",), {"rule": "drtrl", "window": True}, decays="neuron"),
        Row(_LIBRARY, "bptt", ("memory",), {"rule": "bptt"}, longest=10_000, note="memory grows with time"),
        Row(_LIBRARY, "scan forward", ("bandwidth",), {"kernel": "forward"}),
        Row(_LIBRARY, "scan reverse", ("bandwidth",), {"kernel": "reverse"}),
        Row(_LIBRARY, "copy", ("bandwidth",), {"kernel": "copy"}, note="a device-to-device copy"),
    ]
    return tuple(rows)


OWN = Library(_LIBRARY, "tracetorch.train.bench.own", _own_rows())
"""This library: no other one is needed to measure it."""

BASIS = "trace"
"""The method of this library that ratios are against, where it is in the table."""
