"""Whatever a network carries from step to step: begin anew, look ahead, save and restore."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import get_state, set_state
from tracetorch.network import reset as reset_layers


class Carrying(nn.Module):
    """Mark a module that carries a state from call to call and is no `tt.Layer`, such as a recurrent cell.

    Attributes:
        carried: the state, a tuple of tensors `[B, ...]` that are replaced and never changed in place; None after a
            reset.
    """

    carried: tuple[Tensor, ...] | None = None


def carrying(net: nn.Module) -> Iterator[tuple[str, Carrying]]:
    """Yield a network's modules of the kind `Carrying` by name."""
    for name, module in net.named_modules():
        if isinstance(module, Carrying):
            yield name, module


def reset(net: nn.Module, mask: Tensor | None = None) -> None:
    """Begin a new episode in all rows or in some: layers by `tt.reset`, other modules likewise.

    Args:
        net: the network.
        mask: `[B]`, true for the rows that begin anew; None for all.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.reset(torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LIF(half_life=3))))
    """
    reset_layers(net, mask)
    for _, module in carrying(net):
        if mask is None or module.carried is None:
            module.carried = None
        else:
            module.carried = tuple(x.masked_fill(mask.reshape(-1, *[1] * (x.dim() - 1)), 0.0) for x in module.carried)


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    """Return all that a network carries, as `tt.get_state` does, other modules included.

    Args:
        net: the network.

    Returns:
        Copies of the tensors by name.
    """
    flat = get_state(net)
    for name, module in carrying(net):
        flat |= {f"{name}/carried.{i}": x.detach().clone() for i, x in enumerate(module.carried or ())}
    return flat


def restore(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network what `snapshot` returned.

    Args:
        net: a network of the same structure.
        state: the dictionary.
    """
    modules = dict(carrying(net))
    own: dict[str, dict[int, Tensor]] = {}
    rest: dict[str, Tensor] = {}
    for key, value in state.items():
        name, _, part = key.rpartition("/")
        if name in modules and part.startswith("carried."):
            own.setdefault(name, {})[int(part.removeprefix("carried."))] = value
        else:
            rest[key] = value
    set_state(net, rest)
    for name, module in modules.items():
        found = own.get(name)
        module.carried = None if found is None else tuple(found[i].clone() for i in range(len(found)))


def twin(net: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its parameters and buffers and has a state of its own.

    Args:
        net: the network, on the device where it is going to stay.

    Returns:
        The copy, after a reset.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=5))
        >>> tt.rl.twin(net).synapse.weight is net.synapse.weight
        True
    """
    memo: dict[int, Any] = {id(t): t for t in (*net.parameters(), *net.buffers())}
    for module in net.modules():
        if isinstance(module, Layer):
            memo[id(module.core)] = module.core.another()
        elif isinstance(module, Carrying) and module.carried is not None:
            memo[id(module.carried)] = None
    copied = copy.deepcopy(net, memo)
    reset_layers(copied)
    return copied


class LookAhead:
    """Evaluate a network at its next input with its weights of now, and leave its state where it is.

    A TD error compares two values under the same weights, those of before its update; the step after it is taken with
    the weights of after it. A feed-forward critic is simply called twice at each state, but a second call would
    advance a network with a state once too often. Here a twin shares parameters and buffers, borrows what the network
    carries for one call without gradients, and lets go of it.

    Args:
        net: the network, on the device where it is going to stay.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=5))
        >>> x = torch.ones(1, 2)
        >>> ahead = tt.rl.LookAhead(net)
        >>> bool((ahead(x) == ahead(x)).all()), bool((ahead(x) == net(x)).all()), bool((ahead(x) == net(x)).all())
        (True, True, True)
    """

    def __init__(self, net: nn.Module) -> None:
        self._twin = twin(net)
        self._layers: list[tuple[Layer, Layer]] = []
        self._others: list[tuple[Carrying, Carrying]] = []
        for ours, theirs in zip(net.modules(), self._twin.modules(), strict=True):
            if isinstance(ours, Layer) and isinstance(theirs, Layer):
                self._layers.append((ours, theirs))
            elif isinstance(ours, Carrying) and isinstance(theirs, Carrying):
                self._others.append((ours, theirs))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the output at the next input, `[B, *in] -> [B, *out]`, without a graph."""
        for layer, borrower in self._layers:
            borrower.core.state = layer.core.peek()
        for module, other in self._others:
            other.carried = module.carried
        out: Tensor = self._twin(x)
        for _, borrower in self._layers:
            borrower.core.state = borrower.core.spikes = None
        for _, other in self._others:
            other.carried = None
        return out
