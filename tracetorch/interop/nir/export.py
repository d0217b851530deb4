"""A network as a graph of NIR."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from tracetorch import DiagonalRecurrent, Layer
from tracetorch.interop.discretisation import Discretisation, Euler
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.nir.modules import TRANSPARENT, Shape, flatten_node, module_node
from tracetorch.interop.nir.neurons import Writing, neuron_node
from tracetorch.interop.nir.resets import OtherReset, reset_difference
from tracetorch.interop.scale import Scale
from tracetorch.ops.require import require

ADDITIONS = (operator.add, operator.iadd, torch.add)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Layer | Scale) or super().is_leaf_module(m, module_qualified_name)


class _Writer:
    """Write one traced network, node by node."""

    def __init__(self, net: nn.Module, how: Writing) -> None:
        self.net, self.how = net, how
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.sources: dict[fx.Node, tuple[str, ...]] = {}
        self.shapes: dict[fx.Node, Shape] = {}

    def write(self, trace: fx.Graph, shape: Shape) -> None:
        import nir

        for node in trace.nodes:
            if node.op == "placeholder":
                if self.sources:
                    raise NotCarriedOverError(node.name, "the network takes a second input; one is expected")
                self.nodes["input"] = nir.Input(input_type=np.array(shape))
                self.sources[node], self.shapes[node] = ("input",), shape
            elif node.op == "output":
                result = node.args[0]
                if not isinstance(result, fx.Node):
                    raise NotCarriedOverError("output", "the network returns several values; one is expected")
                self._add("output", nir.Output(output_type=np.array(self.shapes[result])), result)
            else:
                self._compute(node)

    def _compute(self, node: fx.Node) -> None:
        if node.op == "call_function" and node.target in ADDITIONS and _both(node.args) and not node.kwargs:
            a, b = (n for n in node.args if isinstance(n, fx.Node))
            if set(self.sources[a]) & set(self.sources[b]):
                raise NotCarriedOverError(node.name, "a value is added to itself, which no edge of NIR can express")
            self.sources[node] = self.sources[a] + self.sources[b]
            self.shapes[node] = tuple(torch.broadcast_shapes(self.shapes[a], self.shapes[b]))
            return
        below = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if below is None or len(node.all_input_nodes) != 1:
            raise NotCarriedOverError(str(node.target), f"{node.format_node()} has no counterpart in NIR")
        if node.op == "call_module":
            self._module(node, below, str(node.target))
        elif node.target in ("flatten", torch.flatten):
            names = ("start_dim", "end_dim")
            given: dict[str, Any] = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
            made = flatten_node(given.get(names[0], 0), given.get(names[1], -1), self.shapes[below], node.name)
            self._add(node.name, made, below)
            self._done(node, node.name, tuple(int(n) for n in made.output_type["output"]))
        else:
            raise NotCarriedOverError(str(node.target), f"{node.format_node()} has no counterpart in NIR")

    def _module(self, node: fx.Node, below: fx.Node, name: str) -> None:
        module = self.net.get_submodule(name)
        if isinstance(module, TRANSPARENT):
            self.sources[node], self.shapes[node] = self.sources[below], self.shapes[below]
        elif isinstance(module, Layer):
            self._layer(module, node, below, name)
        else:
            made = module_node(module, self.shapes[below], name)
            shape = _output_shape(module, self.shapes[below], name)
            self._add(name, made, below)
            self._done(node, name, shape)

    def _layer(self, layer: Layer, node: fx.Node, below: fx.Node, name: str) -> None:
        unit = _output_shape(layer.synapse, self.shapes[below], name)
        neuron, recurrent = layer.neuron, layer.recurrent
        if isinstance(neuron, DiagonalRecurrent):
            neuron, recurrent = neuron.inner, _diagonal(neuron.r, name)  # type: ignore[arg-type]
        made, scale = neuron_node(neuron, unit, name, self.how)
        synapse = module_node(layer.synapse, self.shapes[below], name, scale)
        self._add(f"{name}.synapse", synapse, below)
        if recurrent is not None:
            made = self._recurrent(recurrent, made, (name, unit), scale)
            if (bias := getattr(recurrent, "bias", None)) is not None:
                self._bias(f"{name}.synapse", bias, scale)
        self.nodes[f"{name}.neuron"] = made
        self.edges.append((f"{name}.synapse", f"{name}.neuron"))
        self._done(node, f"{name}.neuron", unit)

    def _recurrent(self, module: nn.Module, neuron: Any, place: tuple[str, Shape], scale: Any) -> Any:
        """Return the graph of a neuron that feeds itself, as snnTorch writes it; its bias goes to the synapse."""
        import nir

        name, unit = place
        if not isinstance(module, nn.Linear) or len(unit) != 1:
            raise NotCarriedOverError(
                name, f"its recurrence must be nn.Linear, got {type(module).__name__} on {list(unit)}"
            )
        weight = module_node(module, unit, name, scale).weight
        nodes = {
            "input": nir.Input(input_type=np.array(unit)),
            "lif": neuron,
            "w_rec": nir.Linear(weight=weight),
            "output": nir.Output(output_type=np.array(unit)),
        }
        edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
        return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)

    def _bias(self, name: str, bias: Tensor, scale: Any) -> None:
        import nir

        node, more = self.nodes[name], bias.detach().cpu().numpy() * (1 if scale is None else scale)
        before = node.bias if hasattr(node, "bias") else 0
        if isinstance(node, nir.Linear | nir.Affine):
            total = (before + more).astype(node.weight.dtype)
            self.nodes[name] = nir.Affine(weight=node.weight, bias=total, metadata=node.metadata)

    def _add(self, name: str, made: Any, below: fx.Node) -> None:
        if name in self.nodes:
            raise NotCarriedOverError(name, "it is called twice in a step; NIR has one node per call and state")
        self.nodes[name] = made
        self.edges += [(source, name) for source in self.sources[below]]

    def _done(self, node: fx.Node, name: str, shape: Shape) -> None:
        self.sources[node], self.shapes[node] = (name,), shape
        made = self.nodes[name]
        if made.output_type.get("output") is None:  # what NIR would infer, also for kernels that are not square
            below = next(iter(node.all_input_nodes))
            made.input_type = {"input": np.array(self.shapes[below])}
        made.output_type = {next(iter(made.output_type)): np.array(shape)}


def to_nir(
    net: nn.Module,
    *,
    time: Discretisation | None = None,
    input_shape: tuple[int, ...] | None = None,
    sample: Tensor | None = None,
    other_reset: OtherReset = "refuse",
    unit_resistance: bool = False,
) -> Any:
    r"""Write a network as a graph of the Neuromorphic Intermediate Representation.

    Each layer becomes a synapse (`Linear`, `Affine`, `Conv1d`, `Conv2d`) and a neuron (`LIF`, `IF`, `LI`, `CubaLIF`),
    named `name.synapse` and `name.neuron`; a recurrent one becomes a graph inside. With `k` the layer's input scale (1,
    or :math:`1-\beta` where it is normalized),

    .. math:: \tau = dt / (1 - \beta), \qquad r = k / (1 - \beta), \qquad v_{leak} = 0

    with `Euler(dt)`. `IF` has :math:`r = 1/dt`. Batch, rule and surrogate are not written.

    Args:
        net: the network, of layers, poolings, `nn.Flatten`, `tt.interop.Scale` and sums, as `torch.fx` can trace it.
        time: from decays to time constants; `Euler(1e-4)` by default, as snnTorch has it.
        input_shape: shape of one step's input without the batch; needed where the first module is no `nn.Linear`.
        sample: inputs `[T, B, *in]` on which a reset that is not hard is compared with a hard one; it also gives the
            input's shape.
        other_reset: what to do with a soft reset or none, which NIR's equations cannot express: "refuse", "metadata"
            (named in the node's metadata, where `from_nir` finds it; other readers take a hard reset), or "hard". The
            last two warn, with the share of spikes that a hard reset changes where there is a sample.
        unit_resistance: write `r = 1` and multiply the weights by what `r` would be. Norse leaves `r` of a LIF out.

    Returns:
        The graph, a `nir.NIRGraph`, for `nir.write`.

    Raises:
        NotCarriedOverError: if a part has no counterpart in NIR; the message names it.
        ImportError: if `nir` is not installed.

    Source: J. E. Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for
    interoperable brain-inspired computing" (2024), https://doi.org/10.1038/s41467-024-52259-9.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.LIF(half_life=5, reset=tt.HardReset())
        >>> graph = tt.interop.to_nir(torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), neuron)))
        >>> list(graph.nodes)
        ['input', '0.synapse', '0.neuron', 'output']
    """
    nir = require("nir")
    if other_reset not in ("refuse", "metadata", "hard"):
        raise ValueError(f"other_reset must be 'refuse', 'metadata' or 'hard', got {other_reset!r}")
    time = Euler() if time is None else time
    whole = nn.Sequential(net) if isinstance(net, Layer) else net
    try:
        trace = _Tracer().trace(whole)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        why = f"torch.fx cannot trace its forward ({error}); build it of modules and sums without branches on values"
        raise NotCarriedOverError(type(net).__name__, why) from error
    shape = _input_shape(whole, input_shape, sample)
    writer = _Writer(whole, Writing(time, other_reset, unit_resistance))
    with torch.no_grad():
        writer.write(trace, shape)
    if other_reset != "refuse":
        _warn(whole, sample, other_reset)
    metadata = {"dt": time.dt, "discretisation": type(time).__name__, "producer": "traceTorch"}
    return nir.NIRGraph(nodes=writer.nodes, edges=writer.edges, metadata=metadata, type_check=False)


def _warn(net: nn.Module, sample: Tensor | None, other_reset: OtherReset) -> None:
    from tracetorch.interop.nir.resets import layers_without_hard_reset

    names = layers_without_hard_reset(net)
    if not names:
        return
    who = "in every reader" if other_reset == "hard" else "in readers other than traceTorch"
    if sample is None:
        figure = "give sample=xs, [T, B, *in], to measure how many spikes that changes"
    else:
        shares = reset_difference(net, sample)
        figure = "on the sample that changes " + ", ".join(
            f"{100 * x:.1f} % of the spikes of {n!r}" for n, x in shares.items()
        )
    warnings.warn(f"the resets of {names} are not hard, and become hard ones {who}; {figure}", stacklevel=3)


def _input_shape(net: nn.Module, given: tuple[int, ...] | None, sample: Tensor | None) -> Shape:
    if given is not None:
        return tuple(given)
    if sample is not None:
        return tuple(sample.shape[2:])
    for module in net.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if not isinstance(module, Layer | Scale) and not list(module.children()):
            break
    raise ValueError(
        "the input's shape does not follow from the first module: give input_shape=(channels, height, width)"
    )


def _output_shape(module: nn.Module, shape: Shape, name: str) -> Shape:
    parameter = next(module.parameters(), None)
    zeros = torch.zeros(1, *shape) if parameter is None else parameter.new_zeros(1, *shape)
    try:
        return tuple(module(zeros).shape[1:])
    except (RuntimeError, ValueError) as error:
        raise NotCarriedOverError(name, f"it does not take inputs of the shape {list(shape)}: {error}") from error


def _both(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and all(isinstance(a, fx.Node) for a in args)


def _diagonal(r: Tensor, name: str) -> nn.Linear:
    if r.dim() != 1:
        raise NotCarriedOverError(name, f"its diagonal recurrence must be over a vector of units, got {list(r.shape)}")
    synapse = nn.Linear(len(r), len(r), bias=False, device=r.device, dtype=r.dtype)
    synapse.weight = nn.Parameter(torch.diag(r.detach()))
    return synapse
