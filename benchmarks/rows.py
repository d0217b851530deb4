"""The rows of a table: one library with one method each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.settings import Group, Loss, Update


@dataclass(frozen=True)
class Row:
    """Describe one row: a library, a method, and where it is measured.

    Args:
        library: The library's name.
        method: What the table calls the method; unique in its library.
        workloads: Names of the workloads that it takes part in.
        options: What the library's own module needs to know of it.
        decays: ``shared`` by all units of a layer, or one for each ``neuron``.
        losses: Losses that it takes part in.
        updates: Updates that it takes part in.
        longest: Largest number of time steps at which it is measured; None for any. Methods whose memory grows with
            time need one.
        note: What a reader must know of it.
    """

    library: str
    method: str
    workloads: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    decays: Literal["shared", "neuron"] = "shared"
    losses: tuple[Loss, ...] = ("last", "every")
    updates: tuple[Update, ...] = ("end",)
    longest: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """Return library and method."""
        return f"{self.library} {self.method}"

    def fits(self, group: Group) -> bool:
        """Return whether the row is measured in a group."""
        return (
            group.workload.name in self.workloads
            and group.loss in self.losses
            and group.update in self.updates
            and (self.longest is None or group.steps <= self.longest)
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


_NAME = "traceTorch"
_WHOLE = ("W1", "W4", "W4e", "W5")
_PER_NEURON = "drtrl, decays per neuron"


def _iterations() -> list[Row]:
    """Return the rows of whole sequences."""
    windows = "windows, traces carried"
    rows = [Row(_NAME, "inference", (*_WHOLE, "W6"), note="no learning: what the network itself costs")]
    rows += [Row(_NAME, rule, _WHOLE, {"rule": rule}) for rule in ("trace", "cascade", "sltt", "ottt", "eprop", "rate")]
    rows += [
        Row(_NAME, "traced_bptt", _WHOLE, {"rule": "traced_bptt", "window": True}, note=windows),
        Row(
            _NAME,
            _PER_NEURON,
            ("W1", "W5"),
            {"rule": "drtrl", "window": True},
            "neuron",
            note=f"exact full eligibility; {windows}",
        ),
        Row(_NAME, "drtrl", ("W4",), {"rule": "drtrl", "window": True}, note=windows),
        Row(_NAME, "bptt", _WHOLE, {"rule": "bptt"}, note="torch's autograd over the whole sequence"),
    ]
    recurrent = ("trace", "cascade", "ottt", "drtrl", "eprop", "bptt")
    rows += [Row(_NAME, rule, ("W6",), {"rule": rule}) for rule in recurrent]
    rows += [Row(_NAME, f"feed-forward {rule}", ("W6",), {"rule": rule, "recurrent": False}) for rule in recurrent]
    own = {"ALIF": "alif", "own neuron": "adaptive"}
    rows += [
        Row(_NAME, f"{rule}, {name}", ("W1u",), {"rule": rule, "neuron": neuron})
        for rule in ("trace", "eprop")
        for name, neuron in own.items()
    ]
    rows += [
        Row(_NAME, f"{rule}, {kind} half-lives", ("W1l",), {"rule": rule, "learned": kind == "learned"}, "neuron")
        for rule in ("trace", "eprop")
        for kind in ("fixed", "learned")
    ]
    return rows


def _streams() -> list[Row]:
    """Return the rows of streams and of long sequences."""
    each, both = ("each",), ("each", "end")
    call = "one call per step, eager"
    rules = ("trace", "cascade", "sltt", "ottt", "eprop")
    rows = [Row(_NAME, r, ("W2",), {"rule": r}, updates=both, note=call) for r in rules]
    rows.append(Row(_NAME, _PER_NEURON, ("W2",), {"rule": "drtrl"}, "neuron", updates=both, note=call))
    compiled = "torch.compile of one step's forward"
    rows += [
        Row(_NAME, f"{r}, compiled", ("W2",), {"rule": r, "way": "compiled"}, updates=each, note=compiled)
        for r in ("trace", "ottt")
    ]
    rows += [
        Row(_NAME, f"{r}, tt.Stream", ("W2",), {"rule": r, "way": "stream"}, updates=each, note="one call")
        for r in ("trace", "cascade", "sltt", "ottt")
    ]
    rows += [Row(_NAME, f"{r}, scanned", ("W2",), {"rule": r, "way": "scan"}, note="one tt.scan") for r in rules]
    variants: dict[str, dict[str, Any]] = {
        "fixed decays": {"rule": "trace", "recurrent": False},
        "learned decays": {"rule": "trace", "recurrent": False, "learned": True},
        "dense recurrence": {"rule": "trace"},
        "eprop, dense recurrence": {"rule": "eprop"},
    }
    rows += [Row(_NAME, name, ("W2v",), options, updates=each) for name, options in variants.items()]
    rows += [
        Row(_NAME, r, ("W3",), {"rule": r, "window": True})
        for r in ("trace", "cascade", "ottt", "eprop", "traced_bptt")
    ]
    rows += [
        Row(_NAME, _PER_NEURON, ("W3",), {"rule": "drtrl", "window": True}, "neuron"),
        Row(_NAME, "bptt", ("W3",), {"rule": "bptt"}, longest=10_000, note="memory grows with time"),
    ]
    return rows


OWN = Library(_NAME, "benchmarks.own", (*_iterations(), *_streams()))
"""This library: no other one is needed to measure it."""

AGAINST = "against"
"""The name under which another installed version of this library runs."""

BASIS = "trace"
"""The method of this library that ratios are against, where it is in the table."""
