"""One step of a network as a module without its own state."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from tracetorch.entry import has_hooks, require_network
from tracetorch.export.cell import Cell
from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.scan import Scan
from tracetorch.testing.clone import replace_layers

State = tuple[Tensor, ...]
"""What all layers carry, `[B, *unit]` each, in the order of `Step.names`."""


class Step(nn.Module):
    """One step of a network, :math:`(y_t, s_t) = f(x_t, s_{t-1})`, with the state going in and coming out.

    Made by `tt.export.step`. Rows are independent: zeros in a row of every state tensor reset that row.

    Args:
        net: a copy of the network with a `Cell` instead of each layer.

    Attributes:
        names: the state's names, such as `0/v` for the membrane of layer `0`; `outputs` are what a recurrent synapse
            feeds back.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> module, xs = tt.export.step(net), torch.rand(10, 4, 3)
        >>> state = module.zeros(xs[0])
        >>> for x in xs:
        ...     y, state = module(x, state)
        >>> torch.allclose(y, tt.scan(net, xs, out="last"))
        True
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.cells = [module for module in net.modules() if isinstance(module, Cell)]
        self.names = tuple(name for cell in self.cells for name in cell.names)

    def forward(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Any, State]:
        """Advance by one time step.

        Args:
            x: input of one step, `[B, *in]`.
            state: what the layers carry, in the order of `names`, `[B, *unit]` each.

        Returns:
            What the network returns, `[B, *out]`, and the next state.

        Raises:
            ValueError: if the state has another number of tensors.
        """
        if len(state) != len(self.names):
            raise ValueError(f"the state is {len(self.names)} tensors ({', '.join(self.names)}), got {len(state)}")
        start = 0
        for cell in self.cells:
            end = start + len(cell.names)
            cell.slot.value, start = tuple(state[start:end]), end
        return self._run(x)

    def first(self, x: Tensor) -> tuple[Any, State]:
        """Advance by the first time step after a reset.

        Args:
            x: input of the step, `[B, *in]`.

        Returns:
            What the network returns, and the state after it.

        Raises:
            ValueError: if a layer did not run.
        """
        return self._run(x)

    @torch.no_grad()
    def zeros(self, x: Tensor) -> State:
        """Return the state after a reset.

        Args:
            x: an input of one step, `[B, *in]`, whose values do not matter.

        Returns:
            The state.

        Raises:
            ValueError: if the network writes to a buffer, so that it is no function of input and state, or a layer did
                not run.
        """
        versions = {name: buffer._version for name, buffer in self.named_buffers()}
        _, state = self.first(x)
        written = [name for name, buffer in self.named_buffers() if buffer._version != versions.get(name)]
        if written:
            raise ValueError(
                f"the network writes to its buffer {written[0].removeprefix('net.')!r} in a step, which is a state "
                f"that an export does not carry: leave that module out of the exported network"
            )
        return tuple(torch.zeros_like(value) for value in state)

    def restored(self, saved: Mapping[str, Tensor]) -> State:
        """Return the state that a network had, to go on with its stream.

        Args:
            saved: what `tt.get_state(net)` returned.

        Returns:
            The state.

        Raises:
            ValueError: if it is not of this network, or has no state.
        """
        return tuple(value for cell in self.cells for value in cell.restored(saved))

    def _run(self, x: Tensor) -> tuple[Any, State]:
        try:
            y = self.net(x)
            state: list[Tensor] = []
            for cell in self.cells:
                if cell.slot.value is None:
                    raise ValueError(f"layer {cell.prefix[:-1]!r} did not run in the step: its state is not known")
                state += cell.slot.value
            return y, tuple(state)
        finally:
            for cell in self.cells:
                cell.slot.value = None


def step(net: nn.Module) -> Step:
    r"""Return one step of a network as a pure module, :math:`(y_t, s_t) = f(x_t, s_{t-1})`.

    It is a copy of the network as it is now, in evaluation mode and without gradients, and equals the network's own
    steps: in torch, under `torch.export`, and as ONNX (`tt.export.to_onnx`). Rules and traces are left behind: an
    exported network does not learn.

    Args:
        net: any module with layers in it.

    Returns:
        The module.

    Raises:
        TypeError: if the network is not a module, or a layer has hooks, which a copy does not call.
        ValueError: if the network has no layers, or a `tt.Scan` in it.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5)))
        >>> module = tt.export.step(net)
        >>> module.names
        ('0/v',)
        >>> x = torch.ones(1, 3)
        >>> y, state = module(x, module.zeros(x))
        >>> program = torch.export.export(module, (x, state))
    """
    require_network(net)
    found = layers(net)
    if not found:
        raise ValueError(f"{type(net).__name__} has no tt.Layer in it: torch.export takes it as it is")
    if any(isinstance(module, Scan) for module in net.modules()):
        raise ValueError(
            "a tt.Scan runs whole windows: export the network in it, and take tt.export.window for windows"
        )
    for name, layer in found.items():
        if has_hooks(layer):
            raise TypeError(f"layer {name!r} has hooks, which an exported network does not call: remove them first")
    memo = _values(net)
    names = {id(layer): name for name, layer in found.items()}

    def cell(layer: Layer) -> Cell:
        synapse, neuron = copy.deepcopy(layer.synapse, memo), copy.deepcopy(layer.neuron, memo)
        return Cell(names[id(layer)], layer, synapse, copy.deepcopy(layer.recurrent, memo), neuron)

    twin = replace_layers(net, cell, memo)
    for module in twin.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
    return Step(twin.eval().requires_grad_(False)).eval()


def _values(net: nn.Module) -> dict[int, Any]:
    """Return copies of the tensors with a graph that modules have as attributes, which `copy.deepcopy` refuses."""
    found: dict[int, Any] = {}
    for module in net.modules():
        for value in module.__dict__.values():
            if isinstance(value, Tensor) and not value.is_leaf:
                found[id(value)] = value.detach().clone()
    return found
