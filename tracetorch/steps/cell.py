"""One layer's state and traces in the layout of the step program, and from and to the layer's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tracetorch.backends.numba.steps import Sizes, units, width
from tracetorch.backends.numba.steps import layout as at
from tracetorch.engine import LayerState
from tracetorch.rules.above import ReadoutDecay
from tracetorch.rules.chains import MeanResponses
from tracetorch.steps.part import Part
from tracetorch.traces import Numbers, Paired, Traces
from tracetorch.traces.activity import ROWS
from tracetorch.traces.averages import Sums, buckets_of
from tracetorch.traces.passing import LEVEL, RESPONSE
from tracetorch.traces.window import BIAS

Row = Any
"""A row of the table, as an array of NumPy."""


class Cell:
    """One layer's state and traces for a batch of B rows."""

    def __init__(self, part: Part, batch: int) -> None:
        self.part, self.batch = part, batch
        weight, trace = part.synapse.weight.detach(), part.trace
        self.like = weight
        self.units, self.inputs = weight.shape
        self.fed = 0 if part.recurrent is None else self.units
        self.averaged = part.kind == at.AVERAGED
        lowered = part.lowered
        with torch.no_grad():
            like = weight.new_zeros(batch, self.units)
            above = self._above(like)
            self.bucket = self._buckets(above.decays)
        self.filters = 0 if above.filter is None else above.filter.size
        self.normalized = self.averaged or trace.normalized
        self.groups = (1 if not self.bucket.numel() else int(trace.buckets)) if self.averaged else 0  # type: ignore[attr-defined]
        self.buckets = self.bucket if self.bucket.numel() else torch.zeros(self.units, dtype=torch.int64)
        one_hot = torch.nn.functional.one_hot(self.buckets, max(self.groups, 1)).to(weight)
        self.shares = (one_hot / one_hot.sum(0).clamp(min=1)).t().contiguous() if self.bucket.numel() else None
        self.pairs = trace.kind.pairs + 1 if isinstance(trace, Paired) else 0
        parameters = len(lowered.parameters)
        self.sizes = Sizes(lowered.states, lowered.counters, parameters, len(part.learned), self.filters, self.pairs)
        self.places = self.sizes.places()
        self.width = width(self.units)
        self.kernel = units(part.lowered, weight.dtype, self.width, part.learned)  # its address is in the table
        self.steps = weight.new_zeros(batch)
        self._allocate()
        self.refresh()
        if part.core.state is not None:
            self.load(part.core.state)

    def _buckets(self, decays: Tensor | None) -> Tensor:
        state = self.part.core.state
        if decays is None:
            return torch.empty(0, dtype=torch.int64)
        if state is not None and state.traces is not None and state.traces.other:
            return state.traces.other["bucket"]
        return buckets_of(decays, (self.units,), self.part.trace.buckets)  # type: ignore[attr-defined]

    def _allocate(self) -> None:
        new, batch, states = self.like.new_zeros, self.batch, self.sizes.states
        chunks, kind, m = -(-self.units // self.width), self.part.kind, self.filters
        per_input = states if kind == at.PRE else self.pairs or self.groups
        places = 0 if not self.pairs else (at.PLACE + 2 * self.pairs) * 8 // self.like.element_size()
        shapes = {
            "space": (batch, chunks, self.places["rows"], self.width),
            "order": (places,),
            "trace": (per_input, batch, self.inputs),
            "trace_fed": (per_input, batch, self.fed),
            "small": (m + self.groups, batch),
            "numbers": (m * m + 2 * m + 1 + self.groups,),
            "held": (batch, self.inputs),
            "fed": (batch, self.fed),
        }
        sizes = [torch.Size(s).numel() for s in shapes.values()]
        self.block = new(sum(sizes))
        self._pieces = {name: (sum(sizes[:i]), torch.Size(s)) for i, (name, s) in enumerate(shapes.items())}
        self.forget_pairs()
        per_weight = 0 if self.averaged or self.pairs else (states if kind == at.FULL else 0) + m
        self.large = new(per_weight, batch, self.units, self.inputs)
        self.large_fed = new(per_weight, batch, self.units, self.fed)
        self.numbers = new(shapes["numbers"])
        self.output, self.cotangent = new(batch, self.units), new(batch, self.units)
        longest = max(self.width, self.inputs, self.units)
        means, owed = self.groups * batch * (self.inputs + self.fed), self.pairs * self.width
        scratch = self.width + max(means, owed, (states + m) * longest)
        self.scratch = new(scratch)
        self.events = torch.empty(batch * (self.inputs + 1) + 2 * batch + 2, dtype=torch.int32)
        self.events_fed = torch.empty(batch * (self.fed + 1) + 2 * batch + 2, dtype=torch.int32)
        self.values = torch.zeros(len(self.part.lowered.parameters), 2, dtype=torch.int64)
        self.to_learned = new(len(self.part.learned), self.units)
        self._places: Row = self.values.numpy()  # as NumPy writes a number in a tenth of torch's time
        self._numbers: Row = self.numbers.numpy()
        self._read: list[Tensor] = []

    def row(self) -> Row:
        """Return the layer's row of the table; what credit is added to is the weights themselves."""
        part, sizes = self.part, self.sizes
        row: Row = torch.zeros(at.COLUMNS, dtype=torch.int64).numpy()
        row[at.STEP] = self.kernel.address
        row[[*at.SOURCES]] = row[[*at.TARGETS]] = [0 if t is None else t.data_ptr() for t in part.weights]
        row[at.BACK] = row[at.WEIGHT] if part.feedback is None else part.feedback.data_ptr()
        tensors = {at.LARGE: self.large, at.LARGE_FED: self.large_fed, at.NUMBERS: self.numbers, at.VALUES: self.values}
        tensors |= {at.BUCKETS: self.buckets, at.BLOCK: self.block, at.OUTPUT: self.output, at.SCRATCH: self.scratch}
        tensors |= {at.COTANGENT: self.cotangent, at.EVENTS: self.events, at.EVENTS_FED: self.events_fed}
        tensors |= {at.TO_LEARNED: self.to_learned}
        for column, tensor in tensors.items():
            row[column] = tensor.data_ptr()
        row[at.BATCH], row[at.UNITS], row[at.INPUTS] = self.batch, self.units, self.inputs
        row[at.WIDTH], row[at.CHUNKS] = self.width, -(-self.units // self.width)
        row[at.STATES], row[at.COUNTERS], row[at.PARAMETERS] = sizes.states, sizes.counters, sizes.parameters
        row[at.LEARNED], row[at.FILTERS], row[at.GROUPS] = sizes.learned, self.filters, self.groups
        row[at.KIND], row[at.PAIRS] = part.kind, self.pairs
        row[at.SENSITIVE], row[at.NORMALIZED] = part.trace.sensitive, self.normalized
        for column, name in at.PLACES.items():
            row[column] = self.places[name]
        return row

    def refresh(self) -> None:
        """Read the neuron's parameters and the trace's numbers again."""
        with torch.no_grad():
            self.read(self.part.learns())
            self.renumber()

    @property
    def follows(self) -> bool:
        """Whether the trace's numbers depend on anything that may be measured or written from step to step."""
        return bool(self.known or self._sources)

    def follow(self) -> None:
        """Form the trace's numbers again where something else has been measured, or written, above."""
        measured = self.known and any(a is not b for a, b in zip(self.known, self.measured(), strict=True))
        if measured or self._written():
            with torch.no_grad():
                self.renumber()

    def _written(self) -> bool:
        """Return whether a value that the trace's numbers were formed of is another one, however it was written.

        Whoever runs the cell has seen that no tensor was given other memory.
        """
        for table, name, tensor, read, value in self._sources:
            if table.get(name) is not tensor or read() != value:
                return True
        return False

    def read(self, learned: Mapping[str, Tensor]) -> None:
        """Read the neuron's parameters."""
        found: list[Tensor] = []
        for value in map(Tensor.detach, self._parameters(learned)):
            found.append(value.to(self.like.dtype).contiguous())
        for i, value in enumerate(found):
            self._places[i, 0], self._places[i, 1] = value.data_ptr(), value.numel() > 1
        self._read = found

    def _parameters(self, learned: Mapping[str, Tensor]) -> list[Tensor]:
        part = self.part
        if not learned:
            return part.lowered.values(part.neuron)
        out = []
        for name in part.lowered.parameters:
            value: Any = learned.get(name)
            if value is None:
                value = part.neuron
                for piece in name.split("."):
                    value = getattr(value, piece)
            out.append(value)
        return out

    def _above(self, like: Tensor) -> Numbers:
        """Return the trace's numbers, but for the blocks of a presynaptic trace, which the neuron's step gives."""
        trace, neuron = self.part.trace, self.part.neuron
        if self.averaged:
            return trace.numbers(neuron, like)
        return Numbers(None if trace.filter is None else trace.filter.at(neuron, like))

    def renumber(self) -> None:
        """Form the trace's numbers again, and note what they were formed of."""
        self.number()
        self.known = self.measured()
        alone = isinstance(self.part.trace.filter, ReadoutDecay) and not self.averaged
        own = [n.decay for n in self.part.sources] if alone else []
        self._sources = [
            (module._buffers, name, buffer, *_value(buffer))
            for neuron in self.part.sources
            for module in neuron.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and (not alone or any(buffer is d for d in own))
        ]

    def number(self) -> None:
        """Form the trace's numbers again."""
        numbers = self._above(self.like)
        above, decays, row = numbers.filter, numbers.decays, [1.0]
        if above is not None:
            row = [*above.a.reshape(-1).tolist(), *above.b.tolist(), *above.d.tolist(), above.p.item()]
        if decays is not None and self.shares is not None:
            row += (self.shares @ decays.to(self.like).expand(self.units)).tolist()
        elif decays is not None:
            row.append((decays if decays.numel() == 1 else decays.mean()).item())
        self._numbers[:] = row

    def measure(self, block: Tensor | None = None) -> None:
        """Add the blocks of the step that a block has to what the layers below know of this one's activity."""
        activity = self.part.core.activity
        if activity.wanted:
            activity.add(1, lambda _: self._mean_blocks(self.block if block is None else block))

    def _mean_blocks(self, block: Tensor) -> Tensor:
        size, space = self.sizes.states, self.piece("space", block)
        counts = {"a": size * size, "b": size, "d": size, "psi": 1}
        rows = [space[:, :, self.places[name] + i] for name, count in counts.items() for i in range(count)]
        return torch.stack([x.reshape(len(space), -1)[:ROWS, : self.units].mean() for x in rows])

    def measured(self) -> list[Tensor | None]:
        """Return what is measured of the layers above, on which the trace's numbers depend."""
        above = self.part.trace.filter
        return [s.activity.blocks for s in above.above.all] if isinstance(above, MeanResponses) else []

    def piece(self, name: str, block: Tensor | None = None) -> Tensor:
        """Return a piece of a block, this cell's own by default, in its shape."""
        start, shape = self._pieces[name]
        return (self.block if block is None else block)[start : start + shape.numel()].view(shape)

    def forget_pairs(self) -> None:
        """Begin without pairs."""
        if not self.pairs:
            return
        order = self.order()
        order.zero_()
        order[at.PLACE : at.PLACE + self.pairs] = torch.arange(self.pairs)

    def order(self) -> Tensor:
        """Return the order of the pairs, as the layout says."""
        return self.piece("order").view(torch.int64)

    def get(self, name: str, i: int = 0) -> Tensor:
        """Return a copy of a row of all blocks of units, `[B, N]`."""
        rows = self.piece("space")[:, :, self.places[name] + i]
        return rows.reshape(self.batch, -1)[:, : self.units].clone()

    def set(self, name: str, i: int, value: Tensor) -> None:
        """Write a row of all blocks of units, `[B, N]`."""
        place = self.piece("space")[:, :, self.places[name] + i]
        whole = place.reshape(self.batch, -1).clone()
        whole[:, : self.units] = value
        place.copy_(whole.view(place.shape))

    def reset(self, mask: Tensor) -> None:
        """Start a new sequence in some rows of the batch, `[B]`."""
        self.piece("space")[mask] = 0
        self.steps[mask] = 0
        self.piece("fed")[mask] = 0
        for tensor in (self.piece("small"), self.large, self.large_fed):
            tensor[:, mask] = 0
        if not self.pairs:  # the inputs of a pair whose units owe nothing do not count
            self.piece("trace")[:, mask] = self.piece("trace_fed")[:, mask] = 0

    def load(self, state: LayerState) -> None:
        """Take over what a layer carries."""
        states = self.sizes.states
        for i, x in enumerate(state.s):
            self.set("state" if i < states else "count", i if i < states else i - states, x)
        if state.z is not None:
            self.piece("fed").copy_(state.z)
        self.steps.copy_(state.steps)
        for i, x in enumerate(() if state.sigma is None else state.sigma.unbind(0)):
            self.set("sigma", i, x)
        traces = (state if state.pending is None else state.copied().flushed()).traces
        if traces is not None:
            self._load_traces(traces)
        if state.keep is not None:
            self.reset(state.keep == 0)

    def _load_traces(self, traces: Traces) -> None:
        states, m, other = self.sizes.states, self.filters, traces.other
        if self.averaged and other:
            sums = Sums.from_tensors(other)
            self.set("level", 0, sums.h)
            small = self.piece("small")
            small[0], small[1:] = sums.h_weight, sums.x_weight
            for name, x in zip(("trace", "trace_fed"), sums.x, strict=False):
                self.piece(name).copy_(x)
        elif RESPONSE in other:
            self.piece("small").copy_(other[RESPONSE])
            for i, x in enumerate(other.get(LEVEL, ())):
                self.set("level", i, x)
        if "pairs.h" in other:
            self._load_pairs(other)
        per_input, per_weight = ("trace", "trace_fed"), (self.large, self.large_fed)
        first = states if self.part.kind == at.FULL else 0
        for i, row in enumerate(traces.weight):
            for k, x in enumerate(row):
                place = per_weight[i][k] if first else self.piece(per_input[i])[k]
                place.copy_(x.view(place.shape))
        for i, row in enumerate(traces.filtered):
            for k, x in enumerate(row[:m]):  # behind it there may be the trace of a rate term that has been closed
                per_weight[i][first + k].copy_(x.view(per_weight[i].shape[1:]))
        biases = traces.neuron.get(f"{BIAS}0") or traces.neuron.get(f"{BIAS}1") or []
        for i, rows in enumerate([biases, *(traces.neuron.get(name, []) for name in self.part.learned)]):
            for k, x in enumerate(rows[: states + m]):
                self.set("own", i * (states + m) + k, x)

    def _load_pairs(self, other: Mapping[str, Tensor]) -> None:
        h, order = other["pairs.h"], self.order()
        count, rows = h.shape[:2]
        for p in range(count):
            for k in range(rows):
                self.set("pair", p * rows + k, h[p, k])
        for i, name in enumerate(("trace", "trace_fed") if self.fed else ("trace",)):
            self.piece(name)[:count] = other[f"pairs.x.{i}"].reshape(count, self.batch, -1)
        order[at.COUNT] = count
        order[at.PLACE + self.pairs :][:count] = other["pairs.length"]

    def _pairs(self) -> dict[str, Tensor]:
        order, rows = self.order(), self.sizes.states + self.filters
        count = int(order[at.COUNT])
        if not count:
            return {}
        slots = order[at.PLACE : at.PLACE + count].tolist()
        h = [torch.stack([self.get("pair", p * rows + k) for k in range(rows)]) for p in slots]
        names = ("trace", "trace_fed") if self.fed else ("trace",)
        found = {f"pairs.x.{i}": self.piece(name)[slots] for i, name in enumerate(names)}
        return found | {"pairs.h": torch.stack(h), "pairs.length": order[at.PLACE + self.pairs :][:count].clone()}

    def state(self) -> LayerState:
        """Return what the layer carries, as the layer has it."""
        sizes, trace = self.sizes, self.part.trace
        s = [self.get("state", i) for i in range(sizes.states)] + [self.get("count", i) for i in range(sizes.counters)]
        sigma = torch.stack([self.get("sigma", i) for i in range(sizes.states)]) if trace.sensitive else None
        z = self.piece("fed").clone() if self.fed else None
        traces = None if self.part.kind == at.NONE else self._traces()
        return LayerState(trace, tuple(s), z, self.steps.clone(), traces=traces, sigma=sigma)

    def _traces(self) -> Traces:
        m, states, part = self.filters, self.sizes.states, self.part
        names = ["trace"] + (["trace_fed"] if self.fed else [])
        per_input = [[x.clone() for x in self.piece(name)] for name in names]
        rows = states + m
        neuron = {n: [self.get("own", i * rows + k) for k in range(rows)] for i, n in enumerate(part.learned, start=1)}
        small = self.piece("small").clone()
        if self.averaged:
            x = tuple(self.piece(name).clone() for name in names)
            sums = Sums(self.get("level"), small[0], x, small[1:], self.bucket)
            return Traces(neuron=neuron, other=sums.tensors())
        own = [self.get("own", k) for k in range(rows)]
        biases = {f"{BIAS}{i}": [x.clone() for x in own] for i, b in enumerate(part.weights[1::2]) if b is not None}
        large = [self.large] + ([self.large_fed] if self.fed else [])
        per_weight = [[x.clone().view(self.batch, 1, self.units, 1, -1) for x in each] for each in large]
        first = states if part.kind == at.FULL else 0
        other = self._pairs() if self.pairs else {}
        if self.normalized:
            other[RESPONSE] = small
            if part.trace.sensitive:
                other[LEVEL] = torch.stack([self.get("level", i) for i in range(m)])
        if self.pairs:
            return Traces(neuron=biases | neuron, other=other)
        return Traces(
            weight=[row[:first] for row in per_weight] if first else per_input,
            filtered=[row[first:] for row in per_weight],
            neuron=biases | neuron,
            other=other,
        )


def _value(tensor: Tensor) -> tuple[Callable[[], Any], Any]:
    """Return what reads a buffer, by NumPy in a tenth of torch's time, and the values in it now."""
    memory: Any = tensor.detach() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.detach().numpy()
    return memory.tolist, memory.tolist()
