"""What layers come to after a window, computed when it is first read, with the network as it was at the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.engine import Core, LayerState
from tracetorch.entry import has_global_hooks, has_hooks
from tracetorch.layer import Layer


class Later:
    """The states of a network's layers after a window, which `compute` runs when they are read.

    They begin from what the layers carried `before`; parameters, buffers and modes are those of the network when it
    runs.
    """

    def __init__(
        self,
        cores: Sequence[Core],
        before: Sequence[LayerState | None],
        net: nn.Module,
        compute: Callable[[], Any],
    ) -> None:
        self.cores, self.before = cores, before
        self.net, self.grad = net, torch.is_grad_enabled()
        self.values = [(t, t.detach().clone(), t.requires_grad) for t in _tensors(net)]
        self.modes = [(module, module.training) for module in net.modules()]
        self.steps = _steps(net)
        self.compute: Callable[[], Any] | None = compute
        self._states: list[LayerState | None] = []

    def stand_in(self) -> None:
        """Take the places of the states in the layers."""
        for i, core in enumerate(self.cores):
            core.state = self.before[i]
            core.stepper = One(self, i)

    def states(self) -> list[LayerState | None]:
        """Return the states."""
        if self.compute is not None:
            aside = [dict(core.__dict__) for core in self.cores]
            try:
                with torch.inference_mode(False), torch.set_grad_enabled(self.grad), self._network_of_then():
                    self.compute()
                    # numbers of neurons of then may be none of now
                    states = [core.state for core in self.cores]
                    self._states = [None if s is None else replace(s, numbers=None) for s in states]
            finally:
                for core, fields in zip(self.cores, aside, strict=True):
                    core.__dict__.update(fields)
            self.compute, self.values, self.modes, self.steps = None, [], [], []
        return self._states

    @contextmanager
    def _network_of_then(self) -> Iterator[None]:
        tensors, modes = _tensors(self.net), [(module, module.training) for module in self.net.modules()]
        now = [(t, t.data, t.requires_grad) for t in tensors]
        same = _same([*tensors, *self.net.modules()], [t for t, _, _ in self.values] + [m for m, _ in self.modes])
        try:
            if same:
                _set(self.values, self.modes)
            hooked = has_global_hooks() or any(map(has_hooks, self.net.modules()))
            if hooked or not (same and _same(_steps(self.net), self.steps)):
                raise RuntimeError(
                    "a module, a parameter or the step of a neuron was replaced, or hooks were registered, after a "
                    "scan of rows of unequal length, before what the layers carry was read: call tt.get_state(net) in "
                    "between, or tt.reset(net) before going on"
                )
            with ExitStack() as stack:
                for kind in {t.device.type for t in tensors} | {"cpu"}:
                    stack.enter_context(torch.autocast(kind, enabled=False))
                yield
        finally:
            _set(now, modes)


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _steps(net: nn.Module) -> list[object]:
    return [module.neuron.lowered() for module in net.modules() if isinstance(module, Layer)]


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _set(values: Sequence[tuple[Tensor, Tensor, bool]], modes: Sequence[tuple[nn.Module, bool]]) -> None:
    for tensor, value, learns in values:
        tensor.data, tensor.requires_grad = value, learns
    for module, training in modes:
        module.training = training


@dataclass(frozen=True)
class One:
    """The state of one layer, by its number, among those of a network."""

    network: Later
    index: int

    def state(self) -> LayerState:
        """Return what the layer carries now."""
        found = self.network.states()[self.index]
        if found is None:
            raise RuntimeError("a layer was not run by its network's scan")
        return found

    def undone(self) -> LayerState | None:
        """Return what the layer carried before the window."""
        return self.network.before[self.index]
