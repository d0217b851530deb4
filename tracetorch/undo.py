"""Put layers back as they were where a call over a window fails half-way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from tracetorch.layer import Layer
from tracetorch.memory import Memory


@contextmanager
def whole_or_nothing(layers: Iterable[Layer], *, parts: bool) -> Iterator[None]:
    """Leave the layers as they are where the body raises, whatever of it was done by then.

    Args:
        layers: the layers.
        parts: whether the body carries traces over several windows, which then are copied where that is done in place.

    Yields:
        Nothing.
    """
    kept = [(layer, _kept(layer.memory, copied=parts), layer.spikes) for layer in layers]
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            for layer, memory, spikes in kept:
                layer.memory, layer.spikes = memory, spikes


def _kept(memory: Memory | None, *, copied: bool) -> Memory | None:
    """Return a memory that a call may not change; the window before it is accounted for now, as the call would do."""
    if memory is None:
        return None
    if torch.is_grad_enabled():
        memory.flush()
    traces = memory.traces
    if copied and traces is not None and (memory.plan.storage == "full" or any(traces.filtered)):
        traces = memory.flushed()
    return replace(memory, traces=traces)
