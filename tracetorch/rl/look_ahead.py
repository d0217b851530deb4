"""A network's output at its next input, under the weights of now."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import get_state, restart, set_state


def twin(net: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its parameters and buffers and has its own state.

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
    for layer in _layers(net):
        memo[id(layer.core)] = layer.core.another()
    copied = copy.deepcopy(net, memo)
    restart(copied)
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
        self._net, self._twin = net, twin(net)
        self._layers = list(zip(_layers(net), _layers(self._twin), strict=True))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the output at the next input, `[B, *in] -> [B, *out]`, without a graph."""
        for layer, borrower in self._layers:
            borrower.core.state = layer.core.peek()
        out: Tensor = self._twin(x)
        self._return()
        return out

    def with_graph(self, x: Tensor) -> Tensor:
        """Return the output at the next input, with a graph whose backward credits the parameters.

        The twin takes a copy of what the network carries, since traces advance in place where they are large.

        Args:
            x: the input, `[B, *in]`.

        Returns:
            The output, `[B, *out]`.
        """
        set_state(self._twin, get_state(self._net))
        out: Tensor = self._twin(x)
        self._return()
        return out

    def _return(self) -> None:
        for _, borrower in self._layers:
            borrower.core.state = borrower.core.spikes = None


def _layers(net: nn.Module) -> list[Layer]:
    return [module for module in net.modules() if isinstance(module, Layer)]
