"""What a stream was made of, and the error where it has become another since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tracetorch.entry import global_hook_tables, hook_tables
from tracetorch.linking import layers
from tracetorch.steps import Part


class Unchanged:
    """Modules, rules and memory of a network that a stream runs, and of the parameters that it moves."""

    def __init__(self, net: nn.Module, parts: Sequence[Part], moved: Sequence[Tensor]) -> None:
        self._parts, self._moved = parts, moved
        found = list(layers(net).values())
        self._layers = [(layer, layer.rule, layer.core.above) for layer in found]
        self._hooks = [table for module in net.modules() for table in hook_tables(module)] + global_hook_tables()
        self._places: list[tuple[Mapping[str, object], str, object]] = []
        for layer, part in zip(found, parts, strict=True):
            for name, module in (("synapse", part.synapse), ("neuron", part.neuron), ("recurrent", part.recurrent)):
                self._places.append((layer._modules, name, module))
            for module in (part.synapse, part.recurrent):
                own = {} if module is None else module._parameters
                self._places += [(own, name, own.get(name)) for name in ("weight", "bias")]
        modules = [m for p in parts for n in (p.neuron, *p.sources) for m in n.modules()]
        self._buffers = [
            (m._buffers, name, b, b.data_ptr()) for m in modules for name, b in m._buffers.items() if b is not None
        ]
        self._tensors = [t for p in parts for t in (*p.weights, p.feedback) if t is not None]
        self._addresses = [t.data_ptr() for t in self._tensors]

    def require(self) -> None:
        """Raise RuntimeError where something has changed that the stream would not follow."""
        for layer, rule, above in self._layers:
            own = layer.__dict__
            if own["rule"] is rule and own["core"].above is above and "forward" not in own:
                continue
            raise RuntimeError(
                "a layer's rule, its forward, or what stands above it was changed since the stream was made; make a "
                "new tt.Stream(net)"
            )
        moved = [t.requires_grad and not (t._backward_hooks or t._post_accumulate_grad_hooks) for t in self._moved]
        if any(self._hooks) or not all(moved):
            raise RuntimeError(
                "a module or parameter was given hooks, or a parameter was frozen, since the stream was made: a fused "
                "step calls no hooks and moves all parameters. Call the network itself, or make a new tt.Stream(net)"
            )
        for table, name, module in self._places:
            if table.get(name) is not module:
                raise RuntimeError(
                    "a part or a weight was replaced since the stream was made; make a new tt.Stream(net)"
                )
        same = all(part.same_step() for part in self._parts)
        for values, name, b, address in self._buffers:
            same = same and values.get(name) is b and b.data_ptr() == address
        if not same:
            raise RuntimeError(
                "a neuron was changed since the stream was made: its step, or a value that was given other memory; "
                "make a new tt.Stream(net)"
            )
        if [t.data_ptr() for t in self._tensors] != self._addresses:
            raise RuntimeError("a weight was given other memory since this stream was made; make a new tt.Stream(net)")
