"""Notice credit that reaches a layer past all layers that it feeds: from a head, or a loss of its own.

Under a rule that reads credit behind the memory above, such credit is one on the output of its own step. Where a window
shows what a network gives out, that is known before the backward. Else it is the first backward of a sequence that
shows it: what reaches a layer is compared there with what the layers that it feeds have sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from tracetorch.engine import Core
from tracetorch.neurons import Readout
from tracetorch.order import Producer, producers
from tracetorch.rules import AllMemory
from tracetorch.traces.autograd import CLOSED, back_to


def ends(outputs: Iterable[Tensor]) -> None:
    """Take up which layers' outputs a network gives out past layers that they feed, from the graph of its first step.

    Args:
        outputs: what the network gives out.
    """
    for y in outputs:
        for _, producer in producers(y):
            core = producer.core()
            if core is not None and core.wiring is not None:
                core.wiring.ended = True
                if _filters(producer) and core.wiring.feeds(core.activity):
                    core.wiring.passed(core.activity)


def watched(core: Core, x: Tensor) -> Tensor:
    """Return a layer's input, by which what it sends below is noted as long as that is compared.

    Args:
        core: what the layer carries.
        x: its input, with its graph.

    Returns:
        The input.
    """
    if x.grad_fn is None or not _open(core):
        return x
    sources = producers(x)
    if not any(_compared(producer) for _, producer in sources):
        return x
    mine = x.view_as(x)
    node: Any = mine.grad_fn
    node.register_prehook(partial(_note, get_gradient_edge(x), sources))
    return mine


def compare(core: Core, out: Tensor) -> None:
    """Compare in the backward what reaches a layer's output with what the layers that it feeds have sent.

    Args:
        core: what the layer carries.
        out: its output, which `sign` has noted.
    """
    node: Any = out.grad_fn
    if node is None or not _open(core):
        return
    producer: Producer | None = node.metadata.get("tracetorch")
    if producer is not None and _compared(producer):
        node.register_prehook(partial(_differ, producer, node.metadata))


def _open(core: Core) -> bool:
    return core.wiring is not None and bool(core.wiring.open) and core.opened is None


def _filters(producer: Producer) -> bool:
    return isinstance(producer.rule.above, AllMemory) and not isinstance(producer.neuron, Readout)


def _compared(producer: Producer) -> bool:
    core = producer.core()
    return _filters(producer) and core is not None and core.wiring is not None and id(core.activity) in core.wiring.open


def _note(edge: Any, sources: Sequence[tuple[Any, Producer]], sent: Sequence[Tensor | None]) -> None:
    if sent[0] is None:
        return
    nodes = [node for node, _ in sources]
    for node, producer in sources:
        if _compared(producer):
            part = back_to(edge, node, nodes, sent[0])
            if part is not None:
                producer.sent.append(part)


def _differ(producer: Producer, metadata: dict[str, Any], reached: Sequence[Tensor | None]) -> None:
    if metadata.get(CLOSED):
        return
    core, z_bar, sent = producer.core(), reached[0], list(producer.sent)
    producer.sent.clear()
    wiring = None if core is None else core.wiring
    if core is None or wiring is None or z_bar is None or id(core.activity) not in wiring.open:
        return
    if not wiring.feeds(core.activity):
        wiring.open.discard(id(core.activity))
        return
    rest = z_bar - sum(sent, torch.zeros_like(z_bar))
    size = z_bar.norm() + sum(part.norm() for part in sent)
    if bool(rest.norm() <= torch.finfo(z_bar.dtype).eps ** 0.5 * size):
        return
    first = core.first
    wiring.passed(core.activity)
    if not first:
        raise RuntimeError(
            f"credit reached a layer ({producer.neuron!r}) past the layers that it feeds, from a head or a loss of its "
            f"own, and rule {producer.rule.name!r} has read all of it behind their memory in this sequence: call "
            f"tt.reset(net) and begin again, which now tells them apart; or let a first step after tt.reset(net) have "
            f"a backward, or give the steps to tt.scan, which show it in time"
        )
