"""Check that a layer takes each step of a window below at the step at which it was made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from tracetorch.engine import Core
from tracetorch.traces.passing import back_to

MOST = 8
"""Number of forms of what lies between that a layer remembers."""
_BY_VALUE = ("Index", "Gather", "Scatter")
"""Operations whose settings are tensors, so that the next one of the same form may be another."""
_SAVED = ("dim", "dims", "dim0", "dim1", "start", "end", "step", "index", "shifts", "self_sym_sizes")


@dataclass(frozen=True, eq=False)
class Taken:
    """What a layer is given in a call.

    Args:
        x: the input with its graph.
        window: number of steps.
        last: whether the input is the last step alone.
    """

    x: Tensor
    window: int
    last: bool

    def probes(self) -> list[tuple[list[int], Tensor]]:
        """Return cotangents of some steps each, which tell every two steps apart, with the numbers of the steps."""
        probe = torch.arange(1.0, self.x.numel() + 1, device=self.x.device).cos().reshape(self.x.shape).to(self.x.dtype)
        if self.last or self.window == 1:
            return [([self.window - 1], probe)]
        found = []
        for bit in range((self.window - 1).bit_length()):
            for value in (0, 1):
                steps = [t for t in range(self.window) if t >> bit & 1 == value]
                part = torch.zeros_like(probe)
                part[steps] = probe[steps]
                found.append((steps, part))
        return found


def require_aligned(core: Core, call: Taken, below: tuple[Any, Core, int], nodes: list[Any]) -> None:
    """Raise RuntimeError where a layer takes steps of a window below at other steps than they were made.

    A filter of what stands above a layer goes by time. The graph between the two is probed: cotangents of some steps of
    the input must come out at the same steps of the outputs below. What has been probed is not probed again.

    Args:
        core: what the layer that runs carries.
        call: what it is given.
        below: the node of the outputs below, what that layer carries, and the number of its call.
        nodes: the nodes of all layers whose outputs the input is made of.
    """
    node, source, number = below
    length, start = source.length, source.length - (source.time - core.time)
    if source.calls != number or length == 1 or core.opened is not None or not source.started:
        return
    if call.x.grad_fn is node and call.window == length and start == 0:
        return
    between = _between(call.x.grad_fn, nodes)
    names = " ".join(one[0] for one in between)
    key = (between, call.window, call.last, length, start, source)
    if key in core.aligned or "BatchNorm" in names:  # whose statistics are of all steps, credited as constants
        return
    edge = get_gradient_edge(call.x)
    for steps, probe in call.probes():
        found, at = back_to(edge, node, nodes, probe), {t + start for t in steps}
        if found is None:
            continue
        state = source.peek()
        if state is not None and found.dim() == state.s[0].dim():  # the last output alone
            came = {length - 1} if bool(found.any()) else set()
        else:
            came = set(found.flatten(1).any(1).nonzero().flatten().tolist())
        if not came <= at:
            raise RuntimeError(
                f"a layer is given outputs of a window below at other steps than {source.length} in their order, as by "
                f"h[::2], h[5:], the last alone, or where some are mixed, while the rule below filters by what stands "
                f"above it, step by step. Give it the whole window; or take tt.rules.drtrl(), which has no such "
                f"filter, or tt.rules.bptt() for one window"
            )
    if not any(kind in names for kind in _BY_VALUE):
        core.aligned = (*core.aligned[-MOST:], key)


def require_ordered(call: Taken, calls: dict[int, Any], nodes: list[Any]) -> None:
    """Raise RuntimeError where a window is made of single steps of a layer below in another order than they were made.

    The graph is searched from the last place of a stack to the first, so that calls come in falling order. Where they
    do not, the graph is probed: nothing but its own step of the input may come out at the outputs of a call.

    Args:
        call: what the layer that runs is given.
        calls: nodes of the calls of one layer below by the call's number, in the order in which they are found.
        nodes: the nodes of all layers whose outputs the input is made of.
    """
    if len(calls) != call.window or all(a > b for a, b in pairwise(calls)):
        return
    edge, probe = get_gradient_edge(call.x), torch.stack([part for _, part in call.probes()]).sum(0)
    for place, number in enumerate(sorted(calls)):
        own = place if not call.last else slice(None) if place + 1 == call.window else slice(0)
        other = probe.clone()
        other[own] = 0
        found = back_to(edge, calls[number], nodes, other)
        if found is not None and bool(found.any()):
            raise RuntimeError(
                f"a layer is given {call.window} steps of a layer below in another order than they ran, as by "
                f"torch.stack(ys[::-1]), while the rule below filters by what stands above it, step by step. Give them "
                f"in their order; or take tt.rules.drtrl(), which has no such filter"
            )


def _between(node: Any, nodes: list[Any]) -> tuple[Any, ...]:
    """Return what lies between an input and the layers below: the operations, each with its settings."""
    found: list[Any] = []
    seen, stack = set(nodes), [node]
    while stack:
        one = stack.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        saved = (getattr(one, f"_saved_{part}", None) for part in _SAVED)
        found.append((one.name(), *(value for value in saved if isinstance(value, int | tuple))))
        stack += [n for n, _ in one.next_functions]
    return tuple(found)
