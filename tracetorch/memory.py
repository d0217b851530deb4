"""What a layer carries from call to call: plain tensors, outside `state_dict` and the buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from tracetorch.traces.advance import advance
from tracetorch.traces.averages import Sums
from tracetorch.traces.plan import Plan, Values
from tracetorch.traces.window import Traces, Window


@dataclass
class Memory:
    """Hold one layer's state, traces, and the last window, over which the traces have still to advance.

    Args:
        plan: the resolved rule.
        s: states and counters, `[B, *unit]` each.
        z: the last output, `[B, *unit]`, where there is a recurrent synapse; else None.
        keep: `[B]`, zero for rows that the next forward has to reset, or None.
        traces: traces at the start of `pending`, or None after a reset.
        pending: the last window, or None.
        sigma: sensitivity of the state to a constant current, S entries `[B, *unit]`, or None.
        sums: the factor rule's sums, or None.
        count: number of spikes since the reset, `[B, *unit]`, where it is wanted.
        steps: number of steps since the reset, `[B]`.
        carry: carried rows with their graph, where the rule keeps one graph over all calls.
        names: names of the state variables that carry gradients.
        numbers: the plan's numbers, with what tells whether they still hold.
    """

    plan: Plan
    s: tuple[Tensor, ...]
    z: Tensor | None
    steps: Tensor
    names: tuple[str, ...]
    keep: Tensor | None = None
    traces: Traces | None = None
    pending: Window | None = None
    sigma: list[Tensor] | None = None
    sums: Sums | None = None
    count: Tensor | None = None
    carry: Tensor | None = None
    numbers: tuple[list[tuple[int, int]], Values] | None = None

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.s[0].shape[0]

    def flush(self) -> None:
        """Advance the traces over the pending window, in place where they are large."""
        if self.pending is not None:
            self.traces = advance(self.traces, self.pending)
            self.pending = None

    def flushed(self) -> Traces | None:
        """Return a copy of the traces after the pending window, leaving everything as it is."""
        copy = (
            None
            if self.traces is None
            else Traces.from_tensors({k: v.clone() for k, v in self.traces.tensors().items()})
        )
        return copy if self.pending is None else advance(copy, self.pending)

    def stop_counting(self) -> None:
        """Drop the spike count and its traces, which stand behind all others."""
        self.flush()
        self.count = None
        if self.traces is not None:
            filters, size = int(self.plan.filtered), len(self.names)
            self.traces.filtered = [row[:filters] for row in self.traces.filtered]
            self.traces.neuron = {k: row[: size + filters] for k, row in self.traces.neuron.items()}

    def forget(self) -> None:
        """Drop everything that is carried for credit; the state stays."""
        self.traces = self.pending = self.sigma = self.sums = self.carry = None
        self.count = None if self.count is None else self.count.detach()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as a flat dictionary, the pending window accounted for."""
        flat = {f"s.{i}": x.detach() for i, x in enumerate(self.s)} | {"steps": self.steps}
        for name, value in (("z", self.z), ("keep", self.keep), ("count", self.count)):
            if value is not None:
                flat[name] = value.detach()
        for i, x in enumerate(self.sigma or ()):
            flat[f"sigma.{i}"] = x
        if self.sums is not None:
            flat |= {f"sums.{k}": v for k, v in self.sums.tensors().items()}
        traces = self.flushed()
        if traces is not None:
            flat |= {f"traces.{k}": v for k, v in traces.tensors().items()}
        return {k: v.clone() for k, v in flat.items()}

    @staticmethod
    def from_tensors(plan: Plan, names: tuple[str, ...], flat: dict[str, Tensor]) -> Memory:
        """Return the memory that `tensors` gave, read back."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v.clone() for k, v in flat.items() if k.startswith(prefix)}

        s, sigma, sums, traces = part("s."), part("sigma."), part("sums."), part("traces.")
        return Memory(
            plan=plan,
            names=names,
            s=tuple(s[str(i)] for i in range(len(s))),
            z=part("z").get(""),
            steps=flat["steps"].clone(),
            keep=part("keep").get(""),
            traces=Traces.from_tensors(traces) if traces else None,
            sigma=[sigma[str(i)] for i in range(len(sigma))] or None,
            sums=Sums.from_tensors(sums) if sums else None,
            count=part("count").get(""),
        )

    def moved(self, change: Callable[[Tensor], Tensor]) -> Memory:
        """Return the memory after `change`, a move to another device or dtype, was applied to each tensor."""
        flat = {k: change(v) for k, v in self.tensors().items()}
        return Memory.from_tensors(self.plan, self.names, flat)


@dataclass
class Open:
    """Hold a window that is open: several calls between one attach and one detach.

    Args:
        carry: carried rows after the last call, or None before the first.
        windows: what each call left.
        count: spike count so far with its graph, where it is wanted.
        calls: number of calls so far.
    """

    carry: Tensor | None = None
    count: Tensor | None = None
    windows: list[Window] = field(default_factory=list)
    calls: int = 0
