"""Reset, save, restore and steer the layers of a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracetorch.backends import available_backends
from tracetorch.dropout import dropouts
from tracetorch.engine import LayerState, fitted, measured, require_types
from tracetorch.entry import require_flags, require_network
from tracetorch.layer import Layer
from tracetorch.linking import layers, link, settle
from tracetorch.order import count_filters
from tracetorch.rules import Rule
from tracetorch.rules.described import no_rule
from tracetorch.traces.activity import Activity


def reset(net: nn.Module, mask: Tensor | None = None) -> None:
    """Begin a new sequence.

    Args:
        net: any module with layers in it.
        mask: `[B]`, true for the rows that start a new sequence; all rows, of any batch size, by default. The rows are
            reset at the next forward, so this is safe between forward and backward.

    Raises:
        TypeError: if the network is not a module, or the mask no tensor.
        ValueError: if the network has no layers, the mask is not of shape `[B]`, holds other numbers than 0 and 1, or
            its size is not the state's.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LIF(half_life=3)))
        >>> _ = net(torch.ones(2, 2))
        >>> tt.reset(net, torch.tensor([True, False]))
        >>> tt.reset(net)
    """
    require_network(net)
    if not layers(net):
        raise ValueError(f"{type(net).__name__} has no tt.Layer in it, so there is nothing to reset")
    restart(net, mask)


def restart(net: nn.Module, mask: Tensor | None = None) -> None:
    """Begin a new sequence, as `reset`, also in a network that has no layers and so nothing to start again."""
    found, began = link(net), object()
    if mask is None:
        for layer in found.values():
            layer.core.restart(began)
        for layer in found.values():
            core, peers = layer.core, layer.core.peers
            if any(peer.started for peer in peers.cores):
                continue  # the layers that run on go by what this sequence has shown
            peers.leader = None
            for peer in peers.cores or [core]:
                peer.activity.begin()
            if core.wiring is not None:
                core.wiring.begin()
        for layer in found.values():
            layer.core.settled()
            count_filters(layer.core, layer.rule, layer.neuron)
        for dropout in dropouts(net).values():
            dropout.restart(None)
        return
    require_flags(mask)
    if mask.dim() != 1:
        raise ValueError(f"mask has one entry per row of the batch, [B], got {list(mask.shape)}")
    for name, layer in found.items():
        if layer.core.batch not in (None, mask.shape[0]):
            raise ValueError(f"mask has {mask.shape[0]} rows, the state of layer {name!r} {layer.core.batch}")
    mask = mask.to(torch.bool)
    everything = bool(mask.all())
    for layer in found.values():
        state, layer.core.began = layer.core.state, began
        if state is not None:
            layer.core.state = None if everything and state.trace.sequence else state.marked(mask)
    for dropout in dropouts(net).values():
        dropout.restart(mask)


def get_state(net: nn.Module) -> dict[str, Tensor]:
    """Return everything the layers carry as a flat dictionary of tensors.

    With the weights, the optimizer's state and the random generators' it resumes a stream bit for bit.

    Args:
        net: any module with layers in it.

    Returns:
        Copies of the tensors by name; a layer without a state has none.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))
        >>> _ = net(torch.ones(1, 2))
        >>> "0/s.0" in tt.get_state(net)
        True
    """
    flat: dict[str, Tensor] = {}
    found = layers(net)
    settle(found)
    order = [layer.core.activity for layer in found.values()]
    begun = any(layer.core.started for layer in found.values())
    shown = any(layer.core.wiring is not None and layer.core.wiring.executed for layer in found.values())
    for name, layer in found.items():
        state = layer.core.peek()
        if state is not None:
            flat |= {f"{name}/{key}": value for key, value in state.tensors().items()}
        own = layer.core.activity.tensors()  # groups of units are those of a sequence
        flat |= {f"{name}/activity.{k}": v.clone() for k, v in own.items() if begun or not k.startswith("groups.")}
        wiring = layer.core.wiring
        if wiring is not None and wiring.executed:
            flat[f"{name}/activity.feeds"] = wiring.fed(layer.core.activity, order)
        elif shown:
            flat[f"{name}/activity.feeds"] = torch.empty(0, dtype=torch.int64)
    flat |= {f"{name}/mask": d.mask.clone() for name, d in dropouts(net).items() if d.mask is not None}
    return flat


def set_state(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the layers what `get_state` returned.

    Args:
        net: a network of the same structure and rules.
        state: the dictionary.

    Raises:
        KeyError: if it names a layer that the network does not have.
        TypeError: if a value is not a tensor, or of another dtype than the layer computes in.
        ValueError: if it does not fit a layer: its neuron, the shapes or the rule.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))
        >>> _ = net(torch.ones(1, 2))
        >>> saved = tt.get_state(net)
        >>> tt.reset(net)
        >>> tt.set_state(net, saved)
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state is the dictionary that tt.get_state(net) returned, got {type(state).__name__}")
    found, dropped = link(net), dropouts(net)
    masks: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, rest = key.partition("/")
        if name in dropped and rest == "mask":
            if not isinstance(value, Tensor):
                raise TypeError(f"{key} of the state is a tensor, got {type(value).__name__}")
            masks[name] = value.clone()
            continue
        if name not in found:
            raise KeyError(f"the state has a layer {name!r}, the network has {sorted(found)}")
        parts.setdefault(name, {})[rest] = value
    wiring, before = next((layer.core.wiring for layer in found.values()), None), None
    fed = {name: part.pop("activity.feeds") for name, part in parts.items() if "activity.feeds" in part}
    measurements = {name: layer.core.activity.tensors() for name, layer in found.items()}
    done = False
    try:
        for name, part in parts.items():
            require_types(found[name].spec(), name, part)
        activities = _activities(found, parts)
        if fed and wiring is not None:
            edges = _edges(found, fed)
            before = wiring.edges, wiring.executed
            _rewire(found, edges, executed=True)
        for name, layer in found.items():  # by which units are grouped, and so what fits
            layer.core.activity.load(activities.get(name, {}))
        restored = _restored(found, parts)
        done = True
    finally:
        if not done:
            for name, layer in found.items():
                layer.core.activity.load(measurements[name])
            if before is not None:
                _rewire(found, before[0], executed=before[1])
    for name, one in restored.items():
        core = found[name].core
        core.state, core.began, core.time, core.credited = one, object(), 0, 0
    for name, dropout in dropped.items():
        dropout.mask = masks.get(name)


def _edges(found: dict[str, Layer], fed: dict[str, Tensor]) -> dict[Activity, list[Activity]]:
    """Return which layers each layer of a saved state feeds; raise ValueError if it names none of the network."""
    keys = [layer.core.activity for layer in found.values()]
    for name, index in fed.items():
        numbers = (
            index.tolist() if isinstance(index, Tensor) and index.dim() == 1 and index.dtype == torch.int64 else [-2]
        )
        if (
            fed.keys() != found.keys()
            or len(set(numbers)) != len(numbers)
            or not all(0 <= i < len(keys) for i in numbers)
        ):
            raise ValueError(
                f"{name}/activity.feeds of the state are the layers that it feeds: for each layer different whole "
                f"numbers from 0 to {len(keys) - 1}"
            )
    return {found[name].core.activity: [keys[i] for i in index.tolist()] for name, index in fed.items()}


def _rewire(found: dict[str, Layer], edges: dict[Activity, list[Activity]], *, executed: bool) -> None:
    """Set for all layers of a network which ones they feed."""
    for wiring in {id(layer.core.wiring): layer.core.wiring for layer in found.values()}.values():
        if wiring is not None:
            wiring.take(edges, executed=executed)
    for layer in found.values():
        layer.core.settled()


def _activities(found: dict[str, Layer], parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return what was measured of the layers from their parts of a saved state."""
    activities = {}
    for name, flat in parts.items():
        own = {k.removeprefix("activity."): v for k, v in flat.items() if k.startswith("activity.")}
        activities[name] = measured(found[name].spec(), name, own)
    return activities


