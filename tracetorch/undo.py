"""Put layers back as they were where a call over a window fails half-way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from tracetorch.dropout import SequenceDropout
from tracetorch.engine import LayerState
from tracetorch.layer import Layer


@contextmanager
def whole_or_nothing(
    layers: Iterable[Layer], dropouts: Sequence[SequenceDropout] = (), *, parts: bool
) -> Iterator[None]:
    """Leave the layers as they are where the body raises, whatever of it was done by then.

    Args:
        layers: the layers.
        dropouts: the dropouts with a mask for each row.
        parts: whether the body carries traces over several windows; those that advance in place are copied then.

    Yields:
        Nothing.
    """
    before = []
    for layer in layers:
        core = layer.core
        if core.state is not None and torch.is_grad_enabled():
            core.state = core.state.flushed()
        before.append((core, _unshared(core.state, copied=parts), core.spikes, (core.steps, core.time, core.credited)))
    masks = [dropout.mask for dropout in dropouts]
    done = False
    try:
        yield
        done = True
    finally:
        for core, state, spikes, (steps, time, credited) in before:
            core.steps = steps + int(done)  # one call, by however many it was done
            if not done:
                core.state, core.spikes, core.time, core.credited = state, spikes, time, credited
        for dropout, mask in zip(() if done else dropouts, masks, strict=False):
            dropout.mask = mask


def _unshared(state: LayerState | None, *, copied: bool) -> LayerState | None:
    """Return a state that a call may not change, its traces advanced already."""
    if state is None or not torch.is_grad_enabled():
        return state
    in_place = state.traces is not None and state.trace.large(state.traces)
    return state.copied() if copied and in_place else state
