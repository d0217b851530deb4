"""What a stream was made of, and the error where it has become another since."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tracetorch.entry import global_hook_tables, hook_tables
from tracetorch.linking import layers
from tracetorch.steps import Entry, Guards, Part, entry, hooked, values_of


class Unchanged:
    """Modules, rules and memory of a network that a stream runs, and of the parameters that it moves."""

    def __init__(self, net: nn.Module, parts: Sequence[Part], moved: Sequence[Tensor]) -> None:
        self._parts, self._moved, found = parts, moved, list(layers(net).values())
        cores = [layer.core.__dict__ for layer in found]
        self._layers = [entry(layer.__dict__, "rule") for layer in found] + [entry(core, "above") for core in cores]
        self._layers += [entry(module.__dict__, "forward") for module in net.modules()]
        self._places = [entry(layer._modules, name) for layer in found for name in ("synapse", "neuron", "recurrent")]
        synapses = [m for part in parts for m in (part.synapse, part.recurrent) if m is not None]
        self._places += [entry(m._parameters, name) for m in synapses for name in ("weight", "bias")]
        values = values_of(m for p in parts for n in (p.neuron, *p.sources) for m in n.modules())
        weights = [t for p in parts for t in (*p.weights, p.feedback) if t is not None]
        self._memory = [(t, t.data_ptr()) for t in weights]
        self._hooks = [table for module in net.modules() for table in hook_tables(module)] + global_hook_tables()
        tensors = [*weights, *(value for _, _, value in values if value is not None)]
        entries = [*self._layers, *self._places, *values]
        self._guards = Guards(entries, tensors, self._hooks, counted=False, moved=moved)

    def require(self) -> None:
        """Raise RuntimeError where something has changed that the stream would not follow."""
        same = self._guards.hold()
        for part in self._parts:
            same = same and part.same_step()
        if not same:
            raise RuntimeError(f"{self._what()} since the stream was made; make a new tt.Stream(net)")

    def _what(self) -> str:
        if not _stay(self._layers):
            return "a layer's rule, a forward, or what stands above a layer was changed"
        if hooked(self._moved) or any(self._hooks) or not all(t.requires_grad for t in self._moved):
            return (
                "a fused step calls no hooks and moves all parameters, and a module or parameter was given hooks, or a "
                "parameter was frozen,"
            )
        if not _stay(self._places):
            return "a part or a weight was replaced"
        if any(t.data_ptr() != address for t, address in self._memory):
            return "a weight was given other memory"
        return "a neuron was changed (its step, or a value that was given other memory)"


def _stay(entries: Sequence[Entry]) -> bool:
    return all(table.get(name) is value for table, name, value in entries)