def _restored(found: dict[str, Layer], parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, LayerState | None]:
    """Return the layers' states from their parts of a saved state."""
    restored: dict[str, LayerState | None] = dict.fromkeys(found)
    for name, flat in parts.items():
        carried = {k: v for k, v in flat.items() if not k.startswith("activity.")}
        if carried:
            restored[name] = fitted(found[name].spec(), name, carried)
    sizes = {name: one.batch for name, one in restored.items() if one is not None}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the layers' states are of different batch sizes: {sizes}")
    return restored


def set_rule(net: nn.Module, rule: Rule | Mapping[str, Rule]) -> None:
    """Give all layers a rule, or each named layer its own.

    Args:
        net: any module with layers in it.
        rule: a rule for all, or rules by module name; a name means all layers under it.

    Raises:
        KeyError: if a name has no layer under it.
        ValueError: if the network has no layers.
        TypeError: if a value is not a rule.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))
        >>> tt.set_rule(net, tt.rules.ottt())
        >>> tt.set_rule(net, {"0": tt.rules.drtrl()})
    """
    found = link(net)
    if not found:
        raise ValueError(f"{type(net).__name__} has no tt.Layer in it")
    table = {"": rule} if isinstance(rule, Rule) else rule
    if not isinstance(table, Mapping):
        raise TypeError(no_rule(rule))
    chosen: dict[str, Rule] = {}
    for name, one in table.items():
        under = [n for n in found if not name or n == name or n.startswith(f"{name}.")]
        if not under:
            raise KeyError(f"no layer is named {name!r}; the network has {sorted(found)}")
        if not isinstance(one, Rule):
            raise TypeError(no_rule(one))
        chosen.update(dict.fromkeys(under, one))
    prepared = {name: found[name].prepare_rule(one) for name, one in chosen.items()}
    for name, ready in prepared.items():
        found[name].take_rule(ready)
    link(net)


def check_finite(net: nn.Module, on: bool) -> None:
    """Switch the check for NaN and infinity in inputs and in gradients that reach a layer.

    The check is on for tensors on a CPU and off elsewhere, where it makes the device wait, until this is called.
    Gradients in float16, of its autocast too, are not checked until then: an overflow is `GradScaler`'s to skip.
    Inside a call that `torch.compile` has compiled nothing is checked.

    Args:
        net: any module with layers in it.
        on: whether to check.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))
        >>> tt.check_finite(net, False)
    """
    for layer in layers(net).values():
        layer.core.finite = bool(on)


def set_backend(net: nn.Module, backend: str = "auto", *, sparse: bool | None = None) -> None:
    """Choose the kernels that compute the layers' windows.

    `auto` takes compiled kernels if they support a layer and are faster, by device, size and neuron;
    `tt.available_backends()` shows which can run here. Results differ by the order of summation only.

    Args:
        net: any module with layers in it.
        backend: `auto`, `torch` (step by step, serves everything), `numba` (compiled for CPUs) or
            `triton` (GPUs; in their present form run under Triton's interpreter only, never on one).
        sparse: whether dense synapses and convolutions go through their inputs by events; by density where it is None.

    Raises:
        ValueError: if the name is unknown.
        RuntimeError: if it cannot run here, with the reason; or, at the first forward, if it cannot serve a layer.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))
        >>> tt.set_backend(net, "torch")
    """
    known = available_backends()
    if backend != "auto" and backend not in known:
        raise ValueError(f"backend must be 'auto' or one of {sorted(known)}, got {backend!r}")
    if backend != "auto" and known[backend]:
        raise RuntimeError(f"backend {backend!r} cannot run here: {known[backend]}")
    for layer in layers(net).values():
        layer.core.backend, layer.core.sparse = backend, sparse
